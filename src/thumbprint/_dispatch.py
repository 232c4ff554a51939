"""What keeps and delivers the feedback of a Thumbprint, and outlives it until all that was recorded is settled."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from . import _words
from ._admission import Admission
from ._log import warn
from ._metrics import count, unwatch, watch
from ._resolver import Resolver
from ._row_queue import RowQueue
from ._unresolved import UNRESOLVED
from .backends import Logging
from .delivery import AtOnce, Handover, Tracker, Worker, bounded
from .errors import StoreError
from .stores import BufferedStore, MemoryStore, References

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from ._config import Settings
    from ._model import FlushResult, Item, Json, LogRef
    from .stores import Store

SHUTDOWN_TIMEOUT: Final = 5.0  # seconds: an exit should not be felt
INLINE_TIMEOUT: Final = 5.0  # seconds

_CLOSED: Final = "thumbprint was closed, or the process ends"
_UNWANTED: Final = "since configure() was called, nothing delivers to its service"


class Dispatch:
    """A store with all who work at it: who keeps references and receipts, and who delivers.

    It knows nothing of the Thumbprint that it is made for. When that is gone, `retire` has what is queued delivered.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.store = settings.store
        shared = settings.store if settings.store.shared else None
        self.references = References(settings.store, threaded=settings.delivery != "inline")
        self.tracker = Tracker(store=shared, attended=shared is None or settings.delivery == "background")
        self.admission = Admission(settings.backends, settings.emitting)
        self.resolver = Resolver(
            backends=settings.backends,
            references=self.references,
            admission=self.admission,
            store=settings.store,
            tracker=self.tracker,
        )
        self.worker = Worker(
            store=settings.store,
            backends=settings.backends,
            tracker=self.tracker,
            expire_after=settings.expire_after,
            resolver=self.resolver,
        )
        self.tracker.verify = self.worker.verify
        if self._in_background:
            self.resolver.wake = self.worker.wake
        self.begun = False
        self._rows = RowQueue(self.tracker, self.references, put=self._put_rows, drop=self._drop)
        self._retired = False
        self._closed = _ending.is_set()  # nothing more is taken
        self._over = False  # nor is what was taken delivered by this one
        self._successor: Dispatch | None = None
        self._inherited: Handover | None = None  # what is still where it was before this one
        self._handed_on: Handover | None = None  # what was here
        watch(settings.store)
        _alive.add(self)

    def begin(self) -> None:
        """Deliver what waits in a shared store from before, not only what comes; be told of this process's end."""
        self.begun = True
        if "multiprocessing.util" in sys.modules:  # whose processes end without what is registered with atexit
            sys.modules["multiprocessing.util"].Finalize(None, _end, exitpriority=0)
        if self.store.shared and self._in_background and not (self._settings.disabled or self._closed):
            self.worker.wake()

    def put(self, items: Sequence[Item]) -> bool:
        """Put the items into the outbox; return False where they are not for this one to deliver.

        They are dropped then, which is told, or handed on to the successor.
        """
        if self._rows.unput:
            self._rows.try_to_put()
        return self._put(items)

    def _put(self, items: Sequence[Item], *, again: bool = False) -> bool:
        """Do so with nothing but these; `again` as `_keep` has it."""
        if self._successor is not None:
            _count_queued(items)
            self._successor.take(items, self.tracker)
            return False
        left = items if self._inherited is None else self._put_behind(items, self._inherited)
        reason = self._keep(left, again=again) if left else None
        if reason is not None:
            self._drop(left, reason)
            return False
        _count_queued(items)
        if self._over:  # just now
            self._let_go()
        return not self._over

    def log(self, ref: LogRef, row: Mapping[str, Json]) -> None:
        """Have a row of a call put into the outbox, before any feedback for it. See `RowQueue.log`."""
        self._rows.log(ref, row)

    def _put_rows(self, rows: Sequence[Item]) -> None:
        """Put rows into the outbox, and have them delivered in the background."""
        if self._put(rows, again=True) and self._in_background:
            for name in {item.ref.backend for item in rows}:
                self.worker.wake(name)

    def take(self, items: Sequence[Item], tracker: Tracker) -> None:
        """Take over another's items, with their receipts from its tracker, and deliver what can be delivered here."""
        if self._successor is not None:
            self._successor.take(items, tracker)
            return
        self.tracker.take_over([item.id for item in items], tracker, self._deliver_at_once)
        wanted = [item for item in items if self._delivers(item)]
        self._drop([item for item in items if not self._delivers(item)], _UNWANTED)
        reason = self._keep(wanted) if wanted else None
        if reason is not None:
            self._drop(wanted, reason)
        elif self._over:  # just now
            self._let_go()
        elif self._in_background:
            for name in {item.ref.backend for item in wanted}:
                self.worker.wake(name)

    def at_once(self, names: Collection[str]) -> AtOnce:
        """Return what delivers what is due for these backends, where that is done when somebody asks for it."""
        if UNRESOLVED in names:  # first: what is found is delivered by the others
            names = (UNRESOLVED, *self._settings.backends)

        def blocking() -> None:
            self.worker.deliver_now(names, INLINE_TIMEOUT)
            self._end_if_retired()

        async def awaited() -> None:
            await self.worker.deliver_awaited(names, INLINE_TIMEOUT)
            self._end_if_retired()

        return AtOnce(blocking, awaited)

    def wake(self) -> None:
        """Have what is queued delivered, where that is done in the background."""
        if self._in_background:
            for name in self.tracker.awaited_backends():
                self.worker.wake(name)

    def flush(self, timeout: float | None) -> FlushResult:
        """Wait until everything queued is settled, at most `timeout` seconds.

        Rows of calls have nobody who waits for them: where feedback is delivered when somebody does, they are now.
        """
        if timeout != 0:
            self.wake()  # threads may not have been started: it was not possible
        if self._rows.used and self._settings.delivery == "inline" and timeout != 0:
            names = [name for name, backend in self._settings.backends.items() if isinstance(backend, Logging)]
            self.worker.deliver_now(names, INLINE_TIMEOUT if timeout is None else bounded(timeout))
        return self.tracker.wait_until_idle(timeout if self._in_background else 0)

    def shutdown(self, timeout: float | None) -> FlushResult:
        """Flush, stop delivering and close the connections; a later `put` starts anew."""
        began = time.monotonic()
        result = self.flush(timeout)
        for part in (self.worker.stop, self.references.close, self.store.close):
            part(None if timeout is None else bounded(timeout) - (time.monotonic() - began))
        return result

    def close(self, timeout: float | None) -> FlushResult:
        """Shut down for good. What is not delivered stays in a durable store; in one of this process it is lost."""
        self._rows.try_to_put()
        self._closed = True
        result = self.shutdown(timeout)
        self._rows.put()  # into a store that is closed: they are dropped, and that is told
        self._over = True
        lost = self._lose()
        self._leave()
        return dataclasses.replace(result, remaining=max(0, result.remaining - lost), dropped=result.dropped + lost)

    def retire(self) -> None:
        """Deliver what is queued, and then end: nobody is there any more who could record.

        Takes no lock: a finalizer may call this, in any thread. So it is the threads that deliver who end it all. Where
        none run, and something would be lost, that is left to the end of the process.
        """
        self._retired = True
        self.references.retire()
        self.worker.retire(self._end)
        if not (self.worker.running or self._lost()):
            _alive.discard(self)

    def _end_if_retired(self) -> None:
        if self._retired:
            self._end()

    def _end(self) -> None:
        """Close where nothing is left to do after `retire`; called in each lane's thread as that ends, if any run."""
        if not (self.worker.running or self._lost()):
            self.close(0)

    def succeed(self, before: Dispatch) -> None:
        """Take the place of another, before this one is used: what is recorded from here on comes after what it has."""
        self.references.adopt(before.references)
        self.tracker.succeed(before.tracker)
        if isinstance(before.store, MemoryStore) and before.store is not self.store:
            take = functools.partial(self.take, tracker=before.tracker)
            self._inherited = before._handed_on = Handover(before.store, take, before=before._inherited)

    def hand_over(self, successor: Dispatch) -> None:
        """Close for good within some seconds, and hand on to the successor what would be lost with the store."""
        self.shutdown(SHUTDOWN_TIMEOUT)
        self._rows.try_to_put()
        self._successor = successor
        self._rows.put()  # those that the store did not take
        if isinstance(self.store, BufferedStore):
            successor.take(self.store.abandon(), self.tracker)
        elif not self.store.shared:
            self._over = True
            successor.inherit(self)
        self._leave()

    def inherit(self, before: Dispatch) -> None:
        """Deliver what another had no time for; of what it is delivering now, whatever has to be tried again."""
        if self._successor is not None:
            self._successor.inherit(before)
            return
        self.tracker.take_over(before.tracker.queued(), before.tracker, self._deliver_at_once)
        if before._handed_on is not None:
            before.worker.when_concluded(before._handed_on.move)
            before._handed_on.move()
        else:  # it has the same store, or one of somebody's own making
            items = before.store.listed(dead=False, most=sys.maxsize)
            unwanted = [item.id for item in items if not self._delivers(item)]

            def go_on() -> None:
                _purge(before.store, unwanted)  # what was being delivered until now stayed there
                self.wake()

            before.worker.when_concluded(go_on)
            self.take(items, before.tracker)
            _purge(before.store, unwanted)

    def _put_behind(self, items: Sequence[Item], inherited: Handover) -> Sequence[Item]:
        """Put items behind what is still with the one before; return those that need not wait for anything there."""
        if inherited.over:
            self._inherited = None
            return items
        return inherited.put_behind(items)

    @property
    def _in_background(self) -> bool:
        return self._settings.delivery == "background"

    @property
    def _deliver_at_once(self) -> AtOnce | None:
        """What delivers when a receipt is waited for, where that is so."""
        if self._settings.delivery != "inline":
            return None
        return self.at_once({UNRESOLVED})

    def _delivers(self, item: Item) -> bool:
        known = self.resolver.hopes if item.ref.backend == UNRESOLVED else item.ref.backend in self._settings.backends
        return known and not self._settings.disabled

    def _keep(self, items: Sequence[Item], *, again: bool = False) -> str | None:
        """Put the items into the store; return why it does not take them, None where it does.

        With `again`, where somebody will try once more, raises StoreError for a store that cannot be written.
        """
        if self._closed:
            return _CLOSED
        try:
            taken = self.store.put(items)
        except StoreError as error:
            if again:
                raise
            return str(error)
        except Exception as error:  # a fault of somebody's store is not to harm the application
            warn("store", "the store failed to take feedback", exc_info=True)
            return f"{type(error).__name__} in the store"
        if taken and self.store.shared:
            self.tracker.stored(items, taken if isinstance(taken, str) else None)
        return None if taken else "the outbox is full"

    def _drop(self, items: Iterable[Item], reason: str) -> None:
        for item in items:
            warn("dropped", "%s was dropped: %s", "feedback" if item.row is None else "the row of a call", reason)
            count("dropped", item.ref.backend)
            self.tracker.settle(item, "dropped", reason)

    def _let_go(self) -> None:
        """See to what was put into the store while this one ended."""
        if self._successor is not None:
            self._successor.inherit(self)
        else:
            self._lose()

    def _lost(self) -> Sequence[str]:
        """Return the ids of what is queued and ends with this process."""
        if isinstance(self.store, BufferedStore):
            return [item.id for item in self.store.unsaved()]
        return () if self.store.shared else self.tracker.queued()

    def _lose(self) -> int:
        """Drop what ends with this process, and say so; return for how many log entries that was."""
        if isinstance(self.store, BufferedStore):
            abandoned = self.store.abandon()
            self.tracker.drop([item.id for item in abandoned], _CLOSED)
            dropped = [item.ref for item in abandoned]
        else:
            dropped = self.tracker.drop(self._lost(), _CLOSED)
        for ref in dropped:
            count("dropped", ref.backend)
        if dropped:
            told = _words.counted(len(dropped), "log entry", "log entries")
            warn("closed", "not delivered in time, and lost: feedback for %s", told)
        return len(dropped)

    def _leave(self) -> None:
        if self._successor is None or self._successor.store is not self.store:
            unwatch(self.store)
        _alive.discard(self)

    def after_fork(self) -> None:
        """Begin anew in a child process, where none of the threads are; what was queued is its parent's."""
        self.begun = False
        self._rows.after_fork()
        self._inherited = None
        self.references.after_fork()
        self.worker.after_fork()
        if self._retired:
            _alive.discard(self)


def _purge(store: Store, ids: Sequence[str]) -> None:
    try:
        store.purge(ids, dead=False)
    except Exception:  # of a store of somebody's own making
        warn("store", "what nothing delivers any more stays in the store", exc_info=True)


def _count_queued(items: Iterable[Item]) -> None:
    for item in items:
        count("queued", item.ref.backend)


_alive: set[Dispatch] = set()
_ending: Final = threading.Event()  # nobody will see to what is taken from here on


@atexit.register
def _end() -> None:
    _ending.set()
    _close_all()


def _close_all() -> None:
    ends_at = time.monotonic() + SHUTDOWN_TIMEOUT
    left = list(_alive)
    for dispatch in left:
        dispatch.wake()  # while the first is waited for, the others deliver too
    for dispatch in left:
        dispatch.close(ends_at - time.monotonic())


def _after_fork() -> None:
    """Begin anew in a child process: threads, connections and locks are the parent's, and so is what is queued."""
    for dispatch in list(_alive):
        dispatch.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_after_fork)
