"""`thumbprint emulator`: stand-ins for both services, until Ctrl-C."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any, Final

from . import _arguments
from ._signals import stop_signals
from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    import argparse

PORT: Final = 8787


def add(commands: Any) -> None:
    """Put `emulator` among the subcommands."""
    emulator = commands.add_parser("emulator", help="run stand-ins for Cloudflare AI Gateway and Braintrust")
    emulator.add_argument(
        "--port", type=_arguments.port, default=PORT, help="on 127.0.0.1; 0 takes a free one (%(default)s)"
    )
    emulator.add_argument(
        "--ingestion-lag",
        type=_arguments.seconds,
        default=0.0,
        metavar="SECONDS",
        help="for how long a new Cloudflare log is unknown to the logs API (%(default)s)",
    )
    emulator.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Serve until a signal comes; return the exit status."""
    from ..emulator import Emulator  # noqa: PLC0415 - only this command and the demo need it

    try:
        emulator = Emulator(port=chosen.port, ingestion_lag=chosen.ingestion_lag).start()
    except OSError as error:
        print(f"thumbprint emulator: cannot start on port {chosen.port}: {error}", file=sys.stderr)
        return FAILED
    stops = stop_signals()
    try:
        print(f"# The emulator listens on {emulator.url} until Ctrl-C. Open that in a browser to see what it holds.")
        print("# Point your programs at it with:")
        for name, value in emulator.environ().items():
            print(f"export {name}={shlex.quote(value)}")
        sys.stdout.flush()
        stops.get()
    finally:
        emulator.stop()
    return DONE
