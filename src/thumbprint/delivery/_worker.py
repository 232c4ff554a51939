"""All lanes together: the delivery of one Thumbprint."""

from __future__ import annotations

import functools
import threading
import time
from typing import TYPE_CHECKING

from .._scope import run_untraced
from ._inquiry import shares, unasked, verify
from ._lane import Lane
from ._pace import Pacer, bucket_name
from ._receipt import bounded
from ._transport import HttpxTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .._model import Feedback, LogRef, Verification
    from ..backends import Backend
    from ..stores import Store
    from ._receipt import Tracker
    from ._transport import Transport


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
    ) -> None:
        self._lanes = {
            name: Lane(
                backend=backend,
                store=store,
                tracker=tracker,
                pacer=Pacer(store=store, bucket=bucket_name(name, backend.credential), pace=backend.pace),
                make_transport=make_transport,
                expire_after=expire_after,
            )
            for name, backend in backends.items()
        }

    def wake(self, name: str | None = None) -> None:
        """Have the outbox looked at soon for this backend, or for all; starts threads where none are running."""
        if name is not None:
            self._lanes[name].wake()
        else:
            for lane in self._lanes.values():
                lane.wake()

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
        and after it nobody gets a further request.
        """
        ends_at = time.monotonic() + timeout
        for name in names:
            transport = HttpxTransport(timeout=timeout, ends_at=ends_at)
            run_untraced(functools.partial(self._lanes[name].deliver_now, transport, ends_at))

    def refusal(self, name: str) -> str | None:
        """Return why the service refuses the credentials, as it said at the last try; None where it does not."""
        return self._lanes[name].refusal

    def verify(self, refs: Sequence[LogRef], feedback: Feedback, timeout: float) -> tuple[Verification, ...]:
        """Ask the services, in the thread of the caller, whether the feedback is there; raises nothing.

        `timeout` is in seconds, for all together.
        """
        lanes = [(ref, self._lanes.get(ref.backend)) for ref in refs]
        return tuple(
            verify(ref, feedback, lane.backend, lane.pacer, ends_at=ends_at) if lane else unasked(ref, ref.backend)
            for (ref, lane), ends_at in shares(lanes, timeout)
        )

    def after_fork(self) -> None:
        """Begin anew in a child process, where none of the threads exist."""
        for lane in self._lanes.values():
            lane.after_fork()
