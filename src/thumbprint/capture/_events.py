"""The events of a stream → the answer that they make, as the same call would have answered in one piece. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

_JOINED: Final = frozenset({"arguments", "content", "reasoning", "reasoning_content", "refusal", "text"})
"""Names of texts that come in pieces."""

_DONE: Final = "[DONE]"


def events_in(body: bytes) -> list[Any] | None:
    """Return the events of a body, server-sent ones or a line of JSON each; None where it is of none.

    The last may be broken off, and is left out then.
    """
    lines = [line.decode(errors="replace") for line in body.splitlines()]  # in a text there are other ends of lines
    if any(line.startswith(("data:", "event:")) for line in lines[:20]):
        return _sent_events(lines)
    try:
        return [json.loads(line) for line in lines if line.strip()] if len(lines) > 1 else None
    except (ValueError, RecursionError):
        return None


def _sent_events(lines: list[str]) -> list[Any]:
    """Return the data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    found: list[Any] = []
    data: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            text, data = "\n".join(data), []
            if text != _DONE:
                try:
                    found.append(json.loads(text))
                except (ValueError, RecursionError):
                    found.append(text)
    return found


def answer_of(events: list[Any]) -> Any:
    """Return the answer that the events make; of a kind that is not known, the events as they are."""
    known = [event for event in events if isinstance(event, dict)]
    errors = [event["error"] for event in known if event.get("error") and "choices" not in event]
    errors += [event for event in known if event.get("type") == "error" and "error" not in event]
    for read in (_chat, _message, _response, _content):
        answer = read(known)
        if answer is not None:
            return {"error": errors[0], **answer} if errors else answer
    return {"error": errors[0]} if errors else events


def _chat(events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the chat completion, or completion, of OpenAI's chunks."""
    chunks = [event for event in events if isinstance(event.get("choices"), list)]
    if not chunks:
        return None
    answer: dict[str, Any] = {}
    choices: dict[Any, dict[str, Any]] = {}
    for chunk in chunks:
        answer |= {name: value for name, value in chunk.items() if value is not None}
        for part in chunk["choices"]:
            if isinstance(part, dict):
                named = {("message" if name == "delta" else name): value for name, value in part.items()}
                _add(choices.setdefault(_key(part), {}), named)
    return answer | {"choices": list(choices.values())}


def _message(events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the message of Anthropic's events."""
    answer: dict[str, Any] | None = None
    blocks: dict[Any, dict[str, Any]] = {}
    for event in events:
        message, block, delta = event.get("message"), event.get("content_block"), event.get("delta")
        if event.get("type") == "message_start" and isinstance(message, dict):
            answer = dict(message)
        elif event.get("type") == "content_block_start" and isinstance(block, dict):
            blocks[_key(event)] = dict(block)
        elif event.get("type") == "content_block_delta" and isinstance(delta, dict):
            _add_to_block(blocks.setdefault(_key(event), {}), delta)
        elif event.get("type") == "message_delta" and answer is not None:
            usage = [each for each in (answer.get("usage"), event.get("usage")) if isinstance(each, dict)]
            answer |= delta if isinstance(delta, dict) else {}
            answer["usage"] = {name: value for each in usage for name, value in each.items() if value is not None}
    if answer is None:
        return None
    return answer | {"content": [_with_input(block) for block in blocks.values()]}


def _add_to_block(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name != "type" and isinstance(value, str):
            before = block.get(name)
            block[name] = (before if isinstance(before, str) else "") + value


def _with_input(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block with the input of a tool, which came as pieces of JSON, where it came whole."""
    if "partial_json" not in block:
        return block
    try:
        read = json.loads(block["partial_json"])
    except (ValueError, RecursionError):
        return block
    return {name: value for name, value in block.items() if name != "partial_json"} | {"input": read}


def _response(events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the response of the Responses API's events: as it was told last, with the text that came since."""
    told = [event["response"] for event in events if isinstance(event.get("response"), dict)]
    if not told:
        return None
    if told[-1].get("output"):
        return dict(told[-1])
    pieces = [
        event["delta"]
        for event in events
        if event.get("type") == "response.output_text.delta" and isinstance(event.get("delta"), str)
    ]
    return {**told[-1], "output": "".join(pieces)}


def _content(events: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the content of Google's chunks."""
    chunks = [event for event in events if isinstance(event.get("candidates"), list)]
    if not chunks:
        return None
    answer: dict[str, Any] = {}
    candidates: dict[Any, dict[str, Any]] = {}
    for chunk in chunks:
        answer |= chunk
        for part in chunk["candidates"]:
            if isinstance(part, dict):
                _add_to_candidate(candidates.setdefault(_key(part), {"content": {"parts": []}}), part)
    return answer | {"candidates": list(candidates.values())}


def _add_to_candidate(candidate: dict[str, Any], piece: dict[str, Any]) -> None:
    content = piece.get("content")
    if isinstance(content, dict):
        _join_parts(candidate["content"]["parts"], content.get("parts"))
        candidate["content"] |= {name: value for name, value in content.items() if name != "parts"}
    candidate |= {name: value for name, value in piece.items() if name != "content"}


def _join_parts(parts: list[Any], more: Any) -> None:
    """Add parts of a content; texts that follow each other are one."""
    for part in more if isinstance(more, list) else ():
        if parts and _is_text(part) and _is_text(parts[-1]):
            parts[-1] = {"text": parts[-1]["text"] + part["text"]}
        else:
            parts.append(part)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {"text"} and isinstance(part["text"], str)


def _add(whole: dict[str, Any], piece: dict[str, Any]) -> None:
    """Add a piece of an object: texts are joined, objects and numbered lists merged, other values replaced."""
    for name, value in piece.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif name in _JOINED and isinstance(value, str) and isinstance(before, str):
            whole[name] = before + value
        elif isinstance(value, dict):
            kept = before if isinstance(before, dict) else {}
            whole[name] = kept
            _add(kept, value)
        elif isinstance(value, list) and all(isinstance(each, dict) and "index" in each for each in value):
            whole[name] = _numbered(before if isinstance(before, list) else [], value)
        else:
            whole[name] = value


def _numbered(before: list[Any], pieces: list[Any]) -> list[Any]:
    """Return a list of numbered objects with more pieces of them."""
    known = {_key(each): each for each in before if isinstance(each, dict)}
    for piece in pieces:
        _add(known.setdefault(_key(piece), {}), piece)
    return list(known.values())


def _key(part: dict[str, Any]) -> int:
    """Return the number of a part."""
    index = part.get("index")
    return index if isinstance(index, int) else 0
