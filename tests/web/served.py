"""A program: an application with middleware and endpoint on a port of its own, which it prints; ends with its input.

GET /chat calls the model, /stream calls it after the headers have left; POST /feedback takes the vote, /limited at
most three of a token in a minute.
"""

from __future__ import annotations

import socket
import sys
import threading

import openai
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import thumbprint
from thumbprint.web.asgi import FeedbackEndpoint, ThumbprintMiddleware

client = thumbprint.wrap(openai.OpenAI())


def ask():
    messages = [{"role": "user", "content": "Where is Ulm?"}]
    return client.chat.completions.create(model="gpt-5", messages=messages).choices[0].message.content


def chat(request):
    return PlainTextResponse(ask())


def stream(request):
    return StreamingResponse(ask() for _ in range(1))


routes = [
    Route("/chat", chat),
    Route("/stream", stream),
    Route("/feedback", FeedbackEndpoint(per_minute=6000)),
    Route("/limited", FeedbackEndpoint(per_minute=3)),
]
server = uvicorn.Server(
    uvicorn.Config(ThumbprintMiddleware(Starlette(routes=routes)), log_level="warning", lifespan="off")
)


def end_with_input():
    sys.stdin.read()
    server.should_exit = True


with socket.create_server(("127.0.0.1", 0)) as listening:
    threading.Thread(target=end_with_input, daemon=True).start()
    print(listening.getsockname()[1], flush=True)  # noqa: T201 - who started it reads it
    server.run(sockets=[listening])
client.close()
