"""Events on their way to OpenTelemetry. The only importer of opentelemetry._logs.

Nothing is kept or tried again: an event is handed to this process's logger, where a logger provider is set up.
"""

from __future__ import annotations

import functools
import sys
import time
from typing import TYPE_CHECKING

from ._log import warn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry._logs import Logger, LoggerProvider

    from .backends import Event


def heard() -> bool:
    """Whether this process has a logger provider: without one events go nowhere."""
    return _logger() is not None


def traced() -> bool:
    """Whether this process has a tracer provider: without one there are no spans."""
    from opentelemetry import trace  # noqa: PLC0415 - only an operator asks

    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def emit(events: Iterable[Event]) -> None:
    """Hand the events to OpenTelemetry; raises nothing."""
    try:
        logger = _logger()
        if logger is not None:
            for event in events:
                _emit(event, logger)
    except Exception:  # a processor of the application's that fails is not to harm its call
        warn("events", "feedback could not be told to OpenTelemetry", exc_info=True)


def _emit(event: Event, logger: Logger) -> None:
    from opentelemetry import trace  # noqa: PLC0415 - loaded where there is a logger; else nobody should wait for it

    # Never the span that is current: it is that of the vote. Whether the evaluated one was sampled is not remembered;
    # an event that says so is dropped by nobody.
    span: trace.Span = trace.INVALID_SPAN
    if event.parent is not None:
        trace_id, span_id = (int(word, 16) for word in event.parent)
        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        span = trace.NonRecordingSpan(trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=sampled))
    logger.emit(
        timestamp=time.time_ns(),
        context=trace.set_span_in_context(span),
        event_name=event.name,
        attributes=event.attributes,
    )


def _logger() -> Logger | None:
    # Where nobody has imported opentelemetry._logs there is no provider, and no reason for us to pay for its import.
    logs = sys.modules.get("opentelemetry._logs")
    if logs is None:
        return None
    try:
        return _logger_of(logs.get_logger_provider())
    except Exception:  # another thread is just importing it, or a provider that fails
        warn("events", "OpenTelemetry's logger provider cannot be used", exc_info=True)
        return None


@functools.lru_cache(maxsize=1)
def _logger_of(provider: LoggerProvider) -> Logger | None:
    """Return the provider's logger, None where it is one that only stands in for a provider which is not set up."""
    from importlib.metadata import version  # noqa: PLC0415 - not needed before something is emitted

    from opentelemetry._logs import NoOpLogger  # noqa: PLC0415 - as above

    if type(provider).__name__ == "ProxyLoggerProvider":  # which opentelemetry._logs does not show
        return None
    logger = provider.get_logger("thumbprint", version("thumbprint"))
    return None if isinstance(logger, NoOpLogger) else logger
