"""The delivery to one service: a thread that leases work from the outbox, and as many that send it as it takes."""

from __future__ import annotations

import contextlib
import math
import random
import sys
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from .._log import warn
from .._metrics import count, delivered
from .._scope import run_untraced
from ..errors import StoreError
from ..stores import Conclusion
from ._courier import deliver
from ._pace import LONGEST_PAUSE, STORE_PAUSE, Paused
from ._retry import PROBE_INTERVAL, conclude
from ._senders import Senders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._model import Item
    from ..backends import Answer, Backend, Verdict
    from ..stores import Claim, Store
    from ._pace import Pacer
    from ._receipt import Tracker
    from ._transport import Transport

LEASE: Final = 120.0  # seconds: longer than a delivery takes
LOOK_AGAIN: Final = 0.5  # seconds between looks into an outbox that other processes use as well
LONGEST_REST: Final = 60.0  # seconds after which the clock is looked at again: it may have been set


class Lane:
    """Delivers one backend's feedback. `wake` starts its threads, `stop` ends them, and a later `wake` starts anew."""

    def __init__(
        self,
        *,
        backend: Backend,
        store: Store,
        tracker: Tracker,
        pacer: Pacer,
        make_transport: Callable[[], Transport],
        expire_after: float,
    ) -> None:
        self.backend = backend
        self.store = store
        self.tracker = tracker
        self.pacer = pacer
        self.make_transport = make_transport
        self.expire_after = expire_after
        self.refusal: str | None = None  # why the service refuses the credentials, while it does
        self._starting = threading.Lock()
        self._run: _Run | None = None

    def wake(self) -> None:
        """Have the outbox looked at soon; start the threads where they are not running.

        Takes no lock: whoever finds another thread starting them is served by it, which wakes them once they run.
        """
        run = self._run
        if run is None or not run.running:
            run = self._start()
        if run is not None:
            run.wake()

    def _start(self) -> _Run | None:
        acquired = False
        try:
            acquired = self._starting.acquire(blocking=False)
            if not acquired:
                return None
            return self._run if self._run is not None and self._run.running else self._started()
        finally:
            if acquired:
                self._starting.release()

    def _started(self) -> _Run | None:
        """Start the threads; None where that is not possible now, and the feedback waits for the next wake."""
        if sys.is_finalizing():  # a thread that starts then hangs its starter
            return None
        run = _Run(self)
        try:
            run.start()
        except RuntimeError as error:  # too many threads, or the interpreter is shutting down
            warn("thread", "feedback is queued, but its delivery cannot start yet: %s", error)
            return None
        self._run = run
        return run

    def stop(self) -> None:
        """Begin no more deliveries; those on their way are finished."""
        if self._run is not None:
            self._run.stop()

    def join(self, ends_at: float) -> None:
        """Wait for the threads to end, at most until `ends_at` (of the monotonic clock)."""
        if self._run is not None:
            self._run.join(ends_at)

    def after_fork(self) -> None:
        """Forget the threads, which a child process has none of."""
        self._starting = threading.Lock()
        self._run = None

    def deliver_now(self, transport: Transport, ends_at: float) -> None:
        """Deliver what is due, each entry's once, in the thread of the caller; begin nothing after `ends_at`.

        `ends_at` is of the monotonic clock.
        """
        now, most = time.time(), self.backend.batch_size
        try:
            while time.monotonic() < ends_at:
                claims = self.store.claim(self.backend.name, now=now, most=most, lease=LEASE)
                pauses = [self.work(batch, transport, ends_at) for batch in self.batches(claims)]
                if not claims or any(pauses):
                    break
        except StoreError as error:
            warn("store", "the outbox cannot be read; feedback stays in it: %s", error)
        except Exception:  # a fault of ours, or of somebody's store
            warn("lane", "delivery failed inside thumbprint and is tried again", exc_info=True)
        finally:
            transport.close()

    def work(self, claims: Sequence[Claim], transport: Transport, ends_at: float = math.inf) -> float:
        """Deliver the claims in one go and conclude each; return until when the lane must pause, or 0.

        After `ends_at`, of the monotonic clock, no request is waited for.
        """
        ended: dict[str, Conclusion] = {}  # by entry: what became of its items so far
        pause = 0.0
        try:
            pacing = _Leased(self.pacer, min(claim.ends_at for claim in claims), ends_at)
            for parts, verdict in deliver(claims, self.backend, transport, pacing):
                now = time.time()
                pause = max(pause, self._pause_after(verdict, now))
                if verdict.kind == "delivered" and parts is claims:  # as nearly always
                    ended = {claim.entry: Conclusion(claim.items) for claim in claims}
                    break
                for part in parts:
                    conclusion = self._concluded(part.items, verdict, now)
                    before = ended.get(part.entry)
                    ended[part.entry] = conclusion if before is None else _joined(before, conclusion)
        except Paused as paused:
            pause = paused.until
        self._conclude([(claim, _whole(claim, ended.get(claim.entry), pause)) for claim in claims])
        return pause

    def _concluded(self, items: tuple[Item, ...], verdict: Verdict, now: float) -> Conclusion:
        if verdict.kind == "delivered":
            return Conclusion(items)
        conclusion = conclude(verdict, items, now=now, jitter=random.random(), expire_after=self.expire_after)  # noqa: S311 - jitter wants no cryptography
        count("retried", self.backend.name, len(conclusion.waiting))
        return conclusion

    def give_back(self, claims: Sequence[Claim], pause: float = 0.0) -> None:
        """End the leases without an attempt; the items are due after so many seconds."""
        due_at = time.time() + pause
        self._conclude([(claim, _whole(claim, None, due_at)) for claim in claims])
        if self._run is not None:  # it may be another than the one that had them, and rest by now
            self._run.wake()

    def batches(self, claims: Sequence[Claim]) -> Iterable[list[Claim]]:
        """Group claims that can share a delivery; where the backend cannot tell, each goes alone."""
        groups: dict[str, list[Claim]] = {}
        try:
            for claim in claims:
                groups.setdefault(self.backend.destination(claim.items[0].ref), []).append(claim)
        except Exception:  # its delivery tells of it
            return [[claim] for claim in claims]
        return groups.values()

    def _conclude(self, concluded: Sequence[tuple[Claim, Conclusion]]) -> None:
        """End the leases, then tell everybody who waits."""
        try:
            self.store.conclude(concluded)
        except StoreError as error:  # the leases end by themselves, and what was delivered is delivered again
            warn("store", "the outbox could not be written, feedback may arrive twice: %s", error)
        self._tell([conclusion for _, conclusion in concluded])

    def _tell(self, conclusions: Sequence[Conclusion]) -> None:
        settled = [item for conclusion in conclusions for item in conclusion.settled]
        delivered(self.backend.name, [item.created_at for item in settled])
        self.tracker.delivered(settled)
        for conclusion in conclusions:
            for item in conclusion.waiting:
                self.tracker.attempted(item)
            for item in conclusion.buried:
                count("failed", self.backend.name)
                warn("failed", "feedback for %s %s failed: %s", item.ref.backend, item.ref.id, item.reason)
                self.tracker.settle(item, "failed", item.reason)

    def _pause_after(self, verdict: Verdict, now: float) -> float:
        """Return until when nothing at all should be sent after a verdict; 0 where that is about one item alone."""
        self.refusal = verdict.reason if verdict.kind == "unauthorized" else None
        if verdict.kind == "unauthorized":
            warn(
                f"credentials {self.backend.name}",
                "%s refuses the credentials; its feedback is kept and tried again every minute: %s",
                self.backend.name,
                verdict.reason,
            )
            return now + PROBE_INTERVAL
        if verdict.kind == "retry" and verdict.retry_after is not None:
            until = now + min(verdict.retry_after, LONGEST_PAUSE, self.expire_after)
            self.pacer.hold(until)
            return until
        return 0.0


class _Leased:
    """The pace of a delivery whose leases end: no request is made that might outlast them.

    `lease_ends_at` is in seconds since 1970, `ends_at`, by when whoever waits for it must be done, of the monotonic
    clock.
    """

    def __init__(self, pacer: Pacer, lease_ends_at: float, ends_at: float) -> None:
        self._pacer = pacer
        self._lease_ends_at = lease_ends_at
        self._ends_at = ends_at

    def wait(self, longest: float) -> None:
        """Return when a request may be made; raise Paused where none may."""
        self._pacer.wait(min(longest, max(0.0, self._ends_at - time.monotonic())))
        now = time.time()
        if self._lease_ends_at - now < LEASE / 4:
            raise Paused(now, "to keep within the lease")

    def heed(self, answer: Answer) -> None:
        """Slow down by what the service says of its quota."""
        self._pacer.heed(answer)


class _Bell:
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


def _joined(earlier: Conclusion, later: Conclusion) -> Conclusion:
    """Return what became of two parts of a claim. Pure."""
    return Conclusion(
        settled=earlier.settled + later.settled,
        buried=earlier.buried + later.buried,
        waiting=earlier.waiting + later.waiting,
        due_at=max(earlier.due_at, later.due_at),
    )


def _whole(claim: Claim, ended: Conclusion | None, due_at: float) -> Conclusion:
    """Complete what was concluded of a claim: items that nothing was tried for wait as they are. Pure."""
    if ended is None:
        return Conclusion(waiting=claim.items, due_at=due_at)
    if len(ended.settled) == len(claim.items):
        return ended
    known = {item.id for item in ended.settled + ended.buried + ended.waiting}
    untried = tuple(item for item in claim.items if item.id not in known)
    return ended._replace(waiting=ended.waiting + untried)


class _Run:
    """A lane's threads from a start to a stop."""

    def __init__(self, lane: Lane) -> None:
        self.running = True
        self._lane = lane
        self._stopping = threading.Event()
        self._bell = _Bell()
        self.wake = self._bell.ring
        self._paused_until = 0.0
        self._thread = threading.Thread(
            target=lambda: run_untraced(self._loop), name=f"thumbprint-{lane.backend.name}", daemon=True
        )
        self._senders = Senders(
            name=lane.backend.name,
            most=lane.backend.concurrency,
            make_transport=lane.make_transport,
            work=self._work,
            next_batch=self._next_batch,
            idle=self._bell.strike,
        )
        self._look_at = 0.0  # of the monotonic clock: when to see what others made of what is in a shared store

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.running = False
        self._stopping.set()
        self._bell.strike()

    def join(self, ends_at: float) -> None:
        self._thread.join(max(0.0, ends_at - time.monotonic()))
        self._senders.join(ends_at)

    def _loop(self) -> None:
        try:
            while not self._stopping.is_set():
                self._look()
        finally:
            self.running = False
            self._senders.end()

    def _look(self) -> None:
        """Give out one batch, or wait where there is none or nobody to give it to."""
        try:
            if not self._give_out():
                self._bell.wait(self._rest())
        except StoreError as error:
            warn("store", "the outbox cannot be read; delivery goes on when it can: %s", error)
            self._stopping.wait(STORE_PAUSE)
        except Exception:  # a fault of ours, or of somebody's store
            warn("lane", "delivery failed inside thumbprint and is tried again", exc_info=True)
            self._stopping.wait(STORE_PAUSE)

    def _give_out(self) -> bool:
        """Lease a batch that is due and give it to a sender; return whether there was one.

        While nobody can take it, the bell is not heard: those who record feedback then need not wake this thread.
        """
        if time.time() < self._paused_until or not self._senders.wanted():
            return False
        self._bell.hear()
        batch = self._claim()
        if batch:
            self._give(batch)
        return bool(batch)

    def _claim(self) -> list[Claim]:
        backend = self._lane.backend
        return self._lane.store.claim(backend.name, now=time.time(), most=backend.batch_size, lease=LEASE)

    def _give(self, batch: list[Claim]) -> None:
        try:
            self._senders.give(batch)
        except RuntimeError as error:
            if threading.main_thread().is_alive():
                warn("thread", "feedback is queued, but its delivery cannot start yet: %s", error)
                self._lane.give_back(batch, STORE_PAUSE)
            else:  # the interpreter is shutting down, and no thread can be started any more
                self._work_alone(batch)

    def _work_alone(self, claims: Sequence[Claim]) -> None:
        transport = self._lane.make_transport()
        try:
            self._work(claims, transport)
        finally:
            transport.close()

    def _rest(self) -> float | None:
        """Return for how long there is nothing to give out; None where only a wake can change that."""
        shared = self._lane.store.shared
        if shared and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_AGAIN
            self._lane.tracker.catch_up(self._lane.store)
        now = time.time()
        if now < self._paused_until:
            return min(self._paused_until - now, LONGEST_REST)
        if not self._senders.wanted():
            return self._senders.rest()
        self._bell.hear()  # it may have rung while nobody was wanted
        due_at = self._lane.store.next_due(self._lane.backend.name)
        wait = None if due_at is None else min(max(0.0, due_at - now), LONGEST_REST)
        if shared:
            return LOOK_AGAIN if wait is None else min(wait, LOOK_AGAIN)
        return wait

    def _next_batch(self) -> list[Claim]:
        """Return what a sender that is done goes on with; nothing where it shall leave off."""
        if self._stopping.is_set() or time.time() < self._paused_until:
            return []
        try:
            return self._claim()
        except Exception:  # whoever looks into the outbox next tells of it
            return []

    def _work(self, claims: Sequence[Claim], transport: Transport) -> None:
        for batch in self._lane.batches(claims):
            now = time.time()
            pause, left = self._paused_until - now, batch[0].ends_at - now
            if self._stopping.is_set() or pause > 0 or left < LEASE / 2:  # it has waited for a sender for long
                self._lane.give_back(batch, max(0.0, pause))
            else:
                until = self._lane.work(batch, transport)  # others may pause meanwhile
                self._paused_until = max(self._paused_until, until)
