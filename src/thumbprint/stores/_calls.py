"""Captured calls by their keys, in this process's memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._call import Call
    from ._protocol import Key

MAX_CALLS_PER_KEY: Final = 1_000


class Calls:
    """The calls that are kept under each key, in order; several stores may share them."""

    def __init__(self, calls: OrderedDict[Key, tuple[Call, ...]] | None = None) -> None:
        self._lock = threading.RLock()
        self._calls = OrderedDict() if calls is None else calls

    def __len__(self) -> int:
        return len(self._calls)

    def after_fork(self) -> Calls:
        """Return the same calls for a child process, in which another thread may seem to hold the lock."""
        return Calls(self._calls)

    def remember(self, keys: Iterable[Key], call: Call, *, most: int) -> None:
        """Keep the call under each of the keys; of more than so many keys, those longest unused are forgotten."""
        with self._lock:
            for key in keys:
                calls = self._calls.get(key)
                if calls is None:
                    self._calls[key] = (call,)
                else:
                    self._calls[key] = (*calls[-MAX_CALLS_PER_KEY + 1 :], call)
                    self._calls.move_to_end(key)
            while len(self._calls) > most:
                self._calls.popitem(last=False)

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return the calls that are kept under the key; none where it is not known."""
        with self._lock:
            calls = self._calls.get(key)
            if calls is None:
                return ()
            self._calls.move_to_end(key)
            return calls
