"""Signals that ask a process to end, as values to wait for."""

from __future__ import annotations

import signal
from queue import SimpleQueue


def stop_signals() -> SimpleQueue[int]:
    """Return a queue into which SIGTERM and SIGINT go from now on, instead of ending the process.

    A SimpleQueue, since its `put` may interrupt anything, its own `get` too.
    """
    stops: SimpleQueue[int] = SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stops.put(number))
    return stops
