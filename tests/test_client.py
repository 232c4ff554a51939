"""The public functions together: credentials, receipts, flushing, settings, and secrets that stay in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import subprocess
import sys
import threading
import time

import openai
import pytest
import sdk

import thumbprint
from thumbprint import Braintrust, Cloudflare, LogRef, MissingCredentialsError, StoreError, _dispatch
from thumbprint.emulator import Emulator
from thumbprint.stores import MemoryStore

SECRETS = {
    "CLOUDFLARE_API_TOKEN": "cloudflare-secret-osprey",
    "BRAINTRUST_API_KEY": "braintrust-secret-osprey",
    "OPENAI_API_KEY": "openai-secret-osprey",
}
BUSY = 5  # seconds that a machine may add to a timeout; without the timeout it were 10 and more


@pytest.fixture
def client(emulator):
    return thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))


@pytest.fixture
def completion(client):
    return client.chat.completions.create(model="gpt-5", messages=sdk.asked())


@pytest.mark.parametrize(
    ("ref", "variable"),
    [
        (LogRef(backend="cloudflare", id="01J"), "CLOUDFLARE_API_TOKEN"),
        (LogRef(backend="cloudflare", id="01J"), "CLOUDFLARE_ACCOUNT_ID"),
        (LogRef(backend="cloudflare", id="01J", account_id="a"), "CLOUDFLARE_GATEWAY_ID"),
        (LogRef(backend="braintrust", id="row"), "BRAINTRUST_API_KEY"),
        (LogRef(backend="braintrust", id="row"), "BRAINTRUST_PARENT"),
    ],
)
def test_a_missing_credential_is_named_when_feedback_is_recorded_and_nothing_is_queued(
    emulator, monkeypatch, ref, variable
):
    monkeypatch.delenv(variable)
    thumbprint.configure()
    with pytest.raises(MissingCredentialsError, match=variable) as caught:
        thumbprint.record_feedback(ref, thumbs="up")
    assert caught.value.variable == variable
    assert thumbprint.flush(0) == thumbprint.FlushResult()


def test_importing_wrapping_and_calling_need_no_credentials(emulator, monkeypatch):
    for variable in emulator.environ():
        monkeypatch.delenv(variable)
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert scope.last.gateway_id == "emulator"  # read from the URL


def test_a_log_of_an_unknown_backend_is_refused(emulator):
    with pytest.raises(thumbprint.ConfigurationError, match=r"'nobody'.*known: braintrust, cloudflare"):
        thumbprint.record_feedback(LogRef(backend="nobody", id="1"), thumbs="up")


def test_arguments_are_checked_before_the_target_is_looked_for(emulator):
    with pytest.raises(thumbprint.ArgumentValueError):
        thumbprint.record_feedback("nobody", thumbs=0)


def test_every_field_arrives_at_cloudflare(emulator, completion):
    receipt = thumbprint.record_feedback(
        completion,
        thumbs="down",
        score=0.57,
        scores={"tone": 0.5, "facts": None},
        comment="Wrong Ulm — “the other one”",
        expected={"city": "Ulm"},
        tags=["geo", "de"],
        metadata={"page": "/help", "n": 3, "flag": True, "nested": {"a": 1}},
        user_id="u-17",
        source="app",
    ).wait(10)

    assert receipt.status == "delivered"
    assert receipt.outcomes[0].unsupported == ("metadata.nested",)
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"]) == (-1, 57)
    assert log["metadata"] == {
        "score.tone": 0.5,
        "score.facts": "",
        "comment": "Wrong Ulm — “the other one”",
        "expected": '{"city": "Ulm"}',
        "tags": "geo,de",
        "page": "/help",
        "n": 3,
        "flag": True,
        "user_id": "u-17",
        "source": "app",
    }


def test_metadata_that_the_log_has_already_is_kept(emulator, client):
    completion = client.chat.completions.create(
        model="gpt-5", messages=sdk.asked(), extra_headers={"cf-aig-metadata": '{"team": "maps"}'}
    )
    thumbprint.record_feedback(completion, comment="Nice.").wait(10)
    thumbprint.record_feedback(completion, tags=["a"]).wait(10)
    assert emulator.cloudflare_logs()[0]["metadata"] == {"team": "maps", "comment": "Nice.", "tags": "a"}


def test_a_vote_can_be_changed_and_taken_back(emulator, completion):
    for thumbs, stored in (("up", 1), (False, -1), (None, 0)):
        thumbprint.record_feedback(completion, thumbs=thumbs).wait(10)
        assert emulator.cloudflare_logs()[0]["feedback"] == stored


def test_feedback_of_which_a_service_can_hold_nothing_is_dropped_with_a_reason(emulator, completion):
    receipt = thumbprint.record_feedback(completion, metadata={"nested": {}})
    assert receipt.status == "dropped"
    assert receipt.outcomes[0].reason == "cloudflare can hold none of metadata.nested"
    assert thumbprint.flush(0).dropped == 1


def test_a_log_that_is_still_on_its_way_is_waited_for(monkeypatch):
    with Emulator(ingestion_lag=1.0) as emulator:
        for name, value in emulator.environ().items():
            monkeypatch.setenv(name, value)
        client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
        completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        receipt = thumbprint.record_feedback(completion, thumbs="up").wait(30)
        assert receipt.status == "delivered"
        assert receipt.outcomes[0].attempts > 1
        assert emulator.cloudflare_logs()[0]["feedback"] == 1


def test_recording_never_waits_for_the_network(emulator, completion):
    fault = emulator.fail("/client/v4", hang=True, times=None)
    receipt = thumbprint.record_feedback(completion, thumbs="up")
    assert receipt.status == "queued"
    assert receipt.wait(0).status == "queued"
    result = thumbprint.flush(0)
    assert (result.remaining, result.delivered) == (1, 0)
    emulator.stop()
    assert fault.hits <= 1


def test_a_receipt_can_be_awaited(emulator, completion):
    async def vote():
        return await thumbprint.record_feedback(completion, thumbs="up")

    assert asyncio.run(vote()).status == "delivered"


def test_flush_counts_what_was_settled_since_the_flush_before(emulator, completion):
    for thumbs in ("up", "down"):
        thumbprint.record_feedback(completion, thumbs=thumbs)
    thumbprint.record_feedback(LogRef(backend="cloudflare", id="no-such-log", captured_at=1.0), thumbs="up")
    result = thumbprint.flush(10)
    assert (result.delivered, result.failed, result.remaining, result.dropped) == (2, 1, 0, 0)
    assert thumbprint.flush(10) == thumbprint.FlushResult()


def test_a_full_outbox_drops_and_says_so(emulator, completion):
    emulator.fail("/client/v4", hang=True, times=None)
    store = thumbprint._config.MemoryStore(max_items=1)
    thumbprint.configure(store=store)
    first = thumbprint.record_feedback(completion, thumbs="up")
    second = thumbprint.record_feedback(completion, thumbs="down")
    assert (first.status, second.status) == ("queued", "dropped")
    assert second.outcomes[0].reason == "the outbox is full"
    emulator.stop()


def test_after_a_shutdown_delivery_starts_again_with_the_next_feedback(emulator, completion):
    thumbprint.record_feedback(completion, thumbs="up")
    assert thumbprint.shutdown(10).delivered == 1
    thumbprint.record_feedback(completion, thumbs="down")
    assert thumbprint.shutdown(10).delivered == 1
    assert emulator.cloudflare_logs()[0]["feedback"] == -1


def test_feedback_that_is_queued_when_the_process_ends_is_delivered(emulator):
    script = """
import openai, thumbprint
client = thumbprint.wrap(openai.OpenAI())
completion = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])
thumbprint.record_feedback(completion, thumbs="up")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


def test_configure_reaches_clients_that_were_wrapped_before_and_flushes_the_default_before(
    emulator, client, completion
):
    thumbprint.record_feedback(completion, thumbs="up")
    with Emulator() as other:
        thumbprint.configure(
            backends=[
                Cloudflare(
                    api_token=other.environ()["CLOUDFLARE_API_TOKEN"], base_url=other.environ()["CLOUDFLARE_BASE_URL"]
                )
            ]
        )
        assert emulator.cloudflare_logs()[0]["feedback"] == 1
        client.base_url = f"{other.cloudflare_openai_url}/"
        with thumbprint.scope(id="message-42"):
            client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        thumbprint.record_feedback("message-42", thumbs="down").wait(10)
        assert other.cloudflare_logs()[0]["feedback"] == -1


def test_a_configuration_that_cannot_be_used_leaves_the_default_as_it_was(emulator, completion):
    with pytest.raises(thumbprint.ConfigurationError):
        thumbprint.configure(store="cloud://nowhere")
    assert thumbprint.record_feedback(completion, thumbs="up").wait(10).status == "delivered"


def test_two_thumbprints_live_side_by_side(emulator):
    with Emulator() as other:

        def made(of):
            environ = of.environ()
            settings = Cloudflare(api_token=environ["CLOUDFLARE_API_TOKEN"], base_url=environ["CLOUDFLARE_BASE_URL"])
            return thumbprint.Thumbprint(backends=[settings])

        pairs = [(made(emulator), emulator), (made(other), other)]
        for own, service in pairs:
            client = own.wrap(sdk.openai_client(service.cloudflare_openai_url))
            with own.scope() as scope:
                client.chat.completions.create(model="gpt-5", messages=sdk.asked())
                own.record_feedback(thumbs="up")
            assert own.flush(10).delivered == 1
            assert [log["id"] for log in service.cloudflare_logs() if log["feedback"] == 1] == [scope.last.id]
            own.instrument()
            own.uninstrument()
            own.unwrap(client)
            own.shutdown()


def test_where_no_capture_is_asked_for_a_client_with_its_own_thumbprint_keeps_to_it(emulator):
    own = thumbprint.Thumbprint()
    client = own.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    thumbprint.instrument()
    completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(completion.id, thumbs="up")
    assert own.record_feedback(completion.id, thumbs="up").wait(10).status == "delivered"
    own.shutdown()


def test_first_use_from_many_threads_makes_one_default(emulator):
    barrier = threading.Barrier(8)
    found = []

    def use():
        barrier.wait()
        found.append(thumbprint._default._get())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(each) for each in found}) == 1


def test_no_secret_is_in_any_repr_log_line_or_error(monkeypatch, caplog):
    """Every object, error and log line that a user meets is looked through, with services that quote the key."""
    caplog.set_level(logging.DEBUG)
    seen = []
    with Emulator() as emulator:
        for name, value in (emulator.environ() | SECRETS).items():
            monkeypatch.setenv(name, value)
        default = thumbprint.configure()
        client = thumbprint.wrap(openai.OpenAI(base_url=emulator.cloudflare_openai_url, max_retries=0))
        quoting = {"errors": [{"message": f"the token {SECRETS['CLOUDFLARE_API_TOKEN']} is bad"}]}
        emulator.fail("/client/v4/.*logs", status=400, body=quoting)
        quoting = f"no such key: {SECRETS['BRAINTRUST_API_KEY']}"
        emulator.fail("/v1/project_logs", status=403, body=quoting)
        with client, thumbprint.scope() as scope:
            completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
            stream = client.chat.completions.create(model="gpt-5", messages=sdk.asked(), stream=True)
            stream.close()
        row = LogRef(backend="braintrust", id="r", project_id="e0000000-0000-4000-8000-000000000001")
        receipts = [
            thumbprint.record_feedback(completion, thumbs="up").wait(10),
            thumbprint.record_feedback(row, thumbs="up"),
            thumbprint.record_feedback(LogRef(backend="cloudflare", id="unauthorized"), thumbs="up"),
        ]
        assert default._tracker.wait_for(lambda: all(receipt.outcomes[0].reason for receipt in receipts), 10)
        assert [receipt.status for receipt in receipts] == ["failed", "queued", "queued"]
        for refused in (0, None):
            with pytest.raises(thumbprint.ThumbprintError) as caught:
                thumbprint.record_feedback("nobody", thumbs=refused)
            seen.append(caught.value)
        seen += [completion, stream, scope, scope.refs, *receipts, *(receipt.outcomes for receipt in receipts)]
        seen += [default._settings, Cloudflare(api_token="cloudflare-secret-osprey"), Braintrust(api_key="x-osprey")]
        seen += [ref.to_dict() for ref in scope.refs]
    text = "\n".join([*(f"{each!r} {each!s}" for each in seen), caplog.text])
    assert "osprey" not in text
    assert "***" in text  # the services did quote the keys


def test_a_client_is_freed_when_nobody_needs_it_any_more(emulator, client):
    import weakref  # noqa: PLC0415

    short_lived = openai.OpenAI(base_url=emulator.cloudflare_openai_url, api_key="any")
    short_lived.close()
    gone = weakref.ref(thumbprint.wrap(short_lived))
    del short_lived
    gc.collect()
    assert gone() is None


def test_flush_keeps_to_its_timeout(emulator, completion):
    emulator.fail("/client/v4", hang=True, times=None)
    thumbprint.record_feedback(completion, thumbs="up")
    began = time.monotonic()
    assert thumbprint.flush(0.1).remaining == 1
    assert time.monotonic() - began < 0.1 + BUSY
    emulator.stop()


def test_what_cannot_be_delivered_when_a_thumbprint_is_closed_is_dropped_and_counted(emulator, completion, caplog):
    emulator.fail("/client/v4", hang=True, times=None)
    own = thumbprint.Thumbprint()
    receipt = own.record_feedback(completion, thumbs="up")
    result = own.close(0)
    assert (result.dropped, result.remaining, receipt.wait(0).status) == (1, 0, "dropped")
    assert "lost: feedback for 1 log entry" in caplog.text
    assert own.record_feedback(completion, thumbs="up").status == "dropped"
    emulator.stop()


def test_feedback_of_an_object_of_ones_own_is_delivered_when_the_process_ends(emulator):
    script = """
import openai, thumbprint
own = thumbprint.Thumbprint()
client = own.wrap(openai.OpenAI())
completion = client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "hi"}])
own.record_feedback(completion, thumbs="up")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


@pytest.mark.parametrize("timeout", [float("nan"), -1, "soon", []])
def test_an_impossible_timeout_is_no_time_at_all(emulator, completion, timeout):
    emulator.fail("/client/v4", hang=True, times=None)
    receipt = thumbprint.record_feedback(completion, thumbs="up")
    assert receipt.wait(timeout).status == "queued"
    assert thumbprint.flush(timeout).remaining == 1
    assert thumbprint.shutdown(timeout).remaining == 1
    emulator.stop()


def test_a_shutdown_without_a_timeout_waits_until_all_is_delivered(emulator, completion):
    thumbprint.record_feedback(completion, thumbs="up")
    assert thumbprint.shutdown(None).delivered == 1


def test_where_no_thread_can_be_started_feedback_stays_queued_until_one_can(emulator, completion, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        first = thumbprint.record_feedback(completion, thumbs="up")
    assert first.status == "queued"
    thumbprint.record_feedback(completion, thumbs="down")
    assert thumbprint.flush(10).delivered == 2


def test_a_flush_delivers_what_no_thread_could_be_started_for(emulator, completion, monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        thumbprint.record_feedback(completion, thumbs="up")

    assert thumbprint.flush(10).delivered == 1


def test_what_was_stored_before_its_recording_was_interrupted_is_delivered(emulator, completion):
    class Interrupted(MemoryStore):
        def put(self, items):
            super().put(items)
            raise KeyboardInterrupt

    thumbprint.configure(store=Interrupted())
    with pytest.raises(KeyboardInterrupt):
        thumbprint.record_feedback(completion, thumbs="up")

    assert thumbprint._default._get()._tracker.wait_until_idle(10).delivered == 1


def test_a_cancelled_wait_leaves_nothing_behind(emulator, completion):
    emulator.fail("/client/v4", hang=True, times=None)
    receipt = thumbprint.record_feedback(completion, thumbs="up")

    async def main():
        for _ in range(3):
            task = asyncio.ensure_future(receipt._settled())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert receipt._on_settled == []
    emulator.stop()


def test_a_value_that_fails_when_it_is_read_is_refused(emulator, completion):
    class Failing(dict):
        def items(self):
            raise ZeroDivisionError

    with pytest.raises(thumbprint.ArgumentTypeError, match="expected"):
        thumbprint.record_feedback(completion, expected=Failing(a=1))


@pytest.mark.parametrize("disabled", ["no", 0, []])
def test_disabled_is_true_or_false(disabled):
    with pytest.raises(thumbprint.ConfigurationError, match="disabled="):
        thumbprint.configure(disabled=disabled)


def test_a_scope_is_made_without_reading_the_environment(monkeypatch):
    monkeypatch.setenv("THUMBPRINT_STORE", "cloud://")
    thumbprint.scope()(lambda: None)
    assert thumbprint._default._default is None


# --- when and by whom it is delivered


@pytest.fixture
def inline(emulator, client):
    """Return a completion, and the default that delivers within the call."""
    completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    return completion, thumbprint.configure(delivery="inline")


def threads():
    names = (thread.name for thread in threading.enumerate())
    return [name for name in names if name.startswith(("thumbprint-cloudflare", "thumbprint-braintrust"))]


def test_inline_feedback_is_delivered_before_recording_returns_without_a_thread(emulator, inline):
    completion, _ = inline
    receipt = thumbprint.record_feedback(completion, thumbs="up")

    assert (receipt.status, threads()) == ("delivered", [])
    assert thumbprint.flush() == thumbprint.FlushResult(delivered=1)


def test_inline_feedback_for_several_calls_is_delivered_for_all(emulator, client):
    thumbprint.configure(delivery="inline")
    with thumbprint.scope():
        for _ in range(3):
            client.chat.completions.create(model="gpt-5", messages=sdk.asked())
        assert thumbprint.record_feedback(thumbs="up", which="all").status == "delivered"
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [1, 1, 1]


def test_inline_feedback_that_cannot_be_delivered_at_once_is_kept_and_goes_with_the_next(emulator, inline, monkeypatch):
    monkeypatch.setattr("thumbprint.delivery._retry.FIRST_DELAY", 1e-9)
    completion, _ = inline
    emulator.fail("/client/v4", method="PATCH", status=500)
    first = thumbprint.record_feedback(completion, thumbs="up")
    assert (first.status, first.outcomes[0].attempts) == ("queued", 1)
    began = time.monotonic()
    assert thumbprint.flush(10).remaining == 1  # nobody delivers while it waits
    assert time.monotonic() - began < BUSY

    second = thumbprint.record_feedback(completion, comment="fine")
    assert (first.status, second.status) == ("delivered", "delivered")
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


def test_inline_recording_is_bounded_where_the_service_hangs(emulator, inline, monkeypatch):
    monkeypatch.setattr(_dispatch, "INLINE_TIMEOUT", 0.2)
    completion, _ = inline
    emulator.fail("/client/v4", method="PATCH", hang=True, times=None)
    began = time.monotonic()
    assert thumbprint.record_feedback(completion, thumbs="up").status == "queued"
    assert time.monotonic() - began < 0.2 + BUSY
    emulator.stop()


def test_inline_recording_in_an_event_loop_delivers_when_awaited_and_holds_nothing_up(emulator, inline):
    completion, _ = inline

    async def vote():
        receipt = thumbprint.record_feedback(completion, thumbs="up")
        before = receipt.status
        awaited = await receipt
        return before, awaited is receipt, (await receipt).status

    assert asyncio.run(vote()) == ("queued", True, "delivered")
    assert threads() == []


def test_an_inline_receipt_is_awaited_in_a_thread_of_its_own_while_those_of_the_application_are_busy(emulator, inline):
    completion, _ = inline

    async def vote():
        busy = concurrent.futures.ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(busy)
        blocked = threading.Event()
        asyncio.get_running_loop().run_in_executor(None, blocked.wait, 60)
        try:
            return (await asyncio.wait_for(thumbprint.record_feedback(completion, thumbs="up"), 30)).status
        finally:
            blocked.set()

    assert asyncio.run(vote()) == "delivered"


def test_feedback_that_is_only_stored_is_delivered_by_another_process(emulator, client, tmp_path):
    completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    store = f"sqlite:///{tmp_path}/outbox.db"
    storing = thumbprint.Thumbprint(store=store, delivery="none")
    receipt = storing.record_feedback(completion, thumbs="up")
    assert (receipt.status, threads()) == ("queued", [])
    assert storing.flush(10) == thumbprint.FlushResult(remaining=1)
    assert storing.close() == thumbprint.FlushResult(remaining=1)
    assert emulator.cloudflare_logs()[0]["feedback"] is None

    delivering = thumbprint.Thumbprint(store=store)
    delivering._worker.wake()
    ends_at = time.monotonic() + 10
    while emulator.cloudflare_logs()[0]["feedback"] is None and time.monotonic() < ends_at:
        time.sleep(0.01)
    delivering.close()
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


class Unwilling(MemoryStore):
    def put(self, items):
        raise StoreError("the disk is full")


def test_feedback_that_the_store_does_not_take_is_dropped_and_says_why(emulator, completion, caplog):
    thumbprint.configure(store=Unwilling())
    receipts = [thumbprint.record_feedback(completion, thumbs="up") for _ in range(3)]

    assert {receipt.status for receipt in receipts} == {"dropped"}
    assert receipts[0].outcomes[0].reason == "the disk is full"
    assert thumbprint.flush(0).dropped == 3
    [line] = [record.getMessage() for record in caplog.records]
    assert line == "feedback was dropped: the disk is full"


def test_what_a_closed_thumbprint_could_not_deliver_stays_in_a_durable_store(emulator, completion, tmp_path):
    emulator.fail("/client/v4", method="PATCH", hang=True, times=None)
    own = thumbprint.Thumbprint(store=f"sqlite:///{tmp_path}/outbox.db")
    receipt = own.record_feedback(completion, thumbs="up")
    result = own.close(0)

    assert (result.dropped, result.remaining, receipt.status) == (0, 1, "queued")
    assert [depth.queued for depth in own._settings.store.depths()] == [1]
    own._settings.store.close()
    emulator.stop()


def test_feedback_that_expired_says_so(emulator, completion, monkeypatch):
    monkeypatch.setattr("thumbprint.delivery._retry.FIRST_DELAY", 0.01)
    emulator.fail("/client/v4", method="PATCH", status=500, times=None)
    thumbprint.configure(expire_after=0.05)
    receipt = thumbprint.record_feedback(completion, thumbs="up").wait(10)
    assert receipt.status == "failed"
    assert receipt.outcomes[0].reason.startswith("expired after")


@pytest.mark.parametrize("timeout", [0, 0.1, 0.5])
def test_flush_and_shutdown_keep_to_their_timeout_while_both_services_hang(emulator, completion, timeout):
    emulator.fail("/client/v4", method="PATCH", hang=True, times=None)
    emulator.fail("/v1/project", hang=True, times=None)
    row = LogRef(backend="braintrust", id="r", project_name="emulator")
    thumbprint.record_feedback(row, thumbs="up")
    thumbprint.record_feedback(completion, thumbs="up")
    for leave in (thumbprint.flush, thumbprint.shutdown):
        began = time.monotonic()
        assert leave(timeout).remaining == 2
        assert time.monotonic() - began <= timeout + BUSY
    emulator.stop()


def test_an_object_of_ones_own_knows_the_current_scope(emulator):
    own = thumbprint.Thumbprint()
    with own.scope() as scope:
        assert own.current_scope() is scope
    own.close()


CALLS_WHILE_FEEDBACK_IS_DELIVERED = """
import asyncio, sys, openai, thumbprint
messages = [{"role": "user", "content": "hi"}]
assert "httpx" in sys.modules  # before the first call can be made, and not in the middle of one

client = thumbprint.wrap(openai.OpenAI(max_retries=0))
for _ in range(20):
    completion = client.chat.completions.create(model="gpt-5", messages=messages)
    thumbprint.record_feedback(completion, thumbs="up")

async def main():
    async with thumbprint.wrap(openai.AsyncOpenAI(max_retries=0)) as client:
        for _ in range(20):
            completion = await client.chat.completions.create(model="gpt-5", messages=messages)
            thumbprint.record_feedback(completion, thumbs="up")

asyncio.run(main())
print(thumbprint.flush(30))
"""


@pytest.mark.parametrize("first", ["", "import openai\n", "import thumbprint\n"])
def test_the_first_feedback_of_a_process_does_not_harm_the_calls_after_it(emulator, first):
    """openai 3 fails in every call that is made while another thread imports httpx."""
    done = subprocess.run(
        [sys.executable, "-c", first + CALLS_WHILE_FEEDBACK_IS_DELIVERED],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "delivered=40" in done.stdout


# verification


def test_a_receipt_asks_both_services_whether_the_feedback_is_there(emulator):
    client = thumbprint.wrap(sdk.openai_client(emulator.chained_url, api_key=emulator.environ()["BRAINTRUST_API_KEY"]))
    completion = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    receipt = thumbprint.record_feedback(completion, thumbs="up", tags=["a"], comment="c")
    assert receipt.wait(10).status == "delivered"
    cloudflare, braintrust = sorted(receipt.verify(), key=lambda found: found.ref.backend, reverse=True)
    assert [cloudflare.status, braintrust.status] == ["confirmed", "confirmed"]
    assert [found.ref for found in receipt.verify()] == [outcome.ref for outcome in receipt.outcomes]
    assert braintrust.reason == "Braintrust does not show: comment"
    assert asyncio.run(asyncio.to_thread(receipt.verify)) == receipt.verify(timeout=5)


def test_what_was_never_delivered_is_missing_and_a_service_that_is_down_is_unknown(emulator, completion, tmp_path):
    thumbprint.configure(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")
    receipt = thumbprint.record_feedback(completion, thumbs="up")
    assert [found.status for found in receipt.verify()] == ["missing"]
    emulator.stop()
    [found] = receipt.verify(timeout=2)
    assert found.status == "unknown"
    assert "cannot be reached" in found.reason


def test_a_receipt_of_nothing_has_nothing_to_verify(emulator, completion):
    thumbprint.configure(disabled=True)
    assert thumbprint.record_feedback(completion, thumbs="up").verify() == ()


def test_a_feedback_for_a_row_that_does_not_exist_is_found_out(emulator):
    receipt = thumbprint.record_feedback(LogRef(backend="braintrust", id="no-such-row"), thumbs="up").wait(10)
    assert receipt.status == "delivered"
    [found] = receipt.verify()
    assert found.status == "unknown"
    assert "for an id that is wrong" in found.reason


# --- from one Thumbprint, and one process, to the next


def braintrust_vote(thumbprint_, row="row"):
    return thumbprint_.record_feedback(LogRef(backend="braintrust", id=row, project_name="emulator"), thumbs="up")


@pytest.fixture
def hasty(monkeypatch):
    """Let who is replaced wait for a tenth of a second, not five, for what cannot be delivered anyway."""
    monkeypatch.setattr(_dispatch, "SHUTDOWN_TIMEOUT", 0.1)


def test_with_good_credentials_what_waited_in_memory_is_delivered(emulator, hasty):
    thumbprint.configure(backends=[thumbprint.Braintrust(api_key="wrong")])
    receipt = braintrust_vote(thumbprint)
    assert thumbprint._default._default._tracker.wait_for(lambda: receipt.outcomes[0].reason, 20)
    thumbprint.configure()

    assert receipt.wait(20).status == "delivered"
    assert receipt.outcomes[0].attempts == 2


def test_who_waits_while_it_is_handed_on_hears_of_the_end(emulator, hasty):
    thumbprint.configure(backends=[thumbprint.Braintrust(api_key="wrong")])
    receipt = braintrust_vote(thumbprint)
    waiting = threading.Thread(target=receipt.wait, args=(60,))
    waiting.start()
    thumbprint.configure()
    waiting.join(30)

    assert receipt.status == "delivered"
    assert not waiting.is_alive()


def test_what_the_next_one_has_no_use_for_is_dropped(emulator, hasty):
    thumbprint.configure(backends=[thumbprint.Braintrust(api_key="wrong")])
    receipt = braintrust_vote(thumbprint)
    thumbprint.configure(backends=[thumbprint.Cloudflare()])

    assert receipt.status == "dropped"


def test_what_is_handed_on_to_one_that_only_stores_waits_there(emulator, tmp_path, hasty):
    thumbprint.configure(backends=[thumbprint.Braintrust(api_key="wrong")])
    receipt = braintrust_vote(thumbprint)
    own = thumbprint.configure(delivery="none", store=f"sqlite:///{tmp_path}/outbox.db")

    assert receipt.status == "queued"
    assert own._settings.store.depths()[0].queued == 1


def test_with_good_credentials_what_waited_in_a_file_is_delivered(emulator, tmp_path, hasty):
    store = f"sqlite:///{tmp_path}/outbox.db"
    thumbprint.configure(store=store, backends=[thumbprint.Braintrust(api_key="wrong")])
    receipt = braintrust_vote(thumbprint)
    assert thumbprint._default._default._tracker.wait_for(lambda: receipt.outcomes[0].reason, 20)
    own = thumbprint.configure(store=store)
    own.recorder()  # as the first captured call asks for it

    assert receipt.wait(20).status == "delivered"


@pytest.mark.parametrize("begin", [lambda own: own.recorder(), lambda own: braintrust_vote(own, "other")])
def test_what_a_process_before_has_left_is_delivered_from_the_first_call_on(emulator, tmp_path, begin):
    store = f"sqlite:///{tmp_path}/outbox.db"
    before = thumbprint.Thumbprint(store=store, delivery="none")
    before.record_feedback(LogRef(backend="cloudflare", id="01J"), comment="any")
    braintrust_vote(before)
    before.close(0)
    own = thumbprint.Thumbprint(store=store)
    begin(own)
    ends_at = time.monotonic() + 20
    while "row" not in {row["id"] for row in emulator.braintrust_rows()} and time.monotonic() < ends_at:
        time.sleep(0.02)
    own.close(0)

    assert "row" in {row["id"] for row in emulator.braintrust_rows()}


def test_a_store_with_a_fault_costs_feedback_and_never_raises(emulator, caplog):
    class Faulty(MemoryStore):
        def put(self, items):
            raise RuntimeError("a fault")

    thumbprint.configure(store=Faulty())
    receipt = braintrust_vote(thumbprint)

    assert (receipt.status, receipt.outcomes[0].reason) == ("dropped", "RuntimeError in the store")
    assert "the store failed to take feedback" in caplog.text


def test_each_time_that_an_inline_receipt_is_waited_for_is_one_attempt(emulator):
    thumbprint.configure(delivery="inline")
    emulator.fail("/v1/project_logs", status=401, times=2)
    receipt = braintrust_vote(thumbprint)
    assert (receipt.status, receipt.outcomes[0].attempts) == ("queued", 1)
    assert receipt.wait().outcomes[0].attempts == 2
    assert receipt.wait().status == "delivered"


def test_each_time_that_an_inline_receipt_is_awaited_is_one_attempt(emulator):
    thumbprint.configure(delivery="inline")
    emulator.fail("/v1/project_logs", status=401, times=1)

    async def vote():
        receipt = braintrust_vote(thumbprint)
        return (await receipt).status, (await receipt).status

    assert asyncio.run(vote()) == ("queued", "delivered")


def test_a_recording_that_is_interrupted_before_it_is_stored_is_not_waited_for(emulator):
    class Interrupted(MemoryStore):
        def put(self, items):
            raise SystemExit

    thumbprint.configure(store=Interrupted())
    with pytest.raises(SystemExit):
        braintrust_vote(thumbprint)

    assert thumbprint.flush(20) == thumbprint.FlushResult(dropped=1)
