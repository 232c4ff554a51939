"""An excerpt of what strangers wrote: JSON of any shape, such that it can be written as JSON and is not too long. Pure.

What is cut bears a mark that says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

MOST: Final = 1_000_000  # characters of a whole value
LONGEST: Final = 200_000  # characters of one string
DEEPEST: Final = 40  # levels of lists and objects
LARGEST: Final = 2**63  # of integers: others can be read nowhere else
LEAST: Final = 4  # characters that anything at all counts for

_ENCODED_SHOWN: Final = 40  # characters of what is encoded, such as an image: nobody reads it
_DATA_URL: Final = re.compile(r"data:[\w.+/;=-]{0,200},")
_ENCODED: Final = re.compile(r"[A-Za-z0-9+/_-]{1000,}={0,2}")


def excerpt(value: Any, most: int = MOST) -> Any:
    """Return the value as JSON of about `most` characters at most; what is no JSON is told of by its type."""
    return _Excerpt(most).of(value, 0)


class _Excerpt:
    """Takes excerpts, until so many characters are used up."""

    __slots__ = ("_left",)

    def __init__(self, most: int) -> None:
        self._left = most

    def of(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        self._left -= LEAST
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return _number(value)
        if not isinstance(value, (Mapping, list, tuple)):
            return cut(f"an object of type {type(value).__name__}")
        if depth >= DEEPEST:
            return cut("what is nested deeper")
        return self._object(value, depth) if isinstance(value, Mapping) else self._list(value, depth)

    def _text(self, text: str) -> str:
        if not text.isascii():
            text = text.encode(errors="replace").decode()
        shown = min(len(text), LONGEST, max(0, self._left))
        url = _DATA_URL.match(text)
        if url is not None or (len(text) > 1000 and _ENCODED.fullmatch(text)):
            shown = min(shown, _ENCODED_SHOWN + (url.end() if url else 0))
        self._left -= shown + LEAST
        return text if shown == len(text) else text[:shown] + cut(f"{len(text) - shown} of {len(text)} characters")

    def _object(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for number, (name, each) in enumerate(value.items()):
            if self._left <= 0:
                found["…"] = cut(f"{len(value) - number} of {len(value)} entries")
                break
            found[self._text(str(name))] = self.of(each, depth + 1)
        return found

    def _list(self, value: Any, depth: int) -> list[Any]:
        found: list[Any] = []
        for number, each in enumerate(value):
            if self._left <= 0:
                found.append(cut(f"{len(value) - number} of {len(value)} entries"))
                break
            found.append(self.of(each, depth + 1))
        return found


def cut(what: str) -> str:
    """Return the mark that stands where something was left out."""
    return f"… (left out: {what})"


def _number(value: float) -> Any:
    if isinstance(value, int):
        return int(value) if -LARGEST <= value < LARGEST else cut("a large integer")
    return float(value) if math.isfinite(value) else cut(f"the number {value!r}")
