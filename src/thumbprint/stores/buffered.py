"""A store that may be away for a while: what is put meanwhile waits in memory, and moves there when it is back."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final, Literal

from .._log import warn
from ..errors import StoreError
from ._protocol import entry_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._call import Call
    from .._model import Finding, Item, LogRef, Pace
    from ._protocol import Claim, Conclusion, Depth, Key, Store

MAX_ITEMS: Final = 10_000
MOVED_AT_ONCE: Final = 100
RETRY_EVERY: Final = 0.05  # seconds between two tries to move what waits before the store is closed
CLOSE_PATIENCE: Final = 0.05  # seconds that a first try has, where there is no time at all

_alive: weakref.WeakSet[BufferedStore] = weakref.WeakSet()


class BufferedStore:
    """Another store, with up to `max_items` kept in memory while that one cannot be written.

    They move into it, in the order in which they were put, before anything newer does: whenever something is put, or
    the outbox is looked at, by one thread, for which no other waits. Until then they are as safe as this process; a
    child process that is forked off begins without them. Everything else is the other store's.
    """

    def __init__(self, store: Store, *, max_items: int = MAX_ITEMS) -> None:
        self.shared = store.shared
        self._store = store
        self._max_items = max_items
        self.after_fork()
        _alive.add(self)

    def after_fork(self) -> None:
        """Begin anew in a child process: what waits in memory is its parent's."""
        self._moving = threading.Lock()
        self._waiting: deque[Item] = deque()

    def __repr__(self) -> str:
        return f"BufferedStore({self._store!r})"

    def put(self, items: Sequence[Item]) -> bool | str:
        """Take all the items into the outbox, or into memory; return False where what has to take them is full.

        Of those taken into memory nobody knows the generation of the store that they will be in. Threads that fill the
        last places there together may each put a few too many.
        """
        try:
            if self.move():
                return self._store.put(items)
        except StoreError as error:
            warn("buffered", "feedback waits in memory until the store can be written: %s", error)
        if len(self._waiting) + len(items) > self._max_items:
            return False
        self._waiting.extend(items)
        return True

    def move(self) -> bool:
        """Put what waits in memory into the store, and return whether nothing waits any more.

        Does nothing where somebody is at it already: another thread, or this one, which a signal handler or a finalizer
        has interrupted. Raises StoreError where the store cannot be written yet.
        """
        acquired = False
        try:
            acquired = bool(self._waiting) and self._moving.acquire(blocking=False)
            if acquired:
                self._move()
        finally:
            if acquired:
                self._moving.release()
        return not self._waiting

    def _move(self) -> None:
        """Move what waits until nothing does, or the store is full; whoever calls it is the only one."""
        waiting = self._waiting
        while waiting:
            items = [waiting[place] for place in range(min(len(waiting), MOVED_AT_ONCE))]
            if not self._store.put(items):
                break
            for _ in items:
                waiting.popleft()

    def unsaved(self) -> list[Item]:
        """Return what waits in memory."""
        return list(self._waiting)

    def abandon(self) -> list[Item]:
        """Return what waits in memory, and forget it."""
        abandoned, self._waiting = self._waiting, deque()
        return list(abandoned)

    def claim(self, backend: str, *, now: float, most: int, lease: float) -> list[Claim]:
        """Lease as the store does, after what waits in memory has moved there."""
        self.move()
        return self._store.claim(backend, now=now, most=most, lease=lease)

    def holds(self, ref: LogRef) -> bool:
        """Return as the store does; what waits in memory waits too."""
        entry = entry_at(ref)
        here = any(item.ref.backend == ref.backend and entry_at(item.ref) == entry for item in self.unsaved())
        return here or self._store.holds(ref)

    def next_due(self, backend: str) -> float | None:
        """Return as the store does, after what waits in memory has moved there."""
        self.move()
        return self._store.next_due(backend)

    def fates(
        self, ids: Sequence[str], generation: str | None = None
    ) -> Mapping[str, tuple[Literal["queued", "failed"], Item]]:
        """Return as the store does; what waits in memory is queued."""
        wanted = set(ids)
        waiting = {item.id: item for item in self.unsaved() if item.id in wanted}
        fates = self._store.fates([name for name in ids if name not in waiting], generation)
        return {**fates, **{name: ("queued", item) for name, item in waiting.items()}}

    def remember(self, keys: Iterable[Key], call: Call) -> None:
        """Keep the call in the store."""
        self._store.remember(keys, call)

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return what the store keeps under the key."""
        return self._store.recall(key)

    def conclude(self, concluded: Sequence[tuple[Claim, Conclusion]]) -> None:
        """End leases of the store's."""
        self._store.conclude(concluded)

    def take(self, bucket: str, pace: Pace, *, now: float) -> float:
        """Take from the store's bucket."""
        return self._store.take(bucket, pace, now=now)

    def hold(self, bucket: str, *, until: float) -> None:
        """Hold the store's bucket."""
        self._store.hold(bucket, until=until)

    def swap(self, name: str, old: str, new: str, *, seconds: float) -> str:
        """Swap notes in the store."""
        return self._store.swap(name, old, new, seconds=seconds)

    def depths(self) -> list[Depth]:
        """Return how much there is in the store."""
        return self._store.depths()

    def listed(self, *, dead: bool, most: int) -> list[Item]:
        """Return what is in the store."""
        return self._store.listed(dead=dead, most=most)

    def revive(self, ids: Sequence[str] | None = None) -> int:
        """Revive dead letters of the store."""
        return self._store.revive(ids)

    def purge(self, ids: Sequence[str] | None = None, *, dead: bool = True) -> int:
        """Purge the store."""
        return self._store.purge(ids, dead=dead)

    def check(self) -> list[Finding]:
        """Return what there is to say of the store."""
        return self._store.check()

    def close(self, timeout: float | None = 0.0) -> None:
        """Close the store, after what waits in memory has moved there, if it can within `timeout` seconds."""
        ends_at = time.monotonic() + (threading.TIMEOUT_MAX / 2 if timeout is None else max(timeout, CLOSE_PATIENCE))
        if self._waiting:
            self._move_until(ends_at)
        self._store.close(ends_at - time.monotonic())

    def _move_until(self, ends_at: float) -> None:
        """Try to move what waits, in a thread: a store that hangs shall not hold up who closes it."""
        thread = threading.Thread(target=self._keep_moving, args=(ends_at,), name="thumbprint-buffer", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter is shutting down
            self._keep_moving(ends_at)
        else:
            thread.join(ends_at - time.monotonic())

    def _keep_moving(self, ends_at: float) -> None:
        while not self._try_to_move() and (left := ends_at - time.monotonic()) > 0:
            time.sleep(min(left, RETRY_EVERY))

    def _try_to_move(self) -> bool:
        try:
            return self.move()
        except Exception:  # it cannot be written now, or is at fault: what is not moved is still told of
            return False


def _after_fork() -> None:
    for store in list(_alive):
        store.after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_after_fork)
