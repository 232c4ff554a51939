"""The bounds of the store of a single process."""

from __future__ import annotations

import pytest

from thumbprint import LogRef
from thumbprint._call import Call
from thumbprint._feedback import feedback_from
from thumbprint._model import Item
from thumbprint.stores import Conclusion, Key, MemoryStore, Pace, memory
from thumbprint.stores._calls import MAX_CALLS_PER_KEY
from thumbprint.stores._passing import UNCLEARED


def call(number):
    return Call([LogRef(backend="cloudflare", id=str(number))])


def known(store, *names):
    """Return which of the names recall something, without touching the others."""
    return [name for name in names if store.recall(Key("scope", name))]


def remember(store, *names):
    for name in names:
        store.remember([Key("scope", name)], call(name))


def test_of_more_keys_than_fit_the_ones_longest_unused_are_forgotten():
    store = MemoryStore(max_keys=2)
    remember(store, "a", "b", "c")

    assert known(store, "a", "b", "c") == ["b", "c"]


def test_a_key_that_is_recalled_or_added_to_counts_as_used():
    store = MemoryStore(max_keys=3)
    remember(store, "a", "b", "c")
    store.recall(Key("scope", "a"))
    remember(store, "b", "d")

    assert known(store, "a", "b", "c", "d") == ["a", "b", "d"]


def test_a_call_under_more_keys_than_fit_is_kept_under_the_last_ones():
    store = MemoryStore(max_keys=2)
    store.remember([Key("scope", name) for name in "abc"], call(1))

    assert known(store, "a", "b", "c") == ["b", "c"]


@pytest.mark.parametrize("most", [0, 1])
def test_even_the_smallest_store_takes_calls(most):
    store = MemoryStore(max_keys=most)
    remember(store, "a", "b")

    assert known(store, "a", "b") == ["b"][:most]


def test_of_more_calls_than_fit_under_one_key_the_oldest_are_forgotten():
    store = MemoryStore()
    for number in range(MAX_CALLS_PER_KEY + 2):
        store.remember([Key("scope", "s")], call(number))

    kept = [int(one.refs[0].id) for one in store.recall(Key("scope", "s"))]
    assert kept == list(range(2, MAX_CALLS_PER_KEY + 2))


def test_closing_it_any_number_of_times_leaves_it_usable():
    store = MemoryStore()
    remember(store, "a")
    store.close()
    store.close()

    assert known(store, "a") == ["a"]


def items(*names):
    said = feedback_from(thumbs="up")
    return [Item(id=name, ref=LogRef(backend="cloudflare", id=name), feedback=said, created_at=1.0) for name in names]


def test_of_more_dead_letters_than_fit_the_oldest_are_forgotten(monkeypatch):
    monkeypatch.setattr(memory, "MAX_DEAD", 2)
    store = MemoryStore()
    store.put(items("a", "b", "c"))
    for claim in store.claim("cloudflare", now=1.0, most=3, lease=60):
        store.conclude([(claim, Conclusion(buried=claim.items))])

    assert [letter.id for letter in store.listed(dead=True, most=9)] == ["b", "c"]


def test_who_comes_too_late_for_an_entry_that_is_settled_changes_nothing():
    store = MemoryStore()
    store.put(items("a"))
    [late] = store.claim("cloudflare", now=1.0, most=1, lease=1)
    [present] = store.claim("cloudflare", now=2.0, most=1, lease=1)
    store.conclude([(present, Conclusion(settled=present.items))])
    store.conclude([(late, Conclusion(buried=late.items))])

    assert store.depths() == []


def test_after_a_fork_references_are_kept_and_what_is_queued_is_not():
    store = MemoryStore()
    remember(store, "a")
    store.put(items("a"))
    store.after_fork()

    assert known(store, "a") == ["a"]
    assert store.depths() == []


def test_the_check_warns_that_nothing_survives_the_process():
    [first, *_] = MemoryStore().check()
    assert (first.check, first.status) == ("store", "warning")
    assert "sqlite:///PATH" in first.advice


def test_what_is_delivered_leaves_nothing_behind_though_nobody_asks_what_is_due():
    store = MemoryStore()
    for number in range(500):
        store.put(items(str(number)))
        [claim] = store.claim("cloudflare", now=1.0, most=1, lease=60)
        store.conclude([(claim, Conclusion(settled=claim.items))])

    assert len(store._lines["cloudflare"]._later) <= 1


def test_buckets_that_are_full_again_are_cleared_away_and_the_others_are_kept():
    store, pace = MemoryStore(), Pace(rate=1.0, burst=1.0)
    for moment in range(10):
        for number in range(UNCLEARED):
            store.take(f"{moment}-{number}", pace, now=float(moment))
        assert len(store._buckets) <= 3 * UNCLEARED

    assert [store.take(name, pace, now=9.0) for name in ("9-0", "9-999", "8-0")] == [1.0, 1.0, 0.0]


def test_notes_whose_time_is_over_are_cleared_away(monkeypatch):
    now = [1.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    store = MemoryStore()
    for number in range(UNCLEARED):
        store.swap(str(number), "", "text", seconds=1)
    now[0] = 2.0
    store.swap("new", "", "text", seconds=1)

    assert len(store._notes) == 1


# --- from one store to the next


def queued(store, *names):
    """Put items, and have all of them wait for a time of their own."""
    store.put(items(*names))
    for claim in store.claim("cloudflare", now=1.0, most=9, lease=60):
        store.conclude([(claim, Conclusion(waiting=claim.items, due_at=1_000.0))])


def names(claims):
    return [item.id for claim in claims for item in claim.items]


def test_what_nobody_has_leased_is_withdrawn_whether_it_is_due_or_not():
    store = MemoryStore()
    queued(store, "later")
    store.put(items("leased"))
    [leased] = store.claim("cloudflare", now=1.0, most=1, lease=60)
    store.put(items("now"))

    assert sorted(names(store.withdraw(now=2.0, lease=60))) == ["later", "now"]
    assert store.withdraw(now=3.0, lease=60) == []
    assert store.claim("cloudflare", now=3.0, most=9, lease=60) == []
    store.conclude([(leased, Conclusion(waiting=leased.items, due_at=1_000.0))])
    assert names(store.withdraw(now=4.0, lease=60)) == ["leased"]


def test_what_was_withdrawn_is_given_out_again_when_its_lease_is_over():
    store = MemoryStore()
    store.put(items("a"))
    store.withdraw(now=1.0, lease=60)

    assert store.next_due("cloudflare") == 61.0
    assert names(store.withdraw(now=61.0, lease=60)) == ["a"]
    assert names(store.claim("cloudflare", now=121.0, most=9, lease=60)) == ["a"]


def test_an_item_is_put_behind_what_is_there_for_its_entry_and_nothing_else():
    store = MemoryStore()
    [first] = items("a")
    second, third, fourth = (first._replace(id=name) for name in ("second", "third", "fourth"))
    assert not store.put_behind(first)
    store.put([first])
    assert store.put_behind(second)
    [claim] = store.withdraw(now=1.0, lease=60)
    assert store.put_behind(third)
    store.conclude([(claim, Conclusion(settled=claim.items))])
    assert not store.put_behind(first._replace(id="other", ref=LogRef(backend="cloudflare", id="b")))

    assert names([claim]) == ["a", "second"]
    [claim] = store.withdraw(now=2.0, lease=60)
    assert names([claim]) == ["third"]
    store.conclude([(claim, Conclusion(settled=claim.items))])
    assert not store.put_behind(fourth)
    assert store.depths() == []


PACE = Pace(rate=1.0, burst=1.0)


def test_what_another_knew_and_how_fast_it_was_is_shared_with_it_from_then_on():
    before, after = MemoryStore(), MemoryStore(max_keys=1)
    remember(before, "a")
    before.take("bucket", PACE, now=1.0)
    before.hold("held", until=9.0)
    after.adopt(before)
    remember(before, "b")

    assert known(after, "a", "b") == ["a", "b"]
    assert after.take("bucket", PACE, now=1.0) == 1.0
    assert after.take("held", PACE, now=1.0) == 8.0
    remember(after, "c")
    assert known(after, "a", "b", "c") == ["c"]


def test_one_that_knows_something_itself_keeps_to_that():
    before, after = MemoryStore(), MemoryStore()
    for store, name in ((before, "a"), (after, "b")):
        remember(store, name)
        store.take(name, PACE, now=1.0)
    after.adopt(before)

    assert known(after, "a", "b") == ["b"]
    assert after.take("a", PACE, now=1.0) == 0.0
    assert after.take("b", PACE, now=1.0) == 1.0
