"""Rows of calls on their way into the outbox: of a store that is shared, the call that is logged does not wait."""

from __future__ import annotations

import functools
import json
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from ._excerpt import MOST
from ._log import warn
from ._model import Feedback, Item
from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ._model import Json, LogRef
    from .delivery import Tracker
    from .stores import References

MOST_ROWS: Final = 64_000_000  # characters of rows that wait: the memory of the application is its own
MOST_WAITING: Final = 5_000  # rows that wait: an outbox in memory takes twice as many, and feedback has to find room

_TOO_MANY: Final = "too many rows wait to be written"


class RowQueue:
    """What waits to be put into the outbox, and counts what waits there.

    `put` puts rows into the outbox, in their order, and raises StoreError where that has to be tried again; `drop`
    drops them, and says why.
    """

    def __init__(
        self,
        tracker: Tracker,
        references: References,
        *,
        put: Callable[[Sequence[Item]], None],
        drop: Callable[[Sequence[Item], str], None],
    ) -> None:
        self._tracker = tracker
        self._references = references
        self._put = put
        self._drop = drop
        self.used = False
        """Whether there were any rows."""
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew in a child process: what waits is its parent's to write."""
        self.unput: deque[Item] = deque()
        """What is not in the outbox yet."""
        self._putting = threading.Lock()  # of who puts it there
        self._sizes: dict[str, int] = {}  # of what waits, there or here: item id → characters

    def log(self, ref: LogRef, row: Mapping[str, Json]) -> None:
        """Have a row of a call put into the outbox, before any feedback for it, and delivered in the background.

        Into a store that is shared a thread puts it, unless feedback takes it along. Where too many wait it is dropped.
        Raises TypeError or ValueError for a row that is no JSON.
        """
        size, items = len(json.dumps(row)), list[Item]()
        receipt = self._tracker.open((ref,), Feedback(), None, items)
        items = [item._replace(row=row) for item in items]
        if self._has_too_many(size):
            self._drop(items, _TOO_MANY)
            return
        self.used = True
        self._sizes[receipt.id] = size
        if self._tracker.attended:
            self._tracker.call_when_settled(receipt, functools.partial(self._sizes.__delitem__, receipt.id))
        self.unput.extend(items)
        if self._references.threaded:
            self._references.later(self.put)  # where it has too much to write, what comes next takes the row along
        else:
            self.try_to_put()

    def put(self) -> None:
        """Put the rows that wait for it into the outbox, in their order, and have them delivered.

        One thread does so, for which no other waits. Raises StoreError where that has to be tried again, since the
        store cannot be written.
        """
        while self.unput and self._putting.acquire(blocking=False):
            try:
                self._put_taken()
            finally:
                self._putting.release()

    def try_to_put(self) -> None:
        """Do so; where the store cannot be written, somebody does so later."""
        if self.unput:
            try:
                self.put()
            except StoreError as error:
                warn("rows", "rows of calls wait to be stored: %s", error)

    def _put_taken(self) -> None:
        rows = [self.unput.popleft() for _ in range(len(self.unput))]
        try:
            self._put(rows)
        except StoreError:
            self.unput.extendleft(reversed(rows))
            raise
        if not self._tracker.attended:  # what becomes of them from here on is not heard of
            for item in rows:
                self._sizes.pop(item.id, None)

    def _has_too_many(self, size: int) -> bool:
        """Whether there is no room for one more, of so many characters."""
        if len(self._sizes) >= MOST_WAITING:
            return True
        return len(self._sizes) > MOST_ROWS / MOST and sum(list(self._sizes.values())) + size > MOST_ROWS
