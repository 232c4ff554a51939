"""Pydantic AI: runs and streams with both of its OpenAI models, tools and structured output."""

from __future__ import annotations

from frameworks.contract import Contract, led_to, log_ids, nested_call, row, run
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

import thumbprint

QUESTION = "Where is Ulm?"


class City(BaseModel):
    name: str


def weather(city: str) -> str:
    """Tell the weather."""
    nested_call(city)
    return "sunny"


def chat(**kwargs):
    return Agent(OpenAIChatModel("gpt-5"), **kwargs)


def responses(**kwargs):
    return Agent(OpenAIResponsesModel("gpt-5"), **kwargs)


def of(result):
    return [result, result.response]


def run_sync():
    return of(chat().run_sync(QUESTION))


async def arun():
    return of(await chat().run(QUESTION))


def run_stream_sync():
    stream = chat().run_stream_sync(QUESTION)
    assert list(stream.stream_text())
    return of(stream)


async def arun_stream():
    async with chat().run_stream(QUESTION) as stream:
        assert [text async for text in stream.stream_text()]
    return of(stream)


def responses_run_sync():
    return of(responses().run_sync(QUESTION))


async def responses_arun():
    return of(await responses().run(QUESTION))


def responses_run_stream_sync():
    stream = responses().run_stream_sync(QUESTION)
    assert list(stream.stream_text())
    return of(stream)


async def responses_arun_stream():
    async with responses().run_stream(QUESTION) as stream:
        assert [text async for text in stream.stream_text()]
    return of(stream)


def with_tools_run_sync():
    result = chat(tools=[weather], output_type=City).run_sync(QUESTION)
    assert result.output == City(name=QUESTION)
    return of(result)


async def with_tools_arun():
    return of(await responses(tools=[weather], output_type=City).run(QUESTION))


async def with_tools_arun_stream():
    async with chat(tools=[weather]).run_stream(QUESTION) as stream:
        await stream.get_output()
    return of(stream)


async def node_by_node():
    async with chat(tools=[weather]).iter(QUESTION) as run:
        async for _ in run:
            pass
    return of(run.result)


class TestPydanticAI(Contract):
    doors = (
        *row(
            "pydantic-ai",
            "`OpenAIChatModel`: `run`, `run_stream`",
            run_sync,
            arun,
            streams=(run_stream_sync, arun_stream),
        ),
        *row(
            "pydantic-ai",
            "`OpenAIResponsesModel`: `run`, `run_stream`",
            responses_run_sync,
            responses_arun,
            streams=(responses_run_stream_sync, responses_arun_stream),
        ),
        *row(
            "pydantic-ai",
            "tools and structured output",
            with_tools_run_sync,
            with_tools_arun,
            streams=[with_tools_arun_stream],
        ),
        *row("pydantic-ai", "`iter`", node_by_node),
    )

    def asker(self, model="gpt-5"):
        return Agent(OpenAIChatModel(model)).run

    async def stream(self):
        async with chat().run_stream(QUESTION) as stream:
            async for text in stream.stream_text(debounce_by=None):
                yield text

    def test_each_response_of_a_run_leads_to_the_call_that_made_it(self, emulator):
        result = run(chat(tools=[weather]).run(QUESTION))
        asks_for_tool, answers = (message for message in result.all_messages() if message.kind == "response")
        first, _, last = log_ids(emulator)
        assert [led_to(asks_for_tool), led_to(answers)] == [[first], [last]]

    def test_a_tool_may_open_a_scope_of_its_own(self, emulator):
        inner = []

        @thumbprint.scope()
        def weather_with_scope(city: str) -> str:
            nested_call(city)
            inner.append(thumbprint.current_scope().last.id)
            return "sunny"

        with thumbprint.scope() as outer:
            run(chat(tools=[weather_with_scope]).run(QUESTION))
        assert [ref.id for ref in outer.refs] == log_ids(emulator)
        assert inner == log_ids(emulator)[1:2]
