"""How values are written for people."""

from __future__ import annotations

import pytest

from thumbprint._feedback import feedback_from
from thumbprint._words import briefly, counted, printable, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 seconds"),
        (1.2, "1 second"),
        (119.4, "119 seconds"),
        (120, "2 minutes"),
        (7300, "2 hours"),
        (200_000, "2 days"),
    ],
)
def test_a_span_is_written_in_the_largest_unit_of_which_there_are_two(seconds, words):
    assert span(seconds) == words


def test_one_of_a_kind_is_not_written_as_several():
    assert [counted(number, "problem") for number in (0, 1, 2)] == ["0 problems", "1 problem", "2 problems"]
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]


def test_control_characters_are_written_out_and_other_scripts_stay():
    assert printable("naïve Ω\x1b[31m\nline\u202e") == "naïve Ω\\x1b[31m\\nline\\u202e"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"thumbs": "up"}, "thumbs=up"),
        ({"thumbs": None, "score": None}, "thumbs=none score=null"),
        ({"score": 0.5, "scores": {"tone": 1}}, "score=0.5 scores.tone=1.0"),
        ({"comment": "Spot on."}, 'comment="Spot on."'),
        ({"comment": "x" * 100}, f"comment={'x' * 40}…"),
        ({"expected": {"a": 1}, "tags": ["a"]}, 'expected={"a": 1} tags=["a"]'),
        (
            {"metadata": {"n": 1}, "user_id": "u", "source": "app", "thumbs": -1},
            "thumbs=down user_id=u source=app metadata.n=1",
        ),
        ({"comment": "\x1b[31mred"}, 'comment="\\u001b[31mred"'),
    ],
)
def test_what_is_said_is_written_briefly(said, words):
    assert briefly(feedback_from(**said)) == words
