"""Never run: `mypy --strict` reads it, to hold what types the public API takes and gives.

What must be a type error is marked `type: ignore[code]`; were it none, mypy would complain about the unused ignore.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping
from functools import partial
from typing import Any, Literal, assert_type

import openai
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI
from openai.types.chat import ChatCompletion

import thumbprint
import thumbprint.workers
from thumbprint import (
    Braintrust,
    Cloudflare,
    FlushResult,
    LogRef,
    OpenTelemetry,
    Outcome,
    Receipt,
    Scope,
    Thumbprint,
    Verification,
    errors,
)
from thumbprint.web import asgi, wsgi
from thumbprint.workers import AI, AIGateway

Status = Literal["queued", "delivered", "failed", "dropped"]


# wrap and unwrap give the client's own type.


class OwnClient(OpenAI):
    def ask(self, question: str) -> str:
        return question


assert_type(thumbprint.wrap(OpenAI()), OpenAI)
assert_type(thumbprint.wrap(AsyncOpenAI()), AsyncOpenAI)
assert_type(thumbprint.wrap(AzureOpenAI(api_version="2024-10-21")), AzureOpenAI)
assert_type(thumbprint.wrap(AsyncAzureOpenAI(api_version="2024-10-21")), AsyncAzureOpenAI)
assert_type(thumbprint.wrap(OwnClient()).ask("?"), str)
assert_type(thumbprint.unwrap(thumbprint.wrap(OwnClient())), OwnClient)
thumbprint.wrap(openai)

client = thumbprint.wrap(OpenAI())
completion = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Where is Ulm?"}])
assert_type(completion, ChatCompletion)

thumbprint.instrument()
thumbprint.uninstrument()
thumbprint.instrument(client)  # type: ignore[call-arg]


# configure and a Thumbprint of one's own take the same.

configured: Thumbprint = thumbprint.configure()
thumbprint.configure(backends=[Cloudflare(), Braintrust()], store="memory://", disabled=False)
thumbprint.configure(backends=[Cloudflare(), OpenTelemetry(content=True, spans=False)], baggage="send")
thumbprint.configure(
    backends=(
        Cloudflare(api_token="t", account_id="a", gateway_id="g", base_url="https://api.cloudflare.com/client/v4"),
        Braintrust(api_key="k", api_url="https://api.braintrust.dev", parent="project_name:P", gateway_url="https://g"),
        Braintrust(log_calls=True, redact=lambda row: {**row, "input": None} if row["input"] else None),
    )
)
own = Thumbprint(backends=[Cloudflare()], store="memory://", disabled=True)
assert_type(own.wrap(client), OpenAI)
assert_type(own.unwrap(client), OpenAI)
assert_type(own.scope("id"), Scope)
assert_type(own.record_feedback(completion, thumbs="up"), Receipt)
assert_type(own.token_for(completion, which="all", expires_in=60, allow=["thumbs"]), str)
assert_type(own.flush(), FlushResult)
assert_type(own.shutdown(1), FlushResult)
own.instrument()
own.uninstrument()

thumbprint.configure([Cloudflare()])  # type: ignore[call-arg]
thumbprint.configure(backends=Cloudflare())  # type: ignore[arg-type]
thumbprint.configure(backends=[Cloudflare])  # type: ignore[list-item]
thumbprint.configure(backends=["cloudflare"])  # type: ignore[list-item]
thumbprint.configure(store=1)  # type: ignore[arg-type]
thumbprint.configure(baggage="everything")  # type: ignore[arg-type]
OpenTelemetry(content=1)  # type: ignore[arg-type]
Cloudflare("token")  # type: ignore[call-arg]


# A scope is a context manager, sync and async.

assert_type(thumbprint.scope(), Scope)
assert_type(thumbprint.scope("message-1"), Scope)
assert_type(thumbprint.scope(id="message-1"), Scope)
assert_type(thumbprint.current_scope(), Scope | None)
assert_type(thumbprint.scope().token(), str)
assert_type(thumbprint.scope().token(expires_in=0.5, allow={"thumbs", "score"}), str)
assert_type(thumbprint.token_for(), str)
assert_type(thumbprint.token_for(completion), str)
thumbprint.token_for(target=completion)  # type: ignore[call-arg]
thumbprint.token_for(which="first")  # type: ignore[arg-type]
thumbprint.configure(secret="several,of them")
thumbprint.configure(secret=b"bytes")  # type: ignore[arg-type]
thumbprint.scope(17)  # type: ignore[arg-type]

with thumbprint.scope() as entered:
    assert_type(entered, Scope)
    assert_type(entered.id, str)
    assert_type(entered.refs, tuple[LogRef, ...])
    assert_type(entered.last, LogRef | None)

entered.id = "another"  # type: ignore[misc]


async def scopes_can_be_entered_asynchronously() -> None:
    async with thumbprint.scope() as entered:
        assert_type(entered, Scope)


def what_follows_a_scope_is_reachable() -> int:
    with thumbprint.scope():
        return 1


# Decorated functions keep their types.


@thumbprint.scope()
def function(question: str, *, limit: int = 3) -> list[str]:
    return [question] * limit


@thumbprint.scope(id="fixed")
async def coroutine(question: str, *, limit: int = 3) -> list[str]:
    return [question] * limit


@thumbprint.scope()
def generator(question: str) -> Generator[int, str, bytes]:
    sent = yield len(question)
    return sent.encode()


@thumbprint.scope()
def iterator(question: str) -> Iterator[int]:
    yield len(question)


@thumbprint.scope()
async def async_generator(question: str) -> AsyncGenerator[int, str]:
    yield len(question)


@thumbprint.scope()
async def async_iterator(question: str) -> AsyncIterator[int]:
    yield len(question)


assert_type(function("Where is Ulm?", limit=1), list[str])
assert_type(generator("Where is Ulm?"), Generator[int, str, bytes])
assert_type(iterator("Where is Ulm?"), Iterator[int])
assert_type(async_generator("Where is Ulm?"), AsyncGenerator[int, str])
assert_type(async_iterator("Where is Ulm?"), AsyncIterator[int])
function(17)  # type: ignore[arg-type]
function("Where is Ulm?", 1)  # type: ignore[call-arg]
generator(b"")  # type: ignore[arg-type]


async def decorated_coroutines_and_generators_are_used_as_ever() -> None:
    pending: Coroutine[Any, Any, list[str]] = coroutine("Where is Ulm?", limit=1)
    assert_type(await pending, list[str])
    assert_type(await chat.coroutine_method("Where is Ulm?"), int)
    await coroutine(17)  # type: ignore[arg-type]
    coroutine("Where is Ulm?")  # type: ignore[unused-coroutine]
    async for item in async_generator("Where is Ulm?"):
        assert_type(item, int)
    async for item in async_iterator("Where is Ulm?"):
        assert_type(item, int)


class Chat:
    @thumbprint.scope()
    def method(self, question: str) -> int:
        return len(question)

    @thumbprint.scope()
    async def coroutine_method(self, question: str) -> int:
        return len(question)

    @thumbprint.scope()
    def generator_method(self, question: str) -> Iterator[int]:
        yield len(question)

    @staticmethod
    @thumbprint.scope()
    def static_method(question: str) -> int:
        return len(question)

    @classmethod
    @thumbprint.scope()
    def class_method(cls, question: str) -> int:
        return len(question)

    @thumbprint.scope()
    @staticmethod
    def static_inside(question: str) -> int:
        return len(question)

    @thumbprint.scope()
    @classmethod
    def class_inside(cls, question: str) -> int:
        return len(question)


chat = Chat()
assert_type(chat.method("Where is Ulm?"), int)
assert_type(chat.generator_method("Where is Ulm?"), Iterator[int])
assert_type(chat.static_method("Where is Ulm?"), int)
assert_type(Chat.class_method("Where is Ulm?"), int)
assert_type(chat.static_inside("Where is Ulm?"), int)
assert_type(Chat.class_inside("Where is Ulm?"), int)
chat.method(17)  # type: ignore[arg-type]
chat.static_method(17)  # type: ignore[arg-type]
assert_type(thumbprint.scope()(partial(function, limit=1))("Where is Ulm?"), list[str])
thumbprint.scope()(17)  # type: ignore[arg-type]


def a_callback_stays_one(callback: Callable[[int], str]) -> None:
    assert_type(thumbprint.scope()(callback), Callable[[int], str])


# record_feedback takes every kind of target and every field.

ref = LogRef(backend="cloudflare", id="01JADMCQQQBWH3NXZ5GCRN98DP")

assert_type(thumbprint.record_feedback(thumbs="up"), Receipt)
for target in (None, completion, ref, [ref, ref], "message-1", thumbprint.scope()):
    thumbprint.record_feedback(target, thumbs="down")
for thumbs in ("up", "down", True, False, 1, -1, None):
    thumbprint.record_feedback(completion, thumbs=thumbs)
thumbprint.record_feedback(completion, score=0.5, scores={"accuracy": 1, "tone": None}, which="all")
thumbprint.record_feedback(completion, score=None, expected=None)
thumbprint.record_feedback(completion, expected={"city": ["Ulm"]}, comment="wrong city")
thumbprint.record_feedback(completion, tags=["geo"], metadata={"page": 3, "ids": [1]}, user_id="u-17", source="app")
thumbprint.record_feedback(completion, tags=(tag for tag in ("geo", "city")))

thumbprint.record_feedback(target=completion, thumbs="up")  # type: ignore[call-arg]
thumbprint.record_feedback(completion, "up")  # type: ignore[call-arg]
thumbprint.record_feedback(completion, thumbs=0.5)  # type: ignore[arg-type]
thumbprint.record_feedback(completion, score="0.5")  # type: ignore[arg-type]
thumbprint.record_feedback(completion, scores=[("accuracy", 1)])  # type: ignore[arg-type]
thumbprint.record_feedback(completion, comment=b"wrong city")  # type: ignore[arg-type]
thumbprint.record_feedback(completion, tags=[1])  # type: ignore[list-item]
thumbprint.record_feedback(completion, metadata={1: "a"})  # type: ignore[dict-item]
thumbprint.record_feedback(completion, user_id=17)  # type: ignore[arg-type]
thumbprint.record_feedback(completion, thumbs="up", which="first")  # type: ignore[arg-type]
thumbprint.record_feedback(completion, rating=5)  # type: ignore[call-arg]


# A receipt tells, waits and can be awaited.

receipt = thumbprint.record_feedback(completion, thumbs="up")
assert_type(receipt.id, str)
assert_type(receipt.status, Status)
assert_type(receipt.outcomes, tuple[Outcome, ...])
assert_type(receipt.wait(), Receipt)
assert_type(receipt.wait(timeout=0.5), Receipt)
receipt.status = "delivered"  # type: ignore[misc]
if receipt.status == "done":  # type: ignore[comparison-overlap]  # mypy alone
    pass


async def receipts_can_be_awaited() -> None:
    assert_type(await thumbprint.record_feedback(completion, thumbs="up"), Receipt)


verification = receipt.verify(timeout=5)[0]
assert_type(receipt.verify(), tuple[Verification, ...])
assert_type(verification.ref, LogRef)
assert_type(verification.status, Literal["confirmed", "missing", "unknown"])
assert_type(verification.reason, str | None)
assert_type(verification.fields, tuple[str, ...])
verification.status = "missing"  # type: ignore[misc]

outcome = receipt.outcomes[0]
assert_type(outcome.ref, LogRef)
assert_type(outcome.status, Status)
assert_type(outcome.reason, str | None)
assert_type(outcome.attempts, int)
assert_type(outcome.unsupported, tuple[str, ...])
outcome.status = "failed"  # type: ignore[misc]

flushed = thumbprint.flush(timeout=None)
assert_type(flushed, FlushResult)
assert_type(thumbprint.flush(1.5), FlushResult)
assert_type(thumbprint.shutdown(timeout=5), FlushResult)
assert_type((flushed.delivered, flushed.remaining, flushed.failed, flushed.dropped), tuple[int, int, int, int])


# A LogRef says where a log entry is.

assert_type(ref.backend, str)
assert_type(ref.id, str)
assert_type(ref.operation, str | None)
assert_type((ref.account_id, ref.gateway_id), tuple[str | None, str | None])
assert_type((ref.project_id, ref.project_name, ref.experiment_id), tuple[str | None, str | None, str | None])
assert_type((ref.response_id, ref.trace_id, ref.span_id), tuple[str | None, str | None, str | None])
assert_type(ref.captured_at, float)
assert_type(ref.generated, bool)
assert_type(ref.to_dict(), dict[str, str | float])
assert_type(LogRef.from_dict(ref.to_dict()), LogRef)
assert_type({ref: 1}, dict[LogRef, int])
ref.id = "another"  # type: ignore[misc]
LogRef("cloudflare", "01")  # type: ignore[call-arg]
LogRef(backend="cloudflare")  # type: ignore[call-arg]


# The web applications take any app of their protocol.


async def asgi_app(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    return []


async def slow_hook(scope: Mapping[str, Any], feedback: object) -> dict[str, str]:
    return {"user_id": "u-1"}


def quick_hook(request: Mapping[str, Any], feedback: object) -> None:
    raise thumbprint.FeedbackRefusedError("no", status=401)


asgi.ThumbprintMiddleware(asgi_app, thumbprint=own, trust_header="x-request-id", trust_if=bool, allow=["thumbs"])
wsgi.ThumbprintMiddleware(wsgi_app, expires_in=60.0)
asgi.FeedbackEndpoint(on_feedback=slow_hook, allow_origins=["*"], per_minute=5)
asgi.FeedbackEndpoint(on_feedback=quick_hook)
wsgi.FeedbackEndpoint(on_feedback=quick_hook)
wsgi.FeedbackEndpoint(on_feedback=slow_hook)  # type: ignore[arg-type]
wsgi.ThumbprintMiddleware(asgi_app)  # type: ignore[arg-type]


# Every error is one of ours and one of Python's.

try:
    thumbprint.record_feedback(thumbs="up")
except (thumbprint.ArgumentValueError, thumbprint.ArgumentTypeError) as argument_error:
    assert_type(argument_error.argument, str)
except thumbprint.MissingCredentialsError as missing:
    assert_type(missing.variable, str)
except thumbprint.ThumbprintError:
    pass

value_errors: list[type[ValueError]] = [
    thumbprint.ArgumentValueError,
    thumbprint.ConfigurationError,
    thumbprint.MissingCredentialsError,
]
type_errors: list[type[TypeError]] = [thumbprint.ArgumentTypeError, thumbprint.UnsupportedClientError]
lookup_errors: list[type[LookupError]] = [thumbprint.UnknownTargetError, thumbprint.AmbiguousTargetError]
ours: list[type[errors.ThumbprintError]] = [*value_errors]  # type: ignore[list-item]
ours = [errors.ArgumentValueError, errors.UnknownTargetError, errors.ConfigurationError]


# In a Cloudflare Worker.


async def in_a_worker(env: Any) -> None:
    assert_type(thumbprint.workers.configure(env.AI, secret="s", gateway_id="production"), Thumbprint)
    ai = assert_type(thumbprint.workers.wrap(env.AI), AI)
    thumbprint.workers.wrap(env.AI, thumbprint=own)
    answer = await ai.run("@cf/meta/llama-3.1-8b-instruct", {"prompt": "?"}, {"gateway": {"id": "production"}})
    assert_type(await thumbprint.workers.settle(thumbprint.record_feedback(answer, thumbs="up"), timeout=5), Status)
    thumbprint.configure(backends=[AIGateway(env.AI, gateway_id="production")], delivery="inline")
    thumbprint.workers.configure()  # type: ignore[call-arg]
    AIGateway()  # type: ignore[call-arg]
