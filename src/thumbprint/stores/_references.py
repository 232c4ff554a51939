"""References as one process uses them: whoever captures a call does not wait for a store that others share."""

from __future__ import annotations

import functools
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from .._log import warn
from ..errors import StoreError
from .memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .._call import Call
    from ._protocol import Key, Store

    _Work = SimpleQueue[Callable[[], None] | None]

MAX_OWN_KEYS: Final = 10_000
MAX_WAITING: Final = 10_000
RETRY_EVERY: Final = 1.0  # seconds


class References:
    """What calls were captured, by their keys: kept in the store, of which `recall` asks.

    A store that is shared is written to by a thread, with what this process captured kept in its memory as well: it is
    found from the start, and while the store cannot be reached. With `threaded=False` every store is written to at
    once.
    """

    def __init__(self, store: Store, *, threaded: bool = True) -> None:
        self._store = store
        self.threaded = threaded and store.shared
        """Whether a thread writes to the store."""
        self._own = MemoryStore(max_keys=MAX_OWN_KEYS)
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a child process, where there is no thread, and what waits is the parent's to write."""
        self._waiting: _Work = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._hurry = threading.Event()

    def remember(self, keys: Iterable[Key], call: Call) -> None:
        """Keep the call under each of the keys, after those that are there already."""
        if not self.threaded:
            self._store.remember(keys, call)
        elif keys := tuple(keys):
            self._own.remember(keys, call)
            if not self.later(functools.partial(self._store.remember, keys, call)):
                warn(
                    "references", "a captured call can be found by its ids in this process only: the store is too slow"
                )

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return the calls that are kept under the key, in order; none where it is not known.

        Raises StoreError where the store cannot be asked and this process made no such call itself.
        """
        own = self._own.recall(key) if self.threaded else ()
        try:
            stored = self._store.recall(key)
        except StoreError:
            if own:
                return own
            raise
        known = {_entries(call) for call in stored}
        return stored + tuple(call for call in own if _entries(call) not in known)

    def adopt(self, before: References) -> None:
        """Know what another had in this process's memory, of which there is nothing here yet."""
        mine, its = self._in_memory(), before._in_memory()
        if mine is not None and its is not None:
            mine.adopt(its)

    def _in_memory(self) -> MemoryStore | None:
        if self.threaded:
            return self._own
        return self._store if isinstance(self._store, MemoryStore) else None

    def retire(self) -> None:
        """Have the thread end when it has written what waits. Takes no lock: a finalizer may call this."""
        if self._thread is not None:
            self._waiting.put(None)

    def close(self, timeout: float | None) -> None:
        """Write what waits, for at most `timeout` seconds (None: until it is done); a later `remember` starts anew."""
        thread, self._thread = self._thread, None
        if thread is not None:
            waiting, self._waiting = self._waiting, SimpleQueue()
            waiting.put(None)
            thread.join(None if timeout is None else max(0.0, timeout))
            self._hurry.set()  # what cannot be written now is given up

    def later(self, write: Callable[[], None]) -> bool:
        """Have the thread write something, again after a StoreError; return False where it has too much to write."""
        if self._waiting.qsize() >= MAX_WAITING:
            return False
        self._waiting.put(write)
        if self._thread is None and self._starting.acquire(blocking=False):
            try:
                self._start()
            except RuntimeError as error:  # too many threads, or the interpreter is shutting down
                warn("references", "captured calls wait to be stored: %s", error)
            finally:
                self._starting.release()
        return True

    def _start(self) -> None:
        if self._thread is None:
            hurry = threading.Event()
            work = (self._waiting, hurry)
            thread = threading.Thread(target=self._write, args=work, name="thumbprint-references", daemon=True)
            thread.start()
            self._thread, self._hurry = thread, hurry

    def _write(self, work: _Work, hurry: threading.Event) -> None:
        while (write := work.get()) is not None:
            while not self._written(write) and not hurry.wait(RETRY_EVERY):
                pass

    def _written(self, write: Callable[[], None]) -> bool:
        try:
            write()
        except StoreError as error:
            warn("references", "captured calls wait to be stored: %s", error)
            return False
        except Exception:  # a fault of ours, or of somebody's store
            warn("references", "a captured call could not be stored", exc_info=True)
        return True


def _entries(call: Call) -> tuple[tuple[str, str, float], ...]:
    """Return what makes it this call; several that are known by one span alone differ in their time."""
    return tuple((ref.backend, ref.id, ref.captured_at) for ref in call.refs)
