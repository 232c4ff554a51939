"""Backends that bring along what carries their requests: delivered in the task that awaits the receipt."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sdk
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import thumbprint
from thumbprint import ConfigurationError, LogRef
from thumbprint.backends import Answer, Backend, HttpRequest, judge
from thumbprint.delivery import _aside

tracer = TracerProvider().get_tracer("tests")


class Pigeons(Backend):
    """A service that is reached by pigeon, each of which is awaited."""

    name = "pigeons"
    id_headers = ("x-ring",)

    def __init__(self, *statuses):
        self.statuses, self.carried = list(statuses), []

    def recognise(self, exchange):
        return None

    def deliver(self, batch):
        [(ref, feedback)] = batch
        return judge((yield HttpRequest(method="POST", url=ref.id, json={"thumbs": feedback.thumbs})))

    async def carry(self, request):
        await asyncio.sleep(0)
        span = trace.get_current_span().get_span_context().is_valid
        self.carried.append((request.url, request.json, threading.current_thread().name, span))
        return Answer(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
def pigeons():
    backend = Pigeons()
    thumbprint.configure(backends=[backend, thumbprint.Braintrust()], delivery="inline")
    return backend


def ref(name="ring-1"):
    return LogRef(backend="pigeons", id=name)


def test_it_is_delivered_when_awaited_in_the_same_thread_and_outside_of_traces(pigeons):
    async def vote():
        with tracer.start_as_current_span("request"):
            receipt = thumbprint.record_feedback(ref(), thumbs="up")
            assert (receipt.status, pigeons.carried) == ("queued", [])
            await receipt
            assert trace.get_current_span().get_span_context().is_valid
        return receipt.status

    assert asyncio.run(vote()) == "delivered"
    assert pigeons.carried == [("ring-1", {"thumbs": 1}, threading.main_thread().name, False)]


def test_who_cannot_await_leaves_it_queued_for_who_can(pigeons):
    first = thumbprint.record_feedback(ref(), thumbs="up")
    assert (first.status, first.wait().status, pigeons.carried) == ("queued", "queued", [])

    async def vote():
        return (await thumbprint.record_feedback(ref("ring-2"), thumbs="down")).status

    assert (asyncio.run(vote()), first.status) == ("delivered", "delivered")
    assert [url for url, *_ in pigeons.carried] == ["ring-1", "ring-2"]


def test_each_time_that_it_is_awaited_is_one_attempt(pigeons, monkeypatch):
    monkeypatch.setattr("thumbprint.delivery._retry.FIRST_DELAY", 1e-9)
    pigeons.statuses[:] = [503, 200]

    async def vote():
        receipt = thumbprint.record_feedback(ref(), thumbs="up")
        before = (await receipt).status, receipt.outcomes[0].reason
        return before, (await receipt).status, receipt.outcomes[0].attempts

    assert asyncio.run(vote()) == (("queued", "HTTP 503"), "delivered", 2)


def test_other_services_are_delivered_to_beside_it(emulator):
    backend = Pigeons()
    thumbprint.configure(backends=[backend, thumbprint.Cloudflare()], delivery="inline")
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())

    async def vote():
        receipt = await thumbprint.record_feedback([ref(), scope.last], thumbs="up")
        return [(outcome.ref.backend, outcome.status, outcome.attempts) for outcome in receipt.outcomes]

    assert asyncio.run(vote()) == [("pigeons", "delivered", 1), ("cloudflare", "delivered", 1)]


def test_where_no_thread_can_be_started_what_needs_one_stays_queued_and_the_rest_is_delivered(monkeypatch, caplog):
    backend = Pigeons()
    cloudflare = thumbprint.Cloudflare(api_token="t", account_id="a", gateway_id="g")
    thumbprint.configure(backends=[backend, cloudflare], delivery="inline")

    def refused(_):
        raise RuntimeError("can't start new thread")

    async def vote():
        receipt = thumbprint.record_feedback([LogRef(backend="cloudflare", id="1"), ref()], thumbs="up")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refused)
            _aside._threads.cache_clear()  # threads that are there already could do it
            await receipt
        return [(outcome.status, outcome.attempts) for outcome in receipt.outcomes]

    assert asyncio.run(vote()) == [("queued", 0), ("delivered", 1)]
    assert "feedback is queued, but its delivery cannot start yet: can't start new thread" in caplog.text


def test_threads_have_nothing_to_await_so_delivery_in_the_background_is_refused():
    for given in ({}, {"delivery": "background"}):
        with pytest.raises(ConfigurationError, match=r"requests to 'pigeons' are awaited: say inline"):
            thumbprint.configure(backends=[Pigeons()], **given)
    thumbprint.configure(backends=[Pigeons()], disabled=True)
