"""What only the Redis store has: a server that may be away, processes that share it, and a layout of keys."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager, suppress

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.crc import key_slot
from redis_server import Server, binaries, free_port

from thumbprint import ConfigurationError, LogRef, StoreError
from thumbprint._call import Call
from thumbprint._model import Feedback, Item
from thumbprint.stores import Claim, Conclusion, DataLostError, Depth, Key, Pace, _redis_server
from thumbprint.stores import redis as redis_module
from thumbprint.stores._protocol import entry_of
from thumbprint.stores._redis_server import findings_of
from thumbprint.stores.redis import BUCKET_TTL, RedisStore

SAID = Feedback(thumbs=1, comments=("gut", "naïve \ud800"))
SOON = 1.5  # seconds in which a call that waits for nothing is back on a busy machine; a timeout would take 2
PATIENCE = 30  # seconds for another process


@pytest.fixture(scope="module", params=list(binaries()) or ["none"])
def server(request, redis_servers):
    """Lend a server that many tests share. They keep to prefixes of their own."""
    return redis_servers[request.param] if binaries() else redis_servers.newest


@pytest.fixture
def own_server(server):
    """Start a server for this test alone, that forgets nothing when it is killed."""
    with Server(server.name, durable=True) as running:
        yield running


@pytest.fixture
def prefix():
    return secrets.token_hex(8)


@pytest.fixture
def make_store(server, prefix):
    """Return what makes stores with the same keys, as two processes would have them."""
    made = []

    def make(url=server.url, **options):
        made.append(RedisStore(url, **{"prefix": prefix, **options}))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_store):
    return make_store()


@pytest.fixture
def raw(server):
    """Connect to the shared server past the store."""
    with redis.Redis(port=server.port, decode_responses=True) as client:
        yield client


def item(entry="e", number=0, *, backend="cloudflare", at=None):
    created_at = float(number) if at is None else at
    ref = LogRef(backend=backend, id=entry, gateway_id="g")
    return Item(id=f"{entry}-{number}", ref=ref, feedback=SAID, created_at=created_at)


def call(log_id):
    return Call([LogRef(backend="cloudflare", id=log_id)])


def claimed(store, *, now=100.0, most=10, lease=60.0, backend="cloudflare"):
    return store.claim(backend, now=now, most=most, lease=lease)


def ids(claim):
    return [each.id for each in claim.items]


def settle(store, claim):
    store.conclude([(claim, Conclusion(settled=claim.items))])


def eventually(check):
    """Call until it returns something true, and return that; fail where it does not within the patience."""
    ends_at = time.monotonic() + PATIENCE
    while not (found := check()):
        assert time.monotonic() < ends_at, f"{check} was never true"
        time.sleep(0.01)
    return found


def fail_once(operation):
    """Return what the operation raises, and how long it took."""
    started = time.monotonic()
    with pytest.raises(StoreError) as raised:
        operation()
    return raised.value, time.monotonic() - started


# --- the layout of the keys


def fill(store):
    """Have a key of every kind."""
    store.remember([Key("scope", "s"), Key("trace", "t")], call("1"))
    store.put([item("leased"), item("later"), item("dead"), item("x:y", backend="a:b")])
    leased, later, dead = claimed(store)
    store.conclude([(later, Conclusion(waiting=later.items, due_at=200.0))])
    store.conclude([(dead, Conclusion(buried=dead.items))])
    store.put([item("due")])
    store.take("credential", Pace(rate=1, burst=1), now=1.0)
    store.swap("note", "", "text", seconds=60)
    return leased


def test_all_keys_are_under_the_prefix_and_in_one_slot_of_a_cluster(store, raw, prefix):
    fill(store)

    keys = list(raw.scan_iter(f"*{prefix}*", count=1000))
    kinds = {key.removeprefix(f"{{{prefix}}}:").split(":")[0] for key in keys}
    assert kinds == {
        *("layout", "generation", "calls", "items", "queue", "waiting", "letters", "dead", "backends", "turn"),
        *("due", "later", "leases", "places", "bucket", "note"),
    }
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert all(key.startswith(f"{{{prefix}}}:") for key in keys)


def test_a_server_that_is_a_cluster_does_it_all(server):
    with Server(server.name, options=["--cluster-enabled", "yes"]) as cluster:
        with redis.Redis(port=cluster.port, decode_responses=True) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            eventually(lambda: client.cluster("INFO")["cluster_state"] == "ok")
        store = RedisStore(cluster.url)
        settle(store, fill(store))
        assert (store.revive(), store.purge(dead=False), store.purge()) == (1, 4, 0)
        assert len(store.recall(Key("scope", "s"))) == 1
        store.close()


def test_what_is_settled_leaves_nothing_behind_but_its_counters(store, raw, prefix):
    store.put([item(number=number) for number in range(3)])
    for claim in claimed(store):
        settle(store, claim)

    kinds = {key.removeprefix(f"{{{prefix}}}:") for key in raw.scan_iter(f"{{{prefix}}}*", count=1000)}
    assert kinds == {"layout", "generation", "backends", "turn", "due:cloudflare"}
    assert raw.xlen(f"{{{prefix}}}:due:cloudflare") == 0


@pytest.mark.parametrize("prefix", ["", "{a}", "a}"])
def test_a_prefix_that_is_no_hash_tag_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisStore("redis://127.0.0.1", prefix=prefix)


def test_stores_with_other_prefixes_share_nothing(make_store, prefix):
    mine, other = make_store(), make_store(prefix=f"{prefix}2")
    mine.put([item()])
    mine.remember([Key("scope", "s")], call("1"))

    assert (claimed(other), other.depths(), other.recall(Key("scope", "s"))) == ([], [], ())
    assert len(claimed(mine)) == 1


def test_names_with_colons_and_odd_characters_are_kept_apart(store):
    one, other = item("b:c", backend="a"), item("c", backend="a:b")
    store.put([one, other])
    store.remember([Key("scope", "\ud800:ü")], call("1"))

    assert [ids(claim) for claim in claimed(store, backend="a")] == [["b:c-0"]]
    assert [claim.items for claim in claimed(store, backend="a:b")] == [(other,)]
    assert [depth.backend for depth in store.depths()] == ["a", "a:b"]
    assert store.recall(Key("scope", "\ud800:ü"))[0].refs[0].id == "1"


# --- what somebody else has written


def test_a_key_of_another_kind_in_the_way_is_a_store_error(store, raw, prefix):
    raw.set(f"{{{prefix}}}:calls:scope:s", "somebody else's")

    error, _ = fail_once(lambda: store.recall(Key("scope", "s")))

    assert "WRONGTYPE" in str(error)
    assert "nobody else may use the prefix" in str(error)


def test_what_another_version_has_written_is_left_alone(store, raw, prefix):
    raw.set(f"{{{prefix}}}:layout", "2")

    error, _ = fail_once(lambda: store.put([item()]))

    assert "it is another version's; use that version" in str(error)
    assert "written by another version of thumbprint (layout 2, this version knows 1)" in str(error)
    assert raw.keys(f"{{{prefix}}}*") == [f"{{{prefix}}}:layout"]


# --- references


def test_references_expire_after_the_last_call_that_was_kept_under_them(make_store, raw, prefix):
    store = make_store(reference_ttl=60.0)
    store.remember([Key("scope", "s")], call("1"))
    key = f"{{{prefix}}}:calls:scope:s"
    raw.pexpire(key, 5_000)

    store.remember([Key("scope", "s")], call("2"))

    assert 50_000 < raw.pttl(key) <= 60_000


def test_of_too_many_calls_under_one_id_the_oldest_are_forgotten(store, monkeypatch):
    monkeypatch.setattr(redis_module, "MAX_CALLS_PER_KEY", 2)
    for number in range(4):
        store.remember([Key("scope", "s")], call(str(number)))

    assert [kept.refs[0].id for kept in store.recall(Key("scope", "s"))] == ["2", "3"]


def test_a_call_comes_back_as_it_was(store):
    kept = Call(
        [LogRef(backend="cloudflare", id="1", captured_at=1.5), LogRef(backend="braintrust", id="2")], repeats=True
    )
    store.remember([Key("response", "r")], kept)

    [found] = store.recall(Key("response", "r"))

    assert (found.refs, found.repeats) == (kept.refs, True)


def test_a_call_without_keys_costs_no_connection():
    RedisStore(f"redis://127.0.0.1:{free_port()}").remember([], call("1"))


# --- the outbox


def test_an_item_comes_back_as_it_was_put(store):
    kept = Item(
        id="i",
        ref=LogRef(backend="braintrust", id="row", project_name="p", captured_at=1.25),
        feedback=Feedback(
            thumbs=None,
            score=0.1,
            scores={"a": None, "b": 0.3},
            comments=("ü", "\ud800"),
            expected={"deep": [1, None, 0.1]},
            tags=("t",),
            metadata={"k": [1.5]},
            user_id="u",
            source="app",
        ),
        created_at=1_700_000_000.123456,
        attempts=3,
        reason="busy",
    )
    store.put([kept])

    [claim] = claimed(store, backend="braintrust")

    assert claim.items == (kept,)
    assert claim.entry == entry_of(kept)
    assert store.depths() == [Depth(backend="braintrust", queued=1, oldest_at=kept.created_at)]


def test_times_keep_all_their_digits(store):
    store.put([item()])
    [claim] = claimed(store)
    due_at = 1_700_000_000.123456
    store.conclude([(claim, Conclusion(waiting=claim.items, due_at=due_at))])

    assert store.next_due("cloudflare") == due_at


def test_an_item_that_is_a_dead_letter_is_known(store):
    store.put([item()])
    [claim] = claimed(store)
    store.conclude([(claim, Conclusion(buried=claim.items))])

    assert store.put([item(), item()])
    assert store.depths() == [Depth(backend="cloudflare", dead=1)]


def test_what_is_put_twice_at_once_or_into_a_full_outbox_again_is_taken_once(store, make_store):
    assert store.put([item("a"), item("b"), item("a")])
    assert make_store(max_items=1).put([item("b"), item("a")])
    assert not make_store(max_items=1).put([item("b"), item("c")])

    assert [ids(claim) for claim in claimed(store)] == [["a-0"], ["b-0"]]


def test_what_a_lease_gave_back_counts_as_claimed(store):
    store.put([item("a"), item("b"), item("c")])
    claimed(store, now=0.0, most=1, lease=10.0)

    assert [ids(claim) for claim in claimed(store, now=10.0, most=1)] == [["a-0"]]
    assert [ids(claim) for claim in claimed(store, now=10.0, most=1)] == [["b-0"]]


def test_a_lease_on_nothing_takes_no_place_among_those_asked_for(store, make_store):
    store.put([item("a"), item("b")])
    [lost, _] = claimed(store, now=0.0, lease=10.0)
    other = make_store()
    claimed(other, now=10.0, most=1, lease=5.0)
    claimed(other, now=10.0, most=1, lease=8.0)
    settle(store, lost)

    assert [ids(claim) for claim in claimed(store, now=20.0, most=1)] == [["b-0"]]
    assert claimed(store, now=20.0, most=1) == []


def test_the_next_due_is_whichever_comes_first_a_lease_that_ends_or_an_entry_that_waits(store):
    store.put([item("a"), item("b")])
    _, second = claimed(store, now=0.0, lease=10.0)
    store.conclude([(second, Conclusion(waiting=second.items, due_at=15.0))])
    assert store.next_due("cloudflare") == 10.0

    [first] = claimed(store, now=10.0, lease=10.0)
    assert store.next_due("cloudflare") == 15.0
    settle(store, first)
    assert store.next_due("cloudflare") == 15.0


def test_nothing_is_claimed_where_nothing_is_asked_for(store):
    store.put([item()])

    assert claimed(store, most=0) == []
    assert store.listed(dead=False, most=0) == []


def test_of_too_many_dead_letters_the_oldest_are_forgotten(make_store):
    store = make_store(max_items=2)
    for number in range(3):
        store.put([item(number=number)])
        [claim] = claimed(store)
        store.conclude([(claim, Conclusion(buried=claim.items))])

    assert [letter.id for letter in store.listed(dead=True, most=9)] == ["e-1", "e-2"]
    assert store.fates(["e-0"]) == {}


def test_what_was_made_at_the_same_time_is_listed_in_the_order_of_putting(store):
    store.put([item("z", at=1.0), item("b", backend="braintrust", at=1.0)])
    store.put([item("a", at=1.0)])

    assert [each.id for each in store.listed(dead=False, most=9)] == ["z-0", "b-0", "a-0"]
    assert [each.id for each in store.listed(dead=False, most=2)] == ["z-0", "b-0"]


def test_the_oldest_of_all_backends_are_listed_first(store):
    store.put([item("young", at=3.0), item("old", at=1.0), item("middle", backend="braintrust", at=2.0)])

    assert [each.id for each in store.listed(dead=False, most=2)] == ["old-0", "middle-0"]
    assert {depth.backend: depth.oldest_at for depth in store.depths()} == {"cloudflare": 1.0, "braintrust": 2.0}


def test_revive_and_purge_go_through_all_there_is_page_by_page(store, monkeypatch):
    monkeypatch.setattr(redis_module, "PAGE", 2)
    store.put([item(number=number) for number in range(5)] + [item("other", backend="braintrust")])
    for claim in [*claimed(store), *claimed(store, backend="braintrust")]:
        store.conclude([(claim, Conclusion(buried=claim.items))])

    assert store.revive() == 6
    [claim] = claimed(store)
    assert ids(claim) == [f"e-{number}" for number in range(5)]
    assert store.purge(dead=False) == 1  # the others are leased
    store.conclude([(claim, Conclusion(buried=claim.items))])
    assert store.purge(["e-0", "e-1", "e-2", "unknown"]) == 3
    assert store.purge() == 2
    assert store.depths() == []


def test_purge_leaves_what_is_leased_among_what_waits(store, monkeypatch):
    monkeypatch.setattr(redis_module, "PAGE", 2)
    store.put([item("leased"), item("leased", 1)])
    [claim] = claimed(store)
    store.put([item(f"waiting-{number}", number) for number in range(4)] + [item("leased", 9)])

    assert store.purge(dead=False) == 4
    assert store.purge(["leased-0", "waiting-0"], dead=False) == 0
    settle(store, claim)
    assert [ids(each) for each in claimed(store)] == [["leased-9"]]


def test_what_two_move_at_the_same_time_is_moved_once(store, make_store, monkeypatch):
    """The other one is faster between the two scripts of `revive` and of `purge`."""
    other = make_store()
    find = RedisStore._with_ids

    def find_and_lose(self, names, fate):
        found = list(find(self, names, fate))
        monkeypatch.setattr(RedisStore, "_with_ids", find)
        other.purge(names)
        return found

    for operation in (store.revive, store.purge):
        store.put([item()])
        [claim] = claimed(store)
        store.conclude([(claim, Conclusion(buried=claim.items))])
        monkeypatch.setattr(RedisStore, "_with_ids", find_and_lose)
        assert operation(["e-0"]) == 0
        assert store.depths() == []


# --- consumers


def test_each_store_is_a_consumer_of_its_own(make_store, raw, prefix):
    one, other = make_store(), make_store()
    one.put([item("a"), item("b")])
    claimed(one, most=1)
    claimed(other, most=1)

    consumers = raw.xinfo_consumers(f"{{{prefix}}}:due:cloudflare", "workers")
    assert [consumer["pending"] for consumer in consumers] == [1, 1]
    assert all(f"-{os.getpid()}-" in consumer["name"] for consumer in consumers)


def test_consumers_that_are_gone_are_cleared_away_unless_they_hold_something(make_store, raw, prefix, monkeypatch):
    stores = [make_store() for _ in range(3)]
    stores[0].put([item("held"), item("done")])
    claimed(stores[0], most=1)
    settle(stores[1], claimed(stores[1])[0])
    monkeypatch.setattr(redis_module, "CONSUMER_TTL", 0.0)

    def consumers():
        return raw.xinfo_consumers(f"{{{prefix}}}:due:cloudflare", "workers")

    eventually(lambda: all(consumer["idle"] > 1 for consumer in consumers()))
    claimed(stores[2])

    assert {each["name"] for each in consumers()} == {stores[0]._server.consumer, stores[2]._server.consumer}


def test_what_a_crashed_consumer_had_pending_is_the_other_s_when_the_lease_has_ended(make_store, raw, prefix):
    crashed, other = make_store(), make_store()
    crashed.put([item("a"), item("b")])
    claimed(crashed, now=0.0, lease=10.0)
    claimed(other, now=10.0)

    pending = raw.xpending_range(f"{{{prefix}}}:due:cloudflare", "workers", "-", "+", 9)
    assert [(message["consumer"], message["times_delivered"]) for message in pending] == [
        (other._server.consumer, 2)
    ] * 2


def test_what_a_deleted_consumer_held_is_given_out_all_the_same(store, raw, prefix):
    store.put([item("a"), item("b")])
    claimed(store, now=0.0, lease=10.0)
    raw.xgroup_delconsumer(f"{{{prefix}}}:due:cloudflare", "workers", store._server.consumer)

    assert sorted(ids(claim) for claim in claimed(store, now=10.0)) == [["a-0"], ["b-0"]]


# --- pace


def test_whoever_waited_as_long_as_was_said_may_go(store):
    """With times of today, which floats hold to a quarter of a microsecond."""
    pace, now = Pace(rate=2.9, burst=3), 1_795_310_000.1
    for _ in range(3):
        assert store.take("b", pace, now=now) == 0
    for _ in range(20):
        wait = store.take("b", pace, now=now)
        assert 0 < wait <= 1 / 2.9 + 1e-5
        now += wait
        assert store.take("b", pace, now=now) == 0


def test_a_clock_that_is_behind_fills_no_bucket_twice(store):
    pace = Pace(rate=1, burst=1)
    assert store.take("b", pace, now=100.0) == 0
    assert store.take("b", pace, now=90.0) == 1
    assert store.take("b", pace, now=100.5) == 0.5


def test_a_hold_is_never_shortened_and_is_lifted_by_zero(store):
    pace = Pace(rate=1, burst=5)
    store.hold("b", until=30.0)
    store.hold("b", until=20.0)
    assert store.take("b", pace, now=10.0) == 20.0
    store.hold("b", until=0)
    assert store.take("b", pace, now=10.0) == 0


def test_a_bucket_that_nobody_uses_is_forgotten_when_it_is_full_whosever_clock_is_a_minute_ahead(store, raw, prefix):
    def seconds_left(bucket):
        return raw.pttl(f"{{{prefix}}}:bucket:{bucket}") / 1000

    store.take("b", Pace(rate=2, burst=10), now=100.0)
    assert 0 < seconds_left("b") <= 65
    store.hold("b", until=200.0)
    store.take("b", Pace(rate=2, burst=10), now=100.0)
    assert 100 < seconds_left("b") <= 165
    store.take("slow", Pace(rate=1e-300, burst=1e9), now=100.0)
    assert 165 < seconds_left("slow") <= BUCKET_TTL
    store.hold("c", until=5.0)
    assert 165 < seconds_left("c") <= BUCKET_TTL


# --- the outbox against a simple model

ENTRIES = ("a", "b")
LEASE = 10.0
steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(ENTRIES), st.integers(1, 3)),
    st.tuples(st.just("claim"), st.integers(1, 3)),
    st.tuples(st.just("lose"), st.integers(1, 3)),
    st.tuples(st.just("conclude"), st.integers(0, 3), st.lists(st.sampled_from("sbw"), min_size=1, max_size=3)),
    st.tuples(st.just("conclude"), st.just(0), st.just("w")),
    st.tuples(st.just("pass"), st.sampled_from([1.0, 5.0])),
    st.tuples(st.sampled_from(["revive", "purge"])),
)


class Model:
    """The outbox as it should be: an entry's items, when it is due or its lease ends, and the lease's token."""

    def __init__(self, store):
        self.store = store
        self.now = 1_000.0
        self.numbers = itertools.count()
        self.queues = {}
        self.due_at = {}
        self.tokens = {}
        self.dead = []
        self.put_ids = []
        self.claims = []

    def do_put(self, entry, count):
        items = [item(entry, next(self.numbers)) for _ in range(count)]
        assert self.store.put(items)
        assert self.store.put(items)  # once more, as after a lost answer
        self.put_ids += [each.id for each in items]
        self.append(items)

    def append(self, items):
        for each in items:
            if each.ref.id not in self.queues:
                self.due_at[each.ref.id] = 0.0
            self.queues.setdefault(each.ref.id, []).append(each.id)

    def do_claim(self, most):
        self.drop_ended(most)
        available = {entry for entry, due_at in self.due_at.items() if due_at <= self.now and self.queues[entry]}
        claims = claimed(self.store, now=self.now, most=most, lease=LEASE)
        entries = [claim.items[0].ref.id for claim in claims]
        assert len(claims) == min(most, len(available))
        assert set(entries) <= available
        assert len(set(entries)) == len(entries)
        for entry, claim in zip(entries, claims, strict=True):
            assert ids(claim) == self.queues[entry]
            self.due_at[entry] = self.now + LEASE
            self.tokens[entry] = claim.token
        self.claims += claims

    def drop_ended(self, most):
        """End the leases on nothing that a claim comes across."""
        ended = sorted((self.due_at[entry], entry) for entry in self.tokens if self.due_at[entry] <= self.now)
        for _, entry in ended:
            if most > 0 and not self.queues[entry]:
                del self.tokens[entry]
                self.keep(entry, [])
            else:
                most -= 1

    def do_conclude(self, which, fates):
        """Conclude one of the last claims, which may be one that was concluded before or whose lease has ended."""
        if not self.claims:
            return
        claim = self.claims[-1 - which % len(self.claims)]
        entry = claim.items[0].ref.id
        fated = list(zip(claim.items, itertools.cycle(fates), strict=False))
        settled, buried, waiting = (tuple(each for each, its_fate in fated if its_fate == fate) for fate in "sbw")
        due_at = self.now + 5.0
        self.store.conclude([(claim, Conclusion(settled=settled, buried=buried, waiting=waiting, due_at=due_at))])

        there = self.queues.get(entry, [])
        self.dead = [letter for letter in self.dead if letter.id not in {each.id for each in settled}]
        self.dead += [each for each in buried if each.id in there]
        gone = {each.id for each in settled + buried}
        if there:
            self.keep(entry, [each for each in there if each not in gone])
        if self.tokens.get(entry) == claim.token:
            del self.tokens[entry]
            self.due_at[entry] = due_at if waiting else 0.0
            self.keep(entry, self.queues[entry])

    def keep(self, entry, names):
        self.queues[entry] = names
        if not names and entry not in self.tokens:
            for kept in (self.queues, self.due_at):
                kept.pop(entry, None)

    def do_lose(self, most):
        """Let the leases end, and have somebody else claim."""
        self.do_pass(LEASE)
        self.do_claim(most)

    def do_pass(self, seconds):
        self.now += seconds

    def do_revive(self):
        assert self.store.revive() == len(self.dead)
        self.append(self.dead)
        for names in self.queues.values():
            names.sort(key=lambda name: int(name.rpartition("-")[2]))  # each where it was
        self.dead = []

    def do_purge(self):
        free = [entry for entry in self.queues if entry not in self.tokens]
        assert self.store.purge(dead=False) == sum(len(self.queues[entry]) for entry in free)
        for entry in free:
            self.keep(entry, [])

    def check(self):
        queued = [name for names in self.queues.values() for name in names]
        fates = {name: fate for name, (fate, _) in self.store.fates(self.put_ids).items()}
        assert fates == dict.fromkeys(queued, "queued") | {letter.id: "failed" for letter in self.dead}
        counts = [(depth.queued, depth.dead) for depth in self.store.depths()]
        assert counts == ([(len(queued), len(self.dead))] if queued or self.dead else [])
        assert {each.id for each in self.store.listed(dead=False, most=100)} == set(queued)

        next_due, expected = self.store.next_due("cloudflare"), min(self.due_at.values(), default=None)
        if expected is None or expected > self.now:
            assert next_due == expected
        else:
            assert next_due <= self.now


@settings(deadline=None, max_examples=60)
@given(script=st.lists(steps, min_size=30, max_size=60))
def test_the_outbox_does_what_a_simple_model_of_it_does(server, script):
    store = RedisStore(server.url, prefix=secrets.token_hex(8))
    model = Model(store)
    for name, *args in script:
        getattr(model, f"do_{name}")(*args)
        model.check()
    store.close()


# --- several processes

PRELUDE = """
import os, sys, time
from thumbprint import LogRef
from thumbprint._model import Feedback, Item
from thumbprint.stores import Conclusion
from thumbprint.stores.redis import RedisStore
url, prefix, *args = sys.argv[1:]
store = RedisStore(url, prefix=prefix)
def item(entry, name, at=1.0):
    return Item(id=name, ref=LogRef(backend="cloudflare", id=entry), feedback=Feedback(thumbs=1), created_at=at)
"""
PUTTER = """
for number in range(200):
    assert store.put([item(f"entry-{number % 7}", f"{args[0]}-{number:03}")])
"""
CLAIMER = """
log = open(args[0], "a")
ends_at = time.monotonic() + 30
while time.monotonic() < ends_at:
    claims = store.claim("cloudflare", now=time.time(), most=3, lease=60)
    for claim in claims:
        log.write("".join(f"{each.ref.id} {each.id}\\n" for each in claim.items))
        log.flush()
        store.conclude([(claim, Conclusion(settled=claim.items))])
    if not claims and os.path.exists(args[1]) and not store.depths():
        break
"""
HOLDER = """
[claim] = store.claim("cloudflare", now=100.0, most=1, lease=60.0)
print(claim.token, flush=True)
time.sleep(60)
"""
FORKER = """
assert store.put([item("parent", "p-0")])
mine = (store._server.consumer, store._server._opened.client.client_id())
child = os.fork()
if child == 0:
    theirs = (store._server.consumer, store._server._opened.client.client_id())
    fine = mine[0] != theirs[0] and mine[1] != theirs[1]
    for number in range(50):
        fine = fine and store.put([item("child", f"c-{number}")])
    store.close()
    os._exit(0 if fine else 1)
for number in range(1, 50):
    assert store.put([item("parent", f"p-{number}")])
assert os.waitpid(child, 0)[1] == 0
assert (store._server.consumer, store._server._opened.client.client_id()) == mine
"""
IMPORTER = """
import threading
importing = threading.Event()
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "redis":
            importing.set()
            time.sleep(0.3)
sys.meta_path.insert(0, Slow())
def put(entry, name):
    return RedisStore(url, prefix=prefix).put([item(entry, name)])
for name in [name for name in sys.modules if name.partition(".")[0] == "redis"]:
    del sys.modules[name]  # what the store above has imported
thread = threading.Thread(target=put, args=("parent", "p"))
thread.start()
importing.wait()
child = os.fork()
if child == 0:
    os._exit(0 if put("child", "c") else 1)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""


def process(script, server, prefix, *args):
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + script, server.url, prefix, *args], stdout=subprocess.PIPE, text=True
    )


def finished(*processes):
    """Return what the processes printed, when all of them have ended well."""
    try:
        printed = [each.communicate(timeout=PATIENCE)[0] for each in processes]
    finally:
        for each in processes:
            each.kill()
            each.wait()
    assert [each.returncode for each in processes] == [0] * len(processes)
    return printed


def test_what_two_processes_put_two_others_get_once_and_in_order(server, prefix, tmp_path):
    log, all_put = tmp_path / "log", tmp_path / "all put"
    claimers = [process(CLAIMER, server, prefix, str(log), str(all_put)) for _ in range(2)]
    finished(*[process(PUTTER, server, prefix, name) for name in ("x", "y")])
    all_put.touch()
    finished(*claimers)

    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(name for _, name in lines) == [f"{name}-{number:03}" for name in "xy" for number in range(200)]
    for entry, putter in itertools.product({entry for entry, _ in lines}, "xy"):
        names = [name for its_entry, name in lines if its_entry == entry and name.startswith(putter)]
        assert names == sorted(names)


def test_what_one_process_puts_another_claims_in_that_order(server, prefix, make_store):
    finished(process(PUTTER, server, prefix, "x"))

    claims = claimed(make_store())

    assert [claim.items[0].ref.id for claim in claims] == [f"entry-{number}" for number in range(7)]
    for claim in claims:
        assert ids(claim) == sorted(ids(claim))
    assert sum(len(claim.items) for claim in claims) == 200


def test_a_lease_that_a_killed_process_held_ends_by_itself(server, prefix, store):
    store.put([item(number=number) for number in range(3)])
    holder = process(HOLDER, server, prefix)
    token = holder.stdout.readline().strip()
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=PATIENCE)
    assert token
    store.put([item(number=3)])

    assert claimed(store, now=159.9) == []
    assert store.next_due("cloudflare") == 160.0
    [claim] = claimed(store, now=160.0)
    assert ids(claim) == ["e-0", "e-1", "e-2", "e-3"]
    assert claim.token != token
    settle(store, claim)
    assert store.next_due("cloudflare") is None


def test_after_a_fork_parent_and_child_have_connections_of_their_own(server, prefix, store):
    finished(process(FORKER, server, prefix))

    assert [len(claim.items) for claim in claimed(store)] == [50, 50]


def test_a_fork_while_the_package_redis_is_being_imported_leaves_the_child_nothing_locked(server, prefix, store):
    finished(process(IMPORTER, server, prefix))

    assert sorted(claim.items[0].id for claim in claimed(store)) == ["c", "p"]


def test_thousands_of_items_of_one_entry_are_settled_and_buried_and_kept(store):
    for start in range(0, 9_000, 500):
        store.put([item("e", number) for number in range(start, start + 500)])
    [claim] = claimed(store)
    settled, buried, waiting = claim.items[:3_000], claim.items[3_000:6_000], claim.items[6_000:]
    store.conclude([(claim, Conclusion(settled=settled, buried=buried, waiting=waiting, due_at=1.0))])

    [depth] = store.depths()
    assert (depth.queued, depth.dead) == (3_000, 3_000)


def test_threads_share_a_store(store):
    def put(name):
        for number in range(50):
            store.put([item(name, number)])

    threads = [threading.Thread(target=put, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    claims = claimed(store)
    assert [ids(claim) == [f"{ids(claim)[0][:2]}-{number}" for number in range(50)] for claim in claims] == [True] * 8


def test_threads_that_find_all_connections_in_use_wait_for_one(server, prefix, monkeypatch):
    monkeypatch.setattr(_redis_server, "MAX_CONNECTIONS", 1)
    store = RedisStore(server.url, prefix=prefix)
    threads = [threading.Thread(target=lambda name=name: store.put([item(name)])) for name in "abcdefgh"]
    free = store._server._open().client.connection_pool.pool
    held = free.get(block=True, timeout=1)
    for thread in threads:
        thread.start()
    free.put_nowait(held)
    for thread in threads:
        thread.join(PATIENCE)

    assert sum(depth.queued for depth in store.depths()) == 8
    store.close()


def test_who_waits_for_a_connection_for_too_long_is_told(server, prefix, monkeypatch):
    monkeypatch.setattr(_redis_server, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(_redis_server, "TIMEOUT", 0.05)
    store = RedisStore(server.url, prefix=prefix)
    free = store._server._open().client.connection_pool.pool
    held = free.get(block=True, timeout=1)
    with pytest.raises(StoreError, match="No connection available"):
        store.put([item("a")])
    free.put_nowait(held)
    store.close()


# --- a server that comes and goes


def test_a_server_that_was_killed_and_comes_back_has_everything(own_server):
    store = RedisStore(own_server.url)
    store.put([item("leased"), item("waiting")])
    [claim] = claimed(store, most=1)
    store.remember([Key("scope", "s")], call("1"))
    own_server.kill()

    error, took = fail_once(lambda: store.put([item("lost")]))
    assert took < SOON
    assert f"redis://127.0.0.1:{own_server.port}/0" in str(error)
    assert "it cannot be reached; start it" in str(error)

    own_server.start()
    eventually(lambda: put_again(store))
    assert len(store.recall(Key("scope", "s"))) == 1
    assert store.fates(["lost-0"]) == {}
    settle(store, claim)
    assert [ids(each) for each in claimed(store)] == [["waiting-0"], ["back-0"]]
    store.close()


def put_again(store):
    try:
        return store.put([item("back")])
    except StoreError:
        return False


class Cut:
    """The connections of this process, which break at the n-th command: before it is sent, or before its answer."""

    def __init__(self, patched, connection, n, error, *, answered, times):
        self.left = n
        self.done = False
        kind, name = type(connection), "send_packed_command"
        if answered:
            kind, name = type(connection._parser), "read_response"
        inner = getattr(kind, name)

        def fail(*args, **options):
            self.left -= 1
            if -times < self.left <= 0:
                self.done = True
                raise error
            return inner(*args, **options)

        patched.setattr(kind, name, fail)


OPERATIONS = {
    "put": lambda store, _: store.put([item("new"), item("waiting", 8), item("dead")]),
    "claim": lambda store, _: claimed(store),
    "conclude": lambda store, claim: store.conclude(
        [(claim, Conclusion(settled=claim.items[:1], buried=claim.items[1:2], waiting=claim.items[2:]))]
    ),
    "take": lambda store, _: store.take("b", Pace(rate=1.0, burst=9.0), now=100.0),
    "remember": lambda store, _: store.remember([Key("scope", "s"), Key("trace", "t")], call("2")),
    "revive": lambda store, _: store.revive(),
    "purge": lambda store, _: store.purge(),
}


def fill_for_cuts(store):
    """Have what waits, is leased and is dead; return a claim that is leased, and all ids."""
    store.put([item("dead", number) for number in range(3)])
    [dead] = claimed(store)
    store.conclude([(dead, Conclusion(buried=dead.items))])
    store.put([item("leased", number) for number in range(3)])
    [leased] = claimed(store)
    store.put([item("waiting")])
    return leased


def kept(store):
    """Return the ids that wait and those that are dead, each as often as it is there, in order."""
    return [[each.id for each in store.listed(dead=dead, most=99)] for dead in (False, True)]


@pytest.mark.parametrize("times", [1, 2])  # a command is sent once more
@pytest.mark.parametrize("answered", [False, True], ids=["before it is sent", "before its answer"])
@pytest.mark.parametrize("error", [redis.ConnectionError, redis.TimeoutError, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_connection_that_dies_at_any_command_costs_nothing_that_was_taken(  # noqa: PLR0917 - all of them
    redis_servers, monkeypatch, operation, error, answered, times
):
    monkeypatch.setattr(redis_module, "PAGE", 2)
    monkeypatch.setattr(_redis_server, "REST", 0)
    work, url = OPERATIONS[operation], redis_servers.newest.url
    n, done = 0, True
    while done:
        n += 1
        store, other = (RedisStore(url, prefix=prefix) for prefix in [secrets.token_hex(8)] * 2)
        claim, before = fill_for_cuts(store), kept(store)
        with monkeypatch.context() as patched:
            connection = store._server._open().client.connection_pool.pool.queue[-1]
            cut = Cut(patched, connection, n, error, answered=answered, times=times)
            with suppress(error, StoreError):
                work(store, claim)
            done = cut.done
        after = kept(other)
        work(store, claim)
        assert settle_all(store) == kept_in(operation, before)
        assert len(after[0] + after[1]) == len({*after[0], *after[1]})
        assert store.depths() == []
        store.close()
        other.close()
    assert n > 1


def kept_in(operation, before):
    """Return what is there when the operation was done at last, whatever went before."""
    waiting, dead = before
    new = {"put": ["new-0", "waiting-8"]}.get(operation, [])
    gone = {"conclude": ["leased-0"], "purge": dead}.get(operation, [])
    return sorted(({*waiting, *dead, *new}) - {*gone})


def settle_all(store):
    """Return all ids that are given out, those of dead letters and of leases that have ended among them."""
    store.revive()
    claims = [*claimed(store, now=10_000.0), *claimed(store, now=10_000.0)]
    for claim in claims:
        settle(store, claim)
    assert all(ids(claim) == sorted(ids(claim)) for claim in claims)
    return sorted(name for claim in claims for name in ids(claim))


def test_a_server_that_is_not_there_at_the_start_is_used_when_it_is(own_server):
    own_server.stop()
    store = RedisStore(own_server.url)
    _, took = fail_once(lambda: store.put([item("back")]))
    assert took < SOON

    own_server.start()
    eventually(lambda: put_again(store))
    assert store.depths() == [Depth(backend="cloudflare", queued=1, oldest_at=0.0)]
    store.close()


def test_idle_connections_that_were_cut_cost_no_call(store, raw):
    store.put([item("a")])
    raw.client_kill_filter(_id=store._server._opened.client.client_id())

    assert store.put([item("b")])


def test_scripts_that_the_server_has_forgotten_are_sent_again(store, raw):
    store.put([item()])
    raw.script_flush()

    assert len(claimed(store)) == 1


def test_a_server_that_was_emptied_is_used_on(own_server):
    store = RedisStore(own_server.url)
    store.put([item()])
    [claim] = claimed(store)
    with redis.Redis(port=own_server.port) as client:
        client.flushall()

    store.conclude([(claim, Conclusion(waiting=claim.items, due_at=1.0))])
    assert (claimed(store), store.next_due("cloudflare"), store.depths()) == ([], None, [])
    store.put([item()])
    assert len(claimed(store)) == 1
    store.close()


def flush(server):
    with redis.Redis(port=server.port) as client:
        client.flushall()


def restart_without_a_file(server):
    server.kill()
    for file in server.folder.glob("appendonly*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    server.start()


def fail_over_to_an_empty_replica(server):
    options = ["--repl-diskless-sync-delay", "0"]  # it need not wait for further replicas
    with Server(server.name, options=options) as empty, redis.Redis(port=server.port) as client:
        client.replicaof("127.0.0.1", empty.port)
        eventually(lambda: client.info("replication")["master_link_status"] == "up")
        client.replicaof("NO", "ONE")


@pytest.mark.parametrize("lose", [flush, restart_without_a_file, fail_over_to_an_empty_replica])
@pytest.mark.parametrize("used", [True, False], ids=["and used since", "and not used since"])
def test_what_was_in_a_server_that_lost_its_data_is_not_told_to_be_settled(own_server, lose, used):
    store, other = (RedisStore(own_server.url) for _ in range(2))
    generation = store.put([item("lost")])
    assert store.fates(["settled"], generation) == {}
    lose(own_server)
    newer = eventually(lambda: put_again(other)) if used else None

    with pytest.raises(DataLostError, match=f"redis://127.0.0.1:{own_server.port}/0 has lost its data"):
        eventually(lambda: fates_of(store, generation))
    assert newer in {None, store.put([item("back")])}
    assert list(store.fates(["lost-0", "back-0"], store.put([item("later")]))) == ["back-0"]
    store.close()
    other.close()


def fates_of(store, generation):
    """Ask, unless the server is not there again yet."""
    try:
        return store.fates(["lost-0"], generation)
    except DataLostError:
        raise
    except StoreError:
        return None


def test_putting_and_asking_are_one_command_each(own_server):
    store = RedisStore(own_server.url)
    generation = store.put([item()])
    store.fates(["e-0"], generation)
    with redis.Redis(port=own_server.port) as client:
        client.config_resetstat()
        store.fates(["e-0"], store.put([item(number=1)]))
        calls = {name: told["calls"] for name, told in client.info("commandstats").items()}

    assert calls["cmdstat_evalsha"] == 2
    assert "cmdstat_eval" not in calls
    store.close()


def test_a_full_server_takes_nothing_rather_than_half(own_server):
    store = RedisStore(own_server.url)
    store.put([item("a")])
    with redis.Redis(port=own_server.port) as client:
        client.config_set("maxmemory", 1)
        error, _ = fail_once(lambda: store.put([item("b"), item("c")]))
        client.config_set("maxmemory", 0)

    assert "maxmemory" in str(error)
    assert [ids(claim) for claim in claimed(store)] == [["a-0"]]
    store.close()


@contextmanager
def answering(answer):
    """Run a server that says the same to everything, or with None nothing at all; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        held = []

        def accept():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                held.append(connection)
                threading.Thread(target=speak, args=(connection,)).start()

        def speak(connection):
            try:
                while connection.recv(4096):
                    if answer is not None:
                        connection.sendall(answer)
            except OSError:
                return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
            for connection in held:
                connection.close()


def test_a_server_that_hangs_costs_one_caller_the_timeout_and_the_next_nothing():
    with answering(None) as port:
        store = RedisStore(f"redis://127.0.0.1:{port}?socket_timeout=0.4")
        _, first = fail_once(lambda: store.put([item()]))
        error, second = fail_once(lambda: store.put([item()]))
        store.close()

    assert 0.4 <= first < 0.4 + SOON
    assert second < 0.3
    assert "tried again in" in str(error)


def test_timeouts_can_be_lowered_but_not_raised():
    store = RedisStore("redis://127.0.0.1/0?socket_timeout=0.5&socket_connect_timeout=60&decode_responses=no")
    assert store._server.consumer
    options = store._server._opened.client.connection_pool.connection_kwargs

    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.5, 2.0)
    assert options["decode_responses"] is True


def test_a_server_that_is_starting_is_told_from_one_that_is_down():
    with answering(b"-LOADING Redis is loading the dataset in memory\r\n") as port:
        error, _ = fail_once(lambda: RedisStore(f"redis://127.0.0.1:{port}").depths())

    assert "it is starting; wait for it" in str(error)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # redis 5.0 leaves the socket open
def test_what_cannot_be_reached_is_told_the_same_at_once_until_it_is_tried_again(tmp_path):
    for url in (f"redis://127.0.0.1:{free_port()}/0", f"unix://{tmp_path}/nowhere.sock"):
        with closing(RedisStore(url)) as store:
            error, _ = fail_once(store.depths)
            store._server._rests_until = time.monotonic() + 0.9
            again, _ = fail_once(store.depths)
            store._server._rests_until = time.monotonic() + 8.4
            later, _ = fail_once(store.depths)

        told = str(error)
        assert told.startswith(f"the store {url!r} cannot be used: it cannot be reached; start it, or correct THUMBPR")
        assert ".." not in told
        assert str(again) == f"{told}; it is tried again in a moment"
        assert str(later) == f"{told}; it is tried again in 8 s"


def test_a_database_that_the_server_does_not_have_is_told(server):
    with closing(RedisStore(f"redis://127.0.0.1:{server.port}/99")) as store:
        error, _ = fail_once(store.depths)

    assert "it has no database of that number; correct the number in THUMBPRINT_STORE (DB index is" in str(error)


def test_a_server_whose_memory_is_full_is_told(server):
    with Server(server.name, options=["--maxmemory", "1"]) as full, closing(RedisStore(full.url)) as store:
        error, _ = fail_once(lambda: store.put([item()]))

    assert "cannot be used: its memory is full; raise maxmemory, or make room (" in str(error)


def test_a_replica_is_told(server):
    options = ["--replicaof", "127.0.0.1", str(free_port())]
    with Server(server.name, options=options) as replica, closing(RedisStore(replica.url)) as store:
        error, _ = fail_once(lambda: store.put([item()]))

    assert "cannot be used: it is a replica, which takes no writes; give the URL of its primary (" in str(error)


# --- passwords and URLs


def everything_said(error):
    """Return an error's text with that of all the errors it came from."""
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return " ".join(said)


def test_a_password_opens_the_server(server):
    with Server(server.name, password="hunter2") as locked:
        store = RedisStore(locked.url)
        assert store.put([item()])
        assert "hunter2" not in repr(store)
        assert repr(store) == f"RedisStore('redis://127.0.0.1:{locked.port}/0')"
        store.close()


@pytest.mark.parametrize("credentials", [":hunter3@", "somebody:hunter3@", ""])
def test_a_wrong_password_is_said_and_not_shown(server, credentials):
    with Server(server.name, password="hunter2") as locked:
        store = RedisStore(locked.url.replace(":hunter2@", credentials))
        error, took = fail_once(lambda: store.put([item()]))

    assert took < SOON
    assert "hunter3" not in everything_said(error) + repr(store)
    assert "check the user and the password" in str(error)


@pytest.mark.parametrize("repeated", [b"hunter/2", b"hunter\\/2", b"HUNTER%2F2"])
def test_a_server_that_repeats_the_password_is_not_quoted(repeated):
    """As Redis before 6 does with a user, and any on which AUTH was renamed."""
    answer = b"-ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `somebody` `%s`\r\n" % repeated
    with answering(answer) as port:
        error, _ = fail_once(lambda: RedisStore(f"redis://somebody:hunter%2F2@127.0.0.1:{port}").depths())

    assert "hunter" not in everything_said(error).lower()
    assert "unknown command" in str(error)


def test_a_connection_s_password_is_in_no_repr():
    opened = RedisStore("redis://somebody:hunter2@127.0.0.1")._server._opened
    assert "hunter2" not in repr(opened)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@127.0.0.1:port",
        "redis://:hunter2@127.0.0.1:99999",
        "redis://:hunter2@127.0.0.1/zero",
        "redis://:hun/ter2@127.0.0.1",
        "redis://user:12/hunter2@127.0.0.1",
        "redis://user:12?hunter2@127.0.0.1",
        "redis://user:12#hunter2@127.0.0.1",
        "redis://:hunter2@[::1",
        "http://:hunter2@127.0.0.1",
        "unix://:hunter2@",
        "hunter2",
        7,
    ],
)
def test_a_url_that_is_none_is_refused_and_not_shown(url):
    with pytest.raises(ConfigurationError, match="THUMBPRINT_STORE") as raised:
        RedisStore(url)

    assert "hun" not in everything_said(raised.value)
    assert "ter2" not in everything_said(raised.value)


@pytest.mark.parametrize("option", ["unknown=1", "socket_timeout=soon"])
def test_an_option_that_redis_does_not_know_is_refused(option):
    with pytest.raises(ConfigurationError, match=r"redis://127\.0\.0\.1:6379/0 is no URL") as raised:
        RedisStore(f"redis://:hunter2@127.0.0.1/0?{option}")
    assert raised.value.__context__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
        ("redis://u:p@[::1]:7000/3?client_name=p", "redis://[::1]:7000/3"),
        ("rediss://u:p@cache.example.com", "rediss://cache.example.com:6379/0"),
        ("unix://u:p@/run/redis.sock?db=2", "unix:///run/redis.sock"),
    ],
)
def test_a_url_is_shown_without_what_opens_it(url, shown):
    assert repr(RedisStore(url)) == f"RedisStore({shown!r})"


def test_a_unix_socket_will_do(server, make_store):
    with Server(server.name, options=["--unixsocket", "redis.sock"]) as running:
        store = make_store(f"unix://{running.folder}/redis.sock")
        assert store.put([item()])
        assert len(claimed(store)) == 1
        store.close()


def test_without_the_package_redis_it_is_said_at_once_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match=r"pip install thumbprint\[redis\]"):
        RedisStore("redis://127.0.0.1")


# --- opening and closing


def test_a_store_that_was_closed_is_opened_by_its_next_use(store):
    store.close()
    store.put([item()])
    store.close()
    store.close()

    assert len(claimed(store)) == 1


def test_a_child_does_not_close_what_its_parent_uses(store, monkeypatch):
    store.put([item()])
    opened = store._server._opened
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        store.close()

    assert opened.client.ping()
    opened.client.connection_pool.disconnect()


def test_a_claim_of_another_store_can_be_concluded(store, make_store):
    store.put([item()])
    [claim] = claimed(store)

    as_told = Claim(entry=claim.entry, token=claim.token, items=claim.items)
    make_store().conclude([(as_told, Conclusion(buried=claim.items))])

    assert store.depths() == [Depth(backend="cloudflare", dead=1)]


# --- what an operator should know


def test_the_check_tells_of_the_server_and_of_settings_that_lose_feedback(server, store):
    [first, *others] = store.check()
    assert first.status == "ok"
    assert first.found.startswith(f"redis://127.0.0.1:{server.port}/0 is ")
    assert ("store durability", "warning") in [(finding.check, finding.status) for finding in others]


def test_the_check_of_a_server_that_keeps_what_it_has_finds_nothing_wrong(own_server, make_store):
    assert {finding.status for finding in make_store(own_server.url).check()} == {"ok"}


def test_the_check_of_a_server_that_is_away_is_a_problem_without_the_password():
    with closing(RedisStore(f"redis://:geheim-osprey@127.0.0.1:{free_port()}/0")) as store:
        [finding] = store.check()
    assert (finding.check, finding.status) == ("store", "problem")
    assert "it cannot be reached; start it" in finding.found
    assert "geheim" not in repr(finding)


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"redis_version": "6.2.0", "aof_enabled": 1}, [("store", "ok", "at is Redis 6.2.0")]),
        ({"redis_version": "6.0.16", "aof_enabled": 1}, [("store", "problem", "at is Redis 6.0.16")]),
        ({}, [("store", "problem", "at is Redis 0"), ("store durability", "warning", None)]),
        (
            {"redis_version": "7.2.4", "valkey_version": "9.1.0", "maxmemory_policy": "noeviction", "aof_enabled": 1},
            [("store", "ok", "at is Valkey 9.1.0")],
        ),
        (
            {"redis_version": "10.0.0", "maxmemory_policy": "allkeys-lru", "aof_enabled": 1},
            [("store", "ok", "at is Redis 10.0.0"), ("store eviction", "warning", None)],
        ),
    ],
)
def test_what_a_server_says_of_itself_is_judged(info, told):
    found = findings_of(info, "at")
    assert [(finding.check, finding.status) for finding in found] == [finding[:2] for finding in told]
    assert all(finding.found == words for finding, (_, _, words) in zip(found, told, strict=True) if words)
    assert all(finding.advice for finding in found if finding.status != "ok")
