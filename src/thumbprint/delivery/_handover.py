"""What waits in the memory of a delivery that is replaced: it moves on, each entry's in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..stores import Conclusion
from ._clock import clock_of
from ._lane import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .._model import Item
    from ..stores import MemoryStore

MOVED_AT_ONCE: Final = 100  # entries


class Handover:
    """Hands on what is in a store, which nobody takes from any more, but for the deliveries that are on their way.

    As long as something is there for an entry, what comes for it is put behind that, so that it is not overtaken by
    it. `take` takes items for good, or tells what becomes of them; `before` is a handover to whom has this store, where
    that one is not over either.
    """

    def __init__(
        self, store: MemoryStore, take: Callable[[Sequence[Item]], None], *, before: Handover | None = None
    ) -> None:
        self._store = store
        self._take = take
        self._before = before
        self._clock = clock_of(store)
        self._emptied = False

    @property
    def over(self) -> bool:
        """Whether everything has been handed on."""
        return self._emptied and (self._before is None or self._before.over)

    def put_behind(self, items: Sequence[Item]) -> Sequence[Item]:
        """Put those items behind what is still here that have something here for their entry; return the others."""
        if self._before is not None:
            items = self._before.put_behind(items)
        return [item for item in items if not self._store.put_behind(item)]

    def move(self) -> None:
        """Hand on what nobody is delivering now. Who was delivering meanwhile calls this again when that is done.

        What is put behind an entry while it moves, moves after it.
        """
        while claims := self._store.withdraw(now=self._clock(), lease=LEASE):
            for start in range(0, len(claims), MOVED_AT_ONCE):
                some = claims[start : start + MOVED_AT_ONCE]
                self._take([item for claim in some for item in claim.items])
                self._store.conclude([(claim, Conclusion(settled=claim.items)) for claim in some])
        self._emptied = not any(depth.queued for depth in self._store.depths())
