"""LangChain: its OpenAI models, plain and in batches, and agents with a tool."""

from __future__ import annotations

import pytest
import sdk
from frameworks.contract import Contract, led_to, log_ids, nested_call, row
from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

import thumbprint

QUESTION = "Where is Ulm?"
STATE = {"messages": sdk.asked(QUESTION)}


class City(BaseModel):
    name: str


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    nested_call(city)
    return "sunny"


def chat(**kwargs):
    return ChatOpenAI(model="gpt-5", **kwargs)


def agent(**kwargs):
    return create_agent(chat(**kwargs), tools=[weather])


def added_up(chunks):
    total = chunks[0]
    for chunk in chunks[1:]:
        total += chunk
    return total


def invoke():
    return [chat().invoke(QUESTION)]


async def ainvoke():
    return [await chat().ainvoke(QUESTION)]


def stream():
    """Their chunks bear an id of LangChain's own."""
    chunks = list(chat().stream(QUESTION))
    return [*chunks, added_up(chunks)]


async def astream():
    chunks = [chunk async for chunk in chat().astream(QUESTION)]
    return [*chunks, added_up(chunks)]


def responses_invoke():
    return [chat(use_responses_api=True).invoke(QUESTION)]


async def responses_ainvoke():
    return [await chat(use_responses_api=True).ainvoke(QUESTION)]


def responses_stream():
    chunks = list(chat(use_responses_api=True).stream(QUESTION))
    return [chunks[0], added_up(chunks)]


async def responses_astream():
    chunks = [chunk async for chunk in chat(use_responses_api=True).astream(QUESTION)]
    return [chunks[0], added_up(chunks)]


def batch():
    return chat().batch([QUESTION])


async def abatch():
    return await chat().abatch([QUESTION])


def chain():
    return [(ChatPromptTemplate.from_template("Where is {city}?") | chat()).invoke({"city": "Ulm"})]


async def achain():
    return [await (ChatPromptTemplate.from_template("Where is {city}?") | chat()).ainvoke({"city": "Ulm"})]


def structured():
    model = chat().with_structured_output(City, include_raw=True)
    answer = model.invoke('{"name": "Ulm"}')
    assert answer["parsed"] == City(name="Ulm")
    return [answer["raw"]]


async def astructured():
    model = chat().with_structured_output(City, include_raw=True)
    return [(await model.ainvoke('{"name": "Ulm"}'))["raw"]]


def embed():
    OpenAIEmbeddings(check_embedding_ctx_length=False).embed_query("Ulm")
    return []


async def aembed():
    await OpenAIEmbeddings(check_embedding_ctx_length=False).aembed_query("Ulm")
    return []


def agent_invoke():
    return [agent().invoke(STATE)["messages"][-1]]


async def agent_ainvoke():
    return [(await agent().ainvoke(STATE))["messages"][-1]]


def agent_stream():
    return [chunk for chunk, _ in agent().stream(STATE, stream_mode="messages")]


async def agent_astream():
    return [chunk async for chunk, _ in agent().astream(STATE, stream_mode="messages")]


def agent_responses_invoke():
    return [agent(use_responses_api=True).invoke(STATE)["messages"][-1]]


async def agent_responses_ainvoke():
    return [(await agent(use_responses_api=True).ainvoke(STATE))["messages"][-1]]


class TestLangchain(Contract):
    doors = (
        *row(
            "langchain-openai",
            "`ChatOpenAI`: `invoke`, `stream`",
            invoke,
            ainvoke,
            streams=(stream, astream),
            streams_lead="scope",
        ),
        *row(
            "langchain-openai",
            "the same with `use_responses_api=True`",
            responses_invoke,
            responses_ainvoke,
            streams=(responses_stream, responses_astream),
        ),
        *row("langchain-openai", "`batch`", batch, abatch),
        *row("langchain-openai", "a chain", chain, achain),
        *row("langchain-openai", "`with_structured_output(include_raw=True)`", structured, astructured),
        *row("langchain-openai", "`OpenAIEmbeddings`", embed, aembed, leads="scope"),
        *row(
            "langchain",
            "`create_agent`, with a tool",
            agent_invoke,
            agent_ainvoke,
            streams=(agent_stream, agent_astream),
            streams_lead="scope",
        ),
        *row("langchain", "the same with `use_responses_api=True`", agent_responses_invoke, agent_responses_ainvoke),
    )

    def asker(self, model="gpt-5"):
        return ChatOpenAI(model=model).ainvoke

    def stream(self):
        return chat().astream(QUESTION)

    @pytest.mark.parametrize("responses", [False, True])
    def test_a_batch_in_threads_is_in_the_scope_and_each_answer_leads_to_its_own_call(self, emulator, responses):
        questions = [f"question {number}" for number in range(6)]
        with thumbprint.scope() as scope:
            answers = chat(use_responses_api=responses).batch(questions, config={"max_concurrency": 3})
        assert sorted(ref.id for ref in scope.refs) == sorted(log_ids(emulator))
        for question, answer in zip(questions, answers, strict=True):
            led_to(answer, user_id=question)
        logs = emulator.cloudflare_logs()
        assert sorted(log["metadata"]["user_id"] for log in logs) == questions
        for log in logs:
            assert log["metadata"]["user_id"] in log["request"]

    def test_an_answer_whose_id_a_gateways_cache_gave_out_twice_is_ambiguous_and_its_scope_is_not(self, emulator):
        model = chat(default_headers={"cf-aig-cache-ttl": "60"})
        model.invoke(QUESTION)
        with thumbprint.scope() as scope:
            answer = model.invoke(QUESTION)
        with pytest.raises(thumbprint.AmbiguousTargetError, match="more than one call"):
            thumbprint.record_feedback(answer, thumbs="up")
        assert led_to(scope) == log_ids(emulator)[-1:]

    def test_each_message_of_an_agents_run_leads_to_the_call_that_made_it(self, emulator):
        _, asks_for_tool, _, answers = agent().invoke(STATE)["messages"]
        first, _, last = log_ids(emulator)
        assert [led_to(asks_for_tool), led_to(answers)] == [[first], [last]]
        assert emulator.cloudflare_logs()[1]["feedback"] is None

    def test_agents_that_run_at_once_in_threads_are_kept_apart_by_scopes_inside(self, emulator):
        @thumbprint.scope()
        def vote(state):
            agent().invoke(state)
            return thumbprint.record_feedback(thumbs="up", user_id=state["messages"][0]["content"])

        states = [{"messages": sdk.asked(f"question {number}")} for number in range(3)]
        with thumbprint.scope() as around:
            receipts = RunnableLambda(vote).batch(states)
        assert [receipt.wait(10).status for receipt in receipts] == ["delivered"] * 3
        assert len(around.refs) == 9
        voted = [log for log in emulator.cloudflare_logs() if log["feedback"] == 1]
        assert len(voted) == 3
        for log in voted:
            assert log["metadata"]["user_id"] in log["request"]
