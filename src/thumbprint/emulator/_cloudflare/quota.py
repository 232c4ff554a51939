"""The limit on REST calls: so many in a window, and a block of the same length for going over."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from thumbprint.emulator._wire import Headers


class Quota:
    """Counts calls in windows of `window` seconds, each beginning with its first call."""

    def __init__(self, limit: int, window: float) -> None:
        self._limit = limit
        self._window = window
        self._ends = 0.0
        self._used = 0
        self._blocked = False

    def spend(self, now: float) -> bool:
        """Count one call. False where it goes over the limit: then every call fails for a whole window."""
        if now >= self._ends:
            self._ends, self._used, self._blocked = now + self._window, 0, False
        if not self._blocked and self._used >= self._limit:
            self._ends, self._blocked = now + self._window, True
        self._used = min(self._used + 1, self._limit)
        return not self._blocked

    def wait(self, now: float) -> int:
        """Whole seconds until the window or block is over."""
        return max(0, math.ceil(self._ends - now))

    def headers(self, now: float) -> Headers:
        """Return the headers that tell a client where it stands."""
        left = self._limit - self._used if now < self._ends else self._limit
        return (
            ("ratelimit", f'"default";r={left};t={self.wait(now)}'),
            ("ratelimit-policy", f'"default";q={self._limit};w={math.ceil(self._window)}'),
        )
