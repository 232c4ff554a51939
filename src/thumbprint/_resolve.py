"""A target of `record_feedback` → the log entries that are meant, or an error. Nothing is ever guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NoReturn, get_args

from ._call import attached
from ._model import LogRef, Which
from ._scope import Scope, current_scope, current_span, last_of
from ._token import Grant, holds_token
from ._unresolved import CLOCK_SKEW
from .errors import AmbiguousTargetError, ArgumentTypeError, ArgumentValueError, UnknownTargetError
from .stores import Key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._call import Call
    from ._unresolved import Unresolved
    from .backends import Spanning
    from .stores import References

# Where objects of the SDKs keep the HTTP response, the stream or the completion that carries the call: errors and
# streams, raw responses, the `.stream()` helpers, the errors of a `.parse()` that found no end, errors in mid-stream.
# Then where those of frameworks keep the SDK's own object: answers, models made from them, events, errors.
HOLDERS: Final = (
    *("response", "http_response", "raw_response", "_response", "_raw_stream", "chunk", "completion", "request"),
    *("raw", "_raw_response", "data", "last_completion"),
)

# By what name answers, and what frameworks make of them, bear the response id: themselves, or one object further in.
RESPONSE_IDS: Final = ("id", "response_id", "provider_response_id", "last_response_id")
BEARERS: Final = ("response", "message", "response_metadata", "raw")

MOST_CAUSES: Final = 10  # errors that were raised from one another; a chain that is longer goes in a circle

_HINT: Final = (
    "give the answer itself, a LogRef, or the id of a scope, a response or a trace that this process captured"
)
_SHOWN: Final = 100
_WHICH: Final = get_args(Which)


def resolve(target: Any, which: Which, references: References, spanning: Sequence[Spanning] = ()) -> tuple[LogRef, ...]:
    """Return the log entries that the target leads to: one, or several of one call, or of several calls.

    `spanning` are the backends that know the spans of an SDK of their own.

    Raises UnknownTargetError, with what was looked at, where there are none; AmbiguousTargetError where one id
    belongs to several calls; ArgumentValueError for a `which` that is neither "last" nor "all".
    """
    if which not in _WHICH:
        raise ArgumentValueError(f'which={which!r}: it must be "last" or "all"', argument="which")
    refs = _explicit(target)
    if refs is not None:
        return refs
    try:
        return _refs_of(_calls(target, references), which, references)
    except AmbiguousTargetError:
        raise
    except UnknownTargetError:
        ref = _row_of(target, spanning)
        if ref is None:
            raise
        return (ref,)


def _row_of(target: Any, spanning: Sequence[Spanning]) -> LogRef | None:
    """Return the entry of a span of a service's own SDK; raise UnknownTargetError for one that leads to none."""
    for backend in spanning:
        try:
            ref = backend.row_of(target)
        except ValueError as error:
            raise UnknownTargetError(f"no log entry is behind {_described(target)}: {error}") from None
        if ref is not None:
            return ref
    return None


def resolve_later(target: Unresolved, references: References) -> tuple[LogRef, ...]:
    """Return the log entries that a target which was not known leads to by now; raises as `resolve` does.

    Calls that were made before it was given are meant, where there are any.
    """
    find = _of_scope if target.kind == "scope" else _by_id
    calls = find(target.id, references)
    before = tuple(call for call in calls if call.refs[0].captured_at <= target.asked_at + CLOCK_SKEW)
    return _refs_of(before or calls, target.which, references)


def _refs_of(calls: tuple[Call, ...], which: Which, references: References) -> tuple[LogRef, ...]:
    picked = picked_of(calls, which)
    return tuple(dict.fromkeys(ref for call in picked for ref in _origin(call, references).refs))


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
        return _of_scope(target.scope_id or "", references)
    if isinstance(target, str):
        return _by_id(str(target), references)
    call = _carried(target) or _by_borne_id(target, references)
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


def _of_scope(scope_id: str, references: References) -> tuple[Call, ...]:
    """Return the calls of the scope that a token names; never what else bears its id."""
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
        f"{_shown(id)} is the id of no scope, response or trace that is known here"
    )


def _by_response_id(response_id: str, references: References) -> Call | None:
    """Return the one call that made the response; an id that a gateway's cache has given out again is nobody's."""
    calls = references.recall(Key("response", response_id)) if response_id else ()
    if len(calls) > 1 or any(call.repeats for call in calls):
        raise AmbiguousTargetError(
            f"the response id {response_id!r} belongs to more than one call, as when a gateway answers from its cache: "
            f"give the answer object itself, its stream, or the id of a scope"
        )
    return calls[0] if calls else None


def _by_borne_id(target: Any, references: References) -> Call | None:
    """Return the call that made the response whose id the target bears; what bears those of several is nobody's."""
    found = {
        call.refs: call
        for response_id in dict.fromkeys(_borne_ids(target))
        if (call := _by_response_id(response_id, references)) is not None
    }
    if len(found) > 1:
        raise AmbiguousTargetError(
            f"{_described(target)} bears the response ids of {len(found)} calls: give the id of one, or a LogRef"
        )
    return next(iter(found.values()), None)


def _carried(target: Any) -> Call | None:
    """Return the call that the target, an object that it holds, or for an error what it was raised from, carries."""
    for error in _causes(target):
        for holder in (error, *(_held(error, name) for name in HOLDERS)):
            call = attached(holder)
            if call is not None:
                return call
    return None


def _causes(target: Any) -> Iterator[Any]:
    """Yield the target, and for an error that was raised from another one that one too, and so on."""
    yield target
    for _ in range(MOST_CAUSES):
        target = _held(target, "__cause__") if isinstance(target, BaseException) else None
        if target is None:
            return
        yield target


def _borne_ids(target: Any) -> Iterator[str]:
    """Yield what may be response ids, of the target or of what it holds: objects, or plain dicts."""
    for bearer in (target, *(_held(target, name) for name in BEARERS)):
        for name in RESPONSE_IDS:
            found = bearer.get(name) if isinstance(bearer, dict) else _held(bearer, name)
            if isinstance(found, str):
                yield found


def _held(target: Any, name: str) -> Any:
    try:
        return getattr(target, name, None)
    except Exception:  # the target is any object at all: an attribute that misbehaves holds nothing for us
        return None


def picked_of(calls: tuple[Call, ...], which: Which) -> tuple[Call, ...]:
    """Return those of the calls, which are in order, that are meant."""
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


def _shown(id: str) -> str:  # noqa: A002 - what it is
    """Return an id as a message may show it: whoever sees a token may use it."""
    return "a text with a token in it, which is to be handed on alone," if holds_token(id) else f"{id[:_SHOWN]!r}"


def _unknown(message: str) -> NoReturn:
    raise UnknownTargetError(message)


def _described(target: object) -> str:
    return f"an object of type {type(target).__module__}.{type(target).__qualname__}"
