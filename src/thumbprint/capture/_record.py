"""What a call's request and answer say, whatever provider's JSON they are, as a record to log. Pure.

Known are the shapes of OpenAI's API (chat, responses, completions, embeddings and the like), Anthropic's messages,
Google's generateContent and Workers AI; others are kept as they are. Nothing that cannot be read raises anything.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus, urlsplit

from .._excerpt import cut, excerpt
from .._secrets import MASK
from ..backends import CallRecord
from ._events import answer_of, events_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_READ: Final = 8_000_000  # bytes of a body: to read more takes too long

MOST_INPUT: Final = 600_000  # characters
MOST_OUTPUT: Final = 300_000
MOST_PARAMETERS: Final = 60_000
MOST_WORDS: Final = 10_000  # of an error, and the like

# Where a request has what is asked, the first that is there, and what belongs to it.
_INPUTS: Final = ("messages", "input", "prompt", "contents", "content", "requests", "query", "text")
_INSTRUCTIONS: Final = ("system", "instructions", "systemInstruction", "system_instruction")
# Where an answer has what is answered, likewise.
_OUTPUTS: Final = ("output", "content", "result", "results", "text", "response", "data")

_USAGE: Final = (
    ("input_tokens", ("input_tokens", "prompt_tokens", "promptTokenCount")),
    ("output_tokens", ("output_tokens", "completion_tokens", "candidatesTokenCount")),
    ("total_tokens", ("total_tokens", "totalTokenCount")),
    ("cached_tokens", ("cached_tokens", "cache_read_input_tokens", "cachedContentTokenCount")),
    ("cache_creation_tokens", ("cache_creation_input_tokens",)),
    ("reasoning_tokens", ("reasoning_tokens", "thoughtsTokenCount")),
)

# Names of headers and of entries in a query whose values are secret, and of such entries in a body.
_SECRET_SENT: Final = re.compile(
    r"(.*[_-])?(authorization|auth|cookie|credentials?|(api)?key|password|secret|sig(nature)?|token)", re.IGNORECASE
)
_SECRET_NAME: Final = re.compile(
    r"authorization|(.*[_-])?headers|(.*[_-])?credentials?|(.*[_-])?((access|api|private|secret)[_-]?key|password|secret)"
    r"|((access|auth|bearer|id|refresh|security|session)[_-]?)?token",
    re.IGNORECASE,
)
_STREAMS: Final = ("text/event-stream", "application/x-ndjson")  # kinds of bodies, also of those that came whole
_LEAST_SECRET: Final = 8  # characters


def asked(*, url: str, headers: Mapping[str, str], body: bytes | None, started_at: float) -> CallRecord:
    """Return what a request says; of a body that is None nobody knows anything any more."""
    told = _read(body, headers, secrets_in(url, headers))
    given, parameters = _split(told) if isinstance(told, dict) else (told, dict[str, Any]())
    model, user = parameters.pop("model", None), parameters.pop("user", None)
    return CallRecord(
        input=excerpt(given, MOST_INPUT),
        model=_word(model) or _model_in(url) or _model_in_form(body or b""),
        provider=_host(url),
        parameters=excerpt(_without_secrets(parameters, 0), MOST_PARAMETERS),
        user=_word(user),
        started_at=started_at,
    )


def answered(
    record: CallRecord,
    *,
    status: int,
    secrets: Iterable[str],
    headers: Mapping[str, str],
    body: bytes | None,
    ended_at: float,
    streamed: bool = False,
) -> CallRecord:
    """Return the record with what an answer says; `streamed` where its body may be of events, or broken off.

    `secrets` are those of the request, as `secrets_in` finds them.
    """
    told = _read(body, headers, secrets, streamed=streamed)
    if status >= 400 and isinstance(told, list) and told:  # as Google has it
        told = told[0]
    content = told if isinstance(told, dict) else {}
    error = _error(content)
    if status >= 400:
        words = error or ("" if told is None else json.dumps(excerpt(told, MOST_WORDS), ensure_ascii=False).strip('"'))
        error = f"HTTP {status}: {words}" if words else f"HTTP {status}"
        told = None
    return dataclasses.replace(
        record,
        output=None if told is None else excerpt(_output(told), MOST_OUTPUT),
        error=None if error is None else excerpt(error, MOST_WORDS),
        model=_word(content.get("model")) or _word(content.get("modelVersion")) or record.model,
        response_id=_word(content.get("id")) or _word(content.get("responseId")),
        usage=_usage(content.get("usage") or content.get("usageMetadata")),
        ended_at=ended_at,
    )


def failed(record: CallRecord, error: str, secrets: Iterable[str], ended_at: float) -> CallRecord:
    """Return the record of a call that ended, or broke off, in an error."""
    for secret in secrets:
        error = error.replace(secret, MASK)
    return dataclasses.replace(record, error=excerpt(error, MOST_WORDS), ended_at=ended_at)


def secrets_in(url: str, headers: Mapping[str, str]) -> list[str]:
    """Return the secrets that a request's URL and headers hold, the longest first."""
    values = [value for name, value in headers.items() if _SECRET_SENT.fullmatch(name)]
    words = {word.strip(",;") for value in values for word in value.split()}
    words |= {word.partition("=")[2] for word in words}  # as a cookie has it
    for entry in url.partition("?")[2].partition("#")[0].split("&"):
        name, _, value = entry.partition("=")
        if _SECRET_SENT.fullmatch(name):
            words |= {value, unquote_plus(value)}
    return sorted((word for word in words if len(word) >= _LEAST_SECRET), key=len, reverse=True)


def _read(body: bytes | None, headers: Mapping[str, str], secrets: Iterable[str], *, streamed: bool = False) -> Any:
    """Return a body as JSON; where it is something else, what there is to tell of it."""
    if not body:
        return None
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith(("audio/", "image/", "video/", "multipart/")) or kind == "application/octet-stream":
        return cut(f"{len(body)} bytes of {kind}")
    if len(body) > MOST_READ:
        return cut(f"{len(body)} bytes of {kind or 'unknown type'}")
    for secret in secrets:
        body = body.replace(secret.encode(), MASK.encode())
    if streamed or kind in _STREAMS:
        events = events_in(body)
        if events is not None:
            return answer_of(events)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode(errors="replace")
    return answer_of(found) if streamed and isinstance(found, list) else found


def _split(body: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return what is asked in a request, and the rest of it."""
    name = next((name for name in _INPUTS if body.get(name) is not None), None)
    if name is None:
        kept: dict[str, Any] = {each: body[each] for each in ("model", "user") if each in body}
        return _without_secrets({each: value for each, value in body.items() if each not in kept}, 0), kept
    given = body[name]
    instructions = {each: body[each] for each in _INSTRUCTIONS if body.get(each) is not None}
    rest = {each: value for each, value in body.items() if each != name and each not in instructions}
    if instructions:
        given = _instructed(name, given, instructions)
    elif name == "query" and "documents" in rest:
        given = {"query": given, "documents": rest.pop("documents")}
    return given, rest


def _instructed(name: str, given: Any, instructions: dict[str, Any]) -> Any:
    """Return what is asked together with the instructions, as messages where it is some."""
    if name == "messages" and isinstance(given, list):
        return [*({"role": "system", "content": each} for each in instructions.values()), *given]
    return {**instructions, name: given}


def _without_secrets(value: Any, depth: int) -> Any:
    """Return a part of a body with a mask in place of credentials, as those of tools."""
    if depth > 20:  # an excerpt does not go much deeper
        return value if isinstance(value, str) else None
    if isinstance(value, dict):
        return {
            name: MASK if _SECRET_NAME.fullmatch(name) and each is not None else _without_secrets(each, depth + 1)
            for name, each in value.items()
        }
    return [_without_secrets(each, depth + 1) for each in value] if isinstance(value, list) else value


def _output(told: Any) -> Any:
    """Return what is answered in an answer."""
    if not isinstance(told, dict):
        return told
    choices, candidates = told.get("choices"), told.get("candidates")
    if isinstance(choices, list):
        return _one_or_all(_of_choice(each, ("message", "text")) for each in choices)
    if isinstance(candidates, list):
        return _one_or_all(_of_choice(each, ("content",)) for each in candidates)
    return _vectors(told) or _words_of(told)


def _words_of(told: dict[str, Any]) -> Any:
    if "content" in told and isinstance(told.get("role"), str):
        return {"role": told["role"], "content": told["content"]}
    for name in _OUTPUTS:
        if told.get(name) is not None:
            return told[name]
    return told if "error" not in told else None


def _of_choice(choice: Any, names: tuple[str, ...]) -> Any:
    if not isinstance(choice, dict):
        return choice
    return next((choice[name] for name in names if choice.get(name) is not None), choice)


def _one_or_all(found: Iterable[Any]) -> Any:
    some = list(found)
    return some[0] if len(some) == 1 else some


def _vectors(told: dict[str, Any]) -> dict[str, int] | None:
    """Return how many vectors an answer holds, and how long they are: nobody reads them. None where there are none."""
    held = told.get("data") or told.get("embeddings") or [told]
    first = held[0] if isinstance(held, list) and held else None
    if isinstance(first, dict):
        vector = first.get("embedding", first.get("values"))
        first = vector.get("values") if isinstance(vector, dict) else vector
        if isinstance(first, str):  # in base64
            return {"embeddings": len(held)}
    if isinstance(first, list) and first and isinstance(first[0], (int, float)):
        return {"embeddings": len(held), "dimensions": len(first)}
    return None


def _usage(told: Any) -> dict[str, int]:
    """Return the counts of tokens that an answer tells."""
    if not isinstance(told, dict):
        return {}
    details = [each for name, each in told.items() if name.endswith("_details") and isinstance(each, dict)]
    found: dict[str, int] = {}
    for ours, theirs in _USAGE:
        numbers = [place.get(name) for place in (told, *details) for name in theirs]
        number = next((each for each in numbers if isinstance(each, int) and not isinstance(each, bool)), None)
        if number is not None and 0 <= number < 2**53:
            found[ours] = number
    if "total_tokens" not in found and {"input_tokens", "output_tokens"} <= found.keys():
        found["total_tokens"] = found["input_tokens"] + found["output_tokens"]
    return found


def _error(content: dict[str, Any]) -> str | None:
    """Return what an answer says went wrong."""
    found = content.get("error")
    if not found and content.get("success") is False:
        found = content.get("errors")
    if isinstance(found, list) and found:
        found = found[0]
    if isinstance(found, dict) and isinstance(found.get("message"), str):
        return str(found["message"])
    if not found:
        return None
    return found if isinstance(found, str) else json.dumps(excerpt(found, MOST_WORDS))


def _word(value: Any) -> str | None:
    return str(excerpt(value[:1000])) if isinstance(value, str) and value else None


def _model_in(url: str) -> str | None:
    """Return the model that a path names, as those of Google and Azure do."""
    found = re.search(r"/(?:models|deployments)/([^/:?]+)", url)
    return found[1] if found else None


def _model_in_form(body: bytes) -> str | None:
    """Return the model that a form names, as one does that a file is sent with."""
    found = re.compile(rb'name="model"\r\n\r\n([^\r\n]+)').search(body)
    return _word(found[1].decode(errors="replace")) if found else None


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
