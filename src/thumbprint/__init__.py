"""thumbprint remembers which log entry each LLM call became, so that a thumb given later lands on it."""

from ._client import Thumbprint
from ._default import (
    configure,
    current_scope,
    flush,
    instrument,
    record_feedback,
    scope,
    shutdown,
    uninstrument,
    unwrap,
    wrap,
)
from ._model import FlushResult, LogRef, Outcome, Pace, Verification
from ._scope import Scope
from .backends import Braintrust, Cloudflare, OpenTelemetry
from .delivery import Receipt
from .errors import (
    AmbiguousTargetError,
    ArgumentTypeError,
    ArgumentValueError,
    ConfigurationError,
    MissingCredentialsError,
    StoreError,
    ThumbprintError,
    UnknownTargetError,
    UnsupportedClientError,
)

__all__ = [
    "AmbiguousTargetError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "Braintrust",
    "Cloudflare",
    "ConfigurationError",
    "FlushResult",
    "LogRef",
    "MissingCredentialsError",
    "OpenTelemetry",
    "Outcome",
    "Pace",
    "Receipt",
    "Scope",
    "StoreError",
    "Thumbprint",
    "ThumbprintError",
    "UnknownTargetError",
    "UnsupportedClientError",
    "Verification",
    "configure",
    "current_scope",
    "flush",
    "instrument",
    "record_feedback",
    "scope",
    "shutdown",
    "uninstrument",
    "unwrap",
    "wrap",
]
