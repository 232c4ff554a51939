"""The headers of an answer, by lower-case name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Mapping


def headers_of(response: Any) -> Mapping[str, str]:
    """Return the headers of a response, which are looked up by lower-case name.

    httpx keeps headers as bytes, and goes through all of them each time that it is asked for one.
    """
    raw = getattr(response.headers, "raw", None)
    if raw is None:
        return cast("Mapping[str, str]", response.headers)
    try:
        found = {name.lower().decode(): value.decode() for name, value in raw}
    except UnicodeDecodeError:
        return _joined(raw)
    return found if len(found) == len(raw) else _joined(raw)


def _joined(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers that may be there more than once, and in any encoding: of one name, what they say is joined."""
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = _decoded(name.lower()), _decoded(value)
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
