"""Chat completions, the older completions, and Anthropic's messages: plain and streamed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thumbprint.emulator._identity import token
from thumbprint.emulator._model.prompts import (
    echo,
    how_many,
    last_user_text,
    optional_object,
    require,
    usage_of,
    wants_json,
    words,
)
from thumbprint.emulator._model.tools import next_call
from thumbprint.emulator._wire import Response, dump, json_response, stream_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from thumbprint.emulator._model.prompts import Usage
    from thumbprint.emulator._model.tools import ToolCall

_DONE = b"data: [DONE]\n\n"


def chat(body: dict[str, Any], now: float) -> Response:
    """Answer `chat/completions`. Raises MalformedBodyError."""
    messages = require(body, "messages", list)
    call = next_call(body, messages)
    said = last_user_text(messages)
    text = said if wants_json(body.get("response_format")) else echo(said)
    usage = usage_of(messages, text if call is None else call.arguments)
    head = {"id": token("chatcmpl-"), "created": int(now), "model": require(body, "model", str)}
    if body.get("stream"):
        deltas = _spoken(text) if call is None else _calling(call)
        return stream_response(_events(_chat_chunks(head, deltas, _stream_usage(body, usage))))
    choice = _choice(text) if call is None else _call_choice(call)
    choices = [{"index": index, **choice} for index in range(how_many(body))]
    return json_response({**head, "object": "chat.completion", "choices": choices, "usage": _usage(usage)})


def completions(body: dict[str, Any], now: float) -> Response:
    """Answer the older `completions`. Raises MalformedBodyError."""
    prompt = require(body, "prompt", str, list)
    text = echo(prompt if isinstance(prompt, str) else str(prompt[-1]))
    head = {"id": token("cmpl-"), "object": "text_completion", "created": int(now)}
    head["model"] = require(body, "model", str)
    if body.get("stream"):
        pieces = [({"text": word}, None) for word in words(text)] + [({"text": ""}, "stop")]
        return stream_response(_events({**head, "choices": [_part(*piece)]} for piece in pieces))
    choice = {"index": 0, "text": text, "finish_reason": "stop", "logprobs": None}
    return json_response({**head, "choices": [choice], "usage": _usage(usage_of(prompt, text))})


def messages(body: dict[str, Any], _now: float) -> Response:
    """Answer Anthropic's `messages`. Raises MalformedBodyError."""
    spoken = require(body, "messages", list)
    text = echo(last_user_text(spoken))
    usage = usage_of(spoken, text)
    head: dict[str, Any] = {"id": token("msg_"), "type": "message", "role": "assistant"}
    head |= {"model": require(body, "model", str), "stop_sequence": None}
    if body.get("stream"):
        return stream_response(_named_events(_message_events(head, text, usage)))
    counted = {"input_tokens": usage.tokens_in, "output_tokens": usage.tokens_out}
    content = [{"type": "text", "text": text}]
    return json_response({**head, "content": content, "stop_reason": "end_turn", "usage": counted})


def count_tokens(body: dict[str, Any], _now: float) -> Response:
    """Answer Anthropic's `messages/count_tokens`. Raises MalformedBodyError."""
    return json_response({"input_tokens": usage_of(require(body, "messages", list), "").tokens_in})


def _choice(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {"message": message, "finish_reason": "stop", "logprobs": None}


def _call_choice(call: ToolCall) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [_tool_call(call, call.arguments)]}
    return {"message": message, "finish_reason": "tool_calls", "logprobs": None}


def _tool_call(call: ToolCall, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.total,
    }


def _stream_usage(body: dict[str, Any], usage: Usage) -> Usage | None:
    return usage if optional_object(body, "stream_options").get("include_usage") else None


def _spoken(text: str) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield what the chunks of an answer in words add, and with the last why it ends."""
    yield {"role": "assistant", "content": ""}, None
    for word in words(text):
        yield {"content": word}, None
    yield {}, "stop"


def _calling(call: ToolCall) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the same of a call."""
    yield {"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_tool_call(call, "")}]}, None
    for piece in words(call.arguments):
        yield {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, None
    yield {}, "tool_calls"


def _chat_chunks(
    head: dict[str, Any], deltas: Iterable[tuple[dict[str, Any], str | None]], usage: Usage | None
) -> Iterable[dict[str, Any]]:
    head = {**head, "object": "chat.completion.chunk"}
    for delta, reason in deltas:
        yield {**head, "choices": [_part({"delta": delta}, reason)]}
    if usage:
        yield {**head, "choices": [], "usage": _usage(usage)}


def _part(content: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"index": 0, **content, "finish_reason": reason, "logprobs": None}


def _events(values: Iterable[dict[str, Any]]) -> tuple[bytes, ...]:
    return (*(b"data: %b\n\n" % dump(value) for value in values), _DONE)


def _message_events(head: dict[str, Any], text: str, usage: Usage) -> Iterable[dict[str, Any]]:
    start = {"input_tokens": usage.tokens_in, "output_tokens": 0}
    message = {**head, "content": [], "stop_reason": None, "usage": start}
    yield {"type": "message_start", "message": message}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for word in words(text):
        delta = {"type": "text_delta", "text": word}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": usage.tokens_out}}
    yield {"type": "message_stop"}


def _named_events(values: Iterable[dict[str, Any]]) -> tuple[bytes, ...]:
    return tuple(b"event: %b\ndata: %b\n\n" % (value["type"].encode(), dump(value)) for value in values)
