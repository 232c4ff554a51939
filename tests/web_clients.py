"""What the tests of the web rooms speak with: endpoints behind one face, and real servers on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading

import httpx
import uvicorn
import waitress.server
from waitress import wasyncore

SECRET = "a secret of the tests, long enough to sign with"
PATIENCE = 20.0  # seconds


class Got:
    """What came back."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, {name.lower(): value for name, value in headers}, body

    @property
    def document(self):
        return json.loads(self.body)


async def asgi_call(app, method="POST", path="/", *, query="", headers=(), chunks=(b"",), scope=None):
    """Call an ASGI app in process; return what it sent as messages, and how many chunks it took."""
    sent, waiting = [], list(chunks)

    async def receive():
        if not waiting:
            return {"type": "http.disconnect"}
        chunk = waiting.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    connection = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
        "raw_path": path.encode(), "root_path": "", "scheme": "http", "query_string": query.encode("latin-1"),
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), **(scope or {}),
    }  # fmt: skip
    await app(connection, receive, send)
    return sent, len(chunks) - len(waiting)


def through_asgi(app, method="POST", *, query="", headers=(), body=b""):
    sent, _ = asyncio.run(asgi_call(app, method, query=query, headers=headers, chunks=[body]))
    start, *rest = sent
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"]]
    return Got(start["status"], headers, b"".join(message.get("body", b"") for message in rest))


def wsgi_environ(method="POST", *, query="", headers=(), body=b"", **more):
    environ = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": "/", "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False, "CONTENT_LENGTH": str(len(body)),
    }  # fmt: skip
    for name, value in headers:
        key = name.upper().replace("-", "_")
        environ[key if key.startswith("CONTENT_") and key != "CONTENT_ENCODING" else f"HTTP_{key}"] = value
    return environ | more


def through_wsgi(app, method="POST", *, query="", headers=(), body=b""):
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((int(status[:3]), headers))

    parts = app(wsgi_environ(method, query=query, headers=headers, body=body), start_response)
    whole = b"".join(parts)
    [(status, headers)] = started
    return Got(status, headers, whole)


@contextlib.contextmanager
def uvicorn_running(app, **settings):
    """Yield the address of a uvicorn server of the app, in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="error", lifespan="auto", ws="websockets-sansio", **settings)
    server = uvicorn.Server(config)
    ready = threading.Event()
    startup = server.startup

    async def told_startup(sockets=None):
        await startup(sockets)
        ready.set()

    server.startup = told_startup
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        assert ready.wait(PATIENCE), "the server does not start"
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        listening.close()
    assert not thread.is_alive()


@contextlib.contextmanager
def waitress_running(app):
    """Yield the address of a waitress server of the app, in a thread."""
    server = waitress.server.create_server(app, host="127.0.0.1", port=0, threads=4)
    stopping = threading.Event()

    def run():
        while not stopping.is_set():
            wasyncore.loop(timeout=1, map=server._map, count=1)
        server.task_dispatcher.shutdown(timeout=PATIENCE)
        wasyncore.close_all(server._map)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.effective_port}"
    finally:
        server.trigger.pull_trigger(stopping.set)  # by the thread itself, which closes the trigger then
        thread.join(2 * PATIENCE)
    assert not thread.is_alive()


@contextlib.contextmanager
def speaking(address):
    with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
        yield client
