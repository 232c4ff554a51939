"""What the REST API accepts in a feedback item and in an inserted event. Pure functions."""

from __future__ import annotations

from typing import Any, NoReturn

from thumbprint.emulator._wire import is_number

SOURCES = ("app", "api", "external")


class ItemError(ValueError):
    """An item that the API refuses. The text names the field."""


def check_feedback(item: object) -> dict[str, Any]:
    """Return a feedback item as it is. Raises ItemError."""
    known = _check_object("item", item)
    if "id" not in known:
        _refuse("id", "required")
    _check_common(known)
    if known.get("comment") is not None and not isinstance(known["comment"], str):
        _refuse("comment", "a string")
    if known.get("source") is not None and known["source"] not in SOURCES:
        _refuse("source", f"one of {', '.join(SOURCES)}")
    return {name: value for name, value in known.items() if name != "source" or value is not None}


def check_event(item: object) -> dict[str, Any]:
    """Return an event to insert as it is. Raises ItemError."""
    known = _check_object("event", item)
    _check_common(known)
    for name in ("metrics", "span_attributes"):
        _check_object(name, known.get(name, {}), optional=True)
    for name in ("span_id", "root_span_id"):
        if not isinstance(known.get(name, ""), str):
            _refuse(name, "a string")
    _check_strings("span_parents", known.get("span_parents"))
    return known


def _check_common(known: dict[str, Any]) -> None:
    if "id" in known and not (isinstance(known["id"], str) and known["id"]):
        _refuse("id", "a string that is not empty")
    scores = _check_object("scores", known.get("scores"), optional=True)
    for name, value in scores.items():
        if value is not None and not (is_number(value) and 0 <= value <= 1):
            _refuse(f"scores.{name}", "a number from 0 to 1, or null")
    _check_object("metadata", known.get("metadata"), optional=True)
    _check_strings("tags", known.get("tags"))


def _check_object(name: str, value: object, *, optional: bool = False) -> dict[str, Any]:
    if optional and value is None:
        return {}
    if not isinstance(value, dict):
        _refuse(name, "an object")
    return value


def _check_strings(name: str, value: object) -> None:
    if value is not None and not (isinstance(value, list) and all(isinstance(part, str) for part in value)):
        _refuse(name, "a list of strings")


def _refuse(name: str, expected: str) -> NoReturn:
    raise ItemError(f"{name} must be {expected}" if expected != "required" else f"{name} is required")
