"""Waking one thread from others."""

from __future__ import annotations

import contextlib
from queue import Empty, SimpleQueue


class Bell:
    """Wakes one thread from others, from signal handlers and finalizers too: a SimpleQueue is made for that."""

    def __init__(self) -> None:
        self._strokes: SimpleQueue[None] = SimpleQueue()
        self._heard = 0
        self._rung_after = -1  # how often it had been heard when it was last rung

    def ring(self) -> None:
        """Wake the thread, unless it has been rung for already since it last heard.

        First the stroke, then the note of it: where an exception of a signal handler's comes between, one too many.
        """
        heard = self._heard
        if self._rung_after != heard:
            self.strike()
            self._rung_after = heard

    def strike(self) -> None:
        """Wake the thread in any case."""
        self._strokes.put(None)

    def wait(self, seconds: float | None) -> None:
        """Wait for a stroke, at most so many seconds (None: as long as it takes)."""
        with contextlib.suppress(Empty):
            self._strokes.get(timeout=seconds)

    def hear(self) -> None:
        """Have what rings from now on wake the thread again."""
        self._heard += 1
