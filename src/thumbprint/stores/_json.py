"""Items and calls ⇄ JSON, as every store outside this process keeps them. ASCII, and nothing in it is secret."""

from __future__ import annotations

import functools
import json
import math
import operator
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

from .._call import Call
from .._model import Feedback, Item, LogRef

_FAULTS: Final = (AttributeError, LookupError, RecursionError, TypeError, ValueError)

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode

_PLACE: Final = ("backend", "operation", "account_id", "gateway_id", "project_id", "project_name", "experiment_id")
_place_of: Final = operator.attrgetter(*_PLACE)
_SILENCE: Final = tuple(Feedback())


class Unreadable(ValueError):
    """A text that was not written here, or not as it is now."""


def item_to_json(item: Item) -> str:
    """Return the item as JSON, as `LogRef.to_dict` and `Feedback.to_dict` have its parts.

    Whoever records feedback waits for this, so it is put together from what is cheap.
    """
    id_, ref, feedback, created_at, attempts, reason, row = item
    row_text = "" if row is None else f',"row":{_encode(row)}'
    return (
        f'{{"id":{quoted(id_)},"ref":{_ref_to_json(ref)},"feedback":{_feedback_to_json(feedback)},'
        f'"created_at":{_value(created_at)},"attempts":{attempts},"reason":{_value(reason)}{row_text}}}'
    )


def item_from_json(text: str) -> Item:
    """Return the item that `item_to_json` was called with; raise Unreadable where the text is none such."""
    try:
        values = json.loads(text)
        values.setdefault("row")  # which few have
        told = {name: values[name] for name in Item._fields}
        _check(**told)
        told |= {"ref": LogRef.from_dict(values["ref"]), "feedback": Feedback.from_dict(values["feedback"])}
        return Item(**told)
    except _FAULTS as error:
        raise _unreadable(error) from error


def _check(*, id: object, created_at: object, attempts: object, reason: object, row: object, **_: object) -> None:  # noqa: A002 - as in Item
    """Raise ValueError for what no item has: it would fail later, in the middle of a delivery."""
    if not isinstance(id, str) or not isinstance(reason, (str, type(None))):
        raise ValueError("its id or reason is no text")
    if type(attempts) is not int or type(created_at) not in {int, float} or not math.isfinite(created_at):  # type: ignore[arg-type]
        raise ValueError("its attempts or its time is no number")
    if not isinstance(row, (dict, type(None))):
        raise ValueError("its row is no object")


def call_to_json(call: Call) -> str:
    """Return the call as JSON."""
    return _encode({"refs": [ref.to_dict() for ref in call.refs], "repeats": call.repeats})


def call_from_json(text: str) -> Call:
    """Return the call that `call_to_json` was called with; raise Unreadable where the text is none such."""
    try:
        values: dict[str, Any] = json.loads(text)
        refs, repeats = [LogRef.from_dict(ref) for ref in values["refs"]], values["repeats"]
        if not refs or not isinstance(repeats, bool):
            raise ValueError("it is no call's")
        return Call(refs, repeats=repeats)
    except _FAULTS as error:
        raise _unreadable(error) from error


def _ref_to_json(ref: LogRef) -> str:
    text = f'{_place_to_json(*_place_of(ref))},"id":{quoted(ref.id)},"captured_at":{_value(ref.captured_at)}'
    if ref.response_id is not None:
        text += f',"response_id":{quoted(ref.response_id)}'
    if ref.trace_id is not None:
        text += f',"trace_id":{quoted(ref.trace_id)}'
    if ref.span_id is not None:
        text += f',"span_id":{quoted(ref.span_id)}'
    return f"{{{text}}}"


@functools.lru_cache(maxsize=256)
def _place_to_json(*words: str | None) -> str:
    """Return what most log entries have in common."""
    return ",".join(f'"{name}":{quoted(word)}' for name, word in zip(_PLACE, words, strict=True) if word is not None)


def _feedback_to_json(feedback: Feedback) -> str:
    said = [
        f'"{name}":{_value(value)}'
        for name, value, silence in zip(Feedback._fields, feedback, _SILENCE, strict=True)
        if value is not silence and value != silence
    ]
    return f"{{{','.join(said)}}}"


def _value(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return quoted(value)
    if kind is int or (kind is float and math.isfinite(value)):
        return repr(value)
    if value is None:
        return "null"
    if kind is tuple:
        return f"[{','.join([_value(each) for each in value])}]"
    return _encode(value)


def _unreadable(error: Exception) -> Unreadable:
    return Unreadable(f"{type(error).__name__}: {error}")
