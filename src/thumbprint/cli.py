"""The command line, `thumbprint COMMAND`: the parser, and what is the same for all commands.

Exit status: 0 when it is done, 1 when it failed, 2 when the command line or the configuration is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from .commands import demo, doctor, emulator, find, outbox, send, verify, worker
from .commands.exit_status import FAILED, WRONG
from .errors import ThumbprintError

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Sequence

COMMANDS: Final = (demo, emulator, find, send, outbox, worker, doctor, verify)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (by default this process's) and return the exit status."""
    if sys.stdout is None:  # it was closed before we began
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # not every terminal knows every character
            cast("io.TextIOWrapper", stream).reconfigure(errors="replace")
    logging.getLogger("thumbprint").addHandler(logging.NullHandler())  # what it would say is said by the commands
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # here, where a fault can still be told
    except BrokenPipeError:  # whoever read our output has enough
        _write_no_more()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _write_no_more()
        with contextlib.suppress(OSError):
            print(f"thumbprint: error: input or output failed: {error}", file=sys.stderr)
        return FAILED


def _run(arguments: Sequence[str] | None) -> int:
    chosen = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except ThumbprintError as error:
        print(f"thumbprint: error: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _write_no_more() -> None:
    """Let nothing try to write the rest of the output at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="thumbprint",
        description="Remembers which log entry each LLM call became, so that a thumb given later lands on it.",
    )
    parser.add_argument("--version", action="version", version=f"thumbprint {version('thumbprint')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser
