"""Contestants of a model's call: what does capturing it add to a call of OpenAI's SDK?

The SDK is the real one and its answers are real, but no network is between them: a transport that hands out what it
has. In each process three take turns, in random order and a few calls at a time: the SDK as it is, the SDK with a hook
as somebody would write it by hand, and the contestant. What is measured is a call in a scope, to the end of its stream
where it has one; of the median, what the SDK alone takes is no part. All of thumbprint is on that is by default.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import time
from dataclasses import dataclass

from opentelemetry import context as otel

LOG_ID = "01JADMCQQQBWH3NXZ5GCRN98DP"
GATEWAY = "https://gateway.ai.cloudflare.com/v1/0123456789abcdef0123456789abcdef/production/openai"
HEADERS = {
    "date": "Tue, 03 Feb 2026 10:00:00 GMT",
    "cf-ray": "9c81f2a5bd1e9b3c-FRA",
    "cf-aig-log-id": LOG_ID,
    "cf-aig-event-id": "01JADMCQQQBWH3NXZ5GCRN98DQ",
    "cf-aig-step": "0",
    "cf-aig-cache-status": "MISS",
    "openai-organization": "example",
    "openai-processing-ms": "412",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "2000000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "1999950",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "1ms",
    "x-request-id": "req_5c0f2f3f6f0c4d2e9a55a1f3f1b2c3d4",
    "server": "cloudflare",
}
QUESTION = {"model": "gpt-5", "messages": [{"role": "user", "content": "Where is Ulm?"}]}
ANSWER = ["In", "the", "south", "of", "Germany,", "on", "the", "Danube."]
AT_A_TIME = 10  # calls, of which the first is not counted: it finds what the others left behind


def event(number, delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5",
            "choices": [choice]}  # fmt: skip


def body(number):
    message = {"role": "assistant", "content": " ".join(ANSWER)}
    usage = {"prompt_tokens": 11, "completion_tokens": 9, "total_tokens": 20}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": f"chatcmpl-{number}", "object": "chat.completion", "created": 1, "model": "gpt-5",
              "choices": [choice], "usage": usage}  # fmt: skip
    return json.dumps(answer).encode()


def streamed_body(number):
    events = [event(number, {"role": "assistant"}), *(event(number, {"content": f"{word} "}) for word in ANSWER)]
    events.append(event(number, {}, "stop"))
    return (
        "".join(f"data: {json.dumps(each)}\n\n" for each in [*events, "[DONE]"]).replace('"[DONE]"', "[DONE]").encode()
    )


class Client:
    """OpenAI's SDK over a transport that answers at once, each time with another id: `call()` makes one call."""

    def __init__(self, *, asynchronous, streamed):
        import httpx  # noqa: PLC0415 - every contestant imports its own
        import openai  # noqa: PLC0415

        numbers = iter(range(1 << 62))
        made = streamed_body if streamed else body
        kind = "text/event-stream" if streamed else "application/json"

        def answer(_):
            return httpx.Response(200, headers={**HEADERS, "content-type": kind}, content=made(next(numbers)))

        transport = httpx.MockTransport(answer)
        if asynchronous:
            http_client = httpx.AsyncClient(transport=transport)
            self.sdk = openai.AsyncOpenAI(base_url=GATEWAY, api_key="key", http_client=http_client)
        else:
            self.sdk = openai.OpenAI(base_url=GATEWAY, api_key="key", http_client=httpx.Client(transport=transport))
        self.asynchronous = asynchronous
        self.options = {**QUESTION, "stream": True} if streamed else QUESTION

    def call(self):
        answer = self.sdk.chat.completions.create(**self.options)
        if "stream" in self.options:
            for _ in answer:
                pass

    async def call_async(self):
        answer = await self.sdk.chat.completions.create(**self.options)
        if "stream" in self.options:
            async for _ in answer:
                pass


class Bare:
    """The SDK as it is."""

    scope = staticmethod(contextlib.nullcontext)

    def __init__(self, **options):
        self.client = Client(**options)

    def on(self):
        pass

    def off(self):
        pass


class ByHand(Bare):
    """A hook on the method that sees every response, and a scope in OpenTelemetry's context that collects the ids.

    Of a stream the application holds the chunks, so that these have to bear the id: another hook sees to that.
    """

    def __init__(self, **options):
        import wrapt  # noqa: PLC0415 - as above

        super().__init__(**options)
        key = otel.create_key("by-hand")

        def note(response, result):
            log_id = response.headers.get("cf-aig-log-id")
            if log_id is not None:
                collected = otel.get_value(key)
                if collected is not None:
                    collected.append(log_id)
                result._log_id = response._log_id = log_id
            return result

        async def awaited(response, coroutine):
            return note(response, await coroutine)

        def hook(wrapped, _, args, kwargs):
            result = wrapped(*args, **kwargs)
            if self.client.asynchronous:
                return awaited(kwargs["response"], result)
            return note(kwargs["response"], result)

        @contextlib.contextmanager
        def scope():
            token = otel.attach(otel.set_value(key, []))
            try:
                yield
            finally:
                otel.detach(token)

        sdk = self.client.sdk
        sdk._process_response = wrapt.FunctionWrapper(sdk._process_response, hook)
        if options["streamed"]:
            sdk._process_response_data = wrapt.FunctionWrapper(sdk._process_response_data, self.parsed)
        self.scope = scope

    @staticmethod
    def parsed(wrapped, _, args, kwargs):
        result = wrapped(*args, **kwargs)
        log_id = getattr(kwargs["response"], "_log_id", None)
        if log_id is not None:
            result._log_id = log_id
        return result


class Skeleton(Bare):
    """The least that makes answers, chunks and scopes targets, without anything that is then done with them.

    Where `ByHand` looks for one header and keeps its value, this looks for two and keeps what a service has to be told
    from: three hooks, one object for each call, carried by the response, the answer and each chunk, and reported to a
    scope that can be nested. Nothing is recognised, checked, stored or counted, and no fault is caught.
    """

    def __init__(self, **options):
        import wrapt  # noqa: PLC0415 - as above

        super().__init__(**options)
        sdk = self.client.sdk
        for name, hook in (
            ("_build_request", lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)),
            ("_process_response", self.answered),
            ("_process_response_data", self.parsed),
        ):
            setattr(sdk, name, wrapt.FunctionWrapper(getattr(sdk, name), hook))
        self.scope = SkeletonScope

    def answered(self, wrapped, _, args, kwargs):
        response = kwargs["response"]
        headers, request = response.headers, response.request
        if not ("cf-aig-log-id" in headers or "x-bt-span-id" in headers):
            return wrapped(*args, **kwargs)
        call = (request.method, request.url, request.headers, headers, time.time())
        object.__setattr__(response, "_call", call)
        result = wrapped(*args, **kwargs)
        return self.awaited(call, result) if self.client.asynchronous else self.report(call, result)

    async def awaited(self, call, coroutine):
        return self.report(call, await coroutine)

    @staticmethod
    def report(call, result):
        object.__setattr__(result, "_call", call)
        scope = SkeletonScope.current()
        while scope is not None:
            scope.calls.append(call)
            scope = scope.outer
        return result

    @staticmethod
    def parsed(wrapped, _, args, kwargs):
        result = wrapped(*args, **kwargs)
        call = getattr(kwargs["response"], "_call", None)
        if call is not None:
            object.__setattr__(result, "_call", call)
        return result


class SkeletonScope:
    """A scope for `Skeleton`."""

    @staticmethod
    def current():
        return otel.get_current().get("skeleton")

    def __enter__(self):
        self.before = otel.get_current()
        self.outer = self.before.get("skeleton")
        self.calls = []
        otel.attach(otel.set_value("skeleton", self, self.before))

    def __exit__(self, *_):
        otel.attach(self.before)


class Wrapped(Bare):
    """thumbprint, on one client."""

    def __init__(self, **options):
        import thumbprint  # noqa: PLC0415 - as above

        super().__init__(**options)
        self.thumbprint = thumbprint
        self.client.sdk = thumbprint.wrap(self.client.sdk)
        self.scope = thumbprint.scope


class Instrumented(Bare):
    """thumbprint, on all clients, while it is its turn."""

    def __init__(self, **options):
        import thumbprint  # noqa: PLC0415 - as above

        super().__init__(**options)
        self.on, self.off, self.scope = thumbprint.instrument, thumbprint.uninstrument, thumbprint.scope


class OpenTelemetry(Bare):
    """OpenTelemetry's own instrumentation; its spans go to a tracer that keeps none."""

    def __init__(self, **options):
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        super().__init__(**options)
        instrumentor, provider = OpenAIInstrumentor(), TracerProvider()
        self.on = lambda: instrumentor.instrument(tracer_provider=provider)
        self.off = instrumentor.uninstrument


class OpenInference(Bare):
    """OpenInference's, likewise."""

    def __init__(self, **options):
        from openinference.instrumentation.openai import OpenAIInstrumentor  # noqa: PLC0415 - as above
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

        super().__init__(**options)
        instrumentor, provider = OpenAIInstrumentor(), TracerProvider()
        self.on = lambda: instrumentor.instrument(tracer_provider=provider)
        self.off = instrumentor.uninstrument


class Braintrust(Bare):
    """Braintrust's wrapper, which logs to the server in the background."""

    def __init__(self, **options):
        import braintrust  # noqa: PLC0415 - as above

        super().__init__(**options)
        braintrust.login()
        braintrust.init_logger(project="benchmark", project_id="6b1f0c9e-6f5a-4f0e-9f0a-3f0d5f1c2b3a")
        self.client.sdk = braintrust.wrap_openai(self.client.sdk)


class Langsmith(Bare):
    """LangSmith's wrapper, likewise."""

    def __init__(self, **options):
        from langsmith.wrappers import wrap_openai  # noqa: PLC0415 - as above

        super().__init__(**options)
        self.client.sdk = wrap_openai(self.client.sdk)


class Langfuse(Bare):
    """Langfuse's import, which stands on the SDK's classes for all clients: it is taken off between its turns."""

    def __init__(self, **options):
        from openai.resources.chat import completions  # noqa: PLC0415 - as above

        owners = (completions.Completions, completions.AsyncCompletions)
        before = [owner.create for owner in owners]
        import langfuse.openai  # noqa: F401, PLC0415

        after = [owner.create for owner in owners]
        super().__init__(**options)

        def put(methods):
            for owner, method in zip(owners, methods, strict=True):
                owner.create = method

        self.on, self.off = (lambda: put(after)), (lambda: put(before))
        self.off()


class Game:
    """Three players with the same calls: what is added to the SDK's, by hand and by the product that `kind` sets up."""

    def __init__(self, url, kind, *, asynchronous, streamed):
        set_up(url)
        self.asynchronous = asynchronous
        self.players = [player(asynchronous=asynchronous, streamed=streamed) for player in (Bare, ByHand, kind)]

    def round(self, count):
        took = asyncio.run(self.timed(count))
        bare, by_hand, product = (statistics.median(took[player]) for player in self.players)
        return {"added": (product - bare) / 1e3, "times": (product - bare) / (by_hand - bare)}

    async def timed(self, count):
        """Return what the calls of each player took, in nanoseconds."""
        took = {player: [] for player in self.players}
        turns = self.players * max(1, count // AT_A_TIME)
        random.shuffle(turns)
        for player in turns:
            player.on()
            times = [await self.time(player) for _ in range(AT_A_TIME)]
            player.off()
            took[player] += times[1:]
        return took

    async def time(self, player):
        client, scope, clock = player.client, player.scope, time.perf_counter_ns
        began = clock()
        with scope():
            if self.asynchronous:
                await client.call_async()
            else:
                client.call()
        return clock() - began

    def close(self):
        pass


PRODUCTS = {
    "thumbprint, wrapped": Wrapped,
    "thumbprint, instrumented": Instrumented,
    "skeleton": Skeleton,
    "opentelemetry-instrumentation-openai-v2": OpenTelemetry,
    "langfuse": Langfuse,
    "openinference": OpenInference,
    "braintrust": Braintrust,
    "langsmith": Langsmith,
}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A product by the name in `PRODUCTS`, and which calls it is measured with."""

    label: str
    asynchronous: bool = False
    streamed: bool = False
    delivers = False

    def __call__(self, url):
        return Game(url, PRODUCTS[self.label], asynchronous=self.asynchronous, streamed=self.streamed)


def contestants(**calls):
    """Return every product for these calls, ours first."""
    return tuple(Contestant(label=label, **calls) for label in PRODUCTS)


def set_up(url):
    """Tell the products where to deliver to, so that nothing leaves the machine."""
    os.environ.update(
        {
            "BRAINTRUST_APP_URL": url,
            "BRAINTRUST_API_KEY": "key",
            "LANGFUSE_BASE_URL": url,
            "LANGFUSE_HOST": url,
            "LANGFUSE_PUBLIC_KEY": "pk",
            "LANGFUSE_SECRET_KEY": "sk",
            "LANGSMITH_ENDPOINT": url,
            "LANGSMITH_API_KEY": "key",
            "LANGSMITH_TRACING": "true",
        }
    )
