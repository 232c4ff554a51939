"""What is read from requests and answers of all kinds of providers, and from no kind at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thumbprint.capture._record import MOST_READ, answered, asked, failed, secrets_in

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


def read_request(body, *, url="https://api.openai.com/v1/chat/completions", headers=JSON):
    body = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    return asked(url=url, headers=headers, body=body, started_at=1.0)


def read_answer(body, *, status=200, headers=JSON, streamed=False, request=None, keys=()):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answered(
        request or read_request(None),
        status=status,
        secrets=keys,
        headers=headers,
        body=body,
        ended_at=2.0,
        streamed=streamed,
    )


def streamed(*events, done=True):
    body = "".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n" for event in events)
    return read_answer((body + ("data: [DONE]\n\n" if done else "")).encode(), headers=EVENTS, streamed=True)


ASKED = [{"role": "user", "content": "Ulm?"}]


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ({"messages": ASKED}, ASKED),
        ({"messages": ASKED, "system": "brief"}, [{"role": "system", "content": "brief"}, *ASKED]),
        ({"input": "Ulm?"}, "Ulm?"),
        ({"input": "Ulm?", "instructions": "brief"}, {"instructions": "brief", "input": "Ulm?"}),
        ({"prompt": "Ulm?"}, "Ulm?"),
        ({"contents": [{"parts": [{"text": "Ulm?"}]}]}, [{"parts": [{"text": "Ulm?"}]}]),
        ({"query": "Ulm?", "documents": ["a", "b"]}, {"query": "Ulm?", "documents": ["a", "b"]}),
        ({"something": "else"}, {"something": "else"}),
        (["a", "list"], ["a", "list"]),
        (None, None),
    ],
)
def test_what_is_asked_is_found_in_each_shape(body, given):
    more = {"model": "m", "temperature": 1, "user": "u"} if isinstance(body, dict) and "something" not in body else {}
    record = read_request(None if body is None else body | more if isinstance(body, dict) else body)
    assert record.input == given
    if more:
        assert (record.model, record.user, record.parameters) == ("m", "u", {"temperature": 1})


def test_the_model_may_be_in_the_path_and_the_provider_is_the_host():
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-3:generateContent?key=secret"
    record = read_request({"contents": []}, url=url)
    assert (record.model, record.provider) == ("gemini-3", "generativelanguage.googleapis.com")
    assert "secret" not in repr(record)
    assert read_request({}, url="https://[").provider is None


def test_credentials_among_the_parameters_are_masked():
    body = {
        "messages": ASKED,
        "max_tokens": 5,
        "api_key": "s",
        "tools": [{"authorization": "s", "headers": {"x": "s"}, "client_secret": "s", "access_token": "s"}],
        "token": None,
    }
    assert read_request(body).parameters == {
        "max_tokens": 5,
        "api_key": "***",
        "tools": [{"authorization": "***", "headers": "***", "client_secret": "***", "access_token": "***"}],
        "token": None,
    }


def test_credentials_of_the_headers_are_masked_wherever_they_are_quoted():
    headers = {**JSON, "authorization": "Bearer sk-12345678", "x-api-key": "short"}
    record = read_request({"prompt": "my sk-12345678, and short"}, headers=headers)
    assert record.input == "my ***, and short"
    secrets = secrets_in("https://any", headers)
    assert read_answer({"text": "your sk-12345678"}, keys=secrets).output == "your ***"
    assert failed(record, "no sk-12345678", secrets, 3.0).error == "no ***"


def test_parameters_that_are_nested_without_end_are_cut():
    deep = {"a": {"token": "s", "b": "text"}}
    for _ in range(30):
        deep = {"a": deep}
    assert '"s"' not in json.dumps(read_request({"messages": ASKED, **deep}).parameters)


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ({"choices": [{"message": {"role": "assistant", "content": "x"}}]}, {"role": "assistant", "content": "x"}),
        ({"choices": [{"text": "x"}, {"text": "y"}]}, ["x", "y"]),
        ({"choices": [{"odd": 1}, 2]}, [{"odd": 1}, 2]),
        ({"output": [{"type": "message"}]}, [{"type": "message"}]),
        ({"role": "assistant", "content": [{"text": "x"}]}, {"role": "assistant", "content": [{"text": "x"}]}),
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}]}, {"parts": [{"text": "x"}]}),
        ({"data": [{"embedding": [0.1, 0.2]}] * 3}, {"embeddings": 3, "dimensions": 2}),
        ({"data": [{"embedding": "QUJD"}]}, {"embeddings": 1}),
        ({"embedding": {"values": [0.1, 0.2, 0.3]}}, {"embeddings": 1, "dimensions": 3}),
        ({"embeddings": [{"values": [1]}]}, {"embeddings": 1, "dimensions": 1}),
        ({"embeddings": [[1, 2]]}, {"embeddings": 1, "dimensions": 2}),
        ({"data": [{"url": "https://image"}]}, [{"url": "https://image"}]),
        ({"results": [{"flagged": False}]}, [{"flagged": False}]),
        ({"result": {"response": "x"}, "success": True}, {"response": "x"}),
        ({"text": "x"}, "x"),
        ({"odd": 1}, {"odd": 1}),
        ([1, 2], [1, 2]),
        (b"plain words", "plain words"),
    ],
)
def test_what_is_answered_is_found_in_each_shape(body, output):
    assert read_answer(body).output == output


def test_tokens_are_counted_in_each_shape():
    openai = {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    assert read_answer({"usage": openai}).usage == {
        "input_tokens": 5,
        "output_tokens": 2,
        "total_tokens": 7,
        "cached_tokens": 3,
        "reasoning_tokens": 1,
    }
    anthropic = {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1}
    assert read_answer({"usage": anthropic}).usage == {
        "input_tokens": 5,
        "output_tokens": 2,
        "total_tokens": 7,
        "cached_tokens": 4,
        "cache_creation_tokens": 1,
    }
    google = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 9, "thoughtsTokenCount": 2}
    assert read_answer({"usageMetadata": google, "responseId": "r", "modelVersion": "g"}).usage == {
        "input_tokens": 5,
        "output_tokens": 2,
        "total_tokens": 9,
        "reasoning_tokens": 2,
    }
    assert read_answer({"usage": {"input_tokens": True, "output_tokens": -1, "total_tokens": "3"}}).usage == {}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": {"message": "no"}}, "HTTP 400: no"),
        ({"error": "no"}, "HTTP 400: no"),
        ({"error": {"code": 1}}, 'HTTP 400: {"code": 1}'),
        ({"success": False, "errors": [{"message": "no"}]}, "HTTP 400: no"),
        ([{"error": {"message": "no"}}], "HTTP 400: no"),
        (b"no", "HTTP 400: no"),
        ({"odd": 1}, 'HTTP 400: {"odd": 1}'),
        (b"", "HTTP 400"),
    ],
)
def test_an_error_is_told_in_its_words(body, error):
    record = read_answer(body, status=400)
    assert (record.error, record.output) == (error, None)


def test_an_error_in_an_answer_of_success_is_one_too():
    assert (read_answer({"error": {"message": "no"}}).error, read_answer({"error": {"message": "no"}}).output) == (
        "no",
        None,
    )


@pytest.mark.parametrize("kind", ["audio/mpeg", "image/png", "video/mp4", "multipart/form-data; boundary=x"])
def test_what_is_no_text_is_told_by_its_type_and_length(kind):
    record = read_answer(b"12345", headers={"content-type": kind})
    assert record.output == f"… (left out: 5 bytes of {kind.partition(';')[0]})"


def test_what_is_too_long_to_be_read_is_told_of():
    body = b'"' + b"x" * MOST_READ + b'"'
    assert read_answer(body, headers={}).output == f"… (left out: {len(body)} bytes of unknown type)"


# --- streams


def test_a_chat_is_put_together_from_its_chunks():
    def chunk(delta, finish_reason=None, index=0):
        return {
            "id": "c-1",
            "model": "gpt-5",
            "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}],
        }

    call = {"index": 0, "id": "call-1", "type": "function", "function": {"name": "f", "arguments": ""}}
    record = streamed(
        chunk({"role": "assistant", "content": "Ul"}),
        chunk({"content": "m", "refusal": None}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}, "tool_calls"),
        {"id": "c-1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    )
    assert record.output == {
        "role": "assistant",
        "content": "Ulm",
        "refusal": None,
        "tool_calls": [
            {"index": 0, "id": "call-1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        ],
    }
    assert (record.response_id, record.model, record.usage["total_tokens"]) == ("c-1", "gpt-5", 3)


def test_choices_and_texts_are_put_together_each():
    record = streamed(
        {"choices": [{"index": 0, "text": "a"}, {"index": 1, "text": "b"}]},
        {"choices": [{"index": 1, "text": "c"}, "odd"]},
    )
    assert record.output == ["a", "bc"]


def test_a_message_is_put_together_from_its_events():
    record = streamed(
        {"type": "message_start", "message": {"id": "m-1", "role": "assistant", "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ul"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "m"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "name": "g", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a'}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        done=False,
    )
    assert record.output == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Ulm"},
            {"type": "tool_use", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "name": "g", "input": {}, "partial_json": '{"a'},
        ],
    }
    assert (record.response_id, record.usage["total_tokens"]) == ("m-1", 7)


def test_a_response_is_the_one_that_was_told_last_or_as_far_as_it_came():
    created = {"type": "response.created", "response": {"id": "r-1", "output": []}}
    delta = {"type": "response.output_text.delta", "delta": "Ulm"}
    whole = {"type": "response.completed", "response": {"id": "r-1", "output": [{"type": "message"}]}}
    assert streamed(created, delta, whole).output == [{"type": "message"}]
    assert (streamed(created, delta).output, streamed(created, delta).response_id) == ("Ulm", "r-1")


def test_the_content_of_google_is_put_together():
    def chunk(*parts, **more):
        return {"candidates": [{"content": {"role": "model", "parts": list(parts)}}], "responseId": "g-1", **more}

    chunks = (chunk({"text": "Ul"}), chunk({"text": "m"}), chunk({"functionCall": {"name": "f"}}, usageMetadata={}))
    whole = {"role": "model", "parts": [{"text": "Ulm"}, {"functionCall": {"name": "f"}}]}
    assert streamed(*chunks).output == whole
    array = read_answer(list(chunks), streamed=True)  # as it is without alt=sse
    assert (array.output, array.response_id) == (whole, "g-1")
    assert streamed({"candidates": ["odd", {"content": None}]}).output == {"parts": []}


def test_an_error_in_the_middle_of_a_stream_is_told():
    record = streamed({"choices": [{"index": 0, "delta": {"content": "Ul"}}]}, {"error": {"message": "overloaded"}})
    assert (record.output, record.error) == ({"content": "Ul"}, "overloaded")
    assert streamed({"type": "error", "message": "no"}).error == "no"


def test_events_of_a_kind_that_is_not_known_are_kept():
    assert streamed({"odd": 1}, "no JSON", {"odd": 2}).output == [{"odd": 1}, "no JSON", {"odd": 2}]
    assert read_answer(b'{"odd": 1}\n{"odd": 2}\n', streamed=True).output == [{"odd": 1}, {"odd": 2}]
    assert read_answer(b"one\ntwo", streamed=True).output == "one\ntwo"


def test_a_stream_that_was_none_is_read_whole():
    assert read_answer({"choices": [{"text": "x"}]}, streamed=True).output == "x"


def test_the_last_event_may_be_broken_off_and_data_may_be_on_several_lines():
    body = b'event: a\ndata: {"odd":\ndata: 1}\n\ndata: {"od'
    assert read_answer(body, headers=EVENTS, streamed=True).output == [{"odd": 1}, '{"od']


NAMES = st.sampled_from(
    ["messages", "input", "choices", "delta", "message", "content", "index", "usage", "candidates", "parts", "data",
     "id", "embedding", "type", "response", "error", "text", "tool_calls", "model", "system", "partial_json", "errors",
     "content_block", "output", "embeddings", "values", "usageMetadata", "prompt_tokens", "role"]
)  # fmt: skip
WORDS = st.text(max_size=5) | st.sampled_from(["message_start", "content_block_delta", "error", "message_delta",
                                               "content_block_start", "response.output_text.delta"])  # fmt: skip
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=30,
)


@given(ODD, ODD, st.lists(ODD, max_size=4))
def test_no_json_however_odd_raises_anything_and_all_that_is_told_is_json(request, answer, events):
    records = [
        read_request(request),
        read_answer(answer),
        read_answer(answer, status=500),
        read_answer(answer, streamed=True),
        streamed(*events),
    ]
    for record in records:
        told = (record.input, record.output, record.error, record.model, record.parameters, record.usage, record.user)
        json.dumps(told, allow_nan=False)


@given(st.binary(max_size=50))
def test_no_bytes_however_odd_raise_anything(body):
    read_request(body)
    read_answer(body)
    read_answer(b"data: " + body, headers=EVENTS, streamed=True)
    read_answer(body, streamed=True)


@pytest.mark.parametrize(
    "name", ["cookie", "helicone-auth", "ocp-apim-subscription-key", "proxy-authorization", "x-amz-security-token"]
)
def test_a_header_is_secret_by_its_name(name):
    assert secrets_in("https://any", {name: "Bearer 12345678, a=0123456789; short"}) == [
        "a=0123456789",
        "0123456789",
        "12345678",
    ]


def test_other_headers_are_no_secrets():
    assert secrets_in("https://any", {"x-max-tokens": "12345678", "content-type": "application/json"}) == []


def test_keys_in_a_query_are_secret_as_they_stand_there_and_as_they_are_meant():
    """Google takes its keys so, and what is raised for an answer quotes the URL."""
    url = "https://any/models/m:generateContent?alt=12345678&key=AIza%2B12345&sig=&access_token=012345678#key=12345678"
    assert secrets_in(url, {}) == ["AIza%2B12345", "AIza+12345", "012345678"]
    record = read_request(None)
    assert failed(record, f"no {url}", secrets_in(url, {}), 3.0).error.count("***") == 2


def test_credentials_in_a_request_of_an_unknown_shape_are_masked():
    names = ["api_key", "authToken", "aws_secret_access_key", "private_key", "extra_headers"]
    record = read_request({"odd": "any", **dict.fromkeys(names, "secret")})
    assert record.input == {"odd": "any", **dict.fromkeys(names, "***")}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_events_end_as_the_standard_has_it_and_nowhere_else(end):
    text = "one\u2028two\x85three"
    event = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False)
    body = f"data: {event}{end}{end}data: [DONE]{end}{end}".encode()
    assert read_answer(body, headers=EVENTS, streamed=True).output == {"content": text}
