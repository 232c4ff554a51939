"""Looking, for all who wait, at what others make of something that they share with this process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from .._log import warn
from .._scope import run_untraced
from ._bell import Bell

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_EVERY: Final = 0.5  # seconds between two looks into a store that others deliver from


class Watch:
    """Looks every so often, in one thread for all, as long as somebody waits.

    Who waits does so inside of it, as a context manager, which gives whether somebody looks: not where no thread can be
    started. With `at_once` there is also a look for everybody who begins to wait.
    """

    def __init__(self, look: Callable[[], None], *, at_once: bool) -> None:
        self._look = look
        self._at_once = at_once
        self._lock = threading.RLock()  # a signal handler may wait too
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._bell = Bell()

    def __enter__(self) -> bool:
        with self._lock:
            self._waiting += 1
            if self._thread is None:
                self._start()
            if self._at_once:
                self._bell.ring()
            return self._thread is not None

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._waiting -= 1

    def _start(self) -> None:
        thread = threading.Thread(target=lambda: run_untraced(self._run), name="thumbprint-receipts", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # too many threads, or the interpreter is shutting down
            warn("thread", "what others deliver cannot be looked at in a thread: %s", error)
        else:
            self._thread = thread

    def _run(self) -> None:
        while self._is_waited_for():
            self._look()

    def _is_waited_for(self) -> bool:
        """Wait until it is time for the next look; return whether there is somebody for whom to look."""
        self._bell.wait(LOOK_EVERY)
        self._bell.hear()
        with self._lock:
            if not self._waiting:
                self._thread = None
            return self._waiting > 0
