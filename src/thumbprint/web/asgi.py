"""For ASGI applications (FastAPI, Starlette, Django …): `ThumbprintMiddleware` and `FeedbackEndpoint`."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _token
from .._log import warn
from . import _desk, _headers, _http, _visits
from ._desk import Desk
from ._http import Answer, Intake, Problem, Request, refusals
from ._visits import Visits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping

    from .._client import Thumbprint
    from .._model import Feedback
    from .._scope import Scope
    from ._desk import Vote

    _Message = MutableMapping[str, Any]
    _Receive = Callable[[], Awaitable[_Message]]
    _Send = Callable[[_Message], Awaitable[None]]
    _App = Callable[[_Message, _Receive, _Send], Awaitable[None]]
    _Added = Mapping[str, Any] | None

__all__ = ["FeedbackEndpoint", "ThumbprintMiddleware"]

_T = TypeVar("_T")


class ThumbprintMiddleware:
    """Gives each request, and each websocket, a scope of its own, and tells it to the client: `app.add_middleware(…)`.

    HTTP responses get the headers `x-feedback-id`, the scope's id, and where a secret is configured `x-feedback-token`;
    where none is, a line in the log says so once.
    The token is made when the headers leave: it names the log entry if the model has been called by then, else the
    scope.
    Pages of other origins may read both. A header of that name which the application set is left alone. All of the
    application's work runs inside the scope: streams and background tasks too. Nothing is buffered.

    `thumbprint`: whose secret signs, the process-wide default if left out. `trust_header`: the name of an inbound
    header whose value becomes the scope's id, if it is 1 to 256 visible ASCII characters without a comma; only for
    headers that your own proxy sets, or clients that may choose. `trust_if`: a function that takes the ASGI scope and
    tells whether to trust that header now. `expires_in` (seconds) and `allow`: of the tokens, as in `token_for`.
    Raises ArgumentValueError or ArgumentTypeError for what cannot be used.
    """

    def __init__(
        self,
        app: _App,
        *,
        thumbprint: Thumbprint | None = None,
        trust_header: str | None = None,
        trust_if: Callable[[Mapping[str, Any]], object] | None = None,
        expires_in: float = _token.LIFETIME,
        allow: Iterable[str] = _token.ALLOWED,
    ) -> None:
        self._app = app
        self._visits = Visits(
            thumbprint=thumbprint, trust_header=trust_header, trust_if=trust_if, expires_in=expires_in, allow=allow
        )

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one connection."""
        ours = None
        if scope["type"] in {"http", "websocket"}:
            ours = self._visits.begin(scope, lambda name: _values(scope, name.encode()))
        if ours is None:
            await self._app(scope, receive, send)
            return
        with ours:
            await self._app(scope, receive, send if scope["type"] == "websocket" else self._labelling(send, ours))

    def _labelling(self, send: _Send, ours: Scope) -> _Send:
        def labelling_send(message: _Message) -> Awaitable[None]:
            return send(self._labelled(message, ours) if message["type"] == "http.response.start" else message)

        return labelling_send

    def _labelled(self, message: _Message, ours: Scope) -> _Message:
        try:
            given = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.get("headers", ())]
            headers = _encoded(_headers.labelled(given, self._visits.labels(ours)))
        except Exception:  # whatever the application sends there: it is the server's to judge
            warn(_visits.KIND, "a response leaves without our headers", exc_info=True)
            return message
        return {**message, "headers": headers}


class FeedbackEndpoint:
    """Takes feedback from browsers, by token: mount it, `app.mount("/feedback", FeedbackEndpoint())`.

    `POST` of JSON or a form, `{token, thumbs | score | comment | …}`, is answered 202 with `{"id": …, "status": …}`.
    `GET` with `?token=…`, and perhaps `&thumbs=up`, shows a page that asks for confirmation; only what that sends
    counts, and a page of thanks follows. Refusals are problems of RFC 9457, or pages for browsers: 400 malformed, 403
    wrong signature or a field that the token does not allow, 404 no call is known behind it (yet), 405, 410 expired,
    413 over 16 KiB, 415, 429 with Retry-After, 503. The same words twice in a row within ten seconds count once. Of
    this and of the limit all processes that share a store keep one account.

    `thumbprint`: who records, the process-wide default if left out. `allow_origins`: origins whose pages may post
    here, such as `["https://app.example"]`, or `["*"]`; none if left out. `per_minute`: how often a token may speak.
    `on_feedback(scope, feedback)`, a function, for which there is a thread, or a coroutine function, is called before
    anything is recorded, with the ASGI scope; it may return a dict with `user_id`, `source` and `metadata` to add, or
    raise FeedbackRefusedError. Its other errors are the server's to handle. Raises ArgumentValueError or
    ArgumentTypeError for what cannot be used.
    """

    def __init__(
        self,
        *,
        thumbprint: Thumbprint | None = None,
        on_feedback: Callable[[Mapping[str, Any], Feedback], Awaitable[_Added] | _Added] | None = None,
        allow_origins: Iterable[str] = (),
        per_minute: int = _desk.PER_MINUTE,
    ) -> None:
        self._desk = Desk(
            thumbprint=thumbprint, on_feedback=on_feedback, allow_origins=allow_origins, per_minute=per_minute
        )
        self._on_feedback = on_feedback

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one connection; a websocket is refused."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        if scope["type"] != "http":
            return
        request = _request(scope)
        try:
            answer: Answer | Problem | None = await self._answer(request, scope, receive)
        except Problem as problem:
            answer = problem
        if answer is not None:
            await _send_answer(self._desk.finished(request, answer), send)

    async def _answer(self, request: Request, scope: _Message, receive: _Receive) -> Answer | None:
        """Return the answer, None where nobody waits for one."""
        answer = self._desk.at_once(request)
        if answer is not None:
            return answer
        body = await _body(request, receive)
        if body is None:
            return None
        vote = await _aside(lambda: self._desk.vote(request, body))
        added = await self._added(scope, vote)
        return await _aside(lambda: self._desk.record(request, vote, added))

    async def _added(self, scope: _Message, vote: Vote) -> _Added:
        hook: Any = self._on_feedback
        if hook is None:
            return None
        with refusals():
            ask = partial(hook, scope, vote.feedback)
            told = ask() if inspect.iscoroutinefunction(hook) else await _aside(ask)
            added: _Added = await told if inspect.isawaitable(told) else told
            return added


async def _live(receive: _Receive, send: _Send) -> None:
    """Say that all is ready, and in the end done: some servers do not start an application that returns at once."""
    event = ""
    while event != "lifespan.shutdown":
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})


async def _aside(work: Callable[[], _T]) -> _T:
    """Do work that may wait in a thread, so that the other requests do not wait with it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # the event loop is of another kind, with threads of its own: this one has to wait
        return work()
    return await asyncio.to_thread(_done, work)


def _done(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except StopIteration as error:  # which Python 3.11 lets nobody await: they would wait for ever
        raise RuntimeError("StopIteration was raised") from error


async def _body(request: Request, receive: _Receive) -> bytes | None:
    """Return the request's body, None where the client went away; raise Problem for one that is too long."""
    intake = Intake(request)
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        intake.take(message.get("body", b""))
        if not message.get("more_body", False):
            return intake.whole()


async def _send_answer(answer: Answer, send: _Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _encoded(answer.headers)})
    await send({"type": "http.response.body", "body": answer.body})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _request(scope: _Message) -> Request:
    headers = {name: ", ".join(values) for name in _http.READ if (values := _values(scope, name.encode()))}
    return Request(method=scope["method"], query=scope.get("query_string", b""), headers=headers)


def _values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    """Return the values of an inbound header."""
    return [value.decode("latin-1") for given, value in scope["headers"] if given.lower() == name]
