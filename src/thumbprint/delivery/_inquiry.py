"""Asking services, without changing anything there: whether feedback has arrived, and how the settings stand."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Final, TypeVar

from .._model import Finding, Verification
from .._scope import run_untraced
from .._secrets import Secrets
from ..backends import Confirmable, Diagnosable, Verdict
from ._pace import Paused
from ._receipt import bounded
from ._steps import sent
from ._transport import HttpxTransport, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from .._model import Feedback, LogRef
    from ..backends import Answer, Backend, Findable, Found, HttpRequest, Wanted
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
    return dataclasses.replace(found, reason=line.secrets.masked(found.reason))


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
    return [_masked(finding, line.secrets) for finding in findings]


def _masked(finding: Finding, secrets: Secrets) -> Finding:
    return dataclasses.replace(
        finding, found=secrets.masked(finding.found) or "", advice=secrets.masked(finding.advice)
    )


def search(backend: Findable, wanted: Wanted, *, timeout: float) -> Sequence[Found]:
    """Return the log entries that are wanted, as the service knows them, the earliest first.

    Raises Unanswered, which shows no secret, where it does not say. `timeout` is in seconds.
    """
    line = _Line(None, time.monotonic() + timeout)
    found = _ask(backend.find(wanted), line)
    if isinstance(found, Verdict):
        raise Unanswered(line.secrets.masked(found.reason))
    return found


class _Line:
    """A line to a service for one question: it keeps to the pace and to a time, and knows the secrets that it sent."""

    def __init__(self, pacer: Pacer | None, ends_at: float) -> None:
        self.secrets = Secrets()
        self._pacer = pacer
        self._ends_at = ends_at
        self._transport = HttpxTransport(longest=LONGEST_ANSWER)

    def send(self, request: HttpRequest) -> Answer:
        self.secrets.note(request.headers)
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
                seconds = paused.until - pacer.clock()
                if seconds > self._ends_at - time.monotonic():
                    raise Unanswered(f"no request may be made for {seconds:.0f} s: {paused}") from None
                time.sleep(max(0.0, seconds))


def _ask(plan: Generator[HttpRequest, Answer, T], line: _Line) -> T:
    """Carry out a plan outside the application's traces, and return what it returns; raise Unanswered for a fault."""
    try:
        return _untraced(lambda: sent(plan, line))
    except TransportError as error:
        reason = f"it cannot be reached: {error}"
    except Unanswered as error:
        reason = str(error)
    except Exception as error:  # a fault in a backend's code, or an answer that no service of the kind gives
        reason = f"{type(error).__name__} while its answer was read: {error}"
    finally:
        line.close()
    raise Unanswered(line.secrets.masked(reason))


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
