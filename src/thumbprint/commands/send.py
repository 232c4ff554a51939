"""`thumbprint send`: feedback for a log entry whose id is known, from a shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from .. import Thumbprint
from . import _arguments
from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    import argparse

TIMEOUT: Final = 30.0  # seconds


def add(commands: Any) -> None:
    """Put `send` among the subcommands."""
    send = commands.add_parser("send", help="send feedback to a log entry whose id you know")
    send.set_defaults(command=run)
    send.description = (
        "Send feedback to one log entry and wait until it is delivered. Credentials come from the environment. "
        "Exit status: 0 delivered, 1 not delivered, 2 wrong arguments or settings."
    )
    _arguments.add_log_entry(send)
    _arguments.add_feedback(send)
    send.add_argument(
        "--timeout", type=_arguments.seconds, default=TIMEOUT, metavar="SECONDS", help="how long to try (%(default)s)"
    )


def run(chosen: argparse.Namespace) -> int:
    """Send and wait; return the exit status."""
    ref = _arguments.log_entry(chosen)
    thumbprint = Thumbprint(disabled=False, store="memory://", delivery="background")
    try:
        receipt = thumbprint.record_feedback(ref, **_arguments.feedback_arguments(chosen))
        refused = thumbprint.wait_or_refusal(receipt, chosen.timeout)
        outcomes = receipt.outcomes
    finally:
        thumbprint.close(0)
    [outcome] = outcomes
    status = outcome.status if outcome.status != "queued" else f"not delivered within {chosen.timeout:g} s"
    status = status if refused is None else "failed"
    print(f"{status}: {ref.backend} {ref.id}" + (f": {outcome.reason}" if outcome.reason else ""))
    if outcome.unsupported:
        print(f"{ref.backend} cannot hold: {', '.join(outcome.unsupported)}", file=sys.stderr)
    return DONE if outcome.status == "delivered" else FAILED
