"""thumbprint's log: one logger, and lines that do not flood it."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Final

from ._fork import forking_lock

logger: Final = logging.getLogger("thumbprint")

QUIET_SECONDS: Final = 60.0

_last: dict[str, float] = {}
_lock = forking_lock()


def warn(kind: str, message: str, *args: object, exc_info: bool = False) -> None:
    """Log a warning, at most one of each kind a minute; what it repeats within the minute is not said again."""
    now = time.monotonic()
    with _lock:
        if now - _last.get(kind, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        _last[kind] = now
    with contextlib.suppress(Exception):  # a handler or filter of the application's that fails is not to harm its call
        logger.warning(message, *args, exc_info=exc_info)


def forget() -> None:
    """Let every kind of warning be said again at once."""
    with _lock:
        _last.clear()
