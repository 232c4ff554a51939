"""Google's Gemini: plain and streamed, and the count of tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thumbprint.emulator._identity import token
from thumbprint.emulator._model.prompts import echo, require, text_of, usage_of, words
from thumbprint.emulator._wire import Response, dump, json_response, stream_response

if TYPE_CHECKING:
    from thumbprint.emulator._model.prompts import Usage


def generate(body: dict[str, Any], _now: float) -> Response:
    """Answer `generateContent`. Raises MalformedBodyError."""
    text, usage = _said(body)
    return json_response(_part(text, token(""), body["model"], usage, reason="STOP"))


def stream(body: dict[str, Any], _now: float) -> Response:
    """Answer `streamGenerateContent` with events, as `alt=sse` asks for. Raises MalformedBodyError."""
    text, usage = _said(body)
    response_id, pieces = token(""), words(text)
    parts = [
        _part(piece, response_id, body["model"], usage, reason="STOP" if number == len(pieces) else None)
        for number, piece in enumerate(pieces, start=1)
    ]
    return stream_response(tuple(b"data: %b\r\n\r\n" % dump(part) for part in parts))


def count_tokens(body: dict[str, Any], _now: float) -> Response:
    """Answer `countTokens`. Raises MalformedBodyError."""
    return json_response({"totalTokens": _said(body)[1].tokens_in})


def _said(body: dict[str, Any]) -> tuple[str, Usage]:
    contents = require(body, "contents", list)
    asked = [entry for entry in contents if isinstance(entry, dict) and entry.get("role", "user") == "user"]
    text = echo(text_of(asked[-1].get("parts")) if asked else "")
    return text, usage_of(contents, text)


def _part(text: str, response_id: str, model: str, usage: Usage, *, reason: str | None) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return {
        "candidates": [candidate | ({"finishReason": reason} if reason else {})],
        "usageMetadata": {
            "promptTokenCount": usage.tokens_in,
            "candidatesTokenCount": usage.tokens_out,
            "totalTokenCount": usage.total,
        },
        "modelVersion": model,
        "responseId": response_id,
    }
