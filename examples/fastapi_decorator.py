"""FastAPI without middleware: a decorator on the handler, and the message's id as what the vote is given by.

    python examples/fastapi_decorator.py --once    # asks and votes once, and ends; without --once it serves

Needs `pip install fastapi uvicorn`. Where no gateway is configured (OPENAI_BASE_URL), the emulator plays one.
"""

from __future__ import annotations

import asyncio
import os
import sys

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException
from openai import AsyncOpenAI

import thumbprint
from thumbprint.emulator import Emulator


def make_app() -> FastAPI:
    """Return the application, for the gateway that the environment names."""
    app = FastAPI()
    client = thumbprint.wrap(AsyncOpenAI())

    @app.post("/ask")
    @thumbprint.scope()  # its signature survives: FastAPI sees `question`
    async def ask(question: str) -> dict[str, str]:
        messages = [{"role": "user", "content": question}]
        completion = await client.chat.completions.create(model="gpt-5", messages=messages)
        return {"id": thumbprint.current_scope().id, "answer": completion.choices[0].message.content}

    @app.post("/vote", status_code=202)
    async def vote(id: str, thumbs: str) -> str:  # noqa: A002 - the name in the URL
        try:
            return thumbprint.record_feedback(id, thumbs=thumbs).status
        except (thumbprint.UnknownTargetError, ValueError) as error:
            raise HTTPException(404 if isinstance(error, LookupError) else 422, str(error)) from error

    return app


async def once(app: FastAPI) -> None:
    """Do what a browser would: ask, keep the id, and vote by it."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
        answer = (await browser.post("/ask", params={"question": "Where is Ulm?"})).json()
        print("answer:", answer["answer"])
        vote = await browser.post("/vote", params={"id": answer["id"], "thumbs": "down"})
        print("vote:", vote.status_code, vote.json())


if __name__ == "__main__":
    if not os.environ.get("OPENAI_BASE_URL"):
        os.environ.update(Emulator().start().environ())
    asyncio.run(once(make_app())) if "--once" in sys.argv else uvicorn.run(make_app())
    print("delivered:", thumbprint.flush(timeout=10).delivered)
