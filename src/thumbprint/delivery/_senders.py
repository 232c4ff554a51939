"""Threads that send, as many as the service's slowness makes worth while."""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from .._log import warn
from .._scope import run_untraced

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backends import Answer, HttpRequest
    from ..stores import Claim
    from ._transport import Transport

    Batch = list[Claim]

IDLE: Final = 5.0  # seconds after which a sender that has nothing to send ends
SMOOTHING: Final = 0.2  # the weight of the latest batch's work in the mean
LEAST_WORK: Final = 0.0005  # seconds of processor time: no batch is done with less
# How long answers take is told by the fastest of the latest: the others may have waited for the interpreter, or for a
# processor, and more senders would only make that longer. Of its wait, this part is one that another could use.
LATEST: Final = 8
USABLE: Final = 0.7


class Load:
    """How busy a lane's senders are, those of all its runs: how many send, and how many are worth while.

    At most `most` send at a time: as many as it takes to use the time for which one waits for answers. Where an answer
    takes a millisecond that is one, for others would only wait for the interpreter; where it takes fifty, all.
    """

    look_again: Final = 0.02  # seconds after which a request that has no answer yet counts as slow

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._busy = 0  # senders that have a batch, or are about to
        self._under_way: dict[int, float] = {}  # thread → since when its request is
        self._waits: deque[float] = deque(maxlen=LATEST)  # seconds that a batch's requests waited for their answers
        self._working = LEAST_WORK  # seconds of processor time that a batch costs, on average

    def wanted(self) -> bool:
        """Whether one more batch is worth giving out now."""
        with self._lock:
            return self._busy < self._worth()

    def is_one_too_many(self) -> bool:
        """Whether fewer senders are worth while than there are at work."""
        with self._lock:
            return self._busy > self._worth()

    def rest(self) -> float:
        """Return after how many seconds to ask again whether one more is worth while."""
        return self.look_again if self._under_way else 10 * self.look_again

    def begin(self) -> None:
        """Count a sender that has something to send."""
        with self._lock:
            self._busy += 1

    def end(self) -> None:
        """Count one less."""
        with self._lock:
            self._busy -= 1

    def timing(self, transport: Transport) -> Stopwatch:
        """Return the transport with a stopwatch, whose requests count as under way from here on."""
        return Stopwatch(transport, self._under_way)

    def measure(self, waited: float | None, worked: float) -> None:
        """Take note of how long a batch took: the seconds that it waited for answers, and those of processor time."""
        if waited is not None:
            with self._lock:
                self._waits.append(waited)
                self._working = max(LEAST_WORK, self._working + SMOOTHING * (worked - self._working))

    def _worth(self) -> int:
        """Return how many senders are worth while."""
        now = time.perf_counter()
        slowest = max((now - since for since in list(self._under_way.values())), default=0.0)
        waiting = max(min(self._waits, default=0.0), slowest if slowest > self.look_again else 0.0)
        return min(self._most, 1 + int(USABLE * waiting / self._working))


class Senders:
    """A pool of threads with connections of their own.

    A sender is given a first batch, and then asks for the `next_batch()` by itself until there is none; with each it
    calls `work(batch, transport)`. `idle()` is called when one has nothing to do any more. How many send is up to the
    `load`, which others may share.
    """

    def __init__(
        self,
        *,
        name: str,
        load: Load,
        make_transport: Callable[[], Transport],
        work: Callable[[Batch, Transport], None],
        next_batch: Callable[[], Batch],
        idle: Callable[[], None],
    ) -> None:
        self._name = name
        self._load = load
        self._make_transport = make_transport
        self._work = work
        self._next_batch = next_batch
        self._idle = idle
        self._given: SimpleQueue[Batch | None] = SimpleQueue()  # to whoever has nothing to do
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._busy = 0  # of these threads

    def give(self, batch: Batch) -> None:
        """Have the batch worked on by a sender that has nothing to do, or by a new one.

        Raises RuntimeError where there is none and none can be started: too many threads, or the interpreter is
        shutting down. Those that are at work ask for the next batch by themselves.
        """
        with self._lock:
            if self._busy >= len(self._threads):
                self._start()
            self._busy += 1
            self._load.begin()
            self._given.put(batch)

    def _start(self) -> None:
        thread = threading.Thread(
            target=lambda: run_untraced(self._send), name=f"thumbprint-{self._name}-sender", daemon=True
        )
        thread.start()
        self._threads.add(thread)

    def end(self) -> None:
        """Let the senders end when they have done what they are at."""
        with self._lock:
            for _ in self._threads:
                self._given.put(None)

    def join(self, ends_at: float) -> None:
        """Wait for the senders to end, at most until `ends_at` (of the monotonic clock)."""
        for thread in list(self._threads):
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _send(self) -> None:
        transport = self._load.timing(self._make_transport())
        try:
            while (batch := self._first()) is not None:
                try:
                    self._send_all(batch, transport)
                finally:
                    with self._lock:
                        self._busy -= 1
                    self._load.end()
                    self._idle()
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())
            transport.close()

    def _send_all(self, batch: Batch, transport: Stopwatch) -> None:
        while batch:
            self._send_one(batch, transport)
            batch = [] if self._load.is_one_too_many() else self._next_batch()

    def _send_one(self, batch: Batch, transport: Stopwatch) -> None:
        began = time.thread_time()
        try:
            self._work(batch, transport)
        except Exception:  # a fault of ours: the lease on the batch ends by itself
            warn("sender", "a delivery failed inside thumbprint and is tried again", exc_info=True)
        except BaseException as error:  # nobody has reason to interrupt a thread of ours
            warn("sender", "a delivery was ended by a %s and is tried again", type(error).__name__)
        self._load.measure(transport.waited(), time.thread_time() - began)

    def _first(self) -> Batch | None:
        """Return the next batch that is given; None where the sender shall end, and is then not counted any more."""
        try:
            return self._given.get(timeout=IDLE)
        except Empty:
            pass
        with self._lock:
            try:
                return self._given.get_nowait()  # it was given just now
            except Empty:
                self._threads.discard(threading.current_thread())
                return None


class Stopwatch:
    """A transport that knows for how long its requests waited for their answers."""

    def __init__(self, inner: Transport, under_way: dict[int, float]) -> None:
        self._inner = inner
        self._under_way = under_way
        self._connected = False
        self._waited: float | None = None

    def send(self, request: HttpRequest) -> Answer:
        """Send through the inner transport."""
        began, worked = time.perf_counter(), time.thread_time()
        thread = threading.get_ident()
        self._under_way[thread] = began
        try:
            return self._inner.send(request)
        finally:
            del self._under_way[thread]
            if self._connected:  # the first had to connect
                waited = time.perf_counter() - began - (time.thread_time() - worked)
                self._waited = (self._waited or 0.0) + waited
            self._connected = True

    def waited(self) -> float | None:
        """Return the seconds since this was last asked; None where there is nothing to go by."""
        waited, self._waited = self._waited, None
        return waited

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()
