"""instructor: models made from answers, whole and in part, with each way of asking for them."""

from __future__ import annotations

import json

import instructor
import openai
import pytest
import sdk
from frameworks.contract import Contract, led_to, log_ids, row
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

import thumbprint

ASKED = {"model": "gpt-5", "messages": sdk.asked('{"name": "Ulm"}')}


class City(BaseModel):
    name: str


def client(mode=instructor.Mode.TOOLS):
    return instructor.from_openai(openai.OpenAI(), mode=mode)


def async_client(mode=instructor.Mode.TOOLS):
    return instructor.from_openai(openai.AsyncOpenAI(), mode=mode)


def create():
    return [client().create(**ASKED, response_model=City)]


async def acreate():
    return [await async_client().create(**ASKED, response_model=City)]


def create_partial():
    """What is made from a part bears no id."""
    return list(client().create_partial(**ASKED, response_model=City))


async def acreate_partial():
    return [part async for part in async_client().create_partial(**ASKED, response_model=City)]


def create_json():
    return [client(instructor.Mode.JSON).create(**ASKED, response_model=City)]


async def acreate_json():
    return [await async_client(instructor.Mode.JSON).create(**ASKED, response_model=City)]


def create_responses():
    return [client(instructor.Mode.RESPONSES_TOOLS).create(**ASKED, response_model=City)]


async def acreate_responses():
    return [await async_client(instructor.Mode.RESPONSES_TOOLS).create(**ASKED, response_model=City)]


def with_completion():
    return list(client().create_with_completion(**ASKED, response_model=City))


async def awith_completion():
    return list(await async_client().create_with_completion(**ASKED, response_model=City))


class TestInstructor(Contract):
    doors = (
        *row(
            "instructor",
            "`create`, `create_partial`",
            create,
            acreate,
            streams=(create_partial, acreate_partial),
            streams_lead="scope",
        ),
        *row("instructor", "`create_with_completion`", with_completion, awith_completion),
        *row("instructor", "`Mode.JSON`", create_json, acreate_json),
        *row("instructor", "`Mode.RESPONSES_TOOLS`", create_responses, acreate_responses),
    )

    def asker(self, model="gpt-5"):
        asking = async_client()

        async def ask(text):
            messages = sdk.asked(json.dumps({"name": text}))
            return await asking.create(model=model, messages=messages, response_model=City, max_retries=1)

        return ask

    def stream(self):
        return async_client().create_partial(**ASKED, response_model=City)

    def test_of_an_answer_that_was_asked_for_again_the_last_counts_and_all_are_in_the_scope(self, emulator):
        asked = {"model": "gpt-5", "messages": sdk.asked('{"title": "Ulm"}')}
        with thumbprint.scope() as scope, pytest.raises(InstructorRetryException) as caught:
            client(instructor.Mode.JSON).create(**asked, response_model=City, max_retries=2)
        assert len(log_ids(emulator)) > 1
        assert [ref.id for ref in scope.refs] == log_ids(emulator)
        assert led_to(caught.value) == log_ids(emulator)[-1:]
