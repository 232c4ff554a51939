"""The worker against the real emulator with its faults, and against backends and transports of the tests' own."""

from __future__ import annotations

import itertools
import json
import logging
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
import pytest
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from thumbprint import LogRef
from thumbprint._feedback import feedback_from
from thumbprint._model import Feedback, FlushResult, Outcome, Pace
from thumbprint.backends import Answer, Braintrust, Cloudflare, HttpRequest, judge
from thumbprint.delivery import EXPIRE_AFTER, HttpxTransport, Tracker, Worker, _lane, _pace, _retry, _senders
from thumbprint.delivery._transport import TransportError
from thumbprint.emulator import Emulator
from thumbprint.errors import StoreError
from thumbprint.stores import Conclusion, MemoryStore

LONG = 10  # seconds that no test takes unless it fails
KEY = "sk-proj-0123456789abcdefghij"


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(_retry, "FIRST_DELAY", 0.01)


class House:
    """A store, a tracker and a worker with its backends: what delivers, without what captures."""

    def __init__(self, *backends, transport=None, store=None, expire_after=EXPIRE_AFTER):
        self.store = store or MemoryStore()
        self.tracker = Tracker()
        self.transport = transport
        self.backends = {backend.name: backend for backend in backends}
        self.worker = Worker(
            store=self.store,
            backends=self.backends,
            tracker=self.tracker,
            expire_after=expire_after,
            make_transport=lambda: transport or HttpxTransport(timeout=5),
        )

    def put(self, *refs, age=0.0, feedback=None, **said):
        """Queue feedback without waking the worker; return its receipt."""
        items = []
        receipt = self.tracker.open(refs, feedback or feedback_from(**said), None, items)
        assert self.store.put([item._replace(created_at=item.created_at - age) for item in items])
        return receipt

    def say(self, *refs, **said):
        receipt = self.put(*refs, **said)
        self.worker.wake()
        return receipt

    def close(self):
        self.worker.stop(LONG)


@pytest.fixture
def make_house():
    made = []

    def make(*backends, **parts):
        made.append(House(*backends, **parts))
        return made[-1]

    yield make
    for house in made:
        house.close()


def configured_anywhere(kind):
    return kind(api_token=KEY, account_id="a", gateway_id="g")


def configured(kind, emulator, **settings):
    variables = emulator.environ()
    known = {name: variables[each] for name, each in kind.environment.items() if each in variables}
    return kind(**known | settings)


@pytest.fixture
def house(emulator, make_house):
    return make_house(configured(Cloudflare, emulator), configured(Braintrust, emulator))


def called(emulator):
    """Make a call through the emulated Cloudflare gateway; return the ref of its log."""
    response = httpx.post(
        f"{emulator.cloudflare_openai_url}/chat/completions",
        json={"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": "Bearer any"},
    )
    return LogRef(backend="cloudflare", id=response.headers["cf-aig-log-id"], captured_at=time.time())


def row(id):  # noqa: A002 - as LogRef names it
    return LogRef(backend="braintrust", id=id, project_name="emulator")


def settled(receipt):
    [outcome] = receipt.wait(LONG).outcomes
    assert outcome.status != "queued", outcome
    return outcome


def emptied(house):
    """Wait until nothing is queued in the store; return whether that came."""
    ends_at = time.monotonic() + LONG
    while any(depth.queued for depth in house.store.depths()):
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.005)
    return True


def patches(emulator):
    """Return the PATCH requests that the emulator has seen: their body and status."""
    return [(json.loads(seen.body), seen.status) for seen in emulator.requests() if seen.method == "PATCH"]


# --- faults of the services and of the network


def test_feedback_is_delivered_at_the_first_attempt_where_nothing_goes_wrong(emulator, house):
    outcome = settled(house.say(called(emulator), thumbs="up"))

    assert (outcome.status, outcome.attempts, outcome.reason) == ("delivered", 1, None)
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_a_service_in_trouble_is_tried_again_until_it_takes_the_feedback(emulator, house, status):
    emulator.fail("/client/v4", method="PATCH", status=status, headers={"Retry-After": "0"}, times=2)

    outcome = settled(house.say(called(emulator), thumbs="down"))

    assert (outcome.status, outcome.attempts, outcome.reason) == ("delivered", 3, None)
    assert [seen for _, seen in patches(emulator)] == [status, status, 200]


def test_what_went_wrong_is_told_while_it_is_tried_again(emulator, house):
    emulator.fail("/client/v4", status=500, body="no luck today", times=None)
    receipt = house.say(called(emulator), thumbs="up")

    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts >= 2, LONG)
    assert (receipt.status, receipt.outcomes[0].reason) == ("queued", "HTTP 500: no luck today")


def test_nobody_comes_back_before_the_service_said(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=429, headers={"Retry-After": "0.4"})

    outcome = settled(house.say(called(emulator), thumbs="up"))

    first, second = (seen.at for seen in emulator.requests() if seen.method == "PATCH")
    assert (outcome.status, outcome.attempts) == ("delivered", 2)
    assert second - first >= 0.4


@pytest.mark.parametrize("moment", ["before", "after", "during"])
def test_a_dropped_connection_is_tried_again(emulator, house, moment):
    emulator.fail("/client/v4", method="PATCH", drop=moment)

    outcome = settled(house.say(called(emulator), thumbs="up"))

    assert (outcome.status, outcome.attempts) == ("delivered", 2)
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


def test_a_service_that_is_down_gets_the_feedback_when_it_is_back(emulator, house):
    ref = called(emulator)
    emulator.stop()
    receipt = house.say(ref, thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts >= 2, LONG)
    assert "ConnectError" in receipt.outcomes[0].reason

    emulator.start()

    assert settled(receipt).status == "delivered"
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


@pytest.fixture
def lagging():
    """Run an emulator whose logs stay out of sight until the test moves its clock, `lagging.clock`."""
    clock = [time.time()]
    with Emulator(ingestion_lag=60, clock=lambda: clock[0]) as running:
        running.clock = clock
        yield running


def test_a_log_that_is_still_on_its_way_gets_its_feedback_when_it_has_arrived(lagging, make_house):
    house = make_house(configured(Cloudflare, lagging))
    receipt = house.say(called(lagging), thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts >= 2, LONG)
    assert receipt.outcomes[0].reason.startswith("HTTP 404")

    lagging.clock[0] += 61

    assert settled(receipt).status == "delivered"
    assert lagging.cloudflare_logs()[0]["feedback"] == 1


def test_a_log_that_is_missing_after_the_ingestion_window_has_failed(house):
    old = LogRef(backend="cloudflare", id="gone", captured_at=time.time() - _retry.INGESTION_WINDOW - 1)

    outcome = settled(house.say(old, thumbs="up"))

    assert (outcome.status, outcome.attempts) == ("failed", 1)
    assert "404" in outcome.reason


def test_a_refusal_fails_with_the_words_of_the_service(emulator, house, caplog):
    emulator.fail("/client/v4", status=400, body={"success": False, "errors": [{"message": "score is too high"}]})
    ref = called(emulator)

    outcome = settled(house.say(ref, score=1))

    assert (outcome.status, outcome.attempts) == ("failed", 1)
    assert outcome.reason.startswith("HTTP 400: ")
    assert "score is too high" in outcome.reason
    [line] = [record.getMessage() for record in caplog.records]
    assert line == f"feedback for cloudflare {ref.id} failed: {outcome.reason}"


# --- credentials


@pytest.fixture
def short_probes(monkeypatch):
    for module in (_retry, _lane):
        monkeypatch.setattr(module, "PROBE_INTERVAL", 0.05)


@pytest.mark.parametrize("kind", [Cloudflare, Braintrust])
def test_with_wrong_credentials_everything_is_kept_with_one_warning_that_shows_no_key(
    emulator, make_house, kind, caplog
):
    setting = "api_token" if kind is Cloudflare else "api_key"
    house = make_house(configured(kind, emulator, **{setting: KEY}))
    first, second = (LogRef(backend=kind.name, id=name) for name in "ab")

    receipt = house.say(first, thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)
    later = house.say(second, thumbs="up")

    assert later.wait(0.1).outcomes == (Outcome(ref=second),)  # the lane pauses: nothing was tried
    assert receipt.status == "queued"
    assert receipt.outcomes[0].reason.startswith(("HTTP 401", "HTTP 403"))
    assert len(emulator.requests()) == 1
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"{kind.name} refuses the credentials; its feedback is kept")
    assert KEY not in receipt.outcomes[0].reason + caplog.text


def test_credentials_that_were_refused_are_tried_again_until_they_are_accepted(emulator, house, short_probes, caplog):
    emulator.fail("/client/v4", status=401, times=3)
    receipts = [house.say(called(emulator), thumbs="up") for _ in range(5)]

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 5
    assert len(caplog.records) == 1


def test_refused_credentials_of_one_service_hold_no_other_up(emulator, make_house):
    house = make_house(configured(Cloudflare, emulator, api_token=KEY), configured(Braintrust, emulator))

    receipt = house.say(LogRef(backend="cloudflare", id="r"), row("r"), thumbs="up")

    assert house.tracker.wait_for(lambda: receipt.outcomes[1].status == "delivered", LONG)
    assert receipt.status == "queued"


def test_feedback_that_is_refused_for_lack_of_credentials_expires_as_any_other(emulator, make_house, short_probes):
    house = make_house(configured(Cloudflare, emulator, api_token=KEY), expire_after=0.2)

    outcome = settled(house.say(LogRef(backend="cloudflare", id="r"), thumbs="up"))

    assert outcome.status == "failed"
    assert outcome.reason.startswith("expired after 5.55556e-05 hours: HTTP 40")


# --- dead letters


def test_what_was_refused_is_kept_as_a_dead_letter_that_can_be_tried_again(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=400, body="not today")
    receipt = house.say(called(emulator), thumbs="up")
    assert settled(receipt).status == "failed"

    [letter] = house.store.listed(dead=True, most=10)
    assert (letter.reason, letter.attempts, letter.feedback) == ("HTTP 400: not today", 1, feedback_from(thumbs="up"))
    assert house.store.revive() == 1
    house.worker.wake()
    assert emptied(house)
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


def test_what_has_expired_is_kept_as_a_dead_letter(emulator, house, caplog):
    emulator.fail("/client/v4", method="PATCH", status=500, body="no luck")
    ref = called(emulator)

    outcome = settled(house.say(ref, age=EXPIRE_AFTER + 1, thumbs="up"))

    reason = "expired after 72 hours: HTTP 500: no luck"
    assert (outcome.status, outcome.reason, outcome.attempts) == ("failed", reason, 1)
    assert [letter.reason for letter in house.store.listed(dead=True, most=10)] == [reason]
    assert [record.getMessage() for record in caplog.records] == [f"feedback for cloudflare {ref.id} failed: {reason}"]


# --- order and batches


def test_what_waits_for_one_entry_is_one_request_in_which_the_last_word_holds(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=500, times=2)
    ref = called(emulator)
    receipts = [house.put(ref, thumbs="up"), house.put(ref, score=0.5), house.say(ref, thumbs="down")]

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 3
    together = {"feedback": -1, "score": 50}
    assert patches(emulator) == [(together, 500), (together, 500), (together, 200)]


def test_ten_toggles_while_one_is_on_its_way_cost_one_request(make_house):
    house = make_house(Echo(), transport=Gate())
    receipts = [house.say(entry(), thumbs="up")]
    assert house.transport.arrived.wait(LONG)
    receipts += [house.say(entry(), thumbs=thumbs) for thumbs in ["down", "up"] * 5]
    house.transport.open.set()

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 11
    assert house.transport.said == [[{"thumbs": 1}], [{"thumbs": 1}]]


def test_comments_are_all_kept_in_order(emulator, house):
    refs = (called(emulator), row("r"))
    for word in "abc":
        receipt = house.put(*refs, comment=word, thumbs="up")
    house.worker.wake()

    assert receipt.wait(LONG).status == "delivered"
    assert emulator.cloudflare_logs()[0]["metadata"] == {"comment": "a\nb\nc"}
    [kept] = emulator.braintrust_rows()[-1:]
    assert [comment["text"] for comment in kept["comments"]] == ["a", "b", "c"]
    assert len([seen for seen in emulator.requests() if seen.method == "POST" and "project_logs" in seen.path]) == 1


def test_the_order_of_an_entry_holds_whatever_goes_wrong_in_between(make_house):
    troubles = itertools.cycle([OK, Answer(status=500), TransportError("down"), OK, Answer(status=429)])
    taken = []

    def answer(request):
        trouble = next(troubles)
        if isinstance(trouble, Exception):
            raise trouble
        if trouble is OK:
            [said] = request.json
            taken.append(said["score"])
        return trouble

    house = make_house(Echo(), transport=Answers(answer))
    receipts = [house.say(entry(), score=number / 200) for number in range(200)]

    assert {settled(receipt).status for receipt in receipts} == {"delivered"}
    assert taken == sorted(taken)
    assert taken[-1] == 199 / 200


def test_feedback_for_one_entry_goes_on_after_one_that_failed(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=400)
    ref = called(emulator)
    assert settled(house.say(ref, thumbs="up")).status == "failed"

    assert settled(house.say(ref, thumbs="down")).status == "delivered"
    assert emulator.cloudflare_logs()[0]["feedback"] == -1


def test_of_merged_feedback_only_what_spoils_it_is_refused(emulator, house):
    ref = called(emulator)
    receipts = [
        house.put(ref, thumbs="up"),
        house.put(ref, feedback=Feedback(score=7.0)),  # 700 %, which nobody could have recorded
        house.say(ref, comment="fine"),
    ]

    assert [settled(receipt).status for receipt in receipts] == ["delivered", "failed", "delivered"]
    assert receipts[1].outcomes[0].reason.startswith("HTTP 400")
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"], log["metadata"]) == (1, None, {"comment": "fine"})
    assert [letter.feedback for letter in house.store.listed(dead=True, most=10)] == [Feedback(score=7.0)]


class ShortComments:
    """A transport to a service that refuses comments of more than ten characters."""

    def __init__(self):
        self.inner = HttpxTransport(timeout=5)

    def send(self, request):
        if len(((request.json or {}).get("metadata") or {}).get("comment", "")) > 10:
            return Answer(status=413, content=b"too long")
        return self.inner.send(request)

    def close(self):
        self.inner.close()


def test_of_merged_comments_that_are_too_long_together_those_that_fit_are_kept_in_their_order(emulator, make_house):
    house = make_house(configured(Cloudflare, emulator), transport=ShortComments())
    ref = called(emulator)
    receipts = [
        house.put(ref, comment="first"),
        house.put(ref, comment="much longer", thumbs="down"),
        house.put(ref, comment="2nd", score=0.5),
        house.say(ref, comment="3rd"),
    ]

    assert [settled(receipt).status for receipt in receipts] == ["delivered", "failed", "delivered", "failed"]
    [log] = emulator.cloudflare_logs()
    assert log["metadata"] == {"comment": "first\n2nd"}
    assert (log["feedback"], log["score"]) == (-1, 50)  # of what was refused for its comment, all the rest
    assert [letter.feedback.comments for letter in house.store.listed(dead=True, most=9)] == [
        ("much longer",),
        ("3rd",),
    ]


def test_after_merged_feedback_was_taken_apart_nothing_overtakes_what_has_to_be_tried_again(make_house):
    bad = Answer(status=400)
    house = make_house(Echo(), transport=Answers(in_turn(bad, Answer(status=500), OK)))
    receipts = [house.put(entry(), score=0.1), house.put(entry(), score=0.2), house.say(entry(), score=0.3)]

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 3
    together, first = {"score": 0.3}, {"score": 0.1}
    assert house.transport.said == [[together], [first], [together]]


def test_an_entry_in_trouble_holds_no_other_up(emulator, house):
    stuck, other = called(emulator), called(emulator)
    emulator.fail(f"/client/v4/.*{stuck.id}", status=503, times=None)

    receipt = house.put(stuck, thumbs="up")
    assert settled(house.say(other, thumbs="up")).status == "delivered"
    assert receipt.status == "queued"


def test_what_is_for_a_backend_that_is_not_known_here_wakes_nobody(house):
    house.worker.wake("unknown")
    assert not house.worker.running


def test_items_of_one_destination_go_in_batches_as_large_as_the_backend_takes(emulator, house):
    receipts = [house.put(*(row(f"{start}-{n}") for n in range(50)), thumbs="up") for start in range(5)]
    house.worker.wake()

    assert [receipt.wait(LONG).status for receipt in receipts] == ["delivered"] * 5
    posts = [json.loads(seen.body)["feedback"] for seen in emulator.requests() if seen.method == "POST"]
    assert sorted(len(post) for post in posts) == [50, 200]  # several may be under way at a time
    assert {item["id"] for item in itertools.chain(*posts)} == {f"{s}-{n}" for s in range(5) for n in range(50)}


def test_a_bad_item_in_a_batch_is_found_and_buried_alone(emulator, house):
    good = [house.put(row(f"row-{number}"), thumbs="up") for number in range(20)]
    bad = [house.put(row(f"bad-{number}"), feedback=Feedback(scores={"tone": 7.0})) for number in range(2)]
    good += [house.put(row(f"row-{number}"), thumbs="up") for number in range(20, 78)]
    house.worker.wake()

    assert [settled(receipt).status for receipt in good] == ["delivered"] * 78
    assert [settled(receipt).status for receipt in bad] == ["failed"] * 2
    assert {letter.ref.id for letter in house.store.listed(dead=True, most=10)} == {"bad-0", "bad-1"}
    posts = [json.loads(seen.body)["feedback"] for seen in emulator.requests() if seen.status == 200 and seen.body]
    arrived = [item["id"] for post in posts for item in post]
    assert sorted(arrived) == sorted(f"row-{number}" for number in range(78))
    assert len([seen for seen in emulator.requests() if seen.method == "POST"]) < 30  # halves, not one by one


@pytest.mark.parametrize("answered", ["no such name", "no such id"])
def test_a_destination_that_is_not_there_refuses_all_of_a_batch_at_once(emulator, house, answered):
    home = {"project_name": "nowhere"} if answered == "no such name" else {"project_id": "nowhere"}
    emulator.fail("/v1/project_logs", status=404, times=None)
    refs = [LogRef(backend="braintrust", id=f"row-{number}", **home) for number in range(20)]
    receipts = [house.put(*refs, thumbs="up"), house.put(*refs, score=0.5)]
    house.worker.wake()

    assert [receipt.wait(LONG).status for receipt in receipts] == ["failed"] * 2
    [_] = emulator.requests()


def test_a_batch_that_is_tried_again_is_tried_again_as_a_whole(emulator, house):
    emulator.fail("/v1/project_logs", status=500)
    receipt = house.put(*(row(f"row-{number}") for number in range(30)), thumbs="up")
    house.worker.wake()

    assert receipt.wait(LONG).status == "delivered"
    assert {outcome.attempts for outcome in receipt.outcomes} == {2}


def test_one_service_that_hangs_does_not_hold_up_the_other(emulator, house):
    emulator.fail("/client/v4", method="PATCH", hang=True, times=None)
    stuck = house.say(called(emulator), thumbs="up")

    assert settled(house.say(row("r"), thumbs="up")).status == "delivered"
    assert stuck.status == "queued"
    emulator.stop()


def test_one_request_that_hangs_does_not_hold_up_the_others_at_its_service(emulator, house):
    stuck, *others = (called(emulator) for _ in range(6))
    emulator.fail(f"/client/v4/.*{stuck.id}", method="PATCH", hang=True, times=None)
    house.say(stuck, thumbs="up")

    assert [settled(house.say(other, thumbs="up")).status for other in others] == ["delivered"] * 5
    emulator.stop()


def test_a_receipt_for_entries_at_two_services_tells_of_each(emulator, house):
    emulator.fail("/v1/project_logs", status=400)
    receipt = house.say(called(emulator), row("r"), thumbs="up").wait(LONG)

    assert [one.status for one in receipt.outcomes] == ["delivered", "failed"]
    assert receipt.status == "failed"


def test_a_flush_waits_for_what_is_queued_and_counts_it(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=500)
    emulator.fail("/v1/project_logs", status=400)
    house.say(called(emulator), row("r"), thumbs="up")

    assert house.tracker.wait_until_idle(LONG) == FlushResult(delivered=1, failed=1)
    assert [(depth.queued, depth.dead) for depth in house.store.depths()] == [(0, 1)]


# --- a backend and a transport of the tests' own


@dataclass(frozen=True, kw_only=True)
class Echo:
    """A backend of a third party, whose deliveries the tests bend."""

    name: ClassVar[str] = "echo"
    concurrency: ClassVar[int] = 8
    batch_size: int = 10
    pace: Pace | None = None
    credential: str | None = KEY
    plan: Any = None
    place: Any = field(default=lambda ref: ref.id)

    def check(self, ref):
        pass

    def destination(self, ref):
        return self.place(ref)

    def deliver(self, batch):
        return (self.plan or plain)(batch)


@dataclass(frozen=True, kw_only=True)
class Alone(Echo):
    """One that takes one item after the other."""

    concurrency: ClassVar[int] = 1
    batch_size: int = 1


def plain(batch):
    said = [feedback.to_dict() for _, feedback in batch]
    return judge((yield asking(",".join(ref.id for ref, _ in batch), said)))


def asking(url, said=None):
    return HttpRequest(method="POST", url=url, headers={"authorization": f"Bearer {KEY}"}, json=said)


def entry(id="e"):  # noqa: A002 - as LogRef names it
    return LogRef(backend="echo", id=id)


@dataclass
class Answers:
    """A transport that answers at once, by a function of the request, and keeps what was sent."""

    answer: Any = field(default=lambda _: Answer(status=200))
    sent: list[str] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    at: list[float] = field(default_factory=list)

    def send(self, request):
        self.sent.append(request.url)
        self.said.append(request.json)
        self.at.append(time.monotonic())
        return self.answer(request)

    def close(self):
        pass


def in_turn(*answers):
    """Return a function that gives one answer after the other, the last one for ever; an exception is raised."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))

    def answer(_):
        turn = next(turns)
        if isinstance(turn, Exception):
            raise turn
        return turn

    return answer


OK = Answer(status=200)


def raises_at_once(_):
    raise RuntimeError("in deliver")


def raises_before_its_request(_):
    raise RuntimeError("before the request")
    yield


def raises_after_its_request(_):
    yield asking("first")
    raise RuntimeError(f"after the request, quoting Bearer {KEY}")


def asks_for_nothing_of_ours(_):
    yield "a request"


def returns_no_verdict(_):
    yield asking("first")


def is_no_plan(_):
    return None


def is_a_list(_):
    return [asking("first"), asking("second")]


FAULTS = {  # what makes the fault → the words of the log that tell of it
    raises_at_once: "RuntimeError: in deliver",
    raises_before_its_request: "RuntimeError: before the request",
    raises_after_its_request: "RuntimeError: after the request, quoting Bearer ***",
    asks_for_nothing_of_ours: "AttributeError: 'str' object has no attribute 'headers'",
    returns_no_verdict: "the plan of the backend 'echo' returned None, which is no Verdict",
    is_no_plan: "TypeError: 'NoneType' object is not iterable",
    is_a_list: "AttributeError: 'list_iterator' object has no attribute 'send'",
}


@pytest.mark.parametrize(("faulty", "words"), FAULTS.items(), ids=[fault.__name__ for fault in FAULTS])
def test_a_backend_with_a_fault_neither_stops_the_worker_nor_loses_the_item(make_house, faulty, words, caplog):
    healed = threading.Event()
    house = make_house(
        Echo(plan=lambda batch: plain(batch) if healed.is_set() or batch[0][0].id != "e" else faulty(batch)),
        transport=Answers(),
    )
    receipt = house.say(entry(), thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts >= 2, LONG)

    assert settled(house.say(entry("other"), thumbs="up")).status == "delivered"
    assert receipt.status == "queued"
    assert receipt.outcomes[0].reason.endswith("Error in the backend")
    healed.set()
    assert settled(receipt).status == "delivered"
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("a backend failed to deliver feedback\nTraceback")
    assert words in line


def test_items_whose_destination_their_backend_cannot_tell_go_alone(make_house):
    def place(_):
        raise RuntimeError("nowhere")

    house = make_house(Echo(place=place), transport=Answers())

    assert house.say(entry("a"), entry("b"), thumbs="up").wait(LONG).status == "delivered"
    assert house.transport.sent == ["a", "b"]


def test_an_item_of_a_backend_that_is_not_configured_waits_for_it(make_house):
    house = make_house(Echo(), transport=Answers())
    receipt = house.put(LogRef(backend="elsewhere", id="e"), thumbs="up")

    assert settled(house.say(entry(), thumbs="up")).status == "delivered"
    assert (receipt.status, receipt.outcomes[0].attempts) == ("queued", 0)
    assert [depth.backend for depth in house.store.depths()] == ["elsewhere"]


def test_a_transport_with_a_fault_neither_stops_the_worker_nor_loses_the_item(make_house):
    house = make_house(Echo(), transport=Answers(in_turn(ValueError("what?"), TransportError("down"), OK)))

    outcome = settled(house.say(entry(), thumbs="up"))

    assert (outcome.status, outcome.attempts) == ("delivered", 3)


def test_what_another_tracker_left_in_the_store_is_delivered_as_well_but_not_counted(make_house):
    store = MemoryStore()
    make_house(Echo(), store=store, transport=Answers()).put(entry("left"), thumbs="up", score=0.5)
    heir = make_house(Echo(), store=store, transport=Answers(in_turn(Answer(status=500), OK)))

    settled(heir.say(entry("left"), thumbs="down"))

    assert heir.transport.said == [[{"thumbs": -1, "score": 0.5}]] * 2
    assert heir.tracker.wait_until_idle(LONG) == FlushResult(delivered=1)


def test_credentials_are_in_no_outcome_and_no_log_line(emulator, make_house, caplog):
    caplog.set_level(logging.DEBUG)
    token = emulator.environ()["CLOUDFLARE_API_TOKEN"]
    house = make_house(configured(Cloudflare, emulator))
    emulator.fail("/client/v4", status=500, body=f"cannot verify {token}")
    emulator.fail("/client/v4", status=400, body=f"bad token: Bearer {token}")

    outcome = settled(house.say(LogRef(backend="cloudflare", id="r"), thumbs="up"))

    assert (outcome.attempts, outcome.reason) == (2, "HTTP 400: bad token: Bearer ***")
    assert "bad token: Bearer ***" in caplog.text
    assert token not in caplog.text + repr(outcome)


# --- pace


def test_no_more_is_sent_than_the_pace_allows_and_the_rest_later(make_house):
    house = make_house(Echo(batch_size=1, pace=Pace(rate=20, burst=3)), transport=Answers())
    began = time.monotonic()
    receipts = [house.put(entry(str(number)), thumbs="up") for number in range(9)]
    house.worker.wake()

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 9
    assert [receipt.outcomes[0].attempts for receipt in receipts] == [1] * 9
    at = [moment - began for moment in house.transport.at]
    assert all(moment >= (number - 3) / 20 for number, moment in enumerate(at, 1))


def test_what_the_pace_holds_back_for_long_waits_without_an_attempt(make_house):
    house = make_house(Echo(batch_size=1, pace=Pace(rate=0.01, burst=2)), transport=Answers())
    receipts = [house.put(entry(str(number)), thumbs="up") for number in range(5)]
    house.worker.wake()

    assert house.tracker.wait_for(lambda: sum(each.status == "delivered" for each in receipts) == 2, LONG)
    assert receipts[4].wait(0.1).outcomes == (Outcome(ref=entry("4")),)
    assert len(house.transport.sent) == 2


def test_after_a_retry_after_nothing_at_all_is_sent_before_that(make_house):
    blocked = Answer(status=429, headers={"retry-after": "0.5"})
    house = make_house(Echo(batch_size=1, pace=Pace(rate=1000, burst=1000)), transport=Answers(in_turn(blocked, OK)))
    receipt = house.say(entry("a"), thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)
    later = house.say(entry("b"), thumbs="up")

    assert [settled(each).status for each in (receipt, later)] == ["delivered"] * 2
    assert house.transport.at[1] - house.transport.at[0] >= 0.5


def test_a_retry_after_of_a_year_pauses_for_an_hour_in_which_everything_is_kept(make_house):
    blocked = Answer(status=429, headers={"retry-after": "31536000"})
    store, pace = MemoryStore(), Pace(rate=1000, burst=1000)
    house = make_house(Echo(pace=pace), store=store, transport=Answers(in_turn(blocked)))
    receipt = house.say(entry("a"), thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)
    house.worker.stop(LONG)

    assert 3590 < store.take(_pace.bucket_name("echo", KEY), pace, now=time.time()) <= 3600
    assert 3590 < store.next_due("echo") - time.time() <= 3601
    assert receipt.status == "queued"


def test_those_who_share_a_store_and_a_credential_share_the_pause(make_house):
    store, pace = MemoryStore(), Pace(rate=1000, burst=1000)
    blocked = Answer(status=429, headers={"retry-after": "600"})
    one = make_house(Echo(pace=pace), store=store, transport=Answers(in_turn(blocked)))
    two = make_house(Echo(pace=pace), store=store, transport=Answers())
    other = make_house(Echo(pace=pace, credential="another"), store=store, transport=Answers())
    receipt = one.say(entry("a"), thumbs="up")
    assert one.tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)

    held = two.say(entry("b"), thumbs="up")
    assert held.wait(0.1).status == "queued"
    assert two.transport.sent == []
    two.worker.stop(LONG)
    assert settled(other.say(entry("c"), thumbs="up")).status == "delivered"


def test_a_service_that_tells_that_little_of_its_quota_remains_is_asked_more_slowly(make_house):
    little = {"ratelimit": '"default";r=2;t=1', "ratelimit-policy": '"default";q=100;w=60'}
    answers = in_turn(Answer(status=200, headers=little), OK)
    house = make_house(Echo(batch_size=1, pace=Pace(rate=1000, burst=1000)), transport=Answers(answers))
    settled(house.say(entry("a"), thumbs="up"))
    settled(house.say(entry("b"), thumbs="up"))

    assert house.transport.at[1] - house.transport.at[0] >= 1 / 3


def test_a_limit_of_the_service_is_never_reached(make_house):
    with Emulator(rate_limit=40, rate_window=2) as limited:
        backend = configured(Cloudflare, limited, pace=Pace(rate=15, burst=8))
        house = make_house(backend)
        receipts = [house.say(called(limited), thumbs="up") for _ in range(40)]

        assert {settled(receipt).status for receipt in receipts} == {"delivered"}
        assert {status for _, status in patches(limited)} == {200}


def test_a_pause_is_not_shortened_by_a_request_that_began_before_it_and_ends_after_it(make_house):
    slow, go_on = threading.Event(), threading.Event()

    def answer(request):
        if not slow.is_set():
            slow.set()
            go_on.wait(LONG)
            return OK
        return Answer(status=429, headers={"retry-after": "50"})

    house = make_house(Echo(batch_size=1), transport=Answers(answer))
    first = house.say(entry("slow"), thumbs="up")
    assert slow.wait(LONG)
    second = house.say(entry("refused"), thumbs="up")
    assert house.tracker.wait_for(lambda: second.outcomes[0].attempts == 1, LONG)
    go_on.set()

    assert settled(first).status == "delivered"
    assert house.worker._lanes["echo"]._run._paused_until > time.monotonic() + 20


# --- a store that fails


class Failing(MemoryStore):
    """A store whose methods fail that the test names."""

    def __init__(self):
        super().__init__()
        self.down = set()
        self.failed = threading.Event()

    def __getattribute__(self, name):
        if name in ("claim", "conclude", "next_due", "take", "hold") and name in self.down:
            self.failed.set()
            raise StoreError(f"{name} is down")
        return super().__getattribute__(name)


@pytest.fixture
def short_store_pauses(monkeypatch):
    for module in (_lane, _pace):
        monkeypatch.setattr(module, "STORE_PAUSE", 0.05)


@pytest.mark.parametrize("method", ["claim", "next_due", "take"])
def test_while_the_store_cannot_be_reached_delivery_rests_and_goes_on_when_it_is_back(
    make_house, short_store_pauses, caplog, method
):
    store = Failing()
    house = make_house(Echo(pace=Pace(rate=100, burst=100)), store=store, transport=Answers())
    store.down.add(method)
    if method == "next_due":
        house.worker.wake()
    else:
        receipt = house.say(entry(), thumbs="up")
    assert store.failed.wait(LONG)
    store.failed.clear()
    assert store.failed.wait(LONG)  # it was tried again
    store.down.clear()

    if method == "next_due":
        receipt = house.say(entry(), thumbs="up")
    outcome = settled(receipt)
    assert (outcome.status, outcome.attempts) == ("delivered", 1)
    assert len(caplog.records) == 1
    assert f"{method} is down" in caplog.text


def test_a_sender_that_cannot_look_for_more_leaves_off_and_delivery_goes_on_when_the_store_is_back(
    make_house, short_store_pauses
):
    store = Failing()

    def answer(_):
        if not store.failed.is_set():
            store.down.add("claim")
        return OK

    house = make_house(Echo(batch_size=1), store=store, transport=Answers(answer))
    receipts = [house.put(entry(name), thumbs="up") for name in "abc"]
    house.worker.wake()
    assert store.failed.wait(LONG)
    store.down.clear()

    assert [settled(receipt).attempts for receipt in receipts] == [1, 1, 1]


def test_what_was_delivered_while_the_store_could_not_be_told_is_delivered_again_when_its_lease_ends(
    make_house, monkeypatch, caplog
):
    monkeypatch.setattr(_lane, "LEASE", 0.2)
    store = Failing()
    house = make_house(Echo(), store=store, transport=Answers())
    store.down.add("conclude")

    assert settled(house.say(entry(), thumbs="up")).status == "delivered"
    assert "the outbox could not be written, feedback may arrive twice: conclude is down" in caplog.text
    store.down.clear()
    assert emptied(house)
    assert house.transport.sent == ["e", "e"]


def test_what_has_waited_for_a_sender_until_its_lease_ran_out_is_sent_once(make_house, monkeypatch):
    monkeypatch.setattr(_lane, "LEASE", 1.0)
    first = threading.Event()

    def answer(_):
        if not first.is_set():
            first.set()
            time.sleep(1.2)  # the lease on those that wait behind it has run out by then
        return OK

    house = make_house(Alone(), transport=Answers(answer))
    receipts = [house.say(entry("slow"), thumbs="up")]
    assert first.wait(LONG)
    receipts += [house.say(entry(f"behind-{number}"), thumbs="up") for number in range(4)]

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 5
    assert sorted(url for url in house.transport.sent if url != "slow") == [f"behind-{number}" for number in range(4)]


def test_a_pause_that_the_store_cannot_be_told_of_is_kept_all_the_same(make_house, caplog):
    store = Failing()
    blocked = Answer(status=429, headers={"retry-after": "0.3"})
    house = make_house(Echo(pace=Pace(rate=100, burst=100)), store=store, transport=Answers(in_turn(blocked, OK)))
    store.down.add("hold")

    assert settled(house.say(entry(), thumbs="up")).status == "delivered"
    assert house.transport.at[1] - house.transport.at[0] >= 0.3
    assert "other processes cannot be told to pause: hold is down" in caplog.text


def test_a_store_with_a_fault_of_its_own_does_not_stop_delivery(make_house, short_store_pauses, caplog):
    class Faulty(MemoryStore):
        faults = iter([ZeroDivisionError("in the store")])

        def claim(self, *args, **settings):
            for fault in self.faults:
                raise fault
            return super().claim(*args, **settings)

    house = make_house(Echo(), store=Faulty(), transport=Answers())

    assert settled(house.say(entry(), thumbs="up")).status == "delivered"
    assert "ZeroDivisionError: in the store" in caplog.text


# --- a clock that is set


@pytest.fixture
def clock(monkeypatch):
    """Return a list of the seconds by which the time of day is off, for the test to set."""
    off, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + off[0])
    return off


DAY = 86_400.0


@pytest.mark.parametrize("step", [-DAY, DAY])
def test_what_waits_to_be_tried_again_waits_no_longer_when_the_clock_is_set(make_house, clock, monkeypatch, step):
    monkeypatch.setattr(_retry, "delay", lambda *_: 0.2)
    house = make_house(Echo(), transport=Answers(in_turn(Answer(status=500), OK)))
    receipt = house.say(entry(), thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)
    clock[0] = step

    assert settled(receipt).status == "delivered"
    assert house.transport.at[1] - house.transport.at[0] >= 0.2


@pytest.mark.parametrize("pace", [None, Pace(rate=1000, burst=1000)])
@pytest.mark.parametrize("step", [-DAY, DAY])
def test_a_pause_that_a_service_asked_for_is_kept_and_ends_when_the_clock_is_set(make_house, clock, step, pace):
    blocked = Answer(status=429, headers={"retry-after": "0.5"})
    house = make_house(Echo(batch_size=1, pace=pace), transport=Answers(in_turn(blocked, OK)))
    receipt = house.say(entry(), thumbs="up")
    assert house.tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)
    clock[0] = step
    later = house.say(entry("later"), thumbs="up")

    assert [settled(each).status for each in (receipt, later)] == ["delivered"] * 2
    assert house.transport.at[1] - house.transport.at[0] >= 0.5


def test_how_old_feedback_is_tells_the_time_of_day(make_house, clock):
    house = make_house(Echo(), transport=Answers(in_turn(Answer(status=500))))
    receipt = house.put(entry(), thumbs="up")
    clock[0] = 4 * DAY  # as after the machine was asleep
    house.worker.wake()

    assert settled(receipt).reason.startswith("expired after 72 hours")


def shared():
    return Shared()


@pytest.mark.parametrize("make_store", [MemoryStore, shared])
def test_what_is_on_its_way_is_overtaken_by_nothing_when_the_clock_is_set(make_house, clock, make_store, monkeypatch):
    monkeypatch.setattr(_lane, "NOT_AGAIN", 0.05)
    house = make_house(Echo(), store=make_store(), transport=Gate())
    receipts = [house.say(entry(), thumbs="up")]
    assert house.transport.arrived.wait(LONG)
    clock[0] = DAY  # the lease is over by that
    receipts += [house.say(entry(), thumbs="down"), house.say(entry("other"), thumbs="up")]
    assert settled(receipts[2]).status == "delivered"
    assert receipts[1].wait(0.3).status == "queued"
    house.transport.open.set()

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 3
    assert [said for url, said in zip(house.transport.sent, house.transport.said, strict=True) if url == "e"] == [
        [{"thumbs": 1}],
        [{"thumbs": -1}],
    ]


def test_a_pause_in_a_shared_store_that_nobody_can_have_asked_for_is_lifted(make_house, clock):
    store = Shared()
    house = make_house(Echo(pace=Pace(rate=1000, burst=1000)), store=store, transport=Answers())
    store.hold(_pace.bucket_name("echo", KEY), until=time.time() + 60)
    clock[0] = -DAY

    assert settled(house.say(entry(), thumbs="up")).status == "delivered"


def test_a_pace_that_is_slow_by_itself_is_kept_all_the_same(make_house):
    house = make_house(Echo(batch_size=1, pace=Pace(rate=1e-5, burst=1)), transport=Answers())
    receipts = [house.say(entry(str(number)), thumbs="up") for number in range(2)]

    assert settled(receipts[0]).status == "delivered"
    assert receipts[1].wait(0.1).status == "queued"


# --- the threads


class Gate(Answers):
    """A transport that holds its first request until it is let through."""

    def __init__(self):
        super().__init__()
        self.arrived, self.open = threading.Event(), threading.Event()

    def send(self, request):
        answer = super().send(request)
        if not self.arrived.is_set():
            self.arrived.set()
            assert self.open.wait(LONG)
        return answer


def workers():
    """Return the names of our threads."""
    names = (thread.name for thread in threading.enumerate())
    return sorted(name for name in names if name.startswith(("thumbprint-echo", "thumbprint-cloudflare")))


def test_no_thread_runs_before_the_first_wake_and_one_for_each_service_after_any_number_of_them(make_house):
    house = make_house(configured_anywhere(Cloudflare), Echo(), transport=Answers())
    assert workers() == []

    waking = [threading.Thread(target=house.worker.wake) for _ in range(8)]
    for thread in waking:
        thread.start()
    for thread in waking:
        thread.join()

    assert workers() == ["thumbprint-cloudflare", "thumbprint-echo"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name in workers())


def test_only_the_lanes_that_are_named_are_woken(make_house):
    house = make_house(configured_anywhere(Cloudflare), Echo(), transport=Answers())
    house.worker.wake("echo")

    assert workers() == ["thumbprint-echo"]


def test_an_idle_worker_stops_at_once_and_a_later_wake_starts_it_again(make_house):
    house = make_house(Echo(), transport=Answers())
    for number in range(3):
        assert settled(house.say(entry(str(number)), thumbs="up")).status == "delivered"
        house.worker.stop(LONG)
        assert workers() == []
        house.worker.stop(LONG)


def test_stopping_one_that_never_ran_does_nothing(make_house):
    make_house(Echo(), transport=Answers()).worker.stop(float("inf"))

    assert workers() == []


def test_stopping_without_a_timeout_waits_for_the_delivery_it_is_at(make_house):
    house = make_house(Echo(), transport=Gate())
    receipt = house.say(entry(), thumbs="up")
    assert house.transport.arrived.wait(LONG)
    stopping = threading.Thread(target=house.worker.stop, args=(None,))
    stopping.start()
    house.transport.open.set()
    stopping.join(LONG)

    assert (receipt.status, workers()) == ("delivered", [])


@pytest.mark.parametrize("timeout", [0, 0.2])
def test_stopping_keeps_to_its_timeout_while_services_hang(emulator, house, timeout):
    emulator.fail("/", hang=True, times=None, method="PATCH")
    emulator.fail("/v1/project", hang=True, times=None)
    house.say(called(emulator), row("r"), thumbs="up")
    began = time.monotonic()
    house.worker.stop(timeout)

    assert time.monotonic() - began <= timeout + 3  # a delivery that is waited for takes thirty
    emulator.stop()


def test_what_is_put_while_it_is_stopped_waits_for_the_next_wake(make_house):
    house = make_house(Echo(), transport=Answers())
    settled(house.say(entry("a"), thumbs="up"))
    house.worker.stop(LONG)

    receipt = house.put(entry("b"), thumbs="up")
    assert receipt.wait(0.05).status == "queued"
    house.worker.wake()
    assert settled(receipt).status == "delivered"


def test_stopping_ends_it_after_the_delivery_it_is_at_and_gives_the_others_back(make_house):
    house = make_house(Alone(), transport=Gate())
    receipts = [house.put(entry(str(number)), thumbs="up") for number in range(5)]
    house.worker.wake()
    assert house.transport.arrived.wait(LONG)

    house.worker.stop(0)  # gives up waiting at once: the delivery hangs
    house.transport.open.set()
    house.worker.stop(LONG)

    assert [receipt.status for receipt in receipts] == ["delivered", *["queued"] * 4]
    assert house.transport.sent == ["0"]
    assert house.store.next_due("echo") <= time.time()
    house.worker.wake()
    assert [settled(receipt).attempts for receipt in receipts] == [1] * 5
    assert sorted(house.transport.sent) == ["0", "1", "2", "3", "4"]


def test_a_wake_after_a_stop_that_did_not_wait_delivers_all_but_what_the_stopped_one_is_at(make_house):
    house = make_house(Echo(batch_size=1), transport=Gate())
    receipts = [house.say(entry("0"), thumbs="up")]
    assert house.transport.arrived.wait(LONG)

    house.worker.stop(0)
    receipts += [house.say(entry(str(number)), thumbs="up") for number in range(1, 4)]
    assert [settled(receipt).status for receipt in receipts[1:]] == ["delivered"] * 3
    assert receipts[0].status == "queued"
    house.transport.open.set()

    assert settled(receipts[0]).status == "delivered"
    assert sorted(house.transport.sent) == ["0", "1", "2", "3"]


class Crowd(Answers):
    """A transport that knows how many requests were under way at a time; none has its answer before `open` is set."""

    def __init__(self):
        super().__init__(lambda _: OK)
        self.most = self._now = 0
        self.open = threading.Event()
        self._lock = threading.Lock()

    def send(self, request):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            self.open.wait(LONG)
            return super().send(request)
        finally:
            with self._lock:
                self._now -= 1


def test_what_a_stopped_run_is_still_sending_counts_among_what_may_be_sent_at_a_time(make_house):
    house = make_house(Echo(batch_size=1), transport=Crowd())
    receipts = []
    for number in range(Echo.concurrency + 3):
        receipts.append(house.say(entry(str(number)), thumbs="up"))
        assert number >= Echo.concurrency or reached(lambda: house.transport.most, number + 1)
        house.worker.stop(0)
    house.worker.wake()
    assert not reached(lambda: house.transport.most, Echo.concurrency + 1, within=0.3)
    house.transport.open.set()

    assert {settled(receipt).status for receipt in receipts} == {"delivered"}
    assert house.transport.most == Echo.concurrency


def reached(count, number, *, within=LONG):
    """Wait until what is counted reaches the number; return whether that came."""
    ends_at = time.monotonic() + within
    while count() < number and time.monotonic() < ends_at:
        time.sleep(0.002)
    return count() >= number


def test_a_run_goes_on_as_soon_as_one_that_was_stopped_has_left_room_for_it(make_house, monkeypatch):
    monkeypatch.setattr(_senders.Load, "look_again", 3 * LONG)  # it is no chance
    house = make_house(Alone(), transport=Gate())
    first = house.say(entry("first"), thumbs="up")
    assert house.transport.arrived.wait(LONG)
    house.worker.stop(0)
    second = house.say(entry("second"), thumbs="up")
    assert second.wait(0.1).status == "queued"
    house.transport.open.set()

    assert [settled(receipt).status for receipt in (first, second)] == ["delivered"] * 2


def test_items_put_from_many_threads_while_it_stops_and_starts_are_each_delivered_once(make_house):
    house = make_house(Echo(), transport=Answers())
    receipts = []

    def record(number):
        for count in range(50):
            receipts.append(house.say(entry(f"{number}-{count}"), thumbs="up"))
            if count % 10 == number:
                house.worker.stop(0)

    recording = [threading.Thread(target=record, args=(number,)) for number in range(4)]
    for thread in recording:
        thread.start()
    for thread in recording:
        thread.join()
    house.worker.wake()

    assert [settled(receipt).status for receipt in receipts] == ["delivered"] * 200
    sent = [id for url in house.transport.sent for id in url.split(",")]  # noqa: A001 - as LogRef names it
    assert len(sent) == len(set(sent)) == 200


def refusing(monkeypatch, *, name):
    """Have threads of the name not start; return what undoes that."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch.undo


def test_while_the_interpreter_shuts_down_the_lane_delivers_by_itself(make_house):
    """From Python 3.12 on no thread can be started then."""
    house = make_house(Echo(), transport=Answers())
    with pytest.MonkeyPatch.context() as patched:
        refusing(patched, name="thumbprint-echo-sender")
        patched.setattr(threading, "main_thread", threading.Thread)  # one that does not run
        receipt = house.say(entry(), thumbs="up")

        assert settled(receipt).status == "delivered"


def test_where_no_sender_can_be_started_feedback_waits_until_one_can(make_house, short_store_pauses, caplog):
    house = make_house(Echo(), transport=Answers())
    with pytest.MonkeyPatch.context() as patched:
        refusing(patched, name="thumbprint-echo-sender")
        receipt = house.say(entry(), thumbs="up")
        assert house.tracker.wait_for(lambda: caplog.records, LONG)

    assert settled(receipt).attempts == 1
    assert "its delivery cannot start yet: can't start new thread" in caplog.text


def test_where_the_interpreter_is_ending_no_thread_is_started(make_house, monkeypatch):
    house = make_house(Echo(), transport=Answers())
    with monkeypatch.context() as patched:
        patched.setattr(sys, "is_finalizing", lambda: True)
        receipt = house.say(entry(), thumbs="up")
    assert (workers(), receipt.status) == ([], "queued")

    house.worker.wake()
    assert settled(receipt).status == "delivered"


# --- in the thread of the caller


def test_delivered_now_is_what_is_due_each_entry_once_without_a_thread(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=500)
    receipt = house.put(*(called(emulator) for _ in range(3)), row("r"), thumbs="up")
    house.worker.deliver_now(["cloudflare", "braintrust"], 5)

    assert [outcome.status for outcome in receipt.outcomes] == ["queued", "delivered", "delivered", "delivered"]
    assert [outcome.attempts for outcome in receipt.outcomes] == [1] * 4
    assert workers() == []


def test_delivering_now_ends_with_a_service_that_asks_for_a_pause(emulator, house):
    emulator.fail("/client/v4", method="PATCH", status=429, headers={"Retry-After": "60"}, times=None)
    receipt = house.put(*(called(emulator) for _ in range(3)), thumbs="up")
    house.worker.deliver_now(["cloudflare"], 5)

    assert [outcome.attempts for outcome in receipt.outcomes] == [1, 0, 0]
    assert receipt.status == "queued"


def test_delivering_now_is_bounded_by_its_timeout(emulator, house):
    emulator.fail("/client/v4", method="PATCH", hang=True, times=None)
    receipt = house.put(*(called(emulator) for _ in range(10)), thumbs="up")
    began = time.monotonic()
    house.worker.deliver_now(["cloudflare"], 0.3)

    assert time.monotonic() - began < 2
    assert [outcome.attempts for outcome in receipt.outcomes] == [1, *[0] * 9]
    emulator.stop()


def test_delivering_now_does_not_wait_for_a_pace_that_is_slower_than_its_timeout(emulator, make_house):
    """Between the requests of one delivery, here a GET and a PATCH, others are waited for longer than before it."""
    house = make_house(configured(Cloudflare, emulator, pace=Pace(rate=0.1, burst=1)))
    receipt = house.put(called(emulator), comment="two requests")
    began = time.monotonic()
    house.worker.deliver_now(["cloudflare"], 1)

    assert time.monotonic() - began < 5
    assert [(outcome.status, outcome.attempts) for outcome in receipt.outcomes] == [("queued", 0)]
    assert [seen.method for seen in emulator.requests() if "ai-gateway" in seen.path] == ["GET"]


def test_delivering_now_from_a_store_that_fails_leaves_everything_there(make_house, caplog):
    store = Failing()
    house = make_house(Echo(), store=store)
    receipt = house.put(entry(), thumbs="up")
    store.down.add("claim")
    house.worker.deliver_now(["echo"], 5)

    assert receipt.status == "queued"
    assert "the outbox cannot be read; feedback stays in it: claim is down" in caplog.text


def test_delivering_now_is_not_traced_and_leaves_the_context_as_it_was(emulator, house):
    receipt = house.put(called(emulator), thumbs="up")
    with TracerProvider().get_tracer("test").start_as_current_span("application") as span:
        house.worker.deliver_now(["cloudflare"], 5)
        assert trace.get_current_span() is span

    assert receipt.status == "delivered"
    [patch] = [seen for seen in emulator.requests() if seen.method == "PATCH"]
    assert "traceparent" not in patch.headers


# --- a store that others share


class Shared(MemoryStore):
    """A store in memory that says of itself what those on disk and in a server say."""

    shared = True


def test_what_others_make_of_ones_items_is_noticed(make_house, monkeypatch):
    monkeypatch.setattr(_lane, "LOOK_AGAIN", 0.02)
    house = make_house(Echo(), store=Shared(), transport=Answers())
    receipts = [house.put(entry(name), thumbs="up") for name in "abc"]
    claims = house.store.claim("echo", now=time.time(), most=3, lease=60)
    for claim in claims:
        house.tracker.stored(claim.items)
    house.worker.wake()
    tried = [claim.items[0]._replace(attempts=2, reason="why") for claim in claims]
    house.store.conclude([(claims[0], Conclusion(settled=(tried[0],)))])
    house.store.conclude([(claims[1], Conclusion(buried=(tried[1],)))])
    house.store.conclude([(claims[2], Conclusion(waiting=(tried[2],), due_at=time.time() + 60))])

    assert settled(receipts[0]).status == "delivered"
    assert (settled(receipts[1]).status, receipts[1].outcomes[0].reason) == ("failed", "why")
    assert house.tracker.wait_for(lambda: receipts[2].outcomes[0].attempts == 2, LONG)
    assert (receipts[2].status, receipts[2].outcomes[0].reason) == ("queued", "why")
    assert house.transport.sent == []


def test_what_others_put_into_a_shared_store_is_delivered_without_a_wake(make_house, monkeypatch):
    monkeypatch.setattr(_lane, "LOOK_AGAIN", 0.02)
    store = Shared()
    house = make_house(Echo(), store=store, transport=Answers())
    house.worker.wake()
    make_house(Echo(), store=store).put(entry(), thumbs="up")

    assert emptied(house)
    assert house.transport.sent == ["e"]


# --- own traffic is not traced


def test_deliveries_run_outside_any_span_with_instrumentation_suppressed(make_house):
    seen = []

    def look(_):
        seen.append(
            {
                "span": trace.get_current_span().get_span_context().is_valid,
                "http": otel.get_value(otel._SUPPRESS_HTTP_INSTRUMENTATION_KEY),
                "all": otel.get_value(otel._SUPPRESS_INSTRUMENTATION_KEY),
                "application's": otel.get_value("application's"),
            }
        )
        return OK

    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    house = make_house(Echo(), transport=Answers(look))
    token = otel.attach(otel.set_value("application's", True))
    try:
        with provider.get_tracer("test").start_as_current_span("application"):
            settled(house.say(entry(), thumbs="up"))
            assert otel.get_value(otel._SUPPRESS_HTTP_INSTRUMENTATION_KEY) is None
    finally:
        otel.detach(token)

    assert seen == [{"span": False, "http": True, "all": True, "application's": None}]
    assert [span.name for span in exporter.get_finished_spans()] == ["application"]


def test_deliveries_carry_no_trace_headers(emulator, house):
    with TracerProvider().get_tracer("test").start_as_current_span("application"):
        settled(house.say(called(emulator), thumbs="up"))

    [patch] = [seen for seen in emulator.requests() if seen.method == "PATCH"]
    assert not {"traceparent", "tracestate", "baggage"} & patch.headers.keys()


# --- leases, and faults of a store at every turn


def claimed(house, lease):
    return house.store.claim("echo", now=time.time(), most=9, lease=lease)


def test_no_request_is_made_that_might_outlast_its_lease(make_house):
    house = make_house(Echo(), transport=Answers())
    house.put(entry(), thumbs="up")
    lane = house.worker._lanes["echo"]
    lane.work(claimed(house, _lane.LEASE / 8), house.transport)

    assert house.transport.sent == []
    lane.work(claimed(house, _lane.LEASE), house.transport)
    assert house.transport.sent == ["e"]


def test_what_is_given_back_before_any_thread_runs_is_due_again(make_house):
    house = make_house(Echo(), transport=Answers())
    house.put(entry(), thumbs="up")
    house.worker._lanes["echo"].give_back(claimed(house, 60))

    assert len(claimed(house, 60)) == 1


def test_a_store_with_a_fault_harms_nobody_who_delivers_inline(make_house, monkeypatch, caplog):
    house = make_house(Echo(), transport=Answers())
    house.put(entry(), thumbs="up")

    def fail(backend, **_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(house.store, "claim", fail)
    house.worker.deliver_now(["echo"], 5)
    assert "delivery failed inside thumbprint" in caplog.text
