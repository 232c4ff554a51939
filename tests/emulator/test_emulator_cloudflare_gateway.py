"""Cloudflare's gateway: what its headers say and what its logs hold."""

import json

import openai
import pytest

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}


def test_a_call_makes_a_log_and_its_answer_names_it(emulator, gateway):
    answer = gateway.post("/openai/chat/completions", json=CHAT)
    [log] = emulator.cloudflare_logs()
    assert log["id"] == answer.headers["cf-aig-log-id"]
    assert len(log["id"]) == 26
    assert log["event_id"] == answer.headers["cf-aig-event-id"]
    assert (answer.headers["cf-aig-cache-status"], answer.headers["cf-aig-step"]) == ("MISS", "0")
    variables = emulator.environ()
    assert log["account_id"] == variables["CLOUDFLARE_ACCOUNT_ID"]
    assert log["gateway_id"] == variables["CLOUDFLARE_GATEWAY_ID"]
    assert (log["provider"], log["model"], log["path"]) == ("openai", "gpt-5", "chat/completions")
    assert (log["status_code"], log["success"], log["cached"]) == (200, True, False)
    assert (log["feedback"], log["score"], log["metadata"]) == (None, None, {})
    assert json.loads(log["request"]) == CHAT
    assert json.loads(log["response"]) == answer.json()
    assert log["created_at"].endswith("Z")


def test_what_a_test_is_given_can_be_changed_without_harm(emulator, gateway):
    gateway.post("/openai/chat/completions", json=CHAT, headers={"cf-aig-metadata": '{"a":1}'})
    emulator.cloudflare_logs()[0]["metadata"]["a"] = 2
    assert emulator.cloudflare_logs()[0]["metadata"] == {"a": 1}


def test_a_stream_is_logged_whole(emulator, gateway):
    answer = gateway.post("/openai/chat/completions", json={**CHAT, "stream": True})
    [log] = emulator.cloudflare_logs()
    assert log["id"] == answer.headers["cf-aig-log-id"]
    assert log["response"] == answer.text
    assert log["response_content_type"] == "text/event-stream"


@pytest.mark.parametrize(
    ("path", "body", "logged"),
    [
        ("openai/v1/responses", {"model": "gpt-5", "input": "hi"}, ("openai", "gpt-5")),
        ("compat/chat/completions", {**CHAT, "model": "groq/llama"}, ("groq", "llama")),
        ("compat/chat/completions", CHAT, ("compat", "gpt-5")),
        ("groq/chat/completions", {**CHAT, "model": "meta/llama"}, ("groq", "meta/llama")),
        ("groq/openai/v1/chat/completions", CHAT, ("groq", "gpt-5")),
        ("mistral/v1/chat/completions", CHAT, ("mistral", "gpt-5")),
        (
            "google-ai-studio/v1beta/models/gemini:generateContent",
            {"contents": [{"parts": [{"text": "hi"}]}]},
            ("google-ai-studio", "gemini"),
        ),
        ("azure-openai/mine/prod/chat/completions", CHAT, ("azure-openai", "prod")),
        ("azure-openai/mine/openai/deployments/prod/chat/completions", CHAT, ("azure-openai", "prod")),
        ("anthropic/v1/messages", CHAT, ("anthropic", "gpt-5")),
        ("workers-ai/v1/chat/completions", {**CHAT, "model": "@cf/meta/x"}, ("workers-ai", "@cf/meta/x")),
        ("workers-ai/@cf/meta/x", {"prompt": "hi"}, ("workers-ai", "@cf/meta/x")),
    ],
)
def test_every_provider_has_its_path(emulator, gateway, path, body, logged):
    assert gateway.post(f"/{path}", json=body).status_code == 200
    [log] = emulator.cloudflare_logs()
    assert (log["provider"], log["model"]) == logged


def test_workers_ai_answers_in_its_own_way(gateway):
    answer = gateway.post("/workers-ai/@cf/meta/x", json={"messages": CHAT["messages"]})
    assert answer.json()["result"] == {"response": "You said: hello"}


def test_anthropic_answers_in_its_own_way(gateway):
    asked = {**CHAT, "max_tokens": 5}
    answer = gateway.post("/anthropic/v1/messages", json=asked, headers={"x-api-key": "k"})
    assert answer.json()["content"] == [{"type": "text", "text": "You said: hello"}]
    stream = gateway.post("/anthropic/v1/messages", json={**asked, "stream": True})
    lines = [line for line in stream.text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert [event["type"] for event in events][:2] == ["message_start", "content_block_start"]
    assert events[-1] == {"type": "message_stop"}
    said = [event["delta"]["text"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(said) == "You said: hello"


def test_anthropic_counts_tokens_and_keeps_batches(gateway):
    assert gateway.post("/anthropic/v1/messages/count_tokens", json=CHAT).json()["input_tokens"] > 0
    asked = {"requests": [{"custom_id": "one", "params": {**CHAT, "max_tokens": 5}}]}
    made = gateway.post("/anthropic/v1/messages/batches", json=asked).json()
    assert made["id"].startswith("msgbatch_")
    assert (made["processing_status"], made["request_counts"]["processing"]) == ("in_progress", 1)
    assert gateway.get(f"/anthropic/v1/messages/batches/{made['id']}").json() == made
    assert gateway.get("/anthropic/v1/messages/batches/another").status_code == 404
    assert gateway.post("/anthropic/v1/messages/batches", json={}).status_code == 400


def gemini(gateway, verb, *texts, **headers):
    contents = [{"role": "user", "parts": [{"text": text}]} for text in texts]
    path = f"/google-ai-studio/v1beta/models/gemini:{verb}"
    return gateway.post(path, json={"contents": contents}, headers=headers)


def test_google_answers_in_its_own_way(gateway):
    answer = gemini(gateway, "generateContent", "no", "hello").json()
    [candidate] = answer["candidates"]
    assert candidate["content"] == {"parts": [{"text": "You said: hello"}], "role": "model"}
    assert (candidate["finishReason"], answer["modelVersion"]) == ("STOP", "gemini")
    assert list(answer)[-1] == "responseId"
    assert gemini(gateway, "countTokens", "hello").json()["totalTokens"] > 0
    assert gemini(gateway, "generateContent").status_code == 400


def test_google_streams_word_by_word(gateway):
    lines = gemini(gateway, "streamGenerateContent", "hello").text.splitlines()
    parts = [json.loads(line.removeprefix("data: ")) for line in lines if line]
    said = [part["candidates"][0]["content"]["parts"][0]["text"] for part in parts]
    assert ("".join(said), len(said)) == ("You said: hello", 3)
    assert len({part["responseId"] for part in parts}) == 1
    assert [part["candidates"][0].get("finishReason") for part in parts] == [None, None, "STOP"]


def test_google_hears_the_user_and_not_the_model(gateway):
    spoken = [{"parts": [{"text": "hello"}]}, {"role": "model", "parts": [{"text": "yes?"}]}]
    answer = gateway.post("/google-ai-studio/v1beta/models/gemini:generateContent", json={"contents": spoken})
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "You said: hello"}]
    silent = {"contents": [{"role": "model", "parts": []}]}
    answer = gateway.post("/google-ai-studio/v1beta/models/gemini:generateContent", json=silent)
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "You said: "}]


def test_the_keys_of_google_and_anthropic_are_keys(http, emulator):
    place = emulator.environ()["CLOUDFLARE_GATEWAY_URL"]
    for path, key in (("anthropic/v1/messages", "x-api-key"), ("openai/chat/completions", "x-goog-api-key")):
        assert http.post(f"{place}/{path}", json=CHAT).status_code == 401
        assert http.post(f"{place}/{path}", json=CHAT, headers={key: "k"}).status_code == 200


def test_the_azure_client_gets_through(emulator):
    base_url = f"{emulator.environ()['CLOUDFLARE_GATEWAY_URL']}/azure-openai/mine/prod"
    with openai.AzureOpenAI(base_url=base_url, api_key="k", api_version="2024-10-21") as client:
        client.chat.completions.create(**CHAT)
    assert emulator.cloudflare_logs()[0]["provider"] == "azure-openai"


@pytest.mark.parametrize("path", ["nobody/chat/completions", "azure-openai/mine", "", "azure-openai"])
def test_a_provider_that_is_not_there_is_400_without_a_log(emulator, gateway, path):
    answer = gateway.post(f"/{path}", json=CHAT)
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert emulator.cloudflare_logs() == []


@pytest.mark.parametrize("place", ["{a}/Big", "{a}/" + "x" * 65, "{A}/fine", "{a}"])
def test_a_place_that_cannot_be_is_400(emulator, http, place):
    account = emulator.environ()["CLOUDFLARE_ACCOUNT_ID"]
    url = f"{emulator.url}/v1/{place.format(a=account, A=account.upper())}/openai/chat/completions"
    assert http.post(url, json=CHAT, headers={"authorization": "Bearer k"}).status_code == 400


def test_any_account_and_gateway_is_made_on_its_first_use(emulator, http):
    url = f"{emulator.url}/v1/{'a1' * 16}/my-own/openai/chat/completions"
    http.post(url, json=CHAT, headers={"authorization": "Bearer k"})
    [log] = emulator.cloudflare_logs()
    assert (log["account_id"], log["gateway_id"]) == ("a1" * 16, "my-own")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": ""}, 401),
        ({"authorization": "Basic abc"}, 401),
        ({"authorization": "", "api-key": "k"}, 200),
        ({"authorization": "", "cf-aig-authorization": "Bearer k"}, 200),
    ],
)
def test_a_key_of_any_kind_is_needed_and_its_lack_is_logged(emulator, gateway, headers, status):
    answer = gateway.post("/openai/chat/completions", json=CHAT, headers=headers)
    assert answer.status_code == status
    assert emulator.cloudflare_logs()[0]["id"] == answer.headers["cf-aig-log-id"]
    assert emulator.cloudflare_logs()[0]["success"] is (status == 200)


def test_a_bad_body_is_logged_too(emulator, gateway):
    answer = gateway.post("/openai/chat/completions", content=b"{")
    assert answer.status_code == 400
    assert emulator.cloudflare_logs()[0]["id"] == answer.headers["cf-aig-log-id"]


def test_a_caller_may_want_no_log(emulator, gateway):
    answer = gateway.post("/openai/chat/completions", json=CHAT, headers={"cf-aig-collect-log": "false"})
    assert "cf-aig-log-id" not in answer.headers
    assert answer.headers["cf-aig-cache-status"] == "MISS"
    assert emulator.cloudflare_logs() == []


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ('{"a": "x", "b": 1, "c": true}', {"a": "x", "b": 1, "c": True}),
        ('{"1":1,"2":1,"3":1,"4":1,"5":1,"6":1}', dict.fromkeys("12345", 1)),
        ('{"a": {"nested": 1}, "b": null, "c": 1}', {"c": 1}),
        ("[1]", {}),
        ("not json", {}),
    ],
)
def test_the_first_five_entries_of_sent_metadata_are_kept(emulator, gateway, header, kept):
    gateway.post("/openai/chat/completions", json=CHAT, headers={"cf-aig-metadata": header})
    assert emulator.cloudflare_logs()[0]["metadata"] == kept


def test_a_cached_answer_repeats_the_response_id_but_not_the_log_id(emulator, clock, gateway):
    caching = {"cf-aig-cache-ttl": "60"}
    answers = [gateway.post("/openai/chat/completions", json=CHAT, headers=caching) for _ in range(2)]
    assert [answer.headers["cf-aig-cache-status"] for answer in answers] == ["MISS", "HIT"]
    assert answers[0].json() == answers[1].json()
    assert len({answer.headers["cf-aig-log-id"] for answer in answers}) == 2
    assert [log["cached"] for log in emulator.cloudflare_logs()] == [False, True]
    clock.now += 61
    late = gateway.post("/openai/chat/completions", json=CHAT, headers=caching)
    assert late.headers["cf-aig-cache-status"] == "MISS"
    assert late.json()["id"] != answers[0].json()["id"]


@pytest.mark.parametrize(
    "headers", [{}, {"cf-aig-cache-ttl": "60", "cf-aig-skip-cache": "true"}, {"cf-aig-cache-ttl": "soon"}]
)
def test_the_cache_is_left_alone_unless_it_is_asked_for(gateway, headers):
    gateway.post("/openai/chat/completions", json=CHAT, headers={"cf-aig-cache-ttl": "60"})
    answer = gateway.post("/openai/chat/completions", json=CHAT, headers=headers)
    assert answer.headers["cf-aig-cache-status"] == "MISS"


def test_errors_and_other_bodies_are_not_taken_from_the_cache(gateway):
    caching = {"cf-aig-cache-ttl": "60"}
    for body in ({**CHAT, "model": "error-400"}, {**CHAT, "model": "error-400"}, CHAT, {**CHAT, "n": 2}):
        answer = gateway.post("/openai/chat/completions", json=body, headers=caching)
        assert answer.headers["cf-aig-cache-status"] == "MISS"


@pytest.mark.parametrize(
    ("path", "body", "logged"),
    [
        ("chat/completions", {**CHAT, "model": "openai/gpt-5"}, ("openai", "gpt-5")),
        ("chat/completions", {**CHAT, "model": "@cf/meta/x"}, ("workers-ai", "@cf/meta/x")),
        ("responses", {"model": "gpt-5", "input": "hi"}, ("openai", "gpt-5")),
        ("embeddings", {"model": "gpt-5", "input": "hi"}, ("openai", "gpt-5")),
        ("messages", CHAT, ("anthropic", "gpt-5")),
    ],
)
def test_the_rest_route_leads_to_the_same_models(emulator, cloudflare_api, path, body, logged):
    account = emulator.environ()["CLOUDFLARE_ACCOUNT_ID"]
    url = f"/accounts/{account}/ai/v1/{path}"
    first = cloudflare_api.post(url, json=body)
    second = cloudflare_api.post(url, json=body, headers={"cf-aig-gateway-id": "mine"})
    logs = emulator.cloudflare_logs()
    assert [log["id"] for log in logs] == [first.headers["cf-aig-log-id"], second.headers["cf-aig-log-id"]]
    assert [log["gateway_id"] for log in logs] == ["default", "mine"]
    assert (logs[0]["provider"], logs[0]["model"]) == logged
    assert first.headers["ratelimit"]


def test_the_openai_client_works_over_the_rest_route(emulator):
    token = emulator.environ()["CLOUDFLARE_API_TOKEN"]
    with openai.OpenAI(base_url=emulator.cloudflare_rest_url, api_key=token) as client:
        client.chat.completions.create(**CHAT)
    with (
        openai.OpenAI(base_url=emulator.cloudflare_rest_url, api_key="wrong") as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        client.chat.completions.create(**CHAT)
    assert len(emulator.cloudflare_logs()) == 1


@pytest.mark.parametrize(
    ("path", "body"), [("run/@cf/meta/x", {"prompt": "hi"}), ("run", {"model": "@cf/meta/x", "prompt": "hi"})]
)
def test_a_model_can_be_run_over_the_rest_api(emulator, cloudflare_api, path, body):
    account = emulator.environ()["CLOUDFLARE_ACCOUNT_ID"]
    answer = cloudflare_api.post(f"/accounts/{account}/ai/{path}", json=body)
    assert answer.json()["result"] == {"response": "You said: hi"}
    assert emulator.cloudflare_logs()[0]["model"] == "@cf/meta/x"
