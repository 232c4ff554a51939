"""Targets that lead to no call yet, as the outbox keeps them: each a LogRef of no service, whose id is the target's.

A vote can come before the process that made the call has stored what the call became, or by an id that only the service
knows. It then waits in the outbox for its log entries, under a backend of its own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from ._model import LogRef, Which

if TYPE_CHECKING:
    from collections.abc import Sequence

UNRESOLVED: Final = "unresolved"
CLOCK_SKEW: Final = 0.1  # seconds by which the clocks of who asks and of others may differ
MAX_LENGTH: Final = 1024  # characters: that of a scope's id, of which none is longer

Kind = Literal["scope", "id"]


class Unresolved(NamedTuple):
    """What was given as a target: the id of a scope alone (`kind` "scope"), or any id; which of its calls are meant."""

    id: str
    kind: Kind
    which: Which
    asked_at: float
    """When it was given, in seconds since 1970."""
    searched: bool = False
    """Whether who recorded it can ask a service for the calls of a scope."""

    def to_ref(self) -> LogRef:
        """Return the LogRef that stands for it."""
        words = f"{self.kind} {self.which}{' searched' if self.searched else ''}"
        return LogRef(backend=UNRESOLVED, id=self.id, operation=words, captured_at=self.asked_at)

    @classmethod
    def from_ref(cls, ref: LogRef) -> Unresolved:
        """Return what `to_ref` was called on."""
        kind, which, searched, *_ = [*(ref.operation or "").split(" "), "", "", ""]
        return cls(
            ref.id,
            "scope" if kind == "scope" else "id",
            "all" if which == "all" else "last",
            ref.captured_at,
            searched == "searched",
        )


def unresolved(id: str, kind: Kind, which: Which, *, searched: bool = False) -> Unresolved | None:  # noqa: A002
    """Return what stands for a target that is given now; None where it can be the id of nothing."""
    if not (0 < len(id) <= MAX_LENGTH and id.isprintable()):
        return None
    return Unresolved(id, kind, which, time.time(), searched)


def waits(refs: Sequence[LogRef]) -> bool:
    """Whether these stand for a target that leads to no call yet."""
    return len(refs) == 1 and refs[0].backend == UNRESOLVED
