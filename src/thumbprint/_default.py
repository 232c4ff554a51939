"""The process-wide default. The functions only forward to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from . import _token, capture
from ._client import FLUSH_TIMEOUT, Thumbprint
from ._config import concealed, concealed_url
from ._dispatch import SHUTDOWN_TIMEOUT
from ._feedback import feedback_from
from ._fork import forking_lock
from ._log import warn
from ._model import UNSET, FlushResult, Unset, Which
from ._scope import Scope
from ._scope import current_scope as _current_scope
from .errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ._config import Delivery, Fallback
    from ._model import Baggage
    from .backends import Backend, Emitting
    from .delivery import Receipt
    from .stores import Store

ClientT = TypeVar("ClientT")

_default: Thumbprint | None = None
_made_once: tuple[Thumbprint, dict[str, Any]] | None = None  # by configure_once, with which settings
_lock = forking_lock()


def _get() -> Thumbprint:
    """Return the default; the first use makes it, from the environment."""
    global _default  # noqa: PLW0603 - the one place with global state
    if _default is None:
        with _lock:
            if _default is None:
                _default = Thumbprint()
    return _default


def _recorder() -> capture.Recorder | None:
    """Ask the default that is in force when a call is made, so that `configure` reaches clients wrapped before it.

    An environment that cannot be used has been told of by `wrap` or `instrument`; it is not to harm a call.
    """
    try:
        return _get().recorder()
    except (ConfigurationError, StoreError) as error:
        warn("configuration", "calls are not captured: %s", error)
        return None


def _baggage() -> Baggage | None:
    """Ask the default that is in force when a scope is entered; a scope is not harmed by an environment that fails."""
    try:
        return _get().baggage()
    except (ConfigurationError, StoreError) as error:
        warn("configuration", "scope ids are in no baggage: %s", error)
        return None


_instrumentation = capture.Instrumentation(_recorder)


def configure(
    *,
    backends: Sequence[Backend | Emitting] | None = None,
    store: Store | str | None = None,
    delivery: Delivery | None = None,
    expire_after: float | None = None,
    fallback: Fallback | None = None,
    baggage: Baggage | None = None,
    disabled: bool | None = None,
    secret: str | None = None,
) -> Thumbprint:
    """Set up the process-wide default and return it; the one before is flushed and closed, within five seconds.

    What could not be delivered by then is handed on to the new one, in the order of each log entry, or stays in the
    store that others share; what is on its way at that time is not overtaken. The ids of scopes, responses and traces
    that this process knew stay known, and so do pauses that services have asked for.

    `backends`: the services, with settings of their own, as in `[Cloudflare(account_id="…"), Braintrust()]`; left
    out, both of these and OpenTelemetry, which is told nothing where it is not among those given. `store`: where
    references and undelivered feedback are kept: `memory://` if left out, `sqlite:///PATH`, which survives the process
    and may be shared by several, or `redis://HOST:PORT/DATABASE`, for fleets. `delivery`: "background", "inline" (for
    serverless: before `record_feedback` returns, or when its receipt is awaited) or "none" (only stored, in a store
    that others deliver from). `expire_after`: the seconds for which feedback is tried, 72 hours if left out.
    `fallback="memory"`: where the file of an SQLite store cannot be used, everything is kept in memory instead; what a
    store does not take later, because it cannot be reached, waits in memory until it can. `baggage`: what is done with
    the ids of scopes in OpenTelemetry's baggage: "send" lets them travel to other services, "accept" keeps calls under
    those that come in (only where no stranger's requests do), "both" does both; left out, nothing. `disabled`: nothing
    is captured, and feedback is checked and dropped. `secret` signs tokens: at least 16 bytes; several,
    comma-separated, for rotation: the first signs, all verify. What is left out, of the backends' settings too, comes
    from the environment (the README has the table), so that most applications need not call this.

    Raises ConfigurationError, naming the setting, for what cannot be used, and StoreError where the file of an SQLite
    store cannot be opened; the default is then as before.
    """
    global _default  # noqa: PLW0603 - as above
    secret, store = concealed(secret), concealed_url(store)
    new = Thumbprint(
        backends=backends,
        store=store,
        delivery=delivery,
        expire_after=expire_after,
        fallback=fallback,
        baggage=baggage,
        disabled=disabled,
        secret=secret,
    )
    with _lock:
        old = _default
        if old is not None:
            new.succeed(old)
        _default = new
    if old is not None:
        old.hand_over(new)
    return new


def configure_once(*, secret: str | None = None, **settings: Any) -> Thumbprint:
    """Configure, unless the default is what this function made with equal settings; for thumbprint's own use."""
    global _made_once  # noqa: PLW0603 - as above
    settings["secret"] = concealed(secret)
    if _default is None or _made_once != (_default, settings):
        _made_once = (configure(**settings), settings)
    return _made_once[0]


def wrap(client: ClientT) -> ClientT:
    """Capture the calls of one client: `client = thumbprint.wrap(OpenAI())`.

    Takes clients of openai, anthropic, groq and every other SDK that is made alike, sync and async, and the `openai`
    module for its module-level client; copies that they make with `with_options()` are captured too. Takes HTTP
    clients of httpx and httpx2 as well, to hand to SDKs of other kinds: of what goes through them, answers that bear
    the id of a log entry are captured. Returns the same object. Wrapping twice does nothing more, and wrapping an SDK's
    client as well as the HTTP client inside it captures each call once.

    Raises UnsupportedClientError (a TypeError) for anything else, and ConfigurationError or StoreError where the
    environment holds a setting or names a store that cannot be used.
    """
    _get()
    return capture.wrap(client, _recorder)


def unwrap(client: ClientT) -> ClientT:
    """Undo `wrap`; return the same client. Does nothing where it is not wrapped."""
    return capture.unwrap(client, _recorder)


def instrument() -> None:
    """Capture the calls of all SDK clients in this process, also of those that frameworks make for themselves.

    These are the clients of openai, anthropic, groq and every other SDK that is made alike, whether it is imported
    before or after; none is imported for it. Instrumenting twice does nothing more. Raises ConfigurationError or
    StoreError where the environment holds a setting or names a store that cannot be used.
    """
    _get()
    _instrumentation.instrument()


def uninstrument() -> None:
    """Undo `instrument`. Clients that were wrapped one by one stay captured."""
    _instrumentation.uninstrument()


def scope(id: str | None = None) -> Scope:  # noqa: A002 - the contract's name
    """Return a scope: it collects the calls made inside it, so that feedback can be given for "the last call here".

    Use it as `with thumbprint.scope() as scope:`, as `async with`, or as a decorator, `@thumbprint.scope()`, on
    functions, coroutines, generators, async generators and methods; decorated, each call has a scope of its own.
    Inner scopes also report to the outer ones.

    `id`: an id of the application's own, from 1 to 1,024 characters, under which the calls can be found later; left
    out, a fresh unguessable one. Raises ArgumentValueError or ArgumentTypeError for another.
    """
    return Scope(id, issue=_token_of_scope, baggage=_baggage)


def _token_of_scope(scope: Scope, expires_in: float, allow: Iterable[str]) -> str:
    return token_for(scope, expires_in=expires_in, allow=allow)


def current_scope() -> Scope | None:
    """Return the innermost scope that is open in this task or thread, or None."""
    return _current_scope()


def record_feedback(
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
    """Say what somebody thinks of an answer; it is delivered to the log entry of the call that gave the answer.

    `target`: what leads to that call. A response, stream, chunk, raw response or API error of a captured call; a
    LogRef or several; a Scope; a token of `token_for`; the id of a scope, a response or an OpenTelemetry trace. Left
    out: the current scope, and where none is open the current trace.

    `thumbs`: "up", "down", True, False, 1 or -1; None takes a vote back. `score`: from 0 to 1; None clears it.
    `scores`: several by name, likewise. `comment`: at most 64 KiB. `expected`: what the answer should have been, any
    JSON. `tags`: strings. `metadata`: JSON by name. `user_id`: who says it. `source`: "app", "api" or "external".
    Left out means "leave as it is". `which`: of several calls "last", the last one that generated an answer, or
    "all".

    Returns at once, without waiting for the network, from sync and async code alike; the Receipt tells what becomes
    of it. Raises, with nothing queued: ArgumentValueError or ArgumentTypeError, naming the argument;
    UnknownTargetError where no call is behind the target; a TokenError where a token is refused, or does not allow what
    is said; ConfigurationError where the service's credentials, or the secret of a token, are not set.
    """
    feedback = feedback_from(thumbs, score, scores, comment, expected, tags, metadata, user_id, source)
    return _get().record(target, feedback, which)


def token_for(
    target: Any = None,
    /,
    *,
    which: Which = "last",
    expires_in: float = _token.LIFETIME,
    allow: Iterable[str] = _token.ALLOWED,
) -> str:
    """Return a signed, URL-safe token that a browser may hold, and that is a target of `record_feedback`.

    `target` and `which`: as for `record_feedback`. The token names the log entries, so that whoever has the same secret
    needs no store to take it; of a scope in which nothing was captured yet it names the id, and leads through the store
    to what will be. It is no secret itself, and holds none; whoever has it may say what it allows.

    `expires_in`: seconds, more than 0 and at most ten years; seven days if left out. `allow`: which of thumbs, score,
    comment, scores, expected, tags and metadata may be said with it.

    Raises MissingSecretError where no secret is set; ArgumentValueError or ArgumentTypeError, naming the argument, also
    where the token would be longer than 4 KiB; UnknownTargetError where no call is behind the target.
    """
    return _get().token_for(target, which=which, expires_in=expires_in, allow=allow)


def flush(timeout: float | None = FLUSH_TIMEOUT) -> FlushResult:
    """Wait until all queued feedback is settled, at most `timeout` seconds (None: as long as it takes).

    So are rows of calls that are logged, of which nobody has a receipt. Never raises. The result counts what was
    settled since the flush before, and what remains.
    """
    return FlushResult() if _default is None else _default.flush(timeout)


def shutdown(timeout: float | None = SHUTDOWN_TIMEOUT) -> FlushResult:
    """Flush and stop delivering, within `timeout` seconds; return what `flush` does. Runs by itself at exit.

    Feedback that is recorded afterwards starts the delivery again.
    """
    return FlushResult() if _default is None else _default.shutdown(timeout)
