"""What travels: requests, responses and their JSON. Values and pure functions, no sockets."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

Headers = tuple[tuple[str, str], ...]

JSON_TYPE = "application/json"
_MOST_DIGITS = 18
STREAM_TYPE = "text/event-stream"


class MalformedBodyError(ValueError):
    """A body that is not the JSON it should be. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came in: `path` still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def segments(self) -> tuple[str, ...]:
        """The decoded parts of the path; empty parts are left out."""
        return tuple(unquote(part) for part in self.path.split("/") if part)

    @property
    def params(self) -> list[tuple[str, str]]:
        """The query as pairs in order, so that repeated names survive."""
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def bearer(self) -> str:
        """The token of `Authorization: Bearer …`, or an empty string."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object. Raises MalformedBodyError for anything else."""
        value = parse_json(self.body)
        if not isinstance(value, dict):
            raise MalformedBodyError(f"the body must be a JSON object, not {type(value).__name__}")
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer. `chunks` are written one by one; a plain body is one chunk."""

    status: int = 200
    headers: Headers = ()
    chunks: tuple[bytes, ...] = ()
    streamed: bool = False

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)

    @property
    def ok(self) -> bool:
        """Whether the status is no error."""
        return self.status < HTTPStatus.BAD_REQUEST

    @property
    def content_type(self) -> str:
        """The media type, without parameters."""
        return self.header("content-type").partition(";")[0]

    def header(self, name: str) -> str:
        """Return the value of a header by its lower-case name, or an empty string."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    def adding(self, *headers: tuple[str, str]) -> Response:
        """Return the same answer with these headers instead of its own of the same names."""
        new = {name.lower() for name, _ in headers}
        kept = tuple(pair for pair in self.headers if pair[0].lower() not in new)
        return Response(status=self.status, headers=kept + headers, chunks=self.chunks, streamed=self.streamed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """A request that the emulator has seen.

    `path` is as sent (percent-encoded, without the query); header names are in lower case; `status`
    is what was answered, or None where the connection was closed or left hanging without an answer;
    `at` is the emulator's clock (seconds since the epoch) when the request had arrived.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    status: int | None
    at: float


def json_response(value: object, status: int = 200, headers: Headers = ()) -> Response:
    """Answer with `value` as compact JSON."""
    return plain_response(dump(value), status, JSON_TYPE, headers)


def plain_response(body: bytes, status: int, content_type: str, headers: Headers = ()) -> Response:
    """Answer with these bytes."""
    return Response(status=status, headers=(("content-type", content_type), *headers), chunks=(body,))


def stream_response(chunks: tuple[bytes, ...]) -> Response:
    """Answer with server-sent events, one event in each chunk."""
    return Response(headers=(("content-type", STREAM_TYPE),), chunks=chunks, streamed=True)


def dump(value: object) -> bytes:
    """Return JSON without spaces, in ASCII, so that any text can be written."""
    return json.dumps(value, separators=(",", ":")).encode()


def parse_json(text: str | bytes) -> Any:
    """Parse strict JSON: NaN and infinities are refused too. Raises MalformedBodyError."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise MalformedBodyError(f"the body is not JSON: {error}") from error


def is_number(value: object) -> bool:
    """Whether a JSON value is a number; true and false are not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def whole_number(text: str) -> int | None:
    """Return a whole number from its digits, or None for other text (or for too many digits)."""
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number of JSON")
