"""A target of `record_feedback` → the log entries that are meant, or an error. Nothing is ever guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from ._call import attached
from ._model import LogRef, Which
from ._scope import Scope, current_scope, current_span, last_of
from ._token import Grant
from .errors import AmbiguousTargetError, ArgumentTypeError, ArgumentValueError, UnknownTargetError
from .stores import Key

if TYPE_CHECKING:
    from ._call import Call
    from .stores import References

# Where objects of the SDKs keep the HTTP response, the stream or the completion that carries the call: errors and
# streams, raw responses, the `.stream()` helpers, the errors of a `.parse()` that found no end, errors in mid-stream.
HOLDERS: Final = ("response", "http_response", "_response", "_raw_stream", "chunk", "completion", "request")

_HINT: Final = (
    "give the answer itself, a LogRef, or the id of a scope, a response or a trace that this process captured"
)
_SHOWN: Final = 100
_WHICH: Final = get_args(Which)


def resolve(target: Any, which: Which, references: References) -> tuple[LogRef, ...]:
    """Return the log entries that the target leads to: one, or several of one call, or of several calls.

    Raises UnknownTargetError, with what was looked at, where there are none; AmbiguousTargetError where one id
    belongs to several calls; ArgumentValueError for a `which` that is neither "last" nor "all".
    """
    if which not in _WHICH:
        raise ArgumentValueError(f'which={which!r}: it must be "last" or "all"', argument="which")
    refs = _explicit(target)
    if refs is not None:
        return refs
    calls = _picked(_calls(target, references), which)
    return tuple(dict.fromkeys(ref for call in calls for ref in _origin(call, references).refs))


def _explicit(target: Any) -> tuple[LogRef, ...] | None:
    """Return the refs that the caller named one by one; None where the target is something else."""
    if isinstance(target, LogRef):
        return (target,)
    if not isinstance(target, (list, tuple, set, frozenset)):
        return None
    for ref in target:
        if not isinstance(ref, LogRef):
            raise ArgumentTypeError(
                f"target: a {type(target).__name__} of targets takes LogRefs only, not {_described(ref)}",
                argument="target",
            )
    if not target:
        raise UnknownTargetError(f"the {type(target).__name__} of targets is empty")
    return tuple(dict.fromkeys(target))


def _calls(target: Any, references: References) -> tuple[Call, ...]:
    if target is None:
        return _ambient(references)
    if isinstance(target, Scope):
        return target.calls or _unknown(f"nothing was captured in {target!r}")
    if isinstance(target, Grant):
        return _of_grant(target, references)
    if isinstance(target, str):
        return _by_id(str(target), references)
    call = _carried(target) or _by_response_id(_own_id(target), references)
    if call is not None:
        return (call,)
    raise UnknownTargetError(
        f"no captured call is behind {_described(target)}: it carries none and bears no id that is known; was its "
        f"client wrapped, and did the answer come through a gateway? Otherwise {_HINT}"
    )


def _ambient(references: References) -> tuple[Call, ...]:
    """Return the calls of the current scope, or where no scope is open those of the current trace."""
    scope = current_scope()
    if scope is not None:
        return scope.calls or _unknown(f"no target was given, and nothing was captured in the current {scope!r}")
    trace_id, _ = current_span()
    if trace_id is None:
        _unknown(f"no target was given, and neither a scope nor an OpenTelemetry span is current: {_HINT}")
    return references.recall(Key("trace", trace_id)) or _unknown(
        f"no target was given, no scope is open, and nothing was captured in the current trace {trace_id}"
    )


def _of_grant(grant: Grant, references: References) -> tuple[Call, ...]:
    """Return the calls of the scope that a token names; never what else bears its id."""
    scope_id = grant.scope_id or ""
    return references.recall(Key("scope", scope_id)) or _unknown(
        f"the token leads to the scope {scope_id[:_SHOWN]!r}, of which no call is known here: it captured none, or "
        f"its store is not shared"
    )


def _by_id(id: str, references: References) -> tuple[Call, ...]:  # noqa: A002 - what it is
    calls = references.recall(Key("scope", id))
    if calls:
        return calls
    call = _by_response_id(id, references)
    if call is not None:
        return (call,)
    return references.recall(Key("trace", id.lower())) or _unknown(
        f"{id[:_SHOWN]!r} is the id of no scope, response or trace that is known here"
    )


def _by_response_id(response_id: str | None, references: References) -> Call | None:
    """Return the one call that made the response; an id that a gateway's cache has given out again is nobody's."""
    calls = references.recall(Key("response", response_id)) if response_id else ()
    if len(calls) > 1 or any(call.repeats for call in calls):
        raise AmbiguousTargetError(
            f"the response id {response_id!r} belongs to more than one call, as when a gateway answers from its cache: "
            f"give the answer object itself, its stream, or the id of a scope"
        )
    return calls[0] if calls else None


def _carried(target: Any) -> Call | None:
    """Return the call that the target, or an object that it holds, carries."""
    call = attached(target)
    if call is not None:
        return call
    for name in HOLDERS:
        call = attached(_held(target, name))
        if call is not None:
            return call
    return None


def _own_id(target: Any) -> str | None:
    """Return the response id that an answer bears, its own or that of the response which it, an event, holds."""
    for bearer in (target, _held(target, "response")):
        values = _held(bearer, "__dict__")
        found = values.get("id") if isinstance(values, dict) else None
        if isinstance(found, str):
            return found
    return None


def _held(target: Any, name: str) -> Any:
    try:
        return getattr(target, name, None)
    except Exception:  # the target is any object at all: an attribute that misbehaves holds nothing for us
        return None


def _picked(calls: tuple[Call, ...], which: Which) -> tuple[Call, ...]:
    if which == "all":
        return calls
    last = last_of(calls)
    return () if last is None else (last,)


def _origin(call: Call, references: References) -> Call:
    """Return the call that made the response which this call only read back; any other call is its own origin."""
    if call.generated or call.response_id is None:
        return call
    makers = references.recall(Key("response", call.response_id))
    return makers[0] if len(makers) == 1 else call


def _unknown(message: str) -> NoReturn:
    raise UnknownTargetError(message)


def _described(target: object) -> str:
    return f"an object of type {type(target).__module__}.{type(target).__qualname__}"
