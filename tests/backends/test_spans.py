"""Spans of Braintrust's own SDK as targets, and calls that are made in one, with the SDK logging to the emulator."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import braintrust
import httpx
import openai
import pytest
import sdk
from braintrust import logger as braintrust_logger

import thumbprint
from thumbprint import LogRef
from thumbprint.delivery import _rows

PROJECT = "0b0e6a1c-1111-4222-8333-444455556666"


@pytest.fixture
def state(emulator, monkeypatch):
    """Give the SDK a state of its own; no default parent lets a gateway make rows beside the SDK's."""
    monkeypatch.delenv("BRAINTRUST_PARENT")
    fresh = braintrust_logger.BraintrustState()
    monkeypatch.setattr(braintrust_logger, "_state", fresh)
    monkeypatch.setattr(braintrust_logger, "BACKGROUND_LOGGER_BASE_SLEEP_TIME_S", 0.01)
    yield fresh
    emulator.clear()
    braintrust.flush()
    fresh.global_bg_logger().sync_flush = False  # or its thread would look again and again, for ever


@pytest.fixture
def logger(state):
    """Return the SDK's logger, which logs in and makes its project when it first writes."""
    return braintrust.init_logger(project="mine")


@pytest.fixture
def unhurried(monkeypatch, state):
    """Let the SDK write nothing before it is told to."""
    monkeypatch.setenv("BRAINTRUST_SYNC_FLUSH", "true")


@pytest.fixture
def client(emulator, state):
    """Return a captured client of a gateway that makes no rows."""
    return client_of(emulator)


def client_of(emulator, make=sdk.openai_client):
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    return thumbprint.wrap(make(emulator.braintrust_gateway_url, api_key=key))


def ask(client, text="Where is Ulm?"):
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked(text))


def landed(receipt):
    """Wait for feedback and for the SDK."""
    assert receipt.wait(10).status == "delivered"
    braintrust.flush()


def rows(emulator):
    """Return what each row has of the SDK's and of ours, by its id."""
    found = emulator.braintrust_rows()
    assert not any(row["stray"] for row in found)
    return {row["id"]: (row["input"], row["output"], row["scores"]) for row in found}


TARGETS = {
    "the span": lambda span, scope, answer: span,
    "what it exported": lambda span, scope, answer: span.export(),
    "the answer": lambda span, scope, answer: answer,
    "the scope": lambda span, scope, answer: scope,
    "its ref": lambda span, scope, answer: scope.last,
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("when", ["in the span", "when it has ended", "when it is written"])
def test_feedback_lands_on_the_row_that_the_sdk_writes(emulator, logger, client, target, when):
    with logger.start_span(name="answer", input="q") as span, thumbprint.scope() as scope:
        answer = ask(client)
        span.log(output="a", scores={"mine": 0.5})
        if when == "in the span":
            landed(thumbprint.record_feedback(target(span, scope, answer), thumbs="up"))
    if when == "when it is written":
        braintrust.flush()
    if when != "in the span":
        landed(thumbprint.record_feedback(target(span, scope, answer), thumbs="up"))
    assert rows(emulator) == {span.id: ("q", "a", {"mine": 0.5, "thumbs": 1})}
    assert emulator.braintrust_rows()[0]["project_name"] == "mine"


@pytest.mark.parametrize("delivery", ["background", "inline"])
def test_feedback_waits_for_the_row_that_the_sdk_has_yet_to_write(emulator, unhurried, logger, client, delivery):
    thumbprint.configure(delivery=delivery)
    span = logger.start_span(name="answer", input="q")
    assert emulator.braintrust_rows() == []
    assert thumbprint.record_feedback(span, thumbs="down", comment="no").wait(10).status == "delivered"
    span.log(output="a")
    span.end()
    braintrust.flush()
    assert rows(emulator) == {span.id: ("q", "a", {"thumbs": 0})}
    assert [comment["text"] for comment in emulator.braintrust_rows()[0]["comments"]] == ["no"]


def test_so_does_feedback_that_is_awaited(emulator, unhurried, logger):
    async def vote():
        return await thumbprint.record_feedback(span, thumbs="up")

    thumbprint.configure(delivery="inline")
    span = logger.start_span(name="answer", input="q")
    assert asyncio.run(vote()).status == "delivered"
    assert rows(emulator) == {span.id: ("q", None, {"thumbs": 1})}


def test_a_traced_function_is_the_span_of_its_calls(emulator, logger, client):
    @braintrust.traced
    def answer(question):
        completion = ask(client, question)
        thumbprint.record_feedback(completion, score=0.8)
        return completion.choices[0].message.content

    with thumbprint.scope() as scope:
        said = answer("Where is Ulm?")
    thumbprint.flush()
    braintrust.flush()
    assert rows(emulator) == {scope.last.id: ({"question": "Where is Ulm?"}, said, {"score": 0.8})}


def test_each_task_has_the_span_of_its_own_call(emulator, logger):
    @braintrust.traced
    async def answer(number, client):
        completion = await ask(client, str(number))
        thumbprint.record_feedback(completion, score=number / 10)
        return number

    async def answers():
        async with client_of(emulator, sdk.async_openai_client) as client:
            await asyncio.gather(*(answer(number, client) for number in range(8)))

    asyncio.run(answers())
    thumbprint.flush()
    braintrust.flush()
    assert len(rows(emulator)) == 8
    for asked, said, scores in rows(emulator).values():
        assert (asked["number"], scores) == (said, {"score": said / 10})


def test_each_thread_has_the_span_of_its_own_call(emulator, logger, client):
    def answer(number):
        with logger.start_span(name="answer", input=number) as span:
            landed(thumbprint.record_feedback(ask(client, str(number)), score=number / 10))
            span.log(output=number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(answer, range(8)))
    braintrust.flush()
    assert sorted(rows(emulator).values()) == [(number, number, {"score": number / 10}) for number in range(8)]


def test_a_stream_that_outlives_its_span_is_a_call_of_it(emulator, logger, client):
    with logger.start_span(name="answer", input="q") as span:
        stream = client.chat.completions.create(model="gpt-5", messages=sdk.asked(), stream=True)
    list(stream)
    landed(thumbprint.record_feedback(stream, thumbs="up"))
    assert rows(emulator) == {span.id: ("q", None, {"thumbs": 1})}


def test_the_code_of_the_readme_runs(emulator, state):
    readme = (Path(__file__).parent.parent.parent / "README.md").read_text()
    [code] = re.findall(r"^```python spans.py\n(.*?)^```$", readme, re.DOTALL | re.MULTILINE)
    names = {}
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - our own README
    sdk.closing(names["client"])
    thumbprint.flush()
    assert rows(emulator) == {names["span"].id: (None, None, {"thumbs": 1})}
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [1]


def test_the_innermost_span_is_meant(emulator, logger, client):
    with logger.start_span(name="outer"), logger.start_span(name="inner") as inner:
        answer = ask(client)
    landed(thumbprint.record_feedback(answer, thumbs="up"))
    assert [row["id"] for row in emulator.braintrust_rows() if row["scores"]] == [inner.id]


def test_a_client_that_the_sdk_wraps_as_well_has_the_span_around_the_one_that_the_sdk_makes(emulator, logger, client):
    wrapped = braintrust.wrap_openai(client)
    with logger.start_span(name="answer") as span:
        answer = ask(wrapped)
    landed(thumbprint.record_feedback(answer, thumbs="up"))
    around, made = emulator.braintrust_rows()
    assert (around["id"], around["scores"]) == (span.id, {"thumbs": 1})
    assert (made["span_parents"], made["input"], made["scores"]) == ([span.span_id], sdk.asked(), {})


def test_spans_of_two_projects_are_told_apart(emulator, logger, client):
    other = braintrust.init_logger(project="other", set_current=False)
    for each, thumbs in ((logger, "up"), (other, "down")):
        with each.start_span(name="answer", input=thumbs):
            landed(thumbprint.record_feedback(ask(client), thumbs=thumbs))
    found = {row["project_name"]: (row["input"], row["scores"]) for row in emulator.braintrust_rows()}
    assert found == {"mine": ("up", {"thumbs": 1}), "other": ("down", {"thumbs": 0})}


def test_a_span_of_an_experiment_is_a_target_once_the_sdk_knows_the_experiment(
    emulator, unhurried, state, client, caplog
):
    experiment = braintrust.init(project="mine", experiment="x")
    with thumbprint.scope() as scope, experiment.start_span(name="answer", input="q") as span:
        ask(client)
        with pytest.raises(thumbprint.UnknownTargetError, match="flush it first"):
            thumbprint.record_feedback(span, thumbs="up")
        assert scope.refs == ()
        assert "flush it first" in caplog.text
        experiment.flush()
        landed(thumbprint.record_feedback(ask(client), thumbs="up"))
    landed(thumbprint.record_feedback(span, score=0.5))
    assert rows(emulator) == {span.id: ("q", None, {"thumbs": 1, "score": 0.5})}
    assert scope.last.experiment_id == experiment.id


def test_a_call_in_a_span_has_the_log_of_its_gateway_too(emulator, logger):
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope:
        ask(client)
        with logger.start_span(name="answer") as span:
            ask(client)
    assert [ref.backend for ref in scope.refs] == ["cloudflare", "cloudflare", "braintrust"]
    assert (scope.refs[-1].id, scope.refs[-1].operation) == (span.id, "chat")
    landed(thumbprint.record_feedback(scope, thumbs="up"))
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [None, 1]
    assert rows(emulator)[span.id][2] == {"thumbs": 1}


def test_a_gateways_own_row_comes_before_the_row_of_the_span(emulator, logger, client):
    with thumbprint.scope() as scope, logger.start_span(name="answer") as span:
        client.chat.completions.create(
            model="gpt-5", messages=sdk.asked(), extra_headers={"x-bt-parent": "project_name:emulator"}
        )
    [ref] = scope.refs
    assert ref.id != span.id


def test_without_a_key_of_braintrusts_a_span_is_not_captured(emulator, logger, monkeypatch):
    monkeypatch.delenv("BRAINTRUST_API_KEY")
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope, logger.start_span(name="answer"):
        ask(client)
    assert [ref.backend for ref in scope.refs] == ["cloudflare"]
    monkeypatch.setenv("BRAINTRUST_API_KEY", emulator.environ()["BRAINTRUST_API_KEY"])


def test_an_sdk_that_is_half_imported_is_not_in_use(emulator, monkeypatch):
    monkeypatch.setitem(sys.modules, "braintrust", types.ModuleType("braintrust"))
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope:
        receipt = thumbprint.record_feedback(ask(client), thumbs="up")
    assert [ref.backend for ref in scope.refs] == ["cloudflare"]
    assert receipt.wait(10).status == "delivered"


APPLICATION = """
import sys, openai, thumbprint
client = thumbprint.wrap(openai.OpenAI())
answer = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "q"}])
assert thumbprint.record_feedback(answer, thumbs="up").wait(10).status == "delivered"
try:
    thumbprint.record_feedback(object(), thumbs="up")
except thumbprint.UnknownTargetError:
    assert "braintrust" not in sys.modules
"""


# The SDK looks up its project in a thread. One that has yet to do so when its process ends hangs from Python 3.12 on,
# where no thread starts any more by then, with feedback or without.
SHORT_LIVED = """
import braintrust, thumbprint
logger = braintrust.init_logger(project="mine")
assert logger.id
with logger.start_span(name="answer", input="q") as span:
    thumbprint.record_feedback(span, thumbs="up")
"""


def test_a_process_that_ends_at_once_leaves_the_row_and_the_vote(emulator):
    subprocess.run([sys.executable, "-c", SHORT_LIVED], check=True, timeout=60)
    assert list(rows(emulator).values()) == [("q", None, {"thumbs": 1})]


def test_the_sdk_is_never_imported_where_the_application_does_not(emulator):
    subprocess.run([sys.executable, "-c", APPLICATION], check=True, timeout=60)


def test_feedback_goes_out_though_the_sdk_cannot_write(emulator, unhurried, logger, caplog):
    emulator.fail("/logs3", status=500, times=None)
    span = logger.start_span(name="answer")
    assert thumbprint.record_feedback(span.export(), thumbs="up").wait(10).status == "delivered"
    assert "the SDK of braintrust could not write its rows: ExceptionGroup" in caplog.text


def test_feedback_does_not_wait_for_long_for_an_sdk_that_hangs(emulator, logger, monkeypatch, caplog):
    monkeypatch.setattr(_rows, "PATIENCE", 0.05)
    monkeypatch.setattr(_rows, "_overdue", {})
    braintrust.login()
    span = logger.start_span(name="first")
    braintrust.flush()
    hanging = emulator.fail("/logs3", hang=True)
    logger.start_span(name="second")
    for _ in range(2):
        assert thumbprint.record_feedback(span, thumbs="up").wait(10).status == "delivered"
    assert hanging.hits == 1
    assert [record.levelno for record in caplog.records if "takes long" in record.message] == [logging.WARNING]
    emulator.stop()
    emulator.start()


def test_where_no_thread_can_be_started_the_rows_are_written_in_this_one(emulator, unhurried, logger, monkeypatch):
    def start(thread):
        if thread.name.endswith("-rows"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        started(thread)

    started = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", start)
    span = logger.start_span(name="answer", input="q")
    landed(thumbprint.record_feedback(span, thumbs="up"))
    assert rows(emulator) == {span.id: ("q", None, {"thumbs": 1})}


def test_a_call_in_a_span_is_left_to_that_where_calls_are_logged(emulator, unhurried, logger):
    thumbprint.configure(backends=[thumbprint.Braintrust(log_calls=True, parent="project_name:elsewhere")])
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    bare = thumbprint.wrap(sdk.closing(httpx.Client()))
    with thumbprint.scope() as scope, logger.start_span(name="answer") as span:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        asked = {"model": "gpt-5", "messages": sdk.asked()}
        bare.post(f"{emulator.cloudflare_openai_url}/chat/completions", json=asked)
        with pytest.raises(openai.APIConnectionError):
            client.with_options(base_url="http://127.0.0.1:9/v1").models.list()
        with pytest.raises(openai.APIConnectionError):
            client.with_options(base_url="http://127.0.0.1:9/v1").completions.create(model="any", prompt="any")
    thumbprint.flush(5)
    assert [ref.id for ref in scope.refs] == [span.id]
    assert emulator.braintrust_rows() == []


class Span:
    """Stands in for spans that take another service, or another release, to make; of the SDK by its module."""

    __module__ = "braintrust.logger"

    def __init__(self, kind=2, object_id=None, arguments=None):
        self.id = "row"
        self.parent_object_type = kind
        self.parent_object_id = type("Lazy", (), {"value": object_id})()
        self.parent_compute_object_metadata_args = arguments


@pytest.mark.parametrize(
    ("span", "home"),
    [
        (Span(object_id=PROJECT), {"project_id": PROJECT}),
        (Span(arguments={"project_id": PROJECT}), {"project_id": PROJECT}),
        (Span(arguments={"project_name": "p"}), {"project_name": "p"}),
        (Span(kind=1, object_id=PROJECT), {"experiment_id": PROJECT}),
    ],
)
def test_where_a_span_is_comes_from_what_the_sdk_knows_already(span, home):
    assert thumbprint.Braintrust(api_key="k").row_of(span) == LogRef(backend="braintrust", id="row", **home)


@pytest.mark.parametrize(
    ("span", "why"),
    [
        (Span(), "flush it first"),
        (Span(kind=3, object_id=PROJECT), "playground"),
        (braintrust_logger.NOOP_SPAN, "it has no row"),
    ],
)
def test_a_span_that_leads_nowhere_is_refused_with_the_reason(emulator, span, why):
    with pytest.raises(thumbprint.UnknownTargetError, match=why):
        thumbprint.record_feedback(span, thumbs="up")


def test_what_is_no_span_is_none(logger):
    for target in (logger, "AwIBAREREREiIkMzhERVVVVVVVU=", object()):
        with pytest.raises(thumbprint.UnknownTargetError, match=r"no captured call|is the id of no"):
            thumbprint.record_feedback(target, thumbs="up")
