"""Keeping to a pace, and to what a service says of its quota."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint._model import Pace
from thumbprint.backends import Answer
from thumbprint.delivery._pace import LONGEST_PAUSE, LONGEST_WAIT, Pacer, Paused, asked_pause, bucket_name
from thumbprint.stores import MemoryStore

NOW = 1_800_000_000.0
KEY = "sk-proj-0123456789abcdefghij"


HEADERS = st.from_regex(r'("?default"?[ ;,rqt=0-9]*)*', fullmatch=True) | st.just("a;r=0;t=" + 999 * "9")


def told(ratelimit=None, policy=None):
    headers = {"ratelimit": ratelimit, "ratelimit-policy": policy}
    return Answer(status=200, headers={name: value for name, value in headers.items() if value is not None})


@pytest.mark.parametrize(
    ("ratelimit", "policy", "pause"),
    [
        (None, None, None),
        (None, '"default";q=100;w=60', None),
        ('"default";r=100;t=60', '"default";q=100;w=60', None),
        ('"default";r=11;t=60', '"default";q=100;w=60', None),
        ('"default";r=9;t=60', '"default";q=100;w=60', 6.0),
        ('"default";r=1;t=60', '"default";q=100;w=60', 30.0),
        ('"default";r=0;t=60', '"default";q=100;w=60', 60.0),
        ("default; r=0; t=60", "default; q=100; w=60", 60.0),
        ('"default";r=0;t=60', None, 60.0),  # where the quota is not told, only what is used up counts
        ('"default";r=1;t=60', None, None),
        ('"default";r=0;t=0', '"default";q=100;w=60', 0.0),
        ('"other";r=9;t=60', '"default";q=100;w=60', 6.0),
        ('"a";r=50;t=60, "b";r=1;t=10', '"a";q=100;w=60, "b";q=100;w=10', 5.0),
        ('"a";r=1;t=60, "b";r=1;t=10', '"a";q=100;w=60, "b";q=100;w=10', 30.0),
        ("whatever", "it says", None),
        ('"default";r=-1;t=60', '"default";q=100', None),
        ('"default";t=42;r=0', None, 42.0),
        ('"default";t=42;r=3', '"default";w=60;q=100', 10.5),
        ("default;r=0;t=60", '"default";q=100', 60.0),
        ('"default" ;\tr=0 ; t=60 , "b";t=9;r=0', None, 60.0),
        ('"a,b;r=9\\";t=1";r=0;t=60', None, 60.0),
        ('"default";pk=:cHsdsRa894==:;r=0;x;y="a;t=1";z=?1;d=@9;f=-1.5;u=*tok/en:;t=60', None, 60.0),
        ('"default";r=5;t=60;r=0', None, 60.0),  # of two the latter
        ('"default";r=0', '"default";q=100;w=60', None),
        ('"default";t=60', '"default";q=100;w=60', None),
        ('"default";r="0";t=60', None, None),
        ('"default";r=0.0;t=60', None, None),
        ('"default";r=0;t=1000000000000', None, LONGEST_PAUSE),
        ('"default";r=1;t=1000000000000', '"default";q=100', LONGEST_PAUSE),
        ('"default";r=0;t=1000000000000000', None, None),  # no integer has that many digits
        ('"default";r=0;t=60', '"default";q=1000000000000000', 60.0),
        ('"a";r=0;t=60, (b c);r=0;t=90', None, 60.0),
        ('"a";r=0;t=60 garbage', None, None),
        ('"default;r=0;t=60', None, None),
        ("limit=100, remaining=0, reset=60", None, None),  # as in an older draft
        (", ;=", ";;", None),
    ],
)
def test_a_pause_is_asked_for_where_little_of_the_quota_remains(ratelimit, policy, pause):
    asked = asked_pause(told(ratelimit, policy), NOW)

    assert asked == (None if pause is None else NOW + pause)


@given(st.text() | HEADERS, st.text() | HEADERS)
def test_whatever_the_headers_say_a_pause_is_none_or_a_time_to_come(ratelimit, policy):
    asked = asked_pause(told(ratelimit, policy), NOW)

    assert asked is None or NOW <= asked <= NOW + LONGEST_PAUSE


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_pause_is_never_longer_than_the_window(remaining, reset, quota):
    asked = asked_pause(told(f'"default";r={remaining};t={reset}', f'"default";q={quota}'), NOW)

    assert asked is None or NOW <= asked <= NOW + min(reset, LONGEST_PAUSE)


def test_the_name_of_a_bucket_tells_credentials_apart_and_shows_none():
    names = {bucket_name("cloudflare", KEY), bucket_name("cloudflare", None), bucket_name("braintrust", KEY)}

    assert len(names) == 3
    assert not any(KEY in name for name in names)
    assert bucket_name("cloudflare", KEY) in names
    assert bucket_name("cloudflare", None) == bucket_name("cloudflare", "")


def pacer(pace, store=None):
    return Pacer(store=store or MemoryStore(), bucket="bucket", pace=pace)


def test_without_a_pace_nobody_waits_for_anything():
    store = MemoryStore()
    store.hold("bucket", until=time.time() + 60)
    unpaced = pacer(None, store)
    unpaced.hold(time.time() + 60)
    unpaced.heed(told('"default";r=0;t=60'))

    unpaced.wait()


def test_who_is_soon_to_have_its_turn_waits_for_it():
    keen = pacer(Pace(rate=20, burst=2))
    began = time.monotonic()
    for _ in range(4):
        keen.wait()

    assert time.monotonic() - began >= 0.099


def test_who_is_to_have_its_turn_much_later_is_told_when():
    slow = pacer(Pace(rate=0.1, burst=1))
    slow.wait()
    began = time.time()
    with pytest.raises(Paused) as paused:
        slow.wait()

    assert time.time() - began < LONGEST_WAIT
    assert 9 < paused.value.until - began < 11
    assert str(paused.value) == "to keep to the pace"


def test_a_hold_is_one_for_all_who_use_the_bucket():
    store, pace = MemoryStore(), Pace(rate=100, burst=100)
    one, two, other = pacer(pace, store), pacer(pace, store), Pacer(store=store, bucket="other", pace=pace)
    one.hold(time.time() + 60)

    with pytest.raises(Paused):
        two.wait()
    other.wait()


def test_an_answer_that_asks_for_a_pause_holds_and_one_that_does_not_lifts_nothing():
    held = pacer(Pace(rate=100, burst=100))
    held.heed(told('"default";r=0;t=60'))
    held.heed(told('"default";r=99;t=60', '"default";q=100'))

    with pytest.raises(Paused):
        held.wait()
