"""`thumbprint verify`: whether a service has the feedback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from .. import Thumbprint
from .._feedback import feedback_from
from .._words import printable
from . import _arguments
from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    import argparse

TIMEOUT: Final = 10.0  # seconds

DESCRIPTION: Final = """\
Ask the service whether one log entry holds this feedback; nothing is changed. Credentials come from the environment.

With --json, one JSON document on stdout:
  {"backend", "id", "status": "confirmed" | "missing" | "unknown", "reason", "fields"}
Exit status: 0 confirmed, 1 missing or unknown, 2 wrong arguments or settings."""


def add(commands: Any) -> None:
    """Put `verify` among the subcommands."""
    verify = _arguments.add_command(
        commands, "verify", run, summary="ask the service whether feedback is there", description=DESCRIPTION
    )
    _arguments.add_log_entry(verify)
    _arguments.add_feedback(verify)
    verify.add_argument("--json", action="store_true", help="one JSON document, as told above")
    verify.add_argument(
        "--timeout", type=_arguments.seconds, default=TIMEOUT, metavar="SECONDS", help="how long to try (%(default)s)"
    )


def run(chosen: argparse.Namespace) -> int:
    """Ask, and tell; return the exit status."""
    feedback = feedback_from(**_arguments.feedback_arguments(chosen))
    thumbprint = Thumbprint(disabled=False, store="memory://", delivery="background")
    try:
        [found] = thumbprint.verify(_arguments.log_entry(chosen), feedback, chosen.timeout)
    finally:
        thumbprint.close(0)
    if chosen.json:
        told = {"status": found.status, "reason": found.reason, "fields": found.fields}
        print(json.dumps({"backend": found.ref.backend, "id": found.ref.id, **told}))
    else:
        fields = f" ({', '.join(found.fields)})" if found.fields else ""
        reason = f": {found.reason}" if found.reason else ""
        print(printable(f"{found.status}: {found.ref.backend} {found.ref.id}{fields}{reason}"))
    return DONE if found.status == "confirmed" else FAILED
