"""Faults on demand."""

import re
import time

import httpx
import pytest

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}


def test_a_status_is_answered_once_and_the_service_does_not_see_the_request(emulator, gateway):
    fault = emulator.fail("/v1/", status=503, body="busy", headers={"retry-after": "2"})
    answer = gateway.post("/openai/chat/completions", json=CHAT)
    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (503, "busy", "2")
    assert gateway.post("/openai/chat/completions", json=CHAT).status_code == 200
    assert fault.hits == 1
    assert len(emulator.cloudflare_logs()) == 1
    assert [request.status for request in emulator.requests()] == [503, 200]


@pytest.mark.parametrize(
    ("body", "content", "kind"),
    [
        ({"a": 1}, b'{"a":1}', "application/json"),
        (["a"], b'["a"]', "application/json"),
        (b"\0", b"\0", "text/plain; charset=utf-8"),
        ("", b"", "text/plain; charset=utf-8"),
    ],
)
def test_a_body_alone_is_answered_with_200(emulator, http, body, content, kind):
    emulator.fail("/x", body=body)
    answer = http.get(f"{emulator.url}/x")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, content, kind)


def test_a_status_alone_has_an_empty_object(emulator, http):
    emulator.fail("/x", status=418)
    answer = http.get(f"{emulator.url}/x")
    assert (answer.status_code, answer.json()) == (418, {})


def test_headers_alone_are_added_to_the_answer(emulator, gateway):
    emulator.fail("/v1/", headers={"X-Extra": "1", "Cf-Aig-Step": "7"})
    answer = gateway.post("/openai/chat/completions", json=CHAT)
    assert (answer.status_code, answer.headers["x-extra"], answer.headers["cf-aig-step"]) == (200, "1", "7")


def test_the_path_the_method_and_the_count_choose_the_requests(emulator, http):
    fault = emulator.fail(re.compile("b$"), method="post", times=2, after=1, status=500)
    statuses = [
        http.request(method, f"{emulator.url}/{path}").status_code
        for method, path in [("POST", "b"), ("GET", "b"), ("POST", "bc"), *[("POST", "ab")] * 3]
    ]
    assert statuses == [404, 404, 404, 500, 500, 404]
    assert fault.hits == 2


def test_a_fault_without_end_lasts_until_it_is_cleared(emulator, http):
    fault = emulator.fail("where", times=None, status=500)
    assert {http.get(f"{emulator.url}/nowhere").status_code for _ in range(5)} == {500}
    emulator.clear()
    assert http.get(f"{emulator.url}/nowhere").status_code == 404
    assert fault.hits == 5


def test_the_first_fault_asked_for_comes_first(emulator, http):
    emulator.fail("/", status=500)
    emulator.fail("/", status=502)
    assert [http.get(f"{emulator.url}/nowhere").status_code for _ in range(3)] == [500, 502, 404]


def test_a_delay_comes_before_the_answer(emulator, http):
    emulator.fail("/", delay=0.05)
    began = time.monotonic()
    assert http.get(f"{emulator.url}/nowhere").status_code == 404
    assert time.monotonic() - began >= 0.05


def test_a_delayed_request_is_dropped_when_the_emulator_stops(emulator, gateway):
    emulator.fail("/", delay=30)
    with pytest.raises(httpx.ReadTimeout):
        gateway.post("/openai/chat/completions", json=CHAT, timeout=0.1)
    emulator.stop()
    assert emulator.cloudflare_logs() == []
    assert [request.status for request in emulator.requests()] == [None]


@pytest.mark.parametrize(("drop", "effects"), [(True, 0), ("before", 0), ("after", 1)])
def test_a_drop_closes_the_connection_before_or_after_the_effect(emulator, gateway, drop, effects):
    emulator.fail("/", drop=drop)
    with pytest.raises(httpx.RemoteProtocolError):
        gateway.post("/openai/chat/completions", json=CHAT)
    assert len(emulator.cloudflare_logs()) == effects
    assert emulator.requests()[0].status is None


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_can_be_cut_off(emulator, gateway, stream):
    emulator.fail("/", drop="during")
    with gateway.stream("POST", "/openai/chat/completions", json={**CHAT, "stream": stream}) as answer:
        assert answer.headers["cf-aig-log-id"] == emulator.cloudflare_logs()[0]["id"]
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"after": -1}, {"times": -1}, {"drop": "sometimes"}])
def test_a_fault_that_makes_no_sense_is_refused(emulator, wrong):
    with pytest.raises(ValueError, match="must"):
        emulator.fail("/", **wrong)
