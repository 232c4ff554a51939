"""What cannot be captured is refused clearly, or passed over without harm."""

from __future__ import annotations

import asyncio
import logging

import httpx
import openai
import pytest
import sdk
import wrapt

import thumbprint

LOG_ID = "01JADMCQQQBWH3NXZ5GCRN98DP"
GATEWAY = f"https://gateway.ai.cloudflare.com/v1/{'a' * 32}/g/openai"
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-5",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Ulm"}}],
}


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# what is no client


class OnlySends:
    def send(self, request): ...


@pytest.mark.parametrize(
    "value",
    [object(), "OpenAI", None, 3, openai.types, httpx, OnlySends()],
    ids=["object", "name", "None", "number", "a module", "the httpx module", "only sends"],
)
def test_what_is_no_client_is_refused_with_what_is_accepted(value):
    with pytest.raises(
        thumbprint.UnsupportedClientError, match=r"wrap\(\) takes .*OpenAI.*Anthropic.*httpx2"
    ) as caught:
        thumbprint.wrap(value)
    assert isinstance(caught.value, TypeError)
    assert f"not {'the module' if hasattr(value, '__path__') else 'an object of type'}" in str(caught.value)


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncAzureOpenAI, httpx.Client, httpx.AsyncClient])
def test_a_class_is_refused_with_a_hint(kind):
    before = dict(vars(kind))
    with pytest.raises(thumbprint.UnsupportedClientError, match=f"not the class {kind.__name__}: give an object of it"):
        thumbprint.wrap(kind)
    assert dict(vars(kind)) == before


@pytest.mark.parametrize("lacks", ["_process_response", "_make_status_error_from_response"])
def test_a_client_of_an_sdk_without_the_expected_methods_is_refused_with_their_names(lacks):
    def method(self): ...

    names = {"_process_response", "_make_status_error_from_response"} - {lacks}
    base = type("SyncAPIClient", (), {"__module__": "some_sdk._base_client"} | dict.fromkeys(names, method))
    client = type("Some", (base,), {})()
    with pytest.raises(thumbprint.UnsupportedClientError, match=rf"type Some is of an SDK that lacks {lacks}, where"):
        thumbprint.wrap(client)
    assert vars(client) == {}


def test_a_client_that_takes_no_hooks_is_refused_and_left_as_it_was():
    class Frozen(openai.OpenAI):
        frozen = False

        def __setattr__(self, name, value):
            if self.frozen:
                raise AttributeError(f"{name}: this client is frozen")
            super().__setattr__(name, value)

    client = sdk.closing(Frozen(base_url=GATEWAY, api_key="any"))
    before = dict(vars(client))
    Frozen.frozen = True
    with pytest.raises(thumbprint.UnsupportedClientError, match="this client is frozen"):
        thumbprint.wrap(client)
    Frozen.frozen = False
    assert vars(client) == before


def test_a_client_that_takes_only_some_hooks_is_left_as_it_was():
    class Picky(httpx.Client):
        def __setattr__(self, name, value):
            if name == "send":
                raise TypeError("send: not this one")
            super().__setattr__(name, value)

    with Picky() as client:
        before = dict(vars(client))
        with pytest.raises(thumbprint.UnsupportedClientError, match="send: not this one"):
            thumbprint.wrap(client)
        assert vars(client) == before


def test_a_copy_that_takes_no_hooks_is_still_the_applications(caplog):
    class Frozen:
        __slots__ = ()

        def _process_response(self): ...

        def _make_status_error_from_response(self): ...

    class Copied(Frozen):
        def copy(self):
            return frozen

    frozen = Frozen()
    assert thumbprint.wrap(Copied()).copy() is frozen
    assert [record.getMessage() for record in warnings(caplog)] == ["the calls of a client's copy are not captured"]


# what somebody put around a client


class Around:
    """An object that hands everything on to a client."""

    def __init__(self, client):
        self.client = client

    def __getattr__(self, name):
        return getattr(self.client, name)


@pytest.mark.parametrize("around", [Around, wrapt.ObjectProxy])
def test_an_object_around_a_client_stands_for_the_client(emulator, around):
    inner = sdk.openai_client(emulator.cloudflare_openai_url)
    client = around(inner)
    for _ in range(2):
        assert thumbprint.wrap(client) is client
    thumbprint.wrap(inner)
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1
    assert thumbprint.unwrap(client) is client
    with scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1
    assert "_process_response" not in vars(inner)


def test_an_object_around_an_http_client_stands_for_that(emulator):
    with httpx.Client(headers={"authorization": "Bearer any"}) as inner:
        client = thumbprint.wrap(Around(inner))
        with thumbprint.scope() as scope:
            client.post(f"{emulator.cloudflare_openai_url}/embeddings", json={"model": "m", "input": "Ulm"})
        assert len(scope.refs) == 1
        assert vars(client) == {"client": inner}


def test_a_client_with_a_method_of_somebody_elses_stands_for_itself(emulator):
    class Tracer:
        def traced(self, **kwargs):
            return theirs(**kwargs)

    client = sdk.openai_client(emulator.cloudflare_openai_url)
    theirs, client._process_response = client._process_response, Tracer().traced
    thumbprint.wrap(client)
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert len(scope.refs) == 1


# closed clients


def closed(client):
    asyncio.run(client.aclose()) if hasattr(client, "aclose") else client.close()
    return client


@pytest.mark.parametrize("kind", [kind for each in sdk.HTTP_LIBRARIES for kind in (each.Client, each.AsyncClient)])
def test_a_closed_http_client_says_so_itself(kind):
    client = thumbprint.wrap(closed(kind()))
    with pytest.raises(RuntimeError, match="has been closed"), thumbprint.scope() as scope:
        asyncio.run(call(client))
    assert scope.refs == ()


async def call(client):
    return await sdk.settled(client.get(GATEWAY))


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_closed_client_of_an_sdk_fails_as_it_does_without_capture(wrapped):
    client = openai.OpenAI(base_url=GATEWAY, api_key="any", max_retries=0)
    client.close()
    if wrapped:
        thumbprint.wrap(client)
    with pytest.raises((RuntimeError, openai.APIConnectionError)) as caught, thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    assert "has been closed" in f"{caught.value} {caught.value.__cause__}"
    assert scope.refs == ()


# hostile headers

HOSTILE = {
    "empty": [b""],
    "blank": [b" "],
    "two words": [b"a b"],
    "two megabytes": [b"x" * 2_000_000],
    "control characters": [b"id\x00\x07\x1b[31m"],
    "a line break": [b"id\r\nset-cookie: a=b"],
    "beyond ASCII": ["ä€".encode()],
    "no text at all": [b"\xff\xfe\x80"],
    "several": [LOG_ID.encode(), b"01JADMCQQQBWH3NXZ5GCRN98DQ"],
    "the same twice": [LOG_ID.encode(), LOG_ID.encode()],
    "a dot": [b".."],
}


def hostile_host(headers):
    def answer(request):
        return httpx.Response(200, json=ANSWER, headers=[(name.encode(), value) for name, value in headers])

    return httpx.MockTransport(answer)


def is_unharmed(answer):
    return answer.json()["choices"][0]["message"]["content"] == "Ulm"


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("header", ["cf-aig-log-id", "x-bt-span-id"])
@pytest.mark.parametrize("door", ["sdk", "http"])
def test_a_hostile_id_is_no_capture_no_harm_and_one_short_log_line(caplog, door, header, values):
    transport = hostile_host([(header, value) for value in values])
    with httpx.Client(transport=transport) as http, thumbprint.scope() as scope:
        if door == "sdk":
            client = thumbprint.wrap(openai.OpenAI(base_url=GATEWAY, api_key="any", http_client=http))
            for _ in range(2):
                answer = client.chat.completions.create(model="gpt-5", messages=sdk.asked())
                assert answer.choices[0].message.content == "Ulm"
        else:
            thumbprint.wrap(http)
            for _ in range(2):
                assert is_unharmed(http.post(f"{GATEWAY}/chat/completions"))
    assert scope.refs == ()
    [record] = warnings(caplog)
    assert header in record.getMessage()
    assert len(record.getMessage()) < 300
    assert record.getMessage().isprintable()


HOSTILE_SLUGS = {"long": b"A" * 2_000_000, "cut": b"AwIE", "bytes": b"\xff", "json": b"{", "empty": b""}


@pytest.mark.parametrize("value", HOSTILE_SLUGS.values(), ids=HOSTILE_SLUGS.keys())
def test_a_hostile_slug_is_no_harm(caplog, value):
    transport = hostile_host([("x-bt-span-id", b"row"), ("x-bt-span-export", value)])
    with thumbprint.wrap(httpx.Client(transport=transport)) as http, thumbprint.scope() as scope:
        assert is_unharmed(http.post("https://llm.example.com/v1/chat/completions"))
    assert len(scope.refs) + len(warnings(caplog)) == 1


@pytest.mark.parametrize("header", ["ä", "id\x7f", "one, two"], ids=["non-ascii", "control", "two"])
def test_a_broken_id_from_a_real_server_is_no_capture(emulator, caplog, header):
    wrapped = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    emulator.fail("/v1/.*chat", headers={"cf-aig-log-id": header}, times=2)
    with thumbprint.scope() as scope:
        for _ in range(2):
            assert wrapped.chat.completions.create(model="gpt-5", messages=sdk.asked()).choices[0].message.content
    assert scope.refs == ()
    assert [record.name for record in warnings(caplog)] == ["thumbprint"]


HOSTILE_BODIES = {
    "no JSON": b"<html>",
    "bytes": bytes(range(256)) * 20,
    "an id that is no text": b'{"id": 3}',
    "an id of two megabytes": b'{"id": "' + b"x" * 2_000_000 + b'"}',
    "an id deep inside": b'{"choices": [{"id": "inner"}]}',
    "many members": b"{" + b'"a": 1, ' * 500_000 + b'"id": "late"}',
    "brackets without end": b"[" * 2_000_000,
}


@pytest.mark.parametrize("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES.keys())
def test_a_hostile_body_is_captured_without_a_response_id_and_no_harm(caplog, body):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body, headers={"cf-aig-log-id": LOG_ID}))
    with thumbprint.wrap(httpx.Client(transport=transport)) as http, thumbprint.scope() as scope:
        assert http.post(f"{GATEWAY}/chat/completions").content == body
    assert (scope.last.id, scope.last.response_id) == (LOG_ID, None)
    assert warnings(caplog) == []
