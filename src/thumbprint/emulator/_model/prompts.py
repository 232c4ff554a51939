"""What a request asks of the model, and what the model says to it. Pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from thumbprint.emulator._wire import MalformedBodyError, Response, json_response

_WORD = re.compile(r"\s*\S+|\s+$")
_ERROR_MODEL = re.compile(r"error-([45]\d\d)")
_FLAKY_MODEL = re.compile(r"flaky-(\d+)")
_MOST_ANSWERS = 16
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in and out; a token is a word."""

    tokens_in: int
    tokens_out: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.tokens_in + self.tokens_out


def text_of(content: object) -> str:
    """Return the text in a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)


def last_user_text(messages: object) -> str:
    """Return the text of the last message of a user: `messages` is a string or a list of messages."""
    if isinstance(messages, str):
        return messages
    entries = [entry for entry in messages if isinstance(entry, dict)] if isinstance(messages, list) else []
    spoken = [entry for entry in entries if entry.get("role") == "user"]
    return text_of(spoken[-1].get("content")) if spoken else ""


def echo(text: str) -> str:
    """Return what the model says to a user's text."""
    return f"You said: {text}"


def wants_json(response_format: object) -> bool:
    """Whether a `response_format` or `text.format` asks for JSON."""
    return isinstance(response_format, dict) and response_format.get("type") in {"json_schema", "json_object"}


def words(text: str) -> list[str]:
    """Cut a text into pieces of one word each, that together are the text."""
    return _WORD.findall(text)


def usage_of(prompt: object, answer: str) -> Usage:
    """Count the words of a prompt (any JSON) and of an answer."""
    return Usage(len(str(prompt).split()), len(answer.split()))


def require(body: dict[str, Any], name: str, *kinds: type) -> Any:
    """Return a field of the body. Raises MalformedBodyError where it is missing, empty or of another type."""
    value = body.get(name)
    if not isinstance(value, kinds) or not value:
        raise MalformedBodyError(
            f"{name!r} is required and must be {' or '.join(kind.__name__ for kind in kinds)}, not empty"
        )
    return value


def optional_object(body: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object of the body, or an empty one where there is none."""
    value = body.get(name)
    return value if isinstance(value, dict) else {}


def how_many(body: dict[str, Any]) -> int:
    """Return how many answers `n` asks for, from 1 to 16."""
    asked = body.get("n")
    return min(asked, _MOST_ANSWERS) if isinstance(asked, int) and asked > 0 else 1


def error_answer(status: int, message: str, code: str | None = None) -> Response:
    """Return an error as OpenAI words it. What is worth a retry invites it after a millisecond."""
    broken = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    kind = _ERROR_TYPES.get(status, "server_error" if broken else "invalid_request_error")
    detail = {"message": message, "type": kind, "param": None, "code": code}
    soon = (("retry-after-ms", "1"),) if broken or status == HTTPStatus.TOO_MANY_REQUESTS else ()
    return json_response({"error": detail}, status, soon)


def asked_error(model: str) -> int | None:
    """Return the status that a model such as "error-400" always answers, or None."""
    found = _ERROR_MODEL.fullmatch(model.rpartition("/")[2])
    return int(found[1]) if found else None


def asked_failures(model: str) -> int:
    """Return how often a model such as "flaky-2" fails before it succeeds, else 0."""
    found = _FLAKY_MODEL.fullmatch(model.rpartition("/")[2])
    return int(found[1]) if found else 0
