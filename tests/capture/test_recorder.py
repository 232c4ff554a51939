"""What capture makes of what the emulator would never give: real hosts, broken answers, faults of its own."""

from __future__ import annotations

import json
import logging
import types

import httpx
import openai
import pytest
import sdk

import thumbprint
from thumbprint import Braintrust, Cloudflare
from thumbprint.backends._slug import decode_slug, project_slug

ACCOUNT = "0123456789abcdef0123456789abcdef"
PROJECT = "11111111-2222-4333-8444-555555555555"
LOG_ID = {"cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"}
ROW_ID = {"x-bt-span-id": "my/row"}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Ulm"}}],
}


class Host:
    """A host that answers with these headers, and keeps the requests it got."""

    def __init__(self, headers, *, answer=ANSWER):
        self.headers = headers
        self.answer = answer
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        headers = {"content-type": "application/json", **self.headers}
        return httpx.Response(200, content=json.dumps(self.answer), headers=headers)

    def ask(self, base_url, **kwargs):
        """Make a captured call to it; return the scope around that call."""
        client = openai.OpenAI(
            base_url=base_url, api_key="any", http_client=httpx.Client(transport=httpx.MockTransport(self))
        )
        with thumbprint.wrap(client), thumbprint.scope() as scope:
            completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked(), **kwargs)
        assert completion.choices[0].message.content == "Ulm"  # whatever happens, the call is unharmed
        return scope


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("base_url", "headers", "home"),
    [
        (f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/my-gateway/openai", {}, (ACCOUNT, "my-gateway")),
        (f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/my-gateway/compat", {}, (ACCOUNT, "my-gateway")),
        (f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/v1", {}, (ACCOUNT, "default")),
        (
            f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}/ai/v1",
            {"cf-aig-gateway-id": "other"},
            (ACCOUNT, "other"),
        ),
        (f"https://llm.example.com/v1/{ACCOUNT}/behind/openai", {}, (ACCOUNT, "behind")),
        ("https://llm.example.com/openai", {}, (None, None)),
    ],
)
def test_account_and_gateway_come_from_the_calls_own_url_and_headers(base_url, headers, home):
    ref = Host(LOG_ID).ask(base_url, extra_headers=headers).last
    assert (ref.backend, ref.id, ref.operation) == ("cloudflare", LOG_ID["cf-aig-log-id"], "chat")
    assert (ref.account_id, ref.gateway_id) == home


@pytest.mark.parametrize(
    ("base_url", "headers"),
    [
        ("https://gateway.ai.cloudflare.com/nothing", LOG_ID),
        ("https://gateway.ai.cloudflare.com/v1/a%20b/GATEWAY!/openai", LOG_ID),
        ("https://api.cloudflare.com/client/v4/elsewhere", LOG_ID),
        ("https://api.braintrust.dev/v1/proxy", ROW_ID | {"x-bt-span-export": "no slug"}),
        ("https://api.braintrust.dev/v1/proxy", ROW_ID | {"x-bt-span-export": "AwIEAREREREi"}),
        ("https://api.braintrust.dev/v1/proxy", {"x-bt-span-id": "two words"}),
    ],
)
def test_a_broken_url_slug_or_id_is_no_capture_and_one_log_line(base_url, headers, caplog):
    for _ in range(3):
        assert Host(headers).ask(base_url).refs == ()
    assert len(warnings(caplog)) == 1


def test_a_broken_id_of_one_service_does_not_cost_the_other_services_capture():
    scope = Host(LOG_ID | {"x-bt-span-id": "two words"}).ask("https://llm.example.com/openai")
    assert [ref.backend for ref in scope.refs] == ["cloudflare"]


@pytest.mark.parametrize("response_id", ["a\nb", "\x00", "a\x9b31m", "a\ud800", "\u2028"])
def test_a_response_id_that_can_be_none_is_left_out_and_the_call_is_captured_without(response_id, caplog):
    ref = Host(LOG_ID, answer=ANSWER | {"id": response_id}).ask("https://llm.example.com/openai").last
    assert (ref.id, ref.response_id) == (LOG_ID["cf-aig-log-id"], None)
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(response_id, thumbs="up")
    assert warnings(caplog) == []


def test_a_home_that_can_be_none_is_no_capture_and_one_short_log_line(caplog):
    slug = project_slug("line\nbreak and much more " * 100)
    host = Host({**ROW_ID, "x-bt-span-export": slug})
    assert host.ask("https://gateway.braintrust.dev").refs == ()
    [warning] = warnings(caplog)
    assert "cannot be the project_name of a LogRef" in warning.getMessage()
    assert len(warning.getMessage()) < 250


def test_a_query_that_holds_a_key_is_in_no_log_line(caplog):
    Host(LOG_ID).ask("https://gateway.ai.cloudflare.com/nothing", extra_query={"key": "secret-osprey"})
    assert warnings(caplog)
    assert "osprey" not in caplog.text


@pytest.mark.parametrize(
    "base_url",
    [
        "https://gateway.braintrust.dev",
        "https://gateway.braintrust.dev/v1",
        "https://api.braintrust.dev/v1/proxy",
        "https://api-eu.braintrust.dev/v1/proxy",
        "https://braintrust.example.com/v1/proxy",
        "https://one.example.com/gateway",
        "https://two.example.com",
    ],
)
def test_a_braintrust_gateway_is_told_the_parent(base_url):
    settings = Braintrust(
        parent="project_name:naive app",
        api_url="https://braintrust.example.com",
        gateway_url="https://one.example.com/gateway, https://two.example.com",
    )
    thumbprint.configure(backends=[settings])
    host = Host(ROW_ID)
    ref = host.ask(base_url).last
    assert host.requests[0].headers["x-bt-parent"] == "project_name:naive app"
    assert (ref.id, ref.project_name) == ("my/row", "naive app")


def test_a_project_name_beyond_ascii_reaches_the_gateway_as_a_slug():
    thumbprint.configure(backends=[Braintrust(parent="project_name:naïve app")])
    host = Host(ROW_ID)
    ref = host.ask("https://gateway.braintrust.dev").last
    assert decode_slug(host.requests[0].headers["x-bt-parent"]).project_name == "naïve app"
    assert ref.project_name == "naïve app"


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.openai.com/v1",
        "https://gateway.braintrust.dev.evil.example/v1",
        "https://evilbraintrust.dev/v1",
        "https://one.example.com/gateway-2",
        "http://one.example.com/gateway",
        "https://braintrust.example.com/v1/other",
    ],
)
def test_no_other_host_is_told_the_parent(base_url):
    settings = Braintrust(
        parent="project_name:app",
        api_url="https://braintrust.example.com",
        gateway_url="https://one.example.com/gateway",
    )
    thumbprint.configure(backends=[settings])
    host = Host({})
    host.ask(base_url)
    assert "x-bt-parent" not in host.requests[0].headers


@pytest.mark.parametrize("name", ["x-bt-parent", "X-BT-Parent"])
def test_the_callers_own_parent_wins(name):
    thumbprint.configure(backends=[Braintrust(parent="project_name:app")])
    host = Host(ROW_ID)
    ref = host.ask("https://gateway.braintrust.dev", extra_headers={name: f"project_id:{PROJECT}"}).last
    assert host.requests[0].headers.get_list("x-bt-parent") == [f"project_id:{PROJECT}"]
    assert (ref.project_id, ref.project_name) == (PROJECT, None)


def test_a_playgrounds_row_is_passed_over():
    host = Host(ROW_ID)
    parent = {"x-bt-parent": f"playground_id:{PROJECT}"}
    assert host.ask("https://gateway.braintrust.dev", extra_headers=parent).refs == ()


class Faulty(Cloudflare):
    """A backend whose answers fail."""

    def repeats(self, exchange):
        raise RuntimeError("repeats")

    def request_headers(self, url, headers):
        raise RuntimeError("request_headers")


class Forgetful(thumbprint._config.MemoryStore):
    """A store that fails to remember."""

    def remember(self, keys, call):
        raise RuntimeError("remember")


def test_a_faulty_backend_costs_captures_and_two_log_lines_and_no_call(caplog):
    thumbprint.configure(backends=[Faulty()])
    for _ in range(3):
        assert Host(LOG_ID).ask("https://llm.example.com/openai").refs == ()
    assert [record.getMessage().partition(" could")[0] for record in warnings(caplog)] == ["a request", "a response"]


def test_a_faulty_backend_costs_a_capture_where_there_is_no_http_client_either(caplog):
    recorder = thumbprint.configure(backends=[Faulty()]).recorder()
    told = {"url": "https://host", "request_headers": {}, "operation": "chat"}
    assert recorder.seen(response_headers=LOG_ID, **told) is None
    assert [record.getMessage().partition(" could")[0] for record in warnings(caplog)] == ["a response"]
    recorder = thumbprint.configure(backends=[thumbprint.Cloudflare()]).recorder()
    assert recorder.seen(response_headers={}, **told) is None
    assert [ref.id for ref in recorder.seen(response_headers=LOG_ID, **told).refs] == [LOG_ID["cf-aig-log-id"]]


def test_a_faulty_store_costs_references_and_a_log_line_and_no_call(caplog):
    thumbprint.configure(store=Forgetful())
    scope = Host(LOG_ID).ask("https://llm.example.com/openai")
    assert scope.last is not None  # the scope knows
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(scope.id, thumbs="up")
    assert [record.getMessage().partition(" could")[0] for record in warnings(caplog)] == ["a call"]


def test_an_answer_that_cannot_carry_anything_is_left_as_it_is(caplog):
    """A transcription asked for as text comes as a str: only the scope leads to it."""
    client = openai.OpenAI(
        base_url=f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/g/openai",
        api_key="any",
        http_client=httpx.Client(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, text="Ulm", headers=LOG_ID))
        ),
    )
    with thumbprint.wrap(client), thumbprint.scope() as scope:
        text = client.audio.transcriptions.create(model="whisper-1", file=b"RIFF", response_format="text")
    assert (text, len(scope.refs), warnings(caplog)) == ("Ulm", 1, [])


def test_hooks_that_get_something_else_than_a_response_harm_nothing(caplog):
    recorder = thumbprint.configure(backends=[thumbprint.Braintrust(parent="project_name:chat")]).recorder()
    assert recorder.begin(None) is None
    recorder.prepare(object())
    recorder.parsed(object(), object())
    recorder.failed(None, ValueError())
    assert [record.getMessage().partition(" could")[0] for record in warnings(caplog)] == ["a response", "a request"]


def test_headers_may_be_any_mapping_by_lower_case_name():
    url = httpx.URL("https://llm.example.com/v1/chat/completions")
    request = types.SimpleNamespace(method="POST", url=url, headers={})
    response = types.SimpleNamespace(headers=LOG_ID, request=request, status_code=200)
    recorder = thumbprint._default._get().recorder()
    with thumbprint.scope() as scope:
        recorder.finish(recorder.begin(response), response, types.SimpleNamespace(id="chatcmpl-1"))
    assert (scope.last.id, scope.last.response_id) == (LOG_ID["cf-aig-log-id"], "chatcmpl-1")


class Explosive:
    """An object that cannot even be asked for its attributes."""

    @property
    def __dict__(self):
        raise RuntimeError("no")


def test_results_that_misbehave_cost_one_log_line(caplog):
    recorder = thumbprint._default._get().recorder()
    response = httpx.Response(
        200, headers=LOG_ID, request=httpx.Request("POST", "https://llm.example.com/v1/chat/completions")
    )
    call = recorder.begin(response)
    recorder.finish(call, response, Explosive())
    recorder.parsed(response, Explosive())
    recorder.failed(response, Explosive())
    assert {record.name for record in warnings(caplog)} == {"thumbprint"}


def test_a_fault_in_one_backend_leaves_what_the_others_know_of_the_call(caplog):
    class Broken(Braintrust):
        def recognise(self, exchange):
            raise KeyError(exchange.operation)

    thumbprint.configure(backends=[Broken(), Cloudflare()])
    scope = Host({**LOG_ID, **ROW_ID}).ask(f"https://gateway.ai.cloudflare.com/v1/{ACCOUNT}/gateway/openai")
    assert [ref.backend for ref in scope.refs] == ["cloudflare"]
    [record] = warnings(caplog)
    assert record.getMessage() == "a call was not captured for braintrust"
