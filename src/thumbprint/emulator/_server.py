"""The HTTP plumbing: sockets in, `Request` out, `Response` in, bytes out. It knows no service."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http.client import responses as reasons
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Protocol

from thumbprint.emulator._wire import Request, Response, whole_number

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BODY = 16 * 1024 * 1024
_MAX_DISCARDED = 4 * MAX_BODY
_BLOCK = 64 * 1024
_POLL = 0.02
_PATIENCE = 0.5


class ConnectionDropError(Exception):
    """Raised by an application that wants the connection closed without an answer."""


class HalfAnswerError(Exception):
    """Raised by an application that wants the connection closed halfway through this answer."""

    def __init__(self, response: Response) -> None:
        super().__init__("the answer is cut off")
        self.response = response


class Application(Protocol):
    """What the server calls: for each request, and for each body that is too large."""

    def __call__(self, request: Request) -> Response:
        """Answer; or raise ConnectionDropError or HalfAnswerError."""

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body was over MAX_BODY bytes and has been thrown away."""


class BodyError(Exception):
    """A body that cannot be read: over the limit (`too_large`), cut off or badly framed."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


class Server(ThreadingHTTPServer):
    """A server of 127.0.0.1 that can be ended at once, whatever its clients hold open."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        self.connections: dict[socket.socket, threading.Thread] = {}
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        host, port = self.socket.getsockname()
        self.server_address = self.server_name, self.server_port = host, port

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection in a thread of its own, and remember both while it lasts."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        with self._guard:
            self.connections[request] = thread
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._guard:
                del self.connections[request]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away; anything else is a fault of the emulator and is shown."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def end(self) -> None:
        """Close the listening socket and every connection, and wait briefly for their threads."""
        self.shutdown()
        self.server_close()
        with self._guard:
            held = dict(self.connections)
        for connection in held:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _PATIENCE
        for thread in held.values():
            thread.join(max(0.0, deadline - time.monotonic()))


@dataclass(slots=True)
class Serving:
    """A server and the thread in which it runs."""

    server: Server
    thread: threading.Thread

    @classmethod
    def begin(cls, port: int, application: Application) -> Serving:
        """Listen on this port (0: any free one) in a daemon thread. Raises OSError where it is taken."""
        server = Server(port, application)
        thread = threading.Thread(target=server.serve_forever, args=(_POLL,), name="thumbprint-emulator", daemon=True)
        thread.start()
        return cls(server, thread)

    @property
    def port(self) -> int:
        """The port in use."""
        return self.server.server_port

    def end(self) -> None:
        """Stop serving; the port is free afterwards."""
        self.server.end()
        self.thread.join()


class _Connection(BaseHTTPRequestHandler):
    """One connection: HTTP/1.1 with keep-alive."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    rbufsize = _BLOCK
    server: Server

    def serve(self) -> None:
        """Read one request and write its answer."""
        try:
            body = b"".join(read_body(self.rfile, self.headers))
        except BodyError as error:
            self.close_connection = True
            if error.too_large:
                self.write(self.server.application.too_large(self.as_request(b"")))
            return
        self.answer(self.as_request(body))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 - names of the base class

    def answer(self, request: Request) -> None:
        """Ask the application, and do to the connection what it says."""
        try:
            self.write(self.server.application(request))
        except ConnectionDropError:
            self.close_connection = True
        except HalfAnswerError as half:
            self.close_connection = True
            self.wfile.write(b"".join(half_of(list(pieces(half.response)))))

    def as_request(self, body: bytes) -> Request:
        """Return what came in as a value."""
        path, _, query = self.path.partition("?")
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        return Request(method=self.command, path=path, query=query, headers=headers, body=body)

    def write(self, response: Response) -> None:
        """Write the answer, each chunk of a stream by itself."""
        closing = (("connection", "close"),) if self.close_connection else ()
        for piece in pieces(response.adding(*closing)):
            self.wfile.write(piece)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Print nothing."""


def pieces(response: Response) -> Iterator[bytes]:
    """Return an answer as the bytes to write, in the pieces in which they should go out."""
    if not response.streamed:
        yield _head(response.adding(("content-length", str(len(response.body))))) + response.body
        return
    yield _head(response.adding(("transfer-encoding", "chunked")))
    for chunk in response.chunks:
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def half_of(whole: list[bytes]) -> list[bytes]:
    """Return the first half of a stream's pieces, or a plain answer without its last byte."""
    return [whole[0][:-1]] if len(whole) == 1 else whole[: max(1, len(whole) // 2)]


def _head(response: Response) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {reasons.get(response.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def read_body(stream: Any, headers: Any) -> Iterator[bytes]:
    """Read a request's body by its framing. Raises BodyError."""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        yield from _limited(_chunked(stream))
        return
    length = whole_number(headers.get("content-length", "0").strip())
    if length is None:
        raise BodyError("content-length is not a number")
    yield from _limited(_counted(stream, length))


def _limited(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass blocks on up to MAX_BODY; past it read on for a while, so that the client can hear the answer."""
    total = 0
    for block in blocks:
        total += len(block)
        if total <= MAX_BODY:
            yield block
        elif total > _MAX_DISCARDED:
            break
    if total > MAX_BODY:
        msg = f"the body is over {MAX_BODY} bytes"
        raise BodyError(msg, too_large=True)


def _counted(stream: Any, length: int) -> Iterator[bytes]:
    while length > 0:
        block = stream.read(min(length, _BLOCK))
        if not block:
            raise BodyError("the client went away within its body")
        length -= len(block)
        yield block


def _chunked(stream: Any) -> Iterator[bytes]:
    while True:
        line = stream.readline(_BLOCK).split(b";")[0].strip()
        try:
            length = int(line, 16)
        except ValueError as error:
            raise BodyError(f"not the length of a chunk: {line!r}") from error
        yield from _counted(stream, length)
        ended = not stream.readline(_BLOCK).strip() and length == 0
        if ended:
            return
