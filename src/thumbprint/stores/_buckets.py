"""The pace of each credential, in this process's memory."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ._passing import Passing

if TYPE_CHECKING:
    from .._model import Pace


class Buckets:
    """Token buckets, which may be held; several stores may share them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tokens: Passing[tuple[float, float]] = Passing()  # how many, and when counted, until it is full again
        self._holds: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._tokens) + len(self._holds)

    def take(self, bucket: str, pace: Pace, *, now: float) -> float:
        """Take one request from the bucket; return 0, or where it may not be made yet the seconds to wait."""
        with self._lock:
            held = self._holds.get(bucket, 0.0) - now
            if held > 0:
                return held
            tokens, at = self._tokens.get(bucket, now) or (pace.burst, now)
            tokens = min(pace.burst, tokens + max(0.0, now - at) * pace.rate)
            left = tokens - 1 if tokens >= 1 else tokens
            self._tokens.keep(bucket, (left, now), until=now + (pace.burst - left) / pace.rate, now=now)
            return 0.0 if tokens >= 1 else (1 - tokens) / pace.rate

    def hold(self, bucket: str, *, until: float) -> None:
        """Let nobody take from the bucket before `until`; never shortens a longer hold. 0 lifts it."""
        with self._lock:
            self._holds[bucket] = max(until, self._holds.get(bucket, 0.0)) if until else 0.0
