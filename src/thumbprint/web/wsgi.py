"""For WSGI applications (Flask, Django …): `ThumbprintMiddleware` and `FeedbackEndpoint`."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .. import _token
from .._log import warn
from .._scope import Steps
from ..errors import ArgumentTypeError
from . import _desk, _headers, _http, _visits
from ._desk import Desk
from ._http import Answer, Intake, Problem, Request, refusals
from ._visits import Visits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .._client import Thumbprint
    from .._model import Feedback
    from .._scope import Scope
    from ._desk import Vote

    _Environ = dict[str, Any]
    _StartResponse = Callable[..., Callable[[bytes], object]]
    _App = Callable[[_Environ, _StartResponse], Iterable[bytes]]
    _Added = Mapping[str, Any] | None

__all__ = ["FeedbackEndpoint", "ThumbprintMiddleware"]


class ThumbprintMiddleware:
    """Gives each request a scope of its own, and tells it to the client: `app.wsgi_app = ThumbprintMiddleware(…)`.

    It does for WSGI what `thumbprint.web.asgi.ThumbprintMiddleware` does, and takes the same; `trust_if` takes the
    WSGI environ. What the application does while its response is iterated and closed runs inside the scope as well;
    lists and files (`wsgi.file_wrapper`) go to the server as they are.
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

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        ours = self._visits.begin(environ, lambda name: _values(environ, name))
        if ours is None:
            return self._app(environ, start_response)
        steps = Steps(ours)
        try:
            with steps:
                body = self._app(environ, self._labelling(start_response, ours))
        except BaseException:
            steps.close()
            raise
        if _is_ready(body, environ):
            steps.close()
            return body
        return _Body(body, steps)

    def _labelling(self, start_response: _StartResponse, ours: Scope) -> _StartResponse:
        def labelling_start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            labelled = self._labelled(headers, ours)
            return start_response(status, labelled, exc_info) if exc_info else start_response(status, labelled)

        return labelling_start_response

    def _labelled(self, headers: list[tuple[str, str]], ours: Scope) -> list[tuple[str, str]]:
        try:
            return _headers.labelled(headers, self._visits.labels(ours))
        except Exception:  # whatever the application says there: it is the server's to judge
            warn(_visits.KIND, "a response leaves without our headers", exc_info=True)
            return headers


def _is_ready(body: Iterable[bytes], environ: _Environ) -> bool:
    """Whether none of the application's code runs while the body is sent, and the server may know it by its type."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, (list, tuple)) or (isinstance(wrapper, type) and isinstance(body, wrapper))


class _Body:
    """A response that is still to be made, each step of it inside the request's scope."""

    __slots__ = ("_body", "_next", "_steps")

    def __init__(self, body: Iterable[bytes], steps: Steps) -> None:
        self._body = body
        self._steps = steps
        self._next: Callable[[], bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        with self._steps:
            if self._next is None:
                self._next = iter(self._body).__next__
            return self._next()

    def close(self) -> None:
        """Close what the application returned, as the server does at the end, or when the client went away."""
        try:
            with self._steps:
                close = getattr(self._body, "close", None)
                if close is not None:
                    close()
        finally:
            self._steps.close()


class FeedbackEndpoint:
    """Takes feedback from browsers, by token; an application to mount, with werkzeug's `DispatcherMiddleware` say.

    It does for WSGI what `thumbprint.web.asgi.FeedbackEndpoint` does, and takes the same; `on_feedback(environ,
    feedback)` is a function, and takes the WSGI environ.
    """

    def __init__(
        self,
        *,
        thumbprint: Thumbprint | None = None,
        on_feedback: Callable[[Mapping[str, Any], Feedback], _Added] | None = None,
        allow_origins: Iterable[str] = (),
        per_minute: int = _desk.PER_MINUTE,
    ) -> None:
        if inspect.iscoroutinefunction(on_feedback):
            raise ArgumentTypeError(
                "on_feedback is a coroutine function, which nobody awaits in WSGI: give a function",
                argument="on_feedback",
            )
        self._desk = Desk(
            thumbprint=thumbprint, on_feedback=on_feedback, allow_origins=allow_origins, per_minute=per_minute
        )
        self._on_feedback = on_feedback

    def __call__(self, environ: _Environ, start_response: _StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        request = _request(environ)
        try:
            answer: Answer | Problem = self._answer(request, environ)
        except Problem as problem:
            answer = problem
        finished = self._desk.finished(request, answer)
        start_response(finished.status_line, list(finished.headers))
        return [finished.body]

    def _answer(self, request: Request, environ: _Environ) -> Answer:
        answer = self._desk.at_once(request)
        if answer is not None:
            return answer
        vote = self._desk.vote(request, _body(request, environ))
        return self._desk.record(request, vote, self._added(environ, vote))

    def _added(self, environ: _Environ, vote: Vote) -> _Added:
        if self._on_feedback is None:
            return None
        with refusals():
            return self._on_feedback(environ, vote.feedback)


def _body(request: Request, environ: _Environ) -> bytes:
    """Return the request's body; raise Problem for one that is too long or was broken off."""
    intake = Intake(request)
    left = intake.declared
    if left is None:  # then there is none, or the server knows where it ends
        left = _http.MAX_BODY + 1 if environ.get("wsgi.input_terminated") else 0
    while left and (chunk := _chunk(environ, left)):
        intake.take(chunk)
        left -= len(chunk)
    return intake.whole()


def _chunk(environ: _Environ, most: int) -> bytes:
    try:
        chunk: bytes = environ["wsgi.input"].read(most)
    except OSError:
        raise Problem(400, "the body was broken off") from None
    return chunk


def _request(environ: _Environ) -> Request:
    headers = {name: ", ".join(values) for name in _http.READ if (values := _values(environ, name))}
    query = str(environ.get("QUERY_STRING", "")).encode("latin-1", "replace")
    return Request(method=environ["REQUEST_METHOD"], query=query, headers=headers)


def _values(environ: Mapping[str, Any], name: str) -> list[str]:
    """Return the value of an inbound header; servers join several with commas."""
    key = name.upper().replace("-", "_")
    value = environ.get(key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}")
    return [] if value is None else [str(value)]
