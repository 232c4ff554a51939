"""Locks that a fork waits for: a child process inherits none that only a thread of its parent could release."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - it registers a lock with the fork: not while one waits for its import
import os
import threading
from typing import Final


def forking_lock() -> threading.RLock:
    """Return a re-entrant lock that is free in every child process, and guards nothing half done there.

    A fork takes these locks in the reverse order of their making, and so must a thread that takes several: a lock is
    made before those in whose keeping it is taken.
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


importing: Final = forking_lock()
"""Held while a module is imported in the middle of work, lest a child process finds it half imported for ever."""
