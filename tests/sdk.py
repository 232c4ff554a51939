"""The real OpenAI SDK through every door: each door makes one call and returns all that it gave back.

Doors are written once and serve sync and async clients alike. A test with a client, a door and a hook of these lists is
a cell of the table in README.md (see tests/compatibility).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect

import httpx
import openai
import pytest

import thumbprint

try:
    import httpx2
except ImportError:  # beside the oldest httpx it cannot be installed
    httpx2 = None

HTTP_LIBRARIES = [library for library in (httpx, httpx2) if library]

OPENAI = tuple(int(part) for part in openai.__version__.split(".")[:2])


def needs_openai(*version):
    """Skip a test where the installed SDK is older than what the test is about."""
    wanted = ".".join(str(part) for part in version)
    return pytest.mark.skipif(version > OPENAI, reason=f"openai {openai.__version__} is older than {wanted}")


opened = []


def wrapped(client):
    return thumbprint.wrap(client)


def instrumented(client):
    thumbprint.instrument()
    return client


HOOKS = [
    pytest.param(wrapped, id="wrap", marks=pytest.mark.by("wrap")),
    pytest.param(instrumented, id="instrument", marks=pytest.mark.by("instrument")),
]
"""Each takes a client and returns it captured."""


def closing(client):
    """Have the client closed when the test ends (an async one is closed by the test, in its own event loop)."""
    opened.append(client)
    return client


def close_all():
    while opened:
        opened.pop().close()


def asked(text="Where is Ulm?"):
    return [{"role": "user", "content": text}]


def openai_client(base_url, **kwargs):
    return closing(openai.OpenAI(**{"base_url": base_url, "api_key": "any", "max_retries": 0} | kwargs))


def async_openai_client(base_url, **kwargs):
    return openai.AsyncOpenAI(**{"base_url": base_url, "api_key": "any", "max_retries": 0} | kwargs)


def azure_client(base_url, **kwargs):
    base_url = base_url.replace("/openai", "/azure-openai/resource/deployment")
    settings = {"base_url": base_url, "api_key": "any", "api_version": "2024-10-21", "max_retries": 0}
    return closing(openai.AzureOpenAI(**settings | kwargs))


def async_azure_client(base_url, **kwargs):
    base_url = base_url.replace("/openai", "/azure-openai/resource/deployment")
    settings = {"base_url": base_url, "api_key": "any", "api_version": "2024-10-21", "max_retries": 0}
    return openai.AsyncAzureOpenAI(**settings | kwargs)


def transport(library, name):
    """Name the HTTP client of a library, as the SDK takes one: openai 3 those of httpx2 as well."""
    marks = needs_openai(3) if library is httpx2 else ()
    return pytest.param(getattr(library, name), id=f"{library.__name__}.{name}", marks=marks)


def aiohttp_client():
    """Return what the SDK uses instead of httpx where it is installed as `openai[aiohttp]`."""
    return openai.DefaultAioHttpClient()


EVERY_TRANSPORT = [
    *(transport(library, name) for library in HTTP_LIBRARIES for name in ("Client", "AsyncClient")),
    pytest.param(
        aiohttp_client,
        id="aiohttp",
        marks=pytest.mark.skipif(
            not hasattr(openai, "DefaultAioHttpClient"), reason=f"openai {openai.__version__} knows no aiohttp"
        ),
    ),
]


def client(function, name, way):
    """Name a client as the table does."""
    return pytest.param(function, id=function.__name__, marks=pytest.mark.client(name, way))


SYNC_AND_ASYNC = [client(openai_client, "openai", "sync"), client(async_openai_client, "openai", "async")]
AZURE = [client(azure_client, "openai, Azure", "sync"), client(async_azure_client, "openai, Azure", "async")]


async def settled(value):
    """Await what an async client returns; pass on what a sync one does."""
    return await value if inspect.isawaitable(value) else value


async def items(stream):
    if hasattr(stream, "__aiter__"):
        return [item async for item in stream]
    return list(stream)


@contextlib.asynccontextmanager
async def entered(manager):
    """Enter a sync or an async context manager."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def plain_chat(client, text="Where is Ulm?"):
    return [await settled(client.chat.completions.create(model="gpt-5", messages=asked(text)))]


async def streamed_chat(client):
    stream = await settled(client.chat.completions.create(model="gpt-5", messages=asked(), stream=True))
    return [stream, *await items(stream)]


async def raw_chat(client):
    raw = await settled(client.chat.completions.with_raw_response.create(model="gpt-5", messages=asked()))
    return [raw, await settled(raw.parse()), raw.http_response]


async def raw_streamed_chat(client):
    raw = await settled(client.chat.completions.with_raw_response.create(model="gpt-5", messages=asked(), stream=True))
    stream = await settled(raw.parse())
    return [raw, stream, *await items(stream)]


async def streaming_response_chat(client):
    manager = client.chat.completions.with_streaming_response.create(model="gpt-5", messages=asked())
    async with entered(manager) as response:
        return [response, await settled(response.parse())]


async def chat_stream_helper(client):
    chat = client.chat if hasattr(client.chat.completions, "stream") else client.beta.chat
    async with entered(chat.completions.stream(model="gpt-5", messages=asked())) as stream:
        events = await items(stream)
        return [stream, events[0], await settled(stream.get_final_completion())]


async def parsed_chat(client):
    import pydantic  # noqa: PLC0415 - old SDKs run without this door

    class City(pydantic.BaseModel):
        name: str

    chat = client.chat if hasattr(client.chat.completions, "parse") else client.beta.chat
    question = chat.completions.parse(model="gpt-5", messages=asked('{"name": "Ulm"}'), response_format=City)
    completion = await settled(question)
    assert completion.choices[0].message.parsed == City(name="Ulm")
    return [completion]


async def plain_response(client):
    return [await settled(client.responses.create(model="gpt-5", input="Where is Ulm?"))]


async def streamed_response(client):
    stream = await settled(client.responses.create(model="gpt-5", input="Where is Ulm?", stream=True))
    events = await items(stream)
    return [stream, *events, events[-1].response]


async def response_stream_helper(client):
    async with entered(client.responses.stream(model="gpt-5", input="Where is Ulm?")) as stream:
        events = await items(stream)
        return [stream, events[0], await settled(stream.get_final_response())]


async def embeddings(client):
    return [await settled(client.embeddings.create(model="text-embedding-3-small", input="Ulm"))]


async def images(client):
    return [await settled(client.images.generate(model="gpt-image-1", prompt="Ulm"))]


async def speech(client):
    return [await settled(client.audio.speech.create(model="tts-1", voice="alloy", input="Ulm"))]


async def transcription(client):
    file = ("ulm.wav", b"RIFF....WAVE", "audio/wav")
    return [await settled(client.audio.transcriptions.create(model="whisper-1", file=file))]


async def moderation(client):
    return [await settled(client.moderations.create(input="Ulm"))]


async def completion(client):
    return [await settled(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Ulm is"))]


async def upload(client):
    return [await settled(client.files.create(file=("cities.jsonl", b'{"name": "Ulm"}'), purpose="batch"))]


async def page(client):
    return [await settled(client.files.list(limit=1))]


def door(function, name, *, stream=False):
    """Name a door as the table does."""
    return pytest.param(function, id=function.__name__, marks=pytest.mark.door(f"`{name}`", stream=stream))


SOME_DOORS = [
    door(plain_chat, "chat.completions.create"),
    door(streamed_chat, "chat.completions.create", stream=True),
    door(raw_chat, "chat.completions.with_raw_response.create"),
]
EVERY_DOOR = [
    *SOME_DOORS,
    door(raw_streamed_chat, "chat.completions.with_raw_response.create", stream=True),
    door(streaming_response_chat, "chat.completions.with_streaming_response.create"),
    door(chat_stream_helper, "chat.completions.stream", stream=True),
    door(parsed_chat, "chat.completions.parse"),
    door(plain_response, "responses.create"),
    door(streamed_response, "responses.create", stream=True),
    door(response_stream_helper, "responses.stream", stream=True),
    door(embeddings, "embeddings.create"),
    door(images, "images.generate"),
    door(speech, "audio.speech.create"),
    door(transcription, "audio.transcriptions.create"),
    door(completion, "completions.create"),
    door(upload, "files.create"),
    door(page, "files.list"),
]


def in_scope(client, use):
    """Use a client inside a scope, and close it; return the scope and what the use gave."""

    async def call():
        async with entered(client):
            with thumbprint.scope() as scope:
                return scope, await use(client)

    return asyncio.run(call())


def log_of(receipt):
    """Return the id of the one log entry that feedback was delivered to."""
    assert receipt.wait(10).status == "delivered", receipt.outcomes
    [outcome] = receipt.outcomes
    return outcome.ref.id
