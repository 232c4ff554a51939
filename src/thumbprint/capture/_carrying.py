"""What is parsed from the answer to a captured call carries the call: a stream's chunk, a raw response's content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .._call import attach
from .._model import is_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._call import Call

_NONE: Final[Mapping[str, object]] = {}


def carry(call: Call, result: object) -> bool:
    """Let what was parsed carry the call; return whether the id of the answer, which it may bear, is to be learnt."""
    attach(result, call)
    try:
        held = _held(result)
        if held is not None:
            attach(held, call)
    except Exception:  # it is any object at all: one whose attributes misbehave holds nothing
        return False
    # What is parsed while the call is not over is what it ends with: it is learnt from then.
    return call.learns


def response_id_in(result: object) -> str | None:
    """Return the id that an answer bears, or the response or the message that it holds; not what can be none."""
    return _id_of(result) or _id_of(_held(result))


def _held(result: object) -> object | None:
    """Return the answer that an event of a stream holds: a response (Responses API), a message (Anthropic); or None."""
    attributes = getattr(result, "__dict__", _NONE)
    return attributes.get("response") or attributes.get("message")


def _id_of(bearer: object) -> str | None:
    found = getattr(bearer, "__dict__", _NONE).get("id")
    return found if found and isinstance(found, str) and is_word(found) else None
