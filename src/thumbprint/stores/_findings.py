"""What an operator should know of any outbox. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._model import Finding
from .._words import counted, span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._protocol import Depth

LATE: Final = 3600.0  # seconds after which what still waits deserves a look


def outbox_findings(depths: Iterable[Depth], now: float) -> list[Finding]:
    """Return how each backend's outbox stands: late feedback and dead letters are warnings. `now` is since 1970."""
    findings = [finding for depth in depths for finding in _of_backend(depth, now)]
    return findings or [Finding(check="outbox", status="ok", found="nothing waits, and there are no dead letters")]


def _of_backend(depth: Depth, now: float) -> list[Finding]:
    age = 0.0 if depth.oldest_at is None else max(0.0, now - depth.oldest_at)
    found = f"{depth.queued} waiting" + (f", the oldest for {span(age)}" if depth.queued else "")
    check = f"outbox of {depth.backend}"
    if age > LATE:
        advice = "see `thumbprint outbox list` for the reason, and whether anybody delivers (`thumbprint worker`)"
        waiting = Finding(check=check, status="warning", found=found, advice=advice)
    else:
        waiting = Finding(check=check, status="ok", found=found)
    if not depth.dead:
        return [waiting]
    advice = "see `thumbprint outbox list --dead`, then `thumbprint outbox retry` or `thumbprint outbox purge`"
    return [waiting, Finding(check=check, status="warning", found=counted(depth.dead, "dead letter"), advice=advice)]
