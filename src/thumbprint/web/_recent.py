"""What was said lately with each token: how often, and the last words. In memory, and bounded."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from .._fork import forking_lock

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._http import Answer

MAX_TOKENS: Final = 10_000
DOUBLE_CLICK: Final = 10.0  # seconds within which the same words count once


class _Token:
    """One token: when it may speak next without hurry, and what it said last, and when."""

    __slots__ = ("answer", "at", "free_at", "words")

    def __init__(self) -> None:
        self.free_at = -math.inf
        self.words: bytes | None = None
        self.at = -math.inf
        self.answer: Future[Answer] = Future()


class Recent:
    """Limits how often a token speaks, and has what it says twice in a row, as by a double click, count once."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = 60 / per_minute
        self._slack = 60 - self._every  # all of a minute's may come at once
        self._clock = clock
        self._tokens: OrderedDict[bytes, _Token] = OrderedDict()
        self._lock = forking_lock()

    def wait(self, key: bytes) -> int:
        """Count one request of the token; return 0, or after how many whole seconds it is to come again."""
        now = self._clock()
        with self._lock:
            token = self._token(key)
            early = token.free_at - now - self._slack
            if early > 1e-6:
                return math.ceil(early)
            token.free_at = max(token.free_at, now) + self._every
            return 0

    def once(self, key: bytes, words: bytes, record: Callable[[], Answer]) -> Answer:
        """Return what `record` does, or did when these words, the token's last, were said a moment ago."""
        now = self._clock()
        with self._lock:
            token = self._token(key)
            again = token.words == words and now - token.at < DOUBLE_CLICK
            if not again:
                token.words, token.at, token.answer = words, now, Future()
            answer = token.answer
        return answer.result() if again else self._recorded(token, answer, record)

    def _recorded(self, token: _Token, answer: Future[Answer], record: Callable[[], Answer]) -> Answer:
        try:
            answer.set_result(record())
        except BaseException as error:  # it said nothing then; who waits for it is told the same
            with self._lock:
                if token.answer is answer:
                    token.words = None
            answer.set_exception(error)
            raise
        return answer.result()

    def _token(self, key: bytes) -> _Token:
        token = self._tokens.setdefault(key, _Token())
        self._tokens.move_to_end(key)
        if len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)
        return token
