"""Rows of calls in the outbox: each is written before the feedback for it, whatever happens between the two."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from thumbprint import LogRef, Thumbprint
from thumbprint._model import Feedback, Item
from thumbprint.backends import Braintrust, Cloudflare, Exchange
from thumbprint.backends.braintrust import _is_own
from thumbprint.delivery import _courier
from thumbprint.stores._json import Unreadable, item_from_json, item_to_json

PROJECT = "project_name:emulated"
EXCHANGE = Exchange(method="POST", url="https://any", request_headers={}, response_headers={}, operation="chat")
INSERT, FEEDBACK = "insert", "feedback"


@pytest.fixture
def thumb(emulator):
    opened = Thumbprint(backends=[Braintrust(log_calls=True)])
    yield opened
    opened.close(5)


def new_ref(thumb):
    return thumb._settings.backends["braintrust"].new_entry(EXCHANGE)


def log(thumb, ref, **row):
    thumb._dispatch.log(ref, {"id": ref.id, **row})


def posts(emulator):
    """Return what was POSTed to Braintrust's rows, in order: the verb, and the ids that it was about."""
    found = []
    for request in emulator.requests():
        verb = request.path.rpartition("/")[2]
        if verb in {INSERT, FEEDBACK}:
            body = json.loads(request.body)
            found.append((verb, [each["id"] for each in body["events" if verb == INSERT else "feedback"]]))
    return found


def rows(emulator):
    return {row["id"]: row for row in emulator.braintrust_rows()}


@pytest.fixture
def stored(tmp_path, emulator):
    """What records, and delivers nothing: that is left to another process."""
    opened = Thumbprint(backends=[Braintrust(log_calls=True)], store=f"sqlite:///{tmp_path / 'db'}", delivery="none")
    yield opened
    opened.close(5)


def until(condition):
    ends_at = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


def await_stored(thumb, count):
    """Wait until a thread of its has stored so many rows."""
    until(lambda: sum(depth.queued for depth in thumb._settings.store.depths()) >= count)


def deliver_from(store, **settings):
    """Deliver what another process has stored, until nothing waits."""
    thumb = Thumbprint(backends=[Braintrust(**settings)], store=store)
    ends_at = time.monotonic() + 10
    thumb.recorder()  # from here on it delivers
    while any(depth.queued for depth in thumb._settings.store.depths()) and time.monotonic() < ends_at:
        time.sleep(0.01)
    thumb.close(5)


def test_a_row_is_written_and_takes_feedback(thumb, emulator):
    ref = new_ref(thumb)
    log(thumb, ref, input="Where is Ulm?", output="On the Danube.")
    receipt = thumb.record_feedback(ref, thumbs="up").wait(5)

    assert receipt.status == "delivered"
    row = rows(emulator)[ref.id]
    assert (row["input"], row["output"], row["scores"], row["stray"]) == (
        "Where is Ulm?",
        "On the Danube.",
        {"thumbs": 1},
        False,
    )
    assert posts(emulator)[0] == (INSERT, [ref.id])


def test_flush_waits_for_rows_too(thumb, emulator):
    ref = new_ref(thumb)
    log(thumb, ref, input="any")

    assert thumb.flush(5).delivered == 1
    assert rows(emulator)[ref.id]["input"] == "any"


def test_parts_of_a_row_and_feedback_for_it_go_out_together_in_order(emulator):
    thumb = Thumbprint(backends=[Braintrust(log_calls=True)])
    emulator.fail("insert", status=503)
    ref = new_ref(thumb)
    log(thumb, ref, input="any", metadata={"model": "gpt-5", "n": 1})
    thumb.record_feedback(ref, thumbs="up")
    log(thumb, ref, output="answer", metadata={"n": 2})
    thumb.record_feedback(ref, thumbs="down", comment="no")
    assert thumb.flush(10).delivered == 4
    thumb.close()

    row = rows(emulator)[ref.id]
    assert (row["input"], row["output"], row["metadata"]) == ("any", "answer", {"model": "gpt-5", "n": 2})
    assert (row["scores"], row["stray"]) == ({"thumbs": 0}, False)
    assert [verb for verb, _ in posts(emulator)][-1] == FEEDBACK


def test_feedback_waits_while_the_row_cannot_be_written(thumb, emulator):
    fault = emulator.fail("insert", status=503, times=3)
    ref = new_ref(thumb)
    log(thumb, ref, input="any")
    receipt = thumb.record_feedback(ref, thumbs="up").wait(10)

    assert (receipt.status, fault.hits) == ("delivered", 3)
    assert [verb for verb, _ in posts(emulator)] == [INSERT] * 4 + [FEEDBACK]
    assert not any(row["stray"] for row in emulator.braintrust_rows())


def test_many_rows_and_their_feedback_share_requests(stored, emulator, tmp_path):
    for ref in [new_ref(stored) for _ in range(20)]:
        log(stored, ref, input="any")
        stored.record_feedback(ref, thumbs="up")
    deliver_from(f"sqlite:///{tmp_path / 'db'}")

    assert [(verb, len(ids)) for verb, ids in posts(emulator)] == [(INSERT, 20), (FEEDBACK, 20)]


def test_rows_that_are_too_much_for_one_request_go_in_several(stored, emulator, tmp_path, monkeypatch):
    monkeypatch.setattr(Braintrust, "log_size", 1000)
    refs = [new_ref(stored) for _ in range(5)]
    for ref in refs:
        log(stored, ref, input="x" * 400)
    log(stored, refs[4], output="y" * 5000)
    await_stored(stored, 6)
    deliver_from(f"sqlite:///{tmp_path / 'db'}")

    assert [(verb, len(ids)) for verb, ids in posts(emulator)] == [(INSERT, 2), (INSERT, 2), (INSERT, 1)]
    assert len(rows(emulator)) == 5


def test_a_row_that_is_refused_is_found_among_others_and_its_feedback_lands_on_a_bare_one(thumb, emulator):
    refs = [new_ref(thumb) for _ in range(3)]
    emulator.fail("insert", status=503)
    for number, ref in enumerate(refs):
        log(thumb, ref, input="any", metrics="no object" if number == 1 else {})
    receipts = [thumb.record_feedback(ref, thumbs="up").wait(10) for ref in refs]
    result = thumb.flush(5)

    assert [receipt.status for receipt in receipts] == ["delivered"] * 3
    assert (result.delivered, result.failed) == (5, 1)
    row = rows(emulator)[refs[1].id]
    assert (row["input"], row["scores"], row["stray"]) == (None, {"thumbs": 1}, False)
    assert row["metadata"] == {"operation": "chat"}
    (dead,) = thumb._settings.store.listed(dead=True, most=5)
    assert "metrics must be an object" in dead.reason
    assert dead.row["input"] == "any"


def test_where_not_even_a_bare_row_is_taken_the_feedback_is_a_dead_letter_with_the_reason(thumb, emulator):
    emulator.fail("insert", status=400, body="no rows today", times=None)
    ref = new_ref(thumb)
    log(thumb, ref, input="any")
    receipt = thumb.record_feedback(ref, thumbs="up").wait(5)

    assert receipt.status == "failed"
    assert "no rows today" in receipt.outcomes[0].reason
    assert emulator.braintrust_rows() == []


def test_feedback_for_a_row_that_was_lost_makes_no_stray_one(emulator):
    lost = Thumbprint(backends=[Braintrust(log_calls=True)])
    ref = new_ref(lost)  # and the process dies before the row is written
    elsewhere = Thumbprint(backends=[Braintrust()])
    elsewhere.record_feedback(ref, thumbs="up").wait(5)
    elsewhere.record_feedback(ref, comment="again").wait(5)
    elsewhere.close()

    assert [verb for verb, _ in posts(emulator)] == [INSERT, FEEDBACK, FEEDBACK]
    (row,) = emulator.braintrust_rows()
    assert (row["id"], row["stray"], row["span_attributes"]) == (ref.id, False, {"name": "chat", "type": "llm"})


def test_a_row_that_comes_after_its_feedback_leaves_the_scores_as_they_are(thumb, emulator):
    ref = new_ref(thumb)
    thumb.record_feedback(ref, thumbs="up").wait(5)
    log(thumb, ref, input="any")
    thumb.flush(5)

    assert rows(emulator)[ref.id]["scores"] == {"thumbs": 1}
    assert rows(emulator)[ref.id]["input"] == "any"


def test_a_project_that_is_not_there_is_made_by_the_first_row(emulator, monkeypatch):
    monkeypatch.setenv("BRAINTRUST_PARENT", "project_name:new")
    thumb = Thumbprint(backends=[Braintrust(log_calls=True)])
    ref = new_ref(thumb)
    log(thumb, ref, input="any")
    thumb.flush(5)
    thumb.close()

    assert rows(emulator)[ref.id]["project_name"] == "new"


def test_a_project_that_cannot_be_looked_up_has_its_rows_wait(thumb, emulator):
    emulator.fail("/v1/project", method="POST", status=500)
    log(thumb, new_ref(thumb), input="any")

    assert thumb.flush(10).delivered == 1


def test_rows_and_feedback_survive_the_death_of_the_process(emulator, tmp_path):
    store = f"sqlite:///{tmp_path / 'store.db'}"
    script = f"""
import os, thumbprint
from thumbprint.backends import Braintrust, Exchange
thumb = thumbprint.Thumbprint(backends=[Braintrust(log_calls=True)], store={store!r}, delivery="none")
exchange = Exchange(method="POST", url="https://any", request_headers={{}}, response_headers={{}}, operation="chat")
ref = thumb._settings.backends["braintrust"].new_entry(exchange)
thumb._dispatch.log(ref, {{"id": ref.id, "input": "any"}})
thumb.record_feedback(ref, thumbs="up")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    deliver_from(store)

    assert posts(emulator)[0][0] == INSERT
    (row,) = emulator.braintrust_rows()
    assert (row["input"], row["scores"], row["stray"]) == ("any", {"thumbs": 1}, False)


def test_of_too_many_rows_the_later_are_dropped_and_counted(thumb, emulator, monkeypatch, caplog):
    monkeypatch.setattr("thumbprint._row_queue.MOST", 100)
    monkeypatch.setattr("thumbprint._row_queue.MOST_ROWS", 200)
    emulator.fail("insert", status=503, times=None, headers={"retry-after": "60"})
    for _ in range(5):
        log(thumb, new_ref(thumb), input="any")

    result = thumb.flush(0)
    assert (result.dropped, result.remaining) == (2, 3)
    assert "too many rows wait to be written" in caplog.text


def test_rows_leave_room_for_feedback(thumb, emulator, monkeypatch, caplog):
    monkeypatch.setattr("thumbprint._row_queue.MOST_WAITING", 2)
    emulator.fail("insert", status=503, times=None, headers={"retry-after": "60"})
    refs = [new_ref(thumb) for _ in range(3)]
    for ref in refs:
        log(thumb, ref, input="any")

    assert [thumb.record_feedback(ref, thumbs="up").status for ref in refs] == ["queued"] * 3
    assert thumb.flush(0).dropped == 1
    assert "the row of a call was dropped: too many rows wait to be written" in caplog.text


def test_rows_of_an_entry_keep_their_order_whoever_puts_them(stored, monkeypatch):
    """While a thread puts the first, another one has the next, and feedback that waits for neither."""
    store, ref = stored._settings.store, new_ref(stored)
    begun, go_on, put = threading.Event(), threading.Event(), store.put

    def slow(items):
        if items[0].row and "input" in items[0].row:
            begun.set()
            assert go_on.wait(5)
        return put(items)

    monkeypatch.setattr(store, "put", slow)
    log(stored, ref, input="any", output=None)
    assert begun.wait(5)
    log(stored, ref, output="Ulm")
    assert stored.record_feedback(ref, thumbs="up").status == "queued"
    go_on.set()
    stored.shutdown(5)

    [claim] = store.claim("braintrust", now=time.time(), most=1, lease=60)
    assert _courier.merged_rows([item for item in claim.items if item.row])["output"] == "Ulm"


@contextlib.contextmanager
def locked(path):
    """Keep everybody else from writing to a store."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Return the path of a store, for which nobody waits long."""
    for name in ("PATIENCE", "CALLER_PATIENCE", "HURRY"):
        monkeypatch.setattr(f"thumbprint.stores._sqlite_file.{name}", 0.01)
    return tmp_path / "db"


def test_rows_wait_while_the_store_is_locked(emulator, path, caplog):
    """Feedback, which its caller is told of, does not, and leaves them there."""
    thumb = Thumbprint(backends=[Braintrust(log_calls=True)], store=f"sqlite:///{path}", delivery="none")
    first, second = new_ref(thumb), new_ref(thumb)
    log(thumb, first, input="before")
    thumb.record_feedback(first, thumbs="up")
    with locked(path):
        log(thumb, second, input="meanwhile")
        assert thumb.record_feedback(second, thumbs="down").status == "dropped"
        until(lambda: "rows of calls wait to be stored: the store" in caplog.text)
    assert thumb.record_feedback(first, thumbs="up").status == "queued"

    kept = [item.row["input"] for item in thumb._settings.store.listed(dead=False, most=9) if item.row]
    assert kept == ["before", "meanwhile"]
    thumb.close(0)


def test_of_rows_that_cannot_be_stored_too_many_are_dropped(stored, monkeypatch, caplog):
    monkeypatch.setattr("thumbprint._row_queue.MOST_WAITING", 2)
    monkeypatch.setattr(stored._references, "later", lambda _: True)  # a thread that never comes to it
    for _ in range(3):
        log(stored, new_ref(stored), input="any")
    assert "too many rows wait to be written" in caplog.text

    stored._dispatch._rows.put()
    for _ in range(3):
        log(stored, new_ref(stored), input="any")
        stored._dispatch._rows.put()
    assert len(stored._settings.store.listed(dead=False, most=9)) == 5


def test_rows_that_cannot_be_stored_are_dropped_when_thumbprint_is_closed(emulator, path, caplog):
    thumb = Thumbprint(backends=[Braintrust(log_calls=True)], store=f"sqlite:///{path}", delivery="none")
    log(thumb, new_ref(thumb), input="before")
    thumb.flush(0)
    thumb._dispatch._rows.put()
    with locked(path):
        log(thumb, new_ref(thumb), input="any")
        thumb.close(0)
    assert "the row of a call was dropped: thumbprint was closed" in caplog.text


def test_rows_that_cannot_be_stored_go_to_the_next_configuration(emulator, path):
    first = Thumbprint(backends=[Braintrust(log_calls=True)], store=f"sqlite:///{path}", delivery="inline")
    second = Thumbprint(backends=[Braintrust(log_calls=True)])
    ref = new_ref(first)
    log(first, new_ref(first), input="before")
    with locked(path):
        log(first, ref, input="any")
        second.succeed(first)
        first.hand_over(second)
    second.flush(5)
    second.close()
    assert rows(emulator)[ref.id]["input"] == "any"


def test_in_inline_delivery_flush_writes_rows(emulator):
    thumb = Thumbprint(backends=[Braintrust(log_calls=True), Cloudflare()], delivery="inline")
    ref = new_ref(thumb)
    log(thumb, ref, input="any")
    assert emulator.braintrust_rows() == []

    assert thumb.flush(None).delivered == 1
    assert rows(emulator)[ref.id]["input"] == "any"
    thumb.close()


def test_rows_for_a_backend_that_writes_none_are_refused(emulator):
    class Plain(Cloudflare):
        pass

    thumb = Thumbprint(backends=[Plain()])
    thumb._dispatch.log(LogRef(backend="cloudflare", id="log"), {"input": "any"})

    assert thumb.flush(5).failed == 1
    (dead,) = thumb._settings.store.listed(dead=True, most=1)
    assert dead.reason == "the backend 'cloudflare' writes no log entries"
    thumb.close()


def test_the_ids_of_rows_are_told_from_others():
    backend = Braintrust(parent=PROJECT)
    assert _is_own(backend.new_entry(EXCHANGE).id)
    assert not _is_own("row")
    assert not _is_own("11111111-2222-4333-8444-555555555555")


def test_the_rows_of_an_entry_are_merged_in_depth():
    ref = LogRef(backend="braintrust", id="row")
    parts = [{"a": {"b": 1, "c": 2}, "d": 1}, {"a": {"b": 3}, "d": {"e": 1}}]
    items = [Item("i", ref, Feedback(), 0.0, row=part) for part in parts]
    assert _courier.merged_rows(items) == {"a": {"b": 3, "c": 2}, "d": {"e": 1}}


def test_items_with_and_without_a_row_are_kept_as_json():
    item = Item("i", LogRef(backend="braintrust", id="row"), Feedback(), 1.0, row={"input": ["é"]})
    assert item_from_json(item_to_json(item)) == item
    plain = item._replace(row=None)
    assert '"row":' not in item_to_json(plain)  # as those had it that were stored before there were rows
    assert item_from_json(item_to_json(plain)) == plain
    with pytest.raises(Unreadable):
        item_from_json(item_to_json(item).replace('{"input":["\\u00e9"]}', "1"))


def test_of_rows_that_are_known_to_be_there_not_all_are_kept_in_mind(thumb, emulator, monkeypatch):
    monkeypatch.setattr("thumbprint.backends.braintrust.MOST_KNOWN", 1)
    for _ in range(3):
        log(thumb, new_ref(thumb), input="any")
        thumb.flush(5)
    assert len(thumb._settings.backends["braintrust"]._written) == 1


def test_the_outbox_shows_rows(stored, tmp_path, capsys):
    from thumbprint.cli import main  # noqa: PLC0415

    ref = new_ref(stored)
    log(stored, ref, input="Ulm")
    await_stored(stored, 1)
    assert main(["outbox", "list", "--store", f"sqlite:///{tmp_path / 'db'}"]) == 0
    told = capsys.readouterr().out
    assert f"braintrust {ref.id}  (the log entry itself)" in told
    assert "Ulm" not in told


def test_a_row_with_its_feedback_can_be_verified(thumb, emulator):
    ref = new_ref(thumb)
    log(thumb, ref, input="any")
    receipt = thumb.record_feedback(ref, thumbs="up").wait(5)
    assert [each.status for each in receipt.verify()] == ["confirmed"]


def test_what_is_handed_to_another_configuration_takes_rows_along(emulator):
    emulator.fail("insert", status=503, times=None)
    first = Thumbprint(backends=[Braintrust(log_calls=True)])
    second = Thumbprint(backends=[Braintrust(log_calls=True)])
    ref = new_ref(first)
    log(first, ref, input="any")
    second.succeed(first)
    first.record_feedback(ref, thumbs="up")
    emulator.clear()
    first.hand_over(second)
    log(first, ref, output="late")
    assert second.flush(10).remaining == 0
    second.close()

    row = rows(emulator)[ref.id]
    assert (row["input"], row["output"], row["scores"], row["stray"]) == ("any", "late", {"thumbs": 1}, False)


def test_a_row_that_a_thread_has_not_stored_yet_is_stored_when_thumbprint_is_closed(emulator, tmp_path, monkeypatch):
    store = f"sqlite:///{tmp_path / 'db'}"
    thumb = Thumbprint(backends=[Braintrust(log_calls=True)], store=store)
    monkeypatch.setattr(thumb._references, "later", lambda _: True)  # a thread that never comes to it
    log(thumb, new_ref(thumb), input="any")
    thumb.close(0)
    deliver_from(store)

    assert [row["input"] for row in emulator.braintrust_rows()] == ["any"]
