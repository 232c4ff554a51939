"""Excerpts: JSON of any shape, cut to size with a mark, and such that it can be written."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from thumbprint._excerpt import DEEPEST, LEAST, LONGEST, excerpt

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.text().map(lambda _: object()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner) | st.tuples(inner, inner),
)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(ODD, st.integers(0, 500))
def test_whatever_it_is_it_becomes_json_of_about_that_size(value, most):
    found = excerpt(value, most)
    text = json.dumps(found, allow_nan=False, ensure_ascii=False)
    text.encode()
    assert len(text) < 20 * most + 200


@given(PLAIN)
def test_json_that_is_short_is_left_as_it_is(value):
    assert excerpt(value) == value


def test_a_long_text_is_cut_with_a_mark():
    assert (
        excerpt("a b " * LONGEST)
        == "a b " * (LONGEST // 4) + f"… (left out: {3 * LONGEST} of {4 * LONGEST} characters)"
    )


def test_of_many_texts_the_first_are_whole_and_the_rest_is_told_of():
    found = excerpt(["a" * 50, "b" * 50, "c", "d"], 100)
    assert found[0] == "a" * 50
    assert found[1].startswith("b" * 10)
    assert found[2] == "… (left out: 2 of 4 entries)"
    assert excerpt({"a": "x" * 200, "b": 1, "c": 2}, 100)["…"] == "… (left out: 2 of 3 entries)"


def test_what_is_encoded_is_cut_to_its_beginning():
    assert excerpt({"data": "QUJD" * 1000})["data"] == "QUJD" * 10 + "… (left out: 3960 of 4000 characters)"
    assert excerpt("data:image/png;base64,QUJD") == "data:image/png;base64,QUJD"
    assert excerpt("word " * 1000) == "word " * 1000


def test_what_json_has_no_word_for_is_told_of():
    assert excerpt([math.nan, math.inf, 2**70, object(), "\ud800", {1: (2,)}]) == [
        "… (left out: the number nan)",
        "… (left out: the number inf)",
        "… (left out: a large integer)",
        "… (left out: an object of type object)",
        "?",
        {"1": [2]},
    ]


def test_what_is_nested_too_deep_is_left_out():
    deep = []
    for _ in range(5000):
        deep = [deep]
    text = json.dumps(excerpt(deep))
    assert text == "[" * DEEPEST + json.dumps("… (left out: what is nested deeper)") + "]" * DEEPEST


def test_many_small_values_count_as_well():
    assert len(excerpt([1] * 1000, 100)) < 100 / LEAST + 2
