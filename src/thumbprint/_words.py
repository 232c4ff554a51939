"""How values are written for people who operate thumbprint. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from ._model import UNSET

if TYPE_CHECKING:
    from ._model import Feedback

UNITS: Final = (("days", 86400), ("hours", 3600), ("minutes", 60))
SHOWN: Final = 40  # characters of a value
_THUMBS: Final = {1: "up", -1: "down", None: "none"}


def span(seconds: float) -> str:
    """Return a time span in the largest unit of which there are at least two."""
    for unit, length in UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return counted(round(seconds), "second")


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun, whose plural is told where it has no mere s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def printable(text: str) -> str:
    """Return text from outside as a terminal may be given it: on one line, and without control characters."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def briefly(feedback: Feedback) -> str:
    """Return what is said, in one short line."""
    said: dict[str, Any] = {}
    if feedback.thumbs is not UNSET:
        said["thumbs"] = _THUMBS[feedback.thumbs]
    if feedback.score is not UNSET:
        said["score"] = feedback.score
    said |= {f"scores.{name}": value for name, value in feedback.scores.items()}
    if feedback.comments:
        said["comment"] = "\n".join(feedback.comments)
    if feedback.expected is not UNSET:
        said["expected"] = feedback.expected
    said |= {name: value for name in ("tags", "user_id", "source") if (value := getattr(feedback, name)) is not None}
    said |= {f"metadata.{name}": value for name, value in feedback.metadata.items()}
    return printable(" ".join(f"{name}={_shown(value)}" for name, value in said.items()))


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) and value.isalnum() else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
