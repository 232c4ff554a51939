"""Items and calls ⇄ JSON, as every store outside this process keeps them. ASCII, and nothing in it is secret."""

from __future__ import annotations

import json
from typing import Any, Final

from .._call import Call
from .._model import Feedback, Item, LogRef

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode


class Unreadable(ValueError):
    """A text that was not written here, or not as it is now."""


def item_to_json(item: Item) -> str:
    """Return the item as JSON."""
    values = item._asdict()
    return _encode(values | {"ref": item.ref.to_dict(), "feedback": item.feedback.to_dict()})


def item_from_json(text: str) -> Item:
    """Return the item that `item_to_json` was called with; raise Unreadable where the text is none such."""
    try:
        values = json.loads(text)
        told = {name: values[name] for name in Item._fields}
        told |= {"ref": LogRef.from_dict(values["ref"]), "feedback": Feedback.from_dict(values["feedback"])}
        return Item(**told)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def call_to_json(call: Call) -> str:
    """Return the call as JSON."""
    return _encode({"refs": [ref.to_dict() for ref in call.refs], "repeats": call.repeats})


def call_from_json(text: str) -> Call:
    """Return the call that `call_to_json` was called with; raise Unreadable where the text is none such."""
    try:
        values: dict[str, Any] = json.loads(text)
        return Call([LogRef.from_dict(ref) for ref in values["refs"]], repeats=values["repeats"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Unreadable:
    return Unreadable(f"{type(error).__name__}: {error}")
