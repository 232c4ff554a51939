"""Carrying out what a backend plans: sending its requests, and finding the one item that spoils a batch."""

from __future__ import annotations

import dataclasses
import functools
import traceback
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from .._log import warn
from ..backends import Verdict
from ..errors import ConfigurationError
from ._pace import LONGEST_WAIT, LONGEST_WAIT_BETWEEN, Paused
from ._transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .._model import Feedback, Item
    from ..backends import Backend, Plan
    from ..stores import Claim
    from ._pace import Pacing
    from ._transport import Transport

MIN_SECRET_LENGTH: Final = 8
MASK: Final = "***"


def deliver(
    claims: Sequence[Claim], backend: Backend, transport: Transport, pacer: Pacing
) -> Iterator[tuple[Sequence[Claim], Verdict]]:
    """Deliver the claims, which share a destination, in one go, each one's items merged; yield what became of which.

    Where the service refuses several for good, they are delivered again in halves, and merged items one by one, so that
    what spoils them is found, refused alone, and the others arrive: a claim is then yielded in parts. Not so where it
    refuses their destination. Of a claim's items that come after one that has to be tried again no verdict is given:
    they must not arrive before it.
    """
    verdict = carry_out(_plan(claims, backend), transport, pacer)
    if verdict.kind != "refused" or verdict.whole or sum(len(claim.items) for claim in claims) == 1:
        yield claims, verdict
    elif len(claims) > 1:
        middle = len(claims) // 2
        yield from deliver(claims[:middle], backend, transport, pacer)
        yield from deliver(claims[middle:], backend, transport, pacer)
    else:
        yield from _one_by_one(claims[0], backend, transport, pacer)


def _one_by_one(
    claim: Claim, backend: Backend, transport: Transport, pacer: Pacing
) -> Iterator[tuple[Sequence[Claim], Verdict]]:
    for item in claim.items:
        for part, verdict in deliver([claim._replace(items=(item,))], backend, transport, pacer):
            yield part, verdict
            if verdict.kind not in {"delivered", "refused"}:
                return


def merged(items: Sequence[Item]) -> Feedback:
    """Return what all the items say together."""
    if len(items) == 1:
        return items[0].feedback
    return functools.reduce(lambda earlier, later: earlier.merged(later), (item.feedback for item in items))


def _plan(claims: Sequence[Claim], backend: Backend) -> Plan:
    """Return the backend's plan, itself as a plan: what goes wrong in making it goes wrong in carrying it out.

    Settings that are missing here, where the feedback was recorded with them elsewhere, must not cost it its delivery:
    it waits until somebody has them.
    """
    try:
        backend.check(claims[0].items[0].ref)  # the others have the same destination
    except ConfigurationError as error:
        warn("settings", "feedback waits, since it cannot be delivered from here: %s", error)
        return Verdict(kind="retry", reason=str(error))
    verdict = yield from backend.deliver([(claim.items[0].ref, merged(claim.items)) for claim in claims])
    if not isinstance(verdict, Verdict):
        raise TypeError(f"the plan of the backend {backend.name!r} returned {verdict!r}, which is no Verdict")
    return verdict


def carry_out(plan: Plan, transport: Transport, pacer: Pacing) -> Verdict:
    """Send the requests of a plan, one after the other, and return its verdict.

    A service that cannot be reached is tried again later, and so is a backend whose plan fails by itself: a fault in
    its code must not cost anybody's feedback.
    """
    secrets: set[str] = set()
    try:
        request, longest = next(plan), LONGEST_WAIT
        while True:
            secrets.update(word for value in request.headers.values() for word in value.split())
            pacer.wait(longest)
            longest = LONGEST_WAIT_BETWEEN  # what a plan has begun it shall end, or it would begin for ever
            answer = transport.send(request)
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
        warn("backend", "a backend failed to deliver feedback\n%s", masked(told, secrets))
        verdict = Verdict(kind="retry", reason=f"{type(error).__name__} in the backend")
    return dataclasses.replace(verdict, reason=masked(verdict.reason, secrets))


def masked(text: str | None, secrets: set[str]) -> str | None:
    """Return the text without the credentials that a service may have quoted in its answer, as in JSON or a URL."""
    long = [secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH]
    written = {form for secret in long for form in (secret, secret.replace("/", "\\/"), quote(secret, safe=""))}
    for secret in sorted(written, key=len, reverse=True):
        if text is not None:
            text = _without_cut(text.replace(secret, MASK), secret)
    return text


def _without_cut(text: str, secret: str) -> str:
    """Return the text without the beginning of the secret at its end, as is left of one where a text was cut."""
    for length in range(len(secret) - 1, MIN_SECRET_LENGTH - 1, -1):
        if text.endswith(secret[:length]):
            return f"{text[:-length]}{MASK}"
    return text
