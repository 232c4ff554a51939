"""Braintrust's REST API: projects, rows and feedback."""

import uuid

import pytest

PROJECT = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(params=["project_logs", "experiment"])
def shelf(request) -> str:
    """The path of a project's or an experiment's rows."""
    return f"/v1/{request.param}/{PROJECT}"


def insert(api, shelf, *events):
    answer = api.post(f"{shelf}/insert", json={"events": list(events)})
    assert answer.status_code == 200, answer.text
    return answer.json()["row_ids"]


def feed(api, shelf, *items):
    answer = api.post(f"{shelf}/feedback", json={"feedback": list(items)})
    assert (answer.status_code, answer.text) == (200, '{"status":"success"}'), answer.text


def test_projects_are_made_and_found(braintrust_api):
    made = braintrust_api.post("/v1/project", json={"name": "mine"}).json()
    assert braintrust_api.post("/v1/project", json={"name": "mine"}).json() == made
    assert braintrust_api.get("/v1/project", params={"project_name": "mine"}).json() == {"objects": [made]}
    assert braintrust_api.get("/v1/project", params={"project_name": "other"}).json() == {"objects": []}
    assert braintrust_api.get(f"/v1/project/{made['id']}").json() == made
    assert len(braintrust_api.get("/v1/project").json()["objects"]) == 2


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/v1/project/{PROJECT}", 404),
        ("GET", "/v1/project/none", 400),
        ("POST", "/v1/project", 400),
        ("DELETE", "/v1/project", 404),
        ("POST", "/v1/project_logs/none/feedback", 400),
        ("POST", f"/v1/project_logs/{PROJECT.replace('-', '')}/feedback", 400),
        ("POST", f"/v1/project_logs/{PROJECT}/nothing", 404),
        ("GET", f"/v1/project_logs/{PROJECT}/feedback", 404),
        ("GET", f"/v1/experiment/{PROJECT}", 404),
    ],
)
def test_what_is_not_there_or_not_right_is_refused(braintrust_api, method, path, status):
    answer = braintrust_api.request(method, path, json={"name": "", "feedback": []})
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("header", ["", "Bearer wrong", "Basic x"])
def test_a_bad_key_is_401(braintrust_api, shelf, header):
    answer = braintrust_api.post(f"{shelf}/feedback", json={}, headers={"authorization": header})
    assert answer.status_code == 401


def test_rows_are_inserted_in_order_with_chosen_or_fresh_ids(emulator, braintrust_api, shelf):
    ids = insert(braintrust_api, shelf, {"id": "any/id", "input": 1}, {"output": [2], "metrics": None})
    first, second = emulator.braintrust_rows()
    assert [first["id"], second["id"]] == ids
    assert ids[0] == "any/id"
    assert uuid.UUID(ids[1])
    assert (first["input"], second["output"], second["metrics"]) == (1, [2], None)
    assert first[shelf.split("/")[2].replace("_logs", "") + "_id"] == PROJECT
    assert "project_name" not in first


def test_a_row_is_replaced_or_merged_with(emulator, braintrust_api, shelf):
    one = {"id": "r", "input": 1, "metadata": {"a": {"b": 1}}, "tags": ["x"], "span_id": "s"}
    insert(braintrust_api, shelf, {**one, "root_span_id": "t", "span_parents": ["t"]})
    insert(braintrust_api, shelf, {"id": "r", "metadata": {"a": {"c": 2}}, "tags": ["y", "x"], "_is_merge": True})
    [row] = emulator.braintrust_rows()
    assert (row["input"], row["metadata"], row["tags"]) == (1, {"a": {"b": 1, "c": 2}}, ["x", "y"])
    assert (row["span_id"], row["root_span_id"], row["span_parents"]) == ("s", "t", ["t"])
    insert(braintrust_api, shelf, {"id": "r", "output": 2})
    [row] = emulator.braintrust_rows()
    assert (row["input"], row["output"], row["metadata"]) == (None, 2, {})


def test_feedback_reaches_its_row(emulator, braintrust_api, shelf):
    insert(braintrust_api, shelf, {"id": "r", "metadata": {"mine": 1}, "scores": {"old": 0.5}})
    item = {"scores": {"thumbs": 1, "x": 0.25}, "expected": {"a": 1}, "tags": ["t"], "source": "app"}
    feed(braintrust_api, shelf, {"id": "r", **item, "comment": "good", "metadata": {"user_id": "u"}})
    [row] = emulator.braintrust_rows()
    assert row["scores"] == {"old": 0.5, "thumbs": 1, "x": 0.25}
    assert (row["expected"], row["tags"], row["metadata"]) == ({"a": 1}, ["t"], {"mine": 1})
    [comment] = row["comments"]
    assert (comment["text"], comment["source"], comment["metadata"]) == ("good", "app", {"user_id": "u"})
    assert comment["created"].endswith("Z")
    assert row["stray"] is False
    assert row["audit"][0]["scores"] == {"thumbs": 1, "x": 0.25}


def test_feedback_merges_and_comments_add_up(emulator, braintrust_api, shelf):
    insert(braintrust_api, shelf, {"id": "r"})
    feed(braintrust_api, shelf, {"id": "r", "scores": {"a": 1, "b": 0}, "expected": {"x": 1}, "tags": ["p"]})
    feed(
        braintrust_api,
        shelf,
        {"id": "r", "scores": {"a": None}, "expected": {"y": 2}, "tags": ["q", "p"], "comment": "again"},
        {"id": "r", "comment": "again", "scores": None, "tags": None, "source": None},
    )
    [row] = emulator.braintrust_rows()
    assert (row["scores"], row["expected"], row["tags"]) == ({"a": None, "b": 0}, {"x": 1, "y": 2}, ["p", "q"])
    assert [(comment["text"], comment["source"]) for comment in row["comments"]] == [("again", "external")] * 2
    feed(braintrust_api, shelf, {"id": "r", "expected": None})
    assert emulator.braintrust_rows()[0]["expected"] is None


def test_feedback_for_an_unknown_row_makes_a_stray_row(emulator, braintrust_api, shelf):
    insert(braintrust_api, shelf, {"id": "r"})
    feed(braintrust_api, shelf, {"id": "wrong", "scores": {"a": 1}})
    assert [(row["id"], row["stray"]) for row in emulator.braintrust_rows()] == [("r", False), ("wrong", True)]
    feed(braintrust_api, f"/v1/project_logs/{uuid.uuid4()}", {"id": "r", "comment": "elsewhere"})
    assert emulator.braintrust_rows()[2]["stray"] is True
    insert(braintrust_api, shelf, {"id": "wrong", "input": 1})
    assert emulator.braintrust_rows()[1]["stray"] is False


GOOD = {"id": "good", "scores": {"a": 1}}


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"id": ""},
        {"id": 1},
        {"id": None},
        {"id": "r", "scores": {"a": 1.01}},
        {"id": "r", "scores": {"a": -0.1}},
        {"id": "r", "scores": {"a": True}},
        {"id": "r", "scores": {"a": "1"}},
        {"id": "r", "scores": [1]},
        {"id": "r", "source": "me"},
        {"id": "r", "source": ["app"]},
        {"id": "r", "tags": "t"},
        {"id": "r", "tags": [1]},
        {"id": "r", "comment": 5},
        {"id": "r", "metadata": "m"},
        "r",
        None,
    ],
)
def test_one_bad_item_refuses_the_whole_batch(emulator, braintrust_api, shelf, bad):
    answer = braintrust_api.post(f"{shelf}/feedback", json={"feedback": [GOOD, bad]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert emulator.braintrust_rows() == []


@pytest.mark.parametrize(
    "bad",
    [
        {"id": ""},
        {"scores": {"a": 2}},
        {"metadata": []},
        {"metrics": 1},
        {"span_attributes": "x"},
        {"tags": [None]},
        {"span_id": 1},
        {"root_span_id": {}},
        {"span_parents": "s"},
        "event",
    ],
)
def test_one_bad_event_refuses_the_whole_batch(emulator, braintrust_api, shelf, bad):
    answer = braintrust_api.post(f"{shelf}/insert", json={"events": [{"input": 1}, bad]})
    assert answer.status_code == 400
    assert emulator.braintrust_rows() == []


@pytest.mark.parametrize("body", ["", "{", "[]", "{}", '{"feedback": {}}', '{"feedback": [{"id": "r", "x": NaN}]}'])
def test_a_body_without_a_batch_is_400(braintrust_api, shelf, body):
    assert braintrust_api.post(f"{shelf}/feedback", content=body).status_code == 400


def test_rows_are_fetched_in_pages_with_the_newest_first(braintrust_api, shelf):
    ids = insert(braintrust_api, shelf, *({"input": number} for number in range(5)))
    insert(braintrust_api, f"/v1/project_logs/{uuid.uuid4()}", {"input": "elsewhere"})
    first = braintrust_api.post(f"{shelf}/fetch", json={"limit": 2}).json()
    second = braintrust_api.get(f"{shelf}/fetch", params={"limit": 3, "cursor": first["cursor"]}).json()
    assert [row["id"] for row in first["events"] + second["events"]] == ids[::-1]
    assert second["cursor"] is None
    assert braintrust_api.post(f"{shelf}/fetch").json()["events"] == [*first["events"], *second["events"]]
    assert first["events"][0]["is_root"] is True


@pytest.mark.parametrize("asked", [{"limit": -1}, {"limit": True}, {"cursor": "x"}, {"limit": "9" * 99}])
def test_a_fetch_that_is_wrong_is_400(braintrust_api, shelf, asked):
    assert braintrust_api.post(f"{shelf}/fetch", json=asked).status_code == 400


def test_a_fetch_shows_scores_and_comments(braintrust_api, shelf):
    insert(braintrust_api, shelf, {"id": "r", "input": "q"})
    feed(braintrust_api, shelf, {"id": "r", "scores": {"thumbs": 0}, "comment": "no"})
    [row] = braintrust_api.get(f"{shelf}/fetch").json()["events"]
    assert row["scores"] == {"thumbs": 0}
    assert [comment["text"] for comment in row["comments"]] == ["no"]
    assert "stray" not in row
