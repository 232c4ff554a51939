"""A program whose processes record and deliver feedback, and are killed while they do: `recorder.py SPEC`, a JSON.

It forks them off a process that has everything imported, so that one costs milliseconds: `slots` at a time, and after
`kills` of them it delivers what they left. What happened is written to files in `folder`, each line by one `os.write`,
which outlives who wrote it:

    acknowledged    ENTRY NUMBER, once `record_feedback` has returned
    deliveries      PID claimed|concluded TIME ITEM …, where an ITEM is ENTRY:NUMBER

In each slot the numbers only grow, over all its lives, and every entry belongs to one slot.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import sys
import threading
import time
from pathlib import Path

import thumbprint
from thumbprint.backends import Braintrust, Cloudflare
from thumbprint.delivery import _lane
from thumbprint.stores import RedisStore, SqliteStore

LIFE = 10_000  # more numbers than a process can give out in its life
SCALE = 1e7  # of a number as a score
LONGEST_REST = 0.003  # seconds between two pieces of feedback
ENTRIES = 3  # of each service's for each slot
PATIENCE = 60.0  # seconds


class Record:
    """A file that several processes add lines to."""

    def __init__(self, path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, *words):
        os.write(self._file, f"{' '.join(map(str, words))}\n".encode())


class Watched:
    """A store that notes what is leased, and what the leases end with."""

    def __init__(self, inner, record):
        self._inner = inner
        self._record = record

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def claim(self, *args, **settings):
        claims = self._inner.claim(*args, **settings)
        self._note("claimed", [item for claim in claims for item in claim.items])
        return claims

    def conclude(self, concluded):
        self._inner.conclude(concluded)
        self._note("concluded", [item for claim, _ in concluded for item in claim.items])

    def _note(self, what, items):
        if items:
            self._record.write(os.getpid(), what, time.time(), *map(name_of, items))


class Lazy:
    """What no durable store may be: it says that it has taken something before it has."""

    def __init__(self, inner):
        self._inner = inner
        self._taken = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def put(self, items):
        self._taken.put(items)
        return True

    def _write(self):
        while True:
            time.sleep(0.002)
            self._inner.put(self._taken.get())


def name_of(item):
    number = item.feedback.comments[0] if item.feedback.comments else round(item.feedback.score * SCALE)
    return f"{item.ref.id}:{number}"


def store_of(spec, deliveries):
    url = spec["store"]
    store = SqliteStore(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else RedisStore(url)
    return Watched(Lazy(store) if spec["lazy"] else store, deliveries)


def configured(spec, deliveries):
    return thumbprint.Thumbprint(backends=[Cloudflare(pace=None), Braintrust()], store=store_of(spec, deliveries))


def refs_of(spec, slot):
    logs = spec["logs"][slot * ENTRIES : (slot + 1) * ENTRIES]
    home, now = {"backend": "braintrust", "project_name": "emulator"}, time.time()
    return [
        *(thumbprint.LogRef(id=f"row-{slot}-{number}", captured_at=now, **home) for number in range(ENTRIES)),
        *(thumbprint.LogRef(backend="cloudflare", id=log, captured_at=now) for log in logs),
    ]


def record(own, refs, first, acknowledged):
    """Record until the end of this process."""
    for number in range(first, first + LIFE):
        ref = random.choice(refs)
        said = {"comment": str(number)} if ref.backend == "braintrust" else {"score": number / SCALE}
        if own.record_feedback(ref, **said).status != "dropped":
            acknowledged.write(ref.id, number)
        time.sleep(random.uniform(0, LONGEST_REST))


def born(spec, slot, life, records):
    """Fork a process that records in the slot; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            random.seed(f"{spec['seed']} {slot} {life}")
            own = configured(spec, records["deliveries"])
            record(own, refs_of(spec, slot), life * LIFE, records["acknowledged"])
        finally:
            os._exit(1)
    return pid


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL, "it ended before it was killed"


def kill_many(spec, records):
    chance = random.Random(spec["seed"])
    lives = [0] * spec["slots"]
    pids = [born(spec, slot, 0, records) for slot in range(spec["slots"])]
    for _ in range(spec["kills"] - spec["slots"]):
        time.sleep(chance.uniform(0, spec["longest"]))
        slot = chance.randrange(spec["slots"])
        kill(pids[slot])
        lives[slot] += 1
        pids[slot] = born(spec, slot, lives[slot], records)
    time.sleep(chance.uniform(0, spec["longest"]))
    for pid in pids:
        kill(pid)


def deliver_the_rest(spec, records):
    own = configured(spec, records["deliveries"])
    own._worker.wake()
    ends_at = time.monotonic() + PATIENCE
    while any(depth.queued for depth in own._settings.store.depths()):
        assert time.monotonic() < ends_at, own._settings.store.depths()
        time.sleep(0.02)
    assert not own._settings.store.listed(dead=True, most=10)
    own.close()


def warm_up(spec, records):
    """Deliver something and open the store, so that the children need not import, compile and read what that takes."""
    store = store_of(spec, records["deliveries"])
    store.depths()
    store.close()
    own = thumbprint.Thumbprint(store="memory://")
    ref = thumbprint.LogRef(backend="braintrust", id="warm-up", project_name="emulator")
    assert own.record_feedback(ref, thumbs="up").wait(PATIENCE).status == "delivered"
    own.close()


def main(spec):
    folder = Path(spec["folder"])
    records = {name: Record(folder / name) for name in ("acknowledged", "deliveries")}
    _lane.LEASE = spec["lease"]
    warm_up(spec, records)
    kill_many(spec, records)
    deliver_the_rest(spec, records)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
