"""A chat with thumbs: `python examples/chat/app.py`, then open the address that it prints.

Without a gateway in the environment (OPENAI_BASE_URL) it starts thumbprint's emulator, and you see your votes there.
Needs `pip install fastapi uvicorn`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import FileResponse, StreamingResponse
from openai import AsyncOpenAI, OpenAIError
from pydantic import BaseModel, Field

import thumbprint
from thumbprint.emulator import Emulator
from thumbprint.web.asgi import FeedbackEndpoint, ThumbprintMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from openai import AsyncStream
    from openai.types.chat import ChatCompletionChunk

FOLDER = Path(__file__).parent
MODEL = os.environ.get("CHAT_MODEL", "gpt-5")
PAUSE = 0.03  # seconds between words: the emulator's model says everything at once, and the eye could not follow


class Turn(BaseModel):
    """One message of the conversation so far."""

    role: str = Field(pattern="^(user|assistant)$")
    content: str = Field(max_length=8000)


class Conversation(BaseModel):
    """What the page sends: all turns, the question last."""

    messages: list[Turn] = Field(min_length=1, max_length=100)


def make_app() -> FastAPI:
    """Return the application, for the gateway that the environment names."""
    client = thumbprint.wrap(AsyncOpenAI())
    app = FastAPI(title="Chat with thumbs")
    # Opens a scope for each request, and puts a token for its calls into the header `x-feedback-token`.
    app.add_middleware(ThumbprintMiddleware)
    # Takes what the page posts: the token, and thumbs or a comment.
    app.mount("/feedback", FeedbackEndpoint())

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(FOLDER / "chat.html")

    @app.get("/chat.js")
    async def script() -> FileResponse:
        return FileResponse(FOLDER / "chat.js")

    @app.post("/ask")
    async def ask(conversation: Conversation) -> StreamingResponse:
        # The model is called before the headers leave, so the token already knows the log entry and needs no store.
        messages = [turn.model_dump() for turn in conversation.messages]
        try:
            stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
        except OpenAIError as error:
            raise HTTPException(502, "The model does not answer at the moment.") from error
        return StreamingResponse(words(stream), media_type="text/plain; charset=utf-8")

    return app


async def words(stream: AsyncStream[ChatCompletionChunk]) -> AsyncIterator[str]:
    """Yield the text of the answer, piece by piece."""
    async with stream:
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content
                await asyncio.sleep(PAUSE)


@contextlib.contextmanager
def gateway() -> Iterator[None]:
    """Use the gateway of the environment; where there is none, run the emulator and point the environment at it."""
    # Where it is not set, tokens are good until this process ends.
    os.environ.setdefault("THUMBPRINT_SECRET", secrets.token_urlsafe(32))
    if os.environ.get("OPENAI_BASE_URL"):
        yield
        return
    with Emulator() as emulator:
        os.environ.update(emulator.environ())
        print(f"No gateway is configured: the emulator runs. See votes arrive at {emulator.url}", flush=True)
        yield


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A chat with thumbs.")
    parser.add_argument("--port", type=int, default=8000, help="on 127.0.0.1; 0 takes a free one (%(default)s)")
    port = parser.parse_args().port
    with gateway(), socket.create_server(("127.0.0.1", port)) as listening:
        print(f"The chat is at http://127.0.0.1:{listening.getsockname()[1]} (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(make_app(), log_level="warning")).run(sockets=[listening])
        thumbprint.shutdown()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
