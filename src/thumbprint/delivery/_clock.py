"""The clock by which a store's times are told: when something is due, until when it is leased or held."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stores import Store

_BEGAN: Final = time.time() - time.monotonic()


def clock_of(store: Store) -> Callable[[], float]:
    """Return what gives the time in seconds since 1970, as it is to be told to the store.

    Where other processes read it, that is the time of day, which may be set while something waits. Else it is the time
    of day as it was when this process began, and from then on evenly more, whatever the clock is set to.
    """
    return _time_of_day if store.shared else _even_time


def _time_of_day() -> float:
    return time.time()


def _even_time() -> float:
    return _BEGAN + time.monotonic()
