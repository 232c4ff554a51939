"""Calls of the real OpenAI SDK, through every door, land with their log ids."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
import subprocess
import sys

import openai
import pytest
import sdk
from sdk import in_scope

import thumbprint
from thumbprint._call import attached


@pytest.fixture
def wrapped(emulator):
    return thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))


def delivered(receipt):
    assert receipt.wait(10).status == "delivered", receipt.outcomes
    return receipt


def lead_to_the_log(emulator, scope, results):
    """See that a scope and each of the results lead to the log of the only call there was."""
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    for result in results:
        [outcome] = delivered(thumbprint.record_feedback(result, thumbs="up")).outcomes
        assert outcome.ref.id == log["id"], result


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", sdk.EVERY_DOOR)
def test_whatever_a_door_gives_leads_to_the_log_of_its_call(emulator, make_client, door, captured):
    lead_to_the_log(emulator, *in_scope(captured(make_client(emulator.cloudflare_openai_url)), door))
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", sdk.AZURE)
@pytest.mark.parametrize("door", sdk.SOME_DOORS)
def test_azures_clients_are_captured(emulator, make_client, door, captured):
    lead_to_the_log(emulator, *in_scope(captured(make_client(emulator.cloudflare_openai_url)), door))


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", sdk.EVERY_DOOR)
def test_through_a_braintrust_gateway_it_leads_to_the_row(emulator, make_client, door):
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    client = make_client(emulator.braintrust_gateway_url, api_key=key)
    scope, results = in_scope(thumbprint.wrap(client), door)

    [row] = emulator.braintrust_rows()
    assert [ref.id for ref in scope.refs] == [row["id"]]
    for result in results:
        delivered(thumbprint.record_feedback(result, thumbs="down"))
    assert [row["scores"] for row in emulator.braintrust_rows()] == [{"thumbs": 0}]


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_http", sdk.EVERY_TRANSPORT)
@pytest.mark.parametrize("door", [sdk.plain_chat, sdk.streamed_chat, sdk.raw_chat, sdk.speech])
def test_whatever_transports_a_call_it_is_captured(emulator, make_http, door, captured):
    async def call():
        http = make_http()
        make_client = sdk.openai_client if hasattr(http, "close") else sdk.async_openai_client
        client = captured(make_client(emulator.cloudflare_openai_url, http_client=http))
        async with sdk.entered(client):
            with thumbprint.scope() as scope:
                return scope, await door(client)

    lead_to_the_log(emulator, *asyncio.run(call()))


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_each_page_of_a_listing_is_a_call_and_none_of_them_the_last_that_answered(emulator, make_client):
    async def call():
        async with sdk.entered(thumbprint.wrap(make_client(emulator.cloudflare_openai_url))) as client:
            for _ in range(3):
                await sdk.upload(client)
            with thumbprint.scope() as scope:
                [completion] = await sdk.plain_chat(client)
                pages = client.files.list(limit=2)
                files = await sdk.items(pages)
                receipt = thumbprint.record_feedback(thumbs="up")
            return scope, completion, files, receipt

    scope, completion, files, receipt = asyncio.run(call())
    assert len(files) == 3
    assert [ref.operation for ref in scope.refs] == ["chat", "list", "list"]
    assert [ref.id for ref in scope.refs] == [log["id"] for log in emulator.cloudflare_logs()[3:]]
    assert scope.last.response_id == completion.id
    assert [outcome.ref for outcome in receipt.outcomes] == [scope.refs[0]]


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_an_api_error_leads_to_the_log_of_the_failed_call_and_no_scope_hears_of_it(emulator, make_client):
    async def call():
        async with sdk.entered(thumbprint.wrap(make_client(emulator.cloudflare_openai_url))) as client:
            with thumbprint.scope() as scope, pytest.raises(openai.APIStatusError) as caught:
                await sdk.settled(client.chat.completions.create(model="error-400", messages=sdk.asked()))
            return scope, caught.value

    scope, error = asyncio.run(call())
    assert scope.refs == ()
    delivered(thumbprint.record_feedback(error, thumbs="down", comment="it broke"))
    [log] = emulator.cloudflare_logs()
    assert (log["status_code"], log["feedback"], log["metadata"]) == (400, -1, {"comment": "it broke"})


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_after_retries_the_last_attempt_counts(emulator, make_client):
    emulator.fail("/v1/", status=500, headers={"retry-after-ms": "1"}, times=0)

    async def call():
        async with sdk.entered(thumbprint.wrap(make_client(emulator.cloudflare_openai_url, max_retries=3))) as client:
            with thumbprint.scope() as scope:
                completion = await sdk.settled(client.chat.completions.create(model="flaky-2", messages=sdk.asked()))
            return scope, completion

    scope, completion = asyncio.run(call())
    logs = emulator.cloudflare_logs()
    assert [log["status_code"] for log in logs] == [500, 500, 200]
    assert [ref.id for ref in scope.refs] == [logs[-1]["id"]]
    delivered(thumbprint.record_feedback(completion, thumbs="up"))
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [None, None, 1]


def test_wrap_returns_the_same_client_and_unwrap_ends_the_capture(emulator):
    client = sdk.openai_client(emulator.cloudflare_openai_url)
    before = dict(vars(client))
    assert thumbprint.wrap(client) is client
    assert thumbprint.wrap(client) is client
    assert thumbprint.unwrap(client) is client
    assert thumbprint.unwrap(client) is client
    assert vars(client) == before

    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.refs == ()


def test_wrapping_twice_captures_once(emulator, wrapped):
    thumbprint.wrap(wrapped)
    thumbprint.instrument()
    with thumbprint.scope() as scope:
        wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1


def test_copies_stay_captured(emulator, wrapped):
    with thumbprint.scope() as scope:
        wrapped.with_options(timeout=5).copy(max_retries=1).chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert [ref.id for ref in scope.refs] == [log["id"] for log in emulator.cloudflare_logs()]


def test_copies_of_an_async_client_stay_captured_and_stream(emulator):
    async def call():
        async with thumbprint.wrap(sdk.async_openai_client(emulator.cloudflare_openai_url)) as client:
            with thumbprint.scope() as scope:
                return scope, await sdk.streamed_chat(client.with_options(timeout=5).with_options(max_retries=1))

    scope, [stream, *_] = asyncio.run(call())
    assert [ref.id for ref in scope.refs] == [log["id"] for log in emulator.cloudflare_logs()]
    [outcome] = delivered(thumbprint.record_feedback(stream, thumbs="up")).outcomes
    assert outcome.ref.id == scope.last.id


def test_a_stream_that_capture_is_switched_off_in_leads_to_its_call_and_its_id_is_not_learnt(emulator, wrapped):
    with thumbprint.scope() as scope:
        stream = wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked(), stream=True)
    thumbprint.configure(disabled=True)
    chunks = list(stream)
    assert {attached(chunk).refs for chunk in chunks} == {scope.refs}
    assert scope.last.response_id is None


def test_copies_of_an_unwrapped_client_are_not_captured(emulator, wrapped):
    thumbprint.unwrap(wrapped)
    with thumbprint.scope() as scope:
        wrapped.with_options(timeout=5).chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.refs == ()


def test_copies_of_an_unwrapped_client_are_not_captured_where_another_library_has_wrapped_its_hooks(emulator, wrapped):
    ours = wrapped.copy

    def theirs(**kwargs):
        return ours(**kwargs)

    theirs.__wrapped__ = ours
    wrapped.copy = theirs
    thumbprint.unwrap(wrapped)
    with thumbprint.scope() as scope:
        wrapped.copy(timeout=5).chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.refs == ()


def test_only_the_wrapped_client_is_captured(emulator, wrapped):
    other = sdk.openai_client(emulator.cloudflare_openai_url)
    with thumbprint.scope() as scope:
        other.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.refs == ()


def test_unwrap_reaches_hooks_that_another_library_has_wrapped(emulator, wrapped):
    ours = wrapped._process_response

    def theirs(**kwargs):
        return ours(**kwargs)

    theirs.__wrapped__ = ours
    wrapped._process_response = theirs
    thumbprint.unwrap(wrapped)
    with thumbprint.scope() as scope:
        wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.refs == ()

    thumbprint.wrap(wrapped)
    with thumbprint.scope() as scope:
        wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1


def test_instrument_captures_every_client_and_uninstrument_puts_everything_back(emulator):
    bases = [getattr(openai._base_client, name) for name in ("BaseClient", "SyncAPIClient", "AsyncAPIClient")]
    before = [dict(vars(base)) for base in bases]
    thumbprint.instrument()
    thumbprint.instrument()
    client = sdk.openai_client(emulator.cloudflare_openai_url)
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1

    thumbprint.uninstrument()
    thumbprint.uninstrument()
    assert [dict(vars(base)) for base in bases] == before
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.refs == ()

    thumbprint.instrument()
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1


@pytest.mark.parametrize("first", ["import openai", "thumbprint.instrument()"])
def test_instrument_works_before_and_after_the_sdk_is_imported_and_does_not_import_it(emulator, first):
    second = {"import openai": "thumbprint.instrument()", "thumbprint.instrument()": "import openai"}[first]
    script = f"""
import sys, thumbprint
{first}
assert ("openai" in sys.modules) == {first.startswith("import")}
{second}
with thumbprint.scope() as scope:
    openai.OpenAI().chat.completions.create(model="gpt-5", messages=[{{"role": "user", "content": "hi"}}])
print(scope.last.id)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == emulator.cloudflare_logs()[0]["id"]


@pytest.mark.client("openai, module", "sync")
@pytest.mark.door("`chat.completions.create`")
@pytest.mark.parametrize("captured", sdk.HOOKS)
def test_the_module_level_client_is_captured(emulator, monkeypatch, captured):
    monkeypatch.setattr(openai, "api_key", "any")
    monkeypatch.setattr(openai, "base_url", f"{emulator.cloudflare_openai_url}/")
    monkeypatch.setattr(openai, "http_client", None)  # the module-level client keeps its connections here
    openai._reset_client()
    assert captured(openai) is openai
    try:
        with thumbprint.scope() as scope:
            answer = openai.chat.completions.create(model="gpt-5", messages=sdk.asked())
        [log] = emulator.cloudflare_logs()
        assert [ref.id for ref in scope.refs] == [log["id"]]
        assert [outcome.ref.id for outcome in delivered(thumbprint.record_feedback(answer, thumbs="up")).outcomes] == [
            log["id"]
        ]
    finally:
        openai._load_client().close()
        openai._reset_client()


def test_opentelemetrys_zero_code_start_up_switches_it_on(emulator):
    script = """
import openai, thumbprint
with thumbprint.scope() as scope:
    openai.OpenAI().chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])
print(scope.last.id)
"""
    command = [sys.executable, "-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()"]
    done = subprocess.run(
        [*command, "--traces_exporter", "none", "--metrics_exporter", "none", "--logs_exporter", "none",
         sys.executable, "-c", script],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == emulator.cloudflare_logs()[0]["id"]


def test_the_answer_is_the_same_as_without_capture(emulator, wrapped):
    bare = sdk.openai_client(emulator.cloudflare_openai_url).chat.completions.create(
        model="gpt-5", messages=sdk.asked(), extra_headers={"cf-aig-cache-ttl": "60"}
    )
    captured = wrapped.chat.completions.create(
        model="gpt-5", messages=sdk.asked(), extra_headers={"cf-aig-cache-ttl": "60"}
    )
    assert captured.id == bare.id  # from the gateway's cache
    assert type(captured) is type(bare)
    assert captured == bare
    assert repr(captured) == repr(bare)
    assert captured.model_dump() == bare.model_dump()
    assert captured.model_dump_json() == bare.model_dump_json()
    assert json.loads(captured.to_json()) == json.loads(bare.to_json())
    assert dict(captured) == dict(bare)


def test_the_target_survives_copy_deepcopy_and_pickle(emulator, wrapped):
    completion = wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    thumbprint.configure()  # so that nothing is known of the response id
    for twin in (
        copy.copy(completion),
        copy.deepcopy(completion),
        completion.model_copy(deep=True),
        pickle.loads(pickle.dumps(completion)),
    ):
        [outcome] = thumbprint.record_feedback(twin, thumbs="up").outcomes
        assert outcome.ref.id == emulator.cloudflare_logs()[0]["id"]


def test_a_pickled_answer_is_read_where_thumbprint_is_not_installed(emulator, wrapped, tmp_path):
    completion = wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    path = tmp_path / "completion.pickle"
    path.write_bytes(pickle.dumps(completion))
    script = """
import sys
sys.modules["thumbprint"] = None  # as if it were not installed
import pickle
print(pickle.loads(open(sys.argv[1], "rb").read()).id)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == completion.id, done.stderr


def test_a_response_without_an_id_is_no_target(emulator, wrapped):
    completion = wrapped.chat.completions.create(
        model="gpt-5", messages=sdk.asked(), extra_headers={"cf-aig-collect-log": "false"}
    )
    with pytest.raises(thumbprint.UnknownTargetError, match="through a gateway"):
        thumbprint.record_feedback(completion, thumbs="up")


def test_one_call_through_two_gateways_is_two_logs_and_feedback_goes_to_both(emulator):
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    client = thumbprint.wrap(sdk.openai_client(emulator.chained_url, api_key=key))
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert {ref.backend for ref in scope.refs} == {"cloudflare", "braintrust"}

    with scope:
        receipt = delivered(thumbprint.record_feedback(thumbs="up"))
    assert len(receipt.outcomes) == 2
    assert emulator.cloudflare_logs()[0]["feedback"] == 1
    assert emulator.braintrust_rows()[0]["scores"] == {"thumbs": 1}


def test_the_stale_log_id_of_a_cached_answer_is_left_alone(emulator):
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    client = thumbprint.wrap(sdk.openai_client(emulator.chained_url, api_key=key))
    answers = []
    for _ in range(2):
        with thumbprint.scope() as scope:
            answers.append(
                client.chat.completions.create(
                    model="gpt-5", messages=sdk.asked(), extra_headers={"x-bt-use-cache": "always"}
                )
            )
    assert [ref.backend for ref in scope.refs] == ["braintrust"]
    delivered(thumbprint.record_feedback(answers[1], thumbs="down"))
    assert emulator.cloudflare_logs()[0]["feedback"] is None
    assert [row["scores"] for row in emulator.braintrust_rows()] == [{}, {"thumbs": 0}]


def test_a_response_id_that_a_cache_repeats_is_refused_and_the_answers_themselves_are_told_apart(emulator, wrapped):
    first, second = (
        wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked(), extra_headers={"cf-aig-cache-ttl": "60"})
        for _ in range(2)
    )
    assert first.id == second.id
    with pytest.raises(thumbprint.AmbiguousTargetError, match=first.id):
        thumbprint.record_feedback(first.id, thumbs="up")
    delivered(thumbprint.record_feedback(second, thumbs="up"))
    delivered(thumbprint.record_feedback(first, thumbs="down"))
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [-1, 1]


def test_a_poll_of_a_background_response_leads_back_to_the_call_that_made_it(emulator, wrapped):
    with thumbprint.scope() as asked:
        made = wrapped.responses.create(model="gpt-5", input="Where is Ulm?", extra_body={"background": True})
    with thumbprint.scope() as polled:
        found = wrapped.responses.retrieve(made.id)
        receipt = thumbprint.record_feedback(thumbs="up")
    assert found.id == made.id
    assert polled.last.operation == "retrieve"
    for target in (found, made.id):
        [outcome] = thumbprint.record_feedback(target, thumbs="up").outcomes
        assert outcome.ref == asked.last
    assert [outcome.ref for outcome in receipt.outcomes] == [asked.last]


async def retrieved(client, response_id):
    return [await sdk.settled(client.responses.retrieve(response_id))]


async def retrieved_as_a_stream(client, response_id):
    stream = await sdk.settled(client.responses.retrieve(response_id, stream=True))
    return [stream, *await sdk.items(stream)]


async def cancelled(client, response_id):
    return [await sdk.settled(client.responses.cancel(response_id))]


@sdk.needs_openai(1, 90)
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("poll", [retrieved, retrieved_as_a_stream, cancelled])
def test_whatever_asks_for_a_background_response_leads_back_to_the_call_that_made_it(emulator, make_client, poll):
    async def call():
        async with sdk.entered(thumbprint.wrap(make_client(emulator.cloudflare_openai_url))) as client:
            with thumbprint.scope() as asked:
                made = await sdk.settled(client.responses.create(model="gpt-5", input="Ulm?", background=True))
            with thumbprint.scope() as polled:
                return asked, polled, await poll(client, made.id)

    asked, polled, results = asyncio.run(call())
    assert polled.last.operation in {"retrieve", "cancel"}
    for target in (*results, polled):
        [outcome] = delivered(thumbprint.record_feedback(target, thumbs="up")).outcomes
        assert outcome.ref == asked.last, target


def test_a_poll_of_a_response_that_was_made_elsewhere_is_its_own_target(emulator, wrapped):
    made = sdk.openai_client(emulator.cloudflare_openai_url).responses.create(
        model="gpt-5", input="Where is Ulm?", extra_body={"background": True}
    )
    found = wrapped.responses.retrieve(made.id)
    [outcome] = thumbprint.record_feedback(found, thumbs="up").outcomes
    assert outcome.ref.id == emulator.cloudflare_logs()[1]["id"]


def test_last_passes_over_what_generated_nothing(emulator, wrapped):
    with thumbprint.scope() as scope:
        asyncio.run(sdk.plain_chat(wrapped))
        asyncio.run(sdk.embeddings(wrapped))
        asyncio.run(sdk.moderation(wrapped))
        wrapped.models.list()
        [outcome] = thumbprint.record_feedback(thumbs="up").outcomes
        everything = thumbprint.record_feedback(thumbs="up", which="all").outcomes
    assert [ref.operation for ref in scope.refs] == ["chat", "embeddings", "moderation", "list"]
    assert outcome.ref == scope.last == scope.refs[0]
    assert [outcome.ref for outcome in everything] == list(scope.refs)


def test_where_nothing_generated_the_last_call_of_any_kind_is_taken(emulator, wrapped):
    with thumbprint.scope() as scope:
        asyncio.run(sdk.embeddings(wrapped))
        asyncio.run(sdk.moderation(wrapped))
    assert scope.last.operation == "moderation"


def test_a_disabled_thumbprint_captures_nothing_and_drops_feedback(emulator, monkeypatch, wrapped):
    monkeypatch.setenv("THUMBPRINT_DISABLED", "1")
    thumbprint.configure()
    with thumbprint.scope() as scope:
        completion = wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    receipt = thumbprint.record_feedback(completion, thumbs="up")
    assert scope.refs == ()
    assert (receipt.status, receipt.outcomes) == ("dropped", ())
    with pytest.raises(thumbprint.ArgumentValueError):
        thumbprint.record_feedback(completion, thumbs=0)


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_an_error_in_the_middle_of_a_stream_leads_to_its_call(emulator, make_client):
    emulator.fail(
        "/v1/.*chat",
        status=200,
        body='data: {"error": {"message": "it broke"}}\n\n',
        headers={"content-type": "text/event-stream", "cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"},
    )

    async def call():
        async with sdk.entered(thumbprint.wrap(make_client(emulator.cloudflare_openai_url))) as client:
            with pytest.raises(openai.APIError) as caught:
                await sdk.streamed_chat(client)
            return caught.value

    [outcome] = thumbprint.record_feedback(asyncio.run(call()), thumbs="down").outcomes
    assert outcome.ref.id == "01JADMCQQQBWH3NXZ5GCRN98DP"


def test_a_client_that_another_thumbprint_wraps_is_recorded_by_that_from_then_on(emulator, wrapped):
    own = thumbprint.Thumbprint()
    own.wrap(wrapped)
    thumbprint.instrument()
    thumbprint.unwrap(wrapped)  # it is not the default's any more
    completion = wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(completion.id, thumbs="up")
    assert own.record_feedback(completion.id, thumbs="up").wait(10).status == "delivered"
    own.unwrap(wrapped)
    assert "_process_response" not in vars(wrapped)
    own.close()


def test_a_client_that_is_wrapped_for_itself_is_not_recorded_by_the_instrumentation(emulator):
    thumbprint.instrument()
    own = thumbprint.Thumbprint()
    client = own.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope:
        completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(completion.id, thumbs="up")
    assert own.record_feedback(completion.id, thumbs="up").wait(10).status == "delivered"
    own.close()


def test_one_instrumentation_does_not_take_another_off(emulator):
    one, other = thumbprint.Thumbprint(), thumbprint.Thumbprint()
    before = dict(vars(openai._base_client.SyncAPIClient))
    client = sdk.openai_client(emulator.cloudflare_openai_url)
    one.instrument()
    other.instrument()
    one.uninstrument()
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1
    other.uninstrument()
    assert dict(vars(openai._base_client.SyncAPIClient)) == before


def test_unwrap_puts_back_what_another_library_had_set_before(emulator):
    client = sdk.openai_client(emulator.cloudflare_openai_url)
    theirs = client._process_response
    client._process_response = theirs
    thumbprint.unwrap(thumbprint.wrap(client))
    assert vars(client)["_process_response"] is theirs
    assert "_build_request" not in vars(client)


def test_an_attribute_with_wrappers_without_end_does_not_hold_wrap_up(emulator, wrapped):
    from unittest import mock  # noqa: PLC0415

    thumbprint.unwrap(wrapped)
    wrapped.copy = mock.call  # answers to every name
    assert thumbprint.wrap(wrapped) is wrapped


@pytest.mark.parametrize(
    "setting", [("BRAINTRUST_PARENT", "nowhere"), ("THUMBPRINT_STORE", "cloud://"), ("THUMBPRINT_DISABLED", "perhaps")]
)
def test_a_setting_that_cannot_be_used_fails_at_wrap_and_never_in_a_call(
    emulator, monkeypatch, caplog, wrapped, setting
):
    monkeypatch.setenv(*setting)
    thumbprint._default._default = None

    def vote(answer):
        thumbprint.record_feedback(answer, thumbs="up")

    for function in (thumbprint.wrap, lambda _: thumbprint.instrument(), vote):
        with pytest.raises(thumbprint.ConfigurationError, match=setting[0]):
            function(wrapped)
    with thumbprint.scope() as scope:
        answer = wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert answer.choices[0].message.content
    assert scope.refs == ()
    assert thumbprint.flush() == thumbprint.shutdown() == thumbprint.FlushResult()
    assert [record.name for record in caplog.records if record.levelno >= logging.WARNING] == ["thumbprint"]


def test_a_log_handler_that_fails_harms_no_call(emulator, wrapped):
    class Failing(logging.Filter):
        def filter(self, record):
            raise RuntimeError("a filter of the application's")

    emulator.fail("/v1/.*chat", headers={"cf-aig-log-id": "two words"})
    failing = Failing()
    logging.getLogger("thumbprint").addFilter(failing)
    try:
        assert wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked()).choices
    finally:
        logging.getLogger("thumbprint").removeFilter(failing)


def test_a_disabled_thumbprint_leaves_errors_alone(emulator, wrapped):
    thumbprint.configure(disabled=True)
    with pytest.raises(openai.BadRequestError) as caught:
        wrapped.chat.completions.create(model="error-400", messages=sdk.asked())
    assert not hasattr(caught.value, "_thumbprint")


def test_a_client_with_only_the_methods_that_matter_is_wrapped():
    class Small:
        def _process_response(self, *, response):
            return response

        def _make_status_error_from_response(self, response):
            return response

    small = Small()
    thumbprint.wrap(small)
    assert set(vars(small)) == {"_process_response", "_make_status_error_from_response", "__reduce_ex__"}
    thumbprint.unwrap(small)
    assert vars(small) == {}
