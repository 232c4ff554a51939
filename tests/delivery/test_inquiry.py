"""Asking services, over HTTP against the emulator, and about backends that answer in their own ways."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import sdk
from opentelemetry import trace

from thumbprint import Braintrust, Cloudflare, LogRef, Thumbprint, Verification
from thumbprint._feedback import feedback_from
from thumbprint._model import Finding, Pace
from thumbprint.backends import HttpRequest
from thumbprint.delivery import diagnose
from thumbprint.delivery._inquiry import shares, verify
from thumbprint.delivery._pace import Pacer
from thumbprint.emulator import Emulator
from thumbprint.stores import MemoryStore

KEY = "sk-proj-0123456789abcdefghij"
REF = LogRef(backend="own", id="x")
UP = feedback_from(thumbs="up")
LONG = 10.0  # seconds


class Own:
    """A backend of the test's own, whose two plans are the same function."""

    name = "own"

    def __init__(self, plan):
        self._plan = plan

    def confirm(self, ref, feedback):
        return self._plan()

    def diagnose(self):
        return self._plan()


def pacer(pace=None, store=None):
    return Pacer(store=store or MemoryStore(), bucket="any", pace=pace)


def verified(backend, pacing=None, *, ref=REF, feedback=UP, timeout=LONG):
    return verify(ref, feedback, backend, pacing or pacer(), ends_at=time.monotonic() + timeout)


def requests_to(url):
    return HttpRequest(method="GET", url=url, headers={"authorization": f"Bearer {KEY}"})


def test_a_backend_that_brings_no_plans_is_left_in_peace():
    bare = SimpleNamespace(name="bare")
    assert diagnose(bare) == [Finding(check="bare", status="ok", found="it brings no check of its own")]
    found = verified(bare)
    assert (found.status, found.reason) == ("unknown", "bare cannot be asked what it holds")


def test_a_fault_in_a_backend_is_told_and_not_raised():
    def plan():
        raise ZeroDivisionError(f"with {KEY}")
        yield

    def later():
        yield requests_to("http://127.0.0.1:1/")

    assert verified(Own(plan)).reason.startswith("ZeroDivisionError while its answer was read")
    [finding] = diagnose(Own(plan))
    assert (finding.check, finding.status) == ("own service", "problem")
    assert verified(Own(later)).reason.startswith("it cannot be reached: ConnectError")


def test_no_secret_that_a_service_repeats_is_told(emulator):
    emulator.fail("/any", status=200, body=f"I know {KEY} well, or {KEY.upper()}", times=None)

    def plan():
        answer = yield requests_to(f"{emulator.url}/any")
        words = answer.content.decode()
        assert KEY in words
        return Verification(ref=REF, status="unknown", reason=words)

    def checks():
        answer = yield requests_to(f"{emulator.url}/any")
        words = answer.content.decode()
        return [Finding(check="c", status="ok", found=words, advice=words)]

    def broken():
        answer = yield requests_to(f"{emulator.url}/any")
        raise ValueError(answer.content.decode())

    told = "I know *** well, or ***"
    assert verified(Own(plan)).reason == told
    [finding] = diagnose(Own(checks))
    assert (finding.found, finding.advice) == (told, told)
    assert verified(Own(broken)).reason.endswith(told)


def test_a_question_is_asked_outside_of_the_application_s_traces(emulator):
    seen = []

    def plan():
        seen.append(trace.get_current_span())
        yield requests_to(emulator.url)
        return Verification(ref=REF, status="confirmed")

    span = trace.NonRecordingSpan(trace.SpanContext(1, 1, is_remote=False))
    with trace.use_span(span):
        assert verified(Own(plan)).status == "confirmed"
    assert seen == [trace.INVALID_SPAN]


def test_a_question_keeps_to_the_pace_and_heeds_what_the_service_asks(emulator):
    emulator.fail("/any", status=200, headers={"ratelimit": '"default";r=0;t=100'}, times=None)

    def plan():
        yield requests_to(f"{emulator.url}/any")
        return Verification(ref=REF, status="confirmed")

    pacing = pacer(Pace(rate=1.0, burst=1.0))
    assert verified(Own(plan), pacing).status == "confirmed"
    second = verified(Own(plan), pacing, timeout=1)
    assert second.status == "unknown"
    assert second.reason.startswith("no request may be made for ")
    assert len(emulator.requests()) == 1


def test_a_question_waits_for_its_turn_where_that_comes_in_time(emulator):
    store = MemoryStore()
    store.hold("any", until=time.time() + 0.8)  # longer than a sender would wait

    def plan():
        yield requests_to(emulator.url)
        return Verification(ref=REF, status="confirmed")

    assert verified(Own(plan), pacer(Pace(rate=100.0, burst=5.0), store)).status == "confirmed"


def test_a_service_that_hangs_costs_no_more_than_the_timeout(emulator):
    emulator.fail("/", hang=True, times=None)
    began = time.monotonic()
    ref = LogRef(backend="braintrust", id="x")
    backend = Braintrust(api_key=KEY, api_url=emulator.url, parent="project_name:p")
    assert verified(backend, ref=ref, timeout=0.3).status == "unknown"
    assert diagnose(backend, timeout=0.3)[-1].status == "problem"
    assert time.monotonic() - began < LONG
    assert verified(backend, ref=ref, timeout=0).reason == "there was no answer in time"


def test_several_questions_share_the_time():
    began = time.monotonic()
    [(first, first_ends), (second, second_ends)] = shares(["a", "b"], 10)
    assert (first, second) == ("a", "b")
    assert first_ends - began == pytest.approx(5, abs=1)
    assert second_ends - began == pytest.approx(10, abs=1)
    assert shares([], 10) == []


def test_both_services_are_diagnosed_with_requests_that_only_read(emulator):
    environ = emulator.environ()
    cloudflare = Cloudflare(
        api_token=environ["CLOUDFLARE_API_TOKEN"],
        account_id=environ["CLOUDFLARE_ACCOUNT_ID"],
        gateway_id=environ["CLOUDFLARE_GATEWAY_ID"],
        base_url=environ["CLOUDFLARE_BASE_URL"],
    )
    for parent in (None, "project_name:emulator", "project_id:e0000000-0000-4000-8000-000000000001"):
        braintrust = Braintrust(api_key=environ["BRAINTRUST_API_KEY"], api_url=emulator.url, parent=parent)
        assert diagnose(braintrust)[-1].status == "ok"
    experiment = "experiment_id:e0000000-0000-4000-8000-000000000002"
    braintrust = Braintrust(api_key=environ["BRAINTRUST_API_KEY"], api_url=emulator.url, parent=experiment)
    assert {finding.status for finding in [*diagnose(cloudflare), *diagnose(braintrust)]} == {"ok"}
    assert {request.method for request in emulator.requests()} == {"GET"}


@pytest.mark.parametrize("feedback_shown", [True, False])
def test_a_cloudflare_log_is_confirmed_whether_or_not_the_service_shows_its_feedback(feedback_shown):
    with Emulator(feedback_shown=feedback_shown) as emulator:
        environ = emulator.environ()
        backend = Cloudflare(api_token=environ["CLOUDFLARE_API_TOKEN"], base_url=environ["CLOUDFLARE_BASE_URL"])
        own = Thumbprint(backends=[backend], store="memory://", delivery="background")
        client = own.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
        completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        receipt = own.record_feedback(completion, thumbs="down", score=0.57, comment="c", tags=["a"])
        assert receipt.wait(LONG).status == "delivered"
        [found] = receipt.verify()
        assert found.status == "confirmed"
        hidden = () if feedback_shown else ("score",)
        assert set(found.fields) == {"thumbs", "score", "comment", "tags"} - set(hidden)
        own.record_feedback(completion, thumbs="up").wait(LONG)
        [changed] = receipt.verify()
        assert changed.status == "missing"
        assert changed.reason.startswith('thumbs is "up"')
        own.record_feedback(completion, thumbs=None).wait(LONG)
        assert receipt.verify()[0].reason.startswith('thumbs is "no vote"')
        own.close(0)
