"""The store in a file: for one machine, whose processes may all share it, and for what must survive them.

Its tables, and the statements that read and change them, are in `_sqlite_statements`.

The file is in WAL mode with synchronous=NORMAL: what was committed survives the death of the process (a loss of power
may cost the last moments, never the file). Each process has one connection, and a lock that its threads take in turn:
SQLite lets one write at a time anyway.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, TypeVar

from .._model import Finding
from ..errors import StoreError
from . import _sqlite_statements as sql
from ._findings import outbox_findings
from ._json import Unreadable, call_to_json, item_to_json
from ._kept import Kept, calls_from_json, tell_of_buried
from ._protocol import Claim, Conclusion, DataLostError, Depth, Key, entry_at, entry_of
from ._sqlite_file import CALLER_PATIENCE, SqliteFile, fetch, fetch_value, insert, text_of, transaction

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from .._call import Call
    from .._model import Item, LogRef, Pace

T = TypeVar("T")
_Buried: TypeAlias = list[tuple[Kept, Unreadable]]
_Row: TypeAlias = tuple[str, str, bytes, float, str]  # as in the inbox, without its place

REFERENCE_TTL: Final = 7 * 24 * 3600.0  # seconds
MAX_ITEMS: Final = 1_000_000
MAX_CALLS_PER_KEY: Final = 1_000
MAX_CLOCK_LEAD: Final = 60.0  # seconds
COUNT_EVERY: Final = 500  # puts between two looks at how full the outbox is
SORTED_AT_ONCE: Final = 1_000  # rows in one transaction, for which the others wait
PAGE: Final = 1_000  # rows that are revived or purged in one
PAUSE: Final = 0.02  # seconds between two of these: longer than those who wait for their turn look away
PURGE_EVERY: Final = 100  # calls, buckets or notes that are written between two looks for those that are over
PURGED_AT_ONCE: Final = 1_000  # rows, more than the keys of as many calls


class SqliteStore:
    """References and the outbox in an SQLite file, which the processes of one machine may share.

    `path` is the file, made at the first use in a folder that must be there; the first use also raises StoreError
    where it cannot be used. Calls are forgotten `reference_ttl` seconds after they were remembered, and of more than
    1,000 under one key the newest are recalled. An outbox with `max_items` waiting is full; where several processes
    fill it together, each may put some hundreds more. Dead letters are kept until they are revived or purged. `clock`
    gives the time in seconds since 1970.

    May be used from several threads, and on both sides of a fork: the connection is closed before it, and each side
    opens its own.
    """

    shared = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        reference_ttl: float = REFERENCE_TTL,
        max_items: int = MAX_ITEMS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file = SqliteFile(path, migrations=sql.MIGRATIONS, generation=sql.GENERATION)
        self._reference_ttl = reference_ttl
        self._max_items = max_items
        self._clock = clock
        self._room = 0  # how much may be put before the outbox is counted again
        self._writes: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"SqliteStore({str(self._file.path)!r})"

    def open(self) -> None:
        """Open the file now, and make it where it is missing; raise StoreError where it cannot be used."""
        self._file.run(lambda _: None)

    @property
    def path(self) -> Path:
        """Where the file is or will be, absolute."""
        return self._file.path

    def missing(self) -> Finding | None:
        """Return what there is to say of a file that is not there yet; None where it is. Makes nothing."""
        return self._file.missing()

    def remember(self, keys: Iterable[Key], call: Call) -> None:
        """Keep the call under each of the keys, after those that are there already."""
        now = self._clock()
        text, expires_at = call_to_json(call), now + self._reference_ttl
        rows = [(_key_to_bytes(key), text, expires_at) for key in keys]
        if rows:
            self._file.run_for_caller(lambda db: self._remember(db, rows, now))

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return the newest calls that are kept under the key, in order; none where it is not known.

        Raises StoreError where one of them cannot be read: without it another would be taken for the last.
        """
        wanted = (_key_to_bytes(key), self._clock(), MAX_CALLS_PER_KEY)
        rows = self._file.run(lambda db: fetch(db, sql.RECALL, *wanted), patience=CALLER_PATIENCE)
        return calls_from_json([_from_bytes(text) for (text,) in reversed(rows)], str(self._file.path), key)

    def put(self, items: Sequence[Item]) -> bool | str:
        """Take all the items into the outbox, due at once; take none and return False where it is full.

        Else returns the generation of the file, which is another in one that was made anew. What was put survives the
        death of the process from here on.
        """
        rows = [_item_to_row(item) for item in items]
        return not rows or self._file.run_for_caller(lambda db: self._put(db, rows))

    def claim(self, backend: str, *, now: float, most: int, lease: float) -> list[Claim]:
        """Lease all that is waiting for up to `most` log entries of the backend whose first item is due.

        What cannot be read becomes a dead letter, as it is.
        """
        claims, buried = self._look(lambda db: _claim(db, backend, now, max(0, most), now + lease))
        tell_of_buried(backend, buried)
        return claims

    def conclude(self, concluded: Sequence[tuple[Claim, Conclusion]]) -> None:
        """End leases, all or none. What was put meanwhile is due with what is still waiting, else at once.

        A lease that has outlived its time is good until somebody else is given the entry.
        """

        def conclude_all(db: sqlite3.Connection) -> None:
            now = self._clock()
            with transaction(db):
                for claim, conclusion in concluded:
                    _conclude(db, claim, conclusion, now)

        self._look(conclude_all)

    def holds(self, ref: LogRef) -> bool:
        """Whether anything is waiting for the log entry, or is on its way to it."""
        entry = (ref.backend, _to_bytes(entry_at(ref)))
        held = self._file.run(lambda db: fetch_value(db, sql.HOLDS, *entry, *entry), patience=CALLER_PATIENCE)
        return bool(held)

    def next_due(self, backend: str) -> float | None:
        """Return when the next entry of the backend is due, or a lease on one ends; None where there is none."""
        due_at: float | None = self._look(lambda db: fetch_value(db, sql.NEXT_DUE, backend))
        return due_at

    def take(self, bucket: str, pace: Pace, *, now: float) -> float:
        """Take one request from the bucket; return 0, or where it may not be made yet the seconds to wait."""
        return self._file.run(lambda db: self._take(db, bucket, pace, now))

    def hold(self, bucket: str, *, until: float) -> None:
        """Let nobody take from the bucket before `until`; never shortens a longer hold. 0 lifts it."""
        self._file.run(lambda db: _hold(db, bucket, until))

    def swap(self, name: str, old: str, new: str, *, seconds: float) -> str:
        """Note the text `new` under the name, in place of `old` or of nothing; return what is noted there then."""
        return self._file.run(lambda db: self._swap(db, name, old, new, seconds))

    def fates(
        self, ids: Sequence[str], generation: str | None = None
    ) -> Mapping[str, tuple[Literal["queued", "failed"], Item]]:
        """Return item id → how it stands, with the item as it is kept; those that are not there were settled.

        With the generation that took them, as `put` returned it, raises DataLostError where that is gone.
        """
        fates, current = self._file.run(lambda db: (_fates(db, ids), self._file.generation))
        if generation not in {None, current}:
            raise DataLostError(f"the store {str(self._file.path)!r} was deleted or replaced: see who did that")
        return fates

    def depths(self) -> list[Depth]:
        """Return how much there is of each backend's, by name."""
        rows = self._look(lambda db: fetch(db, sql.DEPTHS))
        return [Depth(backend=name, queued=queued, oldest_at=_time(at), dead=dead) for name, queued, at, dead in rows]

    def listed(self, *, dead: bool, most: int) -> list[Item]:
        """Return up to so many items that wait, or the dead letters; the oldest first."""
        rows = self._look(lambda db: fetch(db, sql.LISTED_DEAD if dead else sql.LISTED, max(0, most)))
        return [_kept(*row).shown() for row in rows]

    def revive(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into the outbox, due at once, with no attempts; all or these. Return how many.

        Each takes the place among its entry's items that it had. What cannot be read stays a dead letter.
        """
        places = self._file.run(lambda db: _places(db, sql.PLACES_OF_DEAD, ids))
        return self._page_by_page(places, _revive)

    def purge(self, ids: Sequence[str] | None = None, *, dead: bool = True) -> int:
        """Forget dead letters (or with dead=False what is waiting and not leased); all or these. Return how many."""
        places = self._look(lambda db: _places(db, sql.PLACES_OF_DEAD if dead else sql.PLACES, ids))
        return self._page_by_page(places, _purge_dead if dead else _purge_waiting)

    def check(self) -> list[Finding]:
        """Return what an operator should know. A file that is not there is not made."""
        fault = self.missing()
        if fault is not None:
            return [fault]
        try:
            depths = self.depths()
            self._file.run(_try_to_write)
        except StoreError as error:
            return [Finding(check="store", status="problem", found=str(error))]
        usable = Finding(check="store", status="ok", found=f"the file {str(self._file.path)!r} can be read and written")
        return [usable, *outbox_findings(depths, self._clock())]

    def close(self, timeout: float | None = 0.0) -> None:  # noqa: ARG002 - all that it took is written
        """Close the file. A later use opens it again."""
        self._file.close()

    def _look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work that looks at the outbox: what was put since somebody last did is sorted first."""

        def sort_and_work(db: sqlite3.Connection) -> T:
            _sort(db, self._clock())
            return work(db)

        return self._file.run(sort_and_work)

    def _page_by_page(self, places: Sequence[int], work: Callable[[sqlite3.Connection, int, float], bool]) -> int:
        """Do work on one row after the other; return for how many it was done.

        Between the pages others have their turns: a lock for as long as all of them take would cost them feedback.
        """

        def work_on(db: sqlite3.Connection, page: Sequence[int]) -> int:
            now = self._clock()
            with transaction(db):
                return sum(work(db, seq, now) for seq in page)

        done = 0
        for start in range(0, len(places), PAGE):
            time.sleep(PAUSE if start else 0.0)
            page = places[start : start + PAGE]
            done += self._file.run(lambda db, page=page: work_on(db, page))  # type: ignore[misc]
        return done

    def _put(self, db: sqlite3.Connection, rows: Sequence[_Row]) -> bool | str:
        if len(rows) > self._room and not self._make_room(db, rows):
            return False
        insert(db, sql.APPEND, rows)
        self._room -= len(rows)
        return self._file.generation or True  # while the file is being opened it is not known yet

    def _make_room(self, db: sqlite3.Connection, rows: Sequence[_Row]) -> bool:
        """Count what is waiting, which would take too long for each put. Nor may the inbox grow without end."""
        _sort(db, self._clock())
        free = self._max_items - fetch_value(db, sql.COUNT)
        fits: bool = sum(not _fate(db, name) for name, *_ in rows) <= free
        self._room = max(len(rows), min(free, COUNT_EVERY)) if fits else 0
        return fits

    def _remember(self, db: sqlite3.Connection, rows: Sequence[tuple[bytes, str, float]], now: float) -> None:
        self._purge_at_times(db, sql.PURGE_CALLS, now, PURGED_AT_ONCE)
        insert(db, sql.REMEMBER, rows)

    def _take(self, db: sqlite3.Connection, bucket: str, pace: Pace, now: float) -> float:
        with transaction(db):
            self._purge_at_times(db, sql.PURGE_BUCKETS, now, now)
            return _take(db, bucket, pace, now)

    def _swap(self, db: sqlite3.Connection, name: str, old: str, new: str, seconds: float) -> str:
        now = self._clock()
        with transaction(db):
            self._purge_at_times(db, sql.PURGE_NOTES, now)
            for (there,) in fetch(db, sql.NOTE, name, now):
                if there != old:
                    return str(there)
            db.execute(sql.SAVE_NOTE, (name, new, now + seconds))
            return new

    def _purge_at_times(self, db: sqlite3.Connection, statement: str, *values: float) -> None:
        """Forget what is over: at the first write of this kind, and then now and again."""
        if self._writes[statement] % PURGE_EVERY == 0:
            db.execute(statement, values)
        self._writes[statement] += 1


# --- the outbox


def _sort(db: sqlite3.Connection, now: float) -> None:
    """Move what is in the inbox to its place."""
    while fetch_value(db, sql.ANY_UNSORTED):
        with transaction(db):
            _sort_some(db, now)


def _sort_some(db: sqlite3.Connection, now: float) -> None:
    last = fetch_value(db, sql.LAST_TO_SORT, SORTED_AT_ONCE)
    if last is not None:
        db.execute(sql.SORT_ENTRIES, (now, last))
        db.execute(sql.SORT_ITEMS, (last,))
        db.execute(sql.EMPTY_INBOX, (last,))


def _claim(db: sqlite3.Connection, backend: str, now: float, most: int, ends_at: float) -> tuple[list[Claim], _Buried]:
    """Return the claims, and what could not be read."""
    claims: list[Claim] = []
    buried: _Buried = []
    if not fetch(db, sql.DUE, backend, now, most):
        return claims, buried  # only looking: it keeps nobody from writing
    with transaction(db):
        empty = True
        while empty and len(claims) < most:  # one that a lease has outlived all items of may have stood before others
            due = fetch(db, sql.DUE, backend, now, most - len(claims))
            found = [claim for number, entry in due if (claim := _leased(db, number, entry, ends_at, buried))]
            claims += found
            empty = len(found) < len(due)
    return claims, buried


def _leased(db: sqlite3.Connection, number: int, entry: Any, ends_at: float, buried: _Buried) -> Claim | None:
    """Lease what waits for an entry; forget the entry, and return None, where nothing does."""
    items = _readable(db, number, _from_bytes(entry), buried)
    if not items:
        db.execute(sql.FORGET_ENTRY, (number,))
        return None
    claim = Claim(entry=_from_bytes(entry), token=secrets.token_hex(8), items=tuple(items), ends_at=ends_at)
    db.execute(sql.LEASE, (ends_at, claim.token, number))
    return claim


def _readable(db: sqlite3.Connection, number: int, entry: str, buried: _Buried) -> list[Item]:
    """Return what waits for an entry, after burying what cannot be read."""
    items: list[Item] = []
    for seq, *row in fetch(db, sql.WAITING, number):
        kept = _kept(*row, entry=entry)
        try:
            items.append(kept.read())
        except Unreadable as error:
            db.execute(sql.BURY_AS_IT_IS, (seq,))
            db.execute(sql.FORGET_PLACE, (seq,))
            buried.append((kept, error))
    return items


def _conclude(db: sqlite3.Connection, claim: Claim, conclusion: Conclusion, now: float) -> None:
    place = (claim.items[0].ref.backend, _to_bytes(claim.entry))
    due_at = conclusion.due_at if conclusion.waiting else now
    with transaction(db):
        _sort_some(db, now)  # an item that is just put again is still known: settled, it must not come back
        db.executemany(sql.BURY, [(item_to_json(item), item.id) for item in conclusion.buried])
        db.executemany(sql.FORGET, [(item.id,) for item in conclusion.buried + conclusion.settled])
        db.executemany(sql.FORGET_DEAD, [(item.id,) for item in conclusion.settled])
        if db.execute(sql.END_LEASE, (due_at, *place, claim.token)).rowcount:
            db.executemany(sql.KEEP, [(item_to_json(item), item.id) for item in conclusion.waiting])
        db.execute(sql.FORGET_EMPTY + sql.THIS_ENTRY, place)


def _fates(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[Literal["queued", "failed"], Item]]:
    found = [row for name in ids for row in _fate(db, name)]
    return {kept.id: (fate, kept.shown()) for fate, *row in found if (kept := _kept(*row))}


def _fate(db: sqlite3.Connection, name: str) -> list[tuple[Any, ...]]:
    return fetch(db, sql.FATE, name, name, name)  # a numbered parameter takes no sequence from Python 3.14 on


def _places(db: sqlite3.Connection, query: str, ids: Sequence[str] | None) -> list[int]:
    """Return where the items with these ids are, or all."""
    if ids is None:
        return [seq for (seq,) in fetch(db, query + sql.IN_ORDER)]
    return [seq for name in dict.fromkeys(ids) for (seq,) in fetch(db, query + sql.THIS_ID, name)]


def _revive(db: sqlite3.Connection, seq: int, now: float) -> bool:
    """Return whether the dead letter was put back: not one that is gone meanwhile, or cannot be read."""
    for row in fetch(db, sql.DEAD, seq):
        try:
            item = _kept(*row).read()._replace(attempts=0, reason=None)
        except Unreadable:
            return False
        place = (item.ref.backend, _to_bytes(entry_of(item)))
        db.execute(sql.REVIVE_ENTRY, (*place, now))
        db.execute(sql.REVIVE, (seq, item.id, item.created_at, item_to_json(item), *place))
        return _purge_dead(db, seq, now)
    return False


def _purge_dead(db: sqlite3.Connection, seq: int, _: float) -> bool:
    return db.execute(sql.PURGE_DEAD, (seq,)).rowcount > 0


def _purge_waiting(db: sqlite3.Connection, seq: int, now: float) -> bool:
    for (number,) in fetch(db, sql.NUMBER, seq, now):
        db.execute(sql.FORGET_PLACE, (seq,))
        db.execute(sql.FORGET_EMPTY + sql.THIS_NUMBER, (number,))
        return True
    return False


def _try_to_write(db: sqlite3.Connection) -> None:
    """Take the turn to write and give it back; what may only be read refuses it."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("ROLLBACK")


# --- the pace


def _take(db: sqlite3.Connection, bucket: str, pace: Pace, now: float) -> float:
    tokens, counted_at, held_until = _bucket(db, bucket)
    if held_until > now:
        return held_until - now
    tokens, counted_at = _filled(tokens, counted_at, pace, now)
    left = tokens - 1 if tokens >= 1 else tokens
    full_at = counted_at + (pace.burst - left) / pace.rate
    db.execute(sql.SAVE_BUCKET, (bucket, left, counted_at, held_until, full_at))
    return 0.0 if tokens >= 1 else (1 - tokens) / pace.rate


def _hold(db: sqlite3.Connection, bucket: str, until: float) -> None:
    with transaction(db):
        _, _, held_until = _bucket(db, bucket)
        db.execute(sql.HOLD_BUCKET, (bucket, max(until, held_until) if until else 0.0))


def _bucket(db: sqlite3.Connection, name: str) -> tuple[float | None, float, float]:
    """Return how many tokens there were (None: as many as fit), when that was, and until when nobody may take any."""
    rows = fetch(db, sql.BUCKET, name)
    return rows[0] if rows else (None, 0.0, 0.0)


def _filled(tokens: float | None, counted_at: float, pace: Pace, now: float) -> tuple[float, float]:
    """Return how many tokens there are now, and when they were counted: never earlier than before.

    A `now` that was read before others took their turn would else fill the same seconds twice. Only a clock that was
    set back by much is followed.
    """
    if tokens is None:
        return pace.burst, now
    counted_at = min(counted_at, now + MAX_CLOCK_LEAD)
    return min(pace.burst, tokens + max(0.0, now - counted_at) * pace.rate), max(now, counted_at)


# --- what is written


def _item_to_row(item: Item) -> _Row:
    return item.id, item.ref.backend, _to_bytes(entry_of(item)), item.created_at, item_to_json(item)


def _kept(id_: object, backend: object, created_at: object, text: object, *, entry: str | None = None) -> Kept:
    """Return an item as a row has it, in which nothing need be of the type that was written."""
    return Kept(_from_bytes(id_), _from_bytes(backend), _time(created_at) or 0.0, _from_bytes(text), entry)


def _time(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None


def _key_to_bytes(key: Key) -> bytes:
    return _to_bytes(f"{key.kind}:{key.id}")


def _to_bytes(text: str) -> bytes:
    """Return text from outside as SQLite can keep it: it takes no text with lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def _from_bytes(value: object) -> str:
    """Return text that was written as bytes; of anything else, what can be shown of it."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text_of(value)
