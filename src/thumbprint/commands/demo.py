"""`thumbprint demo`: see it work."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    import argparse


def add(commands: Any) -> None:
    """Put `demo` among the subcommands."""
    demo = commands.add_parser("demo", help="see it work: real SDK calls, a local emulator, a thumb for each answer")
    demo.set_defaults(command=run)


def run(_: argparse.Namespace) -> int:
    """Play the demo; return the exit status."""
    from .._demo import DemoError  # noqa: PLC0415 - only this command needs the emulator and the SDK
    from .._demo import run as play  # noqa: PLC0415 - as above

    try:
        play()
    except DemoError as error:
        print(f"thumbprint demo: FAILED: {error}", file=sys.stderr)
        return FAILED
    return DONE  # pragma: no cover - see the demo
