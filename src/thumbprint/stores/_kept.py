"""Items and calls as a store outside this process keeps them: text that others can write into, cut off or damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .._log import warn
from .._metrics import count
from .._model import Feedback, Item, LogRef
from .._words import printable
from ..errors import StoreError
from ._json import Unreadable, call_from_json, item_from_json
from ._protocol import entry_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._call import Call
    from ._protocol import Key


class Kept(NamedTuple):
    """An item's text, and what the store knows it by: its id, whose it is, and since when it is there.

    `backend`, and `entry`, the log entry that it lies under, are None where that is not told.
    """

    id: str
    backend: str | None
    created_at: float
    text: str
    entry: str | None = None

    def read(self) -> Item:
        """Return the item; raise Unreadable where the text is none, or that of another than it is kept as."""
        item = item_from_json(self.text)
        if (
            item.id != self.id
            or self.backend not in {None, item.ref.backend}
            or self.entry not in {None, entry_of(item)}
        ):
            raise Unreadable("it is that of another item, or for another log entry")
        return item

    def shown(self) -> Item:
        """Return the item, or what stands for one that cannot be read: it says nothing, and has the text as reason."""
        try:
            return self.read()
        except Unreadable as error:
            ref = LogRef(backend=printable(self.backend or "") or "unknown", id="unknown")
            return Item(self.id, ref, Feedback(), self.created_at, reason=f"{_said_of(error)}: {self.text}")


def calls_from_json(texts: Iterable[str], place: str, key: Key) -> tuple[Call, ...]:
    """Return the calls that a store keeps under a key; raise StoreError where one of them cannot be read."""
    try:
        return tuple(map(call_from_json, texts))
    except Unreadable as error:
        what = f"what the store {place!r} keeps under {key.kind} {key.id!a:.80}"
        raise StoreError(f"{what} cannot be read ({error})") from None


def tell_of_buried(backend: str, buried: Iterable[tuple[Kept, Unreadable]]) -> None:
    """Count items that became dead letters because they cannot be read, and tell of them in the log."""
    for kept, error in buried:
        count("failed", backend)
        warn("unreadable", "feedback %s for %s failed: %s", kept.id, backend, _said_of(error))


def _said_of(error: Unreadable) -> str:
    return f"it cannot be read ({error}), and is kept as it is"
