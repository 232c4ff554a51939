"""The real Anthropic SDK through every door: each door makes one call and returns all that it gave back."""

from __future__ import annotations

import anthropic
from sdk import client as named
from sdk import closing, door, entered, items, settled

ASKED = {"model": "claude", "max_tokens": 64, "messages": [{"role": "user", "content": "Where is Ulm?"}]}


def url_of(emulator):
    return emulator.cloudflare_openai_url.replace("/openai", "/anthropic")


def client(base_url, **kwargs):
    return closing(anthropic.Anthropic(**{"base_url": base_url, "api_key": "any", "max_retries": 0} | kwargs))


def async_client(base_url, **kwargs):
    return anthropic.AsyncAnthropic(**{"base_url": base_url, "api_key": "any", "max_retries": 0} | kwargs)


SYNC_AND_ASYNC = [named(client, "anthropic", "sync"), named(async_client, "anthropic", "async")]


async def message(client):
    return [await settled(client.messages.create(**ASKED))]


async def streamed_message(client):
    stream = await settled(client.messages.create(**ASKED, stream=True))
    events = await items(stream)
    return [stream, *events, events[0].message]


async def stream_helper(client):
    async with entered(client.messages.stream(**ASKED)) as stream:
        events = await items(stream)
        return [stream, events[0], events[-1], await settled(stream.get_final_message())]


async def raw_message(client):
    raw = await settled(client.messages.with_raw_response.create(**ASKED))
    return [raw, await settled(raw.parse()), raw.http_response]


async def raw_streamed_message(client):
    raw = await settled(client.messages.with_raw_response.create(**ASKED, stream=True))
    stream = await settled(raw.parse())
    return [raw, stream, *await items(stream)]


async def streaming_response(client):
    async with entered(client.messages.with_streaming_response.create(**ASKED)) as response:
        return [response, await settled(response.parse())]


async def beta_message(client):
    return [await settled(client.beta.messages.create(**ASKED))]


async def token_count(client):
    return [await settled(client.messages.count_tokens(model=ASKED["model"], messages=ASKED["messages"]))]


async def batch(client):
    return [await settled(client.messages.batches.create(requests=[{"custom_id": "one", "params": ASKED}]))]


MESSAGES = [
    door(message, "messages.create"),
    door(streamed_message, "messages.create", stream=True),
    door(stream_helper, "messages.stream", stream=True),
    door(raw_message, "messages.with_raw_response.create"),
    door(raw_streamed_message, "messages.with_raw_response.create", stream=True),
    door(streaming_response, "messages.with_streaming_response.create"),
    door(beta_message, "beta.messages.create"),
]
EVERY_DOOR = [
    *MESSAGES,
    door(token_count, "messages.count_tokens"),
    door(batch, "messages.batches.create"),
]
