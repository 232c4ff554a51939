"""What a command's exit status says to a shell."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
WRONG: Final = 2  # the command line or the configuration is, as argparse says it too
