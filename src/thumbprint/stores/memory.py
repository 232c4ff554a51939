"""The store of a single process: everything is gone when the process is."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
import weakref
from collections import Counter, OrderedDict, deque
from typing import TYPE_CHECKING, Final, Literal

from .._model import Finding
from ._buckets import Buckets
from ._calls import Calls
from ._findings import outbox_findings
from ._passing import Passing
from ._protocol import Claim, Conclusion, Depth, Key, entry_at, entry_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._call import Call
    from .._model import Item, LogRef, Pace

MAX_KEYS: Final = 100_000
MAX_ITEMS: Final = 10_000
MAX_DEAD: Final = 10_000
AT_ONCE: Final = 0.0  # when something is due that nobody has to wait for, in seconds since 1970


_alive: weakref.WeakSet[MemoryStore] = weakref.WeakSet()


class _Queue:
    """What one log entry has waiting, and when that is due: at that time the entry has its valid place in its line."""

    __slots__ = ("due_at", "items", "token")

    def __init__(self, item: Item) -> None:
        self.items = [item]
        self.due_at = AT_ONCE
        self.token: str | None = None  # of the lease that is on


class _Line:
    """What one backend has waiting: a queue for each log entry, and the order in which they are due.

    Most are put, leased and settled, and never wait for a time of their own: these stand in `_ready`, in the order in
    which they came. What is due later, and what is leased, is in a heap, all that was leased at once in one place.
    An entry's older places are passed over.
    """

    def __init__(self) -> None:
        self.queues: dict[str, _Queue] = {}
        self._ready: deque[str] = deque()
        self._later: list[tuple[float, int, Sequence[str]]] = []
        self._turn = itertools.count()

    def append(self, item: Item) -> None:
        """Put the item behind those of its entry; a new entry is due at once."""
        entry = entry_at(item.ref)
        queue = self.queues.get(entry)
        if queue is None:
            self.queues[entry] = _Queue(item)
            self._ready.append(entry)
        else:
            queue.items.append(item)

    def place(self, entry: str, due_at: float) -> None:
        """Have the entry due at that time."""
        self.queues[entry].due_at = due_at
        if due_at == AT_ONCE:
            self._ready.append(entry)
        else:
            heapq.heappush(self._later, (due_at, next(self._turn), (entry,)))

    def lease(self, *, now: float, most: int, until: float) -> list[Claim]:
        """Lease up to so many entries that are due, first those whose own time has come."""
        self._ripen(now)
        ready, queues = self._ready, self.queues
        due: dict[str, _Queue] = {}
        while ready and len(due) < most:
            entry = ready.popleft()
            queue = queues.get(entry)
            if queue is not None and queue.due_at == AT_ONCE:
                due[entry] = queue
        return self._leased(due, until)

    def lease_waiting(self, *, now: float, until: float) -> list[Claim]:
        """Lease all entries that nobody has leased, whether they are due or not."""
        free = {
            entry: queue
            for entry, queue in self.queues.items()
            if queue.items and (queue.token is None or queue.due_at <= now)
        }
        return self._leased(free, until)

    def _leased(self, queues: Mapping[str, _Queue], until: float) -> list[Claim]:
        turn = next(self._turn)
        token = str(turn)
        if queues:
            heapq.heappush(self._later, (until, turn, list(queues)))
        for queue in queues.values():
            queue.token, queue.due_at = token, until
        return [Claim(entry, token, tuple(queue.items), until) for entry, queue in queues.items()]

    def _ripen(self, now: float) -> None:
        """Have the entries whose own time has come stand behind those that are due already, the longest due first."""
        while self._later:
            due_at, _, places = self._later[0]
            standing = self._standing(places, due_at)
            if standing and due_at > now:
                break
            heapq.heappop(self._later)
            for entry in standing:
                if not self._ends_empty(entry):
                    self.place(entry, AT_ONCE)

    def _standing(self, entries: Iterable[str], due_at: float) -> list[str]:
        """Return those of the entries of which this is the valid place."""
        queues = self.queues
        return [entry for entry in entries if entry in queues and queues[entry].due_at == due_at]

    def _ends_empty(self, entry: str) -> bool:
        """Forget the entry where its lease was on nothing any more; return whether it was."""
        if self.queues[entry].items:
            return False
        del self.queues[entry]
        return True

    def next_due(self) -> float | None:
        """Return when the next entry is due, or a lease on one ends; None where there is none."""
        while self._ready and not self._standing((self._ready[0],), AT_ONCE):
            self._ready.popleft()
        if self._ready:
            return AT_ONCE
        while self._later and not self._standing(self._later[0][2], self._later[0][0]):
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None


class MemoryStore:
    """References and the outbox in this process's memory, all of it bounded.

    Of more than `max_keys` ids the ones longest unused are forgotten, of more than 1,000 calls under one id the oldest.
    An outbox of `max_items` is full. Of more than 10,000 dead letters the oldest are forgotten. A child process that
    is forked off begins empty: what is queued is its parent's to deliver.
    """

    shared = False

    def __init__(self, *, max_keys: int = MAX_KEYS, max_items: int = MAX_ITEMS) -> None:
        self._max_keys = max_keys
        self._max_items = max_items
        self._begin()
        _alive.add(self)

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._inbox: deque[Item] = deque()
        self._calls = Calls()
        self._lines: dict[str, _Line] = {}  # by backend
        self._dead: OrderedDict[str, Item] = OrderedDict()
        self._buckets = Buckets()
        self._notes: Passing[str] = Passing()
        self._queued: dict[str, Item] = {}

    def after_fork(self) -> None:
        """Begin anew in a child process; references are kept, the outbox is the parent's."""
        calls = self._calls.after_fork()
        self._begin()
        self._calls = calls

    def adopt(self, other: MemoryStore) -> None:
        """Share the references and the pace of another from here on, each where this one has none yet."""
        if not self._calls:
            self._calls = other._calls
        if not self._buckets:
            self._buckets = other._buckets

    def remember(self, keys: Iterable[Key], call: Call) -> None:
        """Keep the call under each of the keys, after those that are there already."""
        self._calls.remember(keys, call, most=self._max_keys)

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return the calls that are kept under the key, in order; none where it is not known."""
        return self._calls.recall(key)

    def put(self, items: Sequence[Item]) -> bool:
        """Take all the items into the outbox, due at once; take none and return False where it is full.

        Threads that fill the last places together may each put a few too many.
        """
        if len(self._inbox) + len(self._queued) + len(items) > self._max_items and not self._has_room(items):
            return False
        self._inbox.extend(items)  # one step, which needs no lock
        return True

    def put_behind(self, item: Item) -> bool:
        """Take the item where something waits, or is on its way, for the same entry; else return False."""
        with self._lock:
            self._sort()
            line = self._lines.get(item.ref.backend)
            if line is None or entry_of(item) not in line.queues:
                return False
            self._inbox.append(item)
            return True

    def withdraw(self, *, now: float, lease: float) -> list[Claim]:
        """Lease everything that nobody has leased, of all backends, whether it is due or not."""
        with self._lock:
            self._sort()
            lines = list(self._lines.values())
            return [claim for line in lines for claim in line.lease_waiting(now=now, until=now + lease)]

    def claim(self, backend: str, *, now: float, most: int, lease: float) -> list[Claim]:
        """Lease all that is waiting for up to `most` log entries of the backend whose first item is due."""
        with self._lock:
            self._sort()
            line = self._lines.get(backend)
            return line.lease(now=now, most=most, until=now + lease) if line else []

    def conclude(self, concluded: Sequence[tuple[Claim, Conclusion]]) -> None:
        """End leases. What was put meanwhile is due with what is still waiting, else at once."""
        with self._lock:
            self._sort()
            for claim, conclusion in concluded:
                for item in conclusion.settled:
                    self._queued.pop(item.id, None)
                    if self._dead:
                        self._dead.pop(item.id, None)  # who came too late buried it, and it arrived all the same
                for item in conclusion.buried:
                    if self._queued.pop(item.id, None) is not None:
                        self._bury(item)
                line = self._lines.get(claim.items[0].ref.backend)
                if line is not None and claim.entry in line.queues:
                    self._conclude(claim, conclusion, line)

    def _conclude(self, claim: Claim, conclusion: Conclusion, line: _Line) -> None:
        queue = line.queues[claim.entry]
        ended = queue.token == claim.token
        if ended and conclusion.settled == claim.items == tuple(queue.items):  # as nearly always
            del line.queues[claim.entry]
            return
        queue.items = [item for item in queue.items if item.id in self._queued]
        if ended:
            queue.token = None
        if not queue.items and queue.token is None:
            del line.queues[claim.entry]
        elif ended:
            changed = {item.id: item for item in conclusion.waiting if item.id in self._queued}
            self._queued.update(changed)
            queue.items = [changed.get(item.id, item) for item in queue.items]
            line.place(claim.entry, conclusion.due_at if conclusion.waiting else AT_ONCE)

    def holds(self, ref: LogRef) -> bool:
        """Whether anything is waiting for the log entry, or is on its way to it."""
        with self._lock:
            self._sort()
            line = self._lines.get(ref.backend)
            return line is not None and entry_at(ref) in line.queues

    def next_due(self, backend: str) -> float | None:
        """Return when the next entry of the backend is due, or a lease on one ends; None where there is none."""
        with self._lock:
            self._sort()
            line = self._lines.get(backend)
            return line.next_due() if line else None

    def take(self, bucket: str, pace: Pace, *, now: float) -> float:
        """Take one request from the bucket; return 0, or where it may not be made yet the seconds to wait."""
        return self._buckets.take(bucket, pace, now=now)

    def hold(self, bucket: str, *, until: float) -> None:
        """Let nobody take from the bucket before `until`; never shortens a longer hold. 0 lifts it."""
        self._buckets.hold(bucket, until=until)

    def swap(self, name: str, old: str, new: str, *, seconds: float) -> str:
        """Note the text `new` under the name, in place of `old` or of nothing; return what is noted there then."""
        now = time.monotonic()
        with self._lock:
            there = self._notes.get(name, now)
            if there not in {None, old}:
                return there
            self._notes.keep(name, new, until=now + seconds, now=now)
            return new

    def fates(
        self,
        ids: Sequence[str],
        generation: str | None = None,  # noqa: ARG002 - what is lost is lost with who asks
    ) -> Mapping[str, tuple[Literal["queued", "failed"], Item]]:
        """Return item id → how it stands; those that are not there were settled."""
        with self._lock:
            self._sort()
            fates: dict[str, tuple[Literal["queued", "failed"], Item]] = {}
            for name in ids:
                if name in self._queued:
                    fates[name] = ("queued", self._queued[name])
                elif name in self._dead:
                    fates[name] = ("failed", self._dead[name])
            return fates

    def depths(self) -> list[Depth]:
        """Return how much there is of each backend's, by name."""
        with self._lock:
            self._sort()
            queued = Counter(item.ref.backend for item in self._queued.values())
            dead = Counter(item.ref.backend for item in self._dead.values())
            oldest: dict[str, float] = {}
            for item in self._queued.values():
                oldest[item.ref.backend] = min(item.created_at, oldest.get(item.ref.backend, item.created_at))
            return [
                Depth(backend=name, queued=queued[name], oldest_at=oldest.get(name), dead=dead[name])
                for name in sorted(queued | dead)
            ]

    def listed(self, *, dead: bool, most: int) -> list[Item]:
        """Return up to so many items that wait, or the dead letters; the oldest first."""
        with self._lock:
            self._sort()
            items = self._dead.values() if dead else self._queued.values()
            return heapq.nsmallest(most, items, key=lambda item: item.created_at)

    def revive(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into the outbox, due at once, with no attempts; all or these. Return how many.

        Each takes its place among its entry's items by the time when it was made.
        """
        with self._lock:
            self._sort()
            found = [self._dead.pop(name) for name in list(self._dead if ids is None else ids) if name in self._dead]
            self._inbox.extend(item._replace(attempts=0, reason=None) for item in found)
            self._sort()
            for item in found:
                queue = self._lines[item.ref.backend].queues[entry_of(item)]
                queue.items.sort(key=lambda each: each.created_at)
            return len(found)

    def purge(self, ids: Sequence[str] | None = None, *, dead: bool = True) -> int:
        """Forget dead letters (or with dead=False what is waiting and not leased); all or these. Return how many."""
        with self._lock:
            self._sort()
            kept: Mapping[str, Item] = self._dead if dead else self._queued
            chosen = [name for name in dict.fromkeys(list(kept) if ids is None else ids) if name in kept]
            return sum(self._forget(name, dead=dead) for name in chosen)

    def check(self) -> list[Finding]:
        """Return what an operator should know: above all, that none of it survives the process."""
        advice = "where that must not be, set THUMBPRINT_STORE to sqlite:///PATH, or redis://… for several machines"
        found = "memory://: what is not delivered when the process dies is lost"
        memory = Finding(check="store", status="warning", found=found, advice=advice)
        return [memory, *outbox_findings(self.depths(), time.time())]

    def close(self, timeout: float | None = 0.0) -> None:
        """Do nothing: there is nothing to let go of."""

    def _has_room(self, items: Sequence[Item]) -> bool:
        """Whether those of the items that are not there yet find room, counted exactly."""
        with self._lock:
            self._sort()
            new = {item.id for item in items if item.id not in self._queued and item.id not in self._dead}
            return len(self._queued) + len(new) <= self._max_items

    def _sort(self) -> None:
        """Put everything that was put in its place; whoever calls it holds the lock."""
        inbox, queued, dead, lines = self._inbox, self._queued, self._dead, self._lines
        while inbox:
            item = inbox.popleft()
            name, backend = item.id, item.ref.backend
            if name not in queued and name not in dead:
                queued[name] = item
                if backend not in lines:
                    lines[backend] = _Line()
                lines[backend].append(item)

    def _bury(self, item: Item) -> None:
        self._dead[item.id] = item
        if len(self._dead) > MAX_DEAD:
            self._dead.popitem(last=False)

    def _forget(self, name: str, *, dead: bool) -> bool:
        if dead:
            del self._dead[name]
            return True
        item = self._queued[name]
        queues, entry = self._lines[item.ref.backend].queues, entry_of(item)
        queue = queues[entry]
        if queue.token is not None:
            return False
        del self._queued[name]
        queue.items = [each for each in queue.items if each.id != name]
        if not queue.items:
            del queues[entry]
        return True


def _after_fork() -> None:
    for store in list(_alive):
        store.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_after_fork)
