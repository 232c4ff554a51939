"""Calls and feedback in traces: with the real OpenTelemetry SDK, in one process and across two."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest
import sdk
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from telemetry import Telemetry

import thumbprint
from thumbprint import Braintrust, Cloudflare, LogRef, OpenTelemetry, _metrics

TESTS = Path(__file__).parent
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
NOWHERE = "0" * 32


@pytest.fixture
def telemetry(monkeypatch):
    """Set up an SDK; its logger provider is this process's as long as the test lasts."""
    telemetry = Telemetry()
    monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", telemetry.logger_provider)
    return telemetry


def ask(base_url, telemetry, **kwargs):
    """Make a call inside a span; return the answer."""
    client = thumbprint.wrap(sdk.openai_client(base_url, **kwargs))
    with telemetry.span():
        return client.chat.completions.create(model="gpt-5", messages=sdk.asked())


def parents(events):
    return [(event["trace_id"], event["span_id"]) for event in events]


def names(events):
    return [event["attributes"]["gen_ai.evaluation.name"] for event in events]


# in one process


def test_the_span_of_a_call_holds_the_ids_of_its_log_entries(emulator, telemetry):
    completion = ask(emulator.chained_url, telemetry, api_key=emulator.environ()["BRAINTRUST_API_KEY"])
    refs = {
        outcome.ref.backend: outcome.ref.id for outcome in thumbprint.record_feedback(completion, thumbs=1).outcomes
    }
    [span] = telemetry.spans
    assert span["attributes"] == {
        "thumbprint.cloudflare.log_id": refs["cloudflare"],
        "thumbprint.braintrust.row_id": refs["braintrust"],
    }


def test_the_span_of_a_call_that_failed_holds_its_log_id_too(emulator, telemetry):
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with telemetry.span(), pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="error-400", messages=sdk.asked())
    [span] = telemetry.spans
    assert span["attributes"]["thumbprint.cloudflare.log_id"] == emulator.cloudflare_logs()[0]["id"]


def test_feedback_is_told_on_the_span_of_the_call_by_default_and_not_on_that_of_the_vote(emulator, telemetry):
    completion = ask(emulator.cloudflare_openai_url, telemetry)
    with telemetry.span("vote"):
        thumbprint.record_feedback(completion, thumbs="down", score=0.25, comment="Wrong city.", user_id="u").wait(10)
    call, _ = telemetry.spans
    assert telemetry.events == [
        {
            "name": "gen_ai.evaluation.result",
            "trace_id": call["trace_id"],
            "span_id": call["span_id"],
            "attributes": attributes | {"gen_ai.response.id": completion.id},
        }
        for attributes in (
            {
                "gen_ai.evaluation.name": "thumbs",
                "gen_ai.evaluation.score.value": 0.0,
                "gen_ai.evaluation.score.label": "down",
            },
            {"gen_ai.evaluation.name": "score", "gen_ai.evaluation.score.value": 0.25},
        )
    ]
    assert emulator.cloudflare_logs()[0]["feedback"] == -1  # besides


def test_a_comment_is_told_where_the_standard_variable_allows_content(emulator, telemetry, monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    thumbprint.record_feedback(ask(emulator.cloudflare_openai_url, telemetry), thumbs="down", comment="Wrong city.")
    [event] = telemetry.events
    assert event["attributes"]["gen_ai.evaluation.explanation"] == "Wrong city."


def test_the_feedback_of_a_trace_goes_to_the_call_in_it_by_the_trace_s_id(emulator, telemetry):
    ask(emulator.cloudflare_openai_url, telemetry)
    [span] = telemetry.spans
    thumbprint.record_feedback(span["trace_id"], thumbs="up")
    assert parents(telemetry.events) == [(span["trace_id"], span["span_id"])]
    with pytest.raises(thumbprint.UnknownTargetError, match="the id of no scope, response or trace"):
        thumbprint.record_feedback(TRACE, thumbs="up")


def test_a_call_outside_any_span_is_told_of_by_its_response_id_and_not_on_the_span_of_the_vote(emulator, telemetry):
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    with telemetry.span("vote"):
        thumbprint.record_feedback(completion, thumbs="up")
    [event] = telemetry.events
    assert event["trace_id"] == NOWHERE
    assert event["attributes"]["gen_ai.response.id"] == completion.id


def test_without_the_backend_neither_spans_nor_logs_hear_of_anything(emulator, telemetry):
    thumbprint.configure(backends=[Cloudflare(), Braintrust()])
    thumbprint.record_feedback(ask(emulator.cloudflare_openai_url, telemetry), thumbs="up")
    [span] = telemetry.spans
    assert (span["attributes"], telemetry.events) == ({}, [])


def test_feedback_that_is_refused_or_switched_off_is_no_event(emulator, telemetry, monkeypatch):
    completion = ask(emulator.cloudflare_openai_url, telemetry)
    with pytest.raises(ValueError, match="thumbs"):
        thumbprint.record_feedback(completion, thumbs=0)
    with pytest.raises(thumbprint.ConfigurationError, match="known: braintrust, cloudflare, opentelemetry"):
        thumbprint.record_feedback(LogRef(backend="other", id="x", trace_id=TRACE, span_id=SPAN), thumbs="up")
    thumbprint.configure(disabled=True)
    thumbprint.record_feedback(completion, thumbs="up")
    assert telemetry.events == []


# calls that no gateway knows


class Bare:
    """A host that is no gateway."""

    def __call__(self, request):
        message = {"role": "assistant", "content": "Ulm"}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        answer = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
        return httpx.Response(200, json=answer)

    def client(self):
        return httpx.Client(transport=httpx.MockTransport(self))


def test_without_any_gateway_a_call_is_known_by_its_span_where_that_is_asked_for(telemetry):
    thumbprint.configure(backends=[OpenTelemetry()])
    completion = ask("https://llm.example.com/v1", telemetry, http_client=Bare().client())
    receipt = thumbprint.record_feedback(completion, thumbs="up", expected="Ulm")
    [span] = telemetry.spans
    assert span["attributes"] == {}
    assert parents(telemetry.events) == [(span["trace_id"], span["span_id"])]
    [outcome] = receipt.wait(0).outcomes
    assert (outcome.ref.backend, outcome.ref.id, outcome.ref.operation) == ("opentelemetry", span["span_id"], "chat")
    assert (outcome.status, outcome.attempts, outcome.unsupported) == ("delivered", 1, ("expected",))
    assert thumbprint.flush(0) == thumbprint.FlushResult(delivered=1)
    [found] = receipt.verify()
    assert (found.status, found.reason) == ("unknown", "opentelemetry cannot be asked what it holds")


def test_by_default_or_outside_any_span_such_a_call_is_not_captured(telemetry):
    completion = ask("https://llm.example.com/v1", telemetry, http_client=Bare().client())
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(completion, thumbs="up")
    thumbprint.configure(backends=[OpenTelemetry()])
    client = thumbprint.wrap(sdk.openai_client("https://llm.example.com/v1", http_client=Bare().client()))
    completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(completion, thumbs="up")


def test_a_call_that_a_gateway_knows_is_known_by_that_alone(emulator, telemetry):
    thumbprint.configure(backends=[Cloudflare(), OpenTelemetry()])
    receipt = thumbprint.record_feedback(ask(emulator.cloudflare_openai_url, telemetry), thumbs="up").wait(10)
    assert [(outcome.ref.backend, outcome.status) for outcome in receipt.outcomes] == [("cloudflare", "delivered")]
    assert len(telemetry.events) == 1


def test_a_span_that_is_not_sampled_is_told_nothing_and_its_call_is_known_by_it_all_the_same(telemetry):
    thumbprint.configure(backends=[OpenTelemetry()])
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("tests")
    client = thumbprint.wrap(sdk.openai_client("https://llm.example.com/v1", http_client=Bare().client()))
    with unsampled.start_as_current_span("call") as span:
        completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert thumbprint.record_feedback(completion, thumbs="up").status == "delivered"
    assert parents(telemetry.events)[0][0] == trace.format_trace_id(span.get_span_context().trace_id)


def test_feedback_for_a_span_that_is_known_from_elsewhere_needs_no_call(telemetry):
    ref = LogRef(backend="opentelemetry", id=SPAN, trace_id=TRACE)
    assert thumbprint.record_feedback(ref, score=0.5).status == "delivered"
    assert parents(telemetry.events) == [(TRACE, SPAN)]
    with pytest.raises(thumbprint.UnknownTargetError, match="names no span"):
        thumbprint.record_feedback(LogRef(backend="opentelemetry", id=SPAN), score=0.5)


def test_a_vote_by_token_is_an_event_on_the_span_of_the_call(emulator, telemetry):
    thumbprint.configure(secret="not to be guessed at all")
    token = thumbprint.token_for(ask(emulator.cloudflare_openai_url, telemetry))
    own = thumbprint.token_for(LogRef(backend="opentelemetry", id=SPAN, trace_id=TRACE))
    assert thumbprint.record_feedback(token, thumbs="up").wait(10).status == "delivered"
    assert thumbprint.record_feedback(own, thumbs="up").wait(10).status == "delivered"
    [span] = telemetry.spans
    assert parents(telemetry.events) == [(span["trace_id"], span["span_id"]), (TRACE, SPAN)]


def test_feedback_of_which_no_event_tells_is_dropped_with_the_reason(telemetry):
    ref = LogRef(backend="opentelemetry", id=SPAN, trace_id=TRACE)
    [outcome] = thumbprint.record_feedback(ref, thumbs=None, tags=["a"]).outcomes
    assert (outcome.status, outcome.reason) == ("dropped", "opentelemetry can hold none of thumbs, tags")
    assert telemetry.events == []


def test_where_no_logger_provider_is_set_up_what_only_events_tell_is_dropped_and_counted():
    before = _metrics.counts("dropped").get("opentelemetry", 0)
    [outcome] = thumbprint.record_feedback(LogRef(backend="opentelemetry", id=SPAN, trace_id=TRACE), thumbs=1).outcomes
    assert (outcome.status, outcome.attempts) == ("dropped", 0)
    assert outcome.reason == "this process has set up no OpenTelemetry logger provider"
    assert _metrics.counts("dropped")["opentelemetry"] == before + 1
    assert thumbprint.flush(0) == thumbprint.FlushResult(dropped=1)


def test_a_span_that_fails_costs_neither_the_call_nor_its_capture(emulator, telemetry, caplog):
    class Failing(trace.NonRecordingSpan):
        def is_recording(self):
            return True

        def set_attributes(self, attributes):
            raise RuntimeError("broken")

    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with trace.use_span(Failing(trace.SpanContext(1, 2, is_remote=False))):
        completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert thumbprint.record_feedback(completion, thumbs="up").wait(10).status == "delivered"
    assert "a span could not be captured" in caplog.text


# across processes


def environ(emulator, tmp_path, **settings):
    variables = {"THUMBPRINT_STORE": f"sqlite:///{tmp_path}/thumbprint.db", "PYTHONPATH": str(TESTS)}
    return {**os.environ, **emulator.environ(), **variables, **settings}


def run(role, *arguments, env):
    command = [sys.executable, str(TESTS / "traced.py"), role, *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_vote_in_another_process_is_an_event_on_the_span_of_the_call(emulator, tmp_path):
    env = environ(emulator, tmp_path)
    [call] = run("answer", "message-42", env=env)
    vote = run("vote", "message-42", env=env)

    [log] = emulator.cloudflare_logs()
    assert call["attributes"] == {"thumbprint.cloudflare.log_id": log["id"]}
    assert (vote["status"], log["feedback"]) == ("delivered", 1)
    assert parents(vote["events"]) == [(call["trace_id"], call["span_id"])]
    assert vote["trace_id"] != call["trace_id"]
    assert run("vote", call["trace_id"], env=env)["events"] == vote["events"]


@contextlib.contextmanager
def service(env):
    """Run a service that makes calls for others; yield its URL."""
    command = [sys.executable, str(TESTS / "traced.py"), "serve"]
    with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            process.kill()


def test_a_call_that_another_service_makes_reports_under_the_scope_that_asked_for_it(emulator, tmp_path):
    env = environ(emulator, tmp_path)
    with service(env | {"THUMBPRINT_BAGGAGE": "accept"}) as url:
        told = run("delegate", url, "20", env=env | {"THUMBPRINT_BAGGAGE": "send"})

    [log] = emulator.cloudflare_logs()
    assert told["own_calls"] == 0
    assert (told["status"], log["feedback"]) == ("delivered", -1)
    assert (told["ref"]["id"], told["ref"]["trace_id"]) == (log["id"], told["trace_id"])


def test_a_service_that_does_not_accept_baggage_keeps_its_calls_to_itself(emulator, tmp_path):
    env = environ(emulator, tmp_path) | {"THUMBPRINT_BAGGAGE": "send"}
    with service(env) as url:
        told = run("delegate", url, "1", env=env)
    assert (told["status"], told["ref"]["backend"]) == ("queued", "unresolved")
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [None]


def test_the_example_of_tracing_runs(emulator):
    example = TESTS.parent / "examples" / "otel_tracing.py"
    assert len(example.read_text().splitlines()) < 60
    env = {**os.environ, **emulator.environ()}
    command = [sys.executable, str(example)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    [log] = emulator.cloudflare_logs()
    assert log["feedback"] == 1
    assert f"log {log['id']}" in done.stdout
    assert "the vote is on the span of the call: True" in done.stdout


def test_a_processor_that_fails_costs_no_feedback(emulator, telemetry, caplog):
    class Failing:
        def on_emit(self, record):
            raise RuntimeError("broken")

        def shutdown(self):
            pass

    telemetry.logger_provider.add_log_record_processor(Failing())
    completion = ask(emulator.cloudflare_openai_url, telemetry)
    with caplog.at_level(logging.WARNING, "thumbprint"):
        assert thumbprint.record_feedback(completion, thumbs="up").wait(10).status == "delivered"
    assert "feedback could not be told to OpenTelemetry" in caplog.text
