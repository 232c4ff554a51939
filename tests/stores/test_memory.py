"""The bounds of the store of a single process."""

from __future__ import annotations

import pytest

from thumbprint import LogRef
from thumbprint._call import Call
from thumbprint._feedback import feedback_from
from thumbprint._model import Item
from thumbprint.stores import Conclusion, Key, MemoryStore, memory
from thumbprint.stores.memory import MAX_CALLS_PER_KEY


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
