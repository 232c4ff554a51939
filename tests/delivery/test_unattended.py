"""Receipts of feedback that other processes deliver: who waits looks into the store that they share."""

from __future__ import annotations

import asyncio
import gc

import pytest

import thumbprint
from thumbprint import LogRef
from thumbprint.delivery import _receipt

LONG = 30  # seconds, on a machine that is busy


@pytest.fixture
def storing(emulator, tmp_path, monkeypatch):
    """Return what only stores."""
    monkeypatch.setattr(_receipt, "LOOK_EVERY", 0.02)
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
