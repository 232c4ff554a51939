"""A response with its headers → a captured call, reported to the open scopes and kept in the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .._call import Call, attach, attached, detach
from .._log import warn
from .._metrics import count
from .._operation import POLLS, asks_model, operation_at
from .._scope import current_span, inbound_scope_ids, open_scopes, recording_span
from ..backends import Exchange, Logging, Spanning, Tagging
from ..stores import Key
from ._body import id_in_body
from ._call_log import CallLog
from ._carrying import response_id_in
from ._headers import headers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .._model import Json, LogRef
    from ..backends import Backend, Emitting
    from ..stores import References


class Recorder:
    """Captures calls for one Thumbprint. Raises nothing: what goes wrong in here is logged, and costs one capture."""

    def __init__(
        self,
        backends: Iterable[Backend],
        references: References,
        *,
        emitting: Iterable[Emitting] = (),
        accept_baggage: bool = False,
        log: Callable[[LogRef, Mapping[str, Json]], None] = lambda _ref, _row: None,
    ) -> None:
        self._backends = tuple(backends)
        self._references = references
        self._emitting = tuple(emitting)
        self._spans = tuple(backend for backend in self._emitting if backend.spans)
        self._accept_baggage = accept_baggage
        self._spanning = tuple(backend for backend in self._backends if isinstance(backend, Spanning))
        self._asking = tuple(backend for backend in self._backends if backend.asks)
        self._tagging = tuple(backend for backend in self._backends if isinstance(backend, Tagging) and backend.tags)
        logging = [backend for backend in self._backends if isinstance(backend, Logging) and backend.logs_calls]
        self._call_log = CallLog(logging, log) if logging else None
        self.prepares = bool(logging or self._asking or self._tagging)
        """Whether requests may have to be prepared."""

    def begin(self, response: Any, *, only_by_id: bool = False) -> Call | None:
        """Return the call that the response tells of, and let the response carry it; the span is told of it.

        Where another hook saw the response before, as that of an HTTP client inside an SDK's, it is the call that this
        one found. None where the response tells of none: by a service's id in its headers, or, unless `only_by_id`, by
        the span that it was made in. Where calls are logged, it is one too, with `only_by_id` where its path says so
        and the request names a model.
        """
        try:
            headers, request = headers_of(response), response.request
            telling = self._telling(headers)
            if not (telling or self._counts_without_id(request, only_by_id=only_by_id)):
                return None
            call = _carried(response, request)
            if call is None:
                exchange = _exchange_of(request, headers)
                call = self._captured(exchange, telling, response, only_by_id=only_by_id)
                if call is not None:
                    attach(response, call)
                    attach(request, call)  # an error in the middle of a stream knows its request alone
        except Exception:
            _complain("a response")
            return None
        return call

    def seen(
        self, *, url: str, request_headers: Mapping[str, str], response_headers: Mapping[str, str], operation: str
    ) -> Call | None:
        """Return the call that a POST became, by its headers as `Exchange` has them; None where they tell of none.

        For who has no request and response as HTTP clients have them, and lets what there is carry the call by itself.
        """
        try:
            exchange = _exchange(
                method="POST",
                url=url,
                request_headers=request_headers,
                response_headers=response_headers,
                operation=operation,
            )
            return self._captured(exchange, self._telling(response_headers))
        except Exception:
            _complain("a response")
            return None

    def finish(self, call: Call, response: Any, result: object) -> None:
        """Let the result that the application gets carry the call; tell the scopes and the store of it, once.

        An answer that is an error is nothing to a scope: somebody may try again, or the exception is the target. The
        response is None where the call was `seen`, and succeeded.
        """
        try:
            attach(result, call)
            news = not call.reported and (response is None or 200 <= response.status_code < 300)
            keys = self._report(call) if news else []
            if call.response_id is None:
                call.learns = call.reported
                # Before the store is told: a durable one keeps what is known then.
                keys += _learnt(call, id_in_body(response) if result is response else response_id_in(result))
            if keys:
                self._references.remember(keys, call)
        except Exception:
            _complain("a call")

    def parsed(self, call: Call, result: object) -> None:
        """Learn the id of the answer to a call from what was parsed of it, where that bears it."""
        try:
            if keys := _learnt(call, response_id_in(result)):
                self._references.remember(keys, call)
        except Exception:
            _complain("a chunk")

    def failed(self, response: Any, error: object, *, only_by_id: bool = False) -> None:
        """Let an error carry the call that ended in it. No scope hears of it: the error itself is its target."""
        call = self.begin(response, only_by_id=only_by_id)
        if call is not None:
            attach(error, call)

    def sending(self, request: Any) -> None:
        """Have a request that is sent once more no longer carry the call that it became the last time."""
        detach(request)
        if self._call_log is not None:
            self._call_log.started(request, None, self.unanswered)

    def received(self, response: Any) -> None:
        """Capture what a bare HTTP client got."""
        call = self.begin(response, only_by_id=True)
        if call is not None:
            self.finish(call, response, response)

    def raised(self, request: Any, error: BaseException) -> None:
        """Let what a bare HTTP client raised carry the call, where it did so for an answer, or the call is logged."""
        response = getattr(error, "response", None)
        if hasattr(response, "headers"):
            self.failed(response, error, only_by_id=True)
        elif self._call_log is not None:
            self.unanswered(request, error)

    def unanswered(self, request: Any, error: BaseException) -> None:
        """Log a call that got no answer; the error that an SDK makes of that knows its request."""
        try:
            asked = asks_model(request.method, request.url.path)
            if self._call_log is None or not asked or attached(request) is not None:
                return
            exchange = _exchange_of(request, {})
            told = {ref.backend for ref in self._current_rows(exchange, ())}
            refs = self._call_log.unanswered(exchange, request, error, told)
            if refs:
                call = self._counted(Call(refs))
                attach(request, call)
                attach(error, call)
        except Exception:
            _complain("a call without an answer")

    def prepare(self, request: Any, client: Any = None) -> None:
        """Add to a request what a gateway must be told so that its answer has an id, and bears the scopes' ids.

        Where calls are logged, that also goes for one that the SDK's client gets no answer to.
        """
        if self._call_log is not None:
            self._call_log.started(request, client, self.unanswered)
        try:
            url, headers = str(request.url), request.headers
        except Exception:
            _complain("a request")
            return
        for backend in self._asking:
            _add(headers, backend.request_headers, url, headers)
        if self._tagging:
            scope_ids = [*(scope.id for scope in open_scopes()), *self._inbound_ids()]
            for tagging in self._tagging:
                _add(headers, tagging.tag_headers, url, headers, scope_ids)

    def _telling(self, headers: Mapping[str, str]) -> list[Backend]:
        """Return the backends whose service has an id in the headers of an answer."""
        return [backend for backend in self._backends if any(header in headers for header in backend.id_headers)]

    def _counts_without_id(self, request: Any, *, only_by_id: bool) -> bool:
        """Whether a call may be known by its span alone, or is logged."""
        if only_by_id:
            return self._call_log is not None and asks_model(request.method, request.url.path)
        return bool(self._spans or self._call_log or self._in_spans())

    def _report(self, call: Call) -> list[Key]:
        """Tell the scopes that are open of a call; return the keys that it is to be found by."""
        call.reported = True
        keys = [Key("trace", call.trace_id)] if call.trace_id else []
        for scope in open_scopes():
            scope.report(call)
            keys.append(Key("scope", scope.id))
        return keys + [Key("scope", scope_id) for scope_id in self._inbound_ids()]

    def _inbound_ids(self) -> tuple[str, ...]:
        return inbound_scope_ids() if self._accept_baggage else ()

    def _annotate(self, call: Call) -> None:
        """Tell the current span, where it is recorded, which log entries the call became."""
        try:
            span = recording_span()
            if span is not None:
                for backend in self._emitting:
                    span.set_attributes(backend.span_attributes(call.refs))
        except Exception:
            _complain("a span")

    def _captured(
        self, exchange: Exchange, telling: Sequence[Backend], response: Any = None, *, only_by_id: bool = False
    ) -> Call | None:
        """Return the call that an exchange became, count it, and tell the span of it."""
        refs = self._recognised(exchange, telling, response, only_by_id=only_by_id)
        return self._counted(Call(refs, repeats=self._repeats(exchange))) if refs else None

    def _counted(self, call: Call) -> Call:
        for ref in call.refs:
            count("captured", ref.backend)
        if self._emitting:
            self._annotate(call)
        return call

    def _recognised(
        self, exchange: Exchange, telling: Sequence[Backend], response: Any, *, only_by_id: bool
    ) -> list[LogRef]:
        """Return the log entries that an exchange became."""
        refs = [ref for backend in telling if (ref := _ref(backend.name, backend.recognise, exchange))]
        rows = self._current_rows(exchange, refs)
        if refs or not only_by_id:
            refs += rows
        if self._call_log is not None and response is not None:
            told = {ref.backend for ref in (*refs, *rows)}
            refs += self._logged(self._call_log, exchange, response, told, by_path=only_by_id and not refs)
        if refs or only_by_id:
            return refs
        return [ref for backend in self._spans if (ref := _ref(backend.name, backend.recognise, exchange))]

    def _repeats(self, exchange: Exchange) -> bool:
        for backend in self._backends:  # noqa: SIM110 - as above
            if backend.repeats(exchange):
                return True
        return False

    def _logged(
        self, call_log: CallLog, exchange: Exchange, response: Any, told: set[str], *, by_path: bool
    ) -> list[LogRef]:
        """Have the call logged; return its new log entries."""
        try:
            return call_log.entries(exchange, response.request, response, told, by_path=by_path)
        except Exception:
            _complain("a row")
            return []

    def _current_rows(self, exchange: Exchange, refs: Iterable[LogRef]) -> list[LogRef]:
        """Return the entries of SDKs' spans that are current, of backends that have none among the refs."""
        found: list[LogRef] = []
        for backend in self._in_spans():
            if all(ref.backend != backend.name for ref in refs):
                found += filter(None, [_ref(backend.name, backend.current_row, exchange)])
        return found

    def _in_spans(self) -> list[Spanning]:
        """Return the backends whose SDK the application uses: a call in one of its spans is known by that."""
        return [backend for backend in self._spanning if backend.spans_in_use]


def _exchange_of(request: Any, response_headers: Mapping[str, str]) -> Exchange:
    """Return what passed for the request of an HTTP client."""
    method, url = request.method, str(request.url)
    return _exchange(
        method=method,
        url=url,
        request_headers=request.headers,
        response_headers=response_headers,
        operation=operation_at(method, url),
    )


def _exchange(
    *,
    method: str,
    url: str,
    request_headers: Mapping[str, str],
    response_headers: Mapping[str, str],
    operation: str,
) -> Exchange:
    """Return what passed between a client and a gateway just now, in the span that is current."""
    trace_id, span_id = current_span()
    return Exchange(
        method=method,
        url=url,
        request_headers=request_headers,
        response_headers=response_headers,
        operation=operation,
        trace_id=trace_id,
        span_id=span_id,
        captured_at=time.time(),
    )


def _ref(name: str, recognise: Callable[[Exchange], LogRef | None], exchange: Exchange) -> LogRef | None:
    try:
        return recognise(exchange)
    except ValueError as error:
        warn(f"capture {name}", "a call was not captured: %s", error)
    except Exception:  # of a backend of somebody's own, or an SDK: what the others know of the call still counts
        warn(f"capture {name}", "a call was not captured for %s", name, exc_info=True)
    return None


def _learnt(call: Call, response_id: str | None) -> list[Key]:
    """Let the call know the id that its answer bears; return the key that it is to be found by from now on.

    A poll has none: the id leads to the call that made the response.
    """
    if response_id is None or not (call.generated or call.operation in POLLS):
        return []
    call.learn_response_id(response_id)
    return [Key("response", response_id)] if call.generated else []


def _carried(response: Any, request: Any) -> Call | None:
    """Return the call that the response carries for this very request; one that is handed out again may carry another.

    A cache, or a transport that was made for a test, may give the same object to several requests.
    """
    call = attached(response)
    return call if call is not None and attached(request) is call else None


def _add(headers: Any, find: Callable[..., Mapping[str, str]], *arguments: Any) -> None:
    try:
        found = find(*arguments)
        if found:  # for nothing, too, an update takes its time
            headers.update(found)
    except Exception:
        _complain("a request")


def _complain(what: str) -> None:
    warn(
        f"capture {what}",
        "%s could not be captured; the application's call is unharmed",
        what,
        exc_info=True,
    )
