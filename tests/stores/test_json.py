"""Items as stores outside this process keep them: whatever an item says comes back, and the text is JSON."""

from __future__ import annotations

import dataclasses
import json

from hypothesis import given
from hypothesis import strategies as st

from thumbprint import LogRef
from thumbprint._model import UNSET, Feedback, Item
from thumbprint.stores._json import item_from_json, item_to_json

words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
seconds = st.floats(allow_nan=False, allow_infinity=False)
units = st.floats(0, 1)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
optional = {spec.name: st.none() | words for spec in dataclasses.fields(LogRef)} | {"captured_at": seconds}
refs = st.builds(LogRef, **optional | {"backend": words, "id": words})
feedback = st.builds(
    Feedback,
    thumbs=st.sampled_from([1, -1, None, UNSET]),
    score=st.just(UNSET) | st.none() | units,
    scores=st.dictionaries(st.text(), st.none() | units, max_size=3),
    comments=st.lists(st.text(), max_size=3).map(tuple),
    expected=st.just(UNSET) | values,
    tags=st.none() | st.lists(st.text(), max_size=3).map(tuple),
    metadata=st.dictionaries(st.text(), values, max_size=3),
    user_id=st.none() | st.text(),
    source=st.none() | st.sampled_from(["app", "api", "external"]),
)
items = st.builds(
    Item, id=words, ref=refs, feedback=feedback, created_at=seconds, attempts=st.integers(0, 99),
    reason=st.none() | st.text(), row=st.none() | st.dictionaries(st.text(), values, max_size=3),
)  # fmt: skip


@given(items)
def test_what_an_item_says_comes_back(item):
    assert item_from_json(item_to_json(item)) == item


@given(items)
def test_it_is_kept_as_json_in_ascii_with_the_names_of_its_parts(item):
    text = item_to_json(item)
    assert text.isascii()
    kept = json.loads(text)
    assert (kept["ref"], kept["feedback"]) == (item.ref.to_dict(), item.feedback.to_dict())
