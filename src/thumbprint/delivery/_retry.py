"""What follows from a verdict: items are settled, buried as dead letters, or tried again later. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..stores import Conclusion
from ._pace import LONGEST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._model import Item
    from ..backends import Verdict

FIRST_DELAY: Final = 0.5  # seconds
LONGEST_DELAY: Final = 300.0  # seconds
INGESTION_WINDOW: Final = 900.0  # seconds after the capture in which a log entry may still be on its way
EXPIRE_AFTER: Final = 72 * 3600.0  # seconds that feedback is tried for
PROBE_INTERVAL: Final = 60.0  # seconds between tries with credentials that were refused


def conclude(
    verdict: Verdict, items: Sequence[Item], *, now: float, jitter: float, expire_after: float = EXPIRE_AFTER
) -> Conclusion:
    """Say what becomes of the items of one log entry after an attempt that ended in this verdict.

    The attempt is counted in those that are kept; those that were delivered are returned as they are.
    No item waits beyond the time at which it expires: it has its last attempt then.
    `now` is in seconds since 1970, `jitter` a random number from 0 to 1, `expire_after` in seconds.
    """
    if verdict.kind == "delivered":
        return Conclusion(settled=tuple(items))
    tried = tuple(item._replace(attempts=item.attempts + 1, reason=verdict.reason) for item in items)
    if verdict.kind == "refused" or (verdict.kind == "early" and now - _captured_at(tried[0]) > INGESTION_WINDOW):
        return Conclusion(buried=tried)
    if verdict.kind == "unauthorized":
        wait = 0.0  # who has other credentials may try at once; a lane with these pauses
    else:
        wait = delay(max(item.attempts for item in tried), verdict.retry_after, jitter)
    expired = tuple(_expired(item, expire_after) for item in tried if now - item.created_at >= expire_after)
    alive = tuple(item for item in tried if now - item.created_at < expire_after)
    last_chance = min((item.created_at + expire_after for item in alive), default=now)
    return Conclusion(buried=expired, waiting=alive, due_at=min(now + wait, last_chance))


def delay(attempts: int, retry_after: float | None, jitter: float) -> float:
    """Return the seconds to wait after so many attempts: never less than the service asked for, up to an hour.

    Exponential backoff with full jitter: each wait is drawn evenly from 0 up to a bound that doubles, so that clients
    which failed together do not come back together.
    """
    bound = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 30))
    return min(retry_after or 0.0, LONGEST_PAUSE) + jitter * bound


def _captured_at(item: Item) -> float:
    """Return when the log entry's call was made, as far as is known."""
    return item.ref.captured_at or item.created_at


def _expired(item: Item, expire_after: float) -> Item:
    return item._replace(reason=f"expired after {expire_after / 3600:g} hours: {item.reason}")
