"""Which of the functions that a request offers the model calls, and with what. Pure functions.

After a user has spoken, the model calls each function once, in the order in which they are offered and one in each
answer; when it has called them all, it answers in words. So a conversation with tools always comes to an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._identity import token
from thumbprint.emulator._model.prompts import last_user_text
from thumbprint.emulator._wire import MalformedBodyError, dump, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call of one function: its `arguments` are JSON."""

    id: str
    name: str
    arguments: str


def next_call(body: dict[str, Any], conversation: object) -> ToolCall | None:
    """Return the call that is due in a conversation (chat messages, or the input of a response), or None.

    Where the user's text is a JSON object, it is the arguments as it is; else every text that the function requires
    is the user's text.
    """
    turns = _since_the_user_spoke(conversation)
    called = {name for turn in turns for name in _called(turn)}
    if not called and any(map(_is_result, turns)):  # the calls were told in an earlier response, and all are done
        return None
    for offered in _offered(body):
        if offered["name"] not in called:
            arguments = _arguments(offered.get("parameters"), last_user_text(conversation))
            return ToolCall(id=token("call_"), name=offered["name"], arguments=arguments)
    return None


def _offered(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the functions that may be called, each with its name: those offered, or the one that is asked for."""
    choice = body.get("tool_choice")
    if choice == "none":
        return []
    wanted = _function(choice).get("name") if isinstance(choice, dict) else None
    functions = map(_function, _objects(body.get("tools")))
    return [each for each in functions if isinstance(each.get("name"), str) and wanted in (None, each["name"])]


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    """Return what a tool, a choice or a call says of its function: in chats it is an object of its own."""
    inner = tool.get("function")
    return inner if isinstance(inner, dict) else tool


def _called(turn: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the functions that were called in a message of a chat or an item of a response."""
    calls = [turn] if turn.get("type") == "function_call" else _objects(turn.get("tool_calls"))
    for call in calls:
        yield str(_function(call).get("name"))


def _is_result(turn: dict[str, Any]) -> bool:
    return turn.get("role") == "tool" or turn.get("type") == "function_call_output"


def _since_the_user_spoke(conversation: object) -> list[dict[str, Any]]:
    turns = _objects(conversation)
    spoken = [number for number, turn in enumerate(turns) if turn.get("role") == "user"]
    return turns[spoken[-1] + 1 :] if spoken else turns


def _arguments(schema: object, said: str) -> str:
    try:
        if isinstance(parse_json(said), dict):
            return said
    except MalformedBodyError:
        pass
    known = schema if isinstance(schema, dict) else {}
    kinds, required = known.get("properties"), known.get("required")
    if not isinstance(kinds, dict) or not isinstance(required, list):
        return "{}"
    texts = [name for name, kind in kinds.items() if isinstance(kind, dict) and kind.get("type") == "string"]
    return dump({name: said for name in texts if name in required}).decode()


def _objects(values: object) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []
