"""The real OpenAI SDK through every door: each door makes one call and returns all that it gave back.

Doors are written once and serve sync and async clients alike.
"""

from __future__ import annotations

import contextlib
import inspect

import openai
import pytest

OPENAI = tuple(int(part) for part in openai.__version__.split(".")[:2])


def needs_openai(*version):
    """Skip a test where the installed SDK is older than what the test is about."""
    wanted = ".".join(str(part) for part in version)
    return pytest.mark.skipif(version > OPENAI, reason=f"openai {openai.__version__} is older than {wanted}")


opened = []


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


SYNC_AND_ASYNC = [openai_client, async_openai_client]
EVERY_CLIENT = [openai_client, async_openai_client, azure_client, async_azure_client]


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


def door(function):
    return pytest.param(function, id=function.__name__)


EVERY_DOOR = [
    door(plain_chat),
    door(streamed_chat),
    door(raw_chat),
    door(raw_streamed_chat),
    door(streaming_response_chat),
    door(chat_stream_helper),
    door(parsed_chat),
    door(plain_response),
    door(streamed_response),
    door(response_stream_helper),
    door(embeddings),
    door(images),
    door(speech),
    door(transcription),
    door(completion),
]
