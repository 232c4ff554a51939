"""From one Thumbprint to the next, and to none: what was recorded is delivered, each entry's in its order."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time

import httpx
import pytest
import sdk

import thumbprint
from thumbprint import LogRef, _dispatch
from thumbprint.delivery import _retry
from thumbprint.stores import MemoryStore

LONG = 30  # seconds, on a machine that is busy


@pytest.fixture(autouse=True)
def no_patience(monkeypatch):
    """Have `configure` wait for next to nothing."""
    monkeypatch.setattr(_dispatch, "SHUTDOWN_TIMEOUT", 0.1)


def row(name="row"):
    return LogRef(backend="braintrust", id=name, project_name="emulator")


def vote(thumbs="up", *names, of=thumbprint):
    return of.record_feedback([row(name) for name in names or ["row"]], thumbs=thumbs)


def said(emulator, name="row"):
    """Return what the service has taken for a row, in the order in which it did."""
    posts = [seen for seen in emulator.requests() if seen.method == "POST" and seen.status == 200]
    items = [item for seen in posts for item in json.loads(seen.body)["feedback"]]
    return [item["scores"]["thumbs"] for item in items if item["id"] == name]


def until(condition):
    """Wait until the condition holds; fail where it does not in a long time."""
    ends_at = time.monotonic() + LONG
    while not condition() and time.monotonic() < ends_at:
        time.sleep(0.005)
    assert condition()


def under_way(emulator):
    """Wait until the slow request has arrived."""
    until(lambda: emulator.slow.hits)
    emulator.slow_since = time.time()


def answered(emulator):
    """Wait until the slow request has been answered."""
    until(lambda: any(seen.method == "POST" and seen.at <= emulator.slow_since for seen in emulator.requests()))


def tried(receipt):
    """Wait until there was an attempt that did not deliver."""
    assert default()._tracker.wait_for(lambda: receipt.outcomes[0].attempts >= 1, LONG)


def default():
    return thumbprint._default._get()


@pytest.fixture
def slow(emulator):
    """Have the first delivery take a while."""
    emulator.slow = emulator.fail("/v1/project_logs", delay=0.6, times=1)
    return emulator


@pytest.fixture
def failing(emulator, monkeypatch):
    """Have the first delivery fail, and what failed wait for longer than anything else takes."""
    monkeypatch.setattr(_retry, "delay", lambda *_: 0.5)
    emulator.fail("/v1/project_logs", status=500, times=1)
    return emulator


@pytest.fixture(params=["memory", "a memory of its own", "sqlite"])
def next_store(request, tmp_path):
    return {
        "memory": "memory://",
        "a memory of its own": MemoryStore(),
        "sqlite": f"sqlite:///{tmp_path}/outbox.db",
    }[request.param]


# --- in order


def delivered(*receipts):
    """Wait until the receipts are settled; return whether all were delivered."""
    return [receipt.wait(LONG).status for receipt in receipts] == ["delivered"] * len(receipts)


def test_what_is_on_its_way_while_the_default_is_replaced_is_not_overtaken(slow, next_store):
    older = vote("up")
    under_way(slow)
    thumbprint.configure(store=next_store)
    newer = vote("down")

    assert delivered(older, newer)
    answered(slow)
    assert said(slow) == [1, 0]


def test_what_waits_to_be_tried_again_while_the_default_is_replaced_is_not_overtaken(failing, next_store):
    older = vote("up")
    tried(older)
    thumbprint.configure(store=next_store)
    newer = vote("down")

    assert delivered(older, newer)
    assert said(failing)[-1] == 0


def test_what_fails_while_the_default_is_replaced_is_tried_again_before_what_came_later(emulator, next_store):
    emulator.slow = emulator.fail("/v1/project_logs", delay=0.5, status=500, times=1)
    older = vote("up")
    under_way(emulator)
    thumbprint.configure(store=next_store)
    newer = vote("down")

    assert delivered(older, newer)
    assert older.outcomes[0].attempts == 2
    answered(emulator)
    assert said(emulator)[-1] == 0


@pytest.mark.parametrize("trouble", ["slow", "failing"])
def test_what_is_recorded_while_the_one_before_is_flushed_comes_after_what_that_one_has(request, monkeypatch, trouble):
    monkeypatch.setattr(_dispatch, "SHUTDOWN_TIMEOUT", LONG)
    emulator = request.getfixturevalue(trouble)
    older = vote("up")
    under_way(emulator) if trouble == "slow" else tried(older)
    before = default()
    configuring = threading.Thread(target=thumbprint.configure)
    configuring.start()
    until(lambda: default() is not before)
    newer, other = vote("down"), vote("up", "other")

    assert other.wait(LONG).status == "delivered"
    assert trouble == "failing" or older.status == newer.status == "queued"
    assert delivered(older, newer)
    assert said(emulator)[-1] == 0
    configuring.join(LONG)


def test_feedback_for_several_entries_of_which_one_is_on_its_way_is_delivered_for_all(slow):
    older = vote("up")
    under_way(slow)
    thumbprint.configure()
    newer = vote("down", "row", "other")

    assert delivered(older, newer)
    assert (said(slow), said(slow, "other")) == ([1, 0], [0])


def test_who_replaces_one_that_has_not_been_handed_everything_yet_keeps_the_order_too(slow):
    older = vote("up")
    under_way(slow)
    thumbprint.configure()
    second = vote("down")
    other = vote("up", "other")
    thumbprint.configure()
    third = vote(None)

    assert delivered(older, second, other, third)
    answered(slow)
    assert said(slow)[0] == 1
    assert said(slow)[-1] is None


def test_after_all_has_been_handed_on_nothing_takes_the_long_way(failing):
    older = vote("up")
    tried(older)
    thumbprint.configure()
    assert delivered(older, vote("down"))

    assert default()._dispatch._inherited is None


def test_a_flush_counts_what_the_one_before_is_still_delivering(slow):
    vote("up")
    under_way(slow)
    thumbprint.configure()

    assert thumbprint.flush(0).remaining == 1
    assert thumbprint.flush(LONG) == thumbprint.FlushResult(delivered=1)


def test_who_awaits_meanwhile_hears_of_the_end(failing):
    async def wait():
        receipt = vote("up")
        await asyncio.to_thread(tried, receipt)
        waiting = asyncio.ensure_future(receipt._settled())
        await asyncio.sleep(0)
        await asyncio.to_thread(thumbprint.configure)
        return await asyncio.wait_for(waiting, LONG)

    assert asyncio.run(wait()).status == "delivered"


def test_of_a_receipt_for_two_entries_of_which_one_has_arrived_the_other_is_handed_on(emulator, monkeypatch):
    monkeypatch.setattr(_retry, "delay", lambda *_: LONG)
    emulator.fail("/client/v4", status=500, times=1)
    log = LogRef(backend="cloudflare", id="01J")
    receipt = thumbprint.record_feedback([row(), log], thumbs="up")
    until(lambda: receipt.outcomes[0].status == "delivered" and receipt.outcomes[1].attempts == 1)
    thumbprint.configure()
    until(lambda: receipt.outcomes[1].attempts == 2)

    assert [outcome.status for outcome in receipt.outcomes] == ["delivered", "queued"]
    assert said(emulator) == [1]


# --- what the next one is given


def test_what_the_next_one_does_not_deliver_to_is_dropped_but_what_is_on_its_way_arrives(slow, caplog):
    first = vote("up")
    under_way(slow)
    second = vote("up")
    thumbprint.configure(backends=[thumbprint.Cloudflare()])

    assert first.wait(LONG).status == "delivered"
    assert second.wait(LONG).status == "dropped"
    assert second.outcomes[0].reason == "since configure() was called, nothing delivers to its service"
    assert "feedback was dropped: since configure() was called" in caplog.text
    assert thumbprint.flush(LONG).remaining == 0


def test_one_that_is_disabled_is_given_nothing(failing):
    receipt = vote("up")
    tried(receipt)
    thumbprint.configure(disabled=True)

    assert receipt.status == "dropped"
    assert said(failing) == []


def test_what_does_not_fit_into_the_next_one_is_dropped(failing):
    failing.fail("/v1/project_logs", status=500, times=None)
    receipts = [vote("up", name) for name in "abc"]
    tried(receipts[0])
    thumbprint.configure(store=MemoryStore(max_items=2))

    assert {receipt.wait(LONG).status for receipt in receipts} == {"dropped"}
    assert {receipt.outcomes[0].reason for receipt in receipts} == {"the outbox is full"}


def test_one_with_the_same_store_goes_on_with_it(slow):
    store = MemoryStore()
    thumbprint.configure(store=store)
    first = vote("up")
    under_way(slow)
    second = vote("down")
    slow.fail("/client/v4", status=500, times=None)
    unwanted = thumbprint.record_feedback(LogRef(backend="cloudflare", id="01J"), thumbs="up")
    tried(unwanted)
    thumbprint.configure(store=store, backends=[thumbprint.Braintrust()])

    assert delivered(first, second)
    assert unwanted.status == "dropped"
    assert said(slow) == [1, 0]
    until(lambda: store.depths() == [])


def test_what_is_unwanted_and_on_its_way_leaves_the_same_store_when_that_has_failed(emulator):
    store = MemoryStore()
    thumbprint.configure(store=store)
    trying = emulator.fail("/client/v4", status=500, delay=0.6, times=None)
    unwanted = thumbprint.record_feedback(LogRef(backend="cloudflare", id="01J"), thumbs="up")
    until(lambda: trying.hits)
    thumbprint.configure(store=store, backends=[thumbprint.Braintrust()])

    assert unwanted.status == "dropped"
    until(lambda: store.depths() == [])


class SomebodysOwn:
    """A store of the process's memory that is of another make."""

    shared = False

    def __init__(self):
        self._inner = MemoryStore()

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_what_waits_in_a_store_of_somebodys_own_is_handed_on(failing):
    thumbprint.configure(store=SomebodysOwn())
    receipt = vote("up")
    tried(receipt)
    thumbprint.configure()

    assert receipt.wait(LONG).status == "delivered"


def test_a_store_of_somebodys_own_that_does_not_let_go_of_what_is_unwanted_is_told_of(failing, monkeypatch, caplog):
    store = SomebodysOwn()
    thumbprint.configure(store=store)
    receipt = vote("up")
    tried(receipt)
    monkeypatch.setattr(store, "purge", lambda *_, **__: 1 / 0, raising=False)
    thumbprint.configure(backends=[thumbprint.Cloudflare()])

    assert receipt.status == "dropped"
    assert "what nothing delivers any more stays in the store" in caplog.text


def test_what_waits_in_memory_for_a_store_that_is_away_is_handed_on(emulator):
    thumbprint.configure(store="redis://127.0.0.1:1/0", fallback="memory")
    receipt = vote("up")
    assert receipt.status == "queued"
    thumbprint.configure()

    assert delivered(receipt)
    assert thumbprint.flush(0) == thumbprint.FlushResult(delivered=1)


def test_receipts_that_deliver_when_they_are_waited_for_do_so_as_the_next_one_does(emulator):
    thumbprint.configure(delivery="inline")
    emulator.fail("/v1/project_logs", status=401, times=2)
    receipts = [vote("up", name) for name in "ab"]
    assert [receipt.status for receipt in receipts] == ["queued", "queued"]

    thumbprint.configure(delivery="inline")
    assert receipts[0].wait().status == "delivered"
    emulator.fail("/v1/project_logs", status=401, times=1)
    late = vote("up", "c")
    thumbprint.configure()
    assert delivered(*receipts, late)


@pytest.fixture
def calling(emulator):
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))

    def call(name):
        with thumbprint.scope(id=name):
            client.chat.completions.create(model="gpt-5", messages=sdk.asked())

    return call


@pytest.mark.parametrize("before", ["memory", "sqlite"])
def test_ids_that_were_known_stay_known(calling, before, next_store, tmp_path):
    thumbprint.configure(store="memory://" if before == "memory" else f"sqlite:///{tmp_path}/before.db")
    calling("message-42")
    thumbprint.configure(store=next_store)
    calling("message-43")
    thumbprint.configure()

    for name in ("message-42", "message-43"):
        assert thumbprint.record_feedback(name, thumbs="up").wait(LONG).status == "delivered"


def test_a_store_that_knows_ids_already_keeps_to_them(calling):
    store = MemoryStore()
    thumbprint.configure(store=store)
    calling("its own")
    thumbprint.configure(store="memory://", disabled=True)
    thumbprint.configure(store=SomebodysOwn())
    calling("another")
    thumbprint.configure(store=store)

    thumbprint.record_feedback("its own", thumbs="up")
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback("another", thumbs="up")


def patches(emulator):
    return [seen for seen in emulator.requests() if seen.method == "PATCH"]


def test_a_pause_that_a_service_asked_for_outlasts_the_configuration_but_not_the_credentials(emulator):
    emulator.fail("/client/v4", status=429, headers={"Retry-After": "600"}, times=1)
    log = httpx.post(
        f"{emulator.cloudflare_openai_url}/chat/completions",
        json={"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]},
        headers={"authorization": "Bearer any"},
    ).headers["cf-aig-log-id"]
    receipt = thumbprint.record_feedback(LogRef(backend="cloudflare", id=log), thumbs="up")
    tried(receipt)
    thumbprint.configure()
    assert receipt.wait(0.2).status == "queued"
    assert len(patches(emulator)) == 1

    thumbprint.configure(backends=[thumbprint.Cloudflare(api_token="another")])
    until(lambda: len(patches(emulator)) == 2)


# --- what is recorded just then


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_recorded_with_one_that_was_replaced_is_delivered_by_the_next(emulator, tmp_path, shared):
    store = f"sqlite:///{tmp_path}/outbox.db" if shared else "memory://"
    before = thumbprint.configure(store=store)
    thumbprint.configure()
    receipt = vote("up", of=before)
    thumbprint.configure()
    later = vote("down", of=before)

    assert delivered(receipt, later)
    assert said(emulator)[-1] == 0


class Interrupted(MemoryStore):
    """A store that has something else happen in the middle of the first put."""

    def __init__(self, meanwhile):
        super().__init__()
        self.meanwhile = [meanwhile]

    def put(self, items):
        for meanwhile in self.meanwhile:
            self.meanwhile = []
            meanwhile()
        return super().put(items)


def test_what_is_put_into_the_store_of_one_that_is_replaced_just_then_is_handed_on(emulator):
    before = thumbprint.configure(store=Interrupted(thumbprint.configure))
    receipt = vote("up")

    assert receipt.wait(LONG).status == "delivered"
    assert not before._worker.running


def test_what_is_put_into_the_store_of_one_whose_next_is_replaced_as_well_is_handed_on_to_the_last(emulator):
    def configure_twice():
        thumbprint.configure()
        thumbprint.configure()

    thumbprint.configure(store=Interrupted(configure_twice))
    receipt = vote("up")

    assert delivered(receipt)
    assert thumbprint.flush(0) == thumbprint.FlushResult(delivered=1)


def test_what_is_handed_on_to_one_that_is_replaced_just_then_is_handed_on_again(failing):
    receipt = vote("up")
    tried(receipt)
    thumbprint.configure(store=Interrupted(thumbprint.configure))

    assert receipt.wait(LONG).status == "delivered"


def test_what_is_put_into_the_store_of_one_that_is_closed_just_then_is_counted_as_lost(emulator):
    own = thumbprint.Thumbprint(store=Interrupted(lambda: own.close(0)))
    receipt = vote("up", of=own)
    again = vote("up", of=own)

    assert (receipt.status, again.status) == ("dropped", "dropped")
    assert again.outcomes[0].reason == "thumbprint was closed, or the process ends"
    assert not own._worker.running


# --- after the Thumbprint itself


def threads():
    """Return the names of our lanes' threads, once those that end have ended."""
    lasting = {"thumbprint-braintrust", "thumbprint-cloudflare", "thumbprint-references"}
    return [thread.name for thread in threading.enumerate() if thread.name in lasting]


def ended():
    """Wait until no lane has a thread any more, and nothing is left to do at exit; return whether that came."""
    ends_at = time.monotonic() + LONG
    while (threads() or _dispatch._alive - BEFORE) and time.monotonic() < ends_at:
        gc.collect()
        time.sleep(0.01)
    return not threads() and _dispatch._alive <= BEFORE


BEFORE = set()


@pytest.fixture
def alone():
    """Tell of what other tests have left."""
    gc.collect()
    BEFORE.clear()
    BEFORE.update(_dispatch._alive)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_what_nobody_holds_any_more_delivers_what_it_has_and_ends(slow, alone, tmp_path, store):
    own = thumbprint.Thumbprint(store="memory://" if store == "memory" else f"sqlite:///{tmp_path}/outbox.db")
    client = own.wrap(sdk.openai_client(slow.cloudflare_openai_url))
    with own.scope():
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    own.unwrap(client)
    receipts = [vote("up", f"row-{number}", of=own) for number in range(20)]
    under_way(slow)
    del own

    assert ended()
    assert {receipt.status for receipt in receipts} == {"delivered"}


def test_what_nobody_holds_any_more_ends_where_it_was_never_used(emulator, alone):
    thumbprint.Thumbprint()
    assert ended()


def test_what_nobody_holds_any_more_ends_where_it_rests(emulator, alone):
    own = thumbprint.Thumbprint()
    assert vote("up", of=own).wait(LONG).status == "delivered"
    del own

    assert ended()


def test_what_nobody_holds_any_more_leaves_the_feedback_of_others_to_them(emulator, alone, tmp_path):
    storing = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db", delivery="none")
    own = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db")
    emulator.fail("/v1/project_logs", status=401, times=None)
    receipt = vote("up", of=storing)
    own.recorder()
    refusal = own._worker.refusal
    until(lambda: refusal("braintrust"))
    del own, storing

    assert ended()
    assert receipt.status == "queued"


def test_an_inline_receipt_that_is_left_delivers_when_it_is_waited_for(emulator, alone):
    emulator.fail("/v1/project_logs", status=401, times=1)
    receipt = vote("up", of=thumbprint.Thumbprint(delivery="inline"))
    gc.collect()

    assert receipt.status == "queued"
    assert receipt.wait().status == "delivered"
    del receipt
    assert ended()


def test_what_nobody_holds_and_no_thread_could_be_started_for_is_delivered_at_exit(emulator, alone, monkeypatch):
    own = thumbprint.Thumbprint()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        receipt = vote("up", of=own)
    del own
    gc.collect()
    assert receipt.status == "queued"
    monkeypatch.setattr(_dispatch, "SHUTDOWN_TIMEOUT", LONG)
    _dispatch._close_all()

    assert receipt.status == "delivered"
    assert ended()


LOCAL = """
import gc, os, time, thumbprint

def say(name):
    ref = thumbprint.LogRef(backend="braintrust", id=name, project_name="emulator", captured_at=time.time())
    thumbprint.Thumbprint().record_feedback(ref, thumbs="up")

for number in range(3):
    say(f"row-{number}")
gc.collect()
"""


def run(script):
    done = subprocess.run(
        [sys.executable, "-c", LOCAL + script], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_nobody_holds_any_more_is_delivered_at_exit(emulator):
    emulator.fail("/v1/project_logs", delay=0.5, times=3)
    run("")
    assert {found["id"] for found in emulator.braintrust_rows()} == {"row-0", "row-1", "row-2"}


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="this system has no fork")
def test_a_child_process_leaves_it_to_its_parent(emulator):
    emulator.fail("/v1/project_logs", delay=0.5, times=3)
    run(
        """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python says that to fork with threads is dangerous: it is tested
pid = os.fork()
if not pid:
    assert not thumbprint._dispatch._alive
else:
    assert os.waitpid(pid, 0)[1] == 0
"""
    )
    assert [len(said(emulator, f"row-{number}")) for number in range(3)] == [1, 1, 1]
