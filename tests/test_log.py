from __future__ import annotations

import logging
import threading

import pytest

from thumbprint import _log


@pytest.fixture
def clock(monkeypatch):
    """Stop the clock that the log reads; set `clock.now` to move it."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(_log, "time", clock)
    return clock


def test_a_warning_goes_to_the_packages_logger_with_its_arguments(caplog):
    _log.warn("kind", "seen %s in %d", "a fault", 3)
    assert caplog.record_tuples == [("thumbprint", logging.WARNING, "seen a fault in 3")]


def test_a_kind_is_said_once_a_minute_and_then_again(caplog, clock):
    for now, said in [(1000.0, 1), (1000.1, 1), (1059.9, 1), (1060.0, 2), (1119.9, 2), (1120.0, 3)]:
        clock.now = now
        _log.warn("kind", "again")
        assert len(caplog.records) == said


def test_a_warning_is_said_on_a_machine_that_has_just_started(caplog, clock):
    clock.now = 0.0
    _log.warn("kind", "first")
    assert caplog.messages == ["first"]


def test_kinds_do_not_silence_each_other(caplog):
    _log.warn("one", "first")
    _log.warn("other", "second")
    assert caplog.messages == ["first", "second"]


def test_forgetting_lets_every_kind_be_said_again_at_once(caplog):
    _log.warn("kind", "first")
    _log.forget()
    _log.warn("kind", "second")
    assert caplog.messages == ["first", "second"]


def test_the_current_exception_is_logged_only_where_that_is_asked_for(caplog):
    try:
        {}["the cause"]
    except LookupError:
        _log.warn("with", "with", exc_info=True)
        _log.warn("without", "without")
    assert [bool(record.exc_info) for record in caplog.records] == [True, False]
    assert "the cause" in caplog.text


def test_many_threads_that_warn_at_once_say_it_once(caplog):
    gate = threading.Barrier(16)

    def warn():
        gate.wait()
        _log.warn("kind", "together")

    threads = [threading.Thread(target=warn) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert caplog.messages == ["together"]
