"""Feedback that comes before what its target leads to is known: it waits in the outbox, not in its caller."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest
import sdk
from telemetry import Telemetry

import thumbprint
from thumbprint import LogRef, StoreError, _client, _resolver, cli
from thumbprint._feedback import feedback_from
from thumbprint._unresolved import CLOCK_SKEW, unresolved
from thumbprint.delivery import Told, Tracker
from thumbprint.stores import MemoryStore, SqliteStore

SECRET = "a-secret-of-sixteen-bytes"
PATIENCE = 20.0


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'outbox.db'}"


@pytest.fixture
def made():
    """Make Thumbprints that are closed when the test ends, as two processes would each have one."""
    all_of_them = []

    def make(**settings):
        all_of_them.append(thumbprint.Thumbprint(**{"secret": SECRET} | settings))
        return all_of_them[-1]

    yield make
    for each in all_of_them:
        each.close(0)


def ask(ours, emulator, *, text="Where is Ulm?", **options):
    client = ours.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked(text), **options)


def votes(emulator):
    return [log["feedback"] for log in emulator.cloudflare_logs()]


def until(condition):
    ends_at = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


# with a store that processes share


def test_a_vote_that_comes_before_its_call_is_known_lands_on_it(emulator, url, made):
    here, there = made(store=url), made(store=url)
    receipt = there.record_feedback("message-1", thumbs="up", comment="Well.")
    assert (receipt.status, [outcome.ref.id for outcome in receipt.outcomes]) == ("queued", ["message-1"])

    with here.scope(id="message-1") as scope:
        ask(here, emulator)

    assert receipt.wait(PATIENCE).status == "delivered"
    assert [outcome.ref.id for outcome in receipt.outcomes] == [scope.last.id]
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["metadata"]) == (1, {"comment": "Well."})
    assert there.flush(0) == thumbprint.FlushResult(delivered=1)


def test_so_does_one_by_a_token_that_left_before_the_call_and_all_calls_may_be_meant(emulator, url, made):
    here, there = made(store=url), made(store=url)
    scope = here.scope()
    token = here.token_for(scope, which="all")
    receipt = there.record_feedback(token, thumbs="down")
    with scope:
        ask(here, emulator, text="First?")
    receipt.wait(PATIENCE)
    with scope:
        ask(here, emulator, text="Second?")
    here.close()  # which writes what it knows
    there.record_feedback(token, thumbs="up").wait(PATIENCE)

    assert votes(emulator) == [1, 1]


def test_what_is_said_of_a_target_while_it_is_waited_for_arrives_in_order(emulator, url, made):
    here, there = made(store=url), made(store=url)
    first = there.record_feedback("message-1", thumbs="up", comment="1")
    with here.scope(id="message-1"):
        ask(here, emulator)
    rest = [there.record_feedback("message-1", thumbs="down", comment=str(number)) for number in range(2, 6)]
    assert {receipt.wait(PATIENCE).status for receipt in [first, *rest]} == {"delivered"}

    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["metadata"]["comment"].split("\n")) == (-1, ["1", "2", "3", "4", "5"])


def test_what_another_process_or_another_time_has_waiting_is_not_overtaken(emulator, url, made):
    here, there, none = (made(store=url, delivery="none") for _ in range(3))
    there.record_feedback("message-1", thumbs="up", comment="1")  # whose receipt nobody holds
    with here.scope(id="message-1"):
        ask(here, emulator)
    here.shutdown()  # which writes what it knows
    later = none.record_feedback("message-1", thumbs="down", comment="2")
    assert [outcome.ref.backend for outcome in later.outcomes] == ["unresolved"]
    deliverer = made(store=url)
    deliverer.recorder()  # as the first call does
    assert later.wait(PATIENCE).status == "delivered"
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["metadata"]["comment"].split("\n")) == (-1, ["1", "2"])


def test_calls_that_came_after_the_vote_are_not_meant_where_one_came_before(emulator, tmp_path, made):
    store = Flawed(tmp_path / "outbox.db")
    here, there = made(store=SqliteStore(tmp_path / "outbox.db")), made(store=store)
    with here.scope(id="message-1") as scope:
        ask(here, emulator, text="First?")
        store.recalls = 1  # so that it waits
        receipt = there.record_feedback("message-1", thumbs="up")
        time.sleep(2 * CLOCK_SKEW)  # the calls' own times tell them apart
        ask(here, emulator, text="Second?")
    assert receipt.wait(PATIENCE).status == "delivered"
    assert [outcome.ref.id for outcome in receipt.outcomes] == [scope.refs[0].id]


def test_a_which_that_does_not_exist_is_refused_for_what_is_waited_for_too(url, made):
    ours = made(store=url)
    ours.record_feedback("message-1", thumbs="up")
    with pytest.raises(thumbprint.ArgumentValueError, match="which='first'"):
        ours.record_feedback("message-1", thumbs="up", which="first")


def test_who_cannot_ask_a_service_leaves_what_it_does_not_know_to_those_who_can(emulator, url, made, monkeypatch):
    monkeypatch.setattr(_resolver, "FIND_WITHIN", 0.0)
    tagging = made(store="memory://", backends=[cloudflare(emulator)])
    with tagging.scope(id="message-1"):
        ask(tagging, emulator)
    storing = made(store=url, delivery="none", backends=[cloudflare(emulator)])
    receipt = storing.record_feedback("message-1", thumbs="up")
    plain = made(store=url)
    plain.recorder()  # as the first call does
    until(lambda: receipt.outcomes[0].attempts or storing._tracker.look())
    assert receipt.status == "queued"
    plain.close(0)
    able = made(store=url, backends=[cloudflare(emulator)])
    able.recorder()
    until(lambda: votes(emulator) == [1])


def test_one_id_may_be_given_with_different_words_for_which_calls(emulator, url, made):
    here, there = made(store=url), made(store=url)
    last = there.record_feedback("message-1", thumbs="up")
    both = there.record_feedback("message-1", score=0.5, which="all")
    with here.scope(id="message-1") as scope:
        ask(here, emulator, text="First?")
        ask(here, emulator, text="Second?")
    last.wait(PATIENCE)
    both.wait(PATIENCE)

    assert last.outcomes[-1].ref.id in {ref.id for ref in scope.refs}
    assert {outcome.ref.id for outcome in both.outcomes} <= {ref.id for ref in scope.refs}
    assert 1 in votes(emulator)


def test_a_target_that_leads_nowhere_is_given_up_as_a_dead_letter_that_can_be_retried(
    emulator, url, made, monkeypatch, caplog
):
    monkeypatch.setattr(_resolver, "FIND_WITHIN", 0.2)
    ours = made(store=url)
    receipt = ours.record_feedback("message-1", thumbs="up").wait(PATIENCE)
    [outcome] = receipt.outcomes
    assert (receipt.status, outcome.ref.id) == ("failed", "message-1")
    assert "'message-1' is the id of no scope, response or trace" in outcome.reason
    assert "feedback for unresolved message-1 failed" in caplog.text

    with ours.scope(id="message-1"):
        ask(ours, emulator)
    ours.close()  # which writes what it knows
    assert cli.main(["outbox", "retry", "--store", url, "--all"]) == 0
    assert cli.main(["worker", "--store", url, "--until-empty"]) == 0
    assert votes(emulator) == [1]


def test_an_id_that_is_known_to_be_of_several_calls_is_not_waited_for(emulator, url, made):
    here, there = made(store=url), made(store=url)
    first, second = (ask(here, emulator, extra_headers={"cf-aig-cache-ttl": "60"}) for _ in range(2))
    assert first.id == second.id
    here.close()  # which writes what it knows
    with pytest.raises(thumbprint.AmbiguousTargetError):
        there.record_feedback(first.id, thumbs="up")


def test_an_id_that_becomes_ambiguous_while_it_is_waited_for_is_refused(emulator, url, made, monkeypatch):
    found = threading.Event()

    def ambiguous(target, references):
        found.set()
        raise thumbprint.AmbiguousTargetError("it belongs to more than one call")

    monkeypatch.setattr(_resolver, "resolve_later", ambiguous)
    receipt = made(store=url).record_feedback("chatcmpl-1", thumbs="up").wait(PATIENCE)
    assert found.is_set()
    assert (receipt.status, receipt.outcomes[0].reason) == ("failed", "it belongs to more than one call")


def test_strangers_cannot_fill_the_outbox_with_ids_that_lead_nowhere(url, made, monkeypatch):
    monkeypatch.setattr(_client, "MAX_UNRESOLVED", 2)
    ours = made(store=url)
    for number in range(2):
        ours.record_feedback(f"message-{number}", thumbs="up")
    with pytest.raises(thumbprint.UnknownTargetError, match="message-2"):
        ours.record_feedback("message-2", thumbs="up")
    assert ours.record_feedback("message-1", thumbs="down").status == "queued"  # that one is waited for already


@pytest.mark.parametrize("target", ["", "x" * 1025, "two\nlines", "\ud800", "a tp1.AAAA.BBBB in a text"])
def test_what_can_be_no_id_is_refused_at_once(url, made, target):
    with pytest.raises(thumbprint.UnknownTargetError):
        made(store=url).record_feedback(target, thumbs="up")


def test_what_is_no_id_is_never_waited_for(url, made):
    ours = made(store=url)
    for target in (object(), None, [], ours.scope()):
        with pytest.raises(thumbprint.UnknownTargetError):
            ours.record_feedback(target, thumbs="up")


def test_in_the_memory_of_one_process_nobody_else_can_make_an_id_known_so_it_is_refused_at_once(made):
    with pytest.raises(thumbprint.UnknownTargetError):
        made(store="memory://").record_feedback("message-1", thumbs="up")


class Flawed(SqliteStore):
    """A store that fails as it is told to: when it recalls, or when it is to take what was found."""

    recalls = 0
    puts = 0
    full = 0

    def recall(self, key):
        if self.recalls > 0:
            self.recalls -= 1
            raise StoreError("the store is away")
        return super().recall(key)

    def put(self, items):
        if items[0].ref.backend != "unresolved":
            if self.puts > 0:
                self.puts -= 1
                raise StoreError("the store cannot be written")
            if self.full > 0:
                self.full -= 1
                return False
        return super().put(items)


@pytest.mark.parametrize("fault", ["puts", "full", "recalls"])
def test_what_was_found_waits_on_where_the_store_cannot_take_it_now(emulator, tmp_path, made, fault):
    store = Flawed(tmp_path / "outbox.db")
    ours = made(store=store)
    elsewhere = made(store=SqliteStore(tmp_path / "outbox.db"), delivery="none")  # or it would be known without a look
    receipt = ours.record_feedback("message-1", thumbs="up")
    setattr(store, fault, 2)
    with elsewhere.scope(id="message-1") as scope:
        ask(elsewhere, emulator)
    assert receipt.wait(PATIENCE).status == "delivered"
    assert [outcome.ref.id for outcome in receipt.outcomes] == [scope.last.id]
    assert getattr(store, fault) <= 0
    assert votes(emulator) == [1]


def test_an_id_that_cannot_be_looked_up_now_is_waited_for_and_nothing_is_raised(emulator, tmp_path, made):
    store = Flawed(tmp_path / "outbox.db")
    here, there = made(store=SqliteStore(tmp_path / "outbox.db")), made(store=store)
    with here.scope(id="message-1"):
        ask(here, emulator)
    here.close()
    store.recalls = 1
    assert there.record_feedback("message-1", thumbs="up").wait(PATIENCE).status == "delivered"


def test_a_worker_finds_the_target_and_the_receipt_of_another_process_follows(emulator, url, made):
    ours = made(store=url, delivery="none")
    receipt = ours.record_feedback("message-1", thumbs="up", metadata={"nested": {}})
    with ours.scope(id="message-1") as scope:
        ask(ours, emulator)
    ours.flush(0)
    worker = subprocess.Popen([sys.executable, "-m", "thumbprint", "worker", "--store", url], stdout=subprocess.PIPE)
    try:
        assert receipt.wait(PATIENCE).status == "delivered"
    finally:
        worker.terminate()
        worker.communicate(timeout=PATIENCE)
    [outcome] = receipt.outcomes
    assert (outcome.ref.id, outcome.unsupported) == (scope.last.id, ("metadata.nested",))
    assert votes(emulator) == [1]


def test_where_the_log_entry_was_found_by_asking_elsewhere_the_receipt_says_that_it_is_out_of_its_hands(
    emulator, url, made
):
    ours = made(store=url, delivery="none")
    with made(backends=[cloudflare(emulator)]).scope(id="message-1"):
        tagged = made(backends=[cloudflare(emulator)])
        with tagged.scope(id="message-1"):
            ask(tagged, emulator)
    receipt = ours.record_feedback("message-1", thumbs="up")
    deliverer = made(store=url, backends=[cloudflare(emulator)])
    deliverer.instrument()
    deliverer.recorder()  # as the first call does
    assert receipt.wait(PATIENCE).status == "delivered"
    deliverer.uninstrument()
    assert "another process has found its log entries" in receipt.outcomes[0].reason
    until(lambda: votes(emulator) == [1])


def test_inline_delivery_finds_it_and_delivers_in_one_go(emulator, url, made):
    here = made(store=url)
    there = made(store=url, delivery="inline")
    receipt = there.record_feedback("message-1", thumbs="up")
    assert receipt.status == "queued"
    with here.scope(id="message-1"):
        ask(here, emulator)
    here.close()
    until(lambda: receipt.wait(1).status == "delivered")
    running = {each.name for each in threading.enumerate()}
    assert not running & {"thumbprint-cloudflare", "thumbprint-unresolved", "thumbprint-cloudflare-sender"}
    assert votes(emulator) == [1]


def test_what_a_service_can_hold_nothing_of_is_dropped_when_its_log_entry_is_found(emulator, url, made):
    ours = made(store=url)
    receipt = ours.record_feedback("message-1", metadata={"nested": {}})
    woken = []
    ours_at_end = threading.Thread(target=lambda: woken.append(receipt.wait(PATIENCE).status))
    ours_at_end.start()
    with ours.scope(id="message-1"):
        ask(ours, emulator)
    ours_at_end.join(PATIENCE)
    assert woken == ["dropped"]
    assert ours.flush(PATIENCE).dropped == 1


def test_settings_that_are_missing_where_it_is_found_keep_it_until_somebody_has_them(emulator, url, made):
    blind = made(store=url, backends=[thumbprint.Braintrust()])
    receipt = blind.record_feedback("message-1", thumbs="up")
    here = made(store=url)
    with here.scope(id="message-1"):
        ask(here, emulator)
    assert receipt.wait(PATIENCE).status == "delivered"
    assert votes(emulator) == [1]


def test_the_event_is_told_when_the_target_is_found_and_is_on_the_span_of_the_call(emulator, url, made, monkeypatch):
    telemetry = Telemetry()
    monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", telemetry.logger_provider)
    ours = made(store=url)
    receipt = ours.record_feedback("message-1", thumbs="up")
    assert telemetry.events == []
    with telemetry.span(), ours.scope(id="message-1"):
        ask(ours, emulator)
    receipt.wait(PATIENCE)
    [span], [event] = telemetry.spans, telemetry.events
    assert (event["trace_id"], event["span_id"]) == (span["trace_id"], span["span_id"])


# by the tags of requests


def cloudflare(emulator, **settings):
    environ = emulator.environ()
    told = {
        "api_token": environ["CLOUDFLARE_API_TOKEN"],
        "account_id": environ["CLOUDFLARE_ACCOUNT_ID"],
        "gateway_id": environ["CLOUDFLARE_GATEWAY_ID"],
        "base_url": environ["CLOUDFLARE_BASE_URL"],
        "gateway_url": emulator.cloudflare_openai_url,
        "tag_requests": True,
        "ingestion_lag": 0.0,
    }
    return thumbprint.Cloudflare(**told | settings)


@pytest.fixture
def two(emulator, made):
    """Two that share no store, as processes without one do."""
    return [made(store="memory://", backends=[cloudflare(emulator)]) for _ in range(2)]


def test_a_vote_by_a_scopes_id_needs_no_store_where_requests_are_tagged(emulator, two):
    here, there = two
    with here.scope(id="request-1"), here.scope() as inner:
        ask(here, emulator, extra_headers={"cf-aig-metadata": '{"mine": 1}'})
    [log] = emulator.cloudflare_logs()
    assert log["metadata"] == {
        "mine": 1,
        "thumbprint.scope_id": inner.id,
        "thumbprint.scope_id.2": "request-1",
    }

    receipts = [there.record_feedback("request-1", thumbs="up"), there.record_feedback(inner.id, score=0.5)]
    assert {receipt.wait(PATIENCE).status for receipt in receipts} == {"delivered"}
    assert {outcome.ref.id for receipt in receipts for outcome in receipt.outcomes} == {log["id"]}
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"]) == (1, 50)


def test_the_last_call_before_the_vote_that_generated_an_answer_is_meant(emulator, two, monkeypatch):
    here, there = two
    client = here.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with here.scope(id="request-1"):
        ask(here, emulator, text="First?")
        ask(here, emulator, text="Second?")
        client.embeddings.create(model="text-embedding-3-small", input="Ulm")
        emulator.fail("/v1", status=500, times=1)
        with pytest.raises(Exception, match="500"):
            ask(here, emulator, text="Third?")
    monkeypatch.setattr(_resolver, "CLOCK_SKEW", 0.0)
    receipt = there.record_feedback("request-1", thumbs="up")
    with here.scope(id="request-1"):
        ask(here, emulator, text="Fourth?")
    receipt.wait(PATIENCE)
    by_text = {
        json.loads(log["request"]).get("messages", [{}])[0].get("content"): log for log in emulator.cloudflare_logs()
    }
    assert {text: log["feedback"] for text, log in by_text.items() if log["feedback"]} == {"Second?": 1}


def test_a_service_is_asked_only_once_its_logs_are_written(emulator, made):
    here = made(backends=[cloudflare(emulator)])
    there = made(backends=[cloudflare(emulator, ingestion_lag=1.0)])
    with here.scope(id="request-1"):
        ask(here, emulator)
    began = time.monotonic()
    receipt = there.record_feedback("request-1", thumbs="up").wait(PATIENCE)
    assert receipt.status == "delivered"
    assert time.monotonic() - began >= 1.0
    assert votes(emulator) == [1]


def test_a_service_that_refuses_the_token_or_asks_for_a_pause_holds_up_nobody_whom_the_store_knows(emulator, url, made):
    here = made(store=url)
    there = made(store=url, backends=[cloudflare(emulator)])
    emulator.fail("/client/v4", method="GET", status=403, times=1)
    emulator.fail("/client/v4", method="GET", status=429, headers={"retry-after": "600"}, times=None)
    unknown = [there.record_feedback(f"unknown-{number}", thumbs="up") for number in range(3)]
    until(lambda: all(receipt.outcomes[0].reason for receipt in unknown))
    known = there.record_feedback("message-1", thumbs="up")
    with here.scope(id="message-1"):
        ask(here, emulator)
    until(lambda: known.outcomes[0].ref.backend == "cloudflare")
    assert {receipt.status for receipt in unknown} == {"queued"}


def test_an_id_that_the_service_does_not_know_either_is_given_up(emulator, two, monkeypatch):
    monkeypatch.setattr(_resolver, "FIND_WITHIN", 0.2)
    receipt = two[1].record_feedback("request-1", thumbs="up").wait(PATIENCE)
    assert (receipt.status, receipt.outcomes[0].attempts > 0) == ("failed", True)


def test_a_service_that_fails_is_asked_again_and_that_one_refuses_the_token_is_said(emulator, two, made):
    here, there = two
    with here.scope(id="request-1"):
        ask(here, emulator)
    emulator.fail("/client/v4", status=500, times=2)
    assert there.record_feedback("request-1", thumbs="up").wait(PATIENCE).status == "delivered"

    refused = made(backends=[cloudflare(emulator, api_token="wrong")])
    receipt = refused.record_feedback("request-1", thumbs="down")
    until(lambda: receipt.outcomes[0].reason)
    assert "cloudflare: its logs cannot be read: HTTP 403" in receipt.outcomes[0].reason
    assert votes(emulator) == [1]


def test_tagging_is_off_by_default_and_without_a_scope_there_is_nothing_to_tag(emulator, made):
    plain, tagging = made(), made(backends=[cloudflare(emulator)])
    with plain.scope():
        ask(plain, emulator)
    ask(tagging, emulator)
    assert [log["metadata"] for log in emulator.cloudflare_logs()] == [{}, {}]


def test_without_an_account_and_a_gateway_nothing_can_be_looked_for_so_an_id_is_refused_at_once(made):
    ours = made(backends=[thumbprint.Cloudflare(api_token="t", tag_requests=True)])
    with pytest.raises(thumbprint.UnknownTargetError):
        ours.record_feedback("request-1", thumbs="up")


def test_a_fault_in_a_backends_tagging_costs_no_call(emulator, made, caplog, monkeypatch):
    ours = made(backends=[cloudflare(emulator)])
    monkeypatch.setattr(thumbprint.Cloudflare, "tag_headers", lambda *_: 1 / 0)
    with ours.scope():
        ask(ours, emulator)
    assert "a request could not be captured" in caplog.text


def test_in_the_outbox_of_one_process_too_a_full_store_keeps_what_waits(emulator, made):
    here = made(backends=[cloudflare(emulator)])
    store = MemoryStore(max_items=2)
    there = made(store=store, backends=[cloudflare(emulator)])
    with here.scope(id="request-1"):
        ask(here, emulator)
    receipt = there.record_feedback("request-1", thumbs="up")
    assert receipt.wait(PATIENCE).status == "delivered"


# where receipts are kept up to date


def unresolved_item(tracker):
    items = []
    ref = unresolved("message-1", "id", "last").to_ref()
    receipt = tracker.open_unresolved((ref,), feedback_from(thumbs="up"), None, items)
    return receipt, items[0]


FOUND = (LogRef(backend="cloudflare", id="1"), LogRef(backend="braintrust", id="2"))


def test_what_another_process_recorded_is_handed_on_without_a_receipt():
    elsewhere, here = Tracker(), Tracker()
    receipt, item = unresolved_item(elsewhere)
    items = here.resolve(item, FOUND, None)
    assert [each.id for each in items] == [receipt.id, f"{receipt.id}-1"]
    here.leave_unresolved(item, items)
    here.hand_on(item, items)
    assert (here.queued(), receipt.status) == ([], "queued")


def test_whoever_takes_another_trackers_place_has_the_receipts_of_what_waits():
    before, after = Tracker(), Tracker()
    receipt, item = unresolved_item(before)
    after.succeed(before)
    after.take_over([item.id], before, None)
    assert (before.holds(item.id), after.holds(item.id)) == (False, True)
    after.hand_on(item, after.resolve(item, FOUND, None))
    assert [outcome.ref for outcome in receipt.outcomes] == list(FOUND)


def test_what_is_handed_over_while_it_is_looked_for_is_left_to_who_has_it_now(two):
    _, item = unresolved_item(Tracker())
    assert two[0]._resolver._handed_on(item, FOUND).kind == "retry"
    assert two[0]._settings.store.depths() == []


def test_who_awaits_what_can_be_delivered_nowhere_hears_of_it_when_its_log_entry_is_found():
    tracker, heard = Tracker(), []
    receipt, item = unresolved_item(tracker)
    tracker.call_when_settled(receipt, lambda: heard.append(receipt.status))
    items = tracker.resolve(item, FOUND[:1], {0: Told("dropped", "it can hold none of it")})
    tracker.hand_on(item, items)
    assert (items, heard) == ([], ["dropped"])
