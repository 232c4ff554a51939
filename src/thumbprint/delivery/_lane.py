"""The delivery to one service: a thread that leases work from the outbox, and as many that send it as it takes."""

from __future__ import annotations

import math
import random
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from .._log import warn
from .._metrics import count, delivered
from .._scope import run_untraced
from ..errors import StoreError
from ..stores import Conclusion
from ._bell import Bell
from ._clock import clock_of
from ._pace import LONGEST_PAUSE, STORE_PAUSE, Paused
from ._retry import PROBE_INTERVAL, conclude
from ._senders import Load, Senders
from ._steps import awaited, sent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._model import Item, LogRef
    from ..backends import Answer, Carrier, Verdict
    from ..stores import Claim, Store
    from ._courier import Tell
    from ._pace import Pacer, Pacing
    from ._steps import Steps
    from ._tracker import Tracker
    from ._transport import Transport

LEASE: Final = 120.0  # seconds: longer than a delivery takes
LOOK_AGAIN: Final = 0.5  # seconds between looks into an outbox that other processes use as well
LONGEST_REST: Final = 60.0  # seconds after which the clock is looked at again: it may have been set
NOT_AGAIN: Final = 1.0  # seconds for which an entry is put off that is being delivered


class Addressee(Protocol):
    """Whom a lane delivers to, as far as the lane itself has to know: of a backend a few words."""

    @property
    def name(self) -> str:
        """The word that stands in `LogRef.backend`."""
        ...

    @property
    def batch_size(self) -> int:
        """How many log entries one delivery may be for at most."""
        ...

    @property
    def concurrency(self) -> int:
        """How many deliveries may be under way at a time."""
        ...

    def destination(self, ref: LogRef) -> str:
        """Return what must be the same for two items to share one delivery."""
        ...


class Deliver(Protocol):
    """How a lane's claims, which share a destination, are delivered."""

    def __call__(self, claims: Sequence[Claim], *, pacer: Pacing, tell: Tell) -> Steps[object]:
        """Deliver the claims and tell what became of which, as `_courier.deliver` does."""
        ...


class Lane:
    """Delivers one backend's feedback. `wake` starts its threads, `stop` ends them, and a later `wake` starts anew."""

    def __init__(
        self,
        *,
        backend: Addressee,
        deliver: Deliver,
        store: Store,
        tracker: Tracker,
        pacer: Pacer,
        make_transport: Callable[[], Transport],
        expire_after: float,
    ) -> None:
        self.backend = backend
        self.deliver = deliver
        self.store = store
        self.tracker = tracker
        self.pacer = pacer
        self.make_transport = make_transport
        self.expire_after = expire_after
        self.refusal: str | None = None  # why the service refuses the credentials, while it does
        self.load = Load(backend.concurrency)
        self.clock = clock_of(store)  # by which something is due, leased or paused
        self._delivering: dict[str, float] = {}  # from a shared store: entry → when its lease is over (monotonic clock)
        self.concluded: Callable[[], None] | None = None  # to be called after each delivery
        self._retired: Callable[[], None] | None = None  # to be called once the threads have ended for good
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

    def strike(self) -> None:
        """Have the threads look again, where they are running."""
        if self._run is not None:
            self._run.strike()

    def stop(self) -> None:
        """Begin no more deliveries; those on their way are finished."""
        if self._run is not None:
            self._run.stop()

    def join(self, ends_at: float) -> None:
        """Wait for the threads to end, at most until `ends_at` (of the monotonic clock)."""
        if self._run is not None:
            self._run.join(ends_at)

    @property
    def running(self) -> bool:
        """Whether there are threads that deliver, and are not about to end."""
        return self._run is not None and self._run.running

    def retire(self, ended: Callable[[], None]) -> None:
        """Have the threads, where they run, end once nothing is queued that was recorded here, and then call `ended`.

        Takes no lock: a finalizer may call this, in any thread.
        """
        self._retired = ended
        self.strike()

    def is_done(self) -> bool:
        """Whether the threads are to end, for nobody will record any more and all that was is settled."""
        return self._retired is not None and not self.tracker.awaits(self.backend.name)

    def ended(self) -> None:
        """Tell that the threads have ended."""
        if self._retired is not None:
            self._retired()

    def after_fork(self) -> None:
        """Forget the threads, which a child process has none of."""
        self.load = Load(self.backend.concurrency)
        self._delivering = {}
        self._starting = threading.Lock()
        self._run = None

    def deliver_now(self, transport: Transport, ends_at: float) -> None:
        """Deliver what is due, each entry's once, in the thread of the caller; begin nothing after `ends_at`.

        `ends_at` is of the monotonic clock.
        """
        try:
            sent(self._due(ends_at), transport)
        finally:
            transport.close()

    async def deliver_awaited(self, carrier: Carrier, ends_at: float) -> None:
        """Do as `deliver_now` in the task of the caller, by what the backend brings along to carry its requests."""
        await awaited(self._due(ends_at), carrier, ends_at)

    def _due(self, ends_at: float) -> Steps[None]:
        due_by = self.clock()
        try:
            while time.monotonic() < ends_at:
                claims, pause = self.claim(due_by), 0.0
                for batch in self.batches(claims):
                    pause = max(pause, (yield from self._work(batch, ends_at)))
                if not claims or pause:
                    break
        except StoreError as error:
            warn("store", "the outbox cannot be read; feedback stays in it: %s", error)
        except Exception:  # a fault of ours, or of somebody's store
            warn("lane", "delivery failed inside thumbprint and is tried again", exc_info=True)

    def claim(self, due_by: float | None = None) -> list[Claim]:
        """Lease a batch of what is due (`due_by` that time of the lane's clock, left out: now).

        What this process is still delivering is put off, though its lease may be over by a clock that was set.
        """
        now = self.clock() if due_by is None else due_by
        claims = self.store.claim(self.backend.name, now=now, most=self.backend.batch_size, lease=LEASE)
        return self._without_those_under_way(claims, now) if self.store.shared else claims

    def _without_those_under_way(self, claims: list[Claim], now: float) -> list[Claim]:
        began = time.monotonic()
        again = [claim for claim in claims if self._delivering.get(claim.entry, 0.0) > began]
        if again:
            self.store.conclude([(claim, _whole(claim, None, now + NOT_AGAIN)) for claim in again])
            claims = [claim for claim in claims if all(claim is not other for other in again)]
        self._delivering.update((claim.entry, began + LEASE) for claim in claims)
        return claims

    def work(self, claims: Sequence[Claim], transport: Transport) -> float:
        """Deliver the claims in one go and conclude each; return until when the lane must pause, or 0."""
        return sent(self._work(claims), transport)

    def _work(self, claims: Sequence[Claim], ends_at: float = math.inf) -> Steps[float]:
        """Do so; after `ends_at`, of the monotonic clock, no request is waited for."""
        ended: dict[str, Conclusion] = {}  # by entry: what became of its items so far
        concluded: list[tuple[Claim, Conclusion]] = []
        pause = 0.0

        def tell(parts: Sequence[Claim], verdict: Verdict) -> None:
            nonlocal pause
            now = self.clock()
            pause = max(pause, self._pause_after(verdict, now))
            if verdict.kind == "delivered" and parts is claims:  # as nearly always
                concluded[:] = [(claim, Conclusion(claim.items)) for claim in claims]
                return
            for part in parts:
                conclusion = self._concluded(part.items, verdict, now)
                before = ended.get(part.entry)
                ended[part.entry] = conclusion if before is None else _joined(before, conclusion)

        try:
            pacing = _Leased(self.pacer, min(claim.ends_at for claim in claims), ends_at)
            yield from self.deliver(claims, pacer=pacing, tell=tell)
        except Paused as paused:
            pause = paused.until
        self._conclude(concluded or [(claim, _whole(claim, ended.get(claim.entry), pause)) for claim in claims])
        return pause

    def _concluded(self, items: tuple[Item, ...], verdict: Verdict, now: float) -> Conclusion:
        """Return what becomes of the items, by the lane's clock: their age is one of the time of day."""
        if verdict.kind == "delivered":
            return Conclusion(items)
        today = time.time()
        conclusion = conclude(verdict, items, now=today, jitter=random.random(), expire_after=self.expire_after)  # noqa: S311 - jitter wants no cryptography
        count("retried", self.backend.name, len(conclusion.waiting))
        return conclusion._replace(due_at=now + (conclusion.due_at - today))

    def give_back(self, claims: Sequence[Claim], pause: float = 0.0) -> None:
        """End the leases without an attempt; the items are due after so many seconds."""
        due_at = self.clock() + pause
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
        if self.store.shared:
            for claim, _ in concluded:  # before somebody else is given the entry
                self._delivering.pop(claim.entry, None)
        try:
            self.store.conclude(concluded)
        except StoreError as error:  # the leases end by themselves, and what was delivered is delivered again
            warn("store", "the outbox could not be written, feedback may arrive twice: %s", error)
        self._tell([conclusion for _, conclusion in concluded])
        if self.concluded is not None:
            self.concluded()

    def _tell(self, conclusions: Sequence[Conclusion]) -> None:
        settled = [item for conclusion in conclusions for item in conclusion.settled]
        delivered(self.backend.name, [item.created_at for item in settled])
        self.tracker.delivered(settled)
        for conclusion in conclusions:
            for item in conclusion.waiting:
                self.tracker.attempted(item)
            for item in conclusion.buried:
                count("failed", self.backend.name)
                what = "feedback for" if item.row is None else "the row"
                warn("failed", "%s %s %s failed: %s", what, item.ref.backend, item.ref.id, item.reason)
                self.tracker.settle(item, "failed", item.reason)

    def _pause_after(self, verdict: Verdict, now: float) -> float:
        """Return until when nothing at all should be sent after a verdict; 0 where that is about one item alone.

        `now`, and what is returned, is of the lane's clock.
        """
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

    `lease_ends_at` is of the store's clock, `ends_at`, by when whoever waits for it must be done, of the monotonic one.
    """

    def __init__(self, pacer: Pacer, lease_ends_at: float, ends_at: float) -> None:
        self._pacer = pacer
        self._lease_ends_at = lease_ends_at
        self._ends_at = ends_at

    def wait(self, longest: float) -> None:
        """Return when a request may be made; raise Paused where none may."""
        self._pacer.wait(min(longest, max(0.0, self._ends_at - time.monotonic())))
        now = self._pacer.clock()
        if self._lease_ends_at - now < LEASE / 4:
            raise Paused(now, "to keep within the lease")

    def heed(self, answer: Answer) -> None:
        """Slow down by what the service says of its quota."""
        self._pacer.heed(answer)


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
        self._bell = Bell()
        self.wake = self._bell.ring
        self.strike = self._bell.strike
        self._paused_until = 0.0  # of the monotonic clock
        self._thread = threading.Thread(
            target=lambda: run_untraced(self._loop), name=f"thumbprint-{lane.backend.name}", daemon=True
        )
        self._senders = Senders(
            name=lane.backend.name,
            load=lane.load,
            make_transport=lane.make_transport,
            work=self._work,
            next_batch=self._next_batch,
            idle=self._someone_is_idle,
        )
        self._look_at = 0.0  # of the monotonic clock: when to see what others made of what is in a shared store

    def start(self) -> None:
        self._thread.start()

    def _someone_is_idle(self) -> None:
        """Have one more batch given out, if need be by the run after this one, which has the same load."""
        self.strike()
        if not self.running:
            self._lane.strike()

    def stop(self) -> None:
        self.running = False
        self._stopping.set()
        self.strike()

    def join(self, ends_at: float) -> None:
        if self._thread is not threading.current_thread():  # which ends by itself
            self._thread.join(max(0.0, ends_at - time.monotonic()))
        self._senders.join(ends_at)

    def _loop(self) -> None:
        try:
            while not (self._stopping.is_set() or self._lane.is_done()):
                self._look()
        finally:
            self.running = False
            self._senders.end()
            self._lane.ended()

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
        if time.monotonic() < self._paused_until or not self._lane.load.wanted():
            return False
        self._bell.hear()
        batch = self._lane.claim()
        if batch:
            self._give(batch)
        return bool(batch)

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
        pause = self._paused_until - time.monotonic()
        if pause > 0:
            return min(pause, LONGEST_REST)
        if not self._lane.load.wanted():
            return self._lane.load.rest()
        self._bell.hear()  # it may have rung while nobody was wanted
        due_at = self._lane.store.next_due(self._lane.backend.name)
        wait = None if due_at is None else min(max(0.0, due_at - self._lane.clock()), LONGEST_REST)
        if shared:
            return LOOK_AGAIN if wait is None else min(wait, LOOK_AGAIN)
        return wait

    def _next_batch(self) -> list[Claim]:
        """Return what a sender that is done goes on with; nothing where it shall leave off."""
        if self._stopping.is_set() or time.monotonic() < self._paused_until:
            return []
        try:
            return self._lane.claim()
        except Exception:  # whoever looks into the outbox next tells of it
            return []

    def _work(self, claims: Sequence[Claim], transport: Transport) -> None:
        for batch in self._lane.batches(claims):
            pause, left = self._paused_until - time.monotonic(), batch[0].ends_at - self._lane.clock()
            if self._stopping.is_set() or pause > 0 or left < LEASE / 2:  # it has waited for a sender for long
                self._lane.give_back(batch, max(0.0, pause))
            else:
                pause = self._lane.work(batch, transport) - self._lane.clock()
                self._paused_until = max(self._paused_until, time.monotonic() + pause)  # others may pause meanwhile
