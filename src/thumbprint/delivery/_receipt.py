"""What the caller holds of feedback on its way."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from .._model import Outcome, overall
from ._watch import LOOK_EVERY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence
    from contextlib import AbstractContextManager

    from .._model import Feedback, LogRef, Status, Verification

VERIFY_TIMEOUT: Final = 10.0  # seconds


class Told(NamedTuple):
    """What is known of the feedback for one log entry: an Outcome, but for its log entry."""

    status: Status = "queued"
    reason: str | None = None
    attempts: int = 0
    unsupported: tuple[str, ...] = ()


class AtOnce(NamedTuple):
    """What delivers what is due when somebody asks for it, once: in this thread, or while an event loop goes on."""

    blocking: Callable[[], None]
    awaited: Callable[[], Awaitable[None]]


QUEUED: Final = Told()


class Keeper(Protocol):
    """Who keeps a receipt up to date."""

    verify: Callable[[Sequence[LogRef], Feedback, float], tuple[Verification, ...]]

    @property
    def watch(self) -> AbstractContextManager[bool]:
        """What to wait in; gives whether it will be seen what others make of the items meanwhile."""
        ...

    def follows(self, receipt: Receipt) -> bool:
        """Whether this process is to hear what becomes of all that is queued for the receipt."""
        ...

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until the predicate holds, at most `timeout` seconds; return it."""
        ...

    def call_when_settled(self, receipt: Receipt, callback: Callable[[], None]) -> None:
        """Have the callback called once the receipt is settled or another keeper's, or at once."""
        ...

    def call_no_more(self, receipt: Receipt, callback: Callable[[], None]) -> None:
        """Undo `call_when_settled`."""
        ...


class Receipt:
    """Feedback on its way: look at `status` and `outcomes`, `wait()` for them, or await it.

    Waiting is optional: what a receipt is of is delivered whether or not anybody holds the receipt.
    """

    __slots__ = (
        "__weakref__",
        "_deliver",
        "_feedback",
        "_generation",
        "_id",
        "_on_settled",
        "_refs",
        "_told",
        "_tracker",
    )

    def __init__(
        self,
        tracker: Keeper,
        receipt_id: str,
        refs: Sequence[LogRef],
        feedback: Feedback,
        told: dict[int, Told] | None,
    ) -> None:
        self._tracker = tracker
        self._id = receipt_id
        self._refs = refs
        self._feedback = feedback
        self._told = told  # by the place of the ref, once there is something to tell; the others are queued
        self._on_settled: list[Callable[[], None]] | None = None
        self._deliver: AtOnce | None = None
        self._generation: str | None  # of the data of the shared store that took it, from then on

    def deliver_when_asked(self, deliver: AtOnce) -> None:
        """Deliver at once, or inside a running event loop, which must not be held up, when the receipt is awaited.

        For thumbprint's own use.
        """
        self._deliver = deliver
        if asyncio._get_running_loop() is None:  # noqa: SLF001 - what asyncio.get_running_loop() asks, without raising
            deliver.blocking()

    @property
    def id(self) -> str:
        """An id of this receipt's own: 32 hex digits."""
        return self._id

    @property
    def status(self) -> Status:
        """Queued while any outcome is, then failed or dropped if any is, else delivered; dropped without outcomes."""
        told = (self._told or {}).copy()
        return "queued" if len(told) < len(self._refs) else overall([each.status for each in told.values()])

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What became of it so far, one for each log entry."""
        told = self._told or {}
        return tuple(Outcome(ref=ref, **told.get(place, QUEUED)._asdict()) for place, ref in enumerate(self._refs))

    def wait(self, timeout: float | None = None) -> Receipt:
        """Wait until nothing of it is queued any more, at most `timeout` seconds, and return the receipt itself.

        After a timeout its `status` is still "queued". Blocks the thread: in a coroutine, await the receipt instead.
        With inline delivery each wait is one attempt, with a time limit of its own; but to a backend whose requests are
        awaited, as in a Cloudflare Worker, only awaiting the receipt delivers. In a child process that was forked off
        after the recording, it does not wait for what its parent has in memory: of that it hears nothing more.
        """
        if self._deliver is not None and self.status == "queued":
            self._deliver.blocking()
            return self
        ends_at = math.inf if timeout is None else time.monotonic() + bounded(timeout)
        while self._is_awaited() and time.monotonic() < ends_at:
            self._wait_at(self._tracker, ends_at - time.monotonic())
        return self

    def _is_awaited(self) -> bool:
        """Whether it is queued, and this process is to hear what becomes of it."""
        return self.status == "queued" and self._tracker.follows(self)

    def _wait_at(self, tracker: Keeper, timeout: float) -> None:
        """Wait until it is settled, or another tracker's."""
        tracker.wait_for(lambda: self.status != "queued" or self._tracker is not tracker, timeout)

    def verify(self, timeout: float = VERIFY_TIMEOUT) -> tuple[Verification, ...]:
        """Ask each service whether the feedback is there now; return one Verification for each log entry.

        `timeout` is in seconds, for all together. What the network does is told, not raised: a service that does not
        answer leaves its entry "unknown". Feedback that came later may have changed what this one said: its entry is
        then "missing", and the reason tells what is there. Blocks the thread: in a coroutine, use
        `await asyncio.to_thread(receipt.verify)`.
        """
        return self._tracker.verify(self._refs, self._feedback, timeout) if self._refs else ()

    def __await__(self) -> Generator[None, None, Receipt]:
        return self._settled().__await__()

    async def _settled(self) -> Receipt:
        if self._deliver is not None and self.status == "queued":  # one attempt for each time that it is awaited
            await self._deliver.awaited()
            return self
        while self._is_awaited():
            await self._settled_at(self._tracker)
        return self

    async def _settled_at(self, tracker: Keeper) -> None:
        """Wait until it is settled, or another tracker's, or it is time to wait anew."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def done() -> None:
            with contextlib.suppress(asyncio.InvalidStateError):  # whoever waited was cancelled
                future.set_result(None)

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(done)

        with tracker.watch as watched:
            tracker.call_when_settled(self, wake)
            try:
                await asyncio.wait([future], timeout=None if watched else LOOK_EVERY)
            finally:
                tracker.call_no_more(self, wake)

    def __repr__(self) -> str:
        return f"<Receipt {self._id}: {self.status}>"


def bounded(timeout: object) -> float:
    """Return a number of seconds that a lock takes: not negative, and not infinite; what is no number counts as 0."""
    if isinstance(timeout, (int, float)) and timeout > 0:  # NaN is not
        return min(timeout, threading.TIMEOUT_MAX)
    return 0.0
