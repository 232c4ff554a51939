"""The processes that record feedback, and the one that only delivers it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import thumbprint
from thumbprint.backends import Braintrust, Cloudflare
from thumbprint.delivery import HttpxTransport, _lane, _retry
from thumbprint.stores import Pace

if TYPE_CHECKING:
    from pathlib import Path

SCALE = 1e9  # of a number as a score
LIFE = 1_000_000  # more numbers than a process can give out in its life
ENTRIES = 3  # of each service's for each thread
GENERATION = 3.0  # seconds for which the same rows are used
LONGEST_REST = 0.06  # seconds between two pieces of feedback in a thread
DRAIN = 60.0  # seconds
PACE = Pace(rate=30, burst=30)  # 180 requests in the busiest 5 seconds, of all that share a store
OWN_PACE = Pace(rate=5, burst=5)  # of each of the processes that share none

TIMEOUT = 2.0  # seconds for each of connecting, writing and reading
LONGEST_DELAY = 4.0  # seconds between two attempts
LEASE = 8.0  # seconds: longer than a delivery takes with these timeouts, so that order holds


def shorten_times():
    """Have what takes minutes take seconds: what a killed process had leased returns during the run."""
    _lane.LEASE = LEASE
    _retry.LONGEST_DELAY = LONGEST_DELAY
    HttpxTransport.__init__.__kwdefaults__["timeout"] = TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What all processes of one run share. `logs` are those of Cloudflare, `began` is in seconds since 1970."""

    folder: Path
    store: str
    seed: int
    logs: list[str]
    began: float
    ends_at: float

    @property
    def durable(self):
        return not self.store.startswith("memory")

    def thumbprint(self, delivery="background"):
        backends = [Cloudflare(pace=PACE if self.durable else OWN_PACE), Braintrust()]
        return thumbprint.Thumbprint(backends=backends, store=self.store, delivery=delivery)

    def note(self, file, *words):
        """Add a line to a file by one write, which outlives the process."""
        opened = os.open(self.folder / file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(opened, f"{' '.join(map(str, words))}\n".encode())
        os.close(opened)


def record(place, own, slot, life, *, ends_at):
    """Record from one thread until the time; the entries belong to the slot, and its numbers only grow."""
    chance = random.Random(f"{place.seed} {slot} {life}")
    number = life * LIFE
    while time.time() < ends_at:
        number += 1
        say(place, own, slot, number, chance)
        time.sleep(chance.uniform(0, LONGEST_REST))


def say(place, own, slot, number, chance):
    which, now = chance.randrange(ENTRIES), time.time()
    kind = chance.random()
    if kind < 0.5:
        name, said = place.logs[slot * ENTRIES + which], {"score": number / SCALE}
        if kind < 0.05:  # which makes it two requests
            said["user_id"] = f"u-{slot}"
        ref = thumbprint.LogRef(backend="cloudflare", id=name, captured_at=now)
    else:
        generation = int((now - place.began) / GENERATION)
        project = "nowhere" if kind > 0.99 else "emulator"
        name, said = f"{project}-{slot}-{which}-{generation}", {"comment": str(number)}
        ref = thumbprint.LogRef(backend="braintrust", id=name, project_name=project, captured_at=now)
    receipt = own.record_feedback(ref, **said)
    place.note("dropped" if receipt.status == "dropped" else "accepted", name, number, receipt.id)


def recorder(place, slots, life, delivery):
    """Record from as many threads as there are slots."""
    own = place.thumbprint(delivery)
    record_from_threads(place, own, slots, life)
    leave(place, own)


def record_from_threads(place, own, slots, life):
    threads = started(place, own, slots, life)
    for thread in threads:
        thread.join()


def started(place, own, slots, life):
    settings = {"ends_at": place.ends_at}
    threads = [threading.Thread(target=record, args=(place, own, slot, life), kwargs=settings) for slot in slots]
    for thread in threads:
        thread.start()
    return threads


def forker(place, slots, child_slot):
    """Record as a recorder does, and fork now and then; each child records, too, and is gone before the next."""
    own = place.thumbprint()
    threads = started(place, own, slots, 0)
    chance = random.Random(f"{place.seed} forker")
    warnings.simplefilter("ignore", DeprecationWarning)  # Python says that to fork with threads is dangerous
    life = 0
    while time.time() < place.ends_at:
        life += 1
        pid = os.fork()
        if pid == 0:
            try:
                record(place, own, child_slot, life, ends_at=time.time() + chance.uniform(0.1, 1))
                leave(place, own)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        place.note("forks", pid)
        time.sleep(chance.uniform(0, 2))
    for thread in threads:
        thread.join()
    leave(place, own)


def leave(place, own):
    """End as a process ends; one that keeps its feedback in memory first delivers it, and tells of dead letters."""
    if not place.durable:
        remaining = own.flush(DRAIN).remaining
        place.note("remaining", remaining)
        for item in own._settings.store.listed(dead=True, most=10**6):
            place.note("dead", item.id)
    own.close()


def worker(place):
    """Deliver what others store, until SIGTERM, or the end of the process that started it."""
    stopped, parent = threading.Event(), os.getppid()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    own = place.thumbprint()
    own._worker.wake()
    while not stopped.wait(0.2) and os.getppid() == parent:
        pass
    own.close()
