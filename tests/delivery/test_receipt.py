"""What the caller holds of feedback on its way: looked at, waited for, awaited."""

from __future__ import annotations

import asyncio
import math
import threading
import time

import pytest

from thumbprint import LogRef
from thumbprint._feedback import feedback_from
from thumbprint._model import FlushResult, Outcome
from thumbprint.delivery import Told, Tracker


def outcome(id="e", **told):  # noqa: A002 - as LogRef names it
    return Outcome(ref=LogRef(backend="cloudflare", id=id), **told)


def open_receipt(tracker, *outcomes):
    """Return a receipt for the outcomes, and the items that are queued for it."""
    refs = [one.ref for one in outcomes]
    told = {
        place: Told(one.status, one.reason, one.attempts, one.unsupported)
        for place, one in enumerate(outcomes)
        if one != Outcome(ref=one.ref)
    }
    items = []
    receipt = tracker.open(refs, feedback_from(thumbs="up"), told, items)
    return receipt, [item._replace(attempts=1) for item in items]


@pytest.fixture
def tracker():
    return Tracker()


@pytest.fixture
def queued(tracker):
    receipt, [item] = open_receipt(tracker, outcome())
    return receipt, item


def test_a_new_receipt_is_queued_and_has_an_id_of_its_own(tracker):
    receipts = [open_receipt(tracker, outcome())[0] for _ in range(3)]

    assert [receipt.status for receipt in receipts] == ["queued"] * 3
    assert len({receipt.id for receipt in receipts}) == 3
    assert all(len(bytes.fromhex(receipt.id)) == 16 for receipt in receipts)
    assert repr(receipts[0]) == f"<Receipt {receipts[0].id}: queued>"


def test_each_queued_outcome_is_queued_under_an_item_id_of_its_own(tracker):
    receipt, items = open_receipt(tracker, outcome("a"), outcome("b", status="dropped", reason="why"), outcome("c"))

    assert len({item.id for item in items}) == 2
    assert [one.status for one in receipt.outcomes] == ["queued", "dropped", "queued"]


def test_an_attempt_that_did_not_deliver_is_told_while_it_stays_queued(tracker, queued):
    receipt, item = queued
    tracker.attempted(item._replace(reason="HTTP 500"))

    assert receipt.outcomes == (outcome(status="queued", reason="HTTP 500", attempts=1),)
    assert receipt.status == "queued"


@pytest.mark.parametrize("status", ["delivered", "failed", "dropped"])
def test_how_it_ended_is_told(tracker, queued, status):
    receipt, item = queued
    tracker.settle(item, status, "why")

    assert receipt.outcomes == (outcome(status=status, reason="why", attempts=1),)
    assert receipt.status == status


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        (["delivered", "delivered"], "delivered"),
        (["delivered", "failed"], "failed"),
        (["dropped", "failed"], "failed"),
        (["delivered", "dropped"], "dropped"),
    ],
)
def test_its_status_is_the_worst_once_nothing_is_queued_any_more(tracker, statuses, overall):
    receipt, items = open_receipt(tracker, outcome("a"), outcome("b"))
    for item, status in zip(items, statuses, strict=True):
        assert receipt.status == "queued"
        tracker.settle(item, status)

    assert receipt.status == overall


def test_a_receipt_without_outcomes_is_dropped(tracker):
    receipt, items = open_receipt(tracker)

    assert (receipt.status, receipt.outcomes, items) == ("dropped", (), [])
    assert receipt.wait() is receipt


# --- waiting


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_waiting_returns_after_the_timeout_though_it_is_still_queued(queued, timeout):
    receipt, _ = queued
    started = time.monotonic()

    assert receipt.wait(timeout) is receipt
    assert receipt.status == "queued"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("timeout", [None, 30, math.inf, 1e300])
def test_waiting_returns_once_all_of_it_is_settled_by_another_thread(tracker, timeout):
    receipt, items = open_receipt(tracker, outcome("a"), outcome("b"))
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(receipt.wait(timeout).status))
    waiting.start()

    tracker.settle(items[0], "delivered")
    tracker.attempted(items[1])
    assert seen == []
    tracker.settle(items[1], "delivered")
    waiting.join(10)

    assert seen == ["delivered"]


# --- awaiting


def settle_soon(tracker, item, status="delivered"):
    """Settle the item from another thread, not before the event loop has had a turn."""
    loop = asyncio.get_running_loop()
    loop.call_soon(threading.Thread(target=tracker.settle, args=(item, status)).start)


def test_awaiting_it_gives_the_receipt_once_another_thread_has_settled_it(tracker, queued):
    receipt, item = queued

    async def main():
        settle_soon(tracker, item)
        return await asyncio.wait_for(receipt, 10)

    assert asyncio.run(main()) is receipt
    assert receipt.status == "delivered"


def test_several_may_await_it_and_the_event_loop_goes_on_meanwhile(tracker, queued):
    receipt, item = queued
    steps = []

    async def wait():
        return await receipt

    async def main():
        waiting = [asyncio.create_task(wait()) for _ in range(2)]
        for _ in range(3):
            await asyncio.sleep(0)
            steps.append([task.done() for task in waiting])
        settle_soon(tracker, item)
        return await asyncio.wait_for(asyncio.gather(*waiting), 10)

    assert asyncio.run(main()) == [receipt, receipt]
    assert steps == [[False, False]] * 3


def test_awaiting_a_settled_receipt_returns_at_once(tracker, queued):
    receipt, item = queued
    tracker.settle(item, "failed", "why")

    async def main():
        return await receipt, await receipt

    assert asyncio.run(main()) == (receipt, receipt)


def test_it_can_be_awaited_in_one_event_loop_and_waited_for_in_another_thread(tracker, queued):
    receipt, item = queued
    waiting = threading.Thread(target=receipt.wait)
    waiting.start()

    async def main():
        settle_soon(tracker, item)
        await receipt

    asyncio.run(main())
    waiting.join(10)
    assert not waiting.is_alive()


def test_one_who_gives_up_awaiting_disturbs_nobody(tracker, queued):
    receipt, item = queued
    complaints = []

    async def wait():
        return await receipt

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        impatient, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
        await asyncio.sleep(0)
        impatient.cancel()
        settle_soon(tracker, item)
        await asyncio.wait_for(patient, 10)
        await asyncio.sleep(0)
        return impatient.cancelled()

    assert asyncio.run(main())
    assert complaints == []


def test_an_event_loop_that_is_closed_before_it_settles_does_not_disturb_who_settles_it(tracker, queued):
    receipt, item = queued

    async def wait():
        return await receipt

    async def give_up():
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        return waiting

    assert asyncio.run(give_up()).cancelled()
    tracker.settle(item, "delivered")

    assert receipt.status == "delivered"


def test_who_begins_to_await_it_as_it_is_settled_or_handed_on_does_not_wait(tracker, queued):
    receipt, item = queued
    successor = Tracker()
    successor.succeed(tracker)
    called = []
    successor.call_when_settled(receipt, lambda: called.append("of another's"))
    tracker.settle(item, "delivered")
    tracker.call_when_settled(receipt, lambda: called.append("settled"))

    assert called == ["of another's", "settled"]


# --- from one tracker to the next


def test_its_receipts_are_kept_up_to_date_by_whoever_takes_them_over(tracker):
    receipt, items = open_receipt(tracker, outcome("a"), outcome("b"), outcome("c"))
    successor = Tracker()
    successor.succeed(tracker)
    tracker.settle(items[0], "delivered")
    successor.take_over([items[1].id, "unknown"], tracker, None)
    successor.settle(items[1], "delivered")
    tracker.settle(items[2], "failed")  # what was under way when it was taken over

    assert [one.status for one in receipt.outcomes] == ["delivered", "delivered", "failed"]
    assert tracker.wait_until_idle(0) == FlushResult(delivered=1)
    assert successor.wait_until_idle(0) == FlushResult(delivered=1, failed=1)


# --- flushing


def test_flushing_an_idle_tracker_returns_zeros(tracker):
    assert tracker.wait_until_idle(None) == FlushResult()


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_flushing_tells_after_the_timeout_how_much_remains(tracker, timeout):
    open_receipt(tracker, outcome("a"), outcome("b"))
    open_receipt(tracker, outcome("c"))

    assert tracker.wait_until_idle(timeout) == FlushResult(remaining=3)


def test_flushing_counts_what_was_settled_since_the_flush_before(tracker):
    _, items = open_receipt(tracker, *(outcome(id) for id in "abcdef"))  # noqa: A001 - as LogRef names it
    open_receipt(tracker, outcome(status="dropped"), outcome(status="dropped"))
    for item, status in zip(items, ["delivered", "delivered", "delivered", "failed", "dropped"], strict=False):
        tracker.settle(item, status)
    tracker.attempted(items[5])

    assert tracker.wait_until_idle(0) == FlushResult(delivered=3, failed=1, dropped=3, remaining=1)
    tracker.settle(items[5], "delivered")
    assert tracker.wait_until_idle(0) == FlushResult(delivered=1)
    assert tracker.wait_until_idle(0) == FlushResult()


@pytest.mark.parametrize("timeout", [None, 30, math.inf])
def test_flushing_returns_once_the_last_item_is_settled(tracker, queued, timeout):
    _, item = queued
    results = []
    flushing = threading.Thread(target=lambda: results.append(tracker.wait_until_idle(timeout)))
    flushing.start()
    tracker.settle(item, "delivered")
    flushing.join(10)

    assert results == [FlushResult(delivered=1)]


def test_an_item_whose_receipt_another_tracker_holds_is_none_of_its_own(queued):
    receipt, item = queued
    other = Tracker()

    other.attempted(item)
    other.settle(item, "delivered")

    assert other.wait_until_idle(0) == FlushResult()
    assert receipt.status == "queued"
