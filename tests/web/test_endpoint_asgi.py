"""The endpoint, called in odd ways by ASGI itself."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
import sdk
import web_clients

import thumbprint
from thumbprint.stores import MemoryStore
from thumbprint.web.asgi import FeedbackEndpoint

pytestmark = pytest.mark.usefixtures("emulator", "secret")

JSON = [("Content-Type", "application/json")]
REF = thumbprint.LogRef(backend="cloudflare", id="01JADMCQQQBWH3NXZ5GCRN98DP", account_id="a", gateway_id="g")


def calling(endpoint=None, **request):
    return web_clients.asgi_call(endpoint or FeedbackEndpoint(), headers=JSON, **request)


def called(endpoint=None, **request):
    return asyncio.run(calling(endpoint, **request))


def vote(target=REF):
    return [json.dumps({"token": thumbprint.token_for(target), "thumbs": "up"}).encode()]


def test_a_long_body_without_a_length_is_read_no_further():
    sent, read = called(chunks=[b" " * 1000] * 100)
    assert sent[0]["status"] == 413
    assert read == 17


def test_a_client_that_goes_away_is_not_answered():
    assert called(chunks=[]) == ([], 0)


def test_a_websocket_is_refused_and_what_nobody_knows_is_left_alone():
    assert called(scope={"type": "websocket"})[0] == [{"type": "websocket.close", "code": 1000}]
    assert called(scope={"type": "webtransport"})[0] == []


def test_as_the_whole_application_it_takes_part_in_the_servers_lifespan():
    async def live():
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        sent = []

        async def receive():
            return events.pop(0)

        async def send(message):
            sent.append(message["type"])

        await FeedbackEndpoint()({"type": "lifespan"}, receive, send)
        return sent, events

    assert asyncio.run(live()) == (["lifespan.startup.complete", "lifespan.shutdown.complete"], [])


# what waits, waits in a thread: the event loop has other requests to serve


class Slow(MemoryStore):
    """A store that answers only after somebody else was served."""

    def __init__(self):
        super().__init__()
        self.asked, self.served = threading.Event(), threading.Event()

    def put(self, items):
        self.asked.set()
        assert self.served.wait(20)
        return super().put(items)


async def served_meanwhile(asked, served, endpoint=None):
    """Return what a vote is answered that waits until another request has been served."""
    answer = asyncio.create_task(calling(endpoint, chunks=vote()))
    assert await asyncio.to_thread(asked.wait, 20)
    page, _ = await calling(method="GET", query="thanks=1")
    assert page[0]["status"] == 200
    served.set()
    sent, _ = await answer
    return sent[0]["status"]


def test_a_store_that_is_slow_holds_up_no_other_request():
    store = Slow()
    thumbprint.configure(store=store)
    assert asyncio.run(served_meanwhile(store.asked, store.served)) == 202


def test_a_hook_that_blocks_holds_up_no_other_request():
    asked, served = threading.Event(), threading.Event()

    def on_feedback(scope, feedback):
        asked.set()
        assert served.wait(20)

    assert asyncio.run(served_meanwhile(asked, served, FeedbackEndpoint(on_feedback=on_feedback))) == 202


def test_a_coroutine_function_is_asked_in_the_event_loop_and_any_other_outside():
    def where():
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return "outside"
        return "inside"

    async def inside(scope, feedback):
        found.append(where())

    class Hook:
        def __call__(self, scope, feedback):
            found.append(where())
            return inside(scope, feedback)

    found = []
    for hook in (inside, Hook()):
        called(FeedbackEndpoint(on_feedback=hook), chunks=vote())
    assert found == ["inside", "outside", "inside"]


@pytest.mark.parametrize("error", [KeyError, StopIteration, asyncio.CancelledError])
def test_what_a_hook_raises_is_the_servers_to_handle(error):
    def on_feedback(scope, feedback):
        raise error("the application's own")

    with pytest.raises(RuntimeError if error is StopIteration else error):
        called(FeedbackEndpoint(on_feedback=on_feedback), chunks=vote())


def test_where_delivery_is_inline_the_vote_has_arrived_when_it_is_answered(emulator, client, monkeypatch):
    monkeypatch.setenv("THUMBPRINT_DELIVERY", "inline")
    thumbprint.configure()
    answer = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    sent, _ = called(chunks=vote(answer))
    assert json.loads(sent[1]["body"])["status"] == "delivered"
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [1]


def test_an_event_loop_of_another_kind_is_served_too():
    running = calling(chunks=vote())
    with pytest.raises(StopIteration) as done:  # as a coroutine tells any loop that it is done
        running.send(None)
    assert done.value.value[0][0]["status"] == 202
