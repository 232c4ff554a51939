"""With `Braintrust(log_calls=True)` calls of real SDKs become rows, whoever served them, and take feedback."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
import threading
import time

import httpx
import openai
import pytest
import sdk
from logged import check_each, row_of, rows_of, through

import thumbprint
from thumbprint import Braintrust, Cloudflare

CHAT = "chat/completions$"
MODEL_PATH = "v1/models/any:generateContent"
OPENAI_DOORS = [
    sdk.plain_chat,
    sdk.streamed_chat,
    sdk.raw_chat,
    sdk.raw_streamed_chat,
    sdk.streaming_response_chat,
    sdk.chat_stream_helper,
    sdk.parsed_chat,
    sdk.plain_response,
    sdk.streamed_response,
    sdk.response_stream_helper,
]


def client_of(emulator, **kwargs):
    return thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url, **kwargs))


def chat(client, text="Where is Ulm?", **kwargs):
    return client.chat.completions.create(**{"model": "gpt-5", "messages": sdk.asked(text)} | kwargs)


# --- every door


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
@pytest.mark.parametrize("door", OPENAI_DOORS)
def test_whatever_a_door_of_openai_gives_leads_to_the_row_of_its_call(logging, make_client, door):
    emulator = logging()
    results = through(door, thumbprint.wrap(make_client(emulator.cloudflare_openai_url)))
    check_each(emulator, results)


def test_instrument_logs_the_calls_of_all_clients(logging):
    emulator = logging()
    thumbprint.instrument()
    with thumbprint.scope() as scope:
        chat(sdk.openai_client(emulator.cloudflare_openai_url))
    thumbprint.record_feedback(scope, thumbs="up")

    assert row_of(emulator)["scores"] == {"thumbs": 1}


def test_a_row_tells_what_was_asked_how_and_what_was_answered(logging):
    emulator = logging()
    chat(client_of(emulator), temperature=0.5, user="u-17")

    row = row_of(emulator)
    assert row["input"] == sdk.asked()
    assert row["output"] == {"role": "assistant", "content": "You said: Where is Ulm?", "refusal": None}
    metadata = row["metadata"]
    assert (metadata["model"], metadata["temperature"], metadata["user"]) == ("gpt-5", 0.5, "u-17")
    assert (metadata["provider"], metadata["operation"]) == ("127.0.0.1", "chat")
    assert row["metrics"].keys() == {"start", "end", "prompt_tokens", "completion_tokens", "tokens"}


def test_of_embeddings_the_numbers_are_left_out(logging):
    emulator = logging()
    through(sdk.embeddings, client_of(emulator))

    row = row_of(emulator)
    assert (row["input"], row["output"]) == ("Ulm", {"embeddings": 1})


def test_a_row_is_put_before_feedback_of_a_stream_that_goes_on(logging):
    emulator = logging()
    stream = chat(client_of(emulator), stream=True)
    next(stream)
    thumbprint.record_feedback(stream, thumbs="up").wait(5)
    [row] = emulator.braintrust_rows()
    assert (row["input"], row["output"], row["scores"]) == (sdk.asked(), None, {"thumbs": 1})
    list(stream)

    row = row_of(emulator)
    assert row["output"]["content"] == "You said: Where is Ulm?"
    assert row["scores"] == {"thumbs": 1}
    assert row["metrics"]["time_to_first_token"] > 0


def test_what_passes_in_a_stream_is_not_held_up(logging):
    """The first chunk is there while the server waits with the rest."""
    emulator = logging()
    server = _DrippingServer()
    client = thumbprint.wrap(sdk.openai_client(f"{server.url}/v1"))
    stream = iter(chat(client, stream=True))
    assert next(stream).choices[0].delta.content == "first"
    server.go_on.set()
    assert [chunk.choices[0].delta.content for chunk in stream] == [" second"]
    server.close()

    assert row_of(emulator)["output"]["content"] == "first second"


class _DrippingServer:
    """Answers one request with a stream, of which the second chunk waits for `go_on`; in gzip if asked to."""

    def __init__(self, *, broken=False, encode=None):
        import http.server  # noqa: PLC0415

        server = self
        self.go_on = threading.Event()
        chunks = [
            b'data: {"id": "c-1", "choices": [{"index": 0, "delta": {"content": "first"}}]}\n\n',
            b'data: {"id": "c-1", "choices": [{"index": 0, "delta": {"content": " second"}}]}\n\ndata: [DONE]\n\n',
        ]

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                if encode:
                    self.send_header("content-encoding", "gzip")
                    body = encode(b"".join(chunks))
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                    return
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunks[0]), chunks[0]))
                self.wfile.flush()
                server.go_on.wait(5)
                if not broken:
                    self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(chunks[1]), chunks[1]))
                self.close_connection = True

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def test_a_stream_that_is_compressed_is_read_for_the_log(logging):
    import gzip  # noqa: PLC0415

    emulator = logging()
    server = _DrippingServer(encode=gzip.compress)
    stream = chat(thumbprint.wrap(sdk.openai_client(f"{server.url}/v1")), stream=True)
    assert [chunk.choices[0].delta.content for chunk in stream] == ["first", " second"]
    server.close()

    assert row_of(emulator)["output"]["content"] == "first second"


def test_of_a_stream_that_cannot_be_decoded_the_row_says_so(logging, caplog):
    emulator = logging()
    answer = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))
    http = thumbprint.wrap(httpx.Client(transport=httpx.MockTransport(lambda _: answer)))
    with pytest.raises(httpx.DecodingError), http.stream("POST", f"https://any/{MODEL_PATH}") as response:
        response.read()

    assert row_of(emulator)["error"] == "the answer cannot be read"
    assert "what was answered could not be read" in caplog.text


def test_a_stream_that_breaks_off_is_logged_with_its_error(logging):
    emulator = logging()
    server = _DrippingServer(broken=True)
    stream = iter(chat(thumbprint.wrap(sdk.openai_client(f"{server.url}/v1")), stream=True))
    next(stream)
    server.go_on.set()
    with pytest.raises(Exception, match=r"peer closed|Connection error"):  # the words of openai 3
        list(stream)
    server.close()

    row = row_of(emulator)
    assert row["output"]["content"] == "first"
    assert row["error"].startswith("RemoteProtocolError: peer closed connection")


def test_an_async_stream_that_breaks_off_is_logged_with_its_error(logging):
    emulator = logging()
    server = _DrippingServer(broken=True)

    async def call():
        async with thumbprint.wrap(sdk.async_openai_client(f"{server.url}/v1")) as client:
            stream = await chat(client, stream=True)
            iterator = stream.__aiter__()
            await iterator.__anext__()
            server.go_on.set()
            with pytest.raises(Exception, match=r"peer closed|Connection error"):
                await iterator.__anext__()

    asyncio.run(call())
    server.close()
    assert row_of(emulator)["error"].startswith("RemoteProtocolError: peer closed connection")


def test_a_stream_that_is_closed_early_is_logged_as_far_as_it_came(logging):
    emulator = logging()
    server = _DrippingServer()
    client = thumbprint.wrap(sdk.openai_client(f"{server.url}/v1"))
    stream = chat(client, stream=True)
    next(iter(stream))
    stream.close()
    server.go_on.set()
    server.close()

    row = row_of(emulator)
    assert (row["output"]["content"], row["error"]) == ("first", None)
    assert "end" in row["metrics"]


def test_an_async_stream_that_is_left_early_is_logged_as_far_as_it_came(logging):
    emulator = logging()
    server = _DrippingServer()

    async def call():
        async with thumbprint.wrap(sdk.async_openai_client(f"{server.url}/v1")) as client:
            stream = await chat(client, stream=True)
            async for _ in stream:
                break
            await stream.close()

    asyncio.run(call())
    server.go_on.set()
    server.close()
    assert row_of(emulator)["output"]["content"] == "first"


# --- errors


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_an_error_status_is_logged_and_the_error_is_a_target(logging, make_client, stream):
    emulator = logging()
    errors = []

    async def door(client):
        try:
            await sdk.settled(chat(client, model="error-401", stream=stream))
        except openai.APIStatusError as error:
            errors.append(error)

    through(door, thumbprint.wrap(make_client(emulator.cloudflare_openai_url)))
    thumbprint.record_feedback(errors[0], thumbs="down")

    row = row_of(emulator)
    assert row["error"] == "HTTP 401: The model 'error-401' answers 401 as asked."
    assert (row["output"], row["scores"]) == (None, {"thumbs": 0})


@pytest.mark.parametrize("make_client", sdk.SYNC_AND_ASYNC)
def test_a_call_that_gets_no_answer_is_logged_and_its_error_is_a_target(logging, make_client):
    emulator = logging()
    errors = []

    async def door(client):
        try:
            await sdk.settled(chat(client))
        except openai.APIConnectionError as error:
            errors.append(error)

    through(door, thumbprint.wrap(make_client("http://127.0.0.1:9/v1")))
    thumbprint.record_feedback(errors[0], thumbs="down")

    row = row_of(emulator)
    assert row["error"].startswith("ConnectError: ")
    assert (row["input"], row["scores"]) == (sdk.asked(), {"thumbs": 0})


def test_a_call_that_is_cancelled_is_logged(logging):
    emulator = logging()
    emulator.fail(CHAT, hang=True)

    async def call():
        async with thumbprint.wrap(sdk.async_openai_client(emulator.cloudflare_openai_url)) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await chat(client)

    asyncio.run(call())
    assert row_of(emulator)["error"] == "CancelledError"


def test_each_attempt_without_an_answer_is_a_row_and_the_answer_one_more(logging):
    emulator = logging()
    emulator.fail(CHAT, drop=True)
    completion = chat(client_of(emulator, max_retries=1))
    thumbprint.record_feedback(completion, thumbs="up")

    failed, answered = rows_of(emulator)
    assert failed["error"].startswith("RemoteProtocolError")
    assert (answered["error"], answered["scores"]) == (None, {"thumbs": 1})


# --- whose row it is


def test_a_call_through_a_gateway_of_braintrusts_has_its_row_there(logging):
    emulator = logging(gateway_url=None)
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    chat(thumbprint.wrap(sdk.openai_client(emulator.braintrust_gateway_url, api_key=key)))

    assert row_of(emulator)["id"][:4] != "7470"
    assert not any(request.path.endswith("/insert") for request in emulator.requests())


def test_a_call_through_cloudflare_has_a_log_there_and_a_row(logging):
    emulator = logging(Cloudflare())
    receipt = thumbprint.record_feedback(chat(client_of(emulator)), thumbs="up").wait(5)

    assert {outcome.ref.backend for outcome in receipt.outcomes} == {"cloudflare", "braintrust"}
    assert row_of(emulator)["scores"] == {"thumbs": 1}
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


def test_what_asks_no_model_anything_is_not_logged(logging):
    emulator = logging()
    client = client_of(emulator)
    client.models.list()

    assert rows_of(emulator) == []


def test_a_bare_http_client_logs_what_asks_a_model_by_its_path(logging):
    emulator = logging()
    with thumbprint.wrap(httpx.Client(base_url=emulator.cloudflare_openai_url)) as client:
        answer = client.post("chat/completions", json={"model": "gpt-5", "messages": sdk.asked()})
        client.get("models")
        with client.stream("POST", "chat/completions", json={"model": "gpt-5", "messages": sdk.asked()}) as streamed:
            streamed.read()
        with pytest.raises(httpx.ConnectError):
            client.post("http://127.0.0.1:9/chat/completions", json={"model": "gpt-5", "messages": sdk.asked()})
        with pytest.raises(httpx.ConnectError):
            client.post("http://127.0.0.1:9/anything", json={"messages": sdk.asked()})
    thumbprint.record_feedback(answer, thumbs="up")

    rows = rows_of(emulator)
    assert len(rows) == 3
    assert [row["input"] for row in rows] == [sdk.asked()] * 3
    assert sorted(bool(row["scores"]) for row in rows) == [False, False, True]


@pytest.mark.parametrize("path", ["messages", "responses", "images/upload"])
def test_what_has_a_models_path_and_names_none_is_no_call_to_one(logging, path):
    """Other services send messages, take responses to forms and keep images: nobody's business."""
    emulator = logging()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={}))
    with thumbprint.wrap(httpx.Client(transport=transport)) as client, thumbprint.scope() as scope:
        answer = client.post(f"https://any/v1/{path}", json={"to": "somebody", "text": "private"})
        client.post(f"https://any/v1/{path}", content=b"private")
    with thumbprint.wrap(httpx.Client()) as client, pytest.raises(httpx.ConnectError):
        client.post(f"http://127.0.0.1:9/{path}", json={"to": "somebody", "text": "private"})

    assert (scope.refs, rows_of(emulator)) == ((), [])
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(answer, thumbs="up")


def test_a_form_with_a_file_names_its_model(logging):
    emulator = logging()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"text": "Ulm"}))
    with thumbprint.wrap(httpx.Client(transport=transport)) as client:
        client.post("https://any/v1/audio/transcriptions", files={"file": b"RIFF"}, data={"model": "whisper-1"})

    row = row_of(emulator)
    assert (row["metadata"]["model"], row["output"]) == ("whisper-1", "Ulm")


def test_an_async_bare_http_client_logs_a_call_without_an_answer(logging):
    emulator = logging()

    async def call():
        async with thumbprint.wrap(httpx.AsyncClient()) as client:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.post(f"http://127.0.0.1:9/{MODEL_PATH}")
            return caught.value

    thumbprint.record_feedback(asyncio.run(call()), thumbs="down")
    assert row_of(emulator)["scores"] == {"thumbs": 0}


def test_a_bare_http_client_logs_a_call_that_is_cancelled(logging):
    emulator = logging()

    async def cancel():
        waiting = asyncio.Event()

        async def hang(_):
            waiting.set()
            await asyncio.Event().wait()

        async with thumbprint.wrap(httpx.AsyncClient(transport=httpx.MockTransport(hang))) as http:
            call = asyncio.create_task(http.post(f"https://any/{MODEL_PATH}"))
            await waiting.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(cancel())
    assert row_of(emulator)["error"] == "CancelledError"


def test_a_stream_that_an_event_hook_has_read_is_one_row_with_its_answer(logging):
    emulator = logging()
    hooks = {"response": [lambda response: response.read()]}
    url = f"{emulator.cloudflare_openai_url}/chat/completions"
    asked = {"model": "gpt-5", "messages": sdk.asked(), "stream": True}
    with (
        thumbprint.wrap(httpx.Client(event_hooks=hooks)) as http,
        http.stream("POST", url, headers={"authorization": "Bearer any"}, json=asked) as response,
    ):
        assert response.read()

    assert row_of(emulator)["output"]["content"] == "You said: Where is Ulm?"


def test_with_log_calls_off_nothing_is_logged_and_there_is_no_target(emulator):
    thumbprint.configure(backends=[Braintrust()])
    client = client_of(emulator)
    completion = chat(client)
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(completion, thumbs="up")
    assert "send" not in vars(client._client)

    assert rows_of(emulator) == []


# --- redaction, secrets, size


def masked(row):
    row["input"] = row["output"] = "***"
    return row


@pytest.mark.parametrize("stream", [False, True])
def test_what_redact_returns_is_written(logging, stream):
    emulator = logging(redact=masked)
    results = through(sdk.streamed_chat if stream else sdk.plain_chat, client_of(emulator))
    thumbprint.record_feedback(results[0], thumbs="up")

    row = row_of(emulator)
    assert (row["input"], row["output"], row["scores"]) == ("***", "***", {"thumbs": 1})
    assert all(b"Ulm" not in request.body for request in emulator.requests() if request.path.endswith("insert"))


def test_of_a_stream_redact_sees_the_whole_row_when_it_is_over(logging):
    seen = []

    def redact(row):
        seen.append({name: row[name] for name in ("input", "output", "error")})
        return row

    through(sdk.streamed_chat, client_of(logging(redact=redact)))
    answer = {"role": "assistant", "content": "You said: Where is Ulm?"}
    assert seen == [
        {"input": sdk.asked(), "output": None, "error": None},
        {"input": sdk.asked(), "output": answer, "error": None},
    ]


@pytest.mark.parametrize("door", [sdk.plain_chat, sdk.streamed_chat])
def test_a_call_that_redact_wants_no_row_of_is_no_target(logging, door):
    emulator = logging(redact=lambda _: None)
    results = through(door, client_of(emulator))
    with pytest.raises(thumbprint.UnknownTargetError):
        thumbprint.record_feedback(results[0], thumbs="up")

    assert rows_of(emulator) == []


def test_a_stream_that_redact_wants_no_more_of_keeps_what_was_written(logging):
    emulator = logging(redact=lambda row: None if row["output"] else row)
    through(sdk.streamed_chat, client_of(emulator))

    row = row_of(emulator)
    assert (row["input"], row["output"]) == (sdk.asked(), None)


@pytest.mark.parametrize("redact", [lambda row: row["nothing"], lambda _: "no row"])
def test_where_redact_fails_nothing_is_written_of_what_was_asked_and_answered(logging, redact, caplog):
    emulator = logging(redact=redact)
    thumbprint.record_feedback(chat(client_of(emulator)), thumbs="up")

    row = row_of(emulator)
    assert (row["input"], row["output"], row["error"], row["scores"]) == (None, None, None, {"thumbs": 1})
    assert row["metadata"]["model"] == "gpt-5"
    assert row["metadata"]["thumbprint"].startswith("what was asked and answered is left out: redact raised ")
    assert row["metrics"]["tokens"] > 0
    assert "without what was asked and answered" in caplog.text
    assert all(b"Ulm" not in request.body for request in emulator.requests() if request.path.endswith("insert"))


def test_the_keys_of_a_call_are_in_no_row(logging):
    emulator = logging()
    key = "sk-0123456789-secret"
    client = client_of(emulator, api_key=key, default_headers={"x-api-key": "another-secret-key"})
    tools = [{"type": "mcp", "server_url": "https://any", "authorization": "token-of-a-tool", "headers": {"k": "v-1"}}]
    chat(client, f"my key is {key}", extra_body={"mcp": tools, "api_key": "third-secret-key"})

    body = json.dumps(row_of(emulator))
    for secret in (key, "another-secret-key", "token-of-a-tool", "v-1", "third-secret-key"):
        assert secret not in body
    assert "my key is ***" in body


def test_a_key_in_the_words_of_a_connection_error_is_masked(logging):
    key = "sk-0123456789-secret"
    emulator = logging()

    class Broken(httpx.BaseTransport):
        def handle_request(self, request):
            raise httpx.ConnectError(f"no {key}", request=request)

    http = httpx.Client(transport=Broken())
    with pytest.raises(openai.APIConnectionError):
        chat(client_of(emulator, api_key=key, http_client=http))

    assert row_of(emulator)["error"] == "ConnectError: no ***"


def test_long_words_and_images_are_cut_with_a_mark(logging):
    emulator = logging()
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}
    content = [{"type": "text", "text": "long " * 100_000}, image]
    chat(client_of(emulator), messages=[{"role": "user", "content": content}])

    text, image = row_of(emulator)["input"][0]["content"]
    assert text["text"].endswith("… (left out: 300000 of 500000 characters)")
    assert image["image_url"]["url"] == (f"data:image/png;base64,{'A' * 40}… (left out: 4960 of 5022 characters)")


def test_an_answer_that_is_no_text_is_told_of(logging):
    emulator = logging()
    client_of(emulator).audio.speech.create(model="tts", voice="alloy", input="Ulm").read()

    row = row_of(emulator)
    assert row["input"] == "Ulm"
    assert row["output"].startswith("… (left out: ")
    assert row["output"].endswith(" bytes of audio/mp3)")


# --- nothing is harmed


def test_what_goes_wrong_in_logging_costs_no_call(logging, monkeypatch, caplog):
    emulator = logging()
    monkeypatch.setattr("thumbprint.capture._call_log.asked", None)
    monkeypatch.setattr("thumbprint.capture._call_log.answered", None)
    thumbprint.record_feedback(chat(client_of(emulator)), thumbs="up")

    row = row_of(emulator)
    assert (row["input"], row["error"], row["scores"]) == (None, "the answer cannot be read", {"thumbs": 1})
    assert "could not be read, and is not logged" in caplog.text


def test_what_goes_wrong_with_a_row_leaves_the_gateways_log_a_target(logging, monkeypatch, caplog):
    emulator = logging(Cloudflare())
    monkeypatch.setattr("thumbprint.capture._call_log._asked", None)
    thumbprint.record_feedback(chat(client_of(emulator)), thumbs="up")

    assert rows_of(emulator) == []
    assert emulator.cloudflare_logs()[0]["feedback"] == 1
    assert "a row could not be captured" in caplog.text


def test_what_goes_wrong_at_the_end_of_a_stream_costs_nothing(logging, monkeypatch, caplog):
    emulator = logging()
    monkeypatch.setattr("thumbprint.capture._call_log._ended", None)
    assert len(through(sdk.streamed_chat, client_of(emulator))) > 2

    assert row_of(emulator)["input"] == sdk.asked()
    assert "what a stream has answered could not be logged" in caplog.text


def test_a_client_that_takes_no_hook_makes_its_calls(logging, caplog):
    emulator = logging()

    class Odd(httpx.Client):
        def __setattr__(self, name, value):
            if name == "send":
                raise AttributeError(name)
            super().__setattr__(name, value)

    completion = chat(client_of(emulator, http_client=Odd()))
    thumbprint.record_feedback(completion, thumbs="up")

    assert row_of(emulator)["scores"] == {"thumbs": 1}
    assert "a call that gets no answer would not be logged" in caplog.text


def test_what_goes_wrong_with_a_call_without_an_answer_leaves_its_error_as_it_is(logging, monkeypatch, caplog):
    emulator = logging()
    monkeypatch.setattr("thumbprint.capture._recorder.CallLog.unanswered", None)
    with pytest.raises(openai.APIConnectionError):
        chat(thumbprint.wrap(sdk.openai_client("http://127.0.0.1:9/v1")))

    assert rows_of(emulator) == []
    assert "a call without an answer could not be captured" in caplog.text


def test_the_request_of_a_logged_call_can_be_pickled(logging):
    completion = client_of(logging()).chat.completions.with_raw_response.create(model="gpt-5", messages=sdk.asked())
    assert pickle.loads(pickle.dumps(completion.http_request)).method == "POST"


def test_one_hook_on_an_http_client_serves_all_its_calls(logging):
    client = client_of(logging())
    chat(client)
    hook = vars(client._client)["send"]
    chat(client)
    assert vars(client._client)["send"] is hook
    thumbprint.unwrap(client)
    chat(client)  # passes it


# --- configuration


def test_without_a_place_to_log_to_log_calls_is_refused(emulator, monkeypatch):
    monkeypatch.delenv("BRAINTRUST_PARENT")
    with pytest.raises(thumbprint.ConfigurationError, match="BRAINTRUST_PARENT"):
        thumbprint.configure(backends=[Braintrust(log_calls=True)])
    with pytest.raises(thumbprint.ConfigurationError, match="redact"):
        Braintrust(redact="input")


def test_the_environment_switches_it_on(emulator, monkeypatch):
    monkeypatch.setenv("BRAINTRUST_LOG_CALLS", "1")
    client = client_of(emulator)
    receipt = thumbprint.record_feedback(chat(client), thumbs="up").wait(5)

    assert {outcome.ref.backend for outcome in receipt.outcomes} == {"cloudflare", "braintrust"}


def test_a_row_that_a_shared_store_has_not_taken_yet_goes_in_before_its_feedback(emulator, tmp_path, monkeypatch):
    thumb = thumbprint.Thumbprint(
        backends=[Braintrust(log_calls=True)], store=f"sqlite:///{tmp_path / 'db'}", delivery="none"
    )
    monkeypatch.setattr(thumb._references, "later", lambda _: True)  # a thread that never comes to it
    completion = chat(thumb.wrap(sdk.openai_client(emulator.cloudflare_openai_url)))
    thumb.record_feedback(completion, thumbs="up")

    row, feedback = thumb._settings.store.listed(dead=False, most=5)
    assert (row.row["input"], feedback.row) == (sdk.asked(), None)
    thumb.close(0)


def test_rows_go_through_a_shared_store(emulator, tmp_path):
    thumbprint.configure(backends=[Braintrust(log_calls=True)], store=f"sqlite:///{tmp_path / 'db'}")
    results = through(sdk.streamed_chat, client_of(emulator))
    thumbprint.record_feedback(results[0], thumbs="up")

    row = row_of(emulator)
    assert (row["output"]["content"], row["scores"]) == ("You said: Where is Ulm?", {"thumbs": 1})


def test_rows_wait_while_braintrust_is_down(logging):
    emulator = logging()
    client = client_of(emulator)
    emulator.fail("/v1/project", drop=True, times=4)
    thumbprint.record_feedback(chat(client), thumbs="up")
    thumbprint.record_feedback(chat(client), thumbs="down")

    assert sorted(row["scores"]["thumbs"] for row in rows_of(emulator)) == [0, 1]


def test_a_row_and_its_feedback_survive_a_process_that_is_killed(emulator, tmp_path):
    store = f"sqlite:///{tmp_path / 'db'}"
    script = f"""
import os, openai, thumbprint
thumbprint.configure(backends=[thumbprint.Braintrust(log_calls=True)], store={store!r}, delivery="none")
client = thumbprint.wrap(openai.OpenAI(base_url={emulator.cloudflare_openai_url!r}, api_key="any"))
stream = client.chat.completions.create(model="gpt-5", messages={sdk.asked()!r}, stream=True)
next(stream)
thumbprint.record_feedback(stream, thumbs="up")
os.kill(os.getpid(), 9)
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    assert subprocess.run([sys.executable, "-c", script], env=environ, check=False).returncode == -9
    thumb = thumbprint.configure(backends=[Braintrust()], store=store)
    thumb.recorder()  # with the first call of a process it delivers what was left
    ends_at = time.monotonic() + 10
    while any(depth.queued for depth in thumb.store().depths()) and time.monotonic() < ends_at:
        time.sleep(0.01)

    row = row_of(emulator)
    assert (row["input"], row["output"], row["scores"]) == (sdk.asked(), None, {"thumbs": 1})
