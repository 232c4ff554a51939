"""The transport, over real connections to the emulator."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import logging
import socket
import threading
import time

import httpx
import pytest

from thumbprint.backends import Braintrust, HttpRequest
from thumbprint.delivery import HttpxTransport
from thumbprint.delivery._inquiry import diagnose
from thumbprint.delivery._transport import LONGEST_ANSWER, TransportError

KEY = "key-that-is-secret"
LONG = 10  # seconds that no test takes unless it fails


@pytest.fixture
def transport():
    opened = HttpxTransport(timeout=5)
    yield opened
    opened.close()


def request(emulator, method="POST", path="/anything", *, json=None, **headers):
    return HttpRequest(method=method, url=f"{emulator.url}{path}", headers=headers, json=json)


@pytest.mark.parametrize("status", [200, 204, 302, 400, 404, 429, 500, 599])
def test_an_answer_is_returned_whatever_its_status(emulator, transport, status):
    emulator.fail("/anything", status=status, headers={"Retry-After": "7", "Location": "/elsewhere"})

    answer = transport.send(request(emulator))

    assert answer.status == status
    assert answer.headers["retry-after"] == "7"
    assert len(emulator.requests()) == 1


def test_the_request_arrives_as_the_backend_said_it(emulator, transport):
    emulator.fail("/anything", times=None, status=200, body=b"\xff\x00")

    answer = transport.send(
        request(emulator, "PATCH", "/anything/a%2Fb?q=%C3%A9", json={"é": [None]}, authorization=KEY)
    )

    assert answer.content == b"\xff\x00"
    [arrived] = emulator.requests()
    assert (arrived.method, arrived.path, arrived.query) == ("PATCH", "/anything/a%2Fb", "q=%C3%A9")
    assert arrived.headers["authorization"] == KEY
    assert arrived.headers["content-type"] == "application/json"
    assert arrived.headers["accept-encoding"] == "identity"
    assert json.loads(arrived.body) == {"é": [None]}


def test_a_get_has_no_body(emulator, transport):
    transport.send(request(emulator, "GET"))

    [arrived] = emulator.requests()
    assert arrived.body == b""
    assert "content-type" not in arrived.headers


@pytest.mark.parametrize("moment", ["before", "after", "during"])
def test_a_dropped_connection_is_a_transport_error_that_says_why(emulator, transport, moment):
    emulator.fail("/", drop=moment)

    with pytest.raises(TransportError, match="RemoteProtocolError") as caught:
        transport.send(request(emulator))
    assert caught.value.__context__ is None

    assert transport.send(request(emulator)).status == 404


def test_a_service_that_does_not_answer_is_given_up_after_the_timeout(emulator):
    emulator.fail("/", hang=True)
    impatient = HttpxTransport(timeout=0.2)

    with pytest.raises(TransportError, match="ReadTimeout"):
        impatient.send(request(emulator))
    impatient.close()


def test_a_service_that_is_down_is_a_transport_error_and_found_again_when_it_is_back(emulator, transport):
    emulator.stop()
    with pytest.raises(TransportError, match="ConnectError"):
        transport.send(request(emulator))

    emulator.start()
    assert transport.send(request(emulator)).status == 404


def test_what_is_left_of_a_time_bounds_a_request_and_after_it_nothing_is_sent(emulator):
    emulator.fail("/", hang=True, times=None)
    ends_at = time.monotonic() + 0.1
    transport = HttpxTransport(timeout=30, ends_at=ends_at)
    with pytest.raises(TransportError, match="Timeout"):
        transport.send(HttpRequest(method="GET", url=f"{emulator.url}/x"))
    assert time.monotonic() < ends_at + 5  # generous: it would be 30
    with pytest.raises(TransportError, match="no time was left"):
        transport.send(HttpRequest(method="GET", url=f"{emulator.url}/x"))
    transport.close()
    assert len(emulator.requests()) == 1
    emulator.stop()


@pytest.mark.parametrize("url", ["http://[broken", "no-scheme/path", "ftp://h/", "http://h:99999/"])
def test_a_url_that_is_none_is_a_transport_error(transport, url):
    with pytest.raises(TransportError):
        transport.send(HttpRequest(method="GET", url=url))


def test_a_header_that_cannot_be_sent_is_a_transport_error(emulator, transport):
    with pytest.raises(TransportError, match="LocalProtocolError") as caught:
        transport.send(request(emulator, authorization="Bearer a\nb"))
    assert caught.value.__context__ is None  # which quotes the header
    assert emulator.requests() == []


def test_it_can_be_closed_at_any_time_and_used_again(emulator, transport):
    transport.close()
    transport.send(request(emulator))
    transport.close()
    transport.close()

    assert transport.send(request(emulator)).status == 404


def test_it_may_be_used_from_several_threads_at_once(emulator, transport):
    emulator.fail("/", times=None, delay=0.05, status=200)
    statuses = []
    threads = [
        threading.Thread(target=lambda: statuses.append(transport.send(request(emulator)).status)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 8


# --- services that are slow without ever being silent


class Server:
    """Takes one connection after the other and answers each by `say`, until the other side closes it or stops."""

    def __init__(self, say):
        self.say = say
        self.closed = threading.Event()  # by the other side, before the answer was out
        self._stopped = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(LONG)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(LONG)

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection):
        connection.settimeout(LONG)
        try:
            self.say(connection, self._stopped)
        except OSError:
            self.closed.set()


def dripping(head, drops):
    """Return how to say the head at once, and then one drop after the other, without an end."""

    def say(connection, stopped):
        connection.recv(65536)
        connection.sendall(head)
        for drop in itertools.cycle(drops):
            if stopped.wait(0.01):
                return
            connection.sendall(drop)

    return say


OK = b"HTTP/1.1 200 OK\r\n"
DRIPS = {
    "a status line": (b"HTTP/1.1 200 ", [b"O"]),
    "a header": (OK + b"X-Drip: ", [b"a"]),
    "headers": (OK, [b"X-", b"Drip: a\r\n"]),
    "interim answers": (b"", [b"HTTP/1.1 102 Processing\r\n\r\n"]),
    "a body": (OK + b"Content-Length: 1000000\r\n\r\n", [b"a"]),
    "a body in chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", [b"1\r\n", b"a\r\n"]),
    "a body up to the end of the connection": (OK + b"\r\n", [b"a"]),
}


@pytest.mark.parametrize("drip", DRIPS.values(), ids=DRIPS.keys())
@pytest.mark.parametrize("inline", [False, True])
def test_an_answer_that_drips_in_is_given_up_when_its_time_is_over_and_the_connection_closed(drip, inline):
    """Each drop comes long before a read that has all of the time would end."""
    with Server(dripping(*drip)) as server:
        transport = HttpxTransport(ends_at=time.monotonic() + 0.2) if inline else HttpxTransport(timeout=0.2)
        with pytest.raises(TransportError, match="ReadTimeout"):
            transport.send(HttpRequest(method="GET", url=server.url))

        assert server.closed.wait(LONG)  # though the transport itself is still open
        transport.close()


def test_a_connection_that_has_served_before_is_bounded_by_the_time_of_each_request_anew():
    def say(connection, stopped):
        connection.recv(65536)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")
        dripping(OK + b"X-Drip: ", [b"a"])(connection, stopped)

    with Server(say) as server:
        transport = HttpxTransport(timeout=LONG)
        assert transport.send(HttpRequest(method="GET", url=server.url)).content == b"{}"
        transport.timeout = 0.2
        with pytest.raises(TransportError, match="ReadTimeout"):
            transport.send(HttpRequest(method="GET", url=server.url))

        assert server.closed.wait(LONG)
        transport.close()


@pytest.mark.parametrize("proxied", [False, True])
def test_a_tls_handshake_that_drips_is_given_up_behind_a_proxy_as_well(monkeypatch, proxied):
    record = b"\x16\x03\x03\x40\x00"  # the beginning of a long message of a handshake

    def say(connection, stopped):
        if proxied:
            assert connection.recv(65536).startswith(b"CONNECT ")
            connection.sendall(OK + b"\r\n")
        dripping(record, [b"\x00"])(connection, stopped)

    with Server(say) as server:
        url = server.url.replace("http://", "https://")
        if proxied:
            monkeypatch.setenv("HTTPS_PROXY", server.url)
            url = "https://service.example"
        transport = HttpxTransport(timeout=0.2)
        with pytest.raises(TransportError, match="ConnectTimeout"):
            transport.send(HttpRequest(method="GET", url=url))

        assert server.closed.wait(LONG)
        transport.close()


def test_a_service_that_reads_in_drops_is_given_up_when_the_time_is_over():
    def say(connection, stopped):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not stopped.wait(0.01):
            if not connection.recv(4096):
                raise ConnectionResetError

    with Server(say) as server:
        transport = HttpxTransport(timeout=0.5)
        with pytest.raises(TransportError, match="Timeout"):
            transport.send(HttpRequest(method="POST", url=server.url, json={"a": 8_000_000 * "a"}))
        server.say = dripping(OK, [b""])  # what is still in the buffers need not be read in drops
        transport.close()


def test_a_request_longer_than_a_piece_arrives_whole(emulator, transport):
    emulator.fail("/anything", status=200)
    said = {"text": 300_000 * "é"}

    transport.send(request(emulator, json=said))

    [arrived] = emulator.requests()
    assert json.loads(arrived.body) == said


def test_a_service_that_floods_without_ever_coming_to_its_answer_is_given_up_as_well():
    """Every read has something at once here, so that none of them ever waits."""

    def say(connection, stopped):
        connection.recv(65536)
        while not stopped.is_set():
            connection.sendall(10_000 * b"HTTP/1.1 102 Processing\r\n\r\n")

    with Server(say) as server:
        transport = HttpxTransport(timeout=0.2)
        with pytest.raises(TransportError, match=r"ReadTimeout: not done after 0\.\d+ s"):
            transport.send(HttpRequest(method="GET", url=server.url))

        assert server.closed.wait(LONG)
        transport.close()


def flooding(connection, stopped):
    connection.recv(65536)
    connection.sendall(OK + b"\r\n")
    while not stopped.is_set():
        connection.sendall(100_000 * b"a")


def test_of_an_answer_without_an_end_the_beginning_is_taken_and_the_connection_closed():
    with Server(flooding) as server:
        transport = HttpxTransport(timeout=LONG)
        answer = transport.send(HttpRequest(method="GET", url=server.url))

        assert answer.content == LONGEST_ANSWER * b"a"
        assert server.closed.wait(LONG)
        transport.close()


@pytest.mark.parametrize("length", [0, 1, 99, 100, 101])
def test_how_much_of_an_answer_is_taken_may_be_said(emulator, length):
    emulator.fail("/", times=None, status=200, body=length * b"a")
    transport = HttpxTransport(longest=100)
    for _ in range(2):
        assert transport.send(request(emulator)).content == min(length, 100) * b"a"
    transport.close()


def compressed(encoding, body):
    """Return how to answer with a body in an encoding, and then be ready for the next request."""

    def say(connection, stopped):
        while connection.recv(65536):
            head = f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(OK + head.encode() + body)

    return say


@pytest.mark.parametrize("encoding", ["gzip", "GZip", "deflate", "br", "zstd", "identity, gzip"])
def test_a_body_that_nobody_asked_to_compress_is_neither_decompressed_nor_read(transport, encoding):
    """A megabyte of this would be a gigabyte: were it decompressed, the answer would begin with it."""
    bomb = gzip.compress(10_000_000 * b"a")
    with Server(compressed(encoding, bomb)) as server:
        answer = transport.send(HttpRequest(method="GET", url=server.url))

    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_a_body_that_says_that_it_is_not_compressed_is_taken(transport, encoding):
    with Server(compressed(encoding, b"{}")) as server:
        for _ in range(2):
            assert transport.send(HttpRequest(method="GET", url=server.url)).content == b"{}"
        transport.close()


# --- what the application's logs are told, and proxies


def test_the_logs_of_http_libraries_say_nothing_of_what_came_back_and_all_of_the_application_s_own(
    emulator, transport, caplog
):
    caplog.set_level(logging.DEBUG)
    emulator.fail("/", status=400, headers={"x-echo": f"Bearer {KEY}"}, times=None)
    for _ in range(2):
        assert transport.send(request(emulator, authorization=f"Bearer {KEY}")).headers["x-echo"] == f"Bearer {KEY}"
    with pytest.raises(TransportError):
        transport.send(request(emulator, authorization=f"Bearer {KEY}\n"))

    assert KEY not in caplog.text
    httpx.get(f"{emulator.url}/own")
    assert "/own" in caplog.text


def test_a_connection_keeps_to_its_time_where_its_log_is_read_too(caplog):
    caplog.set_level(logging.DEBUG)
    with Server(dripping(OK + b"Content-Length: 1000000\r\n\r\n", [b"a"])) as server:
        transport = HttpxTransport(timeout=0.2)
        with pytest.raises(TransportError, match="ReadTimeout"):
            transport.send(HttpRequest(method="GET", url=server.url))
        transport.close()


class Proxy(Server):
    """Answers all requests by itself, and keeps the beginnings of what was asked."""

    def __init__(self):
        super().__init__(self._answered)
        self.heard = []

    def _answered(self, connection, stopped):
        while asked := connection.recv(65536):
            self.heard.append(asked.lower())
            connection.sendall(b"HTTP/1.1 200 you said key-that-is-secret\r\nContent-Length: 2\r\n\r\n{}")


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("begin", ["", "http://", "http://user:password@"])
def test_a_request_goes_through_the_proxy_that_the_environment_names(monkeypatch, caplog, variable, begin):
    caplog.set_level(logging.DEBUG)
    with Proxy() as proxy:
        monkeypatch.setenv(variable, f"{begin}{proxy.url.removeprefix('http://')}")
        transport = HttpxTransport(timeout=LONG)
        for path in "ab":
            answer = transport.send(HttpRequest(method="GET", url=f"http://service.example/{path}"))
            assert answer.content == b"{}"
        transport.close()

    assert [asked.split(b" http/1.1")[0] for asked in proxy.heard] == [
        b"get http://service.example/a",
        b"get http://service.example/b",
    ]
    assert {b"\r\nproxy-authorization: basic " in asked for asked in proxy.heard} == {"password" in begin}
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("variable", "no_proxy"), [("HTTP_PROXY", "127.0.0.1"), ("ALL_PROXY", "*"), ("HTTPS_PROXY", ""), ("FTP_PROXY", "")]
)
def test_a_request_that_no_proxy_is_named_for_goes_its_own_way(monkeypatch, emulator, transport, variable, no_proxy):
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert transport.send(request(emulator)).status == 404


@pytest.mark.parametrize("proxy", ["gopher://user:pass/word@127.0.0.1", "gopher://user:password@127.0.0.1"])
def test_a_proxy_that_cannot_be_used_is_told_of_without_its_password(monkeypatch, transport, proxy):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(TransportError, match="the proxy that the environment names cannot be used") as caught:
        transport.send(HttpRequest(method="GET", url="http://service.example/"))
    assert "pass" not in str(caught.value)
    assert caught.value.__context__ is None


def test_a_question_to_a_service_that_drips_is_without_an_answer():
    with Server(dripping(OK + b"X-Drip: ", [b"a"])) as server:
        [*_, finding] = diagnose(Braintrust(api_key="k", api_url=server.url), timeout=0.2)

        assert finding.status == "problem"
        assert "ReadTimeout" in finding.found
        assert server.closed.wait(LONG)
