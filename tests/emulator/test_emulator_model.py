"""The make-believe model, as the OpenAI SDK sees it."""

import asyncio
import json

import openai
import pytest
import sdk
from pydantic import BaseModel

HELLO = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hello  there"}]


class City(BaseModel):
    name: str


@pytest.fixture
def client(emulator):
    with openai.OpenAI(base_url=emulator.cloudflare_openai_url, api_key="any", timeout=5) as client:
        yield client


def test_a_chat_echoes_the_last_text_of_the_user(client):
    completion = client.chat.completions.create(model="gpt-5", messages=HELLO, n=2)
    assert [choice.message.content for choice in completion.choices] == ["You said: hello  there"] * 2
    assert completion.id.startswith("chatcmpl-")
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + 4


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([*HELLO, {"role": "assistant", "content": "yes?"}], "hello  there"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "ab"),
        ([{"role": "user", "content": None}], ""),
        ([{"role": "system", "content": "x"}], ""),
    ],
)
def test_the_last_user_is_found_in_any_conversation(client, messages, said):
    completion = client.chat.completions.create(model="gpt-5", messages=messages)
    assert completion.choices[0].message.content == f"You said: {said}"


def test_a_chat_streams_word_by_word(client):
    stream = client.chat.completions.create(
        model="gpt-5", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == "You said: hello  there"
    assert len(pieces) > 4
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4


def test_usage_is_streamed_only_where_asked_for(client):
    chunks = list(client.chat.completions.create(model="gpt-5", messages=HELLO, stream=True))
    assert [chunk.usage for chunk in chunks if chunk.usage] == []
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_streaming_helper_for_chats_works(client):
    chats = client.chat.completions
    helper = chats.stream if hasattr(chats, "stream") else client.beta.chat.completions.stream
    with helper(model="gpt-5", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        assert stream.get_final_completion().choices[0].message.content == "You said: hello  there"
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_structured_output_is_the_text_of_the_user(client):
    asked = [{"role": "user", "content": '{"name": "Oslo"}'}]
    chats = client.chat.completions
    parse = chats.parse if hasattr(chats, "parse") else client.beta.chat.completions.parse
    assert parse(model="gpt-5", messages=asked, response_format=City).choices[0].message.parsed.name == "Oslo"
    response = client.responses.parse(model="gpt-5", input=asked, text_format=City)
    assert response.output_parsed.name == "Oslo"


def test_a_response_echoes(client):
    response = client.responses.create(model="gpt-5", input="hi")
    assert (response.output_text, response.status) == ("You said: hi", "completed")
    assert response.usage.total_tokens == 4
    assert client.responses.retrieve(response.id).output_text == "You said: hi"


def test_a_response_streams_its_whole_sequence_of_events(client):
    events = list(client.responses.create(model="gpt-5", input="hi", stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_files_are_kept_and_listed_in_pages_the_latest_first(client):
    names = ["one.jsonl", "two.jsonl", "three.jsonl"]
    made = [client.files.create(file=(name, b"{}\n"), purpose="batch") for name in names]
    assert [(file.filename, file.bytes, file.purpose) for file in made] == [(name, 3, "batch") for name in names]
    page = client.files.list(limit=2)
    assert [file.filename for file in page.data] == ["three.jsonl", "two.jsonl"]
    assert page.has_more
    assert [file.filename for file in client.files.list(limit=2)] == names[::-1]

    assert client.files.retrieve(made[0].id) == made[0]
    assert client.files.delete(made[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made[0].id)
    assert len(client.files.list().data) == 2


def test_there_is_a_page_without_files(client):
    assert list(client.files.list()) == []


def test_the_streaming_helper_for_responses_works(client):
    with client.responses.stream(model="gpt-5", input="hi you") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == "You said: hi you"


def test_the_async_client_and_its_helpers_work(emulator):
    async def talk():
        async with openai.AsyncOpenAI(base_url=emulator.cloudflare_openai_url, api_key="any") as client:
            completions = await asyncio.gather(
                *(client.chat.completions.create(model="gpt-5", messages=HELLO) for _ in range(10))
            )
            async with client.responses.stream(model="gpt-5", input="hi") as stream:
                final = await stream.get_final_response()
            chunks = await client.chat.completions.create(model="gpt-5", messages=HELLO, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in chunks]
            return completions, final, "".join(pieces)

    completions, final, said = asyncio.run(talk())
    assert len({completion.id for completion in completions}) == 10
    assert final.output_text == "You said: hi"
    assert said == "You said: hello  there"


def offered(*names, **parameters):
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    schema |= {"required": ["city"]} | parameters
    return [{"type": "function", "name": name, "parameters": schema} for name in names]


def for_chats(tools):
    return [{"type": "function", "function": {key: tool[key] for key in ("name", "parameters")}} for tool in tools]


def chat_with_tools(client, messages, tools, **kwargs):
    completion = client.chat.completions.create(model="gpt-5", messages=messages, tools=for_chats(tools), **kwargs)
    return completion.choices[0]


def test_a_chat_calls_each_tool_that_it_is_offered_once_and_then_answers(client):
    messages, names = [*HELLO], []
    tools = offered("weather", "map")
    while (choice := chat_with_tools(client, messages, tools)).finish_reason == "tool_calls":
        [call] = choice.message.tool_calls
        assert choice.message.content is None
        assert json.loads(call.function.arguments) == {"city": "hello  there"}
        names.append(call.function.name)
        messages += [choice.message.model_dump(exclude_none=True)]
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    assert names == ["weather", "map"]
    assert choice.message.content == "You said: hello  there"

    messages += [{"role": "user", "content": "again"}]
    assert chat_with_tools(client, messages, tools).message.tool_calls[0].function.name == "weather"


def test_a_response_calls_each_tool_that_it_is_offered_once_and_then_answers(client):
    turns, names = [{"role": "user", "content": "Oslo"}], []
    tools = [{"type": "web_search"}, *offered("weather", "map")]
    while (item := client.responses.create(model="gpt-5", input=turns, tools=tools).output[0]).type == "function_call":
        assert json.loads(item.arguments) == {"city": "Oslo"}
        names.append(item.name)
        turns += [item.model_dump(exclude_none=True)]
        turns += [{"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}]
    assert names == ["weather", "map"]
    assert item.content[0].text == "You said: Oslo"


def test_a_response_that_goes_on_from_an_earlier_ones_calls_answers(client):
    asked = client.responses.create(model="gpt-5", input="Oslo", tools=offered("weather"))
    result = {"type": "function_call_output", "call_id": asked.output[0].call_id, "output": "sunny"}
    answer = client.responses.create(
        model="gpt-5", input=[result], tools=offered("weather"), previous_response_id=asked.id
    )
    assert answer.output[0].type == "message"


@pytest.mark.parametrize(
    ("parameters", "said", "arguments"),
    [
        ({}, '{"city": "Ulm", "days": 3}', {"city": "Ulm", "days": 3}),
        ({}, "[1]", {"city": "[1]"}),
        ({"required": ["city", "days"]}, "Ulm", {"city": "Ulm"}),
        ({"required": []}, "Ulm", {}),
        ({"required": None}, "Ulm", {}),
        ({"properties": None}, "Ulm", {}),
        ({"properties": {"city": True}}, "Ulm", {}),
    ],
    ids=["json", "no-object", "text", "optional", "no-required", "no-properties", "no-types"],
)
def test_a_tool_is_called_with_the_users_json_or_else_with_the_users_text(client, parameters, said, arguments):
    asked = [{"role": "user", "content": said}]
    choice = chat_with_tools(client, asked, offered("weather", **parameters))
    assert json.loads(choice.message.tool_calls[0].function.arguments) == arguments


def test_which_tool_is_called_can_be_chosen(client):
    tools = offered("weather", "map")
    assert chat_with_tools(client, HELLO, tools, tool_choice="none").message.content
    named = {"type": "function", "function": {"name": "map"}}
    assert chat_with_tools(client, HELLO, tools, tool_choice=named).message.tool_calls[0].function.name == "map"
    named = {"type": "function", "name": "map"}
    response = client.responses.create(model="gpt-5", input="hi", tools=tools, tool_choice=named)
    assert response.output[0].name == "map"


def test_a_chats_call_of_a_tool_is_streamed_piece_by_piece(client):
    tools = for_chats(offered("weather"))
    chunks = list(client.chat.completions.create(model="gpt-5", messages=HELLO, tools=tools, stream=True))
    calls = [chunk.choices[0].delta.tool_calls[0].function for chunk in chunks if chunk.choices[0].delta.tool_calls]
    assert [call.name for call in calls if call.name] == ["weather"]
    assert json.loads("".join(call.arguments for call in calls)) == {"city": "hello  there"}
    assert len(calls) > 2
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


@sdk.needs_openai(1, 90)  # whose helper takes events without an error of its own
def test_a_responses_call_of_a_tool_is_streamed_piece_by_piece(client):
    with client.responses.stream(model="gpt-5", input="hello  there", tools=offered("weather")) as stream:
        pieces = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
        call = stream.get_final_response().output[0]
    assert len(pieces) > 1
    assert json.loads("".join(pieces)) == json.loads(call.arguments) == {"city": "hello  there"}


@pytest.mark.parametrize(
    "tools", [{}, "weather", ["weather"], [{"type": "function"}], [{"function": {"name": ["x"]}}], [{"name": {}}]]
)
def test_tools_that_are_none_are_not_called(gateway, tools):
    for path, asked in (("chat/completions", {"messages": HELLO}), ("responses", {"input": HELLO})):
        answer = gateway.post(f"/openai/{path}", json={"model": "m", "tools": tools, "tool_choice": {}, **asked})
        assert "You said: hello  there" in answer.text


@sdk.needs_openai(1, 90)
def test_a_response_in_the_background_is_done_when_asked_again(client):
    queued = client.responses.create(model="gpt-5", input="hi", background=True)
    assert (queued.status, queued.output) == ("queued", [])
    done = client.responses.retrieve(queued.id)
    assert (done.id, done.status, done.output_text) == (queued.id, "completed", "You said: hi")


@sdk.needs_openai(1, 90)
def test_a_response_in_the_background_can_be_streamed_when_asked_again(client):
    queued = client.responses.create(model="gpt-5", input="hi", background=True)
    events = list(client.responses.retrieve(queued.id, stream=True))
    assert events[0].type == "response.created"
    assert events[-1].response.output_text == "You said: hi"


@sdk.needs_openai(1, 90)
def test_a_response_in_the_background_can_be_cancelled(client):
    queued = client.responses.create(model="gpt-5", input="hi", background=True)
    assert client.responses.cancel(queued.id).status == "cancelled"
    assert client.responses.retrieve(queued.id).status == "cancelled"
    plain = client.responses.create(model="gpt-5", input="hi")
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(plain.id)


def test_a_response_can_be_deleted_or_never_stored(client):
    kept = client.responses.create(model="gpt-5", input="hi")
    client.responses.delete(kept.id)
    lost = client.responses.create(model="gpt-5", input="hi", store=False)
    for response in (kept, lost):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id)


@pytest.mark.parametrize("encoding", [openai.NOT_GIVEN, "float"])
def test_the_same_text_has_the_same_embedding(client, encoding):
    answer = client.embeddings.create(model="m", input=["a", "b", "a"], encoding_format=encoding, dimensions=5)
    vectors = [entry.embedding for entry in answer.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert len(vectors[0]) == 5
    assert sum(number**2 for number in vectors[0]) == pytest.approx(1)


@pytest.mark.parametrize("asked", ["one text", [1, 2, 3]])
def test_a_text_or_its_tokens_have_one_embedding(client, asked):
    assert len(client.embeddings.create(model="m", input=asked).data) == 1


def test_nothing_is_flagged_by_moderation(client):
    assert [result.flagged for result in client.moderations.create(input=["a", "b"]).results] == [False] * 2
    assert len(client.moderations.create(input="a", model="text-moderation").results) == 1


def test_models_are_listed(client):
    assert "gpt-5" in [model.id for model in client.models.list()]
    assert client.models.retrieve("some/model").id == "some/model"


def test_pictures_are_made(client):
    pictures = client.images.generate(prompt="a cat", model="gpt-image-1", n=2).data
    assert [bool(picture.b64_json) for picture in pictures] == [True, True]
    [linked] = client.images.generate(prompt="a cat", response_format="url").data
    assert linked.url.startswith("https://")


@pytest.mark.parametrize(("asked", "kind"), [("wav", "wav"), (openai.NOT_GIVEN, "mp3")])
def test_speech_is_bytes(client, asked, kind):
    answer = client.audio.speech.create(input="hi", model="tts-1", voice="alloy", response_format=asked)
    assert answer.content == f"{kind}:hi".encode()
    assert answer.response.headers["content-type"] == f"audio/{kind}"


def test_a_transcription_hears_the_name_of_the_file(client):
    create = client.audio.transcriptions.create
    sound = ("talk.wav", b"\x00\xff\r\n--")
    assert create(file=sound, model="whisper-1").text == "You said: talk.wav"
    assert create(file=sound, model="whisper-1", response_format="text").strip() == "You said: talk.wav"
    verbose = create(file=sound, model="whisper-1", response_format="verbose_json")
    assert verbose.language == "english"


def test_a_transcription_without_a_file_is_refused(gateway):
    assert gateway.post("/openai/audio/transcriptions", json={}).status_code == 400
    form = gateway.post("/openai/audio/transcriptions", files={"model": (None, "m")})
    assert form.status_code == 400
    assert "'file' is required" in form.json()["error"]["message"]


def test_older_completions_work(client):
    assert client.completions.create(model="m", prompt="hi").choices[0].text == "You said: hi"
    chunks = client.completions.create(model="m", prompt=["a", "b"], stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "You said: b"


@pytest.mark.parametrize("path", ["/openai/chat/completions", "/openai/v1/chat/completions"])
def test_paths_may_have_a_version(gateway, path):
    assert gateway.post(path, json={"model": "m", "messages": HELLO}).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("chat/completions", {"messages": HELLO}, "model"),
        ("chat/completions", {"model": "m", "messages": []}, "messages"),
        ("chat/completions", {"model": "m", "messages": "hi"}, "messages"),
        ("responses", {"model": "m"}, "input"),
        ("embeddings", {"model": "m", "input": "a", "dimensions": 10**6}, "dimensions"),
    ],
)
def test_a_wrong_field_is_named(gateway, path, body, field):
    answer = gateway.post(f"/openai/{path}", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["error"]["message"]
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"{", b"[]", b"", b'{"a": NaN}', b'{"a": 1e999}', b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(gateway, body):
    assert gateway.post("/openai/chat/completions", content=body).status_code == 400


def test_any_text_can_be_echoed(gateway):
    body = json.dumps({"model": "m", "input": "\ud800 \u20ac"})
    assert gateway.post("/openai/responses", content=body).status_code == 200
    assert gateway.post("/openai/embeddings", content=body).status_code == 200
    assert gateway.post("/openai/audio/speech", content=body).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "chat/completions"), ("POST", "nothing"), ("PUT", "responses")])
def test_what_the_model_does_not_know_is_404(gateway, method, path):
    answer = gateway.request(method, f"/openai/{path}")
    assert answer.status_code == 404
    assert path in answer.json()["error"]["message"]


@pytest.mark.parametrize("status", [400, 401, 418, 429, 503])
def test_an_error_can_be_asked_for_by_the_name_of_the_model(client, status):
    with pytest.raises(openai.APIStatusError) as failure:
        client.with_options(max_retries=0).chat.completions.create(model=f"error-{status}", messages=HELLO)
    assert failure.value.status_code == status
    assert failure.value.response.headers["cf-aig-log-id"]


def test_a_flaky_model_succeeds_after_its_failures(emulator, client):
    assert client.chat.completions.create(model="flaky-2", messages=HELLO).choices
    assert [log["status_code"] for log in emulator.cloudflare_logs()] == [500, 500, 200]
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).responses.create(model="flaky-1", input="hi")
    emulator.clear()
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=0).responses.create(model="flaky-1", input="hi")
