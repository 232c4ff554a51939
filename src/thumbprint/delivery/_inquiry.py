"""Asking services, without changing anything there: whether feedback has arrived, and how the settings stand."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Final, TypeVar

from .._model import Finding, Verification
from .._scope import run_untraced
from ..backends import Confirmable, Diagnosable
from ._courier import masked
from ._pace import Paused
from ._receipt import bounded
from ._transport import HttpxTransport, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .._model import Feedback, LogRef
    from ..backends import Answer, Backend, HttpRequest
    from ._pace import Pacer

T = TypeVar("T")

DIAGNOSIS_TIMEOUT: Final = 10.0  # seconds
LONGEST_ANSWER: Final = 64 * 1024 * 1024  # bytes: a page of rows has their inputs and outputs
NO_TIME: Final = "there was no answer in time"


class Unanswered(Exception):
    """The question has no answer; says why, without a secret."""


def verify(ref: LogRef, feedback: Feedback, backend: Backend, pacer: Pacer, *, ends_at: float) -> Verification:
    """Ask the service whether the feedback is there; raises nothing. `ends_at` is of the monotonic clock."""
    if not isinstance(backend, Confirmable):
        return unasked(ref, backend.name)
    line = _Line(pacer, ends_at)
    try:
        found = _ask(backend.confirm(ref, feedback), line)
    except Unanswered as error:
        return Verification(ref=ref, status="unknown", reason=str(error))
    return dataclasses.replace(found, reason=masked(found.reason, line.secrets))


def unasked(ref: LogRef, name: str) -> Verification:
    """Return what can be said of an entry where nobody takes questions."""
    return Verification(ref=ref, status="unknown", reason=f"{name} cannot be asked what it holds")


def diagnose(backend: Backend, *, timeout: float = DIAGNOSIS_TIMEOUT) -> list[Finding]:
    """Return what an operator should know of a backend's settings, and of what its service says to them.

    Raises nothing: a service that cannot be reached is a problem that was found. No finding shows a secret.
    """
    if not isinstance(backend, Diagnosable):
        return [Finding(check=backend.name, status="ok", found="it brings no check of its own")]
    line = _Line(None, time.monotonic() + timeout)
    try:
        findings = _ask(backend.diagnose(), line)
    except Unanswered as error:
        advice = "see whether its URL is right, and whether this machine reaches it"
        return [Finding(check=f"{backend.name} service", status="problem", found=str(error), advice=advice)]
    return [dataclasses.replace(finding, found=masked(finding.found, line.secrets) or "") for finding in findings]


class _Line:
    """A line to a service for one question: it keeps to the pace and to a time, and knows the secrets that it sent."""

    def __init__(self, pacer: Pacer | None, ends_at: float) -> None:
        self.secrets: set[str] = set()
        self._pacer = pacer
        self._ends_at = ends_at
        self._transport = HttpxTransport(longest=LONGEST_ANSWER)

    def send(self, request: HttpRequest) -> Answer:
        self.secrets.update(word for value in request.headers.values() for word in value.split())
        if self._pacer is None:
            return self._send(request)
        self._wait_for_turn(self._pacer)
        answer = self._send(request)
        self._pacer.heed(answer)
        return answer

    def close(self) -> None:
        self._transport.close()

    def _send(self, request: HttpRequest) -> Answer:
        self._transport.timeout = self._ends_at - time.monotonic()
        if self._transport.timeout <= 0:
            raise Unanswered(NO_TIME)
        return self._transport.send(request)

    def _wait_for_turn(self, pacer: Pacer) -> None:
        while True:
            try:
                return pacer.wait()
            except Paused as paused:
                seconds = paused.until - time.time()
                if seconds > self._ends_at - time.monotonic():
                    raise Unanswered(f"no request may be made for {seconds:.0f} s: {paused}") from None
                time.sleep(max(0.0, seconds))


def _ask(plan: Generator[HttpRequest, Answer, T], line: _Line) -> T:
    """Carry out a plan outside the application's traces, and return what it returns; raise Unanswered for a fault."""
    try:
        return _untraced(lambda: _carried_out(plan, line))
    except TransportError as error:
        reason = f"it cannot be reached: {error}"
    except Unanswered as error:
        reason = str(error)
    except Exception as error:  # a fault in a backend's code, or an answer that no service of the kind gives
        reason = f"{type(error).__name__} while its answer was read: {error}"
    finally:
        line.close()
    raise Unanswered(masked(reason, line.secrets))


def _carried_out(plan: Generator[HttpRequest, Answer, T], line: _Line) -> T:
    try:
        request = next(plan)
        while True:
            request = plan.send(line.send(request))
    except StopIteration as done:
        result: T = done.value
        return result


def _untraced(work: Callable[[], T]) -> T:
    results: list[T] = []
    run_untraced(lambda: results.append(work()))
    return results[0]


def shares(questions: Sequence[T], timeout: float) -> list[tuple[T, float]]:
    """Return each question with the moment of the monotonic clock until which it may take.

    All have the same time, so that a service that hangs leaves time for the others.
    """
    began, share = time.monotonic(), bounded(timeout) / max(1, len(questions))
    return [(question, began + share * number) for number, question in enumerate(questions, start=1)]
