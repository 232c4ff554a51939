"""litellm's `openai/…` models, which go through the openai SDK."""

from __future__ import annotations

import litellm
import sdk
from frameworks.contract import Contract, led_to, row

ASKED = {"model": "openai/gpt-5", "messages": sdk.asked()}


def completion():
    return [litellm.completion(**ASKED)]


def completion_stream():
    stream = litellm.completion(**ASKED, stream=True)
    return [*stream, stream]


async def acompletion():
    return [await litellm.acompletion(**ASKED)]


async def acompletion_stream():
    stream = await litellm.acompletion(**ASKED, stream=True)
    return [*[chunk async for chunk in stream], stream]


def routed():
    models = [{"model_name": "any", "litellm_params": {"model": "openai/gpt-5"}}]
    return [litellm.Router(model_list=models).completion(model="any", messages=sdk.asked())]


async def arouted():
    models = [{"model_name": "any", "litellm_params": {"model": "openai/gpt-5"}}]
    return [await litellm.Router(model_list=models).acompletion(model="any", messages=sdk.asked())]


def text_completion():
    return [litellm.text_completion(model="openai/gpt-3.5-turbo-instruct", prompt="Ulm is")]


async def atext_completion():
    return [await litellm.atext_completion(model="openai/gpt-3.5-turbo-instruct", prompt="Ulm is")]


def embedding():
    return [litellm.embedding(model="openai/text-embedding-3-small", input=["Ulm"])]


async def aembedding():
    return [await litellm.aembedding(model="openai/text-embedding-3-small", input=["Ulm"])]


def batch():
    """It runs in threads, which litellm starts without a copy of the context."""
    return litellm.batch_completion(model="openai/gpt-5", messages=[sdk.asked()])


def responses():
    """They go through an HTTP client of litellm's own, and their ids are changed on the way."""
    return [litellm.responses(model="openai/gpt-5", input="Where is Ulm?")]


async def aresponses():
    return [await litellm.aresponses(model="openai/gpt-5", input="Where is Ulm?")]


class TestLitellm(Contract):
    own_error = False  # made anew, and raised from nothing

    doors = (
        *row("litellm", "`completion`", completion, acompletion, streams=(completion_stream, acompletion_stream)),
        *row("litellm", "`Router.completion`", routed, arouted),
        *row("litellm", "`text_completion`", text_completion, atext_completion),
        *row("litellm", "`embedding`", embedding, aembedding, leads="scope"),
        *row("litellm", "`batch_completion`", batch, leads="result"),
        *row("litellm", "`responses`", responses, aresponses, leads="✗"),
    )

    def asker(self, model="gpt-5"):
        async def ask(text):
            return await litellm.acompletion(model=f"openai/{model}", messages=sdk.asked(text))

        return ask

    async def stream(self):
        stream = await litellm.acompletion(**ASKED, stream=True)
        async for chunk in stream:
            yield chunk

    def test_each_answer_of_a_batch_leads_to_its_own_call(self, emulator):
        questions = [f"question {number}" for number in range(4)]
        answers = litellm.batch_completion(model="openai/gpt-5", messages=[sdk.asked(text) for text in questions])
        for question, answer in zip(questions, answers, strict=True):
            led_to(answer, user_id=question)
        for log in emulator.cloudflare_logs():
            assert log["metadata"]["user_id"] in log["request"]
