"""LlamaIndex: both of its OpenAI models, embeddings, engines and agents."""

from __future__ import annotations

import os

from frameworks.contract import Contract, nested_call, row
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses

QUESTION = "Where is Ulm?"
ASKED = [ChatMessage(role="user", content=QUESTION)]


def weather(city: str) -> str:
    """Tell the weather."""
    nested_call(city)
    return "sunny"


def chats(**kwargs):
    return OpenAI(**settings(**{"model": "gpt-4o-mini"} | kwargs))


def responses(**kwargs):
    return OpenAIResponses(**settings(model="gpt-4o-mini", **kwargs))


def embeddings():
    return OpenAIEmbedding(**settings())


def settings(**kwargs):
    """Name the address, for its own default comes before the environment."""
    return {"api_base": os.environ["OPENAI_BASE_URL"], **kwargs}


def chat():
    return [chats().chat(ASKED)]


async def achat():
    return [await chats().achat(ASKED)]


def stream_chat():
    return list(chats().stream_chat(ASKED))


async def astream_chat():
    return [item async for item in await chats().astream_chat(ASKED)]


def complete():
    return [chats().complete(QUESTION)]


async def acomplete():
    return [await chats().acomplete(QUESTION)]


def stream_complete():
    return list(chats().stream_complete(QUESTION))


async def astream_complete():
    return [item async for item in await chats().astream_complete(QUESTION)]


def responses_chat():
    return [responses().chat(ASKED)]


async def responses_achat():
    return [await responses().achat(ASKED)]


def responses_stream_chat():
    return list(responses().stream_chat(ASKED))


async def responses_astream_chat():
    return [item async for item in await responses().astream_chat(ASKED)]


def embed():
    embeddings().get_text_embedding("Ulm")
    return []


async def aembed():
    await embeddings().aget_text_embedding("Ulm")
    return []


def chat_engine():
    return [SimpleChatEngine.from_defaults(llm=chats()).chat(QUESTION)]


async def achat_engine():
    return [await SimpleChatEngine.from_defaults(llm=chats()).achat(QUESTION)]


def chat_engine_stream():
    answer = SimpleChatEngine.from_defaults(llm=chats()).stream_chat(QUESTION)
    assert list(answer.response_gen)
    return [answer]


def query_engine():
    index = VectorStoreIndex.from_documents([Document(text="Ulm lies on the Danube.")], embed_model=embeddings())
    return [index.as_query_engine(llm=chats()).query(QUESTION)]


async def aquery_engine():
    index = VectorStoreIndex.from_documents([Document(text="Ulm lies on the Danube.")], embed_model=embeddings())
    return [await index.as_query_engine(llm=chats()).aquery(QUESTION)]


async def agent():
    return [await FunctionAgent(tools=[weather], llm=chats(), streaming=False).run(QUESTION)]


async def agent_stream():
    return [await FunctionAgent(tools=[weather], llm=chats()).run(QUESTION)]


class TestLlamaIndex(Contract):
    doors = (
        *row("llama-index", "`OpenAI`: `chat`", chat, achat, streams=(stream_chat, astream_chat)),
        *row("llama-index", "`OpenAI`: `complete`", complete, acomplete, streams=(stream_complete, astream_complete)),
        *row(
            "llama-index",
            "`OpenAIResponses`: `chat`",
            responses_chat,
            responses_achat,
            streams=(responses_stream_chat, responses_astream_chat),
        ),
        *row("llama-index", "`OpenAIEmbedding`", embed, aembed, leads="scope"),
        *row(
            "llama-index",
            "a chat engine",
            chat_engine,
            achat_engine,
            leads="scope",
            streams=[chat_engine_stream],
            streams_lead="scope",
        ),
        *row("llama-index", "a query engine", query_engine, aquery_engine, leads="scope"),
        *row("llama-index", "`FunctionAgent`, with a tool", agent, streams=[agent_stream]),
    )

    def asker(self, model="gpt-5"):
        return chats(model=f"ft:gpt-4o-mini:of/{model}").acomplete  # it takes models that it knows, and tuned ones

    async def stream(self):
        async for item in await chats().astream_chat(ASKED):
            yield item
