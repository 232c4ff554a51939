"""OpenAI's Responses: plain, streamed and in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thumbprint.emulator._identity import token
from thumbprint.emulator._model.prompts import (
    echo,
    last_user_text,
    optional_object,
    require,
    usage_of,
    wants_json,
    words,
)
from thumbprint.emulator._model.tools import next_call
from thumbprint.emulator._wire import dump, stream_response

if TYPE_CHECKING:
    from collections.abc import Iterator

    from thumbprint.emulator._model.tools import ToolCall
    from thumbprint.emulator._wire import Response


def new_response(body: dict[str, Any], now: float) -> dict[str, Any]:
    """Return the finished response to a request. Raises MalformedBodyError."""
    asked = require(body, "input", str, list)
    form = optional_object(body, "text")
    call = next_call(body, asked)
    item = _message(last_user_text(asked), form) if call is None else _function_call(call)
    usage = usage_of(asked, item["content"][0]["text"] if call is None else call.arguments)
    return {
        "id": token("resp_"),
        "object": "response",
        "created_at": int(now),
        "model": require(body, "model", str),
        "status": "completed",
        "background": bool(body.get("background")),
        "output": [item],
        "usage": {
            "input_tokens": usage.tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": usage.tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.total,
        },
        **_settings(body, form),
    }


def unfinished(response: dict[str, Any], status: str) -> dict[str, Any]:
    """Return a response as it is before it is done: `queued`, `in_progress` or `cancelled`."""
    return {**response, "status": status, "output": [], "usage": None}


def response_stream(response: dict[str, Any]) -> Response:
    """Return the whole sequence of events that tells of a response."""
    events = enumerate(_events(response))
    return stream_response(tuple(_written(number, event) for number, event in events))


def _settings(body: dict[str, Any], form: dict[str, Any]) -> dict[str, Any]:
    return {
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **form},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
    }


def _message(said: str, form: dict[str, Any]) -> dict[str, Any]:
    content = [_content(said if wants_json(form.get("format")) else echo(said))]
    return {"id": token("msg_"), "type": "message", "role": "assistant", "status": "completed", "content": content}


def _function_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": token("fc_"),
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": "completed",
    }


def _content(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _events(response: dict[str, Any]) -> Iterator[dict[str, Any]]:
    item = response["output"][0]
    started = unfinished(response, "in_progress")
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    calls = item["type"] == "function_call"
    opened = {**item, "status": "in_progress", **({"arguments": ""} if calls else {"content": []})}
    yield {"type": "response.output_item.added", "output_index": 0, "item": opened}
    yield from _argument_events(item) if calls else _text_events(item["id"], item["content"][0]["text"])
    yield {"type": "response.output_item.done", "output_index": 0, "item": item}
    yield {"type": "response.completed", "response": response}


def _text_events(item_id: str, text: str) -> Iterator[dict[str, Any]]:
    place = {"item_id": item_id, "output_index": 0, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": _content("")}
    for word in words(text):
        yield {"type": "response.output_text.delta", **place, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": _content(text)}


def _argument_events(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": 0}
    for piece in words(item["arguments"]):
        yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": "response.function_call_arguments.done", **place, **done}


def _written(number: int, event: dict[str, Any]) -> bytes:
    numbered = {**event, "sequence_number": number}
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), dump(numbered))
