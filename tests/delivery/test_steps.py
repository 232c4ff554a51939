"""Work whose requests somebody else sends: the same, whether that blocks or is awaited."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

from thumbprint.backends import Answer, HttpRequest
from thumbprint.delivery._pace import Paused
from thumbprint.delivery._steps import awaited, sent
from thumbprint.delivery._transport import TransportError


class Service:
    """Answers each request with the status that is in its URL; raises what else is there, and never answers "hang"."""

    def __init__(self):
        self.urls = []

    def send(self, request):
        self.urls.append(request.url)
        if not request.url.isdigit():
            raise TransportError(request.url)
        return Answer(status=int(request.url))

    async def carry(self, request):
        await asyncio.sleep(math.inf if request.url == "hang" else 0)
        return self.send(request)


def blocking(steps, service):
    return sent(steps, service)


def in_a_task(steps, service):
    return asyncio.run(awaited(steps, service.carry, time.monotonic() + 30))


BOTH = pytest.mark.parametrize("done", [blocking, in_a_task])


def asking(*urls):
    """Ask for each; return the statuses, and the errors in place of those that have none."""
    told = []
    for url in urls:
        try:
            told.append((yield HttpRequest(method="GET", url=url)).status)
        except TransportError as error:
            told.append(str(error))
    return told


@BOTH
def test_each_request_is_sent_and_its_answer_or_error_comes_back_to_where_it_was_made(done):
    service = Service()
    assert done(asking("200", "unreachable", "404"), service) == [200, "unreachable", 404]
    assert service.urls == ["200", "unreachable", "404"]
    assert done(asking(), service) == []


@BOTH
def test_an_error_that_the_work_does_not_expect_ends_it(done):
    def naive():
        yield HttpRequest(method="GET", url="unreachable")

    with pytest.raises(TransportError, match="unreachable"):
        done(naive(), Service())


def test_an_answer_that_is_not_there_in_time_is_an_error_and_no_more_time_is_left_for_others():
    service = Service()
    told = asyncio.run(awaited(asking("200", "hang", "hang"), service.carry, time.monotonic() + 0.2))
    assert told == [200, *["there was no answer in time"] * 2]
    assert service.urls == ["200"]


def test_whoever_gives_up_waiting_has_the_rest_put_off_and_nothing_sent():
    put_off = []

    def thorough():
        for url in ("200", "hang", "200"):
            try:
                yield HttpRequest(method="GET", url=url)
            except Paused as paused:
                put_off.append((url, str(paused)))

    async def impatient():
        await asyncio.wait_for(awaited(thorough(), service.carry, time.monotonic() + 30), 0.1)

    service = Service()
    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert put_off == [(url, "whoever awaited it gave up") for url in ("hang", "200")]
    assert service.urls == ["200"]
