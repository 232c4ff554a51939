"""`thumbprint worker`: delivers what is in a shared store, as a process of its own."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING, Any, Final

from .._admission import Admission
from .._config import backends_from, expire_after_from
from .._log import logger
from .._metrics import Event, counts
from .._model import LogRef
from .._resolver import Resolver
from .._unresolved import UNRESOLVED
from ..delivery import Tracker, Worker
from ..errors import ConfigurationError, StoreError
from ..stores import References, SqliteStore
from ._arguments import add_command, add_store, seconds
from ._display import Warnings, display
from ._signals import stop_signals
from .exit_status import DONE, FAILED
from .outbox import shared_store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from queue import SimpleQueue

    from ..backends import Backend
    from ..stores import Depth, Store
    from ._display import Display

GRACE: Final = 20.0  # seconds for the deliveries that are on their way when a signal comes
LOOK_EVERY: Final = 0.5  # seconds
DONE_HERE: Final[tuple[Event, ...]] = ("delivered", "retried", "failed")
STORE_PATIENCE: Final = 30.0  # seconds that --until-empty waits for a store that does not answer

DESCRIPTION: Final = """\
Deliver what waits in a shared store, until SIGTERM or Ctrl-C: deliveries on their way are then finished, for as
long as --grace says, and the rest is left for the next one. Several workers may share a store. Applications beside it
set THUMBPRINT_DELIVERY to none; here that setting is passed over. Credentials come from the environment, and so does
THUMBPRINT_EXPIRE_AFTER, the seconds for which feedback is tried.

A store in a file is made where it is missing, in a folder that must be there, and the first line says so: a worker may
be started before the applications.

On a terminal one line is kept up to date, elsewhere lines tell what changed. Warnings go to stderr.
Exit status: 0 done; 1, with --until-empty only, where the rest waits for a service without credentials or that
refuses them, or the store does not answer; 2 wrong arguments or settings."""


def add(commands: Any) -> None:
    """Put `worker` among the subcommands."""
    worker = add_command(
        commands,
        "worker",
        run,
        summary="deliver what is in a shared store, as a process of its own",
        description=DESCRIPTION,
    )
    add_store(worker)
    worker.add_argument("--until-empty", action="store_true", help="end when nothing waits any more, as for cron")
    worker.add_argument(
        "--grace",
        type=seconds,
        default=GRACE,
        metavar="SECONDS",
        help="how long deliveries on their way may take at the end (%(default)s)",
    )


def run(chosen: argparse.Namespace) -> int:
    """Deliver until a signal comes, or nothing waits; return the exit status."""
    store, backends, expire_after = shared_store(chosen.store), backends_from(), expire_after_from()
    unusable = {name: reason for name, backend in backends.items() if (reason := _lack(backend))}
    ready = {name: backend for name, backend in backends.items() if name not in unusable}
    if not ready:
        raise ConfigurationError(f"nothing can be delivered: {'; '.join(unusable.values())}")
    shown = display()
    _open(store, shown)
    worker = _worker(store, ready, expire_after)
    shift = _Shift(store=store, worker=worker, tally=_Tally(), ready=tuple(ready), unusable=unusable)
    handler = Warnings(shown)
    logger.addHandler(handler)
    stops = stop_signals()
    try:
        return _work(shift, shown, stops, until_empty=chosen.until_empty, grace=chosen.grace)
    finally:
        logger.removeHandler(handler)
        store.close()


def _worker(store: Store, backends: Mapping[str, Backend], expire_after: float) -> Worker:
    tracker = Tracker()
    resolver = Resolver(
        backends=backends,
        references=References(store, threaded=False),
        admission=Admission(backends, {}),
        store=store,
        tracker=tracker,
    )
    worker = Worker(store=store, backends=backends, tracker=tracker, expire_after=expire_after, resolver=resolver)
    resolver.wake = worker.wake
    return worker


def _open(store: Store, shown: Display) -> None:
    """Open a store in a file, and say so where that had to be made; raise StoreError where it cannot be used.

    A worker may well be there before the applications are. A server may be away for now.
    """
    if isinstance(store, SqliteStore):
        new = store.missing() is not None
        store.open()
        if new:
            shown.begin(
                f"warning: there was no file {str(store.path)!r}, so an empty one was made; where applications have "
                "used theirs, this is another path: correct --store or THUMBPRINT_STORE"
            )


def _lack(backend: Backend) -> str | None:
    """Return what the backend lacks to deliver anything at all; where an entry lives, its feedback says itself."""
    try:
        backend.check(LogRef(backend=backend.name, id="any", account_id="any", gateway_id="any", project_id="any"))
    except ConfigurationError as error:
        variable = getattr(error, "variable", "")
        return f"{backend.name} lacks {variable}" if variable else str(error)
    return None


def _work(shift: _Shift, shown: Display, stops: SimpleQueue[int], *, until_empty: bool, grace: float) -> int:
    shown.begin(f"delivering for {', '.join(shift.ready)}, out of {shift.store!r}")
    try:
        status = _deliver(shift, shown, stops, until_empty=until_empty)
    finally:  # also where nobody reads any more what is shown
        began = time.monotonic()
        shift.worker.stop(grace)
        late = time.monotonic() - began >= grace
    shift.look()
    shown.end(f"stopped: {shift.state()}" + ("; what was under way did not end in time" if late else ""))
    return status


def _deliver(shift: _Shift, shown: Display, stops: SimpleQueue[int], *, until_empty: bool) -> int:
    """Deliver and tell of it until a signal comes, or where that is wanted nothing is left; return the exit status."""
    while True:
        shift.worker.wake()  # at first, and again where threads could not be started
        shift.look()
        shown.tell(shift.state())
        status = shift.ended() if until_empty else None
        if status is not None:
            return status
        with contextlib.suppress(Empty):
            stops.get(timeout=LOOK_EVERY)
            return DONE


class _Tally:
    """Counts what this process has done since the tally was begun."""

    def __init__(self) -> None:
        self._before = {event: sum(counts(event).values()) for event in DONE_HERE}

    def __getitem__(self, event: Event) -> int:
        return sum(counts(event).values()) - self._before[event]


@dataclass(slots=True, kw_only=True)
class _Shift:
    """One run of the worker: what it delivers with, and how the outbox stood at the last look."""

    store: Store
    worker: Worker
    tally: _Tally
    ready: tuple[str, ...]
    unusable: Mapping[str, str]
    depths: Sequence[Depth] = ()
    away_since: float | None = None  # of the monotonic clock: when the store stopped answering

    def look(self) -> None:
        """See how much is in the store."""
        try:
            self.depths = self.store.depths()
            self.away_since = None
        except StoreError:  # which the library warns of
            self.away_since = self.away_since or time.monotonic()

    def state(self) -> str:
        """Return the counts on one line."""
        done = ", ".join(f"{self.tally[event]} {event}" for event in DONE_HERE)
        if self.away_since is not None:
            return f"{done}; the store does not answer"
        waiting = [depth for depth in self.depths if depth.queued]
        told = ", ".join(map(self._waiting, waiting)) or "nothing waits"
        return f"{done}; {told}"

    def ended(self) -> int | None:
        """Return the exit status where nothing is left to do here; None while there is."""
        if self.away_since is not None:
            return FAILED if time.monotonic() - self.away_since > STORE_PATIENCE else None
        waiting = {depth.backend for depth in self.depths if depth.queued}
        if not waiting:
            return DONE
        return FAILED if all(self._hopeless(name) for name in waiting) else None

    def _hopeless(self, name: str) -> bool:
        return not self._serves(name) or self.worker.refusal(name) is not None

    def _serves(self, name: str) -> bool:
        return name in self.ready or name == UNRESOLVED

    def _waiting(self, depth: Depth) -> str:
        waiting = f"{depth.backend} {depth.queued} waiting"
        if self._serves(depth.backend):
            return waiting
        return f"{waiting} ({self.unusable.get(depth.backend, 'no such backend here')})"
