"""OpenTelemetry: feedback as events on the spans of the calls that it is about.

Sources: OpenTelemetry's semantic conventions for generative AI (event `gen_ai.evaluation.result`, in development), as
of 2026-11. The names of the span's attributes are thumbprint's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from .._model import UNSET
from ..errors import ConfigurationError, UnknownTargetError
from ._protocol import Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .._model import Feedback, LogRef
    from ._protocol import Exchange

EVENT: Final = "gen_ai.evaluation.result"
NAME: Final = "gen_ai.evaluation.name"
VALUE: Final = "gen_ai.evaluation.score.value"
LABEL: Final = "gen_ai.evaluation.score.label"
EXPLANATION: Final = "gen_ai.evaluation.explanation"
RESPONSE_ID: Final = "gen_ai.response.id"

ID_NAMES: Final = {"cloudflare": "log_id", "braintrust": "row_id"}  # as the services call them

_LABELS: Final = {1: "up", -1: "down"}
_ALLOWING_CONTENT: Final = frozenset({"true", "event_only", "span_and_event"})
_TRACE_ID: Final = re.compile("(?!0{32})[0-9a-f]{32}")
_SPAN_ID: Final = re.compile("(?!0{16})[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True)
class OpenTelemetry:
    """What OpenTelemetry is told: which log entries a span's calls became, and what is thought of their answers.

    Feedback is emitted as events named `gen_ai.evaluation.result`, by this process's logger provider where there is
    one, each parented to the span in which the call was made. Comments are content: they are told where `content` is
    True or one of "true", "event_only" and "span_and_event"; None means as the standard variable
    `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says. With `spans` a call whose answer bears no service's id is
    captured by the span that is current, so that feedback can be given without any gateway.
    """

    content: bool | str | None = None
    spans: bool = True

    name: ClassVar[str] = "opentelemetry"
    environment: ClassVar[Mapping[str, str]] = {"content": "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"}

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a setting of a wrong type; unknown words in `content` allow nothing."""
        for setting, kinds in (("content", (bool, str, type(None))), ("spans", (bool,))):
            value = getattr(self, setting)
            if not isinstance(value, kinds):
                raise ConfigurationError(
                    f"OpenTelemetry({setting}=…) is of type {type(value).__name__}: say True or False"
                )

    @property
    def allows_content(self) -> bool:
        """Whether what people wrote may be told."""
        return str(self.content).strip().lower() in _ALLOWING_CONTENT

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Return the span in which the call was made; None where none was current."""
        if exchange.span_id is None:
            return None
        return exchange.log_ref(backend=self.name, id=exchange.span_id)

    def span_attributes(self, refs: Sequence[LogRef]) -> dict[str, str]:
        """Return the ids of the log entries as `thumbprint.cloudflare.log_id`, `thumbprint.braintrust.row_id`.

        For other services it is `thumbprint.NAME.id`.
        """
        return {
            f"thumbprint.{ref.backend}.{ID_NAMES.get(ref.backend, 'id')}": ref.id
            for ref in refs
            if ref.backend != self.name
        }

    def check(self, ref: LogRef) -> None:
        """Raise UnknownTargetError where the ref names neither a span nor a response."""
        if _parent_of(ref) is None and ref.response_id is None:
            raise UnknownTargetError(
                f"{ref} names no span: a LogRef of {self.name} has a trace_id of 32 hex digits, and as span_id or id 16"
            )

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:
        """Return the names of the fields of which no event tells, those that are to be cleared among them."""
        silent = {
            "thumbs": feedback.thumbs is None,
            "score": feedback.score is None,
            "comment": feedback.comments != () and not self.allows_content,
            "expected": feedback.expected is not UNSET,
            "tags": feedback.tags is not None,
            "user_id": feedback.user_id is not None,
            "source": feedback.source is not None,
        }
        names = [name for name, is_silent in silent.items() if is_silent]
        names += [f"scores.{name}" for name, value in feedback.scores.items() if value is None]
        return (*names, *(f"metadata.{name}" for name in feedback.metadata))

    def events(self, refs: Sequence[LogRef], feedback: Feedback) -> Iterator[Event]:
        """Yield an event for each evaluation and call, one call's two log entries being told of once.

        A comment explains all that is said with it; alone it is an evaluation named "comment".
        """
        evaluations = list(_evaluations(feedback))
        explained = {}
        if feedback.comments and self.allows_content:
            explained = {EXPLANATION: "\n".join(feedback.comments)}
            evaluations = evaluations or [{NAME: "comment"}]
        for parent, response_id in dict.fromkeys((_parent_of(ref), ref.response_id) for ref in refs):
            if parent is not None or response_id is not None:
                of_call = {} if response_id is None else {RESPONSE_ID: response_id}
                for evaluation in evaluations:
                    yield Event(EVENT, evaluation | explained | of_call, parent)


def _evaluations(feedback: Feedback) -> Iterator[dict[str, str | float]]:
    """Yield the attributes of each evaluation; what is cleared, or left as it is, is none."""
    if feedback.thumbs is not UNSET and feedback.thumbs is not None:
        yield {NAME: "thumbs", VALUE: float(feedback.thumbs == 1), LABEL: _LABELS[feedback.thumbs]}
    for name, value in (("score", feedback.score), *feedback.scores.items()):
        if value is not UNSET and value is not None:
            yield {NAME: name, VALUE: value}


def _parent_of(ref: LogRef) -> tuple[str, str] | None:
    """Return the trace id and the span id of the call, None where they are not known, or cannot be."""
    trace_id = (ref.trace_id or "").lower()
    span_id = (ref.span_id or (ref.id if ref.backend == OpenTelemetry.name else "")).lower()
    return (trace_id, span_id) if _TRACE_ID.fullmatch(trace_id) and _SPAN_ID.fullmatch(span_id) else None
