"""What thumbprint measures of itself, through OpenTelemetry's metrics API; all of it is of the whole process.

Counting costs a dictionary entry; without an OpenTelemetry SDK nobody reads it. A child process that is forked off
counts from 0.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ._fork import forking_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, Observation

Event = Literal["captured", "queued", "delivered", "retried", "failed", "dropped"]

BACKEND: Final = "thumbprint.backend"

COUNTERS: Final[dict[Event, tuple[str, str]]] = {
    "captured": ("{call}", "Calls whose log entry was captured"),
    "queued": ("{item}", "Feedback that was taken into the outbox"),
    "delivered": ("{item}", "Feedback that its service has taken"),
    "retried": ("{item}", "Attempts after which feedback waits to be tried again"),
    "failed": ("{item}", "Feedback that became a dead letter: refused for good, or expired"),
    "dropped": ("{item}", "Feedback that was not taken into the outbox, or was lost with it"),
}
DEPTH: Final = "thumbprint.outbox.depth"
OLDEST_AGE: Final = "thumbprint.outbox.oldest_age"
DEAD: Final = "thumbprint.outbox.dead_letters"
LATENCY: Final = "thumbprint.delivery.latency"


class Backlog(Protocol):
    """How much of one backend's is in an outbox."""

    @property
    def backend(self) -> str:
        """Whose it is."""
        ...

    @property
    def queued(self) -> int:
        """How much waits or is on its way."""
        ...

    @property
    def oldest_at(self) -> float | None:
        """Since when the oldest of it has waited, in seconds since 1970."""
        ...

    @property
    def dead(self) -> int:
        """How many dead letters there are."""
        ...


class Outbox(Protocol):
    """A store, as far as it is measured."""

    def depths(self) -> Sequence[Backlog]:
        """Return how much there is of each backend's."""
        ...


_lock = forking_lock()
_counts: Counter[tuple[Event, str]] = Counter()
_seen: set[str] = set()  # backends that an outbox has held something of
_outboxes: weakref.WeakSet[Any] = weakref.WeakSet()


def metered() -> bool:
    """Whether this process has a meter provider: without one nobody reads what is counted."""
    from opentelemetry.metrics import get_meter_provider  # noqa: PLC0415 - only an operator asks

    return type(get_meter_provider()).__name__ != "_ProxyMeterProvider"  # which the API does not show


def count(event: Event, backend: str, number: int = 1) -> None:
    """Count what happened to so many calls or pieces of feedback of a backend's."""
    if number:
        with _lock:
            _counts[event, backend] += number


def counts(event: Event) -> dict[str, int]:
    """Return how often it has happened in this process, by backend."""
    with _lock:
        return {backend: number for (of, backend), number in _counts.items() if of == event}


def delivered(backend: str, created_at: Sequence[float]) -> None:
    """Count and time pieces of feedback that arrived now; given is when each was recorded, in seconds since 1970."""
    now, record, attributes = time.time(), _latency().record, {BACKEND: backend}
    for at in created_at:
        record(now - at if now > at else 0.0, attributes)
    count("delivered", backend, len(created_at))


def watch(outbox: Outbox) -> None:
    """Have the depth of the outbox measured, as long as it is in use."""
    with _lock:
        _outboxes.add(outbox)
    _observe()


def unwatch(outbox: Outbox) -> None:
    """Measure the outbox no more."""
    with _lock:
        _outboxes.discard(outbox)


@functools.cache
def _meter() -> Meter:
    from importlib.metadata import version  # noqa: PLC0415 - neither is needed before something is measured

    from opentelemetry.metrics import get_meter  # noqa: PLC0415

    return get_meter("thumbprint", version("thumbprint"))


@functools.cache
def _latency() -> Histogram:
    return _meter().create_histogram(LATENCY, unit="s", description="From the recording of feedback to its arrival")


@functools.cache
def _observe() -> None:
    """Offer everything that is read when somebody collects it."""
    meter = _meter()
    for event, (unit, description) in COUNTERS.items():
        callback = functools.partial(_counted, event)
        meter.create_observable_counter(f"thumbprint.{event}", [callback], unit=unit, description=description)
    for name, measure, unit, description in (
        (DEPTH, _queued, "{item}", "Feedback that waits or is on its way"),
        (OLDEST_AGE, _oldest_age, "s", "For how long the oldest of it has waited"),
        (DEAD, _dead, "{item}", "Dead letters"),
    ):
        callback = functools.partial(_backlogs, measure)
        meter.create_observable_gauge(name, [callback], unit=unit, description=description)


def _counted(event: Event, _: CallbackOptions) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415 - as in _meter

    return [Observation(number, {BACKEND: backend}) for backend, number in counts(event).items()]


def _backlogs(measure: Callable[[list[Backlog]], float], _: CallbackOptions) -> Iterable[Observation]:
    from opentelemetry.metrics import Observation  # noqa: PLC0415 - as in _meter

    backlogs: dict[str, list[Backlog]] = {
        backend: [] for backend in _seen
    }  # else an emptied outbox would keep its depth
    for outbox in _distinct_outboxes():
        with contextlib.suppress(Exception):  # one that is away now is told of elsewhere
            for backlog in outbox.depths():
                backlogs.setdefault(backlog.backend, []).append(backlog)
    _seen.update(backlogs)
    return [Observation(measure(found), {BACKEND: backend}) for backend, found in backlogs.items()]


def _distinct_outboxes() -> Iterable[Outbox]:
    """Return each outbox once, also one that was opened twice."""
    with _lock:
        return {repr(outbox): outbox for outbox in _outboxes}.values()


def _queued(backlogs: list[Backlog]) -> float:
    return sum(backlog.queued for backlog in backlogs)


def _dead(backlogs: list[Backlog]) -> float:
    return sum(backlog.dead for backlog in backlogs)


def _oldest_age(backlogs: list[Backlog]) -> float:
    oldest = min((backlog.oldest_at for backlog in backlogs if backlog.oldest_at is not None), default=None)
    return 0.0 if oldest is None else max(0.0, time.time() - oldest)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_counts.clear)
