"""Calls of bare HTTP clients: the answer that the client returned leads to the log."""

from __future__ import annotations

import asyncio
import logging

import httpx
import pytest
import sdk
from opentelemetry import trace
from sdk import log_of
from telemetry import Telemetry

import thumbprint
from thumbprint import Braintrust, Cloudflare
from thumbprint._call import attached

LOG_ID = {"cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"}
GATEWAY = "https://gateway.ai.cloudflare.com/v1/0123456789abcdef0123456789abcdef/g/openai/chat/completions"
EVERY_CLIENT = [
    pytest.param(kind, id=f"{library.__name__}.{kind.__name__}", marks=pytest.mark.client(library.__name__, way))
    for library in sdk.HTTP_LIBRARIES
    for kind, way in ((library.Client, "sync"), (library.AsyncClient, "async"))
]
CHAT = {"model": "gpt-5", "messages": sdk.asked()}


def library_of(kind):
    return next(library for library in sdk.HTTP_LIBRARIES if kind in (library.Client, library.AsyncClient))


def answering(kind, answer, **kwargs):
    """Return a client that gets what `answer(request)` returns."""
    return kind(transport=library_of(kind).MockTransport(answer), **kwargs)


def used(client, use):
    """Return what the use of a client, which may be an async one, gives, and the scope that it was in."""

    async def run():
        async with sdk.entered(client):
            with thumbprint.scope() as scope:
                return scope, await use(client)

    return asyncio.run(run())


def keyed(kind, **kwargs):
    return kind(headers={"authorization": "Bearer any"}, **kwargs)


@pytest.mark.door("a request")
@pytest.mark.by("wrap")
@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_the_response_leads_to_the_log_of_its_call(emulator, kind):
    async def ask(client):
        return await sdk.settled(client.post(f"{emulator.cloudflare_openai_url}/chat/completions", json=CHAT))

    scope, response = used(thumbprint.wrap(keyed(kind)), ask)
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    assert (scope.last.operation, scope.last.response_id) == ("chat", response.json()["id"])
    for target in (response, response.json()["id"], scope):
        assert log_of(thumbprint.record_feedback(target, thumbs="up")) == log["id"]


async def by_stream(client, url):
    async with sdk.entered(client.stream("POST", url, json=CHAT | {"stream": True})) as response:
        return response, [response, await sdk.items(lines_of(response))]


async def by_send(client, url):
    request = client.build_request("POST", url, json=CHAT | {"stream": True})
    response = await sdk.settled(client.send(request, stream=True))
    read = await sdk.items(lines_of(response))
    await sdk.settled(response.aclose() if hasattr(client, "aclose") else response.close())
    return response, [response, read]


def lines_of(response):
    return response.aiter_lines() if isinstance(response.stream, ASYNC_STREAMS) else response.iter_lines()


ASYNC_STREAMS = tuple(library.AsyncByteStream for library in sdk.HTTP_LIBRARIES)


@pytest.mark.door("a request", stream=True)
@pytest.mark.by("wrap")
@pytest.mark.parametrize("kind", EVERY_CLIENT)
@pytest.mark.parametrize("way", [by_stream, by_send])
def test_a_stream_leads_to_the_log_of_its_call_and_streams_as_ever(emulator, kind, way):
    url = f"{emulator.cloudflare_openai_url}/chat/completions"
    scope, (response, [_, lines]) = used(thumbprint.wrap(keyed(kind)), lambda client: way(client, url))
    assert [ref.id for ref in scope.refs] == [emulator.cloudflare_logs()[0]["id"]]
    assert len([line for line in lines if line.startswith("data: ")]) > 5
    assert log_of(thumbprint.record_feedback(response, thumbs="up")) == scope.last.id


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_of_redirects_the_last_answer_counts(emulator, kind):
    url = f"{emulator.cloudflare_openai_url}/chat/completions"
    emulator.fail("/elsewhere", status=307, headers={"location": url, **LOG_ID}, times=2)

    async def ask(client):
        first = await sdk.settled(client.post(f"{emulator.url}/elsewhere", json=CHAT))
        followed = await sdk.settled(client.post(f"{emulator.url}/elsewhere", json=CHAT, follow_redirects=True))
        return first, followed

    scope, (first, followed) = used(thumbprint.wrap(keyed(kind)), ask)
    assert first.status_code == 307
    assert [ref.id for ref in scope.refs] == [emulator.cloudflare_logs()[0]["id"]]
    assert log_of(thumbprint.record_feedback(followed, thumbs="up")) == scope.last.id


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_an_error_leads_to_the_log_of_the_failed_call_and_no_scope_hears_of_it(emulator, kind):
    async def ask(client):
        url = f"{emulator.cloudflare_openai_url}/chat/completions"
        response = await sdk.settled(client.post(url, json=CHAT | {"model": "error-400"}))
        with pytest.raises(library_of(kind).HTTPStatusError) as caught:
            response.raise_for_status()
        return response, caught.value

    scope, (response, error) = used(thumbprint.wrap(keyed(kind)), ask)
    assert scope.refs == ()
    for target in (error, response):
        assert log_of(thumbprint.record_feedback(target, thumbs="down")) == emulator.cloudflare_logs()[0]["id"]


def refusing(kind):
    """Return an event hook that raises for an answer that is an error."""

    async def refuse_later(response):
        response.raise_for_status()

    def refuse(response):
        response.raise_for_status()

    return refuse_later if kind.__name__.startswith("Async") else refuse


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_an_error_that_an_event_hook_raised_leads_to_the_log_too(kind):
    def answer(request):
        return library_of(kind).Response(500, headers=LOG_ID)

    async def ask(client):
        with pytest.raises(library_of(kind).HTTPStatusError) as caught:
            await sdk.settled(client.get(GATEWAY))
        return caught.value

    client = answering(kind, answer, event_hooks={"response": [refusing(kind)]})
    scope, error = used(thumbprint.wrap(client), ask)
    assert scope.refs == ()
    assert attached(error).refs[0].id == LOG_ID["cf-aig-log-id"]


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_an_error_without_an_answer_is_raised_as_it_was(kind, caplog):
    odd = RuntimeError("of a transport of its own")
    odd.response = {"Error": "as some libraries have it"}
    for error in (library_of(kind).ConnectTimeout("too slow"), odd):

        def answer(request, error=error):
            raise error

        async def ask(client, error=error):
            with pytest.raises(type(error)) as caught:
                await sdk.settled(client.get(GATEWAY))
            assert caught.value is error

        scope, _ = used(thumbprint.wrap(answering(kind, answer)), ask)
        assert scope.refs == ()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_the_applications_own_hooks_and_transports_stay_as_they_were(kind):
    seen = []

    def saw(message):
        seen.append(type(message).__name__)

    async def saw_later(message):
        saw(message)

    hook = saw_later if kind.__name__.startswith("Async") else saw
    hooks = {"request": [hook], "response": [hook]}
    client = answering(kind, lambda _: library_of(kind).Response(200, headers=LOG_ID), event_hooks=hooks)
    before = dict(vars(client))
    assert thumbprint.wrap(client) is client
    assert thumbprint.wrap(client) is client
    assert client.event_hooks == hooks
    assert {name: value for name, value in vars(client).items() if name in before} == before

    scope, _ = used(client, lambda client: sdk.settled(client.get(GATEWAY)))
    assert len(scope.refs) == 1
    assert seen == ["Request", "Response"]

    assert thumbprint.unwrap(client) is client
    assert {**vars(client), "_state": before["_state"]} == before


@pytest.mark.parametrize("kind", [library.Client for library in sdk.HTTP_LIBRARIES])
def test_unwrap_ends_the_capture(kind):
    client = thumbprint.wrap(answering(kind, lambda _: library_of(kind).Response(200, headers=LOG_ID)))
    thumbprint.unwrap(client)
    scope, response = used(client, lambda client: sdk.settled(client.get(GATEWAY)))
    assert scope.refs == ()
    assert attached(response) is None


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_whatever_else_it_is_used_for_is_nothing_to_thumbprint(kind):
    """No id, no call: not even in a span, by which the call of an SDK would be known."""
    thumbprint.configure(backends=[Cloudflare(), thumbprint.OpenTelemetry()])
    with Telemetry().span():
        assert trace.get_current_span().get_span_context().is_valid
        client = thumbprint.wrap(answering(kind, lambda _: library_of(kind).Response(200, json={"id": "x"})))
        scope, response = used(client, lambda client: sdk.settled(client.post("https://example.com/orders")))
    assert scope.refs == ()
    assert attached(response) is attached(response.request) is None
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(response, thumbs="up")


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_a_gateway_is_told_what_it_must_be_told_and_no_other_host(kind):
    settings = [
        Braintrust(parent="project_name:app", gateway_url="https://llm.example.com"),
        Cloudflare(tag_requests=True),
    ]
    thumbprint.configure(backends=settings)
    seen = []

    def answer(request):
        seen.append(request)
        return library_of(kind).Response(200)

    async def ask(client):
        for url in ("https://llm.example.com/v1", GATEWAY, "https://example.com/orders"):
            await sdk.settled(client.post(url, json={}))
        await sdk.settled(client.post("https://llm.example.com/v1", headers={"X-BT-Parent": "project_id:mine"}))

    scope, _ = used(thumbprint.wrap(answering(kind, answer)), ask)
    braintrust, cloudflare, other, own = seen
    assert braintrust.headers["x-bt-parent"] == "project_name:app"
    assert scope.id in cloudflare.headers["cf-aig-metadata"]
    assert not {"x-bt-parent", "cf-aig-metadata"} & set(other.headers)
    assert own.headers.get_list("x-bt-parent") == ["project_id:mine"]


def test_a_request_that_the_application_made_by_itself_is_not_changed():
    thumbprint.configure(backends=[Braintrust(parent="project_name:app", gateway_url="https://llm.example.com")])
    request = httpx.Request("POST", "https://llm.example.com/v1", headers={"a": "b"})
    with thumbprint.wrap(answering(httpx.Client, lambda _: httpx.Response(200, headers=LOG_ID))) as client:
        response = client.send(request=request)
    assert response.request is request
    assert request.headers.raw == httpx.Request("POST", "https://llm.example.com/v1", headers={"a": "b"}).headers.raw


@pytest.mark.parametrize("library", sdk.HTTP_LIBRARIES)
def test_a_request_that_is_sent_once_more_leads_to_its_last_answer_only(library):
    answers = [library.Response(500, headers=LOG_ID), library.Response(200), library.ReadTimeout("too slow")]

    def answer(request):
        if isinstance(answers[0], Exception):
            raise answers.pop(0)
        return answers.pop(0)

    with thumbprint.wrap(answering(library.Client, answer)) as client:
        request = client.build_request("POST", GATEWAY, json={})
        failed, unlogged = client.send(request), client.send(request)
        with pytest.raises(library.ReadTimeout) as caught:
            client.send(request)
    assert attached(failed).refs[0].id == LOG_ID["cf-aig-log-id"]
    for target in (unlogged, caught.value):
        with pytest.raises(thumbprint.UnknownTargetError):
            thumbprint.record_feedback(target, thumbs="up")


@pytest.mark.parametrize("library", sdk.HTTP_LIBRARIES)
def test_a_response_object_that_is_given_out_twice_is_two_calls(library):
    """As a cache in a transport does it: each request has a call of its own, here with the same id."""
    response = library.Response(200, headers=LOG_ID, json={"id": "chatcmpl-1"})
    with thumbprint.wrap(answering(library.Client, lambda _: response)) as client, thumbprint.scope() as scope:
        for _ in range(2):
            with thumbprint.scope() as inner:
                client.post(GATEWAY)
            assert len(inner.refs) == 1
    assert len(scope.refs) == 2


@pytest.mark.parametrize("kind", [library.AsyncClient for library in sdk.HTTP_LIBRARIES])
def test_calls_that_run_at_the_same_time_land_in_scopes_of_their_own(emulator, kind):
    async def ask(client, number):
        with thumbprint.scope() as scope:
            url = f"{emulator.cloudflare_openai_url}/chat/completions"
            response = await client.post(url, json=CHAT | {"messages": sdk.asked(f"call {number}")})
        return scope.last, response.json()["id"]

    async def all_at_once(client):
        return await asyncio.gather(*(ask(client, number) for number in range(8)))

    scope, found = used(thumbprint.wrap(keyed(kind)), all_at_once)
    assert [ref.response_id for ref, _ in found] == [answered for _, answered in found]
    assert (
        {ref.id for ref, _ in found}
        == {ref.id for ref in scope.refs}
        == {log["id"] for log in emulator.cloudflare_logs()}
    )


def test_an_async_client_answers_with_a_coroutine_as_ever():
    client = thumbprint.wrap(answering(httpx.AsyncClient, lambda _: httpx.Response(200, headers=LOG_ID)))
    coroutine = client.send(client.build_request("GET", GATEWAY))
    assert asyncio.iscoroutine(coroutine)
    assert asyncio.iscoroutinefunction(client.send)
    assert asyncio.run(coroutine).status_code == 200


@pytest.mark.parametrize("kind", EVERY_CLIENT)
def test_a_disabled_thumbprint_leaves_the_client_to_itself(kind):
    thumbprint.configure(disabled=True)
    client = thumbprint.wrap(answering(kind, lambda _: library_of(kind).Response(200, headers=LOG_ID)))
    scope, response = used(client, lambda client: sdk.settled(client.get(GATEWAY)))
    assert scope.refs == ()
    assert attached(response) is None


def test_what_has_the_same_methods_is_a_client_too():
    class Client:
        def build_request(self, method, url):
            return httpx.Request(method, url)

        def send(self, request):
            return httpx.Response(200, headers=LOG_ID, request=request)

    client = thumbprint.wrap(Client())
    with thumbprint.scope() as scope:
        client.send(client.build_request("POST", GATEWAY))
    assert len(scope.refs) == 1
    thumbprint.unwrap(client)
    assert vars(client) == {}
