"""What a store does, and the values that pass in and out of it. Everything else in the house sees only this."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from ..errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .._call import Call
    from .._model import Finding, Item, LogRef, Pace


class Key(NamedTuple):
    """What a reference is kept under. The kind keeps an application's own ids apart from those of a service."""

    kind: Literal["scope", "response", "trace"]
    id: str


class Claim(NamedTuple):
    """What one log entry has waiting, in the order in which it was put, leased to one worker.

    While the lease lasts, until `ends_at` (seconds since 1970), nobody else is given the entry's items, those put
    meanwhile neither. `token` tells the lease from a later one of the same entry.
    """

    entry: str
    token: str
    items: tuple[Item, ...]
    ends_at: float = math.inf


class Conclusion(NamedTuple):
    """What becomes of the items of a claim; together the three hold each of them once, as it is to be kept.

    `settled` are forgotten; `buried` become dead letters; `waiting` keep their place and are due at `due_at` (seconds
    since 1970).
    """

    settled: tuple[Item, ...] = ()
    buried: tuple[Item, ...] = ()
    waiting: tuple[Item, ...] = ()
    due_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much of one backend's is in the outbox: waiting or leased, the oldest since when, and dead letters."""

    backend: str
    queued: int = 0
    oldest_at: float | None = None
    dead: int = 0


class DataLostError(StoreError):
    """The store no longer has the data that it had: whether what was in it has been settled cannot be told."""


class Store(Protocol):
    """References, the outbox with its dead letters, the pace of each credential, and notes that last for moments.

    Safe to use from several threads, and where it is shared from several processes. A method that cannot do its work
    raises StoreError; none waits longer than a few seconds. Times are in seconds since 1970.
    """

    shared: bool
    """Whether other processes may put into and claim from the same outbox."""

    def remember(self, keys: Iterable[Key], call: Call) -> None:
        """Keep the call under each of the keys, after those that are there already."""
        ...

    def recall(self, key: Key) -> tuple[Call, ...]:
        """Return the calls that are kept under the key, in order; none where it is not known."""
        ...

    def put(self, items: Sequence[Item]) -> bool | str:
        """Take all the items into the outbox, due at once; take none and return False where it is full.

        An entry's items keep their order, those that are put again (`Item.id` is known) are taken once. With a durable
        store, what was put survives the death of the process from here on.

        A store whose data may be lost while the process lives (a server that is emptied, a file that is deleted)
        returns in place of True which generation of its data has taken them: a name that is new wherever the data is.
        """
        ...

    def claim(self, backend: str, *, now: float, most: int, lease: float) -> list[Claim]:
        """Lease all that is waiting for up to `most` log entries of the backend whose first item is due.

        The longest due come first. A lease ends by `conclude`, or by itself after `lease` seconds: the items are then
        given out again.
        """
        ...

    def conclude(self, concluded: Sequence[tuple[Claim, Conclusion]]) -> None:
        """End leases, each on another entry. What was put meanwhile is due with what is still waiting, else at once.

        Where a lease had ended by itself, what is settled or buried is so all the same, and the rest is left alone.
        """
        ...

    def holds(self, ref: LogRef) -> bool:
        """Whether anything is waiting for the log entry, or is on its way to it."""
        ...

    def next_due(self, backend: str) -> float | None:
        """Return when the next entry of the backend is due, or a lease on one ends; None where there is none."""
        ...

    def take(self, bucket: str, pace: Pace, *, now: float) -> float:
        """Take one request from the bucket; return 0, or where it may not be made yet the seconds to wait.

        A new bucket is full. It fills with `pace.rate` tokens a second up to `pace.burst`; one that is full again may
        be forgotten.
        """
        ...

    def hold(self, bucket: str, *, until: float) -> None:
        """Let nobody take from the bucket before `until`; never shortens a longer hold. 0 lifts it."""
        ...

    def swap(self, name: str, old: str, new: str, *, seconds: float) -> str:
        """Note the text `new` under the name, in place of `old` or of nothing; return what is noted there then.

        That is `new`, or where it was neither `old` nor nothing, what it was. A note is forgotten after `seconds`,
        which are more than 0.
        """
        ...

    def fates(
        self, ids: Sequence[str], generation: str | None = None
    ) -> Mapping[str, tuple[Literal["queued", "failed"], Item]]:
        """Return item id → how it stands, with the item as it is kept; those that are not there were settled.

        With the generation that took them, as `put` returned it, raises DataLostError where that is gone.
        """
        ...

    def depths(self) -> list[Depth]:
        """Return how much there is of each backend's, by name."""
        ...

    def listed(self, *, dead: bool, most: int) -> list[Item]:
        """Return up to so many items that wait, or the dead letters; the oldest first."""
        ...

    def revive(self, ids: Sequence[str] | None = None) -> int:
        """Put dead letters back into the outbox, due at once, with no attempts; all or these. Return how many.

        Each takes the place among its entry's items that it had. What has been settled meanwhile is not kept: later
        feedback for the entry that is delivered already, or on its way, is then followed by the earlier.
        """
        ...

    def purge(self, ids: Sequence[str] | None = None, *, dead: bool = True) -> int:
        """Forget dead letters (or with dead=False what is waiting and not leased); all or these. Return how many."""
        ...

    def check(self) -> list[Finding]:
        """Return what an operator should know of the store and its outbox; what is at fault there is a problem found.

        Nothing that is kept is changed, and no password shown. Raises ConfigurationError where the store lacks a
        package or a setting.
        """
        ...

    def close(self, timeout: float | None = 0.0) -> None:
        """Let go of what the store holds open. A later use opens it again.

        What the store took and could not yet write where it belongs, it tries to write for up to `timeout` seconds
        (None: until that is done); it returns within that time, or nearly.
        """
        ...


def entry_of(item: Item) -> str:
    """Return what tells one log entry of a backend from another: its id, and where it lives.

    The id alone would not do: whoever inserts rows into Braintrust may choose their ids, and the same one in two
    projects is two rows. So an entry whose home is spelled in two ways (a project's name and its id) is two entries.
    """
    return entry_at(item.ref)


def entry_at(ref: LogRef) -> str:
    """Return so much of the log entry that a LogRef names."""
    place = f"{ref.account_id or ''}\n{ref.gateway_id or ''}"
    return f"{ref.id}\n{place}\n{ref.project_id or ''}\n{ref.project_name or ''}\n{ref.experiment_id or ''}"
