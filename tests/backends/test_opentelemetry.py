"""Everything that thumbprint knows about the events and attributes of OpenTelemetry's conventions, as values."""

from __future__ import annotations

import pytest

from thumbprint import Cloudflare, LogRef, OpenTelemetry, errors
from thumbprint._feedback import feedback_from
from thumbprint.backends import Emitting, Event, Exchange

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
OTHER_SPAN = "00f067aa0ba902b7"
LOG = LogRef(backend="cloudflare", id="log", trace_id=TRACE, span_id=SPAN, response_id="chatcmpl-1")
ROW = LogRef(backend="braintrust", id="row", trace_id=TRACE, span_id=SPAN, response_id="chatcmpl-1")

EVENT = "gen_ai.evaluation.result"
NAME = "gen_ai.evaluation.name"
VALUE = "gen_ai.evaluation.score.value"
LABEL = "gen_ai.evaluation.score.label"
EXPLANATION = "gen_ai.evaluation.explanation"
RESPONSE_ID = "gen_ai.response.id"


def attributes(backend=None, **feedback):
    """Return what the events for one call without a response id say."""
    ref = LogRef(backend="cloudflare", id="log", trace_id=TRACE, span_id=SPAN)
    return [event.attributes for event in (backend or OpenTelemetry()).events([ref], feedback_from(**feedback))]


@pytest.mark.parametrize(("thumbs", "value", "label"), [("up", 1.0, "up"), ("down", 0.0, "down")])
def test_a_thumb_is_an_evaluation_with_a_value_and_a_label(thumbs, value, label):
    [said] = attributes(thumbs=thumbs)
    assert said == {NAME: "thumbs", VALUE: value, LABEL: label}
    assert isinstance(said[VALUE], float)


def test_each_score_is_an_evaluation_of_its_own():
    assert attributes(score=0, scores={"tone": 0.25, "facts": 1.0}) == [
        {NAME: "score", VALUE: 0.0},
        {NAME: "tone", VALUE: 0.25},
        {NAME: "facts", VALUE: 1.0},
    ]


def test_what_is_cleared_or_has_no_place_in_an_event_is_not_told():
    assert attributes(thumbs=None, score=None, scores={"tone": None}, expected="Ulm", tags=["a"], comment="Why?") == []
    feedback = feedback_from(None, None, {"tone": None, "facts": 1}, "Why?", "Ulm", ["a"], {"page": 1}, "u-17", "app")
    assert OpenTelemetry().unsupported(feedback) == (
        "thumbs", "score", "comment", "expected", "tags", "user_id", "source", "scores.tone", "metadata.page",
    )  # fmt: skip
    assert OpenTelemetry().unsupported(feedback_from("up", 0.5, {"facts": 1})) == ()


@pytest.mark.parametrize("content", [True, "true", "TRUE", " event_only", "SPAN_AND_EVENT"])
def test_a_comment_explains_all_that_is_said_with_it_where_content_is_allowed(content):
    backend = OpenTelemetry(content=content)
    assert attributes(backend, thumbs="down", score=0.5, comment="Wrong city.") == [
        {NAME: "thumbs", VALUE: 0.0, LABEL: "down", EXPLANATION: "Wrong city."},
        {NAME: "score", VALUE: 0.5, EXPLANATION: "Wrong city."},
    ]
    assert attributes(backend, comment="Why?") == [{NAME: "comment", EXPLANATION: "Why?"}]
    assert backend.unsupported(feedback_from(comment="Why?")) == ()


@pytest.mark.parametrize("content", [None, False, "false", "no_content", "span_only", "1", "whatever", ""])
def test_a_comment_is_told_nobody_where_content_is_not_allowed(content):
    backend = OpenTelemetry(content=content)
    assert attributes(backend, thumbs="down", comment="Wrong city.") == [{NAME: "thumbs", VALUE: 0.0, LABEL: "down"}]
    assert attributes(backend, comment="Why?") == []
    assert backend.unsupported(feedback_from(comment="Why?")) == ("comment",)


def test_an_event_belongs_to_the_span_of_the_call_and_names_the_response():
    thumb = {NAME: "thumbs", VALUE: 1.0, LABEL: "up", RESPONSE_ID: "chatcmpl-1"}
    assert list(OpenTelemetry().events([LOG], feedback_from("up"))) == [Event(EVENT, thumb, (TRACE, SPAN))]


def test_a_call_with_two_log_entries_is_told_of_once_and_two_calls_in_one_span_twice():
    again = LogRef(backend="cloudflare", id="next", trace_id=TRACE, span_id=SPAN, response_id="chatcmpl-2")
    events = list(OpenTelemetry().events([LOG, ROW, again], feedback_from("up")))
    assert [event.attributes[RESPONSE_ID] for event in events] == ["chatcmpl-1", "chatcmpl-2"]


def test_without_a_span_the_response_id_alone_tells_what_is_evaluated_and_without_either_nothing_is_said():
    by_response = LogRef(backend="cloudflare", id="log", response_id="chatcmpl-1")
    [event] = OpenTelemetry().events([by_response, LogRef(backend="cloudflare", id="log")], feedback_from("up"))
    assert event.parent is None
    assert event.attributes[RESPONSE_ID] == "chatcmpl-1"


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        ("0" * 32, SPAN), (TRACE, "0" * 16), (TRACE[1:], SPAN), (TRACE, f"{SPAN}0"), (f"-{TRACE[1:]}", SPAN),
        (TRACE, None), (None, SPAN), (f"{TRACE} ", SPAN),
    ],
)  # fmt: skip
def test_what_is_no_trace_and_span_is_no_parent(trace_id, span_id):
    ref = LogRef(backend="cloudflare", id=OTHER_SPAN, trace_id=trace_id, span_id=span_id)
    assert list(OpenTelemetry().events([ref], feedback_from("up"))) == []


def test_a_ref_of_its_own_is_a_span_by_its_id_too_and_must_be_one():
    ref = LogRef(backend="opentelemetry", id=SPAN.upper(), trace_id=TRACE.upper())
    [event] = OpenTelemetry().events([ref], feedback_from("up"))
    assert event.parent == (TRACE, SPAN)
    OpenTelemetry().check(ref)
    OpenTelemetry().check(LogRef(backend="opentelemetry", id="any", response_id="chatcmpl-1"))
    with pytest.raises(errors.UnknownTargetError, match="names no span"):
        OpenTelemetry().check(LogRef(backend="opentelemetry", id=SPAN))


def test_the_span_is_told_each_log_id_under_a_name_of_its_service():
    third = LogRef(backend="third", id="x")
    assert OpenTelemetry().span_attributes([LOG, ROW, third, LogRef(backend="opentelemetry", id=SPAN)]) == {
        "thumbprint.cloudflare.log_id": "log",
        "thumbprint.braintrust.row_id": "row",
        "thumbprint.third.id": "x",
    }


def test_a_call_is_known_by_its_span_where_it_has_one():
    def exchange(**ids):
        return Exchange(
            method="POST", url="https://x", request_headers={}, response_headers={}, operation="chat", **ids
        )

    assert OpenTelemetry().recognise(exchange()) is None
    assert OpenTelemetry().recognise(exchange(trace_id=TRACE, span_id=SPAN)) == LogRef(
        backend="opentelemetry", id=SPAN, operation="chat", trace_id=TRACE, span_id=SPAN
    )


@pytest.mark.parametrize("setting", [{"content": 1}, {"spans": None}, {"spans": "yes"}])
def test_a_setting_of_another_type_is_refused(setting):
    with pytest.raises(errors.ConfigurationError, match=rf"OpenTelemetry\({next(iter(setting))}=…\) is of type"):
        OpenTelemetry(**setting)


def test_it_is_a_backend_of_the_kind_that_emits():
    assert isinstance(OpenTelemetry(), Emitting)
    assert not isinstance(Cloudflare(), Emitting)
