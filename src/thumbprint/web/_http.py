"""Requests and answers as the endpoint sees them, the same for ASGI and WSGI, and the refusals."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from .._log import warn
from ..errors import (
    ConfigurationError,
    FeedbackRefusedError,
    MalformedTokenError,
    StoreError,
    ThumbprintError,
    TokenExpiredError,
    TokenFieldError,
    TokenSignatureError,
    UnknownTargetError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_BODY: Final = 16 * 1024  # bytes

# The headers of a request that decide anything.
READ: Final = ("accept", "content-encoding", "content-length", "content-type", "origin")

Headers = tuple[tuple[str, str], ...]


_WEIGHT: Final = re.compile(r"q=([01](?:\.[0-9]{0,3})?)")
_JSON: Final = ("application/json", "application/problem+json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the endpoint reads of a request before its body; `headers` has those of `READ`, in lower case."""

    method: str
    query: bytes
    headers: Mapping[str, str]

    @property
    def media_type(self) -> str:
        """The type of the body, in lower case and without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def wants_page(self) -> bool:
        """Whether a browser shows the answer to somebody; scripts and programs take JSON."""
        accepted = _qualities(self.headers.get("accept", ""))
        page = accepted.get("text/html", 0.0)
        return 0 < page >= max(map(accepted.get, _JSON, (0.0, 0.0))) and self.media_type != "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the endpoint answers."""

    status: int
    headers: Headers = ()
    body: bytes = b""

    @property
    def status_line(self) -> str:
        """The status with its phrase, as WSGI wants it."""
        return f"{self.status} {phrase(self.status)}"

    def with_headers(self, *headers: tuple[str, str]) -> Answer:
        """Return the answer with more headers."""
        return Answer(status=self.status, headers=(*self.headers, *headers), body=self.body)


class Problem(Exception):
    """A request is refused: with this status, and why, which the application said itself or we did."""

    def __init__(self, status: int, detail: str, *headers: tuple[str, str], of_application: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers
        self.of_application = of_application


def _qualities(accept: str) -> dict[str, float]:
    """Return media type → weight of what is in an Accept header (RFC 9110, 12.5.1); 1 for what is no weight."""
    found = {}
    for member in accept.lower().split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        weights = [_WEIGHT.fullmatch(parameter) for parameter in parameters]
        found[name] = next((float(weight[1]) for weight in weights if weight), 1.0)
    return found


def phrase(status: int) -> str:
    """Return the standard phrase of a status, a plain word for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


def json_answer(status: int, text: str, media_type: str = "application/json") -> Answer:
    """Return an answer in JSON, which is in ASCII only."""
    return Answer(status=status, headers=(("content-type", media_type),), body=text.encode("ascii"))


def problem_json(problem: Problem) -> Answer:
    """Return the answer to a program that is refused, as RFC 9457 has it."""
    document = {
        "type": "about:blank",  # the status says it all, and its phrase is the title (RFC 9457, 4.2.1)
        "title": phrase(problem.status),
        "status": problem.status,
        "detail": problem.detail,
    }
    return json_answer(problem.status, json.dumps(document), "application/problem+json").with_headers(*problem.headers)


# What our errors mean to whoever asked; the first that fits counts. A target that nobody knows is 404 and not 410: it
# may only not be known yet, as where a stream has not called its model.
_STATUSES: Final[tuple[tuple[type[ThumbprintError], int], ...]] = (
    (MalformedTokenError, 400),
    (TokenSignatureError, 403),
    (TokenFieldError, 403),
    (TokenExpiredError, 410),
    (UnknownTargetError, 404),
)
_OURS: Final[tuple[tuple[type[ThumbprintError], int, str], ...]] = (
    (ConfigurationError, 500, "feedback is not set up on this server: its log tells what is missing"),
    (StoreError, 503, "feedback cannot be stored at the moment: try again later"),
)


@contextlib.contextmanager
def problems() -> Iterator[None]:
    """Turn thumbprint's own errors into problems; those of the server's set-up go to its log, and not to strangers."""
    try:
        yield
    except ThumbprintError as error:
        for kind, status, detail in _OURS:
            if isinstance(error, kind):
                warn("endpoint", "feedback is refused: %s", error)
                raise Problem(status, detail) from error
        raise Problem(_status_of(error), str(error)) from error


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what a hook raises to refuse feedback into a problem; its other errors are not ours."""
    try:
        yield
    except FeedbackRefusedError as error:
        raise Problem(error.status, str(error), of_application=True) from error


def _status_of(error: ThumbprintError) -> int:
    return next((status for kind, status in _STATUSES if isinstance(error, kind)), 400)


class Intake:
    """A body as it comes in, refused (413) as soon as it is longer than 16 KiB, by its own word or in fact."""

    def __init__(self, request: Request) -> None:
        self.declared = _declared(request.headers.get("content-length"))
        self._body = bytearray()
        self._measure(self.declared or 0)

    def take(self, chunk: bytes) -> None:
        """Add what has come."""
        self._measure(len(self._body) + len(chunk))
        self._body += chunk

    def whole(self) -> bytes:
        """Return all of it; raise Problem where it was broken off."""
        if self.declared is not None and len(self._body) != self.declared:
            raise Problem(400, f"of {self.declared} bytes that were announced {len(self._body)} came")
        return bytes(self._body)

    def _measure(self, length: int) -> None:
        if length > MAX_BODY:
            raise Problem(413, f"at most {MAX_BODY} bytes are taken")


def _declared(length: str | None) -> int | None:
    if not length:
        return None
    if not (length.isascii() and length.isdigit()):
        raise Problem(400, "Content-Length is not a number of bytes")
    return int(length) if len(length) < 10 else MAX_BODY + 1
