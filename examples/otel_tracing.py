"""A vote, given later and elsewhere, becomes an event on the span of the call: with OpenTelemetry's own SDK.

    python examples/otel_tracing.py

Needs `pip install opentelemetry-sdk`. Where no gateway is configured (OPENAI_BASE_URL), the emulator plays one.
"""

import os
from typing import Any

from openai import OpenAI
from opentelemetry import _logs, trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider

import thumbprint
from thumbprint.emulator import Emulator


class Kept(LogRecordProcessor):
    """Stands for your exporter: keeps the events it is given."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_emit(self, log_record: Any) -> None:
        """Keep one."""
        self.events.append(log_record.log_record)

    def shutdown(self) -> None:
        """Close nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - as the SDK calls it
        """Have nothing that waits."""
        return True


kept = Kept()
trace.set_tracer_provider(TracerProvider())
logger_provider = LoggerProvider()
logger_provider.add_log_record_processor(kept)
_logs.set_logger_provider(logger_provider)
tracer = trace.get_tracer("example")

if not os.environ.get("OPENAI_BASE_URL"):
    os.environ.update(Emulator().start().environ())
client = thumbprint.wrap(OpenAI())

with tracer.start_as_current_span("answer") as answer, thumbprint.scope(id="message-42"):
    client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "Where is Ulm?"}])
print("log", answer.attributes["thumbprint.cloudflare.log_id"])  # which log entry this span's call became

# Later, by the message's id: with a shared THUMBPRINT_STORE in any process.
with tracer.start_as_current_span("vote"):
    thumbprint.record_feedback("message-42", thumbs="up").wait(10)

[event] = kept.events
print(event.event_name, dict(event.attributes))
print("the vote is on the span of the call:", event.span_id == answer.get_span_context().span_id)
