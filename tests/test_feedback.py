from __future__ import annotations

import datetime as dt
import enum
import math
import numbers
import sys
from collections import ChainMap
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import thumbprint
from thumbprint import ArgumentTypeError, ArgumentValueError, ThumbprintError
from thumbprint._feedback import MAX_COMMENT_BYTES, MAX_ENTRIES, MAX_JSON_BYTES, MAX_NAME_BYTES, feedback_from
from thumbprint._model import UNSET, Feedback

LONE_SURROGATE = "\ud800"
ARGUMENTS = ("thumbs", "score", "scores", "comment", "expected", "tags", "metadata", "user_id", "source")


ENDLESS = pytest.param(10**5000, id="an integer that Python itself will not write")


class Word(str, enum.Enum):  # noqa: UP042 - a StrEnum would be no trap
    """A str whose `str()` is another: what many applications write their constants as."""

    UP = "up"
    APP = "app"
    RED = "red"


class Numpyish(numbers.Real):
    """A number as numpy's scalars are: a Real by registration, and no float."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return self.value

    def __repr__(self):
        return f"Numpyish({self.value})"


# Abstract in `numbers.Real`, and of no interest here.
Numpyish.__abstractmethods__ = frozenset()


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no repr for you")


def refused(error, argument, **given):
    """Return the message with which the arguments are refused, by the public door and with nothing queued."""
    with pytest.raises(error) as caught:
        thumbprint.record_feedback("nobody's", **given)
    assert isinstance(caught.value, ThumbprintError)
    assert isinstance(caught.value, ValueError if error is ArgumentValueError else TypeError)
    assert caught.value.argument == argument
    assert thumbprint.flush(0).remaining == 0
    message = str(caught.value)
    assert len(message) < 600
    return message


def circular():
    circle = []
    circle.append(circle)
    return circle


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# thumbs


@pytest.mark.parametrize(
    ("thumbs", "stored"),
    [("up", 1), (True, 1), (1, 1), (Word.UP, 1), ("down", -1), (False, -1), (-1, -1), (None, None)],
)
def test_a_thumb_is_up_or_down_in_any_of_its_forms_and_none_takes_it_back(thumbs, stored):
    assert feedback_from(thumbs=thumbs) == Feedback(thumbs=stored)
    assert type(feedback_from(thumbs=thumbs).thumbs) is type(stored)


def test_zero_thumbs_are_refused_as_ambiguous():
    message = refused(ArgumentValueError, "thumbs", thumbs=0)
    assert message == "thumbs=0: 0 is ambiguous: say False or -1 for a thumb down, None to take a vote back"


@pytest.mark.parametrize("thumbs", [2, -2, "sideways", "", "UP", " up", "1", ENDLESS])
def test_a_thumb_of_another_value_is_refused(thumbs):
    message = refused(ArgumentValueError, "thumbs", thumbs=thumbs)
    assert message.startswith(f"thumbs={'<int>' if thumbs == 10**5000 else ascii(thumbs)}: ")
    assert '"up", "down", True, False, 1, -1 or None' in message


@pytest.mark.parametrize("thumbs", [1.0, -1.0, 0.0, b"up", ["up"], Decimal(1), Unshowable(), math.nan])
def test_a_thumb_of_another_type_is_refused(thumbs):
    message = refused(ArgumentTypeError, "thumbs", thumbs=thumbs)
    assert f"is of type {type(thumbs).__name__}" in message


# score and scores


@pytest.mark.parametrize(
    ("score", "stored"),
    [(0, 0.0), (1, 1.0), (0.25, 0.25), (Fraction(1, 4), 0.25), (Numpyish(0.5), 0.5), (5e-324, 5e-324)],
)
def test_a_score_is_any_real_number_from_0_to_1_and_stored_as_a_float(score, stored):
    feedback = feedback_from(score=score, scores={"accuracy": score})
    assert (feedback.score, feedback.scores["accuracy"]) == (stored, stored)
    assert type(feedback.score) is type(feedback.scores["accuracy"]) is float


def test_none_clears_a_score_and_a_named_score():
    feedback = feedback_from(score=None, scores={"accuracy": None})
    assert feedback == Feedback(score=None, scores={"accuracy": None})


@pytest.mark.parametrize(
    "score",
    [-0.1, 1.0001, -1, 2, math.nan, math.inf, -math.inf, 10**400, ENDLESS, Fraction(3, 2), Fraction(10**400),
     Numpyish(math.nan), Numpyish("no number")],
)  # fmt: skip
def test_a_score_outside_of_0_to_1_is_refused(score):
    message = refused(ArgumentValueError, "score", score=score)
    assert message.startswith("score=")
    assert message.endswith(": it must be from 0 to 1")
    message = refused(ArgumentValueError, "scores", scores={"accuracy": score})
    assert message.startswith("scores['accuracy']=")


@pytest.mark.parametrize("score", [True, False, "0.5", "", b"1", Decimal("0.5"), 1 + 0j, [0.5], Unshowable()])
def test_a_score_that_is_no_real_number_is_refused(score):
    assert f"is of type {type(score).__name__}" in refused(ArgumentTypeError, "score", score=score)
    assert "scores['accuracy']=" in refused(ArgumentTypeError, "scores", scores={"accuracy": score})


def test_a_refusal_shows_the_value():
    assert refused(ArgumentValueError, "score", score=1.5).startswith("score=1.5: ")
    assert refused(ArgumentTypeError, "score", score=[0.5]).startswith("score=[0.5] is of type list: ")


@pytest.mark.parametrize("of_type", [dict, MappingProxyType, ChainMap])
def test_scores_and_metadata_are_any_mapping_and_stored_as_dicts(of_type):
    feedback = feedback_from(scores=of_type({"a": 1}), metadata=of_type({"b": 2}))
    assert feedback == Feedback(scores={"a": 1.0}, metadata={"b": 2})
    assert type(feedback.scores) is type(feedback.metadata) is dict


@pytest.mark.parametrize("argument", ["scores", "metadata"])
class TestWhatScoresAndMetadataHaveInCommon:
    @pytest.mark.parametrize("value", [[("a", 1)], "a", 1, {"a"}, dict, Mapping, Unshowable(), True, b""])
    def test_what_is_no_mapping_is_refused(self, argument, value):
        message = refused(ArgumentTypeError, argument, **{argument: value})
        assert f"is of type {type(value).__name__}: it takes a dict with strings as keys" in message

    @pytest.mark.parametrize("name", [1, None, b"a", ("a",), True])
    def test_a_name_that_is_no_string_is_refused(self, argument, name):
        assert "it takes a string" in refused(ArgumentTypeError, argument, **{argument: {name: 1}})

    @pytest.mark.parametrize(
        ("name", "why"),
        [("", "must not be empty"), ("n" * (MAX_NAME_BYTES + 1), "at most 1024"), ("ü" * 513, "at most 1024"),
         (LONE_SURROGATE, "UTF-8")],
    )  # fmt: skip
    def test_a_name_that_is_empty_too_long_or_no_text_is_refused(self, argument, name, why):
        assert why in refused(ArgumentValueError, argument, **{argument: {name: 1}})

    @pytest.mark.parametrize("name", ["n", "n" * MAX_NAME_BYTES, "ü" * (MAX_NAME_BYTES // 2), "with space", "\n"])
    def test_a_name_of_up_to_1024_bytes_is_taken(self, argument, name):
        assert list(getattr(feedback_from(**{argument: {name: 1}}), argument)) == [name]

    def test_of_an_enums_member_its_text_is_the_name(self, argument):
        [name] = getattr(feedback_from(**{argument: {Word.RED: 1}}), argument)
        assert (type(name), name) == (str, "red")

    def test_a_thousand_entries_are_taken_and_one_more_is_refused(self, argument):
        entries = {str(number): 1 for number in range(MAX_ENTRIES)}
        assert len(getattr(feedback_from(**{argument: entries}), argument)) == MAX_ENTRIES
        assert "1001 entries" in refused(ArgumentValueError, argument, **{argument: {**entries, "more": 1}})


# comment


@pytest.mark.parametrize("letter", ["x", "ü", "€", "😀"])
def test_a_comment_of_64_kib_is_taken_and_one_byte_more_is_refused(letter):
    fits = letter * (MAX_COMMENT_BYTES // len(letter.encode()))
    fits += "x" * (MAX_COMMENT_BYTES - len(fits.encode()))
    assert len(fits.encode()) == 64 * 1024
    assert feedback_from(comment=fits).comments == (fits,)
    message = refused(ArgumentValueError, "comment", comment=fits + "x")
    assert "it is 65537 bytes long, at most 65536 are taken" in message


def test_a_comment_that_is_no_text_is_refused():
    assert "cannot be written as UTF-8 (surrogates not allowed)" in refused(
        ArgumentValueError, "comment", comment=f"good{LONE_SURROGATE}"
    )
    assert "it takes a string" in refused(ArgumentTypeError, "comment", comment=b"good")


def test_an_empty_comment_says_nothing_and_does_no_harm_beside_a_thumb():
    assert "says nothing" in refused(ArgumentValueError, "thumbs", comment="")
    assert feedback_from(comment="", thumbs="up") == Feedback(thumbs=1)


def test_of_a_comment_only_its_text_is_kept():
    assert type(feedback_from(comment=Word.RED).comments[0]) is str
    assert feedback_from(comment=Word.RED).comments == ("red",)


# expected and metadata


@pytest.mark.parametrize("value", [None, True, 0, -1.5, "", "Ulm", [], {}, [1, {"a": [None]}], 10**30])
def test_expected_is_any_json_and_none_is_its_null(value):
    assert feedback_from(expected=value) == Feedback(expected=value)
    assert feedback_from(expected=value).expected is not UNSET


def test_expected_and_metadata_are_kept_as_json_has_them():
    feedback = feedback_from(expected=(1, (2,)), metadata={"pair": (1, 2), "word": Word.RED, "by": {1: None}})
    assert feedback.expected == [1, [2]]
    assert feedback.metadata == {"pair": [1, 2], "word": "red", "by": {"1": None}}


NOT_JSON = [
    ({1, 2}, ArgumentTypeError, "set"),
    (b"bytes", ArgumentTypeError, "bytes"),
    (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), ArgumentTypeError, "datetime"),
    (Decimal("0.5"), ArgumentTypeError, "Decimal"),
    ({("a",): 1}, ArgumentTypeError, "keys must be"),
    (Unshowable(), ArgumentTypeError, "Unshowable"),
    ([math.nan], ArgumentValueError, "nan"),
    (-math.inf, ArgumentValueError, "inf"),
    (circular(), ArgumentValueError, "Circular"),
    (f"text{LONE_SURROGATE}", ArgumentValueError, "surrogates"),
    (10**5000, ArgumentValueError, "4300 digits"),
    (nested(100_000), ArgumentTypeError, "recursion"),
    (nested(101), ArgumentValueError, "nested too deeply, at most 100"),
]


@pytest.mark.parametrize(("value", "error", "why"), NOT_JSON, ids=[why for _, _, why in NOT_JSON])
def test_what_is_not_json_is_refused(value, error, why):
    assert why in refused(error, "expected", expected=value)
    assert why in refused(error, "metadata", metadata={"inside": value})


def test_json_may_be_nested_a_hundred_times():
    assert feedback_from(expected=nested(99)).expected == nested(99)
    metadata = {"inside": [{"a": nested(96)}, "b"]}
    assert feedback_from(metadata=metadata).metadata == metadata
    assert "nested" in refused(ArgumentValueError, "metadata", metadata={"inside": [{"a": nested(97)}, "b"]})


def test_a_mebibyte_of_json_is_taken_and_one_byte_more_is_refused():
    fits = "x" * (MAX_JSON_BYTES - 2)  # and two quotation marks
    assert feedback_from(expected=fits).expected == fits
    assert "it is 1048577 bytes long" not in fits
    assert "as JSON it is 1048577 bytes long, at most 1048576" in refused(
        ArgumentValueError, "expected", expected=fits + "x"
    )
    assert "as JSON it is" in refused(ArgumentValueError, "metadata", metadata={"a": "ü" * (MAX_JSON_BYTES // 2)})


# tags


@pytest.mark.parametrize(
    "tags", [["a", "b"], ("a", "b"), (tag for tag in "ab"), {"a": 1, "b": 2}.keys(), iter(["a", "b"])]
)
def test_tags_are_any_iterable_of_strings_and_kept_in_their_order(tags):
    assert feedback_from(tags=tags) == Feedback(tags=("a", "b"))


def test_no_tags_at_all_is_something_to_say():
    assert feedback_from(tags=[]) == Feedback(tags=())


def test_of_an_enums_member_its_text_is_the_tag_and_the_user():
    feedback = feedback_from(thumbs="up", tags=[Word.RED], user_id=Word.RED)
    assert (feedback.tags, feedback.user_id) == (("red",), "red")
    assert type(feedback.tags[0]) is type(feedback.user_id) is str


@pytest.mark.parametrize("tags", ["urgent", "", b"urgent", 1, True, {"a": 1}, list, object()])
def test_tags_that_are_no_list_of_strings_are_refused(tags):
    assert "it takes a list of strings" in refused(ArgumentTypeError, "tags", tags=tags)


@pytest.mark.parametrize("tag", [1, None, b"a", ["a"], True])
def test_a_tag_that_is_no_string_is_refused(tag):
    assert refused(ArgumentTypeError, "tags", tags=["a", tag]).startswith(f"tags={tag!r} is of type")


@pytest.mark.parametrize("tag", ["", "t" * (MAX_NAME_BYTES + 1), LONE_SURROGATE])
def test_a_tag_that_is_empty_too_long_or_no_text_is_refused(tag):
    refused(ArgumentValueError, "tags", tags=["a", tag])


def test_a_thousand_tags_are_taken_and_more_are_refused_even_without_end():
    def endless():
        while True:
            yield "a"

    assert len(feedback_from(tags=["a"] * MAX_ENTRIES).tags) == MAX_ENTRIES
    assert "at most 1000 are taken" in refused(ArgumentValueError, "tags", tags=["a"] * (MAX_ENTRIES + 1))
    assert "at most 1000 are taken" in refused(ArgumentValueError, "tags", tags=endless())


# user_id and source


@pytest.mark.parametrize("user_id", ["u-17", "u" * MAX_NAME_BYTES])
def test_a_user_id_of_up_to_1024_bytes_is_taken(user_id):
    assert feedback_from(thumbs="up", user_id=user_id).user_id == user_id


@pytest.mark.parametrize(
    ("user_id", "error"),
    [("", ArgumentValueError), ("u" * 1025, ArgumentValueError), (LONE_SURROGATE, ArgumentValueError),
     (17, ArgumentTypeError), (b"u", ArgumentTypeError), (True, ArgumentTypeError)],
)  # fmt: skip
def test_another_user_id_is_refused(user_id, error):
    refused(error, "user_id", thumbs="up", user_id=user_id)


@pytest.mark.parametrize("source", ["app", "api", "external", Word.APP])
def test_a_source_is_app_api_or_external(source):
    feedback = feedback_from(thumbs="up", source=source)
    assert feedback.source == source
    assert type(feedback.source) is str


@pytest.mark.parametrize(
    ("source", "error"),
    [("", ArgumentValueError), ("APP", ArgumentValueError), ("web", ArgumentValueError), (1, ArgumentTypeError),
     (["app"], ArgumentTypeError)],
)  # fmt: skip
def test_an_unknown_source_is_refused_with_those_that_are_known(source, error):
    assert "one of app, api, external" in refused(error, "source", thumbs="up", source=source)


# the whole


@pytest.mark.parametrize(
    "given",
    [{}, {"user_id": "u"}, {"source": "app"}, {"user_id": "u", "source": "api", "comment": ""},
     {"scores": {}, "metadata": {}}, {"comment": None, "tags": None, "user_id": None, "source": None}],
)  # fmt: skip
def test_feedback_that_says_nothing_is_refused(given):
    message = refused(ArgumentValueError, "thumbs", **given)
    assert "give at least one of thumbs, score, scores, comment, expected, tags and metadata" in message


@pytest.mark.parametrize("value", [None, "up"])
@pytest.mark.parametrize("named", [None, 1])
def test_thumbs_and_a_score_named_thumbs_are_refused_together(value, named):
    message = refused(ArgumentValueError, "scores", thumbs=value, scores={"thumbs": named})
    assert "an entry 'thumbs' beside the argument thumbs=" in message


def test_score_and_a_score_named_score_are_refused_together():
    message = refused(ArgumentValueError, "scores", score=0.5, scores={"score": 0.5})
    assert "beside the argument score=0.5" in message


def test_scores_named_thumbs_and_score_are_taken_alone():
    assert feedback_from(scores={"thumbs": 1, "score": None}) == Feedback(scores={"thumbs": 1.0, "score": None})


def test_everything_is_said_under_its_name():
    feedback = feedback_from(
        thumbs=None, score=0.5, scores={"a": 1}, comment="c", expected=None, tags=[], metadata={"m": 1}, user_id="u",
        source="app",
    )  # fmt: skip
    assert feedback.said() == {"thumbs", "score", "scores.a", "comment", "expected", "tags", "metadata.m"}
    assert feedback_from(thumbs="up").said() == {"thumbs"}


def test_what_the_caller_changes_afterwards_changes_no_feedback():
    scores, tags = {"a": 1}, ["t"]
    expected, metadata = {"list": [1]}, {"dict": {"b": 1}}
    feedback = feedback_from(scores=scores, tags=tags, expected=expected, metadata=metadata)
    scores["a"] = 0
    tags.append("more")
    expected["list"].append(2)
    metadata["dict"]["b"] = 2
    assert feedback == Feedback(scores={"a": 1.0}, tags=("t",), expected={"list": [1]}, metadata={"dict": {"b": 1}})


def test_a_long_value_is_shown_in_part_and_on_one_line():
    message = refused(ArgumentValueError, "source", thumbs="up", source="wrong\n" * 1000)
    assert message.startswith("source='wrong\\nwrong\\n")
    assert "\n" not in message
    assert len(message) < 200


def test_a_value_that_cannot_be_shown_is_named_by_its_type():
    assert refused(ArgumentTypeError, "comment", comment=Unshowable()).startswith("comment=<Unshowable> is of type")


def test_disabled_feedback_is_checked_all_the_same():
    with pytest.raises(ArgumentValueError):
        thumbprint.Thumbprint(disabled=True).record_feedback("nobody's", score=2)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-1, 1), st.floats(), st.floats(0, 1), st.complex_numbers(),
    st.fractions(), st.decimals(), st.binary(), st.datetimes(), st.uuids(), st.functions(),
    st.text(), st.text(st.characters(categories=["Cs", "L"])),
    st.sampled_from(["up", "down", "app", "thumbs", "score", "", Word.UP, UNSET, object(), int, str, list, dict, type,
                     Feedback(), sys, range(3), 10**400, Numpyish(0.5), print, Ellipsis]),
)  # fmt: skip
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=4) | st.integers() | st.none(), inner, max_size=4),
        st.tuples(inner, inner),
        st.lists(inner, max_size=3).map(iter),
        st.sets(st.text(max_size=3), max_size=3),
    ),
    max_leaves=6,
)


def outcome(arguments):
    """Return the feedback that the arguments give, or the error of ours that refuses them."""
    try:
        return feedback_from(**arguments), None
    except (ArgumentValueError, ArgumentTypeError) as error:
        return None, error


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(ARGUMENTS), anything, max_size=3))
def test_any_arguments_at_all_give_feedback_or_an_error_of_ours_that_names_one(arguments):
    feedback, error = outcome(arguments)
    if error is None:
        assert feedback.said()
    else:
        assert error.argument in ARGUMENTS
        assert 0 < len(str(error)) < 600


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ARGUMENTS).flatmap(lambda name: st.tuples(st.just(name), anything)))
def test_an_argument_beside_a_sound_one_is_refused_by_its_name_or_fills_its_own_field_only(given):
    name, value = given
    sound = {"tags": ()} if name == "expected" else {"expected": None}
    feedback, error = outcome({**sound, name: value})
    if error is None:
        field = "comments" if name == "comment" else name
        left_out = getattr(Feedback(), field)
        assert feedback._replace(**{field: left_out}) == Feedback(**sound)
    else:
        assert error.argument == name
