"""What every store keeps to. A new store joins by a line in STORES, in the conftest beside this."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thumbprint import LogRef
from thumbprint._call import Call
from thumbprint._model import Feedback, Item
from thumbprint.stores import Conclusion, DataLostError, Depth, Key, Pace

# What waits is due by the clock of whoever claims it. Here that clock is ahead of the real one, by which a store may
# note when something was put: whatever is said below to be due is due by both.
NOW = 2_000_000_000.0
LEASE = 60.0
SAID = Feedback(thumbs=1)
EVERYTHING = Feedback(
    thumbs=-1,
    score=0.25,
    scores={"tone": 1.0, "": None},
    comments=("naïve \ud800", "nul \0 and\nline"),
    expected={"city": ["Oslo", None, 1.5, True]},
    tags=("a", "b"),
    metadata={"deep": {"er": [1, {}]}},
    user_id="u-17",
    source="app",
)
CLEARED = Feedback(thumbs=None, score=None, expected=None, tags=())


def ref(entry="e", **where):
    return LogRef(**{"backend": "cloudflare", "id": entry, **where})


def item(entry="e", number=0, *, feedback=SAID, created_at=1.0, **where):
    return Item(id=f"{entry}-{number}", ref=ref(entry, **where), feedback=feedback, created_at=created_at)


def call(log_id):
    return Call([ref(log_id)])


def ids(calls):
    return [kept.refs[0].id for kept in calls]


def claim(store, *, backend="cloudflare", now=NOW, most=100, lease=LEASE):
    return store.claim(backend, now=now, most=most, lease=lease)


def claim_one(store, **settings):
    [claimed] = claim(store, **settings)
    return claimed


def settle(store, claimed):
    store.conclude([(claimed, Conclusion(settled=claimed.items))])


def bury(store, *items):
    """Put items and make dead letters of them."""
    store.put(items)
    for claimed in claim(store):
        store.conclude([(claimed, Conclusion(buried=claimed.items))])


def postpone(store, claimed, due_at):
    store.conclude([(claimed, Conclusion(waiting=claimed.items, due_at=due_at))])


def given_out(claims):
    """Return the items of several claims, each entry's in order."""
    return [one for claimed in claims for one in claimed.items]


def by_entry(claims):
    """Return the items of each claim by the id of its log entry."""
    return {claimed.items[0].ref.id: claimed.items for claimed in claims}


def is_empty(store):
    return (store.depths(), store.listed(dead=False, most=9), store.next_due("cloudflare"), claim(store)) == (
        [],
        [],
        None,
        [],
    )


# --- references


def test_an_unknown_key_recalls_no_calls(store):
    assert store.recall(Key("scope", "unknown")) == ()


def test_calls_are_kept_under_each_of_their_keys_in_order(store):
    scope, trace = Key("scope", "s"), Key("trace", "t")
    store.remember([scope, trace], call("1"))
    store.remember([scope], call("2"))
    store.remember(iter([trace, scope]), call("3"))

    assert ids(store.recall(scope)) == ["1", "2", "3"]
    assert ids(store.recall(trace)) == ["1", "3"]


def test_a_call_without_keys_is_not_kept(store):
    store.remember([], call("1"))

    assert store.recall(Key("scope", "")) == ()


def test_the_same_id_of_another_kind_is_another_key(store):
    store.remember([Key("scope", "x")], call("1"))

    assert store.recall(Key("response", "x")) == ()
    assert store.recall(Key("trace", "x")) == ()


@pytest.mark.parametrize("name", ["", " ", "ü", "a:b", "{a}", "a\nb", "nul\0nul", "\ud800", "*", "'", "x" * 10_000])
def test_an_id_may_be_any_text(store, name):
    store.remember([Key("scope", name)], call("1"))

    assert ids(store.recall(Key("scope", name))) == ["1"]
    assert store.recall(Key("scope", f"{name}.")) == ()


def test_what_is_recalled_stays(store):
    store.remember([Key("scope", "s")], call("1"))

    assert ids(store.recall(Key("scope", "s"))) == ids(store.recall(Key("scope", "s"))) == ["1"]


def test_a_call_is_recalled_as_it_was(store):
    refs = (
        LogRef(backend="cloudflare", id="1", operation="chat", account_id="a", gateway_id="g", captured_at=1.25),
        LogRef(backend="braintrust", id="ö", project_name="p\u3000😀", response_id="r", trace_id="t", span_id="s"),
    )
    store.remember([Key("scope", "s")], Call(refs, repeats=True))

    [kept] = store.recall(Key("scope", "s"))
    assert kept.refs == refs
    assert kept.repeats is True


def test_of_more_than_a_thousand_calls_under_one_key_the_newest_are_recalled(store):
    for number in range(1_003):
        store.remember([Key("scope", "s")], call(str(number)))

    assert ids(store.recall(Key("scope", "s"))) == [str(number) for number in range(3, 1_003)]


# --- what is there for an entry


def test_it_says_whether_anything_waits_for_an_entry_or_is_on_its_way(store):
    there, elsewhere = item(), item(entry="other")
    assert not store.holds(there.ref)
    store.put([there])
    assert (store.holds(there.ref), store.holds(elsewhere.ref)) == (True, False)
    claimed = claim_one(store)
    assert store.holds(there.ref)
    settle(store, claimed)
    assert not store.holds(there.ref)


# --- putting and claiming


def test_a_new_store_is_empty(store):
    assert is_empty(store)
    assert store.listed(dead=True, most=9) == []
    assert store.fates(["unknown"]) == {}


def test_putting_nothing_is_done_at_once(store):
    assert store.put([])
    assert is_empty(store)


def test_what_is_put_is_due_at_once_by_entry_in_the_order_of_putting(store):
    first, second, third = item("a", 1), item("a", 2), item("a", 3)
    other = item("b", 1)
    assert store.put([first, other, second])
    assert store.put([third])

    assert store.next_due("cloudflare") <= NOW
    assert by_entry(claim(store)) == {"a": (first, second, third), "b": (other,)}


@pytest.mark.parametrize("feedback", [Feedback(), SAID, EVERYTHING, CLEARED])
def test_an_item_comes_out_as_it_was_put(store, feedback):
    where = LogRef(
        backend="cloudflare", id="ü", operation="chat", account_id="a\u3000😀", gateway_id="g", captured_at=2.5
    )
    put = Item(id="x", ref=where, feedback=feedback, created_at=1763770000.123456, attempts=3, reason="503: \ud800 ü")
    store.put([put])

    assert store.listed(dead=False, most=1) == [put]
    assert store.fates(["x"]) == {"x": ("queued", put)}
    assert claim_one(store).items == (put,)


def test_an_item_with_a_row_comes_out_as_it_was_put_and_before_what_came_after_it(store):
    row = item("e", 0)._replace(feedback=Feedback(), row={"input": [{"é": None}], "metrics": {"start": 1.5}})
    store.put([row])
    store.put([item("e", 1)])
    (claim,) = store.claim("cloudflare", now=1.0, most=9, lease=60)
    assert claim.items == (row, item("e", 1))
    store.conclude([(claim, Conclusion(settled=claim.items[1:], buried=claim.items[:1]))])
    assert store.listed(dead=True, most=9) == [row]


def test_no_more_entries_are_claimed_than_asked_for(store):
    store.put([item(str(number)) for number in range(5)])

    assert [len(claim(store, most=most)) for most in (2, 0, -1, 2, 2, 2)] == [2, 0, 0, 2, 1, 0]


def test_only_the_backend_s_own_is_claimed(store):
    here, there = item(), item(backend="braintrust")
    there = there._replace(id="there")
    store.put([here, there])

    assert store.next_due("elsewhere") is None
    assert claim(store, backend="elsewhere") == []
    assert given_out(claim(store)) == [here]
    assert store.next_due("braintrust") <= NOW
    assert given_out(claim(store, backend="braintrust")) == [there]


def test_log_entries_of_the_same_id_in_two_places_are_two(store):
    homes = [{}, {"account_id": "1"}, {"gateway_id": "1"}, {"project_id": "1"}, {"project_name": "1"}]
    homes += [{"experiment_id": "1"}]
    items = [item(**home)._replace(id=str(number)) for number, home in enumerate(homes)]
    store.put(items)

    claims = claim(store)
    assert len(claims) == len({claimed.entry for claimed in claims}) == len(homes)
    assert sorted(one.id for one in given_out(claims)) == [one.id for one in items]


def test_every_lease_of_an_entry_has_a_token_of_its_own(store):
    store.put([item(str(number)) for number in range(5)])
    claims = claim(store) + claim(store, now=NOW + LEASE)

    assert len({(claimed.entry, claimed.token) for claimed in claims}) == 10


def test_an_item_that_is_put_again_is_taken_once(store):
    one = item()
    assert store.put([one, one])
    assert store.put([one])
    assert store.depths() == [Depth(backend="cloudflare", queued=1, oldest_at=1.0)]

    claimed = claim_one(store)
    assert store.put([one])
    assert claimed.items == (one,)
    settle(store, claimed)
    assert is_empty(store)


def test_a_dead_letter_that_is_put_again_stays_dead(store):
    bury(store, item())

    assert store.put([item()])
    assert store.depths() == [Depth(backend="cloudflare", dead=1)]
    assert (claim(store), store.next_due("cloudflare")) == ([], None)


# --- leases and their ends


def test_what_is_leased_is_nobody_else_s_until_the_lease_ends(store):
    store.put([item()])
    claimed = claim_one(store)

    assert store.next_due("cloudflare") == NOW + LEASE
    assert claim(store, now=NOW + LEASE - 0.1) == []
    assert store.depths() == [Depth(backend="cloudflare", queued=1, oldest_at=1.0)]
    assert store.fates(["e-0"]) == {"e-0": ("queued", claimed.items[0])}


def test_what_is_put_behind_leased_items_waits_for_them(store):
    store.put([item(number=1)])
    claimed = claim_one(store)
    store.put([item(number=2)])

    assert claim(store) == []
    assert store.next_due("cloudflare") == NOW + LEASE
    settle(store, claimed)
    assert store.next_due("cloudflare") <= NOW
    assert claim_one(store).items == (item(number=2),)


def test_what_is_settled_is_forgotten(store):
    store.put([item(number=1), item(number=2)])
    settle(store, claim_one(store))

    assert is_empty(store)
    assert store.fates(["e-1", "e-2"]) == {}


def test_what_still_waits_comes_back_as_it_then_is_when_it_is_due(store):
    store.put([item(number=1), item(number=2)])
    claimed = claim_one(store)
    tried = tuple(one._replace(attempts=1, reason="503") for one in claimed.items)
    store.conclude([(claimed, Conclusion(waiting=tried, due_at=NOW + 5))])

    assert store.next_due("cloudflare") == NOW + 5
    assert store.fates(["e-1"]) == {"e-1": ("queued", tried[0])}
    assert claim(store, now=NOW + 4.9) == []
    assert claim_one(store, now=NOW + 5).items == tried


def test_what_was_put_meanwhile_comes_after_and_with_what_still_waits(store):
    store.put([item(number=1)])
    claimed = claim_one(store)
    store.put([item(number=2)])
    postpone(store, claimed, NOW + 5)
    store.put([item(number=3)])

    assert claim(store) == []
    assert store.next_due("cloudflare") == NOW + 5
    assert claim_one(store, now=NOW + 5).items == (item(number=1), item(number=2), item(number=3))


def test_the_items_of_one_claim_may_end_in_all_three_ways(store):
    items = [item(number=number) for number in range(6)]
    store.put(items)
    claimed = claim_one(store)
    dead = [items[1]._replace(reason="400: no"), items[4]._replace(reason="404: gone")]
    conclusion = Conclusion(
        settled=(items[0], items[5]), buried=tuple(dead), waiting=(items[2], items[3]), due_at=NOW + 5
    )
    store.conclude([(claimed, conclusion)])

    assert store.depths() == [Depth(backend="cloudflare", queued=2, oldest_at=1.0, dead=2)]
    assert store.listed(dead=True, most=9) == dead
    assert store.fates([one.id for one in items]) == {
        "e-1": ("failed", dead[0]),
        "e-2": ("queued", items[2]),
        "e-3": ("queued", items[3]),
        "e-4": ("failed", dead[1]),
    }
    assert claim_one(store, now=NOW + 5).items == (items[2], items[3])


def test_a_worker_may_give_back_what_it_claimed(store):
    store.put([item()])
    claimed = claim_one(store)
    postpone(store, claimed, NOW)

    again = claim_one(store)
    assert again.items == claimed.items
    assert again.token != claimed.token


def test_the_longest_due_come_first(store):
    store.put([item("a"), item("b"), item("c")])
    for claimed in claim(store):
        postpone(store, claimed, NOW + {"a": 30, "b": 10, "c": 20}[claimed.items[0].ref.id])

    assert store.next_due("cloudflare") == NOW + 10
    assert [one.ref.id for one in given_out(claim(store, now=NOW + 40, most=2))] == ["b", "c"]
    assert store.next_due("cloudflare") <= NOW + 30
    assert [one.ref.id for one in given_out(claim(store, now=NOW + 40))] == ["a"]


def test_what_is_retried_does_not_hold_up_what_is_due_for_longer(store):
    store.put([item("retried"), item("fresh", created_at=NOW)])
    [first] = claim(store, most=1)
    postpone(store, first, NOW + 10)

    assert [one.ref.id for one in given_out(claim(store, now=NOW + 20, most=1))] == ["fresh"]


def test_a_lease_that_is_not_ended_ends_by_itself_and_the_items_are_given_out_again(store):
    store.put([item(number=1), item(number=2)])
    lost = claim_one(store)
    store.put([item(number=3)])
    again = claim_one(store, now=NOW + LEASE)

    assert again.entry == lost.entry
    assert again.token != lost.token
    assert again.items == (*lost.items, item(number=3))


def test_who_comes_too_late_settles_and_buries_all_the_same_but_leaves_the_rest_alone(store):
    items = [item(number=number) for number in range(4)]
    store.put(items)
    late = claim_one(store)
    present = claim_one(store, now=NOW + LEASE)
    tried = tuple(one._replace(attempts=9) for one in items[2:])
    store.conclude([(late, Conclusion(settled=(items[0],), buried=(items[1],), waiting=tried, due_at=NOW))])

    assert store.next_due("cloudflare") == NOW + 2 * LEASE
    assert claim(store, now=NOW + LEASE) == []
    assert store.fates([one.id for one in items]) == {
        "e-1": ("failed", items[1]),
        "e-2": ("queued", items[2]),
        "e-3": ("queued", items[3]),
    }
    store.conclude([(present, Conclusion(settled=tuple(items[:3]), waiting=(items[3],), due_at=NOW + 7))])
    assert store.fates([one.id for one in items]) == {"e-3": ("queued", items[3])}
    assert claim_one(store, now=NOW + LEASE).items == (items[3],)


def test_what_somebody_settled_who_came_too_late_keeps_the_entry_leased(store):
    """The one who holds the lease may be sending those items still: what is put now must come after them."""
    store.put([item(number=1)])
    late = claim_one(store)
    present = claim_one(store, now=NOW + LEASE)
    settle(store, late)
    store.put([item(number=2)])

    assert claim(store, now=NOW + LEASE) == []
    settle(store, present)
    assert claim_one(store, now=NOW + LEASE).items == (item(number=2),)


def test_a_lease_on_nothing_ends_by_itself_as_well(store):
    store.put([item(number=1)])
    late = claim_one(store)
    claim_one(store, now=NOW + LEASE)
    settle(store, late)

    assert claim(store, now=NOW + 2 * LEASE) == []
    assert store.next_due("cloudflare") is None
    store.put([item(number=2)])
    assert claim_one(store, now=NOW + 2 * LEASE).items == (item(number=2),)


def test_a_claim_may_be_concluded_twice(store):
    store.put([item(number=1), item(number=2)])
    claimed = claim_one(store)
    conclusion = Conclusion(settled=claimed.items[:1], waiting=claimed.items[1:], due_at=NOW + 5)
    store.conclude([(claimed, conclusion)])
    store.conclude([(claimed, conclusion)])

    assert claim_one(store, now=NOW + 5).items == (item(number=2),)


# --- how much fits


def test_a_full_outbox_takes_all_or_nothing(make_store):
    store = make_store("small", max_items=3)

    assert store.put([item("a"), item("b")])
    assert store.put([item("c"), item("d")]) is False
    assert store.depths()[0].queued == 2
    assert store.put([item("e")])
    assert store.put([item("f")]) is False
    assert store.put([])
    assert {one.ref.id for one in given_out(claim(store))} == {"a", "b", "e"}


def test_what_a_full_outbox_has_already_is_not_refused(make_store):
    store = make_store("small", max_items=2)
    store.put([item("a"), item("b")])

    assert store.put([item("b"), item("a")])
    assert store.put([item("b"), item("c")]) is False
    assert store.depths()[0].queued == 2


def test_leased_items_take_room_and_settled_ones_and_dead_letters_make_room(make_store):
    store = make_store("small", max_items=2)
    store.put([item("a"), item("b")])
    first, second = claim(store)

    assert store.put([item("c")]) is False
    settle(store, first)
    assert store.put([item("c")])
    assert store.put([item("d")]) is False
    store.conclude([(second, Conclusion(buried=second.items))])
    assert store.put([item("d")])


# --- the pace

PACE = Pace(rate=2.0, burst=3.0)


def takes(store, count, *, now=NOW, bucket="b", pace=PACE):
    return [store.take(bucket, pace, now=now) for _ in range(count)]


def test_a_new_bucket_is_full_and_then_tells_how_long_to_wait(store):
    assert takes(store, 5) == [0.0, 0.0, 0.0, pytest.approx(0.5), pytest.approx(0.5)]


def test_a_bucket_fills_with_time_but_not_beyond_its_burst(store):
    takes(store, 3)

    assert takes(store, 1, now=NOW + 0.25) == [pytest.approx(0.25)]
    assert takes(store, 2, now=NOW + 0.5) == [0.0, pytest.approx(0.5)]
    assert takes(store, 4, now=NOW + 1_000) == [0.0, 0.0, 0.0, pytest.approx(0.5)]


def test_buckets_are_separate(store):
    takes(store, 4)

    assert takes(store, 1, bucket="another") == [0.0]


def test_who_must_wait_may_have_the_pace_changed_meanwhile(store):
    takes(store, 4)

    assert takes(store, 1, pace=Pace(rate=4.0, burst=3.0)) == [pytest.approx(0.25)]
    assert takes(store, 1, now=NOW + 1_000, pace=Pace(rate=4.0, burst=1.0)) == [0.0]
    assert takes(store, 1, now=NOW + 1_000, pace=Pace(rate=4.0, burst=1.0)) == [pytest.approx(0.25)]


def test_nobody_takes_from_a_bucket_that_is_held(store):
    store.hold("b", until=NOW + 10)

    assert takes(store, 2) == [pytest.approx(10.0)] * 2
    assert takes(store, 1, bucket="another") == [0.0]
    assert takes(store, 4, now=NOW + 10) == [0.0, 0.0, 0.0, pytest.approx(0.5)]


def test_a_hold_is_never_shortened_but_may_be_lifted(store):
    store.hold("b", until=NOW + 10)
    store.hold("b", until=NOW + 5)
    assert takes(store, 1) == [pytest.approx(10.0)]
    store.hold("b", until=NOW + 20)
    assert takes(store, 1) == [pytest.approx(20.0)]
    store.hold("b", until=0)
    assert takes(store, 1) == [0.0]


def test_a_hold_does_not_fill_the_bucket(store):
    takes(store, 3)
    store.hold("b", until=NOW + 10)
    store.hold("b", until=0)

    assert takes(store, 1) == [pytest.approx(0.5)]


# --- notes


def test_a_note_takes_the_place_of_the_one_that_was_meant_and_of_no_other(store):
    assert store.swap("n", "", "a", seconds=60) == "a"
    assert store.swap("n", "", "b", seconds=60) == "a"
    assert store.swap("n", "b", "c", seconds=60) == "a"
    assert store.swap("n", "a", "b", seconds=60) == "b"
    assert store.swap("n", "a", "c", seconds=60) == "b"
    assert store.swap("another", "a", "c", seconds=60) == "c"


def test_a_note_is_forgotten_when_its_time_is_over(store):
    store.swap("n", "", "long", seconds=60)
    store.swap("n", "long", "short", seconds=0.05)
    ends_at = time.monotonic() + 20
    while store.swap("n", "", "new", seconds=60) == "short":
        assert time.monotonic() < ends_at
    assert store.swap("n", "", "newer", seconds=60) == "new"


def test_of_many_who_note_something_at_once_one_is_the_first(store):
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: store.swap("n", "", f"of {number}", seconds=60), range(40)))
    assert len(set(found)) == 1


def test_processes_that_share_a_store_share_its_notes(stores):
    one, other = stores
    assert one.swap("n", "", "a", seconds=60) == "a"
    assert other.swap("n", "a", "b", seconds=60) == "b"
    assert one.swap("n", "a", "c", seconds=60) == "b"


# --- looking, reviving, purging


def test_depths_are_told_by_backend_with_the_oldest_that_waits(store):
    bury(store, item("dead", created_at=1.0))
    store.put([item("a", created_at=9.0), item("b", created_at=7.5), item("c", created_at=8.0)])
    store.put([item("x", created_at=5.0, backend="braintrust")])
    [leased] = [claimed for claimed in claim(store) if claimed.items[0].ref.id == "b"]

    assert store.depths() == [
        Depth(backend="braintrust", queued=1, oldest_at=5.0),
        Depth(backend="cloudflare", queued=3, oldest_at=7.5, dead=1),
    ]
    settle(store, leased)
    assert store.depths()[1] == Depth(backend="cloudflare", queued=2, oldest_at=8.0, dead=1)


def test_the_oldest_are_listed_first(store):
    bury(store, item("y", created_at=6.0), item("z", created_at=5.0, number=1), item("x", created_at=7.0))
    store.put([item("a", created_at=9.0), item("b", created_at=7.0), item("c", backend="braintrust", created_at=8.0)])
    claim(store)

    assert [one.ref.id for one in store.listed(dead=False, most=9)] == ["b", "c", "a"]
    assert [one.ref.id for one in store.listed(dead=False, most=2)] == ["b", "c"]
    assert [one.ref.id for one in store.listed(dead=True, most=9)] == ["z", "y", "x"]
    assert [one.ref.id for one in store.listed(dead=True, most=1)] == ["z"]
    assert store.listed(dead=False, most=0) == store.listed(dead=True, most=0) == []


def test_all_dead_letters_may_be_revived_with_no_attempts(store):
    dead = [item(entry)._replace(attempts=5, reason="400: no") for entry in "ab"]
    bury(store, *dead)

    assert store.revive() == 2
    assert store.depths() == [Depth(backend="cloudflare", queued=2, oldest_at=1.0)]
    assert store.next_due("cloudflare") <= NOW
    assert by_entry(claim(store)) == {"a": (item("a"),), "b": (item("b"),)}
    assert store.revive() == 0


def test_some_dead_letters_may_be_revived(store):
    bury(store, item("a"), item("b"), item("c"))
    store.put([item("d")])

    assert store.revive(["a-0", "c-0", "d-0", "unknown", "a-0"]) == 2
    assert [one.id for one in store.listed(dead=True, most=9)] == ["b-0"]
    assert {one.id for one in given_out(claim(store))} == {"a-0", "c-0", "d-0"}
    assert store.revive([]) == 0


def test_a_revived_item_takes_its_old_place_among_those_of_its_entry(store):
    items = [item(number=number, created_at=float(number)) for number in range(5)]
    store.put(items)
    claimed = claim_one(store)
    dead, waiting = (items[0], items[2], items[4]), (items[1], items[3])
    store.conclude([(claimed, Conclusion(buried=dead, waiting=waiting))])

    assert store.revive([dead[1].id, dead[2].id, dead[0].id]) == 3
    assert claim_one(store).items == tuple(items)


def test_what_is_on_its_way_may_be_settled_after_an_earlier_item_is_revived(store):
    bury(store, item(number=1, created_at=1.0))
    store.put([item(number=2, created_at=2.0), item(number=3, created_at=3.0)])
    claimed = claim_one(store)
    store.revive()
    store.conclude([(claimed, Conclusion(settled=claimed.items[:1], waiting=claimed.items[1:]))])

    assert [one.id for one in claim_one(store).items] == ["e-1", "e-3"]


def test_a_revived_item_waits_for_the_lease_on_its_entry(store):
    bury(store, item(number=1))
    store.put([item(number=2)])
    claimed = claim_one(store)

    assert store.revive() == 1
    assert claim(store) == []
    settle(store, claimed)
    assert claim_one(store).items == (item(number=1),)


def test_all_dead_letters_may_be_purged(store):
    bury(store, item("a"), item("b"))
    store.put([item("c")])

    assert store.purge() == 2
    assert store.depths() == [Depth(backend="cloudflare", queued=1, oldest_at=1.0)]
    assert store.purge() == 0


def test_some_dead_letters_may_be_purged(store):
    bury(store, item("a"), item("b"), item("c"))
    store.put([item("d")])

    assert store.purge(["a-0", "c-0", "d-0", "unknown", "a-0"]) == 2
    assert list(store.fates(["a-0", "b-0", "c-0", "d-0"])) == ["b-0", "d-0"]
    assert store.purge([]) == 0


def test_what_waits_may_be_purged_but_not_what_is_leased(store):
    bury(store, item("dead"))
    store.put([item("a", 1), item("a", 2)])
    claimed = claim_one(store)
    store.put([item("a", 3), item("b", 1), item("b", 2), item("c", 1)])

    assert store.purge(["a-1", "a-3", "b-1", "dead-0", "unknown"], dead=False) == 1
    assert store.purge(dead=False) == 2
    assert store.depths() == [Depth(backend="cloudflare", queued=3, oldest_at=1.0, dead=1)]
    assert claim(store) == []
    settle(store, claimed)
    assert claim_one(store).items == (item("a", 3),)


def test_what_was_purged_leaves_nothing_due(store):
    store.put([item()])

    assert store.purge(dead=False) == 1
    assert is_empty(store)


def test_closing_it_any_number_of_times_leaves_it_usable(store):
    store.close()
    store.remember([Key("scope", "s")], call("1"))
    store.put([item()])
    store.close(0.1)
    store.close(None)

    assert ids(store.recall(Key("scope", "s"))) == ["1"]
    assert claim_one(store).items == (item(),)


# --- whatever is done


class Model:
    """The outbox as one would tell it: for each entry its items in order, when they are due, and who has them."""

    def __init__(self):
        self.queues = {}
        self.due = {}  # of the entries that have items, or a lease
        self.tokens = {}
        self.dead = {}
        self.settled = []

    def put(self, items, now):
        for one in items:
            self.queues.setdefault(one.ref.id, []).append(one)
            self.due.setdefault(one.ref.id, now)

    def claimable(self, now):
        """Return the entries that are due; a lease on nothing has been forgotten when it ends."""
        return {entry for entry, due_at in self.due.items() if due_at <= now and self.queues[entry]}

    def claim(self, claims, ends_at):
        for claimed in claims:
            entry = claimed.items[0].ref.id
            assert list(claimed.items) == self.queues[entry], "all of an entry, in order, as it was kept"
            self.due[entry], self.tokens[entry] = ends_at, claimed.token

    def conclude(self, claimed, conclusion, now):
        entry = claimed.items[0].ref.id
        queue = self.queues[entry]
        gone = {one.id for one in conclusion.settled + conclusion.buried}
        there = {one.id for one in queue}
        self.dead.update((one.id, one) for one in conclusion.buried if one.id in there)
        for one in conclusion.settled:
            self.dead.pop(one.id, None)
        queue[:] = [one for one in queue if one.id not in gone]
        if self.tokens.get(entry) == claimed.token:
            del self.tokens[entry]
            kept = {one.id: one for one in conclusion.waiting}
            queue[:] = [kept.get(one.id, one) for one in queue]
            self.due[entry] = conclusion.due_at if conclusion.waiting else now
            if not queue:
                del self.due[entry]

    def purge_waiting(self):
        count = 0
        for entry, queue in self.queues.items():
            if entry not in self.tokens and queue:
                count += len(queue)
                queue.clear()
                del self.due[entry]
        return count

    def waiting(self):
        return [one for queue in self.queues.values() for one in queue]

    def check(self, store, now):
        waiting = self.waiting()
        expected = Depth(
            backend="cloudflare", queued=len(waiting), oldest_at=1.0 if waiting else None, dead=len(self.dead)
        )
        assert store.depths() == ([expected] if waiting or self.dead else [])
        fates = {one.id: ("queued", one) for one in waiting} | {one.id: ("failed", one) for one in self.dead.values()}
        assert store.fates([*fates, *(one.id for one in self.settled)]) == fates
        self.check_due(store.next_due("cloudflare"), now)

    def check_due(self, due_at, now):
        """What is due may be told by any time that has passed, and a lease on nothing by its end or not at all."""
        due = {max(now, self.due[entry]) for entry, queue in self.queues.items() if queue}
        on_nothing = {self.due[entry] for entry in self.due if not self.queues[entry]}
        told = due_at if due_at is None else max(now, due_at)
        assert told in {min(due, default=None), *(max(now, end) for end in on_nothing if end <= min([*due, end]))}


ENTRIES = st.sampled_from("ab")
PUT = st.tuples(st.just("put"), st.lists(ENTRIES, max_size=4))
PUT_AGAIN = st.tuples(st.just("put again"), st.integers(0, 9))
CLAIM = st.tuples(st.just("claim"), st.integers(0, 4), st.sampled_from([1.0, 30.0]))
CONCLUDE = st.tuples(
    st.just("conclude"),
    st.integers(0, 9),
    st.lists(st.sampled_from(["settled", "buried", "waiting"]), min_size=1, max_size=4),
    st.sampled_from([0.0, 10.0]),
)
PASS = st.tuples(st.just("pass"), st.sampled_from([1.0, 5.0, 30.0]))
PURGE = st.tuples(st.just("purge"), st.booleans())
REOPEN = st.tuples(st.just("reopen"))
FREQUENT = PUT | CLAIM | CONCLUDE | PASS
RARE = PUT_AGAIN | PURGE | REOPEN


class Run:
    """One sequence of what may be done to a store, done to the model as well."""

    def __init__(self, store):
        self.store = store
        self.model = Model()
        self.now = NOW
        self.numbers = itertools.count()
        self.claims = []

    def do(self, operation, *arguments):
        getattr(self, operation.replace(" ", "_"))(*arguments)
        self.model.check(self.store, self.now)

    def put(self, entries):
        items = [item(entry, next(self.numbers)) for entry in entries]
        assert self.store.put(items)
        self.model.put(items, self.now)

    def put_again(self, index):
        known = [*self.model.waiting(), *self.model.dead.values()]
        assert self.store.put(known[index : index + 2])

    def claim(self, most, lease):
        expected = self.model.claimable(self.now)
        claims = claim(self.store, now=self.now, most=most, lease=lease)
        entries = {claimed.items[0].ref.id for claimed in claims}
        assert len(claims) == len(entries) == min(most, len(expected))
        assert entries <= expected
        self.model.claim(claims, self.now + lease)
        self.claims += claims

    def conclude(self, index, fates, delay):
        if not self.claims:
            return
        claimed = self.claims.pop(index % len(self.claims))
        ends = {"settled": [], "buried": [], "waiting": []}
        for one, fate in zip(claimed.items, itertools.cycle(fates), strict=False):
            ends[fate].append(one if fate == "settled" else one._replace(attempts=one.attempts + 1))
        parts = {fate: tuple(items) for fate, items in ends.items()}
        conclusion = Conclusion(**parts, due_at=self.now + delay)
        self.store.conclude([(claimed, conclusion)])
        self.model.conclude(claimed, conclusion, self.now)
        self.model.settled += conclusion.settled

    def purge(self, dead):
        if dead:
            assert self.store.purge() == len(self.model.dead)
            self.model.dead.clear()
        else:
            assert self.store.purge(dead=False) == self.model.purge_waiting()

    def reopen(self):
        self.store.close()

    # A name that is no keyword.
    def pass_(self, seconds):
        self.now += seconds

    def drain(self):
        """Settle all that is left, long after: each entry's items in order, each of them once."""
        left = self.model.queues
        drained = []
        self.now += 1_000
        while claims := claim(self.store, now=self.now, most=2):
            for claimed in claims:
                settle(self.store, claimed)
                drained += claimed.items
        assert sorted(one.id for one in drained) == sorted(one.id for one in self.model.waiting())
        for entry, queue in left.items():
            assert [one for one in drained if one.ref.id == entry] == queue


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(operations=st.lists(FREQUENT | FREQUENT | RARE, min_size=15, max_size=40))
def test_whatever_is_done_order_holds_and_nothing_is_lost_or_doubled(make_store, names, operations):
    store = make_store(f"store-{next(names)}")
    run = Run(store)
    try:
        for operation, *arguments in operations:
            run.do({"pass": "pass_"}.get(operation, operation), *arguments)
        run.drain()
    finally:
        store.close()


@pytest.fixture
def names():
    return itertools.count()


def test_putters_and_claimers_in_many_threads_neither_lose_nor_double_an_item(store):
    put_and_claim_together([store] * 4, [store] * 3, count=300)


def put_and_claim_together(putters, claimers, *, count):
    """Put in some threads and deliver in others until all has been settled; check what came out, and in which order."""
    puts = [
        [item(f"entry-{number % 7}", f"{putter}-{number}") for number in range(count)] for putter in range(len(putters))
    ]
    delivered, done, faults = [], threading.Event(), []

    def put(store, items):
        with telling(faults):
            for one in items:
                assert store.put([one])

    def deliver(store):
        with telling(faults):
            while not (done.is_set() and not store.depths()) and not faults:
                for claimed in claim(store, most=5):
                    delivered.extend(claimed.items)  # before the lease ends: then others may claim what comes after
                    settle(store, claimed)

    delivering = [threading.Thread(target=deliver, args=(store,)) for store in claimers]
    putting = [threading.Thread(target=put, args=pair) for pair in zip(putters, puts, strict=True)]
    for thread in [*delivering, *putting]:
        thread.start()
    for thread in putting:
        thread.join(60)
    done.set()
    for thread in delivering:
        thread.join(60)

    assert faults == []
    check_delivered(delivered, puts)


@contextlib.contextmanager
def telling(faults):
    """Keep what is raised in a thread for the test to see."""
    try:
        yield
    except BaseException as fault:
        faults.append(fault)


def check_delivered(delivered, puts):
    """Check that each item came out once, and what one putter put into one entry in that order."""
    assert Counter(one.id for one in delivered) == Counter(one.id for items in puts for one in items)
    for items in puts:
        own = {one.id for one in items}
        assert in_entries(one for one in delivered if one.id in own) == in_entries(items)


def in_entries(items):
    """Return the items by entry, each entry's in order."""
    found = {}
    for one in items:
        found.setdefault(one.ref.id, []).append(one)
    return found


# --- stores that several processes share


def test_a_store_says_whether_it_is_shared(make_shared_store):
    assert make_shared_store("store").shared is True


def test_what_one_puts_and_remembers_the_others_see(stores):
    mine, theirs = stores
    mine.put([item("a", 1)])
    theirs.put([item("a", 2)])
    mine.remember([Key("scope", "s")], call("1"))

    assert ids(theirs.recall(Key("scope", "s"))) == ["1"]
    assert mine.depths() == theirs.depths() == [Depth(backend="cloudflare", queued=2, oldest_at=1.0)]
    assert claim_one(theirs).items == (item("a", 1), item("a", 2))
    assert claim(mine) == []


def test_one_may_conclude_what_another_claimed(stores):
    """A claim is a value: the lease is in the store, not in who holds it."""
    mine, theirs = stores
    mine.put([item()])
    settle(theirs, claim_one(mine))

    assert is_empty(mine)


def test_what_takes_items_is_of_one_generation_for_all_and_after_a_restart(stores, make_shared_store):
    one, other = stores
    generation = one.put([item("a")])
    one.close()

    assert isinstance(generation, str)
    assert generation == one.put([item("b")]) == other.put([item("a"), item("c")])
    assert generation != make_shared_store("another").put([item("a")])


def test_where_the_generation_that_took_an_item_is_gone_its_fate_is_not_told(stores, make_shared_store):
    one, other = stores
    generation, another = one.put([item("a")]), make_shared_store("another").put([item("a")])

    assert other.fates(["a-0", "settled"], generation) == other.fates(["a-0"]) == {"a-0": ("queued", item("a"))}
    with pytest.raises(DataLostError):
        other.fates(["a-0"], another)
    settle(one, claim_one(one))
    assert other.fates(["a-0"], generation) == {}


def test_they_share_the_pace(stores):
    mine, theirs = stores

    assert [*takes(mine, 2), *takes(theirs, 2)] == [0.0, 0.0, 0.0, pytest.approx(0.5)]
    theirs.hold("b", until=NOW + 10)
    assert takes(mine, 1) == [pytest.approx(10.0)]


def test_takers_in_many_threads_take_no_more_than_there_is(stores):
    taken = []

    def take(store):
        taken.extend(store.take("b", Pace(rate=0.001, burst=50.0), now=NOW) for _ in range(40))

    threads = [threading.Thread(target=take, args=(store,)) for store in stores * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(taken) == 160
    assert taken.count(0.0) == 50


def test_several_may_open_a_new_store_at_the_same_moment(make_shared_store):
    stores = [make_shared_store("store") for _ in range(6)]
    together, opened = threading.Barrier(len(stores)), []

    def open_and_put(number, store):
        together.wait(10)
        opened.append(store.put([item(str(number))]))

    threads = [threading.Thread(target=open_and_put, args=pair) for pair in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(opened) == len(stores)
    assert len(set(opened)) == 1, "they would each take the other's data for lost"
    assert stores[0].depths()[0].queued == len(stores)


def test_putters_and_claimers_that_share_a_store_neither_lose_nor_double_an_item(make_shared_store):
    putters, claimers = ([make_shared_store("store") for _ in range(2)] for _ in range(2))
    put_and_claim_together(putters, claimers, count=150)


def test_an_entry_whose_items_were_settled_late_keeps_no_place_among_those_that_are_claimed(store):
    store.put([item("a")])
    [late] = store.claim("cloudflare", now=NOW, most=1, lease=1.0)
    store.put([item("b")])
    assert len(store.claim("cloudflare", now=NOW + 1, most=2, lease=1.0)) == 2
    store.conclude([(late, Conclusion(settled=late.items))])

    [claim] = store.claim("cloudflare", now=NOW + 2, most=1, lease=1.0)
    assert [one.ref.id for one in claim.items] == ["b"]


def test_an_entry_that_was_purged_and_put_again_is_given_out_once(store):
    store.put([item("a")])
    assert store.purge(dead=False) == 1
    store.put([item("a", number=2)])

    [claimed] = claim(store)
    assert [one.id for one in claimed.items] == ["a-2"]


def test_an_entry_that_was_leased_twice_for_the_same_time_is_given_out_once(store):
    store.put([item("a")])
    store.conclude([(claim_one(store), Conclusion())])
    store.put([item("a", number=2)])
    claim_one(store)

    assert len(claim(store, now=NOW + LEASE)) == 1


def test_what_was_put_meanwhile_is_kept_though_another_settled_as_much_of_the_claim(store):
    store.put([item(number=1)])
    [late] = claim(store, lease=1.0)
    store.put([item(number=2)])
    [present] = claim(store, now=NOW + 1)
    store.conclude([(late, Conclusion(settled=late.items))])
    store.put([item(number=3)])
    settle(store, present)

    assert [one.id for one in claim_one(store, now=NOW + 2).items] == ["e-3"]


# --- what an operator should know


def findings(store):
    return [(finding.check, finding.status, finding.found) for finding in store.check()]


def test_the_check_tells_of_what_waits_and_of_dead_letters(store):
    bury(store, item("dead"))
    store.put([item("e", 1), item("e", 2)])
    told = findings(store)
    [waiting, dead] = [finding for finding in told if finding[0] == "outbox of cloudflare"]
    assert waiting[1] == "warning"  # these items are from 1970
    assert waiting[2].startswith("2 waiting, the oldest for ")
    assert dead[1:] == ("warning", "1 dead letter")
    assert "problem" not in {status for _, status, _ in told}


def test_the_check_finds_an_empty_outbox_in_order_and_changes_nothing(store):
    store.put([item()])
    settle(store, claim_one(store))
    assert ("outbox", "ok", "nothing waits, and there are no dead letters") in findings(store)
    assert is_empty(store)


def test_what_was_put_meanwhile_waits_with_what_was_postponed_though_an_earlier_one_has_settled_that(store):
    store.put([item(number=1)])
    late = claim_one(store, lease=1.0)
    claimed = claim_one(store, now=NOW + 1)
    store.put([item(number=2)])
    settle(store, late)
    postpone(store, claimed, NOW + 10)

    assert store.next_due("cloudflare") == NOW + 10
    assert claim_one(store, now=NOW + 10).items == (item(number=2),)


def test_an_entry_that_a_later_worker_postponed_is_gone_when_the_earlier_one_settles_it_after_all(store):
    store.put([item()])
    late = claim_one(store, lease=1.0)
    postpone(store, claim_one(store, now=NOW + 1), NOW + 100)
    settle(store, late)

    assert is_empty(store)
