"""What a log entry holds against what some feedback says. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from .._model import Verification

if TYPE_CHECKING:
    from .._model import LogRef

SHOWN: Final = 80  # characters of a value


class Comparison:
    """Gathers, field by field, what was found as it was said, what is there instead, and what the service hides.

    Fields are named as `record_feedback` names them.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._same: list[str] = []
        self._other: list[str] = []
        self._hidden: list[str] = []

    def add(self, field: str, held: Any, *, same: bool) -> None:
        """Note whether the field is as it was said; `held` is what is there."""
        if same:
            self._same.append(field)
        else:
            self._other.append(f"{field} is {_shown(held)}")

    def hide(self, *fields: str) -> None:
        """Note fields that the service does not show."""
        self._hidden += fields

    def verification(self, ref: LogRef) -> Verification:
        """Say whether the feedback is there: missing where anything else is, unknown where nothing could be seen."""
        hidden = f"{self._service} does not show: {', '.join(self._hidden)}" if self._hidden else None
        fields = tuple(self._same)
        if self._other:
            reason = f"{', '.join(self._other)}; feedback that came later may have changed it"
            return Verification(ref=ref, status="missing", reason=reason, fields=fields)
        if not fields:
            reason = hidden or f"{self._service} holds nothing of what was said"
            return Verification(ref=ref, status="unknown", reason=reason)
        return Verification(ref=ref, status="confirmed", reason=hidden, fields=fields)


def same_json(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: true is not 1 there, while 1 and 1.0 are the same number."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)


def _shown(value: Any) -> str:
    text = "not there" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
