"""The real OpenTelemetry SDK with its in-memory exporters, and what they hold as plain values."""

from __future__ import annotations

from opentelemetry.sdk._logs import LoggerProvider, export
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

IN_MEMORY = "InMemoryLogRecordExporter" if hasattr(export, "InMemoryLogRecordExporter") else "InMemoryLogExporter"


class Telemetry:
    """A tracer and a logger provider; `spans` and `events` are what they have exported."""

    def __init__(self):
        self._spans = InMemorySpanExporter()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = self.tracer_provider.get_tracer("tests")
        self._events = getattr(export, IN_MEMORY)()
        self.logger_provider = LoggerProvider()
        self.logger_provider.add_log_record_processor(export.SimpleLogRecordProcessor(self._events))

    def span(self, name="call"):
        return self.tracer.start_as_current_span(name)

    @property
    def spans(self):
        return [
            {
                "trace_id": f"{span.context.trace_id:032x}",
                "span_id": f"{span.context.span_id:016x}",
                "attributes": dict(span.attributes),
            }
            for span in self._spans.get_finished_spans()
        ]

    @property
    def events(self):
        return [
            {
                "name": record.event_name,
                "trace_id": f"{record.trace_id:032x}",
                "span_id": f"{record.span_id:016x}",
                "attributes": dict(record.attributes),
            }
            for record in (each.log_record for each in self._events.get_finished_logs())
        ]
