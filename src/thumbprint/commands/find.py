"""`thumbprint find`: log entries, by what is known of their calls."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from .._config import backends_from
from .._words import counted, printable
from ..backends import Findable, Wanted
from ..delivery import Unanswered, search
from ..errors import ConfigurationError
from . import _arguments
from .exit_status import DONE, FAILED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from ..backends import Found

TIMEOUT: Final = 30.0  # seconds
LIMIT: Final = 20

DESCRIPTION: Final = """\
Find log entries of the configured gateway by what is known of their calls; nothing is changed. Shows the latest that
meet all that is said, the earliest of them first. Feedback for one is then sent by its id, as with `thumbprint send`.
Credentials, account and gateway come from the environment. A log is there some seconds after its call.

With --json, one JSON document on stdout. `captured_at` is in seconds since 1970.
  {"found": [{"id", "backend", "captured_at", "operation", "model", "provider", "success", "metadata", "ref"}]}
Exit status: 0 found, 1 none found or no answer, 2 wrong arguments or settings."""


def add(commands: Any) -> None:
    """Put `find` among the subcommands."""
    find = _arguments.add_command(
        commands, "find", run, summary="find log entries by metadata, time or model", description=DESCRIPTION
    )
    find.add_argument("--backend", default="cloudflare", help="which service is asked (%(default)s)")
    find.add_argument("--scope", metavar="ID", help="calls made in this scope, where requests are tagged with it")
    find.add_argument(
        "--metadata",
        type=_arguments.pair(_arguments.any_json),
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an entry of the request's own metadata; repeatable",
    )
    find.add_argument("--model", metavar="NAME", help="the model that was asked, as the log names it")
    find.add_argument("--provider", metavar="NAME", help="as the log names it")
    when = "2026-11-24T18:30:00Z, or how long ago: 90s, 15m, 2h, 3d"
    find.add_argument("--since", type=_arguments.moment, metavar="TIME", help=f"not before {when}")
    find.add_argument("--until", type=_arguments.moment, metavar="TIME", help="not after it, likewise")
    find.add_argument(
        "--limit", type=_arguments.limit, default=LIMIT, metavar="N", help="so many at most (%(default)s)"
    )
    find.add_argument("--json", action="store_true", help="one JSON document, as told above")
    find.add_argument(
        "--timeout", type=_arguments.seconds, default=TIMEOUT, metavar="SECONDS", help="how long to try (%(default)s)"
    )


def run(chosen: argparse.Namespace) -> int:
    """Ask, and tell; return the exit status."""
    backend = _asked(chosen.backend)
    wanted = Wanted(
        scope_id=chosen.scope,
        metadata=dict(chosen.metadata),
        model=chosen.model,
        provider=chosen.provider,
        since=chosen.since,
        until=chosen.until,
        most=chosen.limit,
    )
    try:
        found = search(backend, wanted, timeout=chosen.timeout)
    except Unanswered as error:
        print(f"thumbprint: error: {chosen.backend}: {printable(str(error))}", file=sys.stderr)
        return FAILED
    if chosen.json:
        print(json.dumps({"found": [_described(entry) for entry in found]}))
    else:
        _print(found)
    return DONE if found else FAILED


def _asked(name: str) -> Findable:
    """Return the backend of the name; raise ConfigurationError where it cannot be asked."""
    backends = backends_from()
    backend = backends.get(name)
    if not isinstance(backend, Findable):
        able = ", ".join(sorted(known for known, each in backends.items() if isinstance(each, Findable)))
        raise ConfigurationError(f"{name!a:.40} cannot be asked for log entries: give --backend {able}")
    backend.check_search()
    return backend


def _described(entry: Found) -> Mapping[str, Any]:
    return {
        "id": entry.ref.id,
        "backend": entry.ref.backend,
        "captured_at": entry.ref.captured_at,
        "operation": entry.ref.operation,
        "model": entry.model,
        "provider": entry.provider,
        "success": entry.success,
        "metadata": entry.metadata,
        "ref": entry.ref.to_dict(),
    }


def _print(found: Sequence[Found]) -> None:
    for entry in found:
        at = datetime.fromtimestamp(entry.ref.captured_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        words = [
            entry.ref.operation or "",
            entry.provider or "",
            entry.model or "",
            "" if entry.success else "(failed)",
        ]
        metadata = f"  {json.dumps(entry.metadata, ensure_ascii=False)}" if entry.metadata else ""
        print(printable(f"{entry.ref.id}  {at}  {' '.join(filter(None, words))}{metadata}"))
    print(counted(len(found), "log entry", "log entries") if found else "no log entry is known that meets this")
