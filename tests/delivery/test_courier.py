"""Carrying out a backend's plan, and keeping its credentials out of what is told about that."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest

from thumbprint.backends import Answer, HttpRequest, Verdict, judge
from thumbprint.delivery._courier import carry_out
from thumbprint.delivery._pace import Pacer
from thumbprint.delivery._steps import sent
from thumbprint.delivery._transport import TransportError
from thumbprint.stores import MemoryStore

KEY = "sk-proj-0123456789abcdefghij"
UNPACED = Pacer(store=MemoryStore(), bucket="any", pace=None)


@dataclass
class Answers:
    """A transport that gives one answer after the other; an exception is raised."""

    turns: Any
    sent: list[HttpRequest] = field(default_factory=list)

    def send(self, request):
        self.sent.append(request)
        turn = next(self.turns)
        if isinstance(turn, Exception):
            raise turn
        return turn

    def close(self):
        pass


def carried_out(plan, *answers):
    transport = Answers(iter(answers))
    return sent(carry_out(plan, UNPACED), transport), transport.sent


def asking(url="u", header=f"Bearer {KEY}"):
    return HttpRequest(method="GET", url=url, headers={"authorization": header})


def test_the_requests_of_a_plan_are_sent_one_after_the_other_and_its_verdict_is_returned():
    def plan():
        first = yield asking("first")
        second = yield asking(f"second after {first.status}")
        return Verdict(kind="refused", reason=f"{second.status}")

    verdict, sent = carried_out(plan(), Answer(status=201), Answer(status=202))

    assert verdict == Verdict(kind="refused", reason="202")
    assert [request.url for request in sent] == ["first", "second after 201"]


def test_a_service_that_cannot_be_reached_is_tried_again_later():
    def plan():
        yield asking()

    assert carried_out(plan(), TransportError("down"))[0] == Verdict(kind="retry", reason="down")


def test_a_plan_that_fails_by_itself_is_tried_again_later_and_its_fault_is_told_without_a_key(caplog):
    def plan():
        yield asking()
        raise LookupError(KEY)

    assert carried_out(plan(), Answer(status=200))[0] == Verdict(kind="retry", reason="LookupError in the backend")
    assert "LookupError: ***" in caplog.text
    assert KEY not in caplog.text


def test_who_interrupts_the_thread_of_an_application_that_delivers_in_it_is_not_held_up():
    def plan():
        yield asking()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(plan(), Answer(status=200))


# --- secrets


@pytest.mark.parametrize("form", ["Sup3r/Secret+Key==", "Sup3r\\/Secret\\u002bKey==", "sup3r/secret%2bkey%3d%3D"])
def test_a_key_is_masked_in_other_spellings_too(form):
    assert reason_of(f"no {form} here", header="Bearer Sup3r/Secret+Key==") == "HTTP 400: no *** here"


def reason_of(content, *, status=400, header=f"Bearer {KEY}"):
    """Return the reason of a verdict on an answer that quotes its request."""

    def plan():
        return judge((yield asking(header=header)))

    return carried_out(plan(), Answer(status=status, content=content.encode()))[0].reason


@pytest.mark.parametrize("status", [400, 401, 500])
def test_credentials_that_a_service_quotes_are_masked_in_the_reason(status):
    told = reason_of(f"bad key {KEY}, sent as 'Bearer {KEY}'", status=status)

    assert told == f"HTTP {status}: bad key ***, sent as 'Bearer ***'"


@pytest.mark.parametrize("shown", range(8, len(KEY)))
def test_credentials_are_masked_even_where_the_words_of_the_service_were_cut_in_the_middle_of_them(shown):
    told = reason_of("." * (300 - shown) + KEY + " was wrong")

    assert told == f"HTTP 400: {'.' * (300 - shown)}***"


def test_of_two_credentials_the_longer_one_is_masked_first():
    assert reason_of("given abcdefgh and abcdefghij", header="abcdefgh abcdefghij") == "HTTP 400: given *** and ***"


def test_words_too_short_for_a_secret_are_left_alone():
    assert reason_of("Bearer of bad news", header="Bearer x") == "HTTP 400: Bearer of bad news"


def test_a_verdict_without_a_reason_has_none_after_masking():
    assert reason_of("", status=200) is None


def test_credentials_that_a_transport_quotes_are_masked():
    def plan():
        return judge((yield asking()))

    verdict, _ = carried_out(plan(), TransportError(f"Illegal header value b'Bearer {KEY}'"))

    assert verdict == Verdict(kind="retry", reason="Illegal header value b'Bearer ***'")


def test_credentials_of_an_earlier_request_are_masked_in_what_is_told_of_a_later_one():
    def plan():
        yield asking(header="Bearer earlier-secret")
        return judge((yield asking()))

    answers = itertools.repeat(Answer(status=400, content=b"earlier-secret"))
    assert carried_out(plan(), *itertools.islice(answers, 2))[0].reason == "HTTP 400: ***"
