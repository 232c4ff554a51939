"""Waking a thread, whatever interrupts whoever wakes it."""

from __future__ import annotations

import pytest

from thumbprint.delivery._bell import Bell


@pytest.mark.parametrize("late", [False, True])
def test_a_bell_that_was_interrupted_as_it_was_rung_rings_the_next_time(monkeypatch, late):
    bell = Bell()

    def interrupted(strike=bell.strike):
        monkeypatch.undo()
        if late:
            strike()
        raise KeyboardInterrupt

    monkeypatch.setattr(bell, "strike", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bell.ring()
    bell.ring()
    bell.ring()

    assert bell._strokes.qsize() == 1 + late
