"""The scope: what was captured while it was open, kept in OpenTelemetry's context.

The only importer of opentelemetry.context. A value that is set in the context is copied to child tasks and is then
out of the parent's reach, so a scope puts one mutable collector there when it is entered, and whatever runs inside,
in a child task or in `asyncio.to_thread` too, reports to that.

Where that is switched on, the ids of the open scopes are in OpenTelemetry's baggage too, which propagators carry to
other services: there a call is kept under these ids, so that feedback by id finds it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast
from urllib.parse import quote_plus

from opentelemetry import baggage
from opentelemetry import context as otel

from ._token import ALLOWED, LIFETIME
from ._words import counted
from .errors import ArgumentTypeError, ArgumentValueError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
    from types import TracebackType

    from opentelemetry.trace import Span

    from ._call import Call
    from ._model import Baggage, LogRef

P = ParamSpec("P")
R = TypeVar("R")

MAX_CALLS: Final = 10_000  # per scope; beyond that the oldest are forgotten, so that an endless one does not leak
MAX_ID_LENGTH: Final = 1024
FRESH_ID_BYTES: Final = 16

BAGGAGE: Final = "thumbprint.scope_id"
MAX_CARRIED: Final = 3072  # characters, encoded: propagators drop an entry of more than 4,096 (W3C Baggage)

_BETWEEN: Final = "\n"  # no id that is carried has one
_KEY: Final = "thumbprint-scope"  # create_key would add chance to it, which a Cloudflare Worker may not use on import
_NO_SPAN: Final = (None, None)


class _Entry:
    """One entering of a scope: what the context holds while it lasts, and in copies of the context for longer.

    So it is closed when the scope is left. Without that, a task or a thread that outlives the scope, or a context that
    some other library puts back, would go on reporting to it, and somebody else's call would be its last.
    """

    __slots__ = ("closed", "outer", "previous", "scope")

    def __init__(self, scope: Scope, outer: _Entry | None, previous: otel.Context) -> None:
        self.scope = scope
        self.outer = outer
        self.previous = previous
        self.closed = False


class Scope:
    """Collects the calls made inside it; made with `thumbprint.scope()`.

    A context manager, sync and async, and a decorator for functions, coroutines, generators, async generators and
    methods of each; decorated, every call (or iteration) has a scope of its own. May be entered more than once, also
    at the same time in several tasks: all of them report to it. Threads that are started with a copy of the context
    (`asyncio.to_thread`, not a bare `threading.Thread`) report to it too, and inner scopes report to outer ones. It
    collects while it is open: a task that outlives it no longer reports to it.

    In a generator, decorate: a with-block around a `yield` stays open in whoever consumes the generator.
    """

    def __init__(
        self,
        id: str | None = None,  # noqa: A002 - the contract's name
        *,
        issue: Callable[[Scope, float, Iterable[str]], str] | None = None,  # for thumbprint's own use
        baggage: Callable[[], Baggage | None] = lambda: None,
    ) -> None:
        check_id(id)
        self._issue = issue
        self._given_id = id
        self._baggage = baggage  # asked at each entry: a decorated function may be older than the configuration
        if id is not None:
            self._id = id
        self._calls: deque[Call] = deque(maxlen=MAX_CALLS)
        self._entries: list[_Entry] = []  # those that are open

    @property
    def id(self) -> str:
        """The id that was given, or a fresh unguessable one."""
        found: str | None = self.__dict__.get("_id")
        if found is None:  # made when it is asked for, as by whoever enters: a scope may decorate on import (see _KEY)
            found = self.__dict__.setdefault("_id", os.urandom(FRESH_ID_BYTES).hex())
        return found

    @property
    def refs(self) -> tuple[LogRef, ...]:
        """The captures so far, in order: of calls that succeeded (a failed call's target is its exception)."""
        return tuple(ref for call in self.calls for ref in call.refs)

    @property
    def last(self) -> LogRef | None:
        """The last capture that generated an answer; only where there is none, the last of any kind; else None.

        Where that call became two log entries, one gateway standing behind another, this is the latter of them;
        feedback goes to both.
        """
        call = last_of(self.calls)
        return call.refs[-1] if call else None

    def token(self, *, expires_in: float = LIFETIME, allow: Iterable[str] = ALLOWED) -> str:
        """Return a signed token that a browser may hold: it leads to the last call of this scope.

        Where nothing was captured yet, it leads to the last call that there will be, through the store. See
        `thumbprint.token_for`, also for what is raised.
        """
        if self._issue is None:
            raise ConfigurationError("this Scope was made without a Thumbprint: thumbprint.scope() makes one with")
        return self._issue(self, expires_in, allow)

    @property
    def baggage(self) -> Baggage | None:
        """What is done with scope ids in baggage; for thumbprint's own use."""
        return self._baggage()

    @property
    def calls(self) -> tuple[Call, ...]:
        """The captured calls in order, each with its refs; for thumbprint's own use."""
        return tuple(self._calls.copy())

    def report(self, call: Call) -> None:
        """Collect one call; for thumbprint's own use."""
        self._calls.append(call)

    def __enter__(self) -> Scope:
        previous = otel.get_current()
        entry = _Entry(self, _open_entry(previous), previous)
        self._entries.append(entry)
        otel.attach(_inside(entry, previous))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entry = self._entry_to_leave()
        if entry is not None:
            entry.closed = True
            self._entries.remove(entry)
        # Put back what was there, where it is still ours that is in the context. Elsewhere (a generator that is closed
        # from another task, say) there is nothing to take away. A token could not tell the two apart, nor be kept
        # apart when one scope is entered in several tasks.
        context = otel.get_current()
        found = cast("_Entry | None", context.get(_KEY))
        if found is not None and found.closed:
            otel.attach(_without_closed(entry.previous if found is entry else context))

    def _entry_to_leave(self) -> _Entry | None:
        """Return this scope's innermost entry that is open in this context, else the last that is open anywhere."""
        entry = _open_entry(otel.get_current())
        while entry is not None:
            if entry.scope is self:
                return entry
            entry = _still_open(entry.outer)
        return self._entries[-1] if self._entries else None

    async def __aenter__(self) -> Scope:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, traceback)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function, its signature kept, with a scope around each of its calls or iterations."""
        if isinstance(function, (staticmethod, classmethod)):
            return cast("Callable[P, R]", type(function)(self(function.__func__)))
        if inspect.isclass(function) or not callable(function):
            raise ArgumentTypeError(
                f"scope() decorates functions and methods, not {function!a:.80}", argument="function"
            )
        return _decorated(function, self._fresh)

    def _fresh(self) -> Scope:
        return type(self)(self._given_id, issue=self._issue, baggage=self._baggage)

    def __repr__(self) -> str:
        return f"<Scope {self.id!r}: {counted(len(self._calls), 'call')}>"


def check_id(id: str | None) -> None:  # noqa: A002 - the contract's name
    """Raise ArgumentValueError or ArgumentTypeError where a scope's id is not a string of 1 to 1,024 characters."""
    if id is None:
        return
    if not isinstance(id, str):
        hint = "; as a decorator write @thumbprint.scope()" if callable(id) else ""
        raise ArgumentTypeError(f"id={id!a:.80}: the id of a scope is a string{hint}", argument="id")
    if not 0 < len(id) <= MAX_ID_LENGTH:
        raise ArgumentValueError(
            f"the id of a scope has from 1 to {MAX_ID_LENGTH} characters, not {len(id)}", argument="id"
        )
    try:
        id.encode()
    except UnicodeEncodeError as error:  # no store could keep it
        raise ArgumentValueError(
            f"id={id!a:.80}: it cannot be written as UTF-8 ({error.reason})", argument="id"
        ) from None


def current_scope() -> Scope | None:
    """Return the innermost scope that is open in this context, or None."""
    entry = _open_entry(otel.get_current())
    return entry.scope if entry else None


def open_scopes() -> Iterator[Scope]:
    """Yield the scopes that are open in this context, the innermost first, each once."""
    entry = _open_entry(otel.get_current())
    seen: list[Scope] = []
    while entry is not None:
        if entry.scope not in seen:
            seen.append(entry.scope)
            yield entry.scope
        entry = _still_open(entry.outer)


def last_of(calls: tuple[Call, ...]) -> Call | None:
    """Return the last call that generated an answer, else the last of any kind, else None."""
    for call in reversed(calls):
        if call.generated:
            return call
    return calls[-1] if calls else None


def inbound_scope_ids(context: otel.Context | None = None) -> tuple[str, ...]:
    """Return the ids of scopes, open in other services, in whose baggage what runs in this context came here."""
    context = otel.get_current() if context is None else context
    carried = _carried(context)
    own = {entry.scope.id for entry in _entries(context)} if carried else ()
    return tuple(scope_id for scope_id in carried if scope_id not in own)


def recording_span() -> Span | None:
    """Return the current OpenTelemetry span where it is being recorded."""
    trace = sys.modules.get("opentelemetry.trace")  # as in current_span
    if trace is None:
        return None
    span: Span = trace.get_current_span()
    return span if span.is_recording() else None


def current_span() -> tuple[str, str] | tuple[None, None]:
    """Return the trace id and the span id (32 and 16 hex digits) of the current OpenTelemetry span, or two Nones."""
    # Where nobody has imported opentelemetry.trace there is no span, and no reason for us to pay for its import.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return _NO_SPAN
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return _NO_SPAN
    return f"{span.trace_id:032x}", f"{span.span_id:016x}"


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Be outside any span and scope, and have instrumentations leave HTTP requests alone."""
    context = otel.Context()
    for name in ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY"):
        context = otel.set_value(getattr(otel, name, name), True, context)  # noqa: FBT003 - what the key takes
    token = otel.attach(context)
    try:
        yield
    finally:
        otel.detach(token)


def run_untraced(function: Callable[[], None]) -> None:
    """Run the function so."""
    with untraced():
        function()


def _open_entry(context: otel.Context) -> _Entry | None:
    """Return the innermost entry of the context that is open."""
    return _still_open(cast("_Entry | None", context.get(_KEY)))


def _without_closed(context: otel.Context) -> otel.Context:
    """Return the context with its innermost open entry, or none, as its entry; everything else in it stays."""
    entry = _open_entry(context)
    if entry is context.get(_KEY):
        return context
    context = _without_ids_of_closed(context)
    if entry is not None:
        return otel.set_value(_KEY, entry, context)
    return otel.Context({key: value for key, value in context.items() if key != _KEY})


def _inside(entry: _Entry, outside: otel.Context) -> otel.Context:
    """Return the context outside with the entry in it, and where they are sent the ids of the scopes it is in."""
    context, mode = otel.set_value(_KEY, entry, outside), entry.scope.baggage
    if mode not in {"send", "both"}:
        return context
    inbound = inbound_scope_ids(outside) if mode == "both" else ()
    return _carrying(context, [*inbound, *reversed([each.scope.id for each in _entries(context) if not each.closed])])


def _entries(context: otel.Context) -> Iterator[_Entry]:
    """Yield the context's entries, the innermost first; those that are closed too."""
    entry = cast("_Entry | None", context.get(_KEY))
    while entry is not None:
        yield entry
        entry = entry.outer


def _carried(context: otel.Context) -> tuple[str, ...]:
    """Return the ids of scopes that are in the context's baggage, what cannot be one left out: anybody can write it."""
    value = baggage.get_baggage(BAGGAGE, context)
    if not isinstance(value, str) or len(value) > MAX_CARRIED:
        return ()
    return tuple(dict.fromkeys(filter(_carriable, value.split(_BETWEEN))))


def _carrying(context: otel.Context, ids: Iterable[str]) -> otel.Context:
    """Return the context with these ids in its baggage, the outermost first; of too many the innermost."""
    kept: list[str] = []
    left = MAX_CARRIED
    for scope_id in reversed(list(dict.fromkeys(filter(_carriable, ids)))):
        left -= len(quote_plus(_BETWEEN + scope_id))
        if left < 0:
            break
        kept.append(scope_id)
    if not kept:
        return baggage.remove_baggage(BAGGAGE, context)
    return baggage.set_baggage(BAGGAGE, _BETWEEN.join(reversed(kept)), context)


def _carriable(scope_id: str) -> bool:
    """Whether an id arrives as it was sent: printable, and without white space at its ends, which propagators strip."""
    return 0 < len(scope_id) <= MAX_ID_LENGTH and scope_id.isprintable() and scope_id == scope_id.strip()


def _without_ids_of_closed(context: otel.Context) -> otel.Context:
    """Return the context with the ids of scopes in its baggage that are open, here or in another service."""
    carried = _carried(context)
    if not carried:
        return context
    closed = {entry.scope.id for entry in _entries(context) if entry.closed}
    still_open = {entry.scope.id for entry in _entries(context) if not entry.closed}
    return _carrying(context, [scope_id for scope_id in carried if scope_id not in closed - still_open])


def _still_open(entry: _Entry | None) -> _Entry | None:
    """Return the entry, or where it is closed the next one outside that is open."""
    while entry is not None and entry.closed:
        entry = entry.outer
    return entry


class Steps:
    """Opens a scope for each step of a generator, so that between the steps its caller is outside.

    Where the generator's own code leaves another context behind at a `yield` (a span it started, say), that context
    is kept for its next steps, until the code itself takes it back. What is captured is also reported to the scopes
    that are open around the step, wherever it is taken.
    """

    def __init__(self, scope: Scope) -> None:
        self._outside = otel.get_current()
        self._entry = _Entry(scope, None, self._outside)
        self._entered = self._outside
        self._kept: otel.Context | None = None

    def __enter__(self) -> None:
        self._outside = otel.get_current()
        self._entry.outer = _open_entry(self._outside)
        if self._kept is None:
            self._entered = _inside(self._entry, self._outside)
        otel.attach(self._entered if self._kept is None else self._kept)

    def __exit__(self, *exc_info: object) -> None:
        left = otel.get_current()
        self._kept = None if left is self._entered else left
        otel.attach(self._outside)

    def close(self) -> None:
        """End the scope, also for tasks that the generator started."""
        self._entry.closed = True


def _generator_wrapper(function: Callable[..., Any], fresh: Callable[[], Scope]) -> Callable[..., Any]:
    """Run the generator with each of its steps inside a scope; values, errors and closing pass both ways."""

    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = functools.partial(next, generator)
        with contextlib.closing(Steps(fresh())) as steps:
            while True:
                with steps:
                    try:
                        item = step()
                    except StopIteration as stop:
                        return stop.value
                try:
                    step = functools.partial(generator.send, (yield item))
                except GeneratorExit:
                    with steps:
                        generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)

    return wrapper


def _async_generator_wrapper(function: Callable[..., Any], fresh: Callable[[], Scope]) -> Callable[..., Any]:
    """Do for an async generator what `_generator_wrapper` does for a plain one."""

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = function(*args, **kwargs)
        step: Callable[[], Any] = generator.__anext__
        with contextlib.closing(Steps(fresh())) as steps:
            while True:
                with steps:
                    try:
                        item = await step()
                    except StopAsyncIteration:
                        return
                try:
                    step = functools.partial(generator.asend, (yield item))
                except GeneratorExit:
                    with steps:
                        await generator.aclose()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)

    return wrapper


def _coroutine_wrapper(function: Callable[..., Any], fresh: Callable[[], Scope]) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with fresh():
            return await function(*args, **kwargs)

    return wrapper


def _plain_wrapper(function: Callable[..., Any], fresh: Callable[[], Scope]) -> Callable[..., Any]:
    """Scope a plain call, and what it returns where that is still to run (another decorator may hide its kind)."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        scope = fresh()
        with scope:
            result = function(*args, **kwargs)
        for is_kind, wrapper_of in _UNFINISHED:
            if is_kind(result):
                return wrapper_of(lambda: result, lambda: scope)()
        return result

    return wrapper


_UNFINISHED: Final[tuple[tuple[Callable[[object], bool], Callable[..., Any]], ...]] = (
    (inspect.iscoroutine, _coroutine_wrapper),
    (inspect.isgenerator, _generator_wrapper),
    (inspect.isasyncgen, _async_generator_wrapper),
)


def _decorated(function: Callable[P, R], fresh: Callable[[], Scope]) -> Callable[P, R]:
    """Wrap the function in one of its own kind, since frameworks ask a function of what kind it is."""
    wrapper_of = _plain_wrapper
    for is_kind, candidate in (
        (inspect.iscoroutinefunction, _coroutine_wrapper),
        (inspect.isgeneratorfunction, _generator_wrapper),
        (inspect.isasyncgenfunction, _async_generator_wrapper),
    ):
        if is_kind(function) or is_kind(getattr(function, "__call__", None)):  # noqa: B004 - its kind, not whether
            wrapper_of = candidate
    return cast("Callable[P, R]", functools.wraps(function)(wrapper_of(function, fresh)))
