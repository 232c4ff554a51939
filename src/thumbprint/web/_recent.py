"""How often a token speaks, and what it said last: kept in the store, for all the processes that share it."""

from __future__ import annotations

import math
import secrets
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from .._log import warn
from ..stores import MemoryStore, Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..stores import Store

DOUBLE_CLICK: Final = 10.0  # seconds within which the same words count once
TICK: Final = 0.02  # seconds between two looks at what becomes of the same words elsewhere


class Recent:
    """Limits how often a token speaks, and has what it says twice in a row, as by a double click, count once.

    Tokens and words are given by digests: stores are not to tell what was said. Where there is no store, or it fails,
    this process counts by itself.

    What a token said last is a note: a digest of the words, who took them up, and, once they are recorded, the answer.
    So who says them again meanwhile is not answered before they are, and records them itself where they could not be.
    """

    def __init__(self, per_minute: int) -> None:
        self._pace = Pace(rate=per_minute / 60, burst=float(per_minute))
        self._own = MemoryStore()

    def wait(self, store: Store | None, token: str) -> int:
        """Count one request of the token; return 0, or after how many whole seconds it is to come again."""
        seconds = self._take(self._own, token)  # first: a flood that comes here is not to get on to the others' store
        if not seconds and store is not None and store.shared:
            try:
                seconds = self._take(store, token)
            except Exception as error:
                _warn(error)
        return math.ceil(seconds)

    def _take(self, store: Store, token: str) -> float:
        return store.take(_name(token), self._pace, now=time.time())

    def once(self, store: Store | None, token: str, words: str, record: Callable[[], str]) -> str:
        """Return the text that `record` returns, or did where these words, the token's last, were just said."""
        swap = partial(self._swap, store or self._own, _name(token))
        mine = f"{words} {secrets.token_hex(8)}"
        said = _said_already(swap, words, mine)
        if said is not None:
            return said
        try:
            text = record()
        except BaseException:
            swap(mine, "")
            raise
        swap(mine, f"{mine} {text}")
        return text

    def _swap(self, store: Store, name: str, old: str, new: str) -> str:
        try:
            return store.swap(name, old, new, seconds=DOUBLE_CLICK)
        except Exception as error:
            _warn(error)
            return self._own.swap(name, old, new, seconds=DOUBLE_CLICK)


def _said_already(swap: Callable[[str, str], str], words: str, mine: str) -> str | None:
    """Return what was answered when the words were said; None once it is noted that they are `mine` to record."""
    old = ""
    while (there := swap(old, mine)) != mine:
        said, _, taken_up = there.partition(" ")
        if said != words:
            old = there  # another word: these take its place
            continue
        _, recorded, text = taken_up.partition(" ")
        if recorded:
            return text
        old = ""
        time.sleep(TICK)
    return None


def _name(token: str) -> str:
    return f"feedback:{token}"


def _warn(error: Exception) -> None:
    warn("limits", "the store cannot be asked, so this process limits feedback by itself: %s", error)
