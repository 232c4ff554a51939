"""Faults on demand: which requests go wrong, and how."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from thumbprint.emulator._wire import JSON_TYPE, Response, dump, plain_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from thumbprint.emulator._wire import Request

Drop = Literal["before", "after", "during"]
Body = str | bytes | dict[str, Any] | list[Any]


@dataclass(slots=True, kw_only=True, eq=False)
class Fault:
    """A fault asked for with `Emulator.fail`. `hits` counts the requests that it has met."""

    path: re.Pattern[str]
    method: str | None
    times: int | None
    after: int
    delay: float
    drop: Drop | None
    hang: bool
    answer: Response | None
    headers: tuple[tuple[str, str], ...]
    hits: int = field(default=0)

    def matches(self, request: Request) -> bool:
        """Whether this request is of the kind meant, and the fault is not used up."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.method is not None and self.method != request.method:
            return False
        return self.path.search(request.path) is not None

    def take(self) -> bool:
        """Count one matching request. False where it is among the first ones to be let through."""
        if self.after > 0:
            self.after -= 1
            return False
        self.hits += 1
        return True


def take_fault(faults: list[Fault], request: Request) -> Fault | None:
    """Return the first fault, in the order of asking, that this request meets, and count it."""
    return next((fault for fault in faults if fault.matches(request) and fault.take()), None)


def compile_path(path: str | re.Pattern[str]) -> re.Pattern[str]:
    """Compile what names a path: text that starts with a slash is looked for at the start only."""
    if isinstance(path, re.Pattern):
        return path
    return re.compile(f"^(?:{path})" if path.startswith("/") else path)


def fault_answer(status: int | None, body: Body | None, headers: Mapping[str, str]) -> Response | None:
    """Return the answer that replaces the service's own, or None where neither status nor body is given."""
    if status is None and body is None:
        return None
    raw = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else None
    content, kind = (raw, "text/plain; charset=utf-8") if raw is not None else (dump(body or {}), JSON_TYPE)
    own = plain_response(content, 200 if status is None else status, kind)
    return own.adding(*headers.items())


def parse_drop(drop: bool | Drop) -> Drop | None:
    """Return the moment of the drop, or None. Raises ValueError for other words."""
    if isinstance(drop, bool):
        return "before" if drop else None
    if drop not in ("before", "after", "during"):
        raise ValueError(f"drop must be True, False, 'before', 'during' or 'after', not {drop!r}")
    return drop
