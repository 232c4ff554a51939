"""Calls that no service has logged, logged from here: what was asked and answered becomes a row on its way to one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import time
from typing import TYPE_CHECKING, Any, Final

from .._log import warn
from .._operation import UNLOGGED
from ..backends import CallRecord
from ._gathering import Gathered, gather
from ._record import answered, asked, failed, secrets_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from .._model import Json, LogRef
    from ..backends import Exchange, Logging

    _Rows = list[tuple[Logging, LogRef, Mapping[str, Json]]]

_STARTED: Final = "_thumbprint_started"  # on a request
_WATCHED: Final = "_thumbprint_watched"  # on an HTTP client's method


class _Started:
    """Since when a request is under way, and who is to know where it gets no answer. A pickle has the time only."""

    __slots__ = ("at", "unanswered")

    def __init__(self, unanswered: Callable[[Any, BaseException], None]) -> None:
        self.at = time.time()
        self.unanswered = unanswered

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (self.at,)


class CallLog:
    """Writes rows of calls for the backends that want them; `put(ref, row)` has each delivered.

    A call that is over makes one row; a stream one when it begins, and the rest of it when it ends.
    """

    def __init__(self, backends: Sequence[Logging], put: Callable[[LogRef, Mapping[str, Json]], None]) -> None:
        self._backends = backends
        self._put = put

    def started(self, request: Any, client: Any, unanswered: Callable[[Any, BaseException], None]) -> None:
        """Take note that a request is about to be sent, by an SDK's client if one is given.

        Where there is no answer, `unanswered` is called with the request and what was raised instead: no hook of an
        SDK tells of that, so its HTTP client is watched.
        """
        try:
            object.__setattr__(request, _STARTED, _Started(unanswered))
            http: Any = getattr(client, "_client", None)
            send = getattr(http, "send", None)
            if callable(send) and not hasattr(send, _WATCHED):
                http.send = _watched(send)
        except Exception:
            warn("log a request", "a call that gets no answer would not be logged", exc_info=True)

    def entries(
        self, exchange: Exchange, request: Any, response: Any, told: Collection[str], *, by_path: bool = False
    ) -> list[LogRef]:
        """Return the new log entries of a call, for backends that are not `told`, whose rows are on their way.

        With `by_path` nothing but its path tells that it asks a model something: the request has to name one, too, for
        other services also have messages, responses and images.
        """
        missing = [backend for backend in self._backends if backend.name not in told]
        if not missing or exchange.method != "POST" or exchange.operation in UNLOGGED:
            return []
        record, streamed = _asked(exchange, request), _content(response) is None
        if by_path and record.model is None:
            return []
        if not streamed:
            record = _answered(record, exchange, response)
        rows = self._written(missing, exchange, record)
        if streamed:
            gather(response, Gathered(lambda gathered: self._end(rows, exchange, record, response, gathered)))
        return [ref for _, ref, _ in rows]

    def unanswered(self, exchange: Exchange, request: Any, error: BaseException, told: Collection[str]) -> list[LogRef]:
        """Return likewise those of a call that got no answer."""
        missing = [backend for backend in self._backends if backend.name not in told]
        record = _asked(exchange, request)
        if record.model is None:  # no hook of an SDK tells whether it asks a model something
            return []
        record = failed(record, _words(error), _secrets(exchange), exchange.captured_at)
        return [ref for _, ref, _ in self._written(missing, exchange, record)]

    def _written(self, backends: Sequence[Logging], exchange: Exchange, record: CallRecord) -> _Rows:
        rows: _Rows = []
        for backend in backends:
            ref = backend.new_entry(exchange)
            row = backend.row(ref, record)
            if row is not None:
                self._put(ref, row)
                rows.append((backend, ref, row))
        return rows

    def _end(self, rows: _Rows, exchange: Exchange, record: CallRecord, response: Any, gathered: Gathered) -> None:
        """Write what was not known of a stream when it began."""
        try:
            record = _ended(record, exchange, response, gathered)
            for backend, ref, before in rows:
                row = backend.row(ref, record)
                if row is not None:
                    self._put(ref, {name: value for name, value in row.items() if value != before.get(name)})
        except Exception:
            warn("log a stream", "what a stream has answered could not be logged", exc_info=True)


def _watched(send: Callable[..., Any]) -> Callable[..., Any]:
    """Return an HTTP client's method such that it tells of each request that gets no answer."""

    @functools.wraps(send)
    def watched(*args: Any, **kwargs: Any) -> Any:
        request = args[0] if args else kwargs.get("request")
        started = getattr(request, _STARTED, None)
        if not isinstance(started, _Started):
            return send(*args, **kwargs)
        try:
            response = send(*args, **kwargs)
        except BaseException as error:
            started.unanswered(request, error)
            raise
        return _awaited(response, request, started) if inspect.iscoroutine(response) else response

    setattr(watched, _WATCHED, True)
    return watched


async def _awaited(coroutine: Awaitable[Any], request: Any, started: _Started) -> Any:
    try:
        return await coroutine
    except BaseException as error:
        started.unanswered(request, error)
        raise


def _asked(exchange: Exchange, request: Any) -> CallRecord:
    """Return what a request says; only when it was made, where it cannot be read."""
    started = getattr(request, _STARTED, None)
    started_at = started.at if isinstance(started, _Started) else exchange.captured_at
    try:
        return asked(url=exchange.url, headers=exchange.request_headers, body=_content(request), started_at=started_at)
    except Exception:
        _complain("asked")
        return CallRecord(started_at=started_at)


def _answered(record: CallRecord, exchange: Exchange, response: Any, gathered: Gathered | None = None) -> CallRecord:
    """Return the record with what an answer says; only when it came, where it cannot be read.

    What a stream has said is in `gathered`.
    """
    now = time.time()
    try:
        return answered(
            record,
            status=response.status_code,
            secrets=_secrets(exchange),
            headers=exchange.response_headers,
            body=_content(response) if gathered is None else gathered.body(response),
            ended_at=now,
            streamed=gathered is not None,
        )
    except Exception:
        _complain("answered")
        return failed(record, "the answer cannot be read", (), now)


def _ended(record: CallRecord, exchange: Exchange, response: Any, gathered: Gathered) -> CallRecord:
    """Return the record of a stream that is over."""
    record = dataclasses.replace(record, first_output_at=gathered.first_at)
    record = _answered(record, exchange, response, gathered)
    if gathered.error is None:
        return record
    return failed(record, _words(gathered.error), _secrets(exchange), record.ended_at or time.time())


def _secrets(exchange: Exchange) -> list[str]:
    return secrets_in(exchange.url, exchange.request_headers)


def _content(message: Any) -> bytes | None:
    """Return the body of a request or a response; None where it is still to be read, or was not kept."""
    try:
        return bytes(message.content)
    except Exception:  # httpx's RequestNotRead and ResponseNotRead, among others
        return None


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _complain(what: str) -> None:
    warn(f"log what was {what}", "what was %s could not be read, and is not logged", what, exc_info=True)
