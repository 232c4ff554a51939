"""The model as a whole: which path asks for what, and the little that it remembers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._model import chat, google, media, responses
from thumbprint.emulator._model.prompts import asked_error, asked_failures, echo, error_answer, last_user_text
from thumbprint.emulator._model.shelf import Shelf
from thumbprint.emulator._wire import MalformedBodyError, Request, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

_CREATORS: dict[tuple[str, ...], Callable[[dict[str, Any], float], Response]] = {
    ("chat", "completions"): chat.chat,
    ("completions",): chat.completions,
    ("messages",): chat.messages,
    ("messages", "count_tokens"): chat.count_tokens,
    ("generateContent",): google.generate,
    ("streamGenerateContent",): google.stream,
    ("countTokens",): google.count_tokens,
    ("embeddings",): media.embeddings,
    ("moderations",): media.moderations,
    ("images", "generations"): media.images,
    ("audio", "speech"): media.speech,
}
_FORMS = (("audio", "transcriptions"), ("audio", "translations"))
_RUN = ("run",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """A call that has reached a provider: the path behind the provider's name, without `v1`.

    `model` overrides the model of the body, for paths that hold its name.
    """

    request: Request
    path: tuple[str, ...]
    model: str | None = None

    def named_model(self) -> str:
        """Return the name of the model that is meant, or an empty string."""
        if self.model is not None:
            return self.model
        try:
            return str(self._fields().get("model") or "")
        except MalformedBodyError:
            return ""

    def fields(self) -> dict[str, Any]:
        """Return the body as fields, with the model. Raises MalformedBodyError."""
        named = {} if self.model is None else {"model": self.model}
        return self._fields() | named

    def _fields(self) -> dict[str, Any]:
        if self.path in _FORMS:
            return dict(media.read_form(self.request.body, self.request.headers.get("content-type", "")))
        return self.request.json_object() if self.request.body else {}


class Model:
    """A make-believe model that answers everything at once and remembers what was stored, and failures."""

    def __init__(self) -> None:
        self._stored: dict[str, dict[str, Any]] = {}
        self._shelf = Shelf()
        self._failures: Counter[str] = Counter()

    def answer(self, call: ModelCall, now: float) -> Response:
        """Answer a call; a request that is wrong gets an error in OpenAI's words."""
        failing = self._failing(call.named_model())
        if failing:
            return error_answer(failing, f"The model {call.named_model()!r} answers {failing} as asked.")
        try:
            return self._route(call, now)
        except MalformedBodyError as error:
            return error_answer(400, f"Bad request: {error}.")

    def _failing(self, model: str) -> int | None:
        if self._failures[model] < asked_failures(model):
            self._failures[model] += 1
            return 500
        return asked_error(model)

    def _route(self, call: ModelCall, now: float) -> Response:  # noqa: PLR0911 - one for each route
        match call.request.method, call.path:
            case "POST", path if path in _CREATORS:
                return _CREATORS[path](call.fields(), now)
            case "POST", path if path in _FORMS:
                return media.transcription(call.fields(), now)
            case "POST", path if path == _RUN:
                return _native(call.fields())
            case "GET", ("models",):
                return media.model_list(now)
            case "GET", ("models", *name):
                return media.model_detail("/".join(name), now)
            case _, ("responses", *rest):
                return self._responses(call, tuple(rest), now)
            case _, ("files", *rest):
                return self._shelf.files(call.request, tuple(rest), now)
            case _, ("messages", "batches", *rest):
                return self._shelf.batches(call.request, tuple(rest), now)
        message = f"There is nothing at {call.request.method} /{'/'.join(call.path)}."
        return error_answer(404, message, "unknown_url")

    def _responses(self, call: ModelCall, rest: tuple[str, ...], now: float) -> Response:
        match call.request.method, rest:
            case "POST", ():
                return self._create(call.fields(), now)
            case "GET", (known,) if known in self._stored:
                streamed = ("stream", "true") in call.request.params
                return (responses.response_stream if streamed else json_response)(self._stored[known])
            case "DELETE", (known,) if known in self._stored:
                del self._stored[known]
                return json_response({"id": known, "object": "response.deleted", "deleted": True})
            case "POST", (known, "cancel") if known in self._stored:
                return self._cancel(known)
        return error_answer(404, f"There is no response at /{'/'.join(call.path)}.")

    def _create(self, body: dict[str, Any], now: float) -> Response:
        response = responses.new_response(body, now)
        if body.get("store") is not False:
            self._stored[response["id"]] = response
        if body.get("stream"):
            return responses.response_stream(response)
        if body.get("background"):
            response = responses.unfinished(response, "queued")
        return json_response(response)

    def _cancel(self, known: str) -> Response:
        if not self._stored[known]["background"]:
            return error_answer(400, "Only a response in the background can be cancelled.")
        self._stored[known] = responses.unfinished(self._stored[known], "cancelled")
        return json_response(self._stored[known])


def _native(body: dict[str, Any]) -> Response:
    """Answer in the way of Workers AI's own `run`."""
    said = last_user_text(body.get("prompt") or body.get("messages"))
    result = {"response": echo(said)}
    return json_response({"result": result, "success": True, "errors": [], "messages": []})
