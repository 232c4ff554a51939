"""A response with its headers → a captured call, reported to the open scopes and kept in the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .._call import Call, attach, attached
from .._log import warn
from .._metrics import count
from .._scope import current_span, inbound_scope_ids, open_scopes, recording_span
from ..backends import Exchange
from ..stores import Key
from ._operation import POLLS, operation_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._model import LogRef
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
    ) -> None:
        self._backends = tuple(backends)
        self._id_headers = tuple({header for backend in self._backends for header in backend.id_headers})
        self._references = references
        self._emitting = tuple(emitting)
        self._spans = tuple(backend for backend in self._emitting if backend.spans)
        self._accept_baggage = accept_baggage

    def begin(self, response: Any) -> Call | None:
        """Return the call that the response's headers tell of, and let the response carry it; the span is told of it.

        None where they tell of none, or where the response carries a call already: then somebody else captured it.
        """
        try:
            headers = response.headers
            known = self._spans or any(header in headers for header in self._id_headers)
            if not known or attached(response) is not None:
                return None
            call = self._recognise(response)
            if call is not None:
                for ref in call.refs:
                    count("captured", ref.backend)
                attach(response, call)
                attach(response.request, call)  # an error in the middle of a stream knows its request alone
                self._annotate(call)
        except Exception:
            _complain("a response")
            return None
        return call

    def finish(self, call: Call, result: object) -> None:
        """Let the result that the application gets carry the call, and tell the scopes and the store of it."""
        try:
            attach(result, call)
            keys = [Key("trace", call.refs[0].trace_id)] if call.refs[0].trace_id else []
            for scope in open_scopes():
                scope.report(call)
                keys.append(Key("scope", scope.id))
            if self._accept_baggage:
                keys += [Key("scope", scope_id) for scope_id in inbound_scope_ids()]
            self._learn(call, result)  # first: a durable store keeps what is known when it is told
            self._references.remember(keys, call)
        except Exception:
            _complain("a call")

    def parsed(self, response: Any, result: object) -> None:
        """Let what was parsed from a captured response carry its call: a stream's chunk, a raw response's content."""
        try:
            call = attached(response)
            if call is not None:
                attach(result, call)
                held = _held_response(result)
                if held is not None:
                    attach(held, call)
                self._learn(call, result)
        except Exception:
            _complain("a chunk")

    def failed(self, response: Any, error: object) -> None:
        """Let an error carry the call that ended in it. No scope hears of it: the error itself is its target."""
        call = self.begin(response) or attached(response)
        if call is not None:
            attach(error, call)

    def prepare(self, request: Any) -> None:
        """Add to a request what a gateway must be told so that its answer has an id."""
        for backend in self._backends:
            try:
                for name, value in backend.request_headers(str(request.url), request.headers).items():
                    request.headers[name] = value
            except Exception:
                _complain("a request")

    def _annotate(self, call: Call) -> None:
        """Tell the current span, where it is recorded, which log entries the call became."""
        try:
            span = recording_span() if self._emitting else None
            if span is not None:
                for backend in self._emitting:
                    span.set_attributes(backend.span_attributes(call.refs))
        except Exception:
            _complain("a span")

    def _recognise(self, response: Any) -> Call | None:
        request = response.request
        trace_id, span_id = current_span()
        exchange = Exchange(
            method=request.method,
            url=str(request.url),
            request_headers=request.headers,
            response_headers=response.headers,
            operation=operation_of(request.method, request.url.path),
            trace_id=trace_id,
            span_id=span_id,
            captured_at=time.time(),
        )
        refs = [ref for backend in self._backends if (ref := _ref(backend, exchange))]
        refs = refs or [ref for backend in self._spans if (ref := _ref(backend, exchange))]
        if not refs:
            return None
        return Call(refs, repeats=any(backend.repeats(exchange) for backend in self._backends))

    def _learn(self, call: Call, result: object) -> None:
        """Take the response id from the answer, the first time it is seen, and keep the call under it.

        A poll is not kept: the id leads to the call that made the response.
        """
        if call.response_id is not None or not (call.generated or call.operation in POLLS):
            return
        response_id = _response_id(result)
        if response_id is None:
            return
        call.learn_response_id(response_id)
        if call.generated:
            self._references.remember([Key("response", response_id)], call)


def _ref(backend: Backend | Emitting, exchange: Exchange) -> LogRef | None:
    try:
        return backend.recognise(exchange)
    except ValueError as error:
        warn(f"capture {backend.name}", "a call was not captured: %s", error)
        return None


def _held_response(result: object) -> object | None:
    """Return the response that an event of the Responses API holds, or None."""
    return getattr(result, "__dict__", {}).get("response")


def _response_id(result: object) -> str | None:
    """Return the id that an answer bears: its own, or that of the response that it holds."""
    for bearer in (result, _held_response(result)):
        found = getattr(bearer, "__dict__", {}).get("id")
        if isinstance(found, str) and found:
            return found
    return None


def _complain(what: str) -> None:
    warn(
        f"capture {what}",
        "%s could not be captured; the application's call is unharmed",
        what,
        exc_info=True,
    )
