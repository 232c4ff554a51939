"""What follows from a verdict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint import LogRef
from thumbprint._feedback import feedback_from
from thumbprint._model import Item
from thumbprint.backends import Verdict
from thumbprint.delivery._pace import LONGEST_PAUSE
from thumbprint.delivery._retry import (
    EXPIRE_AFTER,
    FIRST_DELAY,
    INGESTION_WINDOW,
    LONGEST_DELAY,
    conclude,
    delay,
)
from thumbprint.stores import Conclusion

NOW = 1_800_000_000.0
LONG_AGO = NOW - INGESTION_WINDOW - 1
KINDS = ["delivered", "retry", "early", "unauthorized", "refused"]


def item(name="i", *, captured_at=NOW, created_at=NOW, attempts=0):
    ref = LogRef(backend="cloudflare", id="e", captured_at=captured_at)
    return Item(id=name, ref=ref, feedback=feedback_from(thumbs=1), created_at=created_at, attempts=attempts)


def concluded(kind, *items, retry_after=None, jitter=0.0, **settings):
    verdict = Verdict(kind=kind, reason=None if kind == "delivered" else "why", retry_after=retry_after)
    return conclude(verdict, items or (item(),), now=NOW, jitter=jitter, **settings)


def tried(one, reason="why"):
    return one._replace(attempts=one.attempts + 1, reason=reason)


FRESH, OLD, ANCIENT = item(), item(captured_at=LONG_AGO), item(created_at=NOW - EXPIRE_AFTER)
EXPIRED = tried(ANCIENT)._replace(reason="expired after 72 hours: why")


@pytest.mark.parametrize(
    ("kind", "of", "conclusion"),
    [
        ("delivered", FRESH, Conclusion(settled=(FRESH,))),
        ("delivered", ANCIENT, Conclusion(settled=(ANCIENT,))),
        ("refused", FRESH, Conclusion(buried=(tried(FRESH),))),
        ("early", FRESH, Conclusion(waiting=(tried(FRESH),), due_at=NOW + FIRST_DELAY / 2)),
        ("early", OLD, Conclusion(buried=(tried(OLD),))),
        ("retry", FRESH, Conclusion(waiting=(tried(FRESH),), due_at=NOW + FIRST_DELAY / 2)),
        ("retry", OLD, Conclusion(waiting=(tried(OLD),), due_at=NOW + FIRST_DELAY / 2)),
        ("retry", ANCIENT, Conclusion(buried=(EXPIRED,), due_at=NOW)),
        ("unauthorized", FRESH, Conclusion(waiting=(tried(FRESH),), due_at=NOW)),
        ("unauthorized", OLD, Conclusion(waiting=(tried(OLD),), due_at=NOW)),
        ("unauthorized", ANCIENT, Conclusion(buried=(EXPIRED,), due_at=NOW)),
    ],
)
def test_the_judgement(kind, of, conclusion):
    assert concluded(kind, of, jitter=0.5) == conclusion


@pytest.mark.parametrize("captured_at", [NOW - INGESTION_WINDOW, 0.0])
def test_a_missing_entry_is_waited_for_as_long_as_it_may_be_on_its_way(captured_at):
    """Where the time of the call is not known, that of the feedback stands for it."""
    assert concluded("early", item(captured_at=captured_at, created_at=NOW - INGESTION_WINDOW)).waiting
    assert concluded("early", item(captured_at=captured_at and LONG_AGO, created_at=LONG_AGO)).buried


def test_of_several_items_those_that_have_expired_are_buried_and_the_others_go_on_waiting():
    conclusion = concluded("retry", ANCIENT, FRESH)

    assert (conclusion.buried, conclusion.waiting) == ((EXPIRED,), (tried(FRESH),))


def test_the_age_at_which_feedback_expires_may_be_set():
    old = item(created_at=NOW - 1800)

    assert concluded("retry", old, expire_after=1801).waiting
    [buried] = concluded("retry", old, expire_after=1800).buried
    assert buried.reason == "expired after 0.5 hours: why"


def test_items_of_one_entry_wait_together_as_long_as_the_one_tried_most_often():
    assert concluded("retry", item("a"), item("b", attempts=3), jitter=1).due_at == NOW + delay(4, None, 1)


def test_a_service_that_asks_for_more_time_than_is_left_is_tried_once_more_at_the_end():
    old = item(created_at=NOW - EXPIRE_AFTER + 100)
    assert concluded("retry", old, retry_after=101).due_at == NOW + 100
    assert concluded("retry", item(), old, retry_after=101).due_at == NOW + 100


def test_a_service_that_asks_for_a_year_is_left_alone_for_an_hour():
    assert concluded("retry", retry_after=365 * 86400.0).due_at == NOW + LONGEST_PAUSE


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9), st.floats(0, 1))
def test_a_delay_lies_between_what_the_service_asked_for_and_that_plus_its_bound(attempts, retry_after, jitter):
    asked = min(retry_after or 0.0, LONGEST_PAUSE)
    bound = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(attempts - 1, 60))

    assert asked <= delay(attempts, retry_after, jitter) <= asked + bound


def test_the_bound_doubles_up_to_the_longest_delay():
    longest = [delay(attempts, None, 1.0) for attempts in range(1, 13)]

    assert longest[:4] == [0.5, 1.0, 2.0, 4.0]
    assert longest[-2:] == [LONGEST_DELAY, LONGEST_DELAY]
    assert delay(10_000, None, 1.0) == LONGEST_DELAY


@given(
    st.sampled_from(KINDS),
    st.lists(st.tuples(st.floats(0, 2 * EXPIRE_AFTER), st.integers(0, 100)), min_size=1, max_size=5),
    st.none() | st.floats(0, 1e7),
    st.floats(0, 1),
)
def test_every_item_ends_in_one_place_and_what_waits_is_due_before_it_expires_and_not_before_the_service_said(
    kind, ages, retry_after, jitter
):
    items = [
        item(str(index), created_at=NOW - age, captured_at=0, attempts=attempts)
        for index, (age, attempts) in enumerate(ages)
    ]
    conclusion = concluded(kind, *items, retry_after=retry_after, jitter=jitter)

    ended = conclusion.settled + conclusion.buried + conclusion.waiting
    assert sorted(one.id for one in ended) == [one.id for one in items]
    kept = conclusion.buried + conclusion.waiting
    assert all(one.attempts == items[int(one.id)].attempts + 1 for one in kept)
    if conclusion.waiting:
        last_chance = min(one.created_at for one in conclusion.waiting) + EXPIRE_AFTER
        asked = 0.0 if kind == "unauthorized" else min(retry_after or 0.0, LONGEST_PAUSE)
        assert min(NOW + asked, last_chance) <= conclusion.due_at <= last_chance
