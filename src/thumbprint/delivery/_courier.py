"""Carrying out what a backend plans: sending its requests, and finding the one item that spoils a batch."""

from __future__ import annotations

import dataclasses
import functools
import json
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from .._log import warn
from .._secrets import Secrets
from ..backends import Logging, Verdict
from ..errors import ConfigurationError
from ._pace import LONGEST_WAIT, LONGEST_WAIT_BETWEEN, Paused
from ._rows import have_rows_written
from ._transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._model import Feedback, Item, Json
    from ..backends import Backend, Plan, Spanning
    from ..stores import Claim
    from ._pace import Pacing
    from ._steps import Steps

Tell: TypeAlias = "Callable[[Sequence[Claim], Verdict], None]"
"""Is told what became of claims, or of parts of one."""

_OVER: Final = frozenset({"delivered", "refused"})  # verdicts after which what comes behind may go


def deliver(claims: Sequence[Claim], backend: Backend, pacer: Pacing, tell: Tell) -> Steps[Verdict]:
    """Deliver the claims, which share a destination, in one go, each one's items merged; tell what became of which.

    Where the service refuses several for good, they are delivered again in halves, and merged items one by one, so that
    what spoils them is found, refused alone, and the others arrive: a claim is then told of in parts. Not so where it
    refuses their destination. Of a claim's items that come after one that has to be tried again no verdict is told:
    they must not arrive before it; nor may feedback before the row that it is for. Returns the verdict that came last.
    """
    if not [item for claim in claims for item in claim.items if item.row is not None]:
        return (yield from _delivered(claims, backend, pacer, tell, rows=False))
    rows = [part for claim in claims if (part := _part(claim, rows=True))]
    waiting = {claim.entry for claim in rows}

    def tell_of_rows(parts: Sequence[Claim], verdict: Verdict) -> None:
        over = verdict.kind in _OVER
        for part in parts:
            (waiting.discard if over else waiting.add)(part.entry)
        tell(parts, verdict)

    for group in _by_size(rows, backend):
        verdict = yield from _delivered(group, backend, pacer, tell_of_rows, rows=True)
        if verdict.kind not in _OVER:
            break
    feedback = [part for claim in claims if claim.entry not in waiting and (part := _part(claim, rows=False))]
    if feedback:
        verdict = yield from _delivered(feedback, backend, pacer, tell, rows=False)
    return verdict


def _delivered(claims: Sequence[Claim], backend: Backend, pacer: Pacing, tell: Tell, *, rows: bool) -> Steps[Verdict]:
    """Deliver claims of rows alone, or of feedback alone."""
    verdict = yield from carry_out(_plan(claims, backend, rows=rows), pacer)
    if verdict.kind != "refused" or verdict.whole or sum(len(claim.items) for claim in claims) == 1:
        tell(claims, verdict)
    elif len(claims) > 1:
        middle = len(claims) // 2
        yield from _delivered(claims[:middle], backend, pacer, tell, rows=rows)
        verdict = yield from _delivered(claims[middle:], backend, pacer, tell, rows=rows)
    else:
        for item in claims[0].items:
            verdict = yield from _delivered([claims[0]._replace(items=(item,))], backend, pacer, tell, rows=rows)
            if verdict.kind not in _OVER:
                break
    return verdict


def _part(claim: Claim, *, rows: bool) -> Claim | None:
    """Return the claim with those of its items that are rows, or those that are not; None where it has none such."""
    items = tuple([item for item in claim.items if (item.row is not None) is rows])
    return claim._replace(items=items) if items else None


def _by_size(claims: Sequence[Claim], backend: Backend) -> list[list[Claim]]:
    """Return claims of rows in groups, each of which one delivery can carry."""
    most = backend.log_size if isinstance(backend, Logging) else 0
    groups: list[list[Claim]] = []
    left = 0
    for claim in claims:
        size = len(json.dumps(merged_rows(claim.items)))
        if size > left or not groups:
            groups.append([])
            left = most
        groups[-1].append(claim)
        left -= size
    return groups


def merged(items: Sequence[Item]) -> Feedback:
    """Return what all the items say together."""
    if len(items) == 1:
        return items[0].feedback
    return functools.reduce(lambda earlier, later: earlier.merged(later), (item.feedback for item in items))


def merged_rows(items: Sequence[Item]) -> Mapping[str, Json]:
    """Return all the rows as one."""
    return functools.reduce(_merged_object, (item.row or {} for item in items))


def _merged_object(earlier: Mapping[str, Json], later: Mapping[str, Json]) -> Mapping[str, Json]:
    """Return both as one: of each entry the later word holds, objects are merged in depth."""
    both = {
        name: _merged_object(earlier[name], value)
        for name, value in later.items()
        if isinstance(value, Mapping) and isinstance(earlier.get(name), Mapping)
    }
    return {**earlier, **later, **both}


def _plan(claims: Sequence[Claim], backend: Backend, *, rows: bool) -> Plan:
    """Return the backend's plan, itself as a plan: what goes wrong in making it goes wrong in carrying it out.

    Settings that are missing here, where the feedback was recorded with them elsewhere, must not cost it its delivery:
    it waits until somebody has them.
    """
    try:
        backend.check(claims[0].items[0].ref)  # the others have the same destination
    except ConfigurationError as error:
        warn("settings", "feedback waits, since it cannot be delivered from here: %s", error)
        return Verdict(kind="retry", reason=str(error))
    if getattr(backend, "spans_in_use", False):  # to look for all that a Spanning has would take long each time
        have_rows_written(cast("Spanning", backend))
    if not rows:
        verdict = yield from backend.deliver([(items[0].ref, merged(items)) for _, _, items, _ in claims])
    elif isinstance(backend, Logging):
        verdict = yield from backend.log([(items[0].ref, merged_rows(items)) for _, _, items, _ in claims])
    else:
        verdict = Verdict(kind="refused", reason=f"the backend {backend.name!r} writes no log entries", whole=True)
    if not isinstance(verdict, Verdict):
        raise TypeError(f"the plan of the backend {backend.name!r} returned {verdict!r}, which is no Verdict")
    return verdict


def carry_out(plan: Plan, pacer: Pacing) -> Steps[Verdict]:
    """Have the requests of a plan sent, one after the other, and return its verdict.

    A service that cannot be reached is tried again later, and so is a backend whose plan fails by itself: a fault in
    its code must not cost anybody's feedback.
    """
    secrets = Secrets()
    try:
        request, longest = next(plan), LONGEST_WAIT
        while True:
            secrets.note(request.headers)
            pacer.wait(longest)
            longest = LONGEST_WAIT_BETWEEN  # what a plan has begun it shall end, or it would begin for ever
            answer = yield request
            pacer.heed(answer)
            request = plan.send(answer)
    except StopIteration as done:
        verdict: Verdict = done.value
    except Paused:
        raise
    except TransportError as error:
        verdict = Verdict(kind="retry", reason=str(error))
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        warn("backend", "a backend failed to deliver feedback\n%s", secrets.masked(told))
        verdict = Verdict(kind="retry", reason=f"{type(error).__name__} in the backend")
    return dataclasses.replace(verdict, reason=secrets.masked(verdict.reason))
