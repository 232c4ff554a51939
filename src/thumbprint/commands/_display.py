"""What a command that runs for long shows: a line that is kept up to date on a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from typing import Final, Protocol

from .._words import printable

SAY_EVERY: Final = 3.0  # seconds between two plain lines about what changed


class Display(Protocol):
    """Shows how things stand, on stdout, and warnings, on stderr; safe to use from several threads."""

    def begin(self, text: str) -> None:
        """Say what begins."""
        ...

    def tell(self, state: str) -> None:
        """Show how it stands now."""
        ...

    def warn(self, text: str) -> None:
        """Say what somebody should see to."""
        ...

    def end(self, text: str) -> None:
        """Say how it ended."""
        ...


def display() -> Display:
    """Return the display that fits this process's stdout."""
    return ProgressLine() if sys.stdout.isatty() else PlainLines()


class PlainLines:
    """One line at the start, one when something has changed, but not too often, and one at the end."""

    def __init__(self) -> None:
        self._said = ""
        self._says_from = 0.0  # of the monotonic clock

    def begin(self, text: str) -> None:
        """Say what begins."""
        print(printable(text), flush=True)

    def tell(self, state: str) -> None:
        """Say how it stands, where that has changed and is not said too often."""
        now = time.monotonic()
        if state != self._said and now >= self._says_from:
            self._said, self._says_from = state, now + SAY_EVERY
            print(printable(state), flush=True)

    def warn(self, text: str) -> None:
        """Say it on stderr."""
        print(text, file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        """Say how it ended."""
        print(printable(text), flush=True)


class ProgressLine:
    """One line that is written over; warnings go above it. Uses nothing that a terminal could lack."""

    def __init__(self) -> None:
        self._shown = ""
        self._lock = threading.Lock()

    def begin(self, text: str) -> None:
        """Say what begins, on a line that stays."""
        with self._lock:
            print(printable(text), flush=True)

    def tell(self, state: str) -> None:
        """Write it over what was shown before."""
        with self._lock:
            if state != self._shown:
                self._write(state)

    def warn(self, text: str) -> None:
        """Say it on stderr, above the line."""
        with self._lock:
            state = self._shown
            self._write("")
            print(text, file=sys.stderr, flush=True)
            self._write(state)

    def end(self, text: str) -> None:
        """Write how it ended over what was shown, and leave the line."""
        with self._lock:
            self._write("")
            print(printable(text), flush=True)

    def _write(self, state: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{printable(state)[:width]:<{width}}\r", end="", flush=True)
        self._shown = state


class Warnings(logging.Handler):
    """Shows what the library logs."""

    def __init__(self, shown: Display) -> None:
        super().__init__(logging.WARNING)
        self._display = shown

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        lines = self.format(record).splitlines()
        self._display.warn(
            "\n".join(map(printable, [f"thumbprint: {record.levelname.lower()}: {lines[0]}", *lines[1:]]))
        )
