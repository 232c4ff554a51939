"""The OpenAI Agents SDK: runs and streams with both of its models, tools and handoffs."""

from __future__ import annotations

import agents
from agents import Agent, OpenAIChatCompletionsModel, Runner
from frameworks.contract import Contract, led_to, log_ids, nested_call, row, run
from openai import AsyncOpenAI

import thumbprint

QUESTION = "Where is Ulm?"

agents.set_tracing_disabled(True)  # it would send them to OpenAI


@agents.function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    nested_call(city)
    return "sunny"


def responses(**kwargs):
    return Agent(name="agent", **{"model": "gpt-5"} | kwargs)


def chat(**kwargs):
    return responses(model=OpenAIChatCompletionsModel("gpt-5", AsyncOpenAI()), **kwargs)


def of(result):
    return [result, result.raw_responses[-1]]


async def streamed(agent):
    result = Runner.run_streamed(agent, QUESTION)
    raw = [event async for event in result.stream_events() if event.type == "raw_response_event"]
    return [*of(result), raw[-1], raw[-1].data]


def run_sync():
    return of(Runner.run_sync(responses(), QUESTION))


async def arun():
    return of(await Runner.run(responses(), QUESTION))


async def arun_streamed():
    return await streamed(responses())


def chat_run_sync():
    """Its results bear no response id."""
    return of(Runner.run_sync(chat(), QUESTION))


async def chat_arun():
    return of(await Runner.run(chat(), QUESTION))


async def chat_arun_streamed():
    return await streamed(chat())


def with_tool_run_sync():
    return of(Runner.run_sync(responses(tools=[weather]), QUESTION))


async def with_tool_arun():
    return of(await Runner.run(responses(tools=[weather]), QUESTION))


async def with_tool_arun_streamed():
    return await streamed(responses(tools=[weather]))


async def handed_off():
    result = await Runner.run(responses(handoffs=[responses(tools=[weather])]), QUESTION)
    assert len(result.raw_responses) == 3
    return of(result)


class TestOpenAIAgents(Contract):
    doors = (
        *row("openai-agents", "`Runner.run`, `run_streamed`", run_sync, arun, streams=[arun_streamed]),
        *row("openai-agents", "a tool", with_tool_run_sync, with_tool_arun, streams=[with_tool_arun_streamed]),
        *row("openai-agents", "a handoff", handed_off),
        *row(
            "openai-agents",
            "`OpenAIChatCompletionsModel`",
            chat_run_sync,
            chat_arun,
            leads="scope",
            streams=[chat_arun_streamed],
            streams_lead="scope",
        ),
    )

    def asker(self, model="gpt-5"):
        agent = responses(model=agents.OpenAIResponsesModel(model, AsyncOpenAI()))
        return lambda text: Runner.run(agent, text)

    async def stream(self):
        result = Runner.run_streamed(responses(), QUESTION)
        async for event in result.stream_events():
            if event.type == "raw_response_event":  # those before tell of what is not yet asked
                yield event

    def test_each_response_of_a_run_leads_to_the_call_that_made_it(self, emulator):
        result = run(Runner.run(responses(tools=[weather]), QUESTION))
        first, _, last = log_ids(emulator)
        assert [led_to(response) for response in result.raw_responses] == [[first], [last]]

    def test_a_tool_may_open_a_scope_of_its_own(self, emulator):
        inner = []

        @agents.function_tool
        @thumbprint.scope()
        def weather_with_scope(city: str) -> str:
            nested_call(city)
            inner.append(thumbprint.current_scope().last.id)
            return "sunny"

        with thumbprint.scope() as outer:
            run(Runner.run(responses(tools=[weather_with_scope]), QUESTION))
        assert [ref.id for ref in outer.refs] == log_ids(emulator)
        assert inner == log_ids(emulator)[1:2]
