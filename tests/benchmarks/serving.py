"""Contestants of a web request: what does the middleware add to an application that does nothing itself?

The application is called in process, without a server. A round calls it bare and with the middleware by turns, each
time `CALLS` times in a burst, and takes for p50 and p99 what is added to the bare application's p50.
"""

from __future__ import annotations

import asyncio
import os
import time

CALLS = 500
CONNECTION = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"127.0.0.1")]}
START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
BODY = {"type": "http.response.body", "body": b"Ulm"}


async def bare(scope, receive, send):
    await send(START)
    await send(BODY)


async def channel(message=None):
    pass


async def sorted_times(app):
    clock, took = time.perf_counter_ns, []
    for _ in range(CALLS):
        began = clock()
        await app(CONNECTION, channel, channel)
        took.append(clock() - began)
    return sorted(took)


class Middleware:
    """The middleware with a secret: each response has a scope's id and a token."""

    label = "ASGI middleware, token included"
    delivers = False
    secret = "a secret of the benchmark that signs tokens"

    def __init__(self, url):
        if self.secret:
            os.environ["THUMBPRINT_SECRET"] = self.secret
        from thumbprint.web.asgi import ThumbprintMiddleware  # noqa: PLC0415 - every contestant imports its own

        self.app = ThumbprintMiddleware(bare)

    def round(self, count):
        return asyncio.run(self.added(max(1, count // CALLS)))

    async def added(self, bursts):
        floors, took = [], []
        for _ in range(bursts):
            floors += await sorted_times(bare)
            took += await sorted_times(self.app)
        floors.sort()
        took.sort()
        floor = floors[len(floors) // 2]
        return {"p50": (took[len(took) // 2] - floor) / 1e3, "p99": (took[len(took) * 99 // 100] - floor) / 1e3}

    def close(self):
        """Leave nothing open: it opened nothing."""


class MiddlewareWithoutSecret(Middleware):
    """For orientation: the scope and its id alone."""

    label = "ASGI middleware, no secret"
    secret = None
