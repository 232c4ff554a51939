"""What the caller holds of feedback on its way, and the tracker that keeps it up to date."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from weakref import WeakValueDictionary

from .._log import warn
from .._metrics import count
from .._model import Feedback, FlushResult, Item, LogRef, Outcome, Status, Verification, overall
from ..errors import StoreError
from ..stores import DataLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, MutableMapping, Sequence

    from ..stores import Store

VERIFY_TIMEOUT: Final = 10.0  # seconds
LOOK_EVERY: Final = 0.5  # seconds between two looks into a store that others deliver from
MOST_ASKED_FOR: Final = 500  # receipts at a time, where a store is shared


class Told(NamedTuple):
    """What is known of the feedback for one log entry: an Outcome, but for its log entry."""

    status: Status = "queued"
    reason: str | None = None
    attempts: int = 0
    unsupported: tuple[str, ...] = ()


QUEUED: Final = Told()
DELIVERED_AT_ONCE: Final = Told("delivered", None, 1)


class Receipt:
    """Feedback on its way: look at `status` and `outcomes`, `wait()` for them, or await it.

    Waiting is optional: what a receipt is of is delivered whether or not anybody holds the receipt.
    """

    __slots__ = (
        "__weakref__",
        "_deliver",
        "_feedback",
        "_generation",
        "_id",
        "_on_settled",
        "_refs",
        "_told",
        "_tracker",
    )

    def __init__(
        self,
        tracker: Tracker,
        receipt_id: str,
        refs: Sequence[LogRef],
        feedback: Feedback,
        told: dict[int, Told] | None,
    ) -> None:
        self._tracker = tracker
        self._id = receipt_id
        self._refs = refs
        self._feedback = feedback
        self._told = told  # by the place of the ref, once there is something to tell; the others are queued
        self._on_settled: list[Callable[[], None]] | None = None
        self._deliver: Callable[[], None] | None = None
        self._generation: str | None  # of the data of the shared store that took it, from then on

    def deliver_when_asked(self, deliver: Callable[[], None]) -> None:
        """Deliver at once, or inside a running event loop, which must not be held up, when the receipt is awaited.

        For thumbprint's own use.
        """
        self._deliver = deliver
        if asyncio._get_running_loop() is None:  # noqa: SLF001 - what asyncio.get_running_loop() asks, without raising
            deliver()

    @property
    def id(self) -> str:
        """An id of this receipt's own: 32 hex digits."""
        return self._id

    @property
    def status(self) -> Status:
        """Queued while any outcome is, then failed or dropped if any is, else delivered; dropped without outcomes."""
        told = (self._told or {}).copy()
        return "queued" if len(told) < len(self._refs) else overall([each.status for each in told.values()])

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of it so far, one for each log entry."""
        told = self._told or {}
        return tuple(Outcome(ref=ref, **told.get(place, QUEUED)._asdict()) for place, ref in enumerate(self._refs))

    def wait(self, timeout: float | None = None) -> Receipt:
        """Wait until nothing of it is queued any more, at most `timeout` seconds, and return the receipt itself.

        After a timeout its `status` is still "queued". Blocks the thread: in a coroutine, await the receipt instead.
        With inline delivery each wait is one attempt, with a time limit of its own.
        """
        if self._deliver is not None and self.status == "queued":
            self._deliver()
            return self
        ends_at = math.inf if timeout is None else time.monotonic() + bounded(timeout)
        while self.status == "queued" and time.monotonic() < ends_at:
            self._wait_at(self._tracker, ends_at - time.monotonic())
        return self

    def _wait_at(self, tracker: Tracker, timeout: float) -> None:
        """Wait until it is settled, or another tracker's."""
        tracker.wait_for(lambda: self.status != "queued" or self._tracker is not tracker, timeout)

    def verify(self, timeout: float = VERIFY_TIMEOUT) -> tuple[Verification, ...]:
        """Ask each service whether the feedback is there now; return one Verification for each log entry.

        `timeout` is in seconds, for all together. What the network does is told, not raised: a service that does not
        answer leaves its entry "unknown". Feedback that came later may have changed what this one said: its entry is
        then "missing", and the reason tells what is there. Blocks the thread: in a coroutine, use
        `await asyncio.to_thread(receipt.verify)`.
        """
        return self._tracker.verify(self._refs, self._feedback, timeout) if self._refs else ()

    def __await__(self) -> Generator[None, None, Receipt]:
        return self._settled().__await__()

    async def _settled(self) -> Receipt:
        if self._deliver is not None and self.status == "queued":  # one attempt for each time that it is awaited
            await asyncio.to_thread(self._deliver)
            return self
        while self._tracker.unattended and self.status == "queued":
            await asyncio.to_thread(self._tracker.look)
            await asyncio.sleep(LOOK_EVERY if self.status == "queued" else 0)
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def done() -> None:
            with contextlib.suppress(asyncio.InvalidStateError):  # whoever waited was cancelled
                future.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(done)

        if self._tracker.call_when_settled(self, wake):
            try:
                await future
            finally:
                self._tracker.call_no_more(self, wake)
        return self

    def __repr__(self) -> str:
        return f"<Receipt {self._id}: {self.status}>"


class Tracker:
    """Knows the receipts of what is on its way and counts what was settled; safe to use from several threads.

    What `record_feedback` uses of it takes no lock that a thread could hold against itself: a signal handler or a
    finalizer may record feedback while it interrupts another call in the same thread.

    `verify` is how a receipt asks the services whether its feedback is there; whoever makes receipts sets it.

    `unattended` is a store that is shared, where nobody in this process delivers all the time. What it holds others
    deliver: only receipts that somebody still has are then kept, and whoever waits looks into the store.
    """

    verify: Callable[[Sequence[LogRef], Feedback, float], tuple[Verification, ...]]

    def __init__(self, *, unattended: Store | None = None) -> None:
        self.unattended = unattended
        self._changed = threading.Condition()  # around an RLock
        self._awaited: list[Callable[[], bool]] = []  # what those who wait wait for
        kept: Callable[[], MutableMapping[str, Receipt]] = dict if unattended is None else WeakValueDictionary
        self._queued = kept()  # by item id
        self._stored = kept()  # of these, those that a store which is shared has taken
        self._settled: Counter[Status] = Counter()
        self._process = os.urandom(8).hex()
        self._count = itertools.count()

    def open(
        self, refs: Sequence[LogRef], feedback: Feedback, told: dict[int, Told] | None, items: list[Item]
    ) -> Receipt:
        """Return a new receipt, and add the items that are to be queued for it to the list.

        `told` has, by their place among the refs, what is to be told of those that are not just queued.
        """
        receipt_id = f"{self._process}{next(self._count):016x}"
        receipt, now = Receipt(self, receipt_id, refs, feedback, told), time.time()
        for place, ref in enumerate(refs):
            if not told or told.get(place, QUEUED).status == "queued":
                item = Item(f"{receipt_id}-{place}" if place else receipt_id, ref, feedback, now)
                items.append(item)  # first: whoever is interrupted between the two knows what to give up
                self._queued[item.id] = receipt  # one step, which no other thread can see half of
        if told and len(items) < len(refs):
            with self._changed:
                self._settled.update(news.status for news in told.values() if news.status != "queued")
        return receipt

    def after_fork(self) -> None:
        """Begin anew in a child process: what is queued is its parent's to deliver."""
        self.__init__(unattended=self.unattended)  # type: ignore[misc]

    def stored(self, items: Sequence[Item], generation: str | None = None) -> None:
        """Tell that a store which is shared has taken the items; others may settle them from here on.

        `generation` is that of the store's data, as `Store.put` returned it.
        """
        for item in items:
            with contextlib.suppress(KeyError):  # it was settled meanwhile
                receipt = self._queued[item.id]
                receipt._generation = generation  # noqa: SLF001 - the tracker keeps it up to date
                self._stored[item.id] = receipt

    def catch_up(self, store: Store) -> None:
        """Take over what other processes, which share the store, have made of our items. Raises StoreError."""
        with self._changed:
            ids, generation = self._to_ask_for()
        try:
            fates = store.fates(ids, generation) if ids else {}
        except DataLostError as error:
            self._lose(ids, str(error))
        else:
            self._take_over_fates(ids, fates)

    def _to_ask_for(self) -> tuple[list[str], str | None]:
        """Return the items whose turn it is, of one generation of the store's data, and that generation."""
        generations = {
            name: receipt._generation  # noqa: SLF001 - as above
            for name in _names(self._stored)[:MOST_ASKED_FOR]
            if (receipt := self._stored.get(name))
        }
        first = next(iter(generations.values()), None)
        return [name for name, generation in generations.items() if generation == first], first

    def _lose(self, ids: Iterable[str], reason: str) -> None:
        """Settle items whose store has lost its data: whether they were delivered before, nobody can tell."""
        warn("lost", "feedback was dropped: %s", reason)
        for ref in self.drop(ids, reason):
            count("dropped", ref.backend)

    def _take_over_fates(
        self, ids: Sequence[str], fates: Mapping[str, tuple[Literal["queued", "failed"], Item]]
    ) -> None:
        for name in ids:
            if name not in fates:
                self._update(name, DELIVERED_AT_ONCE)
                continue
            with contextlib.suppress(KeyError):  # it was settled meanwhile
                self._stored[name] = self._stored.pop(name)  # behind the others, whose turn comes first
            status, item = fates[name]
            if status == "failed" or item.attempts:
                self._update(name, Told(status, item.reason, item.attempts))

    def attempted(self, item: Item) -> None:
        """Tell of an attempt that did not deliver, and that is not the last."""
        self._update(item.id, Told("queued", item.reason, item.attempts))

    def delivered(self, items: Sequence[Item]) -> None:
        """Tell of an attempt that delivered all of these."""
        callbacks: list[Callable[[], None]] = []
        with self._changed:
            for item in items:
                receipt = self._queued.get(item.id)
                if receipt is not None:  # else another process had put it
                    news = Told("delivered", None, item.attempts + 1) if item.attempts else DELIVERED_AT_ONCE
                    callbacks += self._note(item.id, receipt, news)
            self._wake()
        for callback in callbacks:
            callback()

    def settle(self, item: Item, status: Status, reason: str | None = None) -> None:
        """Tell how it ended."""
        self._update(item.id, Told(status, reason, item.attempts))

    def look(self) -> None:
        """See what others have made of our items in the unattended store."""
        try:
            self.catch_up(self.unattended)  # type: ignore[arg-type]
        except StoreError as error:
            warn("store", "what became of feedback cannot be seen: %s", error)

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until the predicate holds, at most `timeout` seconds (None: as long as it takes); return it."""
        seconds = threading.TIMEOUT_MAX if timeout is None else bounded(timeout)
        if self.unattended is None:
            with self._changed:
                return self._wait(predicate, seconds)
        ends_at = time.monotonic() + seconds
        while not predicate() and (left := ends_at - time.monotonic()) > 0:
            self.look()
            with self._changed:
                self._wait(predicate, min(left, LOOK_EVERY))
        return predicate()

    def _wait(self, predicate: Callable[[], bool], seconds: float | None) -> bool:
        """Wait until the predicate holds; whoever calls it holds the lock."""
        self._awaited.append(predicate)
        try:
            return self._changed.wait_for(predicate, seconds)
        finally:
            self._awaited.remove(predicate)

    def _wake(self) -> None:
        """Wake those who wait, if one has what it waits for: to wake them for nothing would cost each delivery time."""
        if any(predicate() for predicate in self._awaited):
            self._changed.notify_all()

    def wait_until_idle(self, timeout: float | None) -> FlushResult:
        """Wait until nothing is queued, at most `timeout` seconds; return the counts and start them anew."""
        with self._changed:
            self._wait(lambda: not self._queued, None if timeout is None else bounded(timeout))
            counts, self._settled = self._settled, Counter()
            return FlushResult(
                delivered=counts["delivered"],
                remaining=len(self._queued),
                failed=counts["failed"],
                dropped=counts["dropped"],
            )

    def take_over(self, ids: Iterable[str], other: Tracker) -> None:
        """Keep the receipts of these items up to date from here on, in place of another tracker."""
        with other._changed:
            for name in ids:
                with contextlib.suppress(KeyError):  # another process had put it
                    self._queued[name] = other._queued.pop(name)
                    self._queued[name]._tracker = self  # noqa: SLF001 - as above
            other._wake()

    def queued(self) -> list[str]:
        """Return the ids of the items that are queued."""
        return _names(self._queued)

    def awaited_backends(self) -> set[str]:
        """Return the backends of the items that are queued."""
        queued = ((name, self._queued.get(name)) for name in self.queued())
        return {receipt._refs[_place(name)].backend for name, receipt in queued if receipt is not None}  # noqa: SLF001 - the tracker keeps it up to date

    def drop(self, ids: Iterable[str], reason: str) -> list[LogRef]:
        """Settle items as dropped; return the log entries that they were for."""
        return [ref for name in ids if (ref := self._update(name, Told("dropped", reason)))]

    def call_when_settled(self, receipt: Receipt, callback: Callable[[], None]) -> bool:
        """Have the callback called, from any thread, once the receipt is settled; False where it is already."""
        with self._changed:
            if receipt.status != "queued":
                return False
            receipt._on_settled = [*(receipt._on_settled or ()), callback]  # noqa: SLF001 - the tracker keeps it up to date
            return True

    def call_no_more(self, receipt: Receipt, callback: Callable[[], None]) -> None:
        """Undo `call_when_settled`; does nothing where the callback was called."""
        with self._changed:
            receipt._on_settled = [each for each in receipt._on_settled or () if each is not callback]  # noqa: SLF001 - as above

    def _update(self, name: str, news: Told) -> LogRef | None:
        """Take note of what became of an item; return its log entry where it is one of ours that was queued.

        An item without a receipt here was put into the store by another process, or before a restart.
        """
        with self._changed:
            receipt = self._queued.get(name)
            callbacks = self._note(name, receipt, news) if receipt else ()
            self._wake()
        for callback in callbacks:
            callback()
        return None if receipt is None else receipt._refs[_place(name)]  # noqa: SLF001 - the tracker keeps it up to date

    def _note(self, name: str, receipt: Receipt, news: Told) -> Sequence[Callable[[], None]]:
        """Write into the item's receipt what became of it; return the callbacks that are due by that."""
        place, told = _place(name), receipt._told  # noqa: SLF001 - the tracker keeps it up to date
        if told is None:
            receipt._told = {place: news}  # noqa: SLF001 - as above
        else:
            before = told.get(place, QUEUED)
            told[place] = news._replace(attempts=max(before.attempts, news.attempts), unsupported=before.unsupported)
        if news.status != "queued":
            del self._queued[name]
            if self._stored:
                self._stored.pop(name, None)
            self._settled[news.status] += 1
        if receipt._on_settled is None or receipt.status == "queued":  # noqa: SLF001 - as above
            return ()
        callbacks, receipt._on_settled = receipt._on_settled, None  # noqa: SLF001 - as above
        return callbacks


def _names(kept: MutableMapping[str, Receipt]) -> list[str]:
    """Return the ids in a mapping that other threads put into meanwhile, as one with weak references does not stand."""
    while True:
        with contextlib.suppress(RuntimeError):
            return list(kept)


def _place(item_id: str) -> int:
    """Return the place of the item's log entry in its receipt, as `Tracker.open` wrote it."""
    place = item_id.partition("-")[2]
    return int(place) if place else 0


def bounded(timeout: object) -> float:
    """Return a number of seconds that a lock takes: not negative, and not infinite; what is no number counts as 0."""
    if isinstance(timeout, (int, float)) and timeout > 0:  # NaN is not
        return min(timeout, threading.TIMEOUT_MAX)
    return 0.0
