"""The Thumbprint: one set of settings with all the parts that work together, and the public functions as methods."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from . import _events, _scope, _token, _words, capture
from ._config import MAKE_SECRET, SECRET, Delivery, Fallback, Settings, concealed, settings_from
from ._feedback import feedback_from, said
from ._log import warn
from ._metrics import count, unwatch, watch
from ._model import UNSET, Feedback, FlushResult, Item, LogRef, Unset, Which
from ._resolve import resolve
from .backends import known_home
from .delivery import Receipt, Told, Tracker, Worker, bounded, load_httpx
from .errors import ArgumentValueError, ConfigurationError, MissingSecretError, StoreError, UnknownTargetError
from .stores import BufferedStore, References

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._model import Baggage, Verification
    from .backends import Backend, Emitting
    from .stores import Store

ClientT = TypeVar("ClientT")

FLUSH_TIMEOUT: Final = 10.0  # seconds
SHUTDOWN_TIMEOUT: Final = 5.0  # seconds: an exit should not be felt
INLINE_TIMEOUT: Final = 5.0  # seconds
NOBODY: Final = "unknown"  # whose backend could not be found out

capture.when_imported(load_httpx)

_DISABLED: Final = "disabled"  # the scope of tokens that lead nowhere
_CLOSED: Final = "thumbprint was closed, by configure() or because the process ends"


class Thumbprint:
    """Captures calls, finds them again and delivers feedback, with settings of its own.

    The functions of the `thumbprint` module are the methods of one such object, the process-wide default. Make
    another where two sets of credentials live in one process.

    `backends` are the services that are known, by default Cloudflare, Braintrust and OpenTelemetry; `store` is where
    references and undelivered feedback are kept (`memory://`, `sqlite:///PATH`, `redis://…`); `delivery` is
    "background" (in threads), "inline" (before `record_feedback` returns, or when the receipt is awaited) or "none" (by
    another process that shares the store); `expire_after` the seconds for which feedback is tried (72 hours); with
    `fallback="memory"` a store that cannot be used is done without, as long as that is so; `baggage` says whether scope
    ids travel to other services: "send", "accept" or "both"; `disabled` turns everything into a no-op; `secret` signs
    tokens. Whatever is left out comes from the environment. Raises ConfigurationError for what cannot be used, and
    StoreError for a store in a file that cannot be opened.
    """

    def __init__(
        self,
        *,
        backends: Sequence[Backend | Emitting] | None = None,
        store: Store | str | None = None,
        delivery: Delivery | None = None,
        expire_after: float | None = None,
        fallback: Fallback | None = None,
        baggage: Baggage | None = None,
        disabled: bool | None = None,
        secret: str | None = None,
    ) -> None:
        secret = concealed(secret)
        self._settings: Settings = settings_from(
            backends=backends,
            store=store,
            delivery=delivery,
            expire_after=expire_after,
            fallback=fallback,
            baggage=baggage,
            disabled=disabled,
            secret=secret,
        )
        self._homes = {name: known_home(backend) for name, backend in self._settings.backends.items()}
        self._references = References(self._settings.store, threaded=self._settings.delivery != "inline")
        self._recorder = capture.Recorder(
            self._settings.backends.values(),
            self._references,
            emitting=self._settings.emitting.values(),
            accept_baggage=self._settings.baggage in {"accept", "both"},
        )
        alone = self._settings.delivery == "background" or not self._settings.store.shared
        self._tracker = Tracker(unattended=None if alone else self._settings.store)
        self._worker = Worker(
            store=self._settings.store,
            backends=self._settings.backends,
            tracker=self._tracker,
            expire_after=self._settings.expire_after,
        )
        self._tracker.verify = self._worker.verify
        self._instrumentation = capture.Instrumentation(self.recorder)
        self._closed = False
        self._begun = False
        watch(self._settings.store)
        _alive.add(self)

    def recorder(self) -> capture.Recorder | None:
        """Return who records a call that is made now, None where capture is disabled; for thumbprint's own use."""
        if not self._begun:
            self._begin()
        return None if self._settings.disabled else self._recorder

    def _begin(self) -> None:
        """Deliver what waits in a shared store from before, not only what comes; be told of this process's end."""
        self._begun = True
        if "multiprocessing.util" in sys.modules:  # whose processes end without what is registered with atexit
            sys.modules["multiprocessing.util"].Finalize(None, _close_all, exitpriority=0)
        if self._settings.store.shared and self._settings.delivery == "background" and not self._settings.disabled:
            self._worker.wake()

    def wrap(self, client: ClientT) -> ClientT:
        """Capture the calls of one client; return the same client. See `thumbprint.wrap`."""
        return capture.wrap(client, self.recorder)

    def unwrap(self, client: ClientT) -> ClientT:
        """Undo `wrap`; return the same client."""
        return capture.unwrap(client, self.recorder)

    def instrument(self) -> None:
        """Capture the calls of all clients in this process. See `thumbprint.instrument`."""
        self._instrumentation.instrument()

    def uninstrument(self) -> None:
        """Undo `instrument`."""
        self._instrumentation.uninstrument()

    def scope(self, id: str | None = None) -> _scope.Scope:  # noqa: A002 - the contract's name
        """Return a scope that collects the calls made inside it. See `thumbprint.scope`."""
        return _scope.Scope(id, issue=self._token_of_scope, baggage=self.baggage)

    def baggage(self) -> Baggage | None:
        """Return what is done with scope ids in baggage; for thumbprint's own use."""
        return None if self._settings.disabled else self._settings.baggage

    def current_scope(self) -> _scope.Scope | None:
        """Return the innermost scope that is open in this task or thread, or None."""
        return _scope.current_scope()

    def record_feedback(
        self,
        target: Any = None,
        /,
        *,
        thumbs: str | bool | int | Unset | None = UNSET,
        score: float | Unset | None = UNSET,
        scores: Mapping[str, float | None] | None = None,
        comment: str | None = None,
        expected: Any = UNSET,
        tags: Iterable[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        user_id: str | None = None,
        source: str | None = None,
        which: Which = "last",
    ) -> Receipt:
        """Say what somebody thinks of an answer. See `thumbprint.record_feedback`."""
        feedback = feedback_from(thumbs, score, scores, comment, expected, tags, metadata, user_id, source)
        return self.record(target, feedback, which)

    def record(self, target: Any, feedback: Feedback, which: Which) -> Receipt:
        """Record feedback that has been checked; for thumbprint's own use."""
        if self._settings.disabled:
            return self._tracker.open((), feedback, None, [])
        if not self._begun:
            self._begin()
        if isinstance(target, str) and _token.is_token(target):
            grant = self.granted(target)
            grant.check(said(feedback))
            target, which = grant.refs or grant, grant.which
        try:
            refs = resolve(target, which, self._references)
        except StoreError as error:  # what an id leads to cannot be looked up now
            warn("dropped", "feedback was dropped: %s", error)
            count("dropped", NOBODY)
            return self._tracker.open((), feedback, None, [])
        receipt = self._queue(refs, feedback)
        if self._settings.emitting and _events.heard():
            self._emit(refs, feedback)
        return receipt

    def _emit(self, refs: Sequence[LogRef], feedback: Feedback) -> None:
        """Tell OpenTelemetry of the feedback, whichever services keep the entries."""
        for emitting in self._settings.emitting.values():
            _events.emit(emitting.events(refs, feedback))

    def token_for(
        self,
        target: Any = None,
        /,
        *,
        which: Which = "last",
        expires_in: float = _token.LIFETIME,
        allow: Iterable[str] = _token.ALLOWED,
    ) -> str:
        """Return a signed token that a browser may hold. See `thumbprint.token_for`."""
        keys = self._signing_keys()
        allowed, expires_at = _token.terms(allow, expires_in, time.time())
        refs, scope_id = self._meant(target, which)
        grant = _token.Grant(allow=allowed, expires_at=expires_at, refs=refs, scope_id=scope_id, which=which)
        return _token.issue(grant, keys, self._homes)

    def _token_of_scope(self, scope: _scope.Scope, expires_in: float, allow: Iterable[str]) -> str:
        return self.token_for(scope, expires_in=expires_in, allow=allow)

    def granted(self, token: str) -> _token.Grant:
        """Return what a token grants now; raise a TokenError, or MissingSecretError; for thumbprint's own use."""
        return _token.read(token, self._signing_keys(), self._homes, now=time.time())

    def _signing_keys(self) -> _token.Keys:
        if self._settings.keys is None:
            raise MissingSecretError(
                f"feedback tokens need a secret: set {SECRET}, or pass secret=… to configure(), to the same in every "
                f"process that issues or takes them; make one with {MAKE_SECRET}",
                variable=SECRET,
            )
        return self._settings.keys

    def _meant(self, target: Any, which: Which) -> tuple[tuple[LogRef, ...], str | None]:
        """Return the refs that a target leads to; of a scope that captured nothing yet, its id instead."""
        if isinstance(target, str) and _token.is_token(target):
            raise ArgumentValueError(
                "the target is a token already: issue another for what it was issued for", argument="target"
            )
        if self._settings.disabled:
            return (), _DISABLED
        try:
            return resolve(target, which, self._references), None
        except UnknownTargetError:
            scope = _scope.current_scope() if target is None else target
            if not isinstance(scope, _scope.Scope):
                raise
            return (), scope.id

    def verify(self, target: LogRef, feedback: Feedback, timeout: float) -> tuple[Verification, ...]:
        """Ask the service whether it holds this feedback, which is not recorded; for thumbprint's own use."""
        refs = resolve(target, "last", self._references)
        for ref in refs:
            self._backend_of(ref)
        return self._worker.verify(refs, feedback, timeout)

    def flush(self, timeout: float | None = FLUSH_TIMEOUT) -> FlushResult:
        """Wait until everything queued is settled, at most `timeout` seconds. See `thumbprint.flush`."""
        if self._settings.delivery != "background":
            return self._tracker.wait_until_idle(0)
        if timeout != 0:
            for (
                name
            ) in self._tracker.awaited_backends():  # whose threads may not have been started: it was not possible
                self._worker.wake(name)
        return self._tracker.wait_until_idle(timeout)

    def shutdown(self, timeout: float | None = SHUTDOWN_TIMEOUT) -> FlushResult:
        """Flush, stop delivering and close the connections. See `thumbprint.shutdown`."""
        began = time.monotonic()
        result = self.flush(timeout)
        for part in (self._worker.stop, self._references.close):
            part(None if timeout is None else bounded(timeout) - (time.monotonic() - began))
        self._settings.store.close()
        return result

    def close(self, timeout: float | None = SHUTDOWN_TIMEOUT) -> FlushResult:
        """Shut down for good; what comes later is dropped.

        What is not delivered within `timeout` seconds stays in a durable store; in a store of this process it is lost.
        """
        self._closed = True
        result = self.shutdown(timeout)
        unwatch(self._settings.store)
        dropped = self._tracker.drop(self._lost(), _CLOSED)
        if self._settings.store.shared:
            self._tracker.unattended = self._settings.store  # what becomes of the rest is up to others
        for ref in dropped:
            count("dropped", ref.backend)
        if dropped:
            warn(
                "closed",
                "not delivered in time, and lost: feedback for %s",
                _words.counted(len(dropped), "log entry", "log entries"),
            )
        _alive.discard(self)
        left = result.remaining - len(dropped)
        return dataclasses.replace(result, remaining=left, dropped=result.dropped + len(dropped))

    def wait_or_refusal(self, receipt: Receipt, timeout: float | None) -> str | None:
        """Wait like `receipt.wait`, but no longer than until a service refuses the credentials; return its words.

        For thumbprint's own use.
        """

        def refusal() -> str | None:
            return next(filter(None, map(self._worker.refusal, {each.ref.backend for each in receipt.outcomes})), None)

        self._tracker.wait_for(lambda: receipt.status != "queued" or refusal() is not None, timeout)
        return refusal() if receipt.status == "queued" else None

    def replaced_by(self, successor: Thumbprint) -> None:
        """Close for good, and hand on to a successor what would be lost with the store; for thumbprint's own use."""
        self._closed = True
        self.shutdown()
        store = self._settings.store
        if not store.shared:
            successor._take_over(store.listed(dead=False, most=sys.maxsize), self._tracker)
        self.close(0)

    def _take_over(self, items: Sequence[Item], tracker: Tracker) -> None:
        """Deliver what waited in another's store, to whose receipts it belongs."""
        mine = [item for item in items if item.ref.backend in self._settings.backends and not self._settings.disabled]
        self._tracker.take_over([item.id for item in mine], tracker)
        for item in mine:
            if self._put([item]) and self._settings.delivery == "background":
                self._worker.wake(item.ref.backend)

    def _lost(self) -> Iterable[str]:
        """Return the ids of what is queued and ends with this process."""
        store = self._settings.store
        if isinstance(store, BufferedStore):
            return [item.id for item in store.unsaved()]
        return () if store.shared else self._tracker.queued()

    def _after_fork(self) -> None:
        self._begun = False
        self._references.after_fork()
        self._tracker.after_fork()
        self._worker.after_fork()

    def _queue(self, refs: Sequence[LogRef], feedback: Feedback) -> Receipt:
        told: dict[int, Told] | None = None
        for place, ref in enumerate(refs):
            news = self._told_at_once(ref, feedback)
            if news is not None:
                told = {**(told or {}), place: news}
        items: list[Item] = []
        try:
            receipt = self._tracker.open(refs, feedback, told, items)
            if items and self._put(items):
                self._start_delivery(receipt, items)
        except BaseException:  # such as the exit of a signal handler that came just now
            self._end_interrupted(items)
            raise
        return receipt

    def _end_interrupted(self, items: Sequence[Item]) -> None:
        """Settle what did not get into the store, lest a flush wait for it, and have the rest delivered."""
        ids = [item.id for item in items]
        with contextlib.suppress(Exception):  # it may not be possible to ask the store now
            stored = self._settings.store.fates(ids)
            self._tracker.drop([name for name in ids if name not in stored], "its recording was interrupted")
            if stored and self._settings.delivery == "background":
                self._worker.wake()

    def _put(self, items: Sequence[Item]) -> bool:
        """Put the items into the outbox; return False, and drop them, where it does not take them."""
        taken, reason = self._offered(items)
        if not taken:
            warn("dropped", "feedback was dropped: %s", reason)
            for item in items:
                count("dropped", item.ref.backend)
                self._tracker.settle(item, "dropped", reason)
            return False
        for item in items:
            count("queued", item.ref.backend)
        if self._settings.store.shared:
            self._tracker.stored(items, taken if isinstance(taken, str) else None)
        return True

    def _offered(self, items: Sequence[Item]) -> tuple[bool | str, str]:
        """Return what the store says to the items, and why where it does not take them."""
        if self._closed:
            return False, _CLOSED
        try:
            return self._settings.store.put(items), "the outbox is full"
        except StoreError as error:
            return False, str(error)
        except Exception as error:  # a fault of somebody's store is not to harm the application
            warn("store", "the store failed to take feedback", exc_info=True)
            return False, f"{type(error).__name__} in the store"

    def _start_delivery(self, receipt: Receipt, items: Sequence[Item]) -> None:
        if self._settings.delivery == "background":
            for item in items:
                self._worker.wake(item.ref.backend)
        elif self._settings.delivery == "inline":
            names = {item.ref.backend for item in items}
            receipt.deliver_when_asked(lambda: self._worker.deliver_now(names, INLINE_TIMEOUT))

    def _told_at_once(self, ref: LogRef, feedback: Feedback) -> Told | None:
        """Return what there is to tell of feedback for one entry before it is sent; None where it is just queued.

        It is dropped where its service can hold nothing of it.
        """
        backend = self._backend_of(ref)
        unsupported = backend.unsupported(feedback)
        if not unsupported and backend.name not in self._settings.emitting:
            return None
        if said(feedback) <= set(unsupported):
            count("dropped", backend.name)
            reason = f"{backend.name} can hold none of {', '.join(unsupported)}"
            return Told(status="dropped", reason=reason, unsupported=unsupported)
        if backend.name in self._settings.emitting:
            return _told_by_events(backend.name, unsupported)
        return Told(unsupported=unsupported)

    def _backend_of(self, ref: LogRef) -> Backend | Emitting:
        """Return the backend of a log entry; raise ConfigurationError where nothing can be delivered to it."""
        backend = self._settings.backends.get(ref.backend) or self._settings.emitting.get(ref.backend)
        if backend is None:
            known = ", ".join(sorted({*self._settings.backends, *self._settings.emitting})) or "none"
            raise ConfigurationError(f"no backend named {ref.backend!r} is configured for {ref}; known: {known}")
        backend.check(ref)
        return backend


def _told_by_events(name: str, unsupported: tuple[str, ...]) -> Told:
    """Return what becomes of feedback for what only events go to, which are emitted as soon as it is recorded."""
    if _events.heard():
        count("delivered", name)
        return Told("delivered", None, 1, unsupported)
    count("dropped", name)
    return Told("dropped", "this process has set up no OpenTelemetry logger provider", 0, unsupported)


_alive: weakref.WeakSet[Thumbprint] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    ends_at = time.monotonic() + SHUTDOWN_TIMEOUT
    for thumbprint in list(_alive):
        thumbprint.close(ends_at - time.monotonic())


def _after_fork() -> None:
    """Begin anew in a child process: threads, connections and locks are the parent's, and so is what is queued."""
    for thumbprint in list(_alive):
        thumbprint._after_fork()  # noqa: SLF001 - our own class


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_after_fork)
