"""The server itself: starting, stopping, bodies, and clients that go away."""

import json
import socket
import threading
import time

import httpx
import pytest

from thumbprint.emulator import Emulator
from thumbprint.emulator._server import MAX_BODY

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}


def raw_exchange(emulator: Emulator, data: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def chat_request(emulator: Emulator, *headers: str, body: bytes = b"") -> bytes:
    path = emulator.cloudflare_openai_url.removeprefix(emulator.url)
    lines = [f"POST {path}/chat/completions HTTP/1.1", "Host: x", "Authorization: Bearer k", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def test_there_is_no_address_before_the_start():
    with pytest.raises(RuntimeError, match="before it is started"):
        _ = Emulator().url


@pytest.mark.parametrize(
    "settings",
    [
        {"ingestion_lag": -1},
        {"rate_limit": 0},
        {"rate_window": 0},
        {"metadata_patch": "other"},
    ],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        Emulator(**settings)


def test_the_environment_points_at_the_emulator(emulator):
    variables = emulator.environ()
    assert variables["CLOUDFLARE_GATEWAY_ID"] == "emulator"
    assert len(variables["CLOUDFLARE_ACCOUNT_ID"]) == 32
    assert variables["BRAINTRUST_PARENT"] == "project_name:emulator"
    assert variables["OPENAI_BASE_URL"] == emulator.cloudflare_openai_url
    assert all(value.startswith(emulator.url) for name, value in variables.items() if name.endswith("_URL"))


def test_starting_and_stopping_twice_is_the_same_as_once():
    emulator = Emulator()
    emulator.stop()
    address = emulator.start().url
    assert emulator.start().url == address
    emulator.stop()
    emulator.stop()


def test_a_restart_keeps_the_port_and_the_state(emulator, gateway):
    gateway.post("/openai/chat/completions", json=CHAT)
    address = emulator.url
    emulator.stop()
    with pytest.raises(httpx.TransportError):
        gateway.post("/openai/chat/completions", json=CHAT)
    emulator.start()
    gateway.post("/openai/chat/completions", json=CHAT)
    assert emulator.url == address
    assert len(emulator.cloudflare_logs()) == 2


def test_a_taken_port_is_an_os_error(emulator):
    with pytest.raises(OSError, match="in use"):
        Emulator(port=int(emulator.url.rpartition(":")[2])).start()


def test_stopping_is_quick_while_clients_hold_connections(emulator, http):
    http.get(f"{emulator.url}/nowhere")
    fault = emulator.fail("/hanging", hang=True)
    failures = []

    def hang():
        with pytest.raises(httpx.TransportError) as failure:
            httpx.get(f"{emulator.url}/hanging", timeout=10)
        failures.append(failure.value)

    thread = threading.Thread(target=hang)
    thread.start()
    while not emulator.requests() or emulator.requests()[-1].path != "/hanging":
        time.sleep(0.005)
    began = time.monotonic()
    emulator.stop()
    assert time.monotonic() - began < 5  # the client hangs for ten
    thread.join(5)
    assert fault.hits == 1
    assert len(failures) == 1
    assert emulator.requests()[-1].status is None


def test_clear_forgets_everything(emulator, gateway, braintrust_api):
    gateway.post("/openai/chat/completions", json=CHAT)
    braintrust_api.post("/v1/project", json={"name": "other"})
    emulator.fail(".", status=500)
    emulator.clear()
    assert emulator.cloudflare_logs() == emulator.braintrust_rows() == emulator.requests() == []
    objects = braintrust_api.get("/v1/project").json()["objects"]
    assert [project["name"] for project in objects] == ["emulator"]


def test_requests_are_recorded(emulator, clock, http):
    http.post(f"{emulator.url}/some%20where?a=1", content=b"body", headers={"X-Mine": "yes"})
    [request] = emulator.requests()
    assert (request.method, request.path, request.query) == ("POST", "/some%20where", "a=1")
    assert (request.body, request.status, request.at) == (b"body", 404, clock.now)
    assert request.headers["x-mine"] == "yes"
    assert "yes" not in repr(request)


def test_repeated_headers_are_joined(emulator, http):
    http.get(f"{emulator.url}/nowhere", headers=[("x-mine", "1"), ("x-mine", "2")])
    assert emulator.requests()[0].headers["x-mine"] == "1, 2"


def test_an_unknown_path_is_404(emulator, http):
    assert http.get(f"{emulator.url}/nowhere").status_code == 404
    assert http.get(f"{emulator.url}/v1/nowhere").status_code == 404


def test_a_body_in_chunks_is_read(emulator):
    text = json.dumps(CHAT).encode()
    with httpx.Client() as client:
        answer = client.post(
            f"{emulator.cloudflare_openai_url}/chat/completions",
            content=iter([text[:10], text[10:]]),
            headers={"authorization": "Bearer k"},
        )
    assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"


def test_a_body_over_the_limit_is_413(emulator, http):
    answer = http.post(f"{emulator.url}/v1/x", content=b"x" * (MAX_BODY + 1))
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert emulator.requests()[0].status == 413


def test_a_body_far_over_the_limit_is_not_read_to_its_end(emulator):
    head = chat_request(emulator, f"Content-Length: {MAX_BODY * 1000}")
    with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])), timeout=5) as connection:
        connection.sendall(head)
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            connection.sendall(bytes(MAX_BODY * 8))
    assert emulator.requests()[0].status == 413


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (["Content-Length: ten"], b"0123456789"),
        (["Content-Length: 10"], b"012345"),
        (["Transfer-Encoding: chunked"], b"zz\r\n"),
        (["Transfer-Encoding: chunked"], b"5\r\n012"),
    ],
)
def test_a_body_that_cannot_be_read_ends_the_connection(emulator, headers, body, capfd):
    assert raw_exchange(emulator, chat_request(emulator, *headers, body=body)) == b""
    assert emulator.requests() == []
    assert capfd.readouterr().err == ""


def test_a_client_that_leaves_in_the_middle_prints_nothing(emulator, capfd):
    with socket.create_connection(("127.0.0.1", int(emulator.url.rpartition(":")[2])), timeout=30) as connection:
        # Closing with a reset: the server's next read or write fails.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        text = json.dumps({**CHAT, "stream": True, "messages": [{"role": "user", "content": "a " * 50_000}]})
        body = text.encode()
        connection.sendall(chat_request(emulator, f"Content-Length: {len(body)}", body=body))
        connection.recv(100)
    emulator.stop()
    assert capfd.readouterr().err == ""


def test_a_fault_of_the_emulators_own_is_shown(capfd):
    def broken() -> float:
        raise AssertionError("the clock is broken")

    with Emulator(clock=broken) as emulator, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{emulator.url}/nowhere")
    assert "the clock is broken" in capfd.readouterr().err


def test_unknown_methods_are_501(emulator, http):
    assert http.request("BREW", emulator.url).status_code == 501
