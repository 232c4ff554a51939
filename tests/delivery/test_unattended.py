"""Receipts of feedback that other processes deliver: who waits looks into the store that they share."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest

import thumbprint
from thumbprint import LogRef
from thumbprint.delivery import _receipt, _tracker, _watch

LONG = 30  # seconds, on a machine that is busy


@pytest.fixture
def storing(emulator, tmp_path, monkeypatch):
    """Return what only stores."""
    monkeypatch.setattr(_watch, "LOOK_EVERY", 0.02)
    made = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db", delivery="none")
    yield made
    made.close(0)


@pytest.fixture
def delivering(storing, tmp_path):
    """Return what delivers out of the same store."""
    made = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db")
    yield made
    made.close(0)


def vote(storing, row="row"):
    return storing.record_feedback(LogRef(backend="braintrust", id=row, project_name="emulator"), thumbs="up")


def test_who_waits_hears_of_what_another_has_delivered(storing, delivering):
    receipt = vote(storing)
    assert receipt.wait(0.05).status == "queued"
    delivering._worker.wake()

    assert receipt.wait(LONG).status == "delivered"


def test_who_waits_hears_of_a_dead_letter(storing, delivering, emulator):
    emulator.fail("/v1/project_logs", status=400)
    receipt = vote(storing)
    delivering._worker.wake()

    assert receipt.wait(LONG).status == "failed"
    assert receipt.outcomes[0].reason.startswith("HTTP 400")


def test_who_awaits_hears_of_it_too(storing, delivering):
    async def wait():
        receipt = vote(storing)
        delivering._worker.wake()
        return await asyncio.wait_for(receipt, LONG)

    assert asyncio.run(wait()).status == "delivered"


def test_who_awaits_can_be_cancelled(storing):
    async def wait():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(vote(storing), 0.1)

    asyncio.run(wait())


def test_receipts_that_nobody_has_take_no_memory(storing):
    for number in range(50):
        vote(storing, f"row-{number}")
    kept = vote(storing)
    gc.collect()

    assert storing._tracker.queued() == [kept.id]
    assert storing._settings.store.depths()[0].queued == 51


def test_a_store_that_cannot_be_read_meanwhile_leaves_them_queued(storing, monkeypatch, caplog):
    receipt = vote(storing)

    def fail(ids, generation):
        raise thumbprint.StoreError("it is away")

    monkeypatch.setattr(storing._settings.store, "fates", fail)
    assert receipt.wait(0.1).status == "queued"
    assert "what became of feedback cannot be seen: it is away" in caplog.text


def test_who_waits_is_told_of_a_store_that_has_lost_its_data(storing, tmp_path, caplog):
    lost = [vote(storing, f"row-{number}") for number in range(2)]
    for file in tmp_path.glob("outbox.db*"):
        file.unlink()

    assert [receipt.wait(LONG).status for receipt in lost] == ["dropped", "dropped"]
    assert "outbox.db' was deleted or replaced" in lost[0].outcomes[0].reason
    assert vote(storing).wait(0.1).status == "queued"
    assert caplog.text.count("feedback was dropped") == 1


def test_what_the_store_does_not_take_is_dropped_and_not_looked_for(storing, monkeypatch):
    def fail(items):
        raise thumbprint.StoreError("it is away")

    monkeypatch.setattr(storing._settings.store, "put", fail)
    assert vote(storing).wait(LONG).status == "dropped"


@pytest.fixture
def refusing(monkeypatch):
    """Have no thread of those start that look into the store."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "thumbprint-receipts":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return monkeypatch


def test_who_waits_looks_alone_where_no_thread_can_be_started(storing, delivering, refusing, caplog):
    refusing.setattr(_tracker, "LOOK_EVERY", 0.02)
    receipt = vote(storing)
    assert receipt.wait(0.5).status == "queued"  # time for many looks
    delivering._worker.wake()

    assert receipt.wait(LONG).status == "delivered"
    assert "cannot be looked at in a thread: can't start new thread" in caplog.text


def test_who_awaits_hears_of_it_once_a_thread_can_be_started(storing, delivering, refusing):
    refusing.setattr(_receipt, "LOOK_EVERY", 0.02)

    async def wait():
        receipt = vote(storing)
        waiting = asyncio.ensure_future(receipt._settled())
        await asyncio.sleep(0.1)
        refusing.undo()
        delivering._worker.wake()
        return await asyncio.wait_for(waiting, LONG)

    assert asyncio.run(wait()).status == "delivered"


def test_however_many_await_there_is_one_look_for_all_of_them(storing, monkeypatch):
    looks, fates = [], storing._settings.store.fates

    def count(*asked):
        looks.append(asked)
        return fates(*asked)

    monkeypatch.setattr(storing._settings.store, "fates", count)

    async def wait():
        receipts = [vote(storing, f"row-{number}") for number in range(100)]
        waiting = [asyncio.ensure_future(receipt._settled()) for receipt in receipts]
        await asyncio.sleep(0)  # until all of them do
        began, before = time.monotonic(), len(looks)
        await asyncio.sleep(0.5)
        ended, after = time.monotonic(), len(looks)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return after - before, (ended - began) / _watch.LOOK_EVERY

    seen, intervals = asyncio.run(wait())
    assert 1 <= seen <= intervals + 2


def test_nobody_looks_any_more_when_nobody_waits(storing):
    assert vote(storing).wait(0.05).status == "queued"
    ends_at = time.monotonic() + LONG
    while watchers() and time.monotonic() < ends_at:
        time.sleep(0.01)
    assert watchers() == []


def watchers():
    return [thread for thread in threading.enumerate() if thread.name == "thumbprint-receipts"]


def test_a_store_with_a_fault_harms_nobody_who_waits(storing, monkeypatch, caplog):
    with monkeypatch.context() as patched:
        patched.setattr(storing._settings.store, "fates", lambda *_: 1 / 0)
        receipt = vote(storing)
        assert receipt.wait(0.2).status == "queued"
    assert "what became of feedback cannot be seen" in caplog.text
    assert "ZeroDivisionError" in caplog.text


# --- after the end of what recorded it


@pytest.fixture
def closing(emulator, tmp_path, monkeypatch):
    """Return what delivers itself, but cannot before it is closed."""
    monkeypatch.setattr(_watch, "LOOK_EVERY", 0.02)
    emulator.fail("/v1/project_logs", status=500, times=1)
    return thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db")


@pytest.mark.parametrize("leave", ["close", "shutdown"])
def test_who_waits_while_it_is_closed_hears_of_what_another_delivers(closing, tmp_path, leave):
    receipt = vote(closing)
    assert closing._tracker.wait_for(lambda: receipt.outcomes[0].attempts == 1, LONG)
    waiting = threading.Thread(target=receipt.wait, args=(2 * LONG,))
    waiting.start()
    getattr(closing, leave)(0)
    another = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db")
    another._worker.wake()
    waiting.join(LONG)
    another.close()

    assert (receipt.status, waiting.is_alive()) == ("delivered", False)


def test_who_awaits_while_it_is_closed_hears_of_what_another_delivers(closing, tmp_path):
    async def wait():
        receipt = vote(closing)
        waiting = asyncio.ensure_future(receipt._settled())
        await asyncio.sleep(0.05)
        await asyncio.to_thread(closing.close, 0)
        another = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db")
        another._worker.wake()
        settled = await asyncio.wait_for(waiting, LONG)
        await asyncio.to_thread(another.close)
        return settled

    assert asyncio.run(wait()).status == "delivered"
