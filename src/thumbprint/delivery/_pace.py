"""Keeping to a pace: below a service's documented limits, and slower where its answers ask for it."""

from __future__ import annotations

import hashlib
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

from .._log import warn
from ..errors import StoreError
from ._clock import clock_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._model import Pace
    from ..backends import Answer, Backend
    from ..stores import Store

LONGEST_WAIT: Final = 0.5  # seconds that a sender waits for its turn; for longer it gives its work back
LONGEST_WAIT_BETWEEN: Final = 20.0  # seconds, once the delivery has begun
STORE_PAUSE: Final = 1.0  # seconds until a store that failed is tried again
SPARE: Final = 0.1  # of the server's quota: with less remaining, what remains is spread over the rest of its window

LONGEST_PAUSE: Final = 3600.0  # seconds for which a service is left alone at its own word: a slip must not stop it all
CLOCKS_APART: Final = 60.0  # seconds by which a longer wait cannot be

# Lists of items with parameters, https://www.rfc-editor.org/rfc/rfc9651#section-3.1 . An item here is a string, a byte
# sequence, a boolean, a number or date, or a token; an integer has no more than 15 digits.
_BARE: Final = r'"(?:[^"\\]|\\.)*"|:[^:]*:|\?[01]|@?-?\d+(?:\.\d+)?|[A-Za-z*][^\s",;=]*'
_ITEM: Final = re.compile(rf"[ \t]*({_BARE})")
_PARAMETER: Final = re.compile(rf"[ \t]*;[ \t]*([a-z*][a-z0-9_.*-]*)(?:=({_BARE}))?")
_END: Final = re.compile(r"[ \t]*(?:,|\Z)")
_COUNT: Final = re.compile(r"[0-9]{1,15}")


class Paused(Exception):
    """No request may be made before `until` (by the clock of the store), for the reason that it says."""

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

    Where the store fails no request is made, lest it be one too many. `clock` is that of the store.
    """

    def __init__(self, *, store: Store, bucket: str, pace: Pace | None) -> None:
        self.clock = clock_of(store)
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
                raise Paused(self.clock() + seconds)
            time.sleep(seconds)

    def _take(self, pace: Pace) -> float:
        try:
            seconds = self._store.take(self._bucket, pace, now=self.clock())
            if seconds <= max(LONGEST_PAUSE, 1 / pace.rate) + CLOCKS_APART:
                return seconds
            self._store.hold(self._bucket, until=0)  # nobody was asked for that: the clock has been set back
            return self._store.take(self._bucket, pace, now=self.clock())
        except StoreError as error:
            warn("store", "the pace cannot be kept, so nothing is sent: %s", error)
            raise Paused(self.clock() + STORE_PAUSE, str(error)) from None

    def heed(self, answer: Answer) -> None:
        """Slow down by what the service says of its quota."""
        if self._pace is not None:
            until = asked_pause(answer, self.clock())
            if until is not None:
                self.hold(until)

    def hold(self, until: float) -> None:
        """Let nobody with this credential make a request before `until`, by the clock of the store."""
        if self._pace is not None:
            try:
                self._store.hold(self._bucket, until=until)
            except StoreError as error:  # what was sent was sent
                warn("store", "other processes cannot be told to pause: %s", error)


def pacer_of(backend: Backend, store: Store) -> Pacer:
    """Return the pace of a backend's credential."""
    return Pacer(store=store, bucket=bucket_name(backend.name, backend.credential), pace=backend.pace)


def bucket_name(backend: str, credential: str | None) -> str:
    """Return the name of a credential's bucket, from which the credential cannot be told."""
    return f"{backend}:{hashlib.sha256((credential or '').encode()).hexdigest()[:16]}"


def asked_pause(answer: Answer, now: float) -> float | None:
    """Return until when the headers `Ratelimit` and `Ratelimit-Policy` ask to make no request; None where they do not.

    As in https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/ : r requests remain for t seconds.
    While more than a tenth of the quota q remains, nothing is asked; nor is ever more than an hour. Pure.
    """
    policies = _members(answer.headers.get("ratelimit-policy", ""))
    quotas = {name: int(told["q"]) for name, told in policies if "q" in told}
    pauses = []
    for name, told in _members(answer.headers.get("ratelimit", "")):
        remaining, reset = int(told.get("r", -1)), int(told.get("t", -1))
        quota = quotas.get(name, max(quotas.values(), default=0))
        if min(remaining, reset) >= 0 and (remaining <= SPARE * quota or remaining == 0):
            pauses.append(reset / (remaining + 1))
    return now + min(max(pauses), LONGEST_PAUSE) if pauses else None


def _members(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the items of a list, without quotes, each with those of its parameters that count something.

    What is no such list is passed over, from the first member on that cannot be read.
    """
    at = 0
    while item := _ITEM.match(field, at):
        at, counts = item.end(), {}
        while parameter := _PARAMETER.match(field, at):
            at = parameter.end()
            if _COUNT.fullmatch(parameter[2] or ""):
                counts[parameter[1]] = parameter[2]
        end = _END.match(field, at)
        if end is None:
            return
        yield item[1].strip('"'), counts
        at = end.end()
