"""Gathering what passes in a stream, within bounds."""

from __future__ import annotations

import gzip
from types import SimpleNamespace

import httpx
import pytest

from thumbprint.capture import _gathering
from thumbprint.capture._gathering import Gathered, gather


def test_of_a_long_stream_the_beginning_is_kept(monkeypatch):
    monkeypatch.setattr(_gathering, "MOST_GATHERED", 5)
    gathered = Gathered(lambda _: None)
    for _ in range(100):
        gathered.add(b"abc")
    assert gathered.body(SimpleNamespace(headers={})) == b"abcab"


def compressed(*pieces):
    gathered = Gathered(lambda _: None)
    for piece in pieces:
        gathered.add(piece)
    return gathered.body(httpx.Response(200, headers={"content-encoding": "gzip"}))


def test_no_more_is_decoded_than_is_kept(monkeypatch):
    """A small body may hold gigabytes."""
    monkeypatch.setattr(_gathering, "MOST_GATHERED", 5_000)
    first, second = gzip.compress(b"a" * 10_000), b"what would be no gzip"
    assert compressed(first, second) == b"a" * 5_000


def test_of_a_body_that_is_broken_what_could_be_decoded_counts():
    whole = gzip.compress(b"abc")
    assert compressed(whole[:-8], b"\xff" * 8) == b"abc"
    with pytest.raises(httpx.DecodingError):
        compressed(b"no gzip")


def test_the_end_is_told_once():
    ends = []
    gathered = Gathered(ends.append)
    error = ValueError()
    gathered.end(error)
    gathered.end()
    assert (ends, gathered.error) == ([gathered], error)


def test_a_stream_of_another_kind_is_left_alone():
    response = SimpleNamespace(stream=iter([b"a"]))
    before = response.stream
    gather(response, Gathered(lambda _: None))
    assert response.stream is before
