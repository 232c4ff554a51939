"""Calls of the real Anthropic SDK, through every door, land with their log ids."""

from __future__ import annotations

import asyncio
import json

import anthropic
import anthropic_doors as doors
import httpx2
import pytest
import sdk
from sdk import in_scope, log_of

import thumbprint

LOG_ID = {"cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"}


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", doors.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", doors.EVERY_DOOR)
def test_whatever_a_door_gives_leads_to_the_log_of_its_call(emulator, make_client, door, captured):
    scope, results = in_scope(captured(make_client(doors.url_of(emulator))), door)

    [log] = emulator.cloudflare_logs()
    assert log["provider"] == "anthropic"
    assert [ref.id for ref in scope.refs] == [log["id"]]
    for result in results:
        assert log_of(thumbprint.record_feedback(result, thumbs="up")) == log["id"], result
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


@pytest.mark.parametrize(
    ("door", "operation", "generated"),
    [
        (doors.message, "chat", True),
        (doors.stream_helper, "chat", True),
        (doors.token_count, "count_tokens", False),
        (doors.batch, "upload", False),
    ],
)
def test_a_call_is_named_for_what_it_does(emulator, door, operation, generated):
    scope, _ = in_scope(thumbprint.wrap(doors.client(doors.url_of(emulator))), door)
    assert (scope.last.operation, scope.last.generated) == (operation, generated)


@pytest.mark.parametrize("make_client", doors.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", doors.MESSAGES)
def test_the_log_knows_the_id_of_the_message_and_is_found_by_it(emulator, make_client, door):
    scope, _ = in_scope(thumbprint.wrap(make_client(doors.url_of(emulator))), door)
    assert scope.last.response_id.startswith("msg_")
    assert log_of(thumbprint.record_feedback(scope.last.response_id, thumbs="up")) == scope.last.id


@pytest.mark.parametrize("make_client", doors.SYNC_AND_ASYNC)
def test_an_api_error_leads_to_the_log_of_the_failed_call_and_no_scope_hears_of_it(emulator, make_client):
    async def call():
        async with sdk.entered(thumbprint.wrap(make_client(doors.url_of(emulator)))) as client:
            with thumbprint.scope() as scope, pytest.raises(anthropic.BadRequestError) as caught:
                await sdk.settled(client.messages.create(**doors.ASKED | {"model": "error-400"}))
            return scope, caught.value

    scope, error = asyncio.run(call())
    assert scope.refs == ()
    assert log_of(thumbprint.record_feedback(error, thumbs="down")) == emulator.cloudflare_logs()[0]["id"]


def test_an_error_in_the_middle_of_a_stream_leads_to_its_call(emulator):
    emulator.fail(
        "/v1/.*messages",
        status=200,
        body='event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "it broke"}}\n\n',
        headers={"content-type": "text/event-stream", **LOG_ID},
    )
    client = thumbprint.wrap(doors.client(doors.url_of(emulator)))
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(client.messages.create(**doors.ASKED, stream=True))
    [outcome] = thumbprint.record_feedback(caught.value, thumbs="down").outcomes
    assert outcome.ref.id == LOG_ID["cf-aig-log-id"]


@pytest.mark.parametrize("make_client", doors.SYNC_AND_ASYNC)
def test_after_retries_the_last_attempt_counts(emulator, make_client):
    async def flaky(client):
        return [await sdk.settled(client.messages.create(**doors.ASKED | {"model": "flaky-2"}))]

    scope, _ = in_scope(thumbprint.wrap(make_client(doors.url_of(emulator), max_retries=3)), flaky)
    logs = emulator.cloudflare_logs()
    assert [log["status_code"] for log in logs] == [500, 500, 200]
    assert [ref.id for ref in scope.refs] == [logs[-1]["id"]]


@pytest.mark.parametrize("make_client", doors.SYNC_AND_ASYNC)
def test_a_middleware_that_sees_every_attempt_brings_no_failed_one_into_the_scope(emulator, make_client):
    """The SDK shows a middleware each answer before it decides whether to try again."""
    seen = []

    def watch(request, call_next):
        response = call_next(request)
        seen.append(response)
        return response

    async def watch_async(request, call_next):
        response = await call_next(request)
        seen.append(response)
        return response

    async def flaky(client):
        return [await sdk.settled(client.messages.create(**doors.ASKED | {"model": "flaky-1"}))]

    middleware = watch if make_client is doors.client else watch_async
    client = make_client(doors.url_of(emulator), max_retries=1, middleware=[middleware])
    scope, [message] = in_scope(thumbprint.wrap(client), flaky)
    failed, answered = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [answered["id"]]
    assert log_of(thumbprint.record_feedback(message, thumbs="up")) == answered["id"]
    assert [log_of(thumbprint.record_feedback(each, thumbs="down")) for each in seen] == [failed["id"], answered["id"]]


def test_a_response_that_was_cached_is_told_apart_by_its_own_log(emulator):
    client = thumbprint.wrap(doors.client(doors.url_of(emulator)))
    cached = {"extra_headers": {"cf-aig-cache-ttl": "60"}}
    first, second = (client.messages.create(**doors.ASKED, **cached) for _ in range(2))
    assert first.id == second.id
    logs = [log["id"] for log in emulator.cloudflare_logs()]
    assert [log_of(thumbprint.record_feedback(answer, thumbs="up")) for answer in (first, second)] == logs


def test_copies_stay_captured(emulator):
    client = thumbprint.wrap(doors.client(doors.url_of(emulator)))
    with thumbprint.scope() as scope:
        client.with_options(timeout=5).copy(max_retries=1).with_middleware().messages.create(**doors.ASKED)
    assert [ref.id for ref in scope.refs] == [log["id"] for log in emulator.cloudflare_logs()]


def test_the_answer_is_the_same_as_without_capture(emulator):
    client = doors.client(doors.url_of(emulator))
    cached = {"extra_headers": {"cf-aig-cache-ttl": "60"}}
    bare = client.messages.create(**doors.ASKED, **cached)
    captured = thumbprint.wrap(client).messages.create(**doors.ASKED, **cached)
    assert type(captured) is type(bare)
    assert captured == bare
    assert repr(captured) == repr(bare)
    assert captured.model_dump() == bare.model_dump()
    assert captured.to_json() == bare.to_json()


def test_unwrap_puts_the_client_back_as_it_was(emulator):
    client = doors.client(doors.url_of(emulator))
    before = dict(vars(client))
    assert thumbprint.unwrap(thumbprint.wrap(client)) is client
    assert vars(client) == before


def host(request):
    """Answer as a platform does through which Anthropic's models are reached."""
    if request.url.path.endswith("invoke") or request.url.path.endswith("rawPredict"):
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": []}
        return httpx2.Response(200, json=message, headers=LOG_ID)
    return httpx2.Response(400, json={"message": str(request.url)}, headers=LOG_ID)


def bedrock(http):
    return anthropic.AnthropicBedrock(aws_region="eu-north-1", api_key="any", http_client=http, max_retries=0)


def vertex(http):
    return anthropic.AnthropicVertex(region="eu", project_id="p", access_token="any", http_client=http, max_retries=0)


@pytest.mark.parametrize("make_client", [bedrock, vertex])
@pytest.mark.parametrize("captured", sdk.HOOKS)
def test_clients_of_other_platforms_are_captured(make_client, captured):
    with httpx2.Client(transport=httpx2.MockTransport(host)) as http:
        client = captured(make_client(http))
        with thumbprint.scope() as scope:
            message = client.messages.create(**doors.ASKED)
            with pytest.raises(anthropic.BadRequestError) as caught:
                client.messages.create(**doors.ASKED, stream=True)
    assert message.id == scope.last.response_id == "msg_1"
    assert len(scope.refs) == 1
    assert scope.last.generated
    for target in (message, caught.value):
        with pytest.raises(thumbprint.MissingCredentialsError, match=LOG_ID["cf-aig-log-id"]):
            thumbprint.record_feedback(target, thumbs="up")


def test_what_a_signature_covers_is_there_before_the_request_is_signed():
    """Bedrock signs the headers that it finds; one that came later would make the gateway refuse the request."""
    seen = []

    def answer(request):
        seen.append(request)
        return host(request)

    class Signing(anthropic.AnthropicBedrock):
        def _prepare_request(self, request):
            request.headers["x-signed"] = json.dumps(sorted(request.headers))

    settings = thumbprint.Braintrust(parent="project_name:app", gateway_url="https://llm.example.com")
    thumbprint.configure(backends=[settings])
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = Signing(
            aws_region="eu-north-1", api_key="any", http_client=http, base_url="https://llm.example.com/bedrock"
        )
        thumbprint.wrap(client).messages.create(**doors.ASKED)
    assert seen[0].headers["x-bt-parent"] == "project_name:app"
    assert "x-bt-parent" in json.loads(seen[0].headers["x-signed"])


# the HTTP client inside captured as well


def over_captured_http(make_client, base_url, **kwargs):
    """Return a client that has a captured HTTP client inside it."""
    http = httpx2.Client() if make_client is doors.client else httpx2.AsyncClient()
    return make_client(base_url, http_client=thumbprint.wrap(http), **kwargs)


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", doors.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", doors.EVERY_DOOR)
def test_a_call_that_passes_both_layers_is_one_capture_and_its_result_leads_to_it(
    emulator, make_client, door, captured
):
    scope, results = in_scope(captured(over_captured_http(make_client, doors.url_of(emulator))), door)
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    for result in results:
        assert log_of(thumbprint.record_feedback(result, thumbs="up")) == log["id"], result


def test_of_the_attempts_that_both_layers_see_the_last_one_counts(emulator):
    client = thumbprint.wrap(over_captured_http(doors.client, doors.url_of(emulator), max_retries=3))
    with thumbprint.scope() as scope:
        client.messages.create(**doors.ASKED | {"model": "flaky-2"})
        with pytest.raises(anthropic.InternalServerError):
            client.messages.create(**doors.ASKED | {"model": "error-500"})
    assert [ref.id for ref in scope.refs] == [emulator.cloudflare_logs()[2]["id"]]
