"""The transport, over real connections to the emulator."""

from __future__ import annotations

import json
import threading
import time

import pytest

from thumbprint.backends import HttpRequest
from thumbprint.delivery import HttpxTransport
from thumbprint.delivery._transport import TransportError

KEY = "key-that-is-secret"


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
    assert caught.value.__cause__ is None

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
    with pytest.raises(TransportError, match="LocalProtocolError"):
        transport.send(request(emulator, authorization="Bearer a\nb"))
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
