"""Work whose requests somebody else sends: a generator yields each, and is sent its answer. Blocking, or awaited."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from ..backends import Answer, HttpRequest
from ._pace import Paused
from ._transport import TransportError

if TYPE_CHECKING:
    from ..backends import Carrier

T = TypeVar("T")

Steps: TypeAlias = Generator[HttpRequest, Answer, T]
"""A plan of a backend's, or what carries plans out. What goes wrong in sending a request is raised where it yields."""


class Sender(Protocol):
    """What sends a request and waits for its answer, such as a transport."""

    def send(self, request: HttpRequest) -> Answer:
        """Return the answer, whatever its status; raise an error where there is none."""
        ...


def sent(steps: Steps[T], sender: Sender) -> T:
    """Do the work, and send its requests in this thread; return what it returns."""
    try:
        request = next(steps)
        while True:
            try:
                answer = sender.send(request)
            except Exception as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result


async def awaited(steps: Steps[T], carrier: Carrier, ends_at: float) -> T:
    """Do the work, and await its requests in this task; return what it returns.

    Each answer is awaited until `ends_at`, of the monotonic clock. Where the task is cancelled, nothing more is sent,
    and what is left of the work is put off.
    """
    try:
        request = next(steps)
        while True:
            try:
                async with asyncio.timeout(max(0.0, ends_at - time.monotonic())):
                    answer = await carrier(request)
            except TimeoutError:
                request = steps.throw(TransportError("there was no answer in time"))
            except Exception as error:
                request = steps.throw(error)
            else:
                request = steps.send(answer)
    except StopIteration as done:
        result: T = done.value
        return result
    except asyncio.CancelledError:
        _put_off(steps)
        raise


def _put_off(steps: Steps[object]) -> None:
    with contextlib.suppress(StopIteration):
        while True:
            steps.throw(Paused(0.0, "whoever awaited it gave up"))
