"""The gateway: it passes a call on to the model, logs it, and says in its headers which log that is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._cloudflare.logs import LogBook, LogEntry, Place, is_gateway_id
from thumbprint.emulator._identity import token, ulid
from thumbprint.emulator._model import Model, ModelCall
from thumbprint.emulator._model.prompts import error_answer
from thumbprint.emulator._wire import (
    JSON_TYPE,
    MalformedBodyError,
    Response,
    json_response,
    parse_json,
    whole_number,
)

if TYPE_CHECKING:
    from thumbprint.emulator._wire import Request

_ACCOUNT = re.compile(r"[0-9a-f]{32}")
_MOST_METADATA = 5
_CREDENTIALS = ("api-key", "x-api-key", "x-goog-api-key", "cf-aig-authorization")
_OPENAI_LIKE = ("openai", "compat", "cerebras", "groq", "mistral", "deepseek", "openrouter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A provider, and the call that it shall get."""

    provider: str
    call: ModelCall


class Gateway:
    """All gateways of all accounts: they differ only in the place that is written on their logs."""

    def __init__(self, logs: LogBook, model: Model) -> None:
        self._logs = logs
        self._model = model
        self._cache: dict[object, tuple[float, Response]] = {}

    def by_path(self, request: Request, now: float) -> Response:
        """Answer `/v1/{account}/{gateway}/{provider}/…`."""
        account, gateway, *rest = [*request.segments[1:], ""]
        destination = find_destination(request, tuple(rest[:-1]))
        if destination is None:
            return refusal(400, "no such provider, or no path behind it")
        return self.call(Place(account, gateway), destination, now)

    def call(self, place: Place, destination: Destination, now: float) -> Response:
        """Answer a call at one gateway, which is made on its first use."""
        if not is_account_id(place.account_id) or not is_gateway_id(place.gateway_id):
            return refusal(400, "not an account id and a gateway id")
        self._logs.open(place)
        answer, cached = self._answer(place, destination, now)
        event_id = token("")
        marks = [("cf-aig-cache-status", "HIT" if cached else "MISS"), ("cf-aig-step", "0")]
        marks.append(("cf-aig-event-id", event_id))
        if destination.call.request.headers.get("cf-aig-collect-log", "").lower() != "false":
            entry = new_entry(place, destination, answer, now, event_id=event_id, cached=cached)
            self._logs.write(entry)
            marks.append(("cf-aig-log-id", entry.id))
        return answer.adding(*marks)

    def _answer(self, place: Place, destination: Destination, now: float) -> tuple[Response, bool]:
        """Return the answer, and whether it came from the cache."""
        request, path = destination.call.request, destination.call.path
        key = (place, request.method, destination.provider, path, request.query, request.body)
        lifetime = cache_seconds(request)
        until, held = self._cache.get(key, (now, None))
        if lifetime and held and now < until:
            return held, True
        answer = self._ask(destination, now)
        if lifetime and answer.ok:
            self._cache[key] = (now + lifetime, answer)
        return answer, False

    def _ask(self, destination: Destination, now: float) -> Response:
        if not has_credential(destination.call.request):
            return error_answer(401, "A key of the provider is missing: send it as a bearer token.")
        return self._model.answer(destination.call, now)


def find_destination(request: Request, parts: tuple[str, ...]) -> Destination | None:
    """Return who is meant by `{provider}/…`, or None for nobody."""
    match parts:
        case (provider, *path) if provider in (*_OPENAI_LIKE, "anthropic"):
            own = path[1:] if provider == "groq" and path[:1] == ["openai"] else path  # as Groq's own SDK writes it
            return Destination(provider=provider, call=ModelCall(request=request, path=unversioned(own)))
        case ("google-ai-studio", _, "models", resource):
            return _google(request, resource)
        case ("workers-ai", *path) if path[:1] == ["v1"]:
            return Destination(provider="workers-ai", call=ModelCall(request=request, path=unversioned(path)))
        case ("workers-ai", *name):
            return run_destination(request, "/".join(name))
        case ("azure-openai", _, *path):
            return _azure(request, [part for part in path if part != "openai"])
    return None


def rest_destination(request: Request, path: list[str]) -> Destination:
    """Return who is meant by `…/ai/v1/…` of the REST API: the model's name may begin with a provider."""
    provider = "anthropic" if path[:1] == ["messages"] else "openai"
    return Destination(provider=provider, call=ModelCall(request=request, path=tuple(path)))


def run_destination(request: Request, model: str) -> Destination:
    """Return Workers AI's own way: a model by name, or the one in the body."""
    call = ModelCall(request=request, path=("run",), model=model or None)
    return Destination(provider="workers-ai", call=call)


def _google(request: Request, resource: str) -> Destination:
    """Read `{model}:{verb}`."""
    model, _, verb = resource.partition(":")
    return Destination(provider="google-ai-studio", call=ModelCall(request=request, path=(verb,), model=model))


def _azure(request: Request, parts: list[str]) -> Destination | None:
    """Read `{deployment}/…`, also where the SDK has put `deployments/` in front of it."""
    if "deployments" in parts:
        parts = parts[parts.index("deployments") + 1 :]
    if not parts:
        return None
    call = ModelCall(request=request, path=unversioned(parts[1:]), model=parts[0])
    return Destination(provider="azure-openai", call=call)


def unversioned(path: list[str]) -> tuple[str, ...]:
    """Return a provider's path without a leading `v1`."""
    return tuple(path[1:] if path[:1] == ["v1"] else path)


def new_entry(
    place: Place, destination: Destination, answer: Response, now: float, *, event_id: str, cached: bool
) -> LogEntry:
    """Return the log of one call."""
    request = destination.call.request
    provider, model = split_model(destination.provider, destination.call.named_model())
    return LogEntry(
        id=ulid(now),
        place=place,
        event_id=event_id,
        created_at=round(now, 3),
        provider=provider,
        model=model,
        path="/".join(destination.call.path),
        status_code=answer.status,
        cached=cached,
        request=request.body,
        response=answer.body,
        request_type=request.headers.get("content-type", JSON_TYPE).partition(";")[0],
        response_type=answer.content_type,
        metadata=sent_metadata(request.headers.get("cf-aig-metadata", "")),
    )


def split_model(provider: str, model: str) -> tuple[str, str]:
    """Return the provider and the model for a log: "openai/gpt-5" names both."""
    head, slash, tail = model.partition("/")
    if head.startswith("@"):
        return "workers-ai", model
    if slash and provider in ("compat", "openai"):
        return head, tail
    return provider, model


def sent_metadata(header: str) -> dict[str, Any]:
    """Return the first five plain entries of a `cf-aig-metadata` header; what is wrong is dropped."""
    try:
        sent = parse_json(header)
    except MalformedBodyError:
        return {}
    entries = list(sent.items()) if isinstance(sent, dict) else []
    return dict([pair for pair in entries if isinstance(pair[1], (str, int, float))][:_MOST_METADATA])


def cache_seconds(request: Request) -> int:
    """Return for how long an answer may be kept; 0 for not at all."""
    if request.headers.get("cf-aig-skip-cache", "").lower() == "true" or request.method != "POST":
        return 0
    return whole_number(request.headers.get("cf-aig-cache-ttl", "")) or 0


def has_credential(request: Request) -> bool:
    """Whether the caller has shown any key at all."""
    return bool(request.bearer or any(request.headers.get(name) for name in _CREDENTIALS))


def is_account_id(text: str) -> bool:
    """Whether the text is 32 hex digits."""
    return _ACCOUNT.fullmatch(text) is not None


def refusal(status: int, message: str, code: int | None = None) -> Response:
    """Return an error in the words of Cloudflare's API."""
    error = {"message": message} if code is None else {"code": code, "message": message}
    body: dict[str, object] = {"success": False, "errors": [error]}
    if status == HTTPStatus.BAD_REQUEST:
        body["result"] = {}
    return json_response(body, status)
