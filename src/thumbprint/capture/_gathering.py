"""Gathering what passes in a stream, for the log, while whoever reads it is given each piece as it comes."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

MOST_GATHERED: Final = 4_000_000  # bytes; of what is longer the beginning is kept
_BASES: Final = ("SyncByteStream", "AsyncByteStream")  # of httpx, which looks for them


class Gathered:
    """What has passed so far; `over(gathered)` is called once, when it is over, in whatever way."""

    def __init__(self, over: Callable[[Gathered], None]) -> None:
        self._pieces: list[bytes] = []
        self._length = 0
        self._over: Callable[[Gathered], None] | None = over
        self.first_at: float | None = None  # seconds since 1970
        self.error: BaseException | None = None

    def add(self, piece: bytes) -> None:
        """Take note of a piece."""
        if self.first_at is None:
            self.first_at = time.time()
        if self._length < MOST_GATHERED:
            self._pieces.append(piece)
            self._length += len(piece)

    def end(self, error: BaseException | None = None) -> None:
        """Take note of the end; of the first one, where there are several."""
        over, self._over = self._over, None
        if over is not None:
            self.error = error
            over(self)

    def body(self, response: Any) -> bytes:
        """Return what has passed as the response's body, or the beginning of that, decoded as its headers say.

        Raises an error where none of it can be decoded. What is decoded is long before it is all there, maybe.
        """
        if response.headers.get("content-encoding", "identity") == "identity":
            return b"".join(self._pieces)[:MOST_GATHERED]
        body = bytearray()
        try:
            for piece in type(response)(200, headers=response.headers, content=iter(self._pieces)).iter_bytes():
                body += piece
                if len(body) >= MOST_GATHERED:
                    break
        except Exception:  # it was broken off
            if not body:
                raise
        return bytes(body[:MOST_GATHERED])


def gather(response: Any, gathered: Gathered) -> None:
    """Have what is read from the response gathered from here on.

    A response whose body is no stream of httpx's kind is left alone.
    """
    stream = response.stream
    base = next((kind for kind in type(stream).__mro__ if kind.__name__ in _BASES), None)
    if base is not None:
        response.stream = _kind(base)(stream, gathered)


@functools.cache
def _kind(base: type) -> type:
    """Return the class of streams that are gathered, of httpx or of what else has such a base class."""
    wrapper = _Sync if base.__name__ == _BASES[0] else _Async
    return type("GatheredStream", (wrapper, base), {})


class _Stream:
    def __init__(self, stream: Any, gathered: Gathered) -> None:
        self._stream = stream
        self._gathered = gathered


class _Sync(_Stream):
    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._stream:
                self._gathered.add(piece)
                yield piece
        except GeneratorExit:  # whoever reads it has had enough
            self._gathered.end()
            raise
        except BaseException as error:
            self._gathered.end(error)
            raise
        self._gathered.end()

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._gathered.end()


class _Async(_Stream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._stream:
                self._gathered.add(piece)
                yield piece
        except GeneratorExit:
            self._gathered.end()
            raise
        except BaseException as error:
            self._gathered.end(error)
            raise
        self._gathered.end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._gathered.end()
