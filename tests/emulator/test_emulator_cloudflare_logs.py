"""Cloudflare's logs API: its checks, its list and its limits."""

import json

import pytest

from thumbprint.emulator import Emulator

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def logs(emulator) -> str:
    """The path of the logs of the emulator's gateway."""
    return f"/accounts/{emulator.environ()['CLOUDFLARE_ACCOUNT_ID']}/ai-gateway/gateways/emulator/logs"


@pytest.fixture
def call(clock, gateway):
    """Make a call a second after the one before, and return the id of its log."""

    def make(path="openai/chat/completions", model="gpt-5", **metadata) -> str:
        clock.now += 1
        headers = {"cf-aig-metadata": json.dumps(metadata), "cf-aig-cache-ttl": "9"}
        answer = gateway.post(f"/{path}", json={**CHAT, "model": model}, headers=headers)
        return answer.headers["cf-aig-log-id"]

    return make


def test_a_log_is_read_without_its_feedback(cloudflare_api, logs, call):
    log_id = call(team="a")
    cloudflare_api.patch(f"{logs}/{log_id}", json={"feedback": 1, "score": 50})
    result = cloudflare_api.get(f"{logs}/{log_id}").json()["result"]
    assert result["id"] == log_id
    assert json.loads(result["metadata"]) == {"team": "a"}
    assert not {"feedback", "score"} & result.keys()
    assert json.loads(result["request_head"])["model"] == "gpt-5"


def test_a_log_is_read_with_its_feedback_where_the_emulator_is_told_so(clock, http):
    with Emulator(feedback_shown=True, clock=clock) as emulator:
        environ = emulator.environ()
        made = http.post(f"{environ['CLOUDFLARE_GATEWAY_URL']}/openai/chat/completions", json=CHAT)
        log_id = made.headers["cf-aig-log-id"]
        place = f"{environ['CLOUDFLARE_ACCOUNT_ID']}/ai-gateway/gateways/{environ['CLOUDFLARE_GATEWAY_ID']}"
        url = f"{environ['CLOUDFLARE_BASE_URL']}/accounts/{place}/logs"
        headers = {"authorization": f"Bearer {environ['CLOUDFLARE_API_TOKEN']}"}
        clock.now += 1

        def shown():
            result = http.get(f"{url}/{log_id}", headers=headers).json()["result"]
            return result["feedback"], result["score"]

        assert shown() == (None, None)
        http.patch(f"{url}/{log_id}", headers=headers, json={"feedback": 1, "score": 50})
        assert shown() == (1, 50)
        assert "feedback" not in http.get(url, headers=headers).json()["result"][0]


def test_a_patch_changes_what_it_names(emulator, cloudflare_api, logs, call):
    path = f"{logs}/{call()}"
    answer = cloudflare_api.patch(path, json={"feedback": -1, "metadata": {"a": "x", "b": 1.5, "c": False}})
    assert (answer.status_code, answer.json()) == (200, {"success": True, "result": {}})
    cloudflare_api.patch(path, json={"score": 100})
    cloudflare_api.patch(path, json={})
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"]) == (-1, 100)
    assert log["metadata"] == {"a": "x", "b": 1.5, "c": False}
    cloudflare_api.patch(path, json={"feedback": None, "score": None, "metadata": None})
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"], log["metadata"]) == (None, None, {})


@pytest.mark.parametrize(("way", "kept"), [("replace", {"b": 2}), ("merge", {"a": 1, "b": 2})])
def test_metadata_is_replaced_or_merged(http, way, kept):
    with Emulator(metadata_patch=way) as emulator:
        variables = emulator.environ()
        asked = {"authorization": "Bearer k", "cf-aig-metadata": '{"a":1}'}
        url = f"{emulator.cloudflare_openai_url}/chat/completions"
        log_id = http.post(url, json=CHAT, headers=asked).headers["cf-aig-log-id"]
        url = f"{variables['CLOUDFLARE_BASE_URL']}/accounts/{variables['CLOUDFLARE_ACCOUNT_ID']}"
        http.patch(
            f"{url}/ai-gateway/gateways/emulator/logs/{log_id}",
            json={"metadata": {"b": 2}},
            headers={"authorization": f"Bearer {variables['CLOUDFLARE_API_TOKEN']}"},
        )
        assert emulator.cloudflare_logs()[0]["metadata"] == kept


@pytest.mark.parametrize(
    "body",
    [
        '{"feedback": 2}',
        '{"feedback": -1.1}',
        '{"feedback": true}',
        '{"feedback": "1"}',
        '{"feedback": NaN}',
        '{"score": -1}',
        '{"score": 100.5}',
        '{"metadata": []}',
        '{"metadata": {"a": null}}',
        '{"metadata": {"a": {"b": 1}}}',
        '{"metadata": {"a": [1]}}',
        "[]",
        "",
        "{",
    ],
)
def test_a_patch_that_is_wrong_is_400_and_changes_nothing(emulator, cloudflare_api, logs, call, body):
    log_id = call()
    before = emulator.cloudflare_logs()
    answer = cloudflare_api.patch(f"{logs}/{log_id}", content=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "success": False,
        "errors": [{"message": answer.json()["errors"][0]["message"]}],
        "result": {},
    }
    assert emulator.cloudflare_logs() == before


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_is_not_there_is_404(emulator, cloudflare_api, logs, call, method):
    log_id = call()
    paths = [
        f"{logs}/none",
        f"{logs}/{log_id}/more",
        f"{logs}/{log_id}".replace("/emulator/", "/default/"),
        f"{logs}/{log_id}".replace("/emulator/", "/unknown/"),
        f"{logs}/{log_id}".replace(emulator.environ()["CLOUDFLARE_ACCOUNT_ID"], "a" * 32),
        "/elsewhere",
    ]
    for path in paths:
        answer = cloudflare_api.request(method, path, json={})
        assert answer.status_code == 404
        assert answer.json() == {"success": False, "errors": [{"code": 7002, "message": "Not Found"}]}


def test_a_place_that_cannot_be_is_400(cloudflare_api, logs):
    assert cloudflare_api.get(logs.replace("/emulator/", "/Not%20valid/")).status_code == 400
    assert cloudflare_api.get("/accounts/short/ai-gateway/gateways/emulator/logs").status_code == 400


@pytest.mark.parametrize(("header", "status"), [("", 401), ("Bearer wrong", 403), ("Basic x", 401)])
def test_a_bad_token_is_refused(cloudflare_api, logs, header, status):
    answer = cloudflare_api.get(logs, headers={"authorization": header})
    assert answer.status_code == status
    assert answer.json() == {
        "success": False,
        "errors": [{"code": 10000, "message": "Authentication error"}],
    }


def test_a_token_can_be_verified(cloudflare_api):
    answer = cloudflare_api.get("/user/tokens/verify").json()
    assert answer["success"] is True
    assert answer["result"]["status"] == "active"


def test_a_young_log_is_not_there_yet(http, clock):
    with Emulator(ingestion_lag=10, clock=clock) as emulator:
        variables = emulator.environ()
        url = f"{emulator.cloudflare_openai_url}/chat/completions"
        log_id = http.post(url, json=CHAT, headers={"authorization": "Bearer k"}).headers["cf-aig-log-id"]
        http.headers["authorization"] = f"Bearer {variables['CLOUDFLARE_API_TOKEN']}"
        url = f"{variables['CLOUDFLARE_BASE_URL']}/accounts/{variables['CLOUDFLARE_ACCOUNT_ID']}"
        url += "/ai-gateway/gateways/emulator/logs"
        assert http.get(f"{url}/{log_id}").status_code == 404
        assert http.patch(f"{url}/{log_id}", json={"feedback": 1}).status_code == 404
        assert http.get(url).json()["result"] == []
        assert len(emulator.cloudflare_logs()) == 1
        clock.now += 10.001
        assert http.patch(f"{url}/{log_id}", json={"feedback": 1}).status_code == 200
        assert len(http.get(url).json()["result"]) == 1


def test_the_list_has_pages_with_the_newest_first(cloudflare_api, logs, call):
    ids = [call(number=number) for number in range(5)]
    pages = [cloudflare_api.get(logs, params={"page": page, "per_page": 2}).json() for page in (1, 2, 3, 4)]
    assert [[log["id"] for log in page["result"]] for page in pages] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
        [],
    ]
    assert pages[2]["result_info"] == {"page": 3, "per_page": 2, "count": 1, "total_count": 5}


@pytest.mark.parametrize("key", ["created_at", "provider", "model", "model_type", "success", "cached"])
def test_the_list_can_be_put_in_order(cloudflare_api, logs, call, key):
    call(), call("groq/chat/completions", "b"), call(model="error-400"), call(model="a/b"), call()
    for direction in ("asc", "desc"):
        asked = {"order_by": key, "order_by_direction": direction}
        found = [log[key] for log in cloudflare_api.get(logs, params=asked).json()["result"]]
        assert found == sorted(found, reverse=direction == "desc")
        assert len(found) == 5


def filters(*conditions):
    """Return conditions as the API's official client sends them."""
    pairs = []
    for key, operator, *values in conditions:
        pairs += [("filters.key", key), ("filters.operator", operator)]
        pairs += [("filters.value", value) for value in values]
    return pairs


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (filters(("feedback", "eq", "1")), "b"),
        (filters(("feedback", "eq", "-1")), "c"),
        (filters(("feedback", "eq", "0")), "a"),
        (filters(("feedback", "neq", "1")), "ac"),
        (filters(("feedback", "lt", "0")), "c"),
        (filters(("feedback", "eq", "1", "-1")), "bc"),
        (filters(("metadata.key", "eq", "name")), "abc"),
        (filters(("metadata.key", "eq", "only")), "b"),
        (filters(("metadata.value", "eq", "a")), "a"),
        (filters(("metadata.value", "eq", "true")), "b"),
        (filters(("metadata.value", "contains", "TRU")), "b"),
        (filters(("metadata.value", "neq", "a")), "bc"),
        (filters(("metadata.key", "eq", "only"), ("feedback", "eq", "-1")), ""),
        (filters(("metadata.key", "eq", "name"), ("feedback", "eq", "-1")), "c"),
        (filters(("provider", "eq", "groq")), "b"),
        (filters(("model", "contains", "error")), "c"),
        (filters(("success", "eq", "false")), "c"),
        (filters(("cached", "eq", "1")), ""),
        (filters(("tokens_in", "gt", "0")), "abc"),
        (filters(("response_content_type", "eq", "application/json")), "abc"),
        ([("provider", "groq")], "b"),
        ([("success", "true")], "ab"),
        ([("feedback", "1")], "b"),
        ([("search", "ONLY")], "b"),
        ([("search", "nowhere")], ""),
    ],
)
def test_the_list_can_be_filtered(cloudflare_api, logs, call, params, expected):
    call(name="a")
    liked = call("groq/chat/completions", name="b", only=True)
    disliked = call(name="c", model="error-400")
    cloudflare_api.patch(f"{logs}/{liked}", json={"feedback": 1})
    cloudflare_api.patch(f"{logs}/{disliked}", json={"feedback": -1})
    answer = cloudflare_api.get(logs, params=[("order_by_direction", "asc"), *params])
    assert "".join(json.loads(log["metadata"])["name"] for log in answer.json()["result"]) == expected


def test_the_list_can_be_cut_by_time_and_id(emulator, cloudflare_api, logs, call):
    ids = [call() for _ in range(3)]
    times = [log["created_at"] for log in emulator.cloudflare_logs()]

    def found(params):
        return {log["id"] for log in cloudflare_api.get(logs, params=params).json()["result"]}

    assert found({"start_date": times[1]}) == set(ids[1:])
    assert found({"end_date": times[1].removesuffix("Z")}) == set(ids[:2])
    assert found(filters(("created_at", "gt", times[1]))) == {ids[2]}
    assert found(filters(("created_at", "eq", times[1]))) == {ids[1]}
    assert found(filters(("id", "eq", ids[0], ids[2]))) == {ids[0], ids[2]}


@pytest.mark.parametrize(
    "params",
    [
        {"per_page": "51"},
        {"per_page": "0"},
        {"page": "0"},
        {"page": "one"},
        {"page": "9" * 5000},
        {"order_by": "id"},
        {"order_by_direction": "up"},
        {"start_date": "yesterday"},
        filters(("nothing", "eq", "1")),
        filters(("id", "is", "1")),
        filters(("feedback", "eq", "good")),
        filters(("cached", "eq", "maybe")),
        filters(("created_at", "gt", "now")),
        filters(("id", "eq")),
        filters(("id", "eq", "1"), ("model", "eq", "2", "3")),
    ],
)
def test_a_query_that_is_wrong_is_400(cloudflare_api, logs, params):
    answer = cloudflare_api.get(logs, params=params)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["message"]


def test_the_quota_blocks_for_a_whole_window(http, clock):
    with Emulator(rate_limit=3, rate_window=60, clock=clock) as emulator:
        variables = emulator.environ()
        url = f"{variables['CLOUDFLARE_BASE_URL']}/user/tokens/verify"

        def ask(token=variables["CLOUDFLARE_API_TOKEN"]):
            return http.get(url, headers={"authorization": f"Bearer {token}"})

        assert ask("wrong").headers["ratelimit"] == '"default";r=3;t=0'
        first = ask()
        assert first.headers["ratelimit"] == '"default";r=2;t=60'
        assert first.headers["ratelimit-policy"] == '"default";q=3;w=60'
        clock.now += 50
        assert ask().headers["ratelimit"] == '"default";r=1;t=10'
        assert ask().headers["ratelimit"] == '"default";r=0;t=10'
        blocked = ask()
        assert (blocked.status_code, blocked.headers["retry-after"]) == (429, "60")
        assert blocked.json()["success"] is False
        clock.now += 59.5
        assert ask().headers["retry-after"] == "1"
        clock.now += 0.5
        assert ask().headers["ratelimit"] == '"default";r=2;t=60'


def test_the_gateway_itself_is_outside_the_quota(http):
    with Emulator(rate_limit=1) as emulator:
        url = f"{emulator.cloudflare_openai_url}/chat/completions"
        answers = [http.post(url, json=CHAT, headers={"authorization": "Bearer k"}) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {200}
    assert "ratelimit" not in answers[0].headers
