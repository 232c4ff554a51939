"""Who knows the receipts of what is on its way, and keeps them up to date."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal
from weakref import WeakSet, WeakValueDictionary

from .._log import warn
from .._metrics import count
from .._model import FlushResult, Item
from .._unresolved import waits
from ..errors import StoreError
from ..stores import DataLostError
from ._receipt import QUEUED, AtOnce, Receipt, Told, bounded
from ._watch import LOOK_EVERY, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence

    from .._model import Feedback, LogRef, Status, Verification
    from ..stores import Store

MOST_ASKED_FOR: Final = 500  # receipts at a time, where a store is shared

DELIVERED_AT_ONCE: Final = Told("delivered", None, 1)
UNKNOWN_PLACE: Final = "~"  # ends the id of an item whose target leads to no log entry yet
FOUND_ELSEWHERE: Final = Told("delivered", "another process has found its log entries, and delivers to them", 1)


class Tracker:
    """Knows the receipts of what is on its way and counts what was settled; safe to use from several threads.

    What `record_feedback` uses of it takes no lock that a thread could hold against itself: a signal handler or a
    finalizer may record feedback while it interrupts another call in the same thread.

    `verify` is how a receipt asks the services whether its feedback is there, `find` how it learns what another process
    has found out of its target, which led to no log entry; whoever makes receipts sets them.

    `store` is one that is shared, from which others deliver too: while somebody waits it is looked into. With
    `attended=False` nobody in this process looks into it all the time, and only receipts that somebody still has are
    kept.
    """

    verify: Callable[[Sequence[LogRef], Feedback, float], tuple[Verification, ...]]
    find: Callable[[LogRef, Feedback], tuple[Sequence[LogRef], dict[int, Told] | None]] = staticmethod(
        lambda ref, feedback: ((), None)  # noqa: ARG005 - what others know better
    )

    def __init__(self, *, store: Store | None = None, attended: bool = True) -> None:
        self._store = store
        self.attended = attended
        """Whether it hears of the end of every item, as long as the process lives."""
        self.watch = (
            contextlib.nullcontext(enter_result=True) if store is None else Watch(self.look, at_once=not attended)
        )
        """To wait in; gives whether it will be seen what others make of the items meanwhile."""
        self._changed = threading.Condition()  # around an RLock
        self._awaited: list[Callable[[], bool]] = []  # what those who wait wait for
        kept: Callable[[], MutableMapping[str, Receipt]] = dict if attended else WeakValueDictionary
        self._queued = kept()  # by item id
        self._stored = kept()  # of these, those that a store which is shared has taken
        self._settled: Counter[Status] = Counter()
        self._process = ""  # what tells this process's receipts from others': by chance, and that not on import
        self._count = itertools.count()
        self._beside: Tracker | None = None  # who may know the receipts that this one does not
        _alive.add(self)

    def open(
        self, refs: Sequence[LogRef], feedback: Feedback, told: dict[int, Told] | None, items: list[Item]
    ) -> Receipt:
        """Return a new receipt, and add the items that are to be queued for it to the list.

        `told` has, by their place among the refs, what is to be told of those that are not just queued.
        """
        receipt_id = f"{self._process or self._begun()}{next(self._count):016x}"
        receipt, now = Receipt(self, receipt_id, refs, feedback, told), time.time()
        for place, ref in enumerate(refs):
            if not told or told.get(place, QUEUED).status == "queued":
                item = Item(_item_id(receipt_id, place) if place else receipt_id, ref, feedback, now)
                items.append(item)  # first: whoever is interrupted between the two knows what to give up
                self._queued[item.id] = receipt  # one step, which no other thread can see half of
        if told and len(items) < len(refs):
            with self._changed:
                self._settled.update(news.status for news in told.values() if news.status != "queued")
        return receipt

    def _begun(self) -> str:
        self._process = os.urandom(8).hex()
        return self._process

    def open_unresolved(
        self,
        refs: Sequence[LogRef],
        feedback: Feedback,
        told: None,  # noqa: ARG002 - there is nothing to tell before
        items: list[Item],
    ) -> Receipt:
        """Do as `open` does for a target that leads to no log entry yet, for which one ref stands."""
        receipt_id = f"{self._process or self._begun()}{next(self._count):016x}"
        receipt = Receipt(self, receipt_id, refs, feedback, None)
        item = Item(f"{receipt_id}{UNKNOWN_PLACE}", refs[0], feedback, time.time())
        items.append(item)  # first, as above
        self._queued[item.id] = receipt
        return receipt

    def holds(self, item_id: str) -> bool:
        """Whether this process is to hear from this tracker what becomes of an item."""
        return item_id in self._queued

    def resolve(self, item: Item, refs: Sequence[LogRef], told: dict[int, Told] | None) -> list[Item]:
        """Return the items that take the place of one, now that the log entries of its target are known.

        They have its time, and the ids that they would have had. Its receipt, if it is here, has the log entries from
        here on, and waits for these items too, so that whatever becomes of them is told. `told` is as for `open`.
        """
        queued = [place for place in range(len(refs)) if not told or told.get(place, QUEUED).status == "queued"]
        receipt_id = item.id.removesuffix(UNKNOWN_PLACE)
        items = [Item(_item_id(receipt_id, at), refs[at], item.feedback, item.created_at) for at in queued]
        with self._changed:
            receipt = self._queued.get(item.id)
            if receipt is not None:
                receipt._refs, receipt._told = refs, told  # noqa: SLF001 - the tracker keeps it up to date
                self._queued.update(dict.fromkeys((each.id for each in items), receipt))
        return items

    def leave_unresolved(self, item: Item, items: Sequence[Item]) -> None:
        """Undo `resolve`: the items could not be put into the outbox."""
        with self._changed:
            receipt = self._queued.get(item.id)
            if receipt is not None:
                for each in items:
                    self._queued.pop(each.id, None)
                receipt._refs, receipt._told = (item.ref,), None  # noqa: SLF001 - as above

    def hand_on(self, item: Item, items: Sequence[Item]) -> None:
        """Tell that the items of `resolve` are in the outbox, and have taken the place of the one."""
        with self._changed:
            receipt = self._queued.pop(item.id, None)
            if receipt is None:
                return
            if self._stored.pop(item.id, None) is not None:
                self._stored.update(dict.fromkeys((each.id for each in items if each.id in self._queued), receipt))
            told = receipt._told or {}  # noqa: SLF001 - as above
            self._settled.update(news.status for news in told.values() if news.status != "queued")
            callbacks = self._callbacks(receipt)
            self._wake()
        for callback in callbacks:
            callback()

    def after_fork(self) -> None:
        """Begin anew in a child process: what is queued is its parent's to deliver.

        What has become of it can be seen where it is in a store that is shared.
        """
        stored = {name: receipt for name in _names(self._stored) if (receipt := self._stored.get(name))}
        self.__init__(store=self._store, attended=self.attended)  # type: ignore[misc]
        if stored:
            self._beside = Tracker(store=self._store, attended=False)
            self._beside.verify, self._beside.find = self.verify, self.find
            self._beside.keep(stored)

    def keep(self, stored: Mapping[str, Receipt]) -> None:
        """Keep another tracker's receipts up to date, given by item, of those that the store is known to have taken."""
        for name, receipt in stored.items():
            if receipt._generation is not None:  # noqa: SLF001 - the tracker keeps it up to date
                self._queued[name] = self._stored[name] = receipt
                receipt._tracker = self  # noqa: SLF001 - as above

    def stored(self, items: Sequence[Item], generation: str | None = None) -> None:
        """Tell that a store which is shared has taken the items; others may settle them from here on.

        `generation` is that of the store's data, as `Store.put` returned it.
        """
        for item in items:
            receipt = self._queued.get(item.id)
            if receipt is not None:  # else it was settled meanwhile
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
                self._take_over_end(name)
                continue
            with contextlib.suppress(KeyError):  # it was settled meanwhile
                self._stored[name] = self._stored.pop(name)  # behind the others, whose turn comes first
            status, item = fates[name]
            if status == "failed" or item.attempts:
                self._update(name, Told(status, item.reason, item.attempts))

    def _take_over_end(self, name: str) -> None:
        """Take note that an item is in the store no more: it was delivered, or its log entries were found."""
        receipt = self._stored.get(name)
        ref = receipt._refs[0] if receipt is not None and waits(receipt._refs) else None  # noqa: SLF001 - as above
        if receipt is None or ref is None:
            self._update(name, DELIVERED_AT_ONCE)
            return
        refs, told = self.find(ref, receipt._feedback)  # noqa: SLF001 - as above
        if not refs:  # those who found them did not store them
            self._update(name, FOUND_ELSEWHERE)
            return
        item = Item(name, ref, receipt._feedback, 0.0)  # noqa: SLF001 - as above
        self.hand_on(item, self.resolve(item, refs, told))

    def attempted(self, item: Item) -> None:
        """Tell of an attempt that did not deliver, and that is not the last."""
        self._update(item.id, Told("queued", item.reason, item.attempts))

    def delivered(self, items: Sequence[Item]) -> None:
        """Tell of an attempt that delivered all of these."""
        callbacks: list[Callable[[], None]] = []
        with self._changed:
            queued = self._queued
            for item in items:
                receipt = queued.get(item.id)
                if receipt is None:  # another process had put it
                    continue
                if item.attempts or receipt._told or receipt._on_settled or item.id != receipt.id:  # noqa: SLF001 - the tracker keeps it up to date
                    news = Told("delivered", None, item.attempts + 1) if item.attempts else DELIVERED_AT_ONCE
                    callbacks += self._note(item.id, receipt, news)
                else:  # as nearly always, what else `_note` does
                    receipt._told = {0: DELIVERED_AT_ONCE}  # noqa: SLF001 - as above
                    del queued[item.id]
                    if self._stored:
                        self._stored.pop(item.id, None)
                    self._settled["delivered"] += 1
            self._wake()
        for callback in callbacks:
            callback()
        if self._beside is not None:
            self._beside.delivered(items)

    def settle(self, item: Item, status: Status, reason: str | None = None) -> None:
        """Tell how it ended."""
        self._update(item.id, Told(status, reason, item.attempts))

    def look(self) -> None:
        """See what others have made of our items in the store."""
        try:
            self.catch_up(self._store)  # type: ignore[arg-type]
        except StoreError as error:
            warn("store", "what became of feedback cannot be seen: %s", error)
        except Exception:  # a fault of somebody's store
            warn("store", "what became of feedback cannot be seen", exc_info=True)

    def follows(self, receipt: Receipt) -> bool:
        """Whether this process is to hear what becomes of all that is queued for the receipt."""
        with self._changed:
            queued = zip(_item_ids(receipt), receipt.outcomes, strict=True)
            return all(name in self._queued for name, outcome in queued if outcome.status == "queued")

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until the predicate holds, at most `timeout` seconds (None: as long as it takes); return it."""
        ends_at = math.inf if timeout is None else time.monotonic() + bounded(timeout)
        while True:
            with self.watch as watched:
                if not watched:
                    self.look()
                left = bounded(ends_at - time.monotonic())
                with self._changed:
                    held = self._wait(predicate, left if watched else min(left, LOOK_EVERY))
            if held or time.monotonic() >= ends_at:
                return held

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

    def succeed(self, other: Tracker) -> None:
        """Take the place of another tracker: what is queued there may be settled here, and the other way round.

        To be called before this one is used: from here on they have one lock, and wake each other's waiting threads.
        """
        self._changed, self._awaited = other._changed, other._awaited
        other._beside = self

    def take_over(self, ids: Iterable[str], other: Tracker, deliver: AtOnce | None) -> None:
        """Keep the receipts of these items up to date from here on, in place of the other, which this one succeeds.

        `deliver` is what delivers at once when a receipt is waited for, where that is so.
        """
        callbacks: list[Callable[[], None]] = []
        with self._changed:
            for name in ids:
                receipt = other._queued.get(name)
                if receipt is not None:  # else it was recorded elsewhere, or is here already
                    callbacks += self._take_over_receipt(receipt, other, deliver)
            self._wake()
        for callback in callbacks:  # who awaits it does so here from now on
            callback()

    def _take_over_receipt(
        self, receipt: Receipt, other: Tracker, deliver: AtOnce | None
    ) -> Sequence[Callable[[], None]]:
        for name in _item_ids(receipt):
            if other._queued.pop(name, None) is not None:
                self._queued[name] = receipt
            other._stored.pop(name, None)
        receipt._tracker, receipt._deliver = self, deliver  # noqa: SLF001 - as above
        callbacks, receipt._on_settled = receipt._on_settled or (), None  # noqa: SLF001 - as above
        return callbacks

    def queued(self) -> list[str]:
        """Return the ids of the items that are queued."""
        return _names(self._queued)

    def awaited_backends(self) -> set[str]:
        """Return the backends of the items that are queued."""
        return set(self._awaited_backends())

    def awaits(self, backend: str) -> bool:
        """Whether an item of the backend's is queued."""
        return any(name == backend for name in self._awaited_backends())

    def _awaited_backends(self) -> Iterable[str]:
        queued = ((name, self._queued.get(name)) for name in self.queued())
        return (receipt._refs[_place(name)].backend for name, receipt in queued if receipt is not None)  # noqa: SLF001 - the tracker keeps it up to date

    def drop(self, ids: Iterable[str], reason: str) -> list[LogRef]:
        """Settle items as dropped; return the log entries that they were for."""
        return [ref for name in ids if (ref := self._update(name, Told("dropped", reason)))]

    def call_when_settled(self, receipt: Receipt, callback: Callable[[], None]) -> None:
        """Have the callback called, from any thread, once the receipt is settled or another tracker's, or at once."""
        with self._changed:
            awaited = receipt.status == "queued" and receipt._tracker is self  # noqa: SLF001 - the tracker keeps it up to date
            if awaited:
                receipt._on_settled = [*(receipt._on_settled or ()), callback]  # noqa: SLF001 - as above
        if not awaited:
            callback()

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
        if receipt is None and self._beside is not None:
            return self._beside._update(name, news)  # noqa: SLF001 - another of our own class
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
        return self._callbacks(receipt) if receipt._on_settled else ()  # noqa: SLF001 - as above

    def _callbacks(self, receipt: Receipt) -> Sequence[Callable[[], None]]:
        """Return what is to be called now, where the receipt is settled."""
        if receipt._on_settled is None or receipt.status == "queued":  # noqa: SLF001 - as above
            return ()
        callbacks, receipt._on_settled = receipt._on_settled, None  # noqa: SLF001 - as above
        return callbacks


def _names(kept: MutableMapping[str, Receipt]) -> list[str]:
    """Return the ids in a mapping that other threads put into meanwhile, as one with weak references does not stand."""
    while True:
        with contextlib.suppress(RuntimeError):
            return list(kept)


def _item_id(receipt_id: str, place: int) -> str:
    """Return the id of the item for the log entry at this place in its receipt."""
    return f"{receipt_id}-{place}" if place else receipt_id


def _item_ids(receipt: Receipt) -> list[str]:
    """Return the ids of the receipt's items, in the order of its log entries."""
    if waits(receipt._refs):  # noqa: SLF001 - the tracker keeps it up to date
        return [f"{receipt.id}{UNKNOWN_PLACE}"]
    return [_item_id(receipt.id, place) for place in range(len(receipt._refs))]  # noqa: SLF001 - as above


def _place(item_id: str) -> int:
    """Return the place of the item's log entry in its receipt."""
    return int(item_id.partition("-")[2] or 0)


_alive: WeakSet[Tracker] = WeakSet()


def _after_fork() -> None:
    for tracker in list(_alive):
        tracker.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_after_fork)
