"""All lanes together: the delivery of one Thumbprint."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING, Protocol

from .._log import warn
from .._scope import run_untraced, untraced
from ..backends import Carried
from ._aside import aside
from ._courier import deliver
from ._inquiry import shares, unasked, verify
from ._lane import Addressee, Lane
from ._pace import Pacer, pacer_of
from ._receipt import bounded
from ._transport import HttpxTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from .._model import Feedback, LogRef, Verification
    from ..backends import Backend
    from ..stores import Store
    from ._lane import Deliver
    from ._tracker import Tracker
    from ._transport import Transport


class Resolver(Addressee, Protocol):
    """Whom feedback is delivered to whose target leads to no log entry yet: it finds them, and hands it on."""

    @property
    def deliver(self) -> Deliver:
        """How its claims are delivered."""
        ...


class Worker:
    """Delivers what is in the outbox, each backend's in a lane of its own, so that no service holds up another."""

    def __init__(
        self,
        *,
        store: Store,
        backends: Mapping[str, Backend],
        tracker: Tracker,
        expire_after: float,
        make_transport: Callable[[], Transport] = HttpxTransport,
        resolver: Resolver | None = None,
    ) -> None:
        def lane(addressee: Addressee, deliver: Deliver, pacer: Pacer) -> Lane:
            return Lane(
                backend=addressee,
                deliver=deliver,
                store=store,
                tracker=tracker,
                pacer=pacer,
                make_transport=make_transport,
                expire_after=expire_after,
            )

        self._backends = backends
        self._carriers = {name: backend.carry for name, backend in backends.items() if isinstance(backend, Carried)}
        self._lanes = {
            name: lane(backend, functools.partial(deliver, backend=backend), pacer_of(backend, store))
            for name, backend in backends.items()
        }
        if resolver is not None:
            pacer = Pacer(store=store, bucket=resolver.name, pace=None)
            self._lanes[resolver.name] = lane(resolver, resolver.deliver, pacer)

    def wake(self, name: str | None = None) -> None:
        """Have the outbox looked at soon for this backend, or for all; starts threads where none are running.

        Does nothing for a backend that is not known: others may know it.
        """
        if name is None:
            for lane in self._lanes.values():
                lane.wake()
        elif name in self._lanes:
            self._lanes[name].wake()

    def stop(self, timeout: float | None) -> None:
        """End the threads after the deliveries they are at, waiting at most `timeout` seconds (None: until then)."""
        ends_at = time.monotonic() + (threading.TIMEOUT_MAX / 2 if timeout is None else bounded(timeout))
        for lane in self._lanes.values():
            lane.stop()
        for lane in self._lanes.values():
            lane.join(ends_at)

    def deliver_now(self, names: Iterable[str], timeout: float) -> None:
        """Deliver what is due for these backends, once, in the thread of the caller; raises nothing.

        `timeout` is in seconds, for all together: what is left of it is the time that a request and its answer have,
        and after it nobody gets a further request. Backends that are awaited are left alone.
        """
        ends_at = time.monotonic() + timeout
        for name in names:
            if name not in self._carriers:
                transport = HttpxTransport(timeout=timeout, ends_at=ends_at)
                run_untraced(functools.partial(self._lanes[name].deliver_now, transport, ends_at))

    async def deliver_awaited(self, names: Collection[str], seconds: float) -> None:
        """Do so for all of these backends, within so many seconds, while the event loop goes on; raises nothing.

        Those that bring a carrier along have their requests awaited in this task, the others in another thread.
        """
        ends_at = time.monotonic() + seconds
        blocking = [name for name in names if name not in self._carriers]
        if blocking:
            await self._deliver_aside(blocking, seconds)
        for name in names:
            if name in self._carriers:
                with untraced():
                    await self._lanes[name].deliver_awaited(self._carriers[name], ends_at)

    async def _deliver_aside(self, names: Iterable[str], seconds: float) -> None:
        try:
            await aside(functools.partial(self.deliver_now, names, seconds))
        except RuntimeError as error:  # there are no threads here (Pyodide), or too many
            warn("thread", "feedback is queued, but its delivery cannot start yet: %s", error)

    def refusal(self, name: str) -> str | None:
        """Return why the service refuses the credentials, as it said at the last try; None where it does not."""
        return self._lanes[name].refusal

    def verify(self, refs: Sequence[LogRef], feedback: Feedback, timeout: float) -> tuple[Verification, ...]:
        """Ask the services, in the thread of the caller, whether the feedback is there; raises nothing.

        `timeout` is in seconds, for all together.
        """
        return tuple(self._verified(ref, feedback, ends_at) for ref, ends_at in shares(refs, timeout))

    def _verified(self, ref: LogRef, feedback: Feedback, ends_at: float) -> Verification:
        backend = self._backends.get(ref.backend)
        if backend is None:
            return unasked(ref, ref.backend)
        return verify(ref, feedback, backend, self._lanes[ref.backend].pacer, ends_at=ends_at)

    @property
    def running(self) -> bool:
        """Whether there are threads that deliver."""
        return any(lane.running for lane in self._lanes.values())

    def retire(self, ended: Callable[[], None]) -> None:
        """Have the threads end when all that was recorded here is settled; `ended` is called as each lane's have.

        Takes no lock: a finalizer may call this, in any thread.
        """
        for lane in self._lanes.values():
            lane.retire(ended)

    def when_concluded(self, call: Callable[[], None]) -> None:
        """Have this called after each delivery from here on, in its thread."""
        for lane in self._lanes.values():
            lane.concluded = call

    def after_fork(self) -> None:
        """Begin anew in a child process, where none of the threads exist."""
        for lane in self._lanes.values():
            lane.after_fork()
