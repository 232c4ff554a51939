"""What an operator is told of an outbox."""

from __future__ import annotations

from thumbprint.stores import Depth
from thumbprint.stores._findings import LATE, outbox_findings

NOW = 2_000_000_000.0


def told(*depths):
    return [(finding.check, finding.status, finding.found) for finding in outbox_findings(depths, NOW)]


def test_an_empty_outbox_is_fine():
    assert told() == [("outbox", "ok", "nothing waits, and there are no dead letters")]


def test_what_waits_for_a_moment_is_fine_and_what_waits_for_long_is_a_warning():
    recent, late = (Depth(backend="b", queued=3, oldest_at=NOW - age) for age in (LATE, LATE + 1))
    assert told(recent) == [("outbox of b", "ok", "3 waiting, the oldest for 60 minutes")]
    assert told(late) == [("outbox of b", "warning", "3 waiting, the oldest for 60 minutes")]


def test_dead_letters_are_a_warning_that_says_what_to_do():
    assert told(Depth(backend="b", dead=2)) == [
        ("outbox of b", "ok", "0 waiting"),
        ("outbox of b", "warning", "2 dead letters"),
    ]
    assert "outbox retry" in outbox_findings([Depth(backend="b", dead=2)], NOW)[1].advice
