"""The services that keep log entries: one file each, with everything that is known about it and no I/O."""

from ._protocol import (
    Answer,
    Backend,
    Confirmable,
    Confirmation,
    Diagnosable,
    Diagnosis,
    Emitting,
    Event,
    Exchange,
    Homed,
    HttpRequest,
    Plan,
    Verdict,
    judge,
    known_home,
)
from .braintrust import Braintrust
from .cloudflare import Cloudflare
from .opentelemetry import OpenTelemetry

__all__ = [
    "Answer",
    "Backend",
    "Braintrust",
    "Cloudflare",
    "Confirmable",
    "Confirmation",
    "Diagnosable",
    "Diagnosis",
    "Emitting",
    "Event",
    "Exchange",
    "Homed",
    "HttpRequest",
    "OpenTelemetry",
    "Plan",
    "Verdict",
    "judge",
    "known_home",
]
