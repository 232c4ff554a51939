"""The store of a fleet: references and the outbox on a Redis (6.2 or newer) or Valkey server that all machines share.

How they lie there, and what changes them, is told in `_redis_scripts`; how the server is reached in `_redis_server`.

The server should not evict keys (maxmemory-policy noeviction), and should keep an append-only file where feedback is to
survive the server's own crash.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote, unquote

from .._model import Finding
from .._secrets import Concealed
from ..errors import ConfigurationError, StoreError
from . import _redis_scripts as scripts
from ._findings import outbox_findings
from ._json import Unreadable, call_to_json, item_to_json
from ._kept import Kept, calls_from_json, tell_of_buried
from ._protocol import Claim, Conclusion, DataLostError, Depth, Key, entry_at, entry_of
from ._redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .._call import Call
    from .._model import Item, LogRef, Pace
    from ._redis_scripts import Script

_Buried: TypeAlias = list[tuple[Kept, Unreadable]]

REFERENCE_TTL: Final = 7 * 24 * 3600.0
MAX_ITEMS: Final = 1_000_000
MAX_CALLS_PER_KEY: Final = 1_000
PREFIX: Final = "thumbprint"

BUCKET_TTL: Final = 7 * 24 * 3600.0  # at most; one that is full before is forgotten then
CONSUMER_TTL: Final = 24 * 3600.0  # a consumer that was idle for so long and has nothing pending is gone
PAGE: Final = 500  # items that one call of `revive` or `purge` moves: a script holds up the whole server


class RedisStore:
    """References and the outbox on a Redis or Valkey server, for processes on any number of machines.

    `url` is `redis://[user:password@]host[:port][/database]`, the same with `rediss` for TLS, or
    `unix://[user:password@]/path?db=0`. References are forgotten `reference_ttl` seconds after the last call that was
    kept under them, of more than 1,000 calls under one id the oldest. An outbox of `max_items` is full; of more dead
    letters than that, the oldest are forgotten. Stores with the same `prefix` share everything.

    Connects when it is first used, again where the server was away, and anew in a child process. While the server does
    not answer, a method raises StoreError within a few seconds, and the ones after it at once.

    Raises ConfigurationError where the URL or the prefix cannot be used, and where the package `redis` is missing.
    """

    shared = True

    def __init__(
        self, url: str, *, reference_ttl: float = REFERENCE_TTL, max_items: int = MAX_ITEMS, prefix: str = PREFIX
    ) -> None:
        url = Concealed(url)
        if not prefix or {"{", "}"} & set(prefix):
            raise ConfigurationError(f"prefix: {prefix!r} cannot begin the keys in Redis; give a word without braces")
        self._server = RedisServer(url)
        self._reference_ttl = reference_ttl
        self._max_items = max_items
        self._key = f"{{{prefix}}}:layout"

    def __repr__(self) -> str:
        return f"RedisStore({self._server.place!r})"

    def remember(self, keys: Iterable[Key], call: Call) -> None:
        """Keep the call under each of the keys, after those that are there already."""
        names = [_reference(key) for key in keys]
        if names:
            self._run(
                scripts.REMEMBER, call_to_json(call), MAX_CALLS_PER_KEY, _milliseconds(self._reference_ttl), *names
            )

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return the calls that are kept under the key, in order; none where it is not known.

        Raises StoreError where one of them cannot be read: without it another would be taken for the last.
        """
        return calls_from_json(self._run(scripts.RECALL, _reference(key)), self._server.place, key)

    def put(self, items: Sequence[Item]) -> bool | str:
        """Take all the items into the outbox, due at once; take none and return False where it is full.

        Else returns the generation of the server's data, which is another after the server has lost it.
        """
        rows = (part for item in items for part in _full_row(item))
        generation: str | None = self._run(scripts.PUT, self._max_items, secrets.token_hex(8), *rows)
        return generation or False

    def claim(self, backend: str, *, now: float, most: int, lease: float) -> list[Claim]:
        """Lease all that is waiting for up to `most` log entries of the backend whose first item is due.

        What cannot be read becomes a dead letter, as it is.
        """
        if most <= 0:
            return []
        consumer, token = self._server.consumer, secrets.token_hex(8)
        idle = _milliseconds(CONSUMER_TTL)
        found = self._run(scripts.CLAIM, _quoted(backend), consumer, token, now, now + lease, most, idle)
        buried: _Buried = []
        claims = [
            Claim(entry, token, tuple(_readable(_kept_in(parts, backend, entry), buried)), now + lease)
            for entry, token, *parts in found
        ]
        if buried:
            self._bury_as_they_are(backend, buried, now, [claim for claim in claims if not claim.items])
        return [claim for claim in claims if claim.items]

    def _bury_as_they_are(self, backend: str, buried: _Buried, now: float, emptied: Sequence[Claim]) -> None:
        """Make dead letters of what cannot be read, and end the leases on entries that have nothing else."""
        places = (part for kept, _ in buried for part in (kept.entry or "", kept.id))
        self._run(scripts.BURY_AS_IT_IS, _quoted(backend), now, *places)
        ended = (part for claim in emptied for part in _told(claim, Conclusion()))
        self._run(scripts.CONCLUDE, _quoted(backend), self._max_items, *ended)
        tell_of_buried(backend, buried)

    def conclude(self, concluded: Sequence[tuple[Claim, Conclusion]]) -> None:
        """End leases. What was put meanwhile is due with what is still waiting, else at once."""
        ended: dict[str, list[str | float]] = {}
        for claim, conclusion in concluded:
            ended.setdefault(claim.items[0].ref.backend, []).extend(_told(claim, conclusion))
        for backend, args in ended.items():
            self._run(scripts.CONCLUDE, _quoted(backend), self._max_items, *args)

    def holds(self, ref: LogRef) -> bool:
        """Whether anything is waiting for the log entry, or is on its way to it."""
        return bool(self._run(scripts.HOLDS, _quoted(ref.backend), entry_at(ref)))

    def next_due(self, backend: str) -> float | None:
        """Return when the next entry of the backend is due, or a lease on one ends; None where there is none."""
        due_at = self._run(scripts.NEXT_DUE, _quoted(backend))
        return None if due_at is None else float(due_at)

    def take(self, bucket: str, pace: Pace, *, now: float) -> float:
        """Take one request from the bucket; return 0, or where it may not be made yet the seconds to wait."""
        return float(self._run(scripts.TAKE, bucket, pace.rate, pace.burst, now, _milliseconds(BUCKET_TTL)))

    def hold(self, bucket: str, *, until: float) -> None:
        """Let nobody take from the bucket before `until`; never shortens a longer hold. 0 lifts it."""
        self._run(scripts.HOLD, bucket, until, _milliseconds(BUCKET_TTL))

    def swap(self, name: str, old: str, new: str, *, seconds: float) -> str:
        """Note the text `new` under the name, in place of `old` or of nothing; return what is noted there then."""
        noted: str = self._run(scripts.SWAP, name, old, new, _milliseconds(seconds))
        return noted

    def fates(
        self, ids: Sequence[str], generation: str | None = None
    ) -> Mapping[str, tuple[Literal["queued", "failed"], Item]]:
        """Return item id → how it stands, with the item as it is kept; those that are not there were settled.

        With the generation that took them, as `put` returned it, raises DataLostError where that is gone.
        """
        found: dict[str, tuple[Literal["queued", "failed"], Item]] = {}
        for page in _pages(ids):
            parts = self._run(scripts.FATES, generation or "", *page)
            if parts is None:
                raise DataLostError(
                    f"{self._server.place} has lost its data: let it keep an append-only file, and see who emptied it"
                )
            found |= {
                id_: (fate, Kept(id_, None, 0.0, _text(value)).shown())
                for id_, fate, value in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
            }
        return found

    def depths(self) -> list[Depth]:
        """Return how much there is of each backend's, by name."""
        depths = [
            Depth(backend=unquote(name), queued=queued, oldest_at=float(oldest) if oldest else None, dead=dead)
            for name, queued, oldest, dead in self._run(scripts.DEPTHS)
            if queued or dead
        ]
        return sorted(depths, key=lambda depth: depth.backend)

    def listed(self, *, dead: bool, most: int) -> list[Item]:
        """Return up to so many items that wait, or the dead letters; the oldest first."""
        parts = self._run(scripts.LISTED, _kind(dead=dead), most) if most > 0 else []
        return [
            Kept(id_, unquote(backend), float(created_at), _text(value)).shown()
            for id_, backend, created_at, value in zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
        ]

    def revive(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into the outbox, due at once, with no attempts; all or these. Return how many.

        Each takes the place among its entry's items that it had. What cannot be read stays a dead letter.
        """
        pages = self._all_dead() if ids is None else self._with_ids(ids, "failed")
        return sum(self._revive(_readable(page, [])) for page in pages)

    def _revive(self, items: Sequence[Item]) -> int:
        fresh = (item._replace(attempts=0, reason=None) for item in items)
        revived: int = self._run(scripts.REVIVE, *(part for item in fresh for part in _full_row(item)))
        return revived

    def purge(self, ids: Sequence[str] | None = None, *, dead: bool = True) -> int:
        """Forget dead letters (or with dead=False what is waiting and not leased); all or these. Return how many.

        What waits and cannot be read is left: it becomes a dead letter as soon as somebody claims it.
        """
        pages = self._all(dead=dead) if ids is None else self._with_ids(ids, "failed" if dead else "queued")
        return sum(self._purge_dead(page) if dead else self._purge_waiting(page) for page in pages)

    def _purge_dead(self, page: Sequence[Kept]) -> int:
        letters = (part for kept in page for part in (_quoted(kept.shown().ref.backend), kept.id))
        purged: int = self._run(scripts.PURGE_DEAD, *letters)
        return purged

    def _purge_waiting(self, page: Sequence[Kept]) -> int:
        rows = (part for item in _readable(page, []) for part in _row(item))
        purged: int = self._run(scripts.PURGE_WAITING, *rows)
        return purged

    def check(self) -> list[Finding]:
        """Return what an operator should know of the server, its settings and the outbox there."""
        try:
            about = self._server.findings()
            return [*about, *outbox_findings(self.depths(), time.time())]
        except StoreError as error:
            return [Finding(check="store", status="problem", found=str(error))]

    def close(self, timeout: float | None = 0.0) -> None:  # noqa: ARG002 - all that it took is written
        """Close this process's connections, without a word to the server. A later use opens new ones."""
        self._server.close()

    def _run(self, script: Script, *args: str | float) -> Any:
        return self._server.run(script, self._key, *args)

    def _with_ids(self, ids: Sequence[str], fate: str) -> Iterator[list[Kept]]:
        """Return the items with these ids that stand like this, page by page."""
        for page in _pages(ids):
            parts = self._run(scripts.FATES, "", *page)
            found = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
            yield [Kept(id_, None, 0.0, _text(value)) for id_, stands, value in found if stands == fate]

    def _all(self, *, dead: bool) -> Iterator[list[Kept]]:
        """Return as many items as there are now, page by page.

        Newest first, for the caller may leave some of them: the ranks of those below stay.
        """
        for depth in self.depths():
            for start in reversed(range(0, depth.dead if dead else depth.queued, PAGE)):
                yield self._page(depth.backend, start, dead=dead)

    def _all_dead(self) -> Iterator[list[Kept]]:
        """Return as many dead letters as there are now, page by page, to a caller who takes those that can be read.

        Oldest first: the next ones are then those behind the ones that are left.
        """
        for depth in self.depths():
            left: _Buried = []
            for _ in range(0, depth.dead, PAGE):
                page = self._page(depth.backend, len(left), dead=True)
                yield page
                _readable(page, left)

    def _page(self, backend: str, start: int, *, dead: bool) -> list[Kept]:
        parts = self._run(scripts.PAGE, _kind(dead=dead), _quoted(backend), start, start + PAGE - 1)
        return _kept_in(parts, backend)


def _kept_in(parts: Sequence[str], backend: str, entry: str | None = None) -> list[Kept]:
    """Return a backend's items from a script's answer, their ids and their values in turn."""
    return [Kept(id_, backend, 0.0, _text(value), entry) for id_, value in zip(parts[::2], parts[1::2], strict=True)]


def _text(value: str) -> str:
    """Return the JSON in an item's value."""
    return value[scripts.TURN :]


def _readable(page: Iterable[Kept], unreadable: _Buried) -> list[Item]:
    """Return the items, and add those that cannot be read to the others."""
    items: list[Item] = []
    for kept in page:
        try:
            items.append(kept.read())
        except Unreadable as error:
            unreadable.append((kept, error))
    return items


def _reference(key: Key) -> str:
    return f"{key.kind}:{key.id}"


def _kind(*, dead: bool) -> str:
    return "dead" if dead else "waiting"


def _quoted(backend: str) -> str:
    """Return the backend's name without colons, so that it ends where the entry begins."""
    return quote(backend, safe="")


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _told(claim: Claim, conclusion: Conclusion) -> Iterator[str | float]:
    """Return the end of one lease as the script CONCLUDE takes it."""
    yield from (claim.entry, claim.token, conclusion.due_at, len(conclusion.settled))
    yield from (item.id for item in conclusion.settled)
    yield len(conclusion.buried)
    for item in conclusion.buried:
        yield from (item.id, item.created_at, item_to_json(item))
    yield len(conclusion.waiting)
    for item in conclusion.waiting:
        yield from (item.id, item_to_json(item))


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + PAGE] for start in range(0, len(ids), PAGE))


def _row(item: Item) -> tuple[str, str, str]:
    """Return where an item is: its backend, its entry and its id."""
    return _quoted(item.ref.backend), entry_of(item), item.id


def _full_row(item: Item) -> tuple[str | float, ...]:
    """Return where an item is, when it was made, and itself."""
    return *_row(item), item.created_at, item_to_json(item)
