"""Calls of the real Groq SDK, which nobody made known here, land with their log ids."""

from __future__ import annotations

import groq
import httpx
import pytest
import sdk
from sdk import in_scope, log_of

import thumbprint


def client(base_url, http=None):
    return sdk.closing(groq.Groq(base_url=base_url, api_key="any", max_retries=0, http_client=http))


def async_client(base_url, http=None):
    return groq.AsyncGroq(base_url=base_url, api_key="any", max_retries=0, http_client=http)


SYNC_AND_ASYNC = [sdk.client(client, "groq", "sync"), sdk.client(async_client, "groq", "async")]
DOORS = [*sdk.SOME_DOORS, sdk.door(sdk.speech, "audio.speech.create")]


@pytest.fixture
def base_url(emulator):
    return emulator.cloudflare_openai_url.replace("/openai", "/groq")


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", DOORS)
def test_whatever_a_door_gives_leads_to_the_log_of_its_call(emulator, base_url, make_client, door, captured):
    leads_to_its_log(emulator, captured(make_client(base_url)), door)


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", DOORS)
def test_so_it_does_where_the_http_client_inside_is_captured_too(emulator, base_url, make_client, door, captured):
    kind = httpx.Client if make_client is client else httpx.AsyncClient
    leads_to_its_log(emulator, captured(make_client(base_url, thumbprint.wrap(kind()))), door)


def leads_to_its_log(emulator, client, door):
    scope, results = in_scope(client, door)
    [log] = emulator.cloudflare_logs()
    assert log["provider"] == "groq"
    assert [ref.id for ref in scope.refs] == [log["id"]]
    for result in results:
        assert log_of(thumbprint.record_feedback(result, thumbs="up")) == log["id"], result


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", SYNC_AND_ASYNC)
def test_an_api_error_leads_to_the_log_of_the_failed_call_and_no_scope_hears_of_it(
    emulator, base_url, make_client, captured
):
    async def failing(client):
        with pytest.raises(groq.BadRequestError) as caught:
            await sdk.settled(client.chat.completions.create(model="error-400", messages=sdk.asked()))
        return caught.value

    scope, error = in_scope(captured(make_client(base_url)), failing)
    assert scope.refs == ()
    assert log_of(thumbprint.record_feedback(error, thumbs="down")) == emulator.cloudflare_logs()[0]["id"]
