"""Feedback whose target leads to no call yet: where it waits, until the target does, and how it goes on from there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, get_args

from ._call import Call
from ._metrics import count
from ._model import Which
from ._resolve import picked_of, resolve_later
from ._token import Grant, holds_token
from ._unresolved import CLOCK_SKEW, UNRESOLVED, Unresolved, unresolved
from .backends import Findable, Verdict, Wanted
from .delivery import Paused, carry_out, pacer_of
from .errors import AmbiguousTargetError, ConfigurationError, StoreError, UnknownTargetError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._admission import Admission
    from ._model import Feedback, Item, LogRef
    from .backends import Backend, Plan
    from .delivery import Pacing, Steps, Tell, Told, Tracker
    from .stores import Claim, References, Store

FIND_WITHIN: Final = 60.0  # seconds after which a target that leads to no call is taken to be none
FULL: Final = "the outbox is full"

_WHICH: Final = get_args(Which)


class Resolver:
    """Stands where a backend does: what waits for its log entries is delivered to it, and it passes that on to them.

    It looks into the store, where processes keep what their calls became, and then asks the services that can be asked
    for the calls of a scope. Items that go on have ids of their own, made from the old ones, so that whoever carries on
    after a crash makes no new ones.
    """

    name: ClassVar[str] = UNRESOLVED
    batch_size: ClassVar[int] = 1
    concurrency: ClassVar[int] = 4

    def __init__(
        self,
        *,
        backends: Mapping[str, Backend],
        references: References,
        admission: Admission,
        store: Store,
        tracker: Tracker,
    ) -> None:
        self._references = references
        self._admission = admission
        self._store = store
        self._tracker = tracker
        found = [backend for backend in backends.values() if isinstance(backend, Findable)]
        self._finders = [backend for backend in found if backend.finds_scopes]
        self._pacers = {finder.name: pacer_of(finder, store) for finder in self._finders}
        self.hopes = store.shared or bool(self._finders)
        """Whether a target that leads to no call may lead to one later.

        It may where processes share a store, which one of them may be about to write, and where a service can be asked;
        in the memory of a single process nobody else writes.
        """
        tracker.find = self.found
        self.wake: Callable[[str], None] = lambda _: None
        """Has a backend's outbox looked at; whoever delivers in threads sets it."""

    def later(self, target: Any, which: Which) -> Unresolved | None:
        """Return what stands for a target that may lead to calls which nobody knows here yet; None where it cannot.

        Ids may, and tokens of a scope.
        """
        if which not in _WHICH:  # which is told below
            return None
        if isinstance(target, Grant):
            return unresolved(target.scope_id or "", "scope", which, searched=bool(self._finders))
        if not isinstance(target, str) or holds_token(target):  # which no row of a store is to show
            return None
        return unresolved(target, "id", which, searched=bool(self._finders))

    def is_waited_for(self, target: Unresolved) -> bool:
        """Whether feedback for the target waits already, recorded by whatever process."""
        try:
            return self._store.holds(target.to_ref())
        except StoreError:  # it will be told of
            return False

    def waiting(self) -> int:
        """Return how much feedback waits for its target."""
        try:
            return sum(depth.queued for depth in self._store.depths() if depth.backend == UNRESOLVED)
        except StoreError:  # as above
            return 0

    def destination(self, ref: LogRef) -> str:
        """Return the target's id."""
        return ref.id

    def found(self, ref: LogRef, feedback: Feedback) -> tuple[Sequence[LogRef], dict[int, Told] | None]:
        """Return the log entries that the store knows by now, and what there is to tell of feedback for them at once.

        Without any where it knows none; raises StoreError.
        """
        try:
            refs = resolve_later(Unresolved.from_ref(ref), self._references)
        except UnknownTargetError:
            return (), None
        return refs, self._told(refs, feedback)

    def _told(self, refs: Sequence[LogRef], feedback: Feedback) -> dict[int, Told] | None:
        """Return what there is to tell at once; nothing where the settings are not here: somebody else has them."""
        try:
            return self._admission.told(refs, feedback)
        except ConfigurationError:
            return None

    def deliver(
        self,
        claims: Sequence[Claim],
        *,
        pacer: Pacing,  # noqa: ARG002 - each service has its own
        tell: Tell,
    ) -> Steps[None]:
        """Find the log entries that each item is for, and hand it on to them; tell what became of which."""
        for claim in claims:
            for item in claim.items:
                verdict = yield from self._delivered(item)
                tell([claim._replace(items=(item,))], verdict)
                if verdict.kind not in {"delivered", "refused"}:
                    break  # those behind it must not overtake it

    def _delivered(self, item: Item) -> Steps[Verdict]:
        target = Unresolved.from_ref(item.ref)
        try:
            refs = resolve_later(target, self._references)
        except AmbiguousTargetError as error:
            return Verdict(kind="refused", reason=str(error))
        except UnknownTargetError as error:
            found = yield from self._searched(target, str(error))
            if isinstance(found, Verdict):
                return found
            refs = found
        except StoreError as error:
            return Verdict(kind="retry", reason=str(error))
        return self._handed_on(item, refs)

    def _searched(self, target: Unresolved, reason: str) -> Steps[tuple[LogRef, ...] | Verdict]:
        """Return what the services know of a scope, or what follows where they know nothing of it, or not yet."""
        age = time.time() - target.asked_at
        for finder in self._finders:
            if age < finder.ingestion_lag:
                return Verdict(kind="early", reason=f"{reason}; {finder.name} is asked once its logs are written")
            calls: list[Call] = []
            verdict = yield from self._asked(finder, target, calls)
            if verdict.kind != "delivered":
                return verdict
            if calls:
                return tuple(ref for call in picked_of(tuple(calls), target.which) for ref in call.refs)
        elsewhere = target.searched and not self._finders  # who recorded it can ask, and so may others
        return Verdict(kind="early" if age < FIND_WITHIN or elsewhere else "refused", reason=reason)

    def _asked(self, finder: Findable, target: Unresolved, calls: list[Call]) -> Steps[Verdict]:
        """Ask one service. That it does not answer holds up nobody whose target another one, or the store, may know."""
        pacer = self._pacers[finder.name]
        try:
            verdict = yield from carry_out(_search(finder, target, calls), pacer)
        except Paused as paused:
            return Verdict(kind="retry", reason=f"{finder.name}: {paused}")
        if verdict.kind == "delivered":
            return verdict
        if verdict.retry_after is not None:
            pacer.hold(pacer.clock() + verdict.retry_after)
        return Verdict(kind="retry", reason=f"{finder.name}: {verdict.reason}")

    def _handed_on(self, item: Item, refs: Sequence[LogRef]) -> Verdict:
        """Put the item into the outbox anew, once for each log entry, and have its receipt follow."""
        if not (self._store.shared or self._tracker.holds(item.id)):  # somebody has taken this one's place just now
            return Verdict(kind="retry")
        told = self._told(refs, item.feedback)
        items = self._tracker.resolve(item, refs, told)
        try:
            taken, reason = not items or bool(self._store.put(items)), FULL
        except StoreError as error:
            taken, reason = False, str(error)
        if not taken:
            self._tracker.leave_unresolved(item, items)
            return Verdict(kind="retry", reason=reason)
        self._tracker.hand_on(item, items)
        self._admission.emit(refs, item.feedback)
        for each in items:
            count("queued", each.ref.backend)
            self.wake(each.ref.backend)
        return Verdict(kind="delivered")


def _search(finder: Findable, target: Unresolved, calls: list[Call]) -> Plan:
    """Ask for the calls of a scope, and add them to the list; a plan that delivers nothing, but finds out where to."""
    found = yield from finder.find(Wanted(scope_id=target.id, until=target.asked_at + CLOCK_SKEW))
    if isinstance(found, Verdict):
        return found
    calls.extend(Call([entry.ref]) for entry in found if entry.success)
    return Verdict(kind="delivered")
