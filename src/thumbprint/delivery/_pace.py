"""Keeping to a pace: below a service's documented limits, and slower where its answers ask for it."""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

from .._log import warn
from ..errors import StoreError

if TYPE_CHECKING:
    from .._model import Pace
    from ..backends import Answer
    from ..stores import Store

LONGEST_WAIT: Final = 0.5  # seconds that a sender waits for its turn; for longer it gives its work back
LONGEST_WAIT_BETWEEN: Final = 20.0  # seconds, once the delivery has begun
STORE_PAUSE: Final = 1.0  # seconds until a store that failed is tried again
SPARE: Final = 0.1  # of the server's quota: with less remaining, what remains is spread over the rest of its window

_RATELIMIT: Final = re.compile(r'"?(?P<name>[^";,]{0,64})"?;\s*r=(?P<remaining>\d{1,9});\s*t=(?P<reset>\d{1,5})')
_POLICY: Final = re.compile(r'"?(?P<name>[^";,]{0,64})"?;\s*q=(?P<quota>\d{1,9})')


class Paused(Exception):
    """No request may be made before `until` (seconds since 1970), for the reason that it says."""

    def __init__(self, until: float, reason: str = "to keep to the pace") -> None:
        super().__init__(reason)
        self.until = until


class Pacing(Protocol):
    """What a delivery asks before each of its requests, and tells after it."""

    def wait(self, longest: float) -> None:
        """Return when a request may be made; raise Paused where that is in more than `longest` seconds."""
        ...

    def heed(self, answer: Answer) -> None:
        """Slow down by what the service says of its quota."""
        ...


class Pacer:
    """The pace of one credential at one service, shared by all who use the same store.

    Where the store fails no request is made, lest it be one too many.
    """

    def __init__(self, *, store: Store, bucket: str, pace: Pace | None) -> None:
        self._store = store
        self._bucket = bucket
        self._pace = pace

    def wait(self, longest: float = LONGEST_WAIT) -> None:
        """Return when a request may be made; raise Paused where that is in more than `longest` seconds."""
        if self._pace is None:
            return
        ends_at = time.monotonic() + longest  # of all waits together: others may take what one has waited for
        while seconds := self._take(self._pace):
            if time.monotonic() + seconds > ends_at:
                raise Paused(time.time() + seconds)
            time.sleep(seconds)

    def _take(self, pace: Pace) -> float:
        try:
            return self._store.take(self._bucket, pace, now=time.time())
        except StoreError as error:
            warn("store", "the pace cannot be kept, so nothing is sent: %s", error)
            raise Paused(time.time() + STORE_PAUSE, str(error)) from None

    def heed(self, answer: Answer) -> None:
        """Slow down by what the service says of its quota."""
        if self._pace is not None:
            until = asked_pause(answer, time.time())
            if until is not None:
                self.hold(until)

    def hold(self, until: float) -> None:
        """Let nobody with this credential make a request before `until`."""
        if self._pace is not None:
            try:
                self._store.hold(self._bucket, until=until)
            except StoreError as error:  # what was sent was sent
                warn("store", "other processes cannot be told to pause: %s", error)


def bucket_name(backend: str, credential: str | None) -> str:
    """Return the name of a credential's bucket, from which the credential cannot be told."""
    return f"{backend}:{hashlib.sha256((credential or '').encode()).hexdigest()[:16]}"


def asked_pause(answer: Answer, now: float) -> float | None:
    """Return until when the headers `Ratelimit` and `Ratelimit-Policy` ask to make no request; None where they do not.

    As in https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ : r requests remain for t seconds.
    While more than a tenth of the quota q remains, nothing is asked. Pure.
    """
    policies = _POLICY.finditer(answer.headers.get("ratelimit-policy", ""))
    quotas = {found["name"]: int(found["quota"]) for found in policies}
    pauses = []
    for found in _RATELIMIT.finditer(answer.headers.get("ratelimit", "")):
        remaining, reset = int(found["remaining"]), int(found["reset"])
        quota = quotas.get(found["name"], max(quotas.values(), default=0))
        if remaining <= SPARE * quota or remaining == 0:
            pauses.append(reset / (remaining + 1))
    return now + max(pauses) if pauses else None
