"""SDKs of other kinds: they are captured through the HTTP client that they are handed."""

from __future__ import annotations

import asyncio
import contextlib
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it is fetched when litellm is imported

import httpx
import httpx2
import litellm
import pytest
import sdk
from google import genai
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler
from mistralai.client import Mistral
from sdk import log_of

import thumbprint

pytestmark = pytest.mark.filterwarnings("ignore")  # these packages' own


def ways(client, **names):
    """Name the sync and the async way of a client, as the table in README.md does."""
    through = pytest.mark.by("wrap on its HTTP client")
    return [
        pytest.param(name, marks=[pytest.mark.client(client, way.removesuffix("_")), through])
        for way, name in names.items()
    ]


MISTRAL = ways("mistralai", sync="complete", async_="complete_async")
MISTRAL_STREAMS = ways("mistralai", sync="stream", async_="stream_async")
GOOGLE = ways("google-genai", sync="sync", async_="async")


@pytest.fixture
def gateway(emulator):
    return emulator.environ()["CLOUDFLARE_GATEWAY_URL"]


def in_scope(use):
    """Return a scope, and what `use(opened)` gave in it; `open` captures an HTTP client, to be closed in the end."""

    async def call():
        async with contextlib.AsyncExitStack() as stack:

            async def opened(client):
                return await stack.enter_async_context(sdk.entered(thumbprint.wrap(client)))

            with thumbprint.scope() as scope:
                return scope, await use(opened)

    return asyncio.run(call())


# mistralai


async def chat(gateway, opened, way, model="mistral"):
    clients = {"client": await opened(httpx2.Client()), "async_client": await opened(httpx2.AsyncClient())}
    mistral = Mistral(api_key="any", server_url=f"{gateway}/mistral", **clients)
    return await sdk.settled(getattr(mistral.chat, way)(model=model, messages=sdk.asked()))


@pytest.mark.door("`chat.complete`, `chat.stream`")
@pytest.mark.parametrize("way", MISTRAL)
def test_mistrals_answer_leads_to_the_log_of_its_call(emulator, gateway, way):
    async def use(opened):
        return await chat(gateway, opened, way)

    scope, answer = in_scope(use)
    [log] = emulator.cloudflare_logs()
    assert log["provider"] == "mistral"
    assert [(ref.id, ref.operation) for ref in scope.refs] == [(log["id"], "chat")]
    assert log_of(thumbprint.record_feedback(answer, thumbs="up")) == log["id"]


@pytest.mark.door("`chat.complete`, `chat.stream`", stream=True)
@pytest.mark.parametrize("way", MISTRAL_STREAMS)
def test_mistrals_stream_leads_to_the_log_of_its_call(emulator, gateway, way):
    async def use(opened):
        stream = await chat(gateway, opened, way)
        return stream, await sdk.items(stream)

    scope, (stream, events) = in_scope(use)
    assert len(events) > 3
    assert [ref.id for ref in scope.refs] == [log["id"] for log in emulator.cloudflare_logs()]
    assert log_of(thumbprint.record_feedback(stream, thumbs="up")) == scope.last.id


@pytest.mark.parametrize("way", ["complete", "complete_async"])
def test_mistrals_error_leads_to_the_log_of_the_failed_call(emulator, gateway, way):
    async def use(opened):
        with pytest.raises(Exception, match="error-400") as caught:
            await chat(gateway, opened, way, "error-400")
        return caught.value

    scope, error = in_scope(use)
    assert scope.refs == ()
    assert log_of(thumbprint.record_feedback(error, thumbs="down")) == emulator.cloudflare_logs()[0]["id"]


# google-genai


async def google(gateway, library, kind, opened):
    clients = {
        "httpx_client": await opened(library.Client()),
        "httpx_async_client": await opened(library.AsyncClient()),
    }
    options = genai.types.HttpOptions(base_url=f"{gateway}/google-ai-studio", **clients)
    client = genai.Client(api_key="any", http_options=options)
    return client.models if kind == "sync" else client.aio.models


@pytest.mark.door("`models.generate_content`")
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("kind", GOOGLE)
def test_googles_answer_leads_to_the_log_of_its_call(emulator, gateway, library, kind):
    async def use(opened):
        models = await google(gateway, library, kind, opened)
        return await sdk.settled(models.generate_content(model="gemini", contents="Where is Ulm?"))

    scope, answer = in_scope(use)
    assert answer.text == "You said: Where is Ulm?"
    [log] = emulator.cloudflare_logs()
    assert (log["provider"], log["model"]) == ("google-ai-studio", "gemini")
    assert [(ref.id, ref.response_id) for ref in scope.refs] == [(log["id"], answer.response_id)]
    assert log_of(thumbprint.record_feedback(answer, thumbs="up")) == log["id"]


@pytest.mark.door("`models.generate_content`", stream=True, leads="scope")
@pytest.mark.parametrize("kind", GOOGLE)
def test_googles_stream_is_in_the_scope(emulator, gateway, kind):
    async def use(opened):
        models = await google(gateway, httpx, kind, opened)
        stream = await sdk.settled(models.generate_content_stream(model="gemini", contents="hi"))
        chunks = await sdk.items(stream)
        await sdk.settled(models.count_tokens(model="gemini", contents="hi"))
        return chunks

    scope, chunks = in_scope(use)
    assert "".join(chunk.text for chunk in chunks) == "You said: hi"
    assert [ref.operation for ref in scope.refs] == ["generate_content", "count_tokens"]
    assert log_of(thumbprint.record_feedback(scope, thumbs="up")) == emulator.cloudflare_logs()[0]["id"]
    with pytest.raises(thumbprint.UnknownTargetError):  # nobody reads the stream, and so the id in it, but its owner
        thumbprint.record_feedback(chunks[0], thumbs="up")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_googles_error_leads_to_the_log_of_the_failed_call(emulator, gateway, kind):
    async def use(opened):
        models = await google(gateway, httpx, kind, opened)
        with pytest.raises(genai.errors.ClientError) as caught:
            await sdk.settled(models.generate_content(model="error-400", contents="hi"))
        return caught.value

    scope, error = in_scope(use)
    assert scope.refs == ()
    assert log_of(thumbprint.record_feedback(error, thumbs="down")) == emulator.cloudflare_logs()[0]["id"]


# litellm, whose providers but OpenAI's go through HTTP clients of its own, and so does its `responses`


def completion(handler, model, api_base, **kwargs):
    ask = litellm.acompletion if isinstance(handler, AsyncHTTPHandler) else litellm.completion
    return sdk.settled(
        ask(model=model, messages=sdk.asked(), api_base=api_base, api_key="any", client=handler, **kwargs)
    )


LITELLM = ways("litellm, own HTTP client", sync=HTTPHandler, async_=AsyncHTTPHandler)
PLACES = {"anthropic/claude": "anthropic/v1/messages", "gemini/gemini-2": "google-ai-studio/v1beta"}


@pytest.mark.parametrize("make_handler", LITELLM)
@pytest.mark.parametrize("model", PLACES)
@pytest.mark.parametrize(
    "stream",
    [
        pytest.param(False, id="whole", marks=pytest.mark.door("`completion`", leads="scope")),
        pytest.param(True, id="stream", marks=pytest.mark.door("`completion`", stream=True, leads="scope")),
    ],
)
def test_a_call_of_litellm_is_in_the_scope(emulator, gateway, make_handler, model, stream):
    async def use(opened):
        handler = make_handler()
        await opened(handler.client)
        answer = await completion(handler, model, f"{gateway}/{PLACES[model]}", stream=stream)
        if stream:
            assert await sdk.items(answer) if make_handler is AsyncHTTPHandler else list(answer)

    scope, _ = in_scope(use)
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    assert scope.last.generated
    assert log_of(thumbprint.record_feedback(scope, thumbs="up")) == log["id"]


@pytest.mark.door("`responses`", leads="scope")
@pytest.mark.parametrize("make_handler", LITELLM)
def test_so_is_one_of_litellms_responses(emulator, make_handler):
    async def use(opened):
        handler = make_handler()
        await opened(handler.client)
        ask = litellm.aresponses if make_handler is AsyncHTTPHandler else litellm.responses
        settings = {"api_base": emulator.cloudflare_openai_url, "api_key": "any", "client": handler}
        return await sdk.settled(ask(model="openai/gpt-5", input="Where is Ulm?", **settings))

    scope, answer = in_scope(use)
    assert log_of(thumbprint.record_feedback(scope, thumbs="up")) == emulator.cloudflare_logs()[0]["id"]
    assert scope.last.response_id.startswith("resp_")
    with pytest.raises(thumbprint.UnknownTargetError):  # litellm has given it another id
        thumbprint.record_feedback(answer, thumbs="up")


def test_a_failed_call_of_litellm_is_in_no_scope(emulator, gateway):
    async def use(opened):
        handler = HTTPHandler()
        await opened(handler.client)
        with pytest.raises(litellm.BadRequestError):
            await completion(handler, "anthropic/error-400", f"{gateway}/anthropic/v1/messages")

    scope, _ = in_scope(use)
    assert len(emulator.cloudflare_logs()) == 1
    assert scope.refs == ()
