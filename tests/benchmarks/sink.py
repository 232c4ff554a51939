"""The server that all contestants deliver to: it accepts everything, at once or after so many seconds.

It runs in a process of its own, and does as little as it can: on the machine that the targets were set on it answers
about 15,000 requests a second, ten times what a contestant sends. It counts what it was given, so that a contestant
that loses something is found out.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import multiprocessing

LATENCY = 0.05  # seconds

# What the Braintrust SDK asks first is where its API is; LangSmith's, whether the service takes feedback in batches.
PLACES = (
    (b"/api/apikey/login", lambda base: {"org_info": [{"id": "o", "name": "org", "api_url": base, "proxy_url": base}]}),
    (b"/info", lambda _: {"version": "99.0.0", "instance_flags": {"zstd_compression_enabled": True}}),
    (b"/logs3", lambda _: {"ids": [], "xact_id": "1"}),
    (b"/api/public/scores", lambda _: {"ids": []}),
    (b"/ai-gateway/", lambda _: {"success": True, "result": {}}),
    (b"", lambda _: {"status": "success"}),
)


class Counter:
    """How many pieces of feedback were taken since the count was last asked for."""

    def __init__(self):
        self.taken = 0

    def count(self, head, body):
        if head.startswith(b"PATCH"):
            self.taken += 1
        else:
            self.taken += body.count(b'"thumbs"')

    def reset(self):
        taken, self.taken = self.taken, 0
        return taken


class Connection(asyncio.Protocol):
    """One kept-alive connection, of a client that does not send before it has its answer."""

    def __init__(self, counter, latency):
        self.counter = counter
        self.latency = latency
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received = self.received + data if self.received else data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if separator and is_whole(head, body):
            self.received = b""
            self.counter.count(head, body)
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.answer, head)
            else:
                self.answer(head)

    def answer(self, head):
        path = head[: head.index(b"\r\n")].split(b" ")[1]
        if path == b"/taken":
            said = {"taken": self.counter.reset()}
        else:
            host, port = self.transport.get_extra_info("sockname")
            said = next(say for place, say in PLACES if place in path)(f"http://{host}:{port}")
        text = json.dumps(said).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
        )


def is_whole(head, body):
    """Whether all of a request has come: as many bytes as its head says, or the last chunk."""
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start >= 0:
        return len(body) >= int(lowered[start + 17 :].split(b"\r\n", 1)[0])
    return b"\r\ntransfer-encoding:" not in lowered or body.endswith(b"0\r\n\r\n")


async def serve(pipe):
    """Listen twice, without and with latency, until the pipe closes."""
    loop, counter = asyncio.get_running_loop(), Counter()
    servers = [await loop.create_server(lambda s=s: Connection(counter, s), "127.0.0.1", 0) for s in (0.0, LATENCY)]
    pipe.send([f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers])
    await loop.run_in_executor(None, wait_for_end, pipe)
    for server in servers:
        server.close()


def wait_for_end(pipe):
    with contextlib.suppress(EOFError):
        pipe.recv()


def run(pipe):
    asyncio.run(serve(pipe))


class Sink:
    """The server as the benchmarks see it: `fast` and `slow` are its base URLs."""

    def __enter__(self):
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=run, args=(other,), daemon=True)
        self.process.start()
        other.close()
        self.fast, self.slow = self.pipe.recv()
        return self

    def __exit__(self, *_):
        self.pipe.send(None)
        self.process.join(10)

    def taken(self):
        """Return how many pieces of feedback came since this was last called."""
        connection = http.client.HTTPConnection(self.fast.removeprefix("http://"), timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", "/taken")
            return json.loads(connection.getresponse().read())["taken"]
