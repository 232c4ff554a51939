"""What a log entry holds against what was said."""

from __future__ import annotations

import pytest

from thumbprint import LogRef
from thumbprint.backends._comparison import SHOWN, Comparison, same_json

REF = LogRef(backend="b", id="x")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (None, None, True),
        (None, 0, False),
        ({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ([1], [1, 2], False),
        (["a"], ("a",), True),
        ("1", 1, False),
    ],
)
def test_json_is_compared_as_json(one, other, same):
    assert same_json(one, other) is same
    assert same_json(other, one) is same


def test_what_is_all_there_is_confirmed_naming_what_is_not_shown():
    comparison = Comparison("It")
    comparison.add("thumbs", 1, same=True)
    comparison.hide("comment", "source")
    found = comparison.verification(REF)
    assert (found.ref, found.status, found.fields) == (REF, "confirmed", ("thumbs",))
    assert found.reason == "It does not show: comment, source"


def test_what_is_not_as_it_was_said_is_missing_and_told_briefly():
    comparison = Comparison("It")
    comparison.add("thumbs", 1, same=True)
    comparison.add("expected", "x" * 1000, same=False)
    comparison.add("score", None, same=False)
    found = comparison.verification(REF)
    assert (found.status, found.fields) == ("missing", ("thumbs",))
    assert 'expected is "xxx' in found.reason
    assert "score is not there" in found.reason
    assert len(found.reason) < SHOWN + 120


def test_where_nothing_can_be_compared_it_is_unknown():
    comparison = Comparison("It")
    assert comparison.verification(REF).reason == "It holds nothing of what was said"
    comparison.hide("comment")
    found = comparison.verification(REF)
    assert (found.status, found.reason, found.fields) == ("unknown", "It does not show: comment", ())
