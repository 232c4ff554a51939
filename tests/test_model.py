from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint import FlushResult, LogRef, Outcome
from thumbprint._model import NON_GENERATING, UNSET, Feedback, Item, Pace, Unset, overall
from thumbprint.stores._protocol import entry_of

REF = LogRef(backend="cloudflare", id="01JADMCQQQBWH3NXZ5GCRN98DP", operation="chat", account_id="a", gateway_id="g")
TEXT_FIELDS = [spec.name for spec in dataclasses.fields(LogRef) if spec.name != "captured_at"]
OPTIONAL_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
VISIBLE = st.text(min_size=1).filter(str.isprintable)

log_refs = st.builds(
    LogRef,
    backend=VISIBLE,
    id=VISIBLE,
    **{name: OPTIONAL_TEXT for name in TEXT_FIELDS if name not in {"backend", "id"}},
    captured_at=st.floats(allow_nan=False, allow_infinity=False),
)


@given(log_refs)
def test_a_log_ref_survives_its_dict_json_pickle_and_copy(ref):
    assert LogRef.from_dict(ref.to_dict()) == ref
    assert LogRef.from_dict(json.loads(json.dumps(ref.to_dict()))) == ref
    assert pickle.loads(pickle.dumps(ref)) == ref
    assert copy.deepcopy(ref) == ref
    assert hash(LogRef.from_dict(ref.to_dict())) == hash(ref)


@given(
    st.dictionaries(
        st.sampled_from([*TEXT_FIELDS, "captured_at", "later"]) | st.integers(),
        st.text() | st.floats() | st.booleans() | st.none() | st.lists(st.text()),
    )
)
def test_a_log_ref_is_read_from_a_sound_dict_or_refused_with_a_short_value_error(values):
    sound = {"backend", "id"} <= values.keys() and all(
        isinstance(value, float if name == "captured_at" else str) and (name == "captured_at" or value.isprintable())
        for name, value in values.items()
        if name in TEXT_FIELDS or name == "captured_at"
    )
    if sound:
        assert LogRef.from_dict(values).id == values["id"]
    else:
        with pytest.raises(ValueError, match="LogRef") as refused:
            LogRef.from_dict(values)
        assert len(str(refused.value)) < 300


def test_a_log_refs_dict_holds_only_what_is_known():
    assert REF.to_dict() == {
        "backend": "cloudflare",
        "id": "01JADMCQQQBWH3NXZ5GCRN98DP",
        "operation": "chat",
        "account_id": "a",
        "gateway_id": "g",
        "captured_at": 0.0,
    }


def test_a_log_refs_repr_is_what_makes_it_and_leaves_out_what_is_not_known():
    assert eval(repr(REF)) == REF  # noqa: S307
    assert "project" not in repr(REF)


def test_a_log_ref_reads_over_names_that_this_version_does_not_know():
    assert LogRef.from_dict({**REF.to_dict(), "colour": "red"}) == REF


def test_a_log_ref_takes_a_whole_number_as_its_time():
    assert LogRef.from_dict({"backend": "b", "id": "i", "captured_at": 7}).captured_at == 7


@pytest.mark.parametrize("name", ["backend", "id", "operation", "captured_at"])
@pytest.mark.parametrize("value", [None, True, [], b"x"])
def test_a_log_ref_refuses_a_value_of_another_type_and_names_it(name, value):
    with pytest.raises(ValueError, match=f"cannot be the {name} of a LogRef"):
        LogRef.from_dict({**REF.to_dict(), name: value})


@pytest.mark.parametrize(
    ("fields", "error", "name"),
    [
        ({"id": 5}, TypeError, "id"),
        ({"id": ["x"]}, TypeError, "id"),
        ({"id": "01J", "account_id": 5}, TypeError, "account_id"),
        ({"id": "01J", "operation": 0}, TypeError, "operation"),
        ({"id": ""}, ValueError, "id"),
        ({"id": None}, ValueError, "id"),
        ({"id": "\ud800"}, ValueError, "id"),
        ({"id": "line\nbreak"}, ValueError, "id"),
        ({"backend": "", "id": "01J"}, ValueError, "backend"),
        ({"id": "01J", "captured_at": "2026-11-24"}, TypeError, "captured_at"),
        ({"id": "01J", "captured_at": True}, TypeError, "captured_at"),
        ({"id": "01J", "captured_at": float("nan")}, ValueError, "captured_at"),
        ({"backend": "cloud\tflare", "id": "01J"}, ValueError, "backend"),
    ],
)
def test_a_log_ref_that_no_service_could_have_given_cannot_be_made(fields, error, name):
    with pytest.raises(error, match=f"cannot be the {name} of a LogRef"):
        LogRef(**{"backend": "cloudflare", **fields})


@pytest.mark.parametrize("name", TEXT_FIELDS)
@pytest.mark.parametrize("value", ["\x00", "a\n", "\r", "a\tb", "\x1b[31m", "\x7f", "\x85", "\x9b", "\u2028", "\ud800"])
def test_a_log_ref_takes_no_control_characters_and_no_half_of_a_pair(name, value):
    values = {**REF.to_dict(), name: value}
    for made in (LogRef.from_dict, lambda values: LogRef(**values)):
        with pytest.raises(ValueError, match=f"cannot be the {name} of a LogRef") as refused:
            made(values)
        assert str(refused.value).isprintable()
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(REF, **{name: value})


@pytest.mark.parametrize("name", ["project_name", "gateway_id", "operation", "response_id"])
@pytest.mark.parametrize("value", ["", "a b", "\u3000", "\u200d", "\ue000", "\U0001fae9", "\U000e0fff"])
def test_what_people_name_things_with_may_be_in_a_log_ref(name, value):
    assert getattr(LogRef.from_dict({**REF.to_dict(), name: value}), name) == value


PLACES = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b"])},
    optional={
        name: st.sampled_from(["a", "b"]) for name in TEXT_FIELDS if name.startswith(("acc", "gate", "pro", "ex"))
    },
)


@given(PLACES, PLACES)
def test_two_places_are_never_one_entry_of_the_outbox(one, other):
    first, second = (
        entry_of(Item(id="i", ref=LogRef(backend="b", **place), feedback=Feedback(), created_at=0.0))
        for place in (one, other)
    )
    assert (first == second) == (one == other)


def test_a_log_ref_takes_text_of_a_type_of_its_own():
    class Text(str):
        __slots__ = ()

    assert LogRef(backend="cloudflare", id=Text("01J"), gateway_id=Text("g")).id == "01J"
    with pytest.raises(ValueError, match="gateway_id"):
        LogRef(backend="cloudflare", id=Text("01J"), gateway_id=Text("g\n"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "needs backend and id, got neither"),
        ({"backend": "b"}, "needs id, got backend"),
        ({"id": "i", 1: 2}, "needs backend, got id"),
    ],
)
def test_a_log_ref_refuses_a_dict_without_its_essentials_and_names_them(values, message):
    with pytest.raises(ValueError, match=message):
        LogRef.from_dict(values)


@pytest.mark.parametrize(
    "value",
    [
        REF,
        Feedback(),
        Outcome(ref=REF),
        FlushResult(),
        Item(id="1", ref=REF, feedback=Feedback(), created_at=0),
        Pace(rate=1, burst=1),
    ],
)
def test_a_value_cannot_be_changed_and_takes_no_new_attributes(value):
    name = next(iter(value._fields if isinstance(value, tuple) else dataclasses.asdict(value)))
    with pytest.raises(AttributeError):  # a FrozenInstanceError is one
        setattr(value, name, "changed")
    with pytest.raises((AttributeError, TypeError)):  # a TypeError on Python 3.11, for what is frozen and has slots
        value.unheard_of = 1
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize(
    "operation", ["chat", "text_completion", "generate_content", "speech", "image_generation", "something_new", None]
)
def test_an_operation_generates_unless_it_is_known_not_to(operation):
    assert LogRef(backend="b", id="i", operation=operation).generated


@pytest.mark.parametrize("operation", ["embeddings", "moderation", "list", "retrieve", "delete", "cancel"])
def test_an_embedding_a_moderation_a_listing_and_a_poll_do_not_generate(operation):
    assert operation in NON_GENERATING
    assert not LogRef(backend="b", id="i", operation=operation).generated


def test_unset_is_one_value_that_says_its_name_and_survives_pickling():
    assert repr(UNSET) == "UNSET"
    assert list(Unset) == [UNSET]
    assert pickle.loads(pickle.dumps(UNSET)) is UNSET
    assert copy.deepcopy(UNSET) is UNSET


def test_an_outcome_starts_queued_with_nothing_tried():
    outcome = Outcome(ref=REF)
    assert (outcome.status, outcome.reason, outcome.attempts, outcome.unsupported) == ("queued", None, 0, ())


def test_a_flush_result_and_an_item_start_at_nothing():
    assert FlushResult() == FlushResult(delivered=0, remaining=0, failed=0, dropped=0)
    assert Item(id="1", ref=REF, feedback=Feedback(), created_at=0).attempts == 0


@pytest.mark.parametrize(
    ("statuses", "all_together"),
    [
        ((), "dropped"),
        (("delivered",), "delivered"),
        (("delivered", "delivered"), "delivered"),
        (("delivered", "dropped"), "dropped"),
        (("dropped", "failed", "delivered"), "failed"),
        (("failed", "queued", "delivered"), "queued"),
    ],
)
def test_several_statuses_are_queued_while_one_is_and_else_the_worst(statuses, all_together):
    assert overall(statuses) == all_together
    assert overall(statuses[::-1]) == all_together


def test_a_time_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="captured_at"):
        LogRef.from_dict({"backend": "b", "id": "1", "captured_at": float("nan")})


# --- feedback as it is merged and kept

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
feedbacks = st.builds(
    Feedback,
    thumbs=st.sampled_from([1, -1, None, UNSET]),
    score=st.floats(0, 1) | st.none() | st.just(UNSET),
    scores=st.dictionaries(st.text(), st.floats(0, 1) | st.none(), max_size=3),
    comments=st.lists(st.text(), max_size=3).map(tuple),
    expected=JSON | st.just(UNSET),
    tags=st.none() | st.lists(st.text(), max_size=3).map(tuple),
    metadata=st.dictionaries(st.text(), JSON, max_size=3),
    user_id=OPTIONAL_TEXT,
    source=st.sampled_from([None, "app", "api", "external"]),
)


@given(feedbacks)
def test_feedback_survives_its_dict_json_and_pickle(feedback):
    assert Feedback.from_dict(feedback.to_dict()) == feedback
    assert Feedback.from_dict(json.loads(json.dumps(feedback.to_dict()))) == feedback
    assert pickle.loads(pickle.dumps(feedback)) == feedback


def test_a_feedbacks_dict_holds_only_what_is_said_and_clearing_is_saying_something():
    assert Feedback().to_dict() == {}
    assert Feedback(thumbs=None, score=None, expected=None).to_dict() == {
        "thumbs": None, "score": None, "expected": None
    }  # fmt: skip
    assert Feedback(comments=("a", "b"), tags=()).to_dict() == {"comments": ["a", "b"], "tags": []}


def test_feedback_reads_over_names_that_this_version_does_not_know():
    assert Feedback.from_dict({"thumbs": 1, "colour": "red", "tags": None}) == Feedback(thumbs=1)


@given(feedbacks)
def test_merging_with_silence_changes_nothing(feedback):
    assert Feedback().merged(feedback) == feedback == feedback.merged(Feedback())


@given(feedbacks, feedbacks, feedbacks)
def test_merging_is_the_same_however_it_is_grouped(first, second, third):
    assert first.merged(second).merged(third) == first.merged(second.merged(third))


@given(feedbacks, feedbacks)
def test_of_each_field_the_later_word_holds_and_comments_are_all_kept_in_order(earlier, later):
    merged, before, after = earlier.merged(later), earlier.to_dict(), later.to_dict()

    assert merged.comments == earlier.comments + later.comments
    for name in ("thumbs", "score", "expected", "tags", "user_id", "source"):
        assert getattr(merged, name) == getattr(later if name in after else earlier, name)
    for name in ("scores", "metadata"):
        assert getattr(merged, name) == {**before.get(name, {}), **after.get(name, {})}
