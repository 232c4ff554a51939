"""A store that is away for a while: what is put waits in memory, and moves there in order."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis_server import Server

import thumbprint
from thumbprint import LogRef, StoreError
from thumbprint._model import Feedback, Item
from thumbprint.delivery import _lane
from thumbprint.stores import BufferedStore, MemoryStore, SqliteStore, buffered

NOW = 2_000_000_000.0
LONG = 30  # seconds, on a machine that is busy


def item(number, entry="e"):
    ref = LogRef(backend="cloudflare", id=entry)
    return Item(id=str(number), ref=ref, feedback=Feedback(thumbs=1), created_at=1.0)


class Away(MemoryStore):
    """A store that others share, and that can be away."""

    shared = True
    away = False
    meanwhile = None  # what happens in the middle of the next put

    def put(self, items):
        if self.away:
            raise StoreError("it is away")
        meanwhile, self.meanwhile = self.meanwhile, None
        taken = super().put(items)
        if meanwhile is not None:
            meanwhile()
        return taken


@pytest.fixture
def inner():
    return Away()


@pytest.fixture
def store(inner):
    return BufferedStore(inner, max_items=3)


def claimed(store):
    return [one.id for claim in store.claim("cloudflare", now=NOW, most=9, lease=60.0) for one in claim.items]


def test_while_the_store_is_there_nothing_waits(store, inner):
    assert store.put([item(1)])

    assert store.unsaved() == []
    assert [one.id for one in inner.listed(dead=False, most=9)] == ["1"]


def test_what_is_put_while_it_is_away_moves_in_order_before_what_comes_later(store, inner, caplog):
    store.put([item(1)])
    inner.away = True
    assert store.put([item(2)])
    assert store.put([item(3)])
    assert [one.id for one in store.unsaved()] == ["2", "3"]
    inner.away = False
    assert store.put([item(4)])

    assert store.unsaved() == []
    assert claimed(store) == ["1", "2", "3", "4"]
    assert "waits in memory until the store can be written: it is away" in caplog.text


@pytest.mark.parametrize("look", [claimed, lambda store: store.next_due("cloudflare")])
def test_looking_at_the_outbox_moves_them(store, inner, look):
    inner.away = True
    store.put([item(1)])
    with pytest.raises(StoreError, match="it is away"):
        look(store)
    inner.away = False
    look(store)

    assert store.unsaved() == []


def test_where_memory_is_full_too_nothing_is_taken(store, inner):
    inner.away = True

    assert store.put([item(1), item(2)])
    assert not store.put([item(3), item(4)])
    assert store.put([item(5)])
    assert [one.id for one in store.unsaved()] == ["1", "2", "5"]


def test_where_the_store_is_full_they_wait_on(inner):
    inner._max_items = 0
    store = BufferedStore(inner)
    inner.away = True
    store.put([item(1)])
    inner.away = False
    assert claimed(store) == []
    store.put([item(2)])
    assert [one.id for one in store.unsaved()] == ["1", "2"]


def test_what_waits_in_memory_is_queued(store, inner):
    store.put([item(1)])
    inner.away = True
    store.put([item(2)])

    assert {name: fate for name, (fate, _) in store.fates(["1", "2", "3"]).items()} == {"1": "queued", "2": "queued"}


def test_nobody_can_tell_which_generation_will_have_what_waits_in_memory(tmp_path, monkeypatch):
    def fail(items):
        raise StoreError("it is away")

    inner = SqliteStore(tmp_path / "outbox.db")
    store = BufferedStore(inner)
    generation = store.put([item(1)])
    with monkeypatch.context() as patched:
        patched.setattr(inner, "put", fail)
        assert store.put([item(2)]) is True
    assert store.fates(["1", "2"], generation).keys() == {"1", "2"}
    assert store.put([item(3)]) == generation
    assert list(store.fates(["1", "2"], generation)) == ["1", "2"]
    store.close()


def test_it_is_closed_with_the_store(tmp_path):
    inner = SqliteStore(tmp_path / "outbox.db")
    store = BufferedStore(inner)
    store.put([item(1)])
    store.close()

    assert inner._file._connection is None
    assert repr(store) == f"BufferedStore({inner!r})"
    assert store.check() == inner.check()


def test_a_child_process_begins_without_them(store, inner):
    inner.away = True
    store.put([item(1)])
    buffered._after_fork()

    assert store.unsaved() == []


def test_nobody_waits_for_the_thread_that_moves_what_waits(inner):
    store = BufferedStore(inner)
    inner.away = True
    store.put([item(1)])
    inner.away = False
    at_it, go_on = threading.Event(), threading.Event()
    inner.meanwhile = lambda: [at_it.set(), go_on.wait(LONG)]
    with ThreadPoolExecutor(1) as other:
        moving = other.submit(store.put, [item(2)])
        at_it.wait(LONG)
        assert store.put([item(3)])
        assert store.next_due("cloudflare") is not None
        assert [one.id for one in store.unsaved()] == ["1", "3"]
        assert not moving.done()
        go_on.set()

    assert claimed(store) == ["1", "3", "2"]


def test_what_is_put_by_who_interrupts_the_moving_in_its_own_thread_is_kept_in_order(inner):
    """As a signal handler does, and a finalizer."""
    store = BufferedStore(inner)
    inner.away = True
    for number in range(250):
        store.put([item(number)])
    inner.away = False
    inner.meanwhile = lambda: store.put([item(250)])
    store.put([item(251)])

    assert claimed(store) == [str(number) for number in range(252)]


def test_more_than_move_at_once_move_all_the_same(inner):
    store = BufferedStore(inner)
    inner.away = True
    for number in range(250):
        store.put([item(number, entry=str(number))])
    inner.away = False
    store.move()

    assert inner.depths()[0].queued == 250


# --- with a real server


@pytest.fixture
def server():
    with Server(durable=True) as running:
        yield running


def vote(comment):
    ref = LogRef(backend="braintrust", id="row", project_name="emulator", captured_at=time.time())
    return thumbprint.record_feedback(ref, comment=comment)


def comments(emulator):
    """Return the comments on the row, in the order in which they arrived."""
    posts = [seen for seen in emulator.requests() if seen.method == "POST" and seen.status == 200]
    return [item["comment"] for seen in posts for item in json.loads(seen.body)["feedback"]]


def test_a_server_that_is_down_at_the_start_costs_feedback_and_says_so(emulator, server, caplog):
    server.stop()
    thumbprint.configure(store=server.url)
    receipt = vote("lost")

    assert receipt.status == "dropped"
    assert f"127.0.0.1:{server.port}" in receipt.outcomes[0].reason
    assert "feedback was dropped: the store 'redis://127.0.0.1" in caplog.text


def test_when_the_server_is_back_feedback_is_delivered_again(emulator, server):
    server.stop()
    thumbprint.configure(store=server.url)
    vote("lost")
    server.start()
    ends_at = time.monotonic() + LONG
    while (receipt := vote("arrives")).status == "dropped" and time.monotonic() < ends_at:
        time.sleep(0.05)

    assert receipt.wait(LONG).status == "delivered"


def test_with_a_fallback_feedback_waits_for_a_server_that_is_down_and_arrives_in_order(emulator, server):
    server.stop()
    thumbprint.configure(store=server.url, fallback="memory")
    receipts = [vote(f"{number}") for number in range(5)]
    assert [receipt.status for receipt in receipts] == ["queued"] * 5
    server.start()
    receipts.append(vote("5"))

    assert [receipt.wait(LONG).status for receipt in receipts] == ["delivered"] * 6
    assert "\n\n".join(comments(emulator)).split() == list("012345")


def test_a_server_that_goes_down_later_delays_what_it_has_and_what_comes(emulator, server, monkeypatch):
    monkeypatch.setattr(_lane, "LEASE", 2.0)  # for this long, where the server goes just before it can be ended
    thumbprint.configure(store=server.url, fallback="memory")
    emulator.fail("/v1/project_logs", status=503, times=1)
    receipts = [vote("0")]
    server.stop()
    receipts += [vote("1"), vote("2")]
    server.start()

    assert [receipt.wait(LONG).status for receipt in receipts] == ["delivered"] * 3
    assert "\n\n".join(dict.fromkeys(comments(emulator))).split() == list("012")


def test_where_only_stored_what_waited_in_memory_moves_with_what_comes_next(emulator, server):
    server.stop()
    own = thumbprint.Thumbprint(store=server.url, fallback="memory", delivery="none")
    ref = LogRef(backend="braintrust", id="row", project_name="emulator")
    own.record_feedback(ref, comment="waits")
    server.start()
    ends_at = time.monotonic() + LONG
    while own._settings.store.unsaved() and time.monotonic() < ends_at:
        own.record_feedback(ref, comment="comes")
        time.sleep(0.05)

    assert own._settings.store.unsaved() == []
    assert own._settings.store.depths()[0].queued >= 2
    own.close(0)


def test_at_the_end_what_waits_in_memory_moves_once_more(inner, store):
    inner.away = True
    store.put([item(1)])
    inner.away = False
    store.close(LONG)

    assert store.unsaved() == []


@pytest.mark.parametrize("error", [StoreError, OSError])
def test_closing_tries_to_move_what_waits_as_long_as_it_has_time(inner, store, monkeypatch, error):
    def fail(items):
        failures.append(items)
        monkeypatch.undo()
        raise error

    failures = []
    inner.away = True
    store.put([item(1)])
    inner.away = False
    monkeypatch.setattr(inner, "put", fail)
    store.close(None)

    assert len(failures) == 1
    assert store.unsaved() == []


def test_closing_waits_no_longer_than_it_may_for_a_store_that_hangs(inner, store):
    inner.away = True
    store.put([item(1)])
    inner.away = False
    go_on = threading.Event()
    inner.meanwhile = lambda: go_on.wait(10 * LONG)
    began = time.monotonic()
    store.close(0.1)

    assert time.monotonic() - began < LONG
    go_on.set()


def test_closing_gives_up_on_a_store_that_stays_away(inner, store):
    inner.away = True
    store.put([item(1)])
    store.close(0.1)

    assert [one.id for one in store.unsaved()] == ["1"]


def test_what_waits_moves_where_no_thread_can_be_started_any_more(inner, store, monkeypatch):
    """As at the end of the interpreter, from Python 3.12 on."""

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    inner.away = True
    store.put([item(1)])
    inner.away = False
    monkeypatch.setattr(threading.Thread, "start", refuse)
    store.close()

    assert store.unsaved() == []


def test_what_is_abandoned_does_not_move_any_more(inner, store):
    inner.away = True
    store.put([item(1)])
    inner.away = False

    assert store.abandon() == [item(1)]
    assert store.abandon() == claimed(store) == []


def test_what_still_waits_in_memory_at_the_end_is_dropped_and_told(emulator, server, caplog):
    server.stop()
    own = thumbprint.Thumbprint(store=server.url, fallback="memory")
    receipt = own.record_feedback(LogRef(backend="cloudflare", id="1"), thumbs="up")
    result = own.close(0.1)

    assert receipt.status == "dropped"
    assert (result.dropped, result.remaining) == (1, 0)
    assert "not delivered in time, and lost: feedback for 1 log entry" in caplog.text


def test_what_is_lost_at_the_end_is_counted_where_nobody_holds_its_receipt(emulator, server, caplog):
    server.stop()
    own = thumbprint.Thumbprint(store=server.url, fallback="memory", delivery="none")
    for name in "123":
        own.record_feedback(LogRef(backend="cloudflare", id=name), thumbs="up")
    result = own.close(0)

    assert (result.dropped, result.remaining) == (3, 0)
    assert "not delivered in time, and lost: feedback for 3 log entries" in caplog.text


def test_an_id_that_cannot_be_looked_up_drops_the_feedback_and_never_raises(emulator, server, caplog):
    server.stop()
    thumbprint.configure(store=server.url)
    receipt = thumbprint.record_feedback("message-of-another-process", thumbs="up")

    assert (receipt.status, [outcome.ref.backend for outcome in receipt.outcomes]) == ("dropped", ["unresolved"])
    assert "feedback was dropped: the store 'redis://127.0.0.1" in caplog.text


def test_a_trace_that_cannot_be_looked_up_drops_the_feedback_and_never_raises(emulator, server, caplog):
    from telemetry import Telemetry  # noqa: PLC0415 - the only test here that has a span

    server.stop()
    thumbprint.configure(store=server.url)
    with Telemetry().span():
        receipt = thumbprint.record_feedback(thumbs="up")

    assert (receipt.status, receipt.outcomes) == ("dropped", ())
    assert "feedback was dropped: the store 'redis://127.0.0.1" in caplog.text
