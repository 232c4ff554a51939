"""As many senders as the service's slowness makes worth while."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from thumbprint.backends import Answer, HttpRequest
from thumbprint.delivery import _senders
from thumbprint.delivery._senders import Load, Senders

LONG = 10  # seconds that no test takes unless it fails
NAME = "thumbprint-there-sender"


class Service:
    """A transport whose every answer takes so many seconds; it knows how many were awaited at a time."""

    def __init__(self, duration):
        self.duration = duration
        self.most = 0
        self.closed = 0
        self._now = 0
        self._lock = threading.Lock()

    def send(self, _):
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.duration)
        with self._lock:
            self._now -= 1
        return Answer(status=200)

    def close(self):
        with self._lock:
            self.closed += 1


class Sending:
    """Senders with the lane that a test is: it gives out batches while one more sender is worth while."""

    def __init__(self, service, *, most=8, work=None):
        self.idle = threading.Event()
        self.waiting = []
        self.worked = []
        self.work = work or (lambda _: None)
        self.load = Load(most)
        self.senders = Senders(
            name="there",
            load=self.load,
            make_transport=lambda: service,
            work=self._work,
            next_batch=self._next_batch,
            idle=self.idle.set,
        )

    def _work(self, batch, transport):
        [what] = batch
        self.work(what)
        transport.send(HttpRequest(method="GET", url="u"))
        self.worked.append(what)

    def _next_batch(self):
        with contextlib.suppress(IndexError):
            return [self.waiting.pop(0)]
        return []

    def give_out(self, batches):
        self.waiting += batches
        while self.waiting:
            self.idle.clear()
            if self.load.wanted() and (batch := self._next_batch()):
                self._give(batch)
            else:
                self.idle.wait(self.load.rest())

    def _give(self, batch):
        try:
            self.senders.give(batch)
        except RuntimeError:
            self.waiting += batch
            self.idle.wait(self.load.rest())

    def await_worked(self, count):
        ends_at = time.monotonic() + LONG
        while len(self.worked) < count and time.monotonic() < ends_at:
            time.sleep(0.005)
        assert len(self.worked) == count

    def end(self):
        self.senders.end()
        self.senders.join(time.monotonic() + LONG)
        assert senders() == []


def senders():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def test_one_sender_is_enough_for_a_service_that_answers_at_once():
    service = Service(0)
    sending = Sending(service)
    sending.give_out(range(200))
    sending.end()

    assert sending.worked == list(range(200))
    assert (service.most, service.closed) == (1, 1)


def test_for_a_slow_service_there_are_as_many_as_there_may_be():
    service = Service(0.05)
    sending = Sending(service)
    sending.give_out(range(64))
    sending.end()

    assert sorted(sending.worked) == list(range(64))
    assert service.most == 8 <= service.closed


def test_with_a_service_that_becomes_fast_again_the_senders_become_fewer():
    service = Service(0.05)
    sending = Sending(service)
    sending.give_out(range(32))
    sending.await_worked(32)
    service.duration = 0
    for _ in range(100):  # a busy machine can make a fast service look slow for a while
        service.most, worked = 0, len(sending.worked)
        sending.give_out(range(100))
        sending.await_worked(worked + 100)
        if service.most < 8:
            break
    sending.end()

    assert service.most < 8


def test_a_request_that_hangs_counts_as_slow_before_it_has_an_answer():
    hanging, reached = threading.Event(), threading.Event()

    def hang(batch):
        if batch == "second":
            reached.set()

    service = Service(0)
    sending = Sending(service, work=hang)
    sending.give_out(["first"])
    service.send = lambda _: hanging.wait(LONG)
    sending.give_out(["hangs", "second"])  # the second is given out though the one before has no answer

    assert reached.wait(LONG)
    hanging.set()
    sending.end()


def test_a_sender_that_has_nothing_to_send_for_long_ends_and_another_starts_when_there_is(monkeypatch):
    monkeypatch.setattr(_senders, "IDLE", 0.01)
    service = Service(0)
    sending = Sending(service, most=1)
    for number in range(3):
        sending.give_out([number])
        ends_at = time.monotonic() + LONG
        while senders() and time.monotonic() < ends_at:
            time.sleep(0.005)
        assert (senders(), service.closed) == ([], number + 1)

    assert sending.worked == [0, 1, 2]
    sending.end()


def test_nothing_that_is_given_to_a_sender_as_it_ends_is_forgotten(monkeypatch):
    """With the shortest of patience, every batch meets a sender that is just about to end."""
    monkeypatch.setattr(_senders, "IDLE", 0.0)
    sending = Sending(Service(0), most=1)
    sending.give_out(range(500))
    ends_at = time.monotonic() + LONG
    while len(sending.worked) < 500 and time.monotonic() < ends_at:
        time.sleep(0.005)

    assert sending.worked == list(range(500))
    sending.end()


def test_a_fault_in_the_work_is_told_and_the_sender_goes_on(caplog):
    def work(batch):
        if batch == 1:
            raise ZeroDivisionError("ours")

    sending = Sending(Service(0), work=work)
    sending.give_out(range(3))
    sending.end()

    assert sending.worked == [0, 2]
    assert "a delivery failed inside thumbprint" in caplog.text


def test_where_no_thread_can_be_started_the_one_there_is_does_the_work(monkeypatch):
    sending = Sending(Service(0.02))
    sending.give_out([0, 1])

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        sending.give_out(range(2, 12))
    sending.end()

    assert sorted(sending.worked) == list(range(12))


def test_where_there_is_none_and_none_can_be_started_it_says_so_and_takes_nothing(monkeypatch):
    sending = Sending(Service(0))

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            sending.senders.give(["batch"])
    sending.give_out(["later"])
    sending.end()

    assert sending.worked == ["later"]


def test_whoever_ends_a_delivery_does_not_end_the_sender(caplog):
    def leave(batch):
        if batch == "leaves":
            raise SystemExit

    sending = Sending(Service(0), work=leave)
    sending.give_out(["leaves", "stays"])
    sending.await_worked(1)
    sending.end()

    assert sending.worked == ["stays"]
    assert "a delivery was ended by a SystemExit" in caplog.text
