"""SDKs that nobody named: the generator of the OpenAI SDK made them, and that is all that is known of them here."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import sdk
from sdk import in_scope, log_of

import thumbprint

# module, its clients, and what they need besides an address and a key
SDKS = {
    "cerebras": ("cerebras.cloud.sdk", "Cerebras", {"warm_tcp_connection": False}),
    "perplexity": ("perplexity", "Perplexity", {}),
    "sambanova": ("sambanova", "SambaNova", {}),
    "together": ("together", "Together", {}),
}


EVERY_CLIENT = [
    pytest.param((name, prefix), id=f"{name} {way}", marks=pytest.mark.client(name, way))
    for name in SDKS
    for prefix, way in (("", "sync"), ("Async", "async"))
]


@pytest.fixture
def make_client(request, emulator):
    """Return a function that makes a client of one of the SDKs, sync or async: see EVERY_CLIENT."""
    name, prefix = request.param
    module, kind, options = SDKS[name]

    def make(**kwargs):
        options_of_all = {"base_url": emulator.cloudflare_openai_url, "api_key": "any", "max_retries": 0}
        return getattr(import_module(module), prefix + kind)(**options_of_all | options | kwargs)

    return make


@pytest.mark.parametrize("captured", sdk.HOOKS)
@pytest.mark.parametrize("make_client", EVERY_CLIENT, indirect=True)
@pytest.mark.parametrize(
    "door", [*sdk.SOME_DOORS, sdk.door(sdk.streaming_response_chat, "chat.completions.with_streaming_response.create")]
)
def test_whatever_a_door_gives_leads_to_the_log_of_its_call(emulator, make_client, door, captured):
    scope, results = in_scope(captured(make_client()), door)
    [log] = emulator.cloudflare_logs()
    assert [ref.id for ref in scope.refs] == [log["id"]]
    assert scope.last.operation == "chat"
    for result in results:
        assert log_of(thumbprint.record_feedback(result, thumbs="up")) == log["id"], result


@pytest.mark.parametrize("make_client", EVERY_CLIENT, indirect=True)
def test_after_retries_the_last_attempt_counts_and_an_error_is_a_target(emulator, make_client):
    async def use(client):
        await sdk.settled(client.chat.completions.create(model="flaky-1", messages=sdk.asked()))
        with pytest.raises(Exception, match="error-400") as caught:
            await sdk.settled(client.chat.completions.create(model="error-400", messages=sdk.asked()))
        return caught.value

    scope, error = in_scope(thumbprint.wrap(make_client(max_retries=2)), use)
    failed, answered, refused = emulator.cloudflare_logs()
    assert failed["status_code"] == 500
    assert [ref.id for ref in scope.refs] == [answered["id"]]
    assert log_of(thumbprint.record_feedback(error, thumbs="down")) == refused["id"]


@pytest.mark.parametrize(("module", "kind", "options"), SDKS.values(), ids=SDKS)
def test_it_is_found_without_being_imported_when_it_is_imported_later(emulator, module, kind, options):
    script = f"""
import sys, thumbprint
thumbprint.instrument()
assert {module!r} not in sys.modules and "openai" not in sys.modules
import {module} as sdk
with thumbprint.scope() as scope:
    client = sdk.{kind}(base_url={emulator.cloudflare_openai_url!r}, api_key="any", **{options})
    client.chat.completions.create(model="m", messages=[{{"role": "user", "content": "hi"}}])
print(scope.last.id)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == emulator.cloudflare_logs()[0]["id"]
