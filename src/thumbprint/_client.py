"""The Thumbprint: one set of settings with all the parts that work together, and the public functions as methods."""

from __future__ import annotations

import contextlib
import time
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from . import _scope, _token, capture
from ._config import MAKE_SECRET, SECRET, Delivery, Fallback, Settings, concealed, concealed_url, settings_from
from ._dispatch import SHUTDOWN_TIMEOUT, Dispatch
from ._feedback import feedback_from
from ._log import warn
from ._metrics import count
from ._model import UNSET, Feedback, FlushResult, Item, LogRef, Unset, Which
from ._resolve import resolve
from .backends import Spanning, known_home
from .delivery import Receipt, load_httpx
from .errors import (
    AmbiguousTargetError,
    ArgumentValueError,
    MissingSecretError,
    StoreError,
    ThumbprintError,
    UnknownTargetError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ._model import Baggage, Verification
    from ._unresolved import Unresolved
    from .backends import Backend, Emitting
    from .delivery import Told
    from .stores import Store

ClientT = TypeVar("ClientT")

FLUSH_TIMEOUT: Final = 10.0  # seconds
NOBODY: Final = "unknown"  # whose backend could not be found out
MAX_UNRESOLVED: Final = 1000  # pieces of feedback whose target leads nowhere yet: strangers may send such ids

capture.when_imported(load_httpx)

_DISABLED: Final = "disabled"  # the scope of tokens that lead nowhere


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
        secret, store = concealed(secret), concealed_url(store)
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
        self._spanning = [backend for backend in self._settings.backends.values() if isinstance(backend, Spanning)]
        self._homes = {name: known_home(backend) for name, backend in self._settings.backends.items()}
        self._dispatch = Dispatch(self._settings)
        self._references, self._tracker = self._dispatch.references, self._dispatch.tracker
        self._worker = self._dispatch.worker
        self._admission, self._resolver = self._dispatch.admission, self._dispatch.resolver
        self._recorder = capture.Recorder(
            self._settings.backends.values(),
            self._references,
            emitting=self._settings.emitting.values(),
            accept_baggage=self._settings.baggage in {"accept", "both"},
            log=self._dispatch.log,
        )
        self._instrumentation = capture.Instrumentation(self.recorder)
        weakref.finalize(self, self._dispatch.retire).atexit = False  # at exit, what is queued has its time

    def recorder(self) -> capture.Recorder | None:
        """Return who records a call that is made now, None where capture is disabled; for thumbprint's own use."""
        if not self._dispatch.begun:
            self._dispatch.begin()
        return None if self._settings.disabled else self._recorder

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

    def store(self) -> Store | None:
        """Return what is shared with other processes, or not, None where disabled; for thumbprint's own use."""
        return None if self._settings.disabled else self._settings.store

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
        if not self._dispatch.begun:
            self._dispatch.begin()
        if isinstance(target, str) and _token.is_token(target):
            grant = self.granted(target)
            grant.check(feedback.said())
            target, which = grant.refs or grant, grant.which
        later = self._resolver.later(target, which) if self._resolver.hopes else None
        if later is not None and self._resolver.is_waited_for(later):  # what comes later must not overtake it
            return self._wait_for(later, feedback)
        try:
            refs = resolve(target, which, self._references, self._spanning)
        except AmbiguousTargetError:
            raise
        except (UnknownTargetError, StoreError) as error:
            return self._recorded_later(later, feedback, error)
        receipt = self._queue(self._tracker.open, refs, feedback, self._admission.told(refs, feedback))
        self._admission.emit(refs, feedback)
        return receipt

    def _recorded_later(self, later: Unresolved | None, feedback: Feedback, error: ThumbprintError) -> Receipt:
        """Have feedback wait whose target may lead to a call later; else raise the error, or drop it by the store's."""
        if later is not None and self._resolver.waiting() < MAX_UNRESOLVED:
            return self._wait_for(later, feedback)
        if isinstance(error, StoreError):  # what an id leads to cannot be looked up now
            warn("dropped", "feedback was dropped: %s", error)
            count("dropped", NOBODY)
            return self._tracker.open((), feedback, None, [])
        raise error

    def _wait_for(self, later: Unresolved, feedback: Feedback) -> Receipt:
        return self._queue(self._tracker.open_unresolved, (later.to_ref(),), feedback, None)

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
            return resolve(target, which, self._references, self._spanning), None
        except UnknownTargetError:
            scope = _scope.current_scope() if target is None else target
            if not isinstance(scope, _scope.Scope):
                raise
            return (), scope.id

    def verify(self, target: LogRef, feedback: Feedback, timeout: float) -> tuple[Verification, ...]:
        """Ask the service whether it holds this feedback, which is not recorded; for thumbprint's own use."""
        refs = resolve(target, "last", self._references)
        for ref in refs:
            self._admission.backend_of(ref)
        return self._worker.verify(refs, feedback, timeout)

    def flush(self, timeout: float | None = FLUSH_TIMEOUT) -> FlushResult:
        """Wait until everything queued is settled, at most `timeout` seconds. See `thumbprint.flush`."""
        return self._dispatch.flush(timeout)

    def shutdown(self, timeout: float | None = SHUTDOWN_TIMEOUT) -> FlushResult:
        """Flush, stop delivering and close the connections. See `thumbprint.shutdown`."""
        return self._dispatch.shutdown(timeout)

    def close(self, timeout: float | None = SHUTDOWN_TIMEOUT) -> FlushResult:
        """Shut down for good; what comes later is dropped.

        What is not delivered within `timeout` seconds stays in a durable store; in a store of this process it is lost.
        """
        return self._dispatch.close(timeout)

    def wait_or_refusal(self, receipt: Receipt, timeout: float | None) -> str | None:
        """Wait like `receipt.wait`, but no longer than until a service refuses the credentials; return its words.

        For thumbprint's own use.
        """

        def refusal() -> str | None:
            return next(filter(None, map(self._worker.refusal, {each.ref.backend for each in receipt.outcomes})), None)

        self._tracker.wait_for(lambda: receipt.status != "queued" or refusal() is not None, timeout)
        return refusal() if receipt.status == "queued" else None

    def succeed(self, before: Thumbprint) -> None:
        """Take the place of another, before this one is used; for thumbprint's own use."""
        self._dispatch.succeed(before._dispatch)

    def hand_over(self, successor: Thumbprint) -> None:
        """Close for good, and hand on what is not delivered to who took this one's place; for thumbprint's own use."""
        self._dispatch.hand_over(successor._dispatch)

    def _queue(
        self, open_: Callable[..., Receipt], refs: Sequence[LogRef], feedback: Feedback, told: dict[int, Told] | None
    ) -> Receipt:
        items: list[Item] = []
        try:
            receipt: Receipt = open_(refs, feedback, told, items)
            if items and self._dispatch.put(items):
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

    def _start_delivery(self, receipt: Receipt, items: Sequence[Item]) -> None:
        if self._settings.delivery == "background":
            for item in items:
                self._worker.wake(item.ref.backend)
        elif self._settings.delivery == "inline":
            receipt.deliver_when_asked(self._dispatch.at_once({item.ref.backend for item in items}))
