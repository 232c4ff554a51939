"""What is in a store outside this process and cannot be read: written by hand, cut off, damaged."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

import thumbprint
from thumbprint import LogRef, StoreError
from thumbprint._call import Call
from thumbprint._metrics import counts
from thumbprint._model import Feedback, Item
from thumbprint.stores import Conclusion, Depth, Key
from thumbprint.stores import redis as redis_module
from thumbprint.stores import sqlite as sqlite_module
from thumbprint.stores._json import item_to_json

NOW = 2_000_000_000.0
LONG = 30  # seconds, on a machine that is busy


def item(entry="e", number=0, **where):
    ref = LogRef(**{"backend": "cloudflare", "id": entry, **where})
    return Item(id=f"{entry}-{number}", ref=ref, feedback=Feedback(thumbs=1), created_at=1.0 + number)


GOOD = item_to_json(item(number=2))


def changed(**values):
    return json.dumps(json.loads(GOOD) | values)


DAMAGED = {
    "cut off": GOOD[:40],
    "empty": "",
    "no UTF-8": GOOD.encode()[:-1] + b"\xff\x80",
    "another encoding": GOOD.encode("utf-16"),
    "too deep": "[" * 100_000,
    "a list": "[]",
    "a part missing": '{"id": "e-2"}',
    "no log entry": changed(ref={}),
    "a log id that is no text": changed(ref={"backend": "cloudflare", "id": 5}),
    "a log id that cannot be seen": changed(ref={"backend": "cloudflare", "id": "a\nb"}),
    "an id that is no text": changed(id=["e-2"]),
    "a reason that is no text": changed(reason=5),
    "a time that is no number": changed(created_at="yesterday"),
    "a time that is none": changed(created_at=float("nan")),
    "attempts that are no number": changed(attempts="many"),
    "feedback that is none": changed(feedback="up"),
    "thumbs": changed(feedback={"thumbs": True}),
    "a score": changed(feedback={"score": 2}),
    "scores": changed(feedback={"scores": {"tone": "high"}}),
    "a list of scores": changed(feedback={"scores": [1]}),
    "comments": changed(feedback={"comments": "no"}),
    "tags": changed(feedback={"tags": [1]}),
    "metadata": changed(feedback={"metadata": ["a"]}),
    "a user": changed(feedback={"user_id": 17}),
    "another item's": item_to_json(item(number=7)),
    "another service's": changed(ref={"backend": "braintrust", "id": "e"}),
}


def in_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


class File:
    """An SQLite store, and what somebody else does to its file."""

    def __init__(self, store):
        self.store = store

    def write(self, name, text):
        """Write text in the place of an item's, wherever that is."""
        with contextlib.closing(sqlite3.connect(self.store.path)) as db, db:
            for table in ("inbox", "outbox", "dead"):
                db.execute(f"UPDATE {table} SET item = CAST(? AS TEXT) WHERE id = ?", (in_bytes(text), name))  # noqa: S608

    def write_reference(self, text):
        """Write text in the place of all calls."""
        with contextlib.closing(sqlite3.connect(self.store.path)) as db, db:
            db.execute("UPDATE calls SET call = CAST(? AS TEXT)", (in_bytes(text),))


class Server:
    """A Redis store, and what somebody else does to its keys."""

    def __init__(self, store):
        self.store = store
        self.client = store._server._open().client
        self.prefix = store._key.removesuffix("layout")

    def write(self, name, text):
        for kind in ("items", "letters"):
            if value := self.client.hget(f"{self.prefix}{kind}", name):
                self.client.hset(f"{self.prefix}{kind}", name, in_bytes(value[:16]) + in_bytes(text))

    def write_reference(self, text):
        for key in self.client.keys(f"{self.prefix}calls:*"):
            self.client.lset(key, 0, in_bytes(text))


@pytest.fixture(params=["sqlite", "redis"])
def outside(request):
    store = request.getfixturevalue(f"make_{request.param}_store")("store")
    return (File if request.param == "sqlite" else Server)(store)


def claim(store, *, now=NOW):
    return store.claim("cloudflare", now=now, most=100, lease=60.0)


def settle(store, claims):
    store.conclude([(claimed, Conclusion(settled=claimed.items)) for claimed in claims])


def is_empty(store):
    return (store.depths(), store.next_due("cloudflare")) == ([], None)


# --- items


@pytest.mark.parametrize("damage", DAMAGED)
def test_an_item_that_cannot_be_read_becomes_a_dead_letter_alone(outside, damage, caplog):
    store, before = outside.store, counts("failed").get("cloudflare", 0)
    store.put([item(number=1), item(number=2), item(number=3), item("other")])
    outside.write("e-2", DAMAGED[damage])
    claims = claim(store)

    assert sorted(claimed.items for claimed in claims) == [(item(number=1), item(number=3)), (item("other"),)]
    settle(store, claims)
    [letter] = store.listed(dead=True, most=9)
    assert (letter.id, letter.created_at, letter.attempts, letter.feedback) == ("e-2", 3.0, 0, Feedback())
    assert letter.ref == LogRef(backend="cloudflare", id="unknown")
    assert letter.reason.startswith("it cannot be read (")
    assert letter.reason.endswith(in_bytes(DAMAGED[damage]).decode("utf-8", "backslashreplace"))
    assert store.depths() == [Depth(backend="cloudflare", dead=1)]
    assert counts("failed")["cloudflare"] == before + 1
    assert "feedback e-2 for cloudflare failed: it cannot be read (" in caplog.text


def test_how_it_stands_is_told_before_and_after(outside):
    store = outside.store
    store.put([item(number=2)])
    outside.write("e-2", GOOD[:40])

    [(fate, shown)] = store.fates(["e-2"]).values()
    assert (fate, shown.id, shown.reason[-40:]) == ("queued", "e-2", GOOD[:40])
    assert [one.reason for one in store.listed(dead=False, most=9)] == [shown.reason]
    assert claim(store) == []
    assert store.fates(["e-2"]) == {"e-2": ("failed", shown)}
    assert store.listed(dead=False, most=9) == []


def test_an_entry_that_had_nothing_else_is_free_at_once(outside):
    store = outside.store
    store.put([item(number=2)])
    outside.write("e-2", "[]")
    assert claim(store) == []
    assert store.next_due("cloudflare") is None
    store.put([item(number=3)])

    [claimed] = claim(store)
    assert claimed.items == (item(number=3),)


def test_it_stays_a_dead_letter_until_it_can_be_read_and_then_takes_its_place_again(outside):
    store = outside.store
    store.put([item(number=1), item(number=2), item(number=3)])
    outside.write("e-2", "[]")
    [claimed] = claim(store)
    store.conclude([(claimed, Conclusion(waiting=claimed.items, due_at=NOW))])

    assert store.revive() == store.revive(["e-2"]) == 0
    outside.write("e-2", GOOD)
    assert store.revive(["e-2"]) == 1
    assert claim(store)[0].items == (item(number=1), item(number=2), item(number=3))


@pytest.mark.parametrize("ids", [None, ["e-2"]])
def test_it_can_be_purged(outside, ids):
    store = outside.store
    store.put([item(number=2)])
    outside.write("e-2", "[]")
    claim(store)

    assert store.purge(ids) == 1
    assert is_empty(store)


def test_many_do_not_hide_the_others_from_who_revives(outside, monkeypatch):
    for module in (redis_module, sqlite_module):
        monkeypatch.setattr(module, "PAGE", 2)
    store = outside.store
    items = [item(str(number), number) for number in range(9)]
    store.put(items)
    store.conclude([(claimed, Conclusion(buried=claimed.items)) for claimed in claim(store)])
    for number in (0, 1, 2, 3, 6):
        outside.write(f"{number}-{number}", "[]")

    assert store.revive() == 4
    assert [one.id for one in store.listed(dead=False, most=9)] == ["4-4", "5-5", "7-7", "8-8"]
    assert store.purge() == 5


def test_what_waits_is_delivered_and_its_receipts_tell(outside, emulator):
    own = thumbprint.Thumbprint(store=outside.store, delivery="none")
    receipts = [
        own.record_feedback(LogRef(backend="braintrust", id=name, project_name="emulator"), thumbs="up")
        for name in ("a", "b", "c")
    ]
    outside.write(receipts[1].id, "[]")
    with contextlib.closing(thumbprint.Thumbprint(store=outside.store)) as delivering:
        delivering.recorder()

        assert [receipt.wait(LONG).status for receipt in receipts] == ["delivered", "failed", "delivered"]
        assert receipts[1].outcomes[0].reason.startswith("it cannot be read (")
        assert delivering.flush(LONG).remaining == 0
    own.close(0)


# --- what only one of them can have


@pytest.fixture
def server(make_redis_store):
    return Server(make_redis_store("store"))


def test_an_item_whose_value_is_gone_is_a_dead_letter_too(server):
    store = server.store
    store.put([item(number=1), item(number=2)])
    server.client.hdel(f"{server.prefix}items", "e-2")
    claims = claim(store)

    assert [claimed.items for claimed in claims] == [(item(number=1),)]
    settle(store, claims)
    [letter] = store.listed(dead=True, most=9)
    assert (letter.id, letter.created_at) == ("e-2", NOW)
    assert store.purge(["e-2"]) == 1
    assert is_empty(store)


@pytest.mark.parametrize("name", ["e-2", "[e]*?\\-2"])
def test_an_item_whose_value_does_not_tell_its_turn_leaves_nothing_behind(server, name):
    store = server.store
    store.put([item(number=2)._replace(id=name), item("other", backend="braintrust")])
    server.client.hset(f"{server.prefix}items", name, "no turn")
    assert claim(store) == []

    assert store.listed(dead=True, most=9)[0].reason.endswith(": no turn")
    assert store.listed(dead=False, most=9) == [item("other", backend="braintrust")]
    assert store.purge() == 1
    assert store.depths() == [Depth(backend="braintrust", queued=1, oldest_at=1.0)]


def test_what_waits_in_redis_and_cannot_be_read_is_purged_when_somebody_has_claimed_it(server):
    store = server.store
    store.put([item(number=2)])
    server.write("e-2", "[]")

    assert store.purge(dead=False) == 0
    claim(store)
    assert store.purge() == 1


@pytest.fixture
def file(make_sqlite_store):
    return File(make_sqlite_store("store"))


@pytest.mark.parametrize("column", ["item", "created_at", "entry", "backend", "id"])
@pytest.mark.parametrize("value", [17, "text", b"\xff", "no UTF-8"])
def test_whatever_is_in_a_column_the_others_are_delivered(file, column, value):
    store, text = file.store, value == "no UTF-8"
    store.put([item(number=1), item("other")])
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        place = "CAST(? AS TEXT)" if text else "?"
        db.execute(f"UPDATE inbox SET {column} = {place} WHERE id = 'e-1'", (b"\xff" if text else value,))  # noqa: S608
    claims = claim(store)
    settle(store, [claimed for claimed in claims if claimed.items == (item("other"),)])

    assert (item("other"),) in [claimed.items for claimed in claims]
    assert [one.ref.id for one in store.listed(dead=False, most=9)] in ([], ["e"], ["unknown"])
    assert all(isinstance(depth.oldest_at, (float, int, type(None))) for depth in store.depths())
    assert sum(depth.dead + depth.queued for depth in store.depths()) == 1


# --- references


def call(log_id="1"):
    return Call([LogRef(backend="braintrust", id=log_id, project_name="emulator")])


@pytest.mark.parametrize(
    "text", ["", "[]", '{"refs": 1}', '{"refs": [], "repeats": false}', b"\xff", "[" * 100_000,
             '{"refs": [{"backend": "braintrust", "id": "1"}], "repeats": 1}'],
)  # fmt: skip
def test_a_reference_that_cannot_be_read_is_told_of_and_harms_no_other(outside, text):
    store = outside.store
    store.remember([Key("scope", "damaged")], call())
    outside.write_reference(text)
    store.remember([Key("scope", "damaged"), Key("scope", "good")], call("2"))

    with pytest.raises(StoreError, match=r"keeps under scope 'damaged' cannot be read \("):
        store.recall(Key("scope", "damaged"))
    assert [one.refs for one in store.recall(Key("scope", "good"))] == [call("2").refs]
    assert store.put([item()])


def test_feedback_for_an_id_that_cannot_be_read_waits_and_that_for_others_is_delivered(outside, emulator):
    outside.store.remember([Key("scope", "damaged")], call("1"))
    outside.write_reference(b"\xff")
    outside.store.remember([Key("scope", "good")], call("2"))
    with contextlib.closing(thumbprint.Thumbprint(store=outside.store)) as own:
        waiting, delivered = (own.record_feedback(name, thumbs="up") for name in ("damaged", "good"))

        assert own._tracker.wait_for(lambda: waiting.outcomes[0].reason, LONG)
        assert waiting.status == "queued"
        assert "keeps under scope 'damaged' cannot be read" in waiting.outcomes[0].reason
        assert delivered.wait(LONG).status == "delivered"
