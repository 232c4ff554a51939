"""What thumbprint measures of itself, as OpenTelemetry's SDK reads it."""

from __future__ import annotations

import os
import time

import httpx
import openai
import pytest
import sdk
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import thumbprint
from thumbprint import LogRef, _metrics
from thumbprint.stores import MemoryStore, SqliteStore


@pytest.fixture(scope="session")
def reader():
    """Be the process's provider from now on: it can be set only once."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return reader


@pytest.fixture(autouse=True)
def no_outbox_of_other_tests():
    _metrics._outboxes.clear()
    _metrics._seen.clear()


def points(reader, name):
    """Return backend → data point of the instrument."""
    data = reader.get_metrics_data()
    return {
        point.attributes[_metrics.BACKEND]: point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


@pytest.fixture
def counted(reader):
    """Return how often something has happened since the test began, by backend."""
    before = {event: dict(points(reader, f"thumbprint.{event}")) for event in _metrics.COUNTERS}

    def counted(event):
        now = points(reader, f"thumbprint.{event}")
        changes = {
            name: point.value - (before[event][name].value if name in before[event] else 0)
            for name, point in now.items()
        }
        return {name: change for name, change in changes.items() if change}

    return counted


def vote(row="row", backend="braintrust", **said):
    ref = LogRef(backend=backend, id=row, project_name="emulator" if backend == "braintrust" else None)
    return thumbprint.record_feedback(ref, **(said or {"thumbs": "up"}))


def test_calls_are_counted_by_the_service_that_keeps_their_log_entry(emulator, counted):
    client = thumbprint.wrap(openai.OpenAI(base_url=emulator.cloudflare_openai_url, api_key="any"))
    for _ in range(3):
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())

    assert counted("captured") == {"cloudflare": 3}


def test_feedback_is_counted_when_it_is_taken_and_when_it_has_arrived(emulator, counted, reader):
    latencies = points(reader, _metrics.LATENCY).get("braintrust")
    for number in range(3):
        vote(f"row-{number}")
    thumbprint.flush(20)

    assert counted("queued") == {"braintrust": 3}
    assert counted("delivered") == {"braintrust": 3}
    latency = points(reader, _metrics.LATENCY)["braintrust"]
    assert latency.count - (latencies.count if latencies else 0) == 3
    assert 0 < latency.max < 60


def test_attempts_that_will_be_repeated_are_counted(emulator, counted):
    emulator.fail("/v1/project_logs", status=503, times=2)
    vote().wait(20)

    assert counted("retried") == {"braintrust": 2}


def test_dead_letters_are_counted(emulator, counted, reader):
    emulator.fail("/v1/project_logs", status=400)
    vote().wait(20)

    assert counted("failed") == {"braintrust": 1}
    assert points(reader, _metrics.DEAD)["braintrust"].value == 1


def test_what_is_dropped_is_counted(emulator, counted):
    thumbprint.configure(store=MemoryStore(max_items=0))
    vote()  # the outbox is full
    vote("01J", "cloudflare", metadata={"nested": {}})  # cloudflare cannot hold it
    emulator.fail("/v1/project_logs", hang=True)
    own = thumbprint.Thumbprint()
    own.record_feedback(LogRef(backend="braintrust", id="r", project_name="emulator"), thumbs="up")
    own.close(0)  # too early

    assert counted("dropped") == {"braintrust": 2, "cloudflare": 1}


def test_what_is_lost_with_the_data_of_a_store_is_counted(emulator, counted, tmp_path):
    thumbprint.configure(store=f"sqlite:///{tmp_path}/outbox.db", delivery="none")
    receipt = vote()
    for file in tmp_path.glob("outbox.db*"):
        file.unlink()

    assert receipt.wait(20).status == "dropped"
    assert counted("dropped") == {"braintrust": 1}


def test_the_outbox_is_measured_when_somebody_reads(emulator, reader, tmp_path):
    thumbprint.configure(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")
    vote("a")
    vote("b")
    other = thumbprint.Thumbprint(delivery="none", store=f"sqlite:///{tmp_path}/other.db")
    other.record_feedback(LogRef(backend="braintrust", id="c", project_name="emulator"), thumbs="up")

    assert points(reader, _metrics.DEPTH)["braintrust"].value == 3
    assert 0 < points(reader, _metrics.OLDEST_AGE)["braintrust"].value < 60
    other.close(0)
    assert points(reader, _metrics.DEPTH)["braintrust"].value == 2


def test_an_outbox_that_was_emptied_is_measured_as_empty(emulator, reader, tmp_path):
    own = thumbprint.configure(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")
    vote()
    assert points(reader, _metrics.DEPTH)["braintrust"].value == 1
    own._settings.store.purge(dead=False)

    assert points(reader, _metrics.DEPTH)["braintrust"].value == 0
    assert points(reader, _metrics.OLDEST_AGE)["braintrust"].value == 0


def test_an_outbox_that_is_opened_twice_is_measured_once(emulator, reader, tmp_path):
    thumbprint.configure(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")
    again = thumbprint.Thumbprint(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")
    vote()

    assert points(reader, _metrics.DEPTH)["braintrust"].value == 1
    again.close(0)


def test_an_outbox_that_cannot_be_read_is_left_out(emulator, reader, monkeypatch, tmp_path):
    thumbprint.configure(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")
    vote()

    def fail(store):
        raise thumbprint.StoreError("away")

    monkeypatch.setattr(SqliteStore, "depths", fail)
    assert points(reader, _metrics.DEPTH) == {}


def test_an_empty_outbox_with_dead_letters_has_no_oldest_item(emulator, reader):
    emulator.fail("/v1/project_logs", status=400)
    vote().wait(20)

    assert points(reader, _metrics.OLDEST_AGE)["braintrust"].value == 0


def test_a_clock_that_was_set_back_makes_no_negative_times(reader):
    before = points(reader, _metrics.LATENCY).get("clock")
    _metrics.delivered("clock", [time.time() + 1000])

    assert before is None
    assert points(reader, _metrics.LATENCY)["clock"].sum == 0


def test_nothing_delivered_is_nothing_counted(counted):
    _metrics.delivered("nothing", [])

    assert counted("delivered") == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_process_counts_from_zero():
    _metrics.count("captured", "forked", 5)
    pid = os.fork()
    if not pid:
        os._exit(_metrics._counts["captured", "forked"])

    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_call_is_counted_once_by_the_process_that_made_it(emulator, counted):
    client = thumbprint.wrap(openai.OpenAI(base_url=emulator.cloudflare_openai_url, api_key="any"))
    client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    pid = os.fork()
    if not pid:
        os._exit(_metrics.counts("captured").get("cloudflare", 0))

    assert os.waitpid(pid, 0)[1] == 0
    assert counted("captured") == {"cloudflare": 1}


def test_a_call_that_failed_is_counted_once_by_whichever_hook_saw_it(emulator, counted):
    emulator.fail("/v1/.*/chat/completions", status=400, headers={"cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"})
    url = emulator.cloudflare_openai_url
    with httpx.Client() as http_client:
        inner = thumbprint.wrap(http_client)
        client = thumbprint.wrap(openai.OpenAI(base_url=url, api_key="any", http_client=inner))
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="gpt-5", messages=sdk.asked())

    assert counted("captured") == {"cloudflare": 1}
