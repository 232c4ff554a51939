"""Threads that send, as many as the service's slowness makes worth while."""

from __future__ import annotations

import contextlib
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
AT_HAND: Final = 8  # batches that lie ready: to be asked for each costs the switch to another thread and back


class Senders:
    """A pool of threads with connections of their own.

    `work(batch, transport)` is called in one of them for each batch that is given, `done()` when it is time to ask
    again what is `free()`. At most `most` send at a time: as many as it takes to use the time for which one waits for
    answers. Where an answer takes a millisecond that is one, for others would only wait for the interpreter; where it
    takes fifty, all.
    """

    look_again: Final = 0.02  # seconds after which a request that has no answer yet counts as slow

    def __init__(
        self,
        *,
        name: str,
        most: int,
        make_transport: Callable[[], Transport],
        work: Callable[[Batch, Transport], None],
        done: Callable[[], None],
    ) -> None:
        self._name = name
        self._most = most
        self._make_transport = make_transport
        self._work = work
        self._done = done
        self._batches: SimpleQueue[Batch | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._under_way: dict[int, float] = {}  # thread → since when its request is
        self._given = 0  # batches that are not done yet
        self._waits: deque[float] = deque(maxlen=LATEST)  # seconds that a batch's requests waited for their answers
        self._working = LEAST_WORK  # seconds of processor time that a batch costs, on average

    def free(self) -> int:
        """Return how many more batches are worth giving out now: those to work on, and some to lie ready."""
        with self._lock:
            worth = self._worth()
            if not self._batches.empty() and len(self._threads) < worth:
                self._start()
            return worth + max(worth, AT_HAND) - self._given

    def rest(self) -> float | None:
        """Return after how many seconds to ask again what is free; None where only the end of a batch changes that."""
        return self.look_again if self._under_way and not self._batches.empty() else None

    def give(self, batch: Batch) -> None:
        """Have the batch worked on by the next sender that is free, or by a new one.

        Raises RuntimeError where there is no sender and none can be started.
        """
        with self._lock:
            if len(self._threads) < min(self._given + 1, self._worth()):
                self._start()
            self._given += 1
            self._batches.put(batch)

    def _worth(self) -> int:
        """Return how many senders are worth while."""
        now = time.perf_counter()
        slowest = max((now - since for since in list(self._under_way.values())), default=0.0)
        waiting = max(min(self._waits, default=0.0), slowest if slowest > self.look_again else 0.0)
        return min(self._most, 1 + int(USABLE * waiting / self._working))

    def _start(self) -> None:
        thread = threading.Thread(
            target=lambda: run_untraced(self._send), name=f"thumbprint-{self._name}-sender", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # too many threads, or the interpreter is shutting down
            if not self._threads:
                raise
        else:
            self._threads.add(thread)

    def take_back(self) -> list[Batch]:
        """Return the batches that no sender has begun; they are theirs no more."""
        taken: list[Batch] = []
        with self._lock, contextlib.suppress(Empty):
            while (batch := self._batches.get_nowait()) is not None:
                self._given -= 1
                taken.append(batch)
        return taken

    def end(self) -> None:
        """Let the senders end when they have worked on what was given."""
        with self._lock:
            for _ in self._threads:
                self._batches.put(None)

    def join(self, ends_at: float) -> None:
        """Wait for the senders to end, at most until `ends_at` (of the monotonic clock)."""
        for thread in list(self._threads):
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _send(self) -> None:
        transport = _Stopwatch(self._make_transport(), self._under_way)
        try:
            while not self._is_one_too_many() and (batch := self._next()) is not None:
                began = time.thread_time()
                try:
                    self._work(batch, transport)
                except Exception:  # a fault of ours: the lease on the batch ends by itself
                    warn("sender", "a delivery failed inside thumbprint and is tried again", exc_info=True)
                except BaseException as error:  # nobody has reason to interrupt a thread of ours
                    warn("sender", "a delivery was ended by a %s and is tried again", type(error).__name__)
                if self._measure(transport.waited(), time.thread_time() - began):
                    self._done()
        finally:
            transport.close()

    def _is_one_too_many(self) -> bool:
        """Whether this sender shall end because fewer are worth while; it is then not counted any more."""
        with self._lock:
            too_many = len(self._threads) > self._worth()
            if too_many:
                self._threads.discard(threading.current_thread())
            return too_many

    def _next(self) -> Batch | None:
        """Return the next batch; None where the sender shall end."""
        try:
            return self._batches.get(timeout=IDLE)
        except Empty:
            return self._last()

    def _last(self) -> Batch | None:
        """Return the batch that was given just now; where there is none, the sender is not counted any more."""
        with self._lock:
            try:
                return self._batches.get_nowait()
            except Empty:
                self._threads.discard(threading.current_thread())
                return None

    def _measure(self, waited: float | None, worked: float) -> bool:
        """Take note of a batch that is done; return whether it is time for more."""
        with self._lock:
            self._given -= 1
            if waited is not None:
                self._waits.append(waited)
                self._working = max(LEAST_WORK, self._working + SMOOTHING * (worked - self._working))
            worth = self._worth()
            return self._given <= worth + max(worth, AT_HAND) // 2


class _Stopwatch:
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
