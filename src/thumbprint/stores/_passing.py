"""Values that are kept for a while, in this process's memory."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

T = TypeVar("T")

UNCLEARED: Final = 1_000  # values that are over and may still be there, beside as many as are not over


class Passing(Generic[T]):
    """Values by name, each until a time of its own. Those whose time is over are cleared away in bulk."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[T, float]] = {}
        self._most = UNCLEARED

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str, now: float) -> T | None:
        """Return the value of the name, None where there is none or its time is over."""
        found = self._values.get(name)
        return found[0] if found and found[1] > now else None

    def keep(self, name: str, value: T, *, until: float, now: float) -> None:
        """Keep the value in place of the one before."""
        self._values[name] = value, until
        if len(self._values) > self._most:
            self._values = {name: kept for name, kept in self._values.items() if kept[1] > now}
            self._most = UNCLEARED + 2 * len(self._values)
