"""An SDK's client and the HTTP client inside it, both captured or one of them: one call, one capture."""

from __future__ import annotations

import httpx
import openai
import pytest
import sdk
from sdk import in_scope, log_of

import thumbprint
from thumbprint._call import attached

LIBRARIES = sdk.HTTP_LIBRARIES if sdk.OPENAI >= (3,) else [httpx]
LAYERS = ["outer and inner", "instrument and inner"]


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.__name__)
def library(request):
    return request.param


def captured(make_client, base_url, library, layers, **kwargs):
    """Return an SDK's client on an HTTP client of the library, with capture on the layers that are named."""
    kind = library.AsyncClient if "async" in make_client.__name__ else library.Client
    http = kind()
    if "inner" in layers:
        thumbprint.wrap(http)
    client = make_client(base_url, http_client=http, **kwargs)
    if "outer" in layers:
        thumbprint.wrap(client)
    if "instrument" in layers:
        thumbprint.instrument()
    return client


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", sdk.EVERY_DOOR)
def test_a_call_that_passes_both_layers_is_one_capture_and_its_result_leads_to_it(emulator, make_client, door, layers):
    scope, results = in_scope(captured(make_client, emulator.cloudflare_openai_url, LIBRARIES[-1], layers), door)
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    for result in results:
        assert log_of(thumbprint.record_feedback(result, thumbs="up")) == log["id"], result


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", [sdk.plain_chat, sdk.streamed_chat, sdk.raw_chat, sdk.streamed_response])
def test_the_outer_layer_learns_the_id_of_the_answer(emulator, make_client, door, library, layers):
    scope, _ = in_scope(captured(make_client, emulator.cloudflare_openai_url, library, layers), door)
    assert scope.last.response_id.startswith(("chatcmpl-", "resp_"))
    thumbprint.record_feedback(scope.last.response_id, thumbs="up")


@pytest.mark.parametrize("layers", [*LAYERS, "inner"])
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_of_the_attempts_of_an_sdk_the_last_one_counts(emulator, make_client, library, layers):
    async def flaky(client):
        return await sdk.settled(client.chat.completions.create(model="flaky-2", messages=sdk.asked()))

    client = captured(make_client, emulator.cloudflare_openai_url, library, layers, max_retries=3)
    scope, completion = in_scope(client, flaky)
    logs = emulator.cloudflare_logs()
    assert [log["status_code"] for log in logs] == [500, 500, 200]
    assert [ref.id for ref in scope.refs] == [logs[-1]["id"]]
    assert log_of(thumbprint.record_feedback(completion, thumbs="up")) == logs[-1]["id"]


@pytest.mark.parametrize("layers", [*LAYERS, "inner"])
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_an_error_leads_to_the_last_attempt_and_no_scope_hears_of_any(emulator, make_client, library, layers):
    async def failing(client):
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.settled(client.chat.completions.create(model="error-500", messages=sdk.asked()))
        return caught.value

    client = captured(make_client, emulator.cloudflare_openai_url, library, layers, max_retries=2)
    scope, error = in_scope(client, failing)
    assert scope.refs == ()
    logs = emulator.cloudflare_logs()
    assert len(logs) == 3
    assert log_of(thumbprint.record_feedback(error, thumbs="down")) == logs[-1]["id"]


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", [sdk.plain_chat, sdk.streamed_chat])
def test_where_the_inner_client_alone_is_captured_the_scope_knows_and_the_answer_by_its_id(
    emulator, make_client, door, library
):
    scope, [result, *_] = in_scope(captured(make_client, emulator.cloudflare_openai_url, library, "inner"), door)
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    assert attached(result) is None
    assert log_of(thumbprint.record_feedback(result, thumbs="up")) == log["id"]


def test_a_poll_through_the_inner_client_leads_back_to_the_call_that_made_the_response(emulator, tmp_path, library):
    """Also where the store keeps a copy of what it was told, and not the call itself."""
    thumbprint.configure(store=f"sqlite:///{tmp_path}/store")
    client = captured(sdk.openai_client, emulator.cloudflare_openai_url, library, "outer and inner")
    made = client.responses.create(model="gpt-5", input="Where is Ulm?", extra_body={"background": True})
    with thumbprint.scope("message-1"):
        client.responses.retrieve(made.id)
    made_log, _ = emulator.cloudflare_logs()
    assert log_of(thumbprint.record_feedback("message-1", thumbs="up")) == made_log["id"]


def test_each_layer_may_belong_to_another_thumbprint_and_the_scope_still_hears_of_the_call_once(emulator, library):
    inner, outer = thumbprint.Thumbprint(), thumbprint.Thumbprint()
    client = sdk.openai_client(emulator.cloudflare_openai_url, http_client=inner.wrap(library.Client()))
    outer.wrap(client)
    with thumbprint.scope() as scope:
        completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1
    assert log_of(outer.record_feedback(completion, thumbs="up")) == scope.last.id
    inner.close()
    outer.close()


def test_unwrapping_one_layer_leaves_the_other(emulator, library):
    http = thumbprint.wrap(library.Client())
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url, http_client=http))
    for unwrapped in (http, client):
        thumbprint.unwrap(unwrapped)
        with thumbprint.scope() as scope:
            client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        assert len(scope.refs) == (1 if unwrapped is http else 0)
