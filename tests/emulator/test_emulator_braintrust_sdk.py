"""What Braintrust's own SDK asks for: to log in, to register, and to write its rows."""

from __future__ import annotations

import json
import uuid

import braintrust
import pytest
from braintrust import logger as braintrust_logger

PROJECT = "11111111-2222-4333-8444-555555555555"
HOME = {"project_id": PROJECT, "log_id": "g"}
ROW = {"id": "r", **HOME, "span_id": "s", "root_span_id": "t", "span_parents": ["t"]}


def write(api, *rows, status=200):
    answer = api.post("/logs3", json={"rows": list(rows), "api_version": 2})
    assert answer.status_code == status, answer.text
    return answer.json()


def feed(api, row_id, **item):
    answer = api.post(f"/v1/project_logs/{PROJECT}/feedback", json={"feedback": [{"id": row_id, **item}]})
    assert answer.status_code == 200


def test_a_login_leads_back_to_the_emulator(emulator, braintrust_api):
    [organization] = braintrust_api.post("/api/apikey/login").json()["org_info"]
    assert (organization["api_url"], organization["proxy_url"]) == (emulator.url, emulator.url)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/apikey/login"),
        ("POST", "/api/project/register"),
        ("POST", "/api/experiment/register"),
        ("POST", "/v1/experiment"),
        ("POST", "/logs3"),
        ("POST", "/logs3/overflow"),
    ],
)
def test_a_bad_key_is_401(braintrust_api, method, path):
    assert braintrust_api.request(method, path, json={}, headers={"authorization": "Bearer x"}).status_code == 401


def test_the_version_says_how_large_a_body_may_be_and_wants_no_key(http, emulator):
    assert http.get(f"{emulator.url}/version").json()["logs3_payload_max_bytes"] == 6_000_000


def test_older_sdks_register_projects_and_experiments_with_the_app(braintrust_api):
    project = braintrust_api.post("/api/project/register", json={"project_name": "mine"}).json()["project"]
    assert project == braintrust_api.post("/v1/project", json={"name": "mine"}).json()
    asked = {"project_id": project["id"], "experiment_name": "x"}
    made = braintrust_api.post("/api/experiment/register", json=asked).json()
    assert (made["project"], made["experiment"]["name"]) == (project, "x")
    again = {"project_name": "mine", "experiment_name": "x", "update": True}
    assert braintrust_api.post("/api/experiment/register", json=again).json() == made


def test_an_experiment_is_made_anew_where_that_is_asked_for(braintrust_api):
    project = braintrust_api.post("/v1/project", json={"name": "mine"}).json()
    asked = {"project_id": project["id"], "name": "x"}
    first, same, other = (
        braintrust_api.post("/v1/experiment", json=asked | {"ensure_new": new}).json() for new in (True, False, True)
    )
    assert first == same
    assert first["name"] == "x"
    assert other["name"].startswith("x-")
    elsewhere = braintrust_api.post("/v1/project", json={"name": "other"}).json()
    assert braintrust_api.post("/v1/experiment", json=asked | {"project_id": elsewhere["id"]}).json()["name"] == "x"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/project/register", {}, 400),
        ("/api/project/register", {"project_name": ""}, 400),
        ("/api/project/register", {"project_id": PROJECT}, 400),
        ("/api/experiment/register", {"project_id": "none"}, 400),
        ("/api/dataset/register", {"project_name": "mine"}, 404),
        ("/v1/experiment", {"project_id": PROJECT}, 400),
        ("/v1/experiment", {"name": "x"}, 400),
        ("/logs3/overflow", {"content_type": "application/json"}, 400),
        ("/logs3/overflow", {"rows": [], "content_type": "text/plain"}, 400),
    ],
)
def test_what_cannot_be_registered_is_refused(braintrust_api, path, body, status):
    answer = braintrust_api.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_written_row_is_the_span_that_it_says(emulator, braintrust_api):
    assert write(braintrust_api, {**ROW, "input": 1, "_is_merge": False}) == {"ids": ["r"]}
    write(braintrust_api, {"id": "r", **HOME, "output": 2, "span_id": "other", "_is_merge": True})
    [row] = emulator.braintrust_rows()
    assert (row["input"], row["output"], row["project_id"]) == (1, 2, PROJECT)
    assert (row["span_id"], row["root_span_id"], row["span_parents"], row["stray"]) == ("s", "t", ["t"], False)
    assert braintrust_api.get(f"/v1/project_logs/{PROJECT}/fetch").json()["events"][0]["id"] == "r"


def test_a_row_that_replaces_a_stray_one_takes_its_scores_away_and_one_that_merges_does_not(emulator, braintrust_api):
    feed(braintrust_api, "r", scores={"thumbs": 1})
    write(braintrust_api, {**ROW, "output": 1, "_is_merge": True})
    [row] = emulator.braintrust_rows()
    assert (row["scores"], row["output"], row["span_id"], row["stray"]) == ({"thumbs": 1}, 1, "s", False)
    write(braintrust_api, {**ROW, "output": 2, "span_id": "new", "_is_merge": False})
    [row] = emulator.braintrust_rows()
    assert (row["scores"], row["output"], row["span_id"]) == ({}, 2, "new")


def test_rows_of_experiments_and_playgrounds_are_told_apart(emulator, braintrust_api):
    write(
        braintrust_api,
        {"id": "e", "experiment_id": PROJECT},
        {"id": "p", "prompt_session_id": PROJECT, "log_id": "x"},
    )
    first, second = emulator.braintrust_rows()
    assert (first["experiment_id"], second["playground_id"]) == (PROJECT, PROJECT)


@pytest.mark.parametrize(
    "bad",
    [
        {**HOME},
        {"id": "r"},
        {"id": "r", "project_id": PROJECT},
        {"id": "r", "project_id": "none", "log_id": "g"},
        {"id": "r", "dataset_id": PROJECT},
        {"id": "r", **HOME, "_object_delete": True},
        {"id": "r", **HOME, "scores": {"a": 2}},
        {"id": "r", **HOME, "comment": {"text": "x"}, "_audit_source": "external", "_audit_metadata": None},
        {"id": "r", **HOME, "comment": 5, "origin": {"id": "r"}, "_audit_source": "external"},
        {"id": "r", **HOME, "_audit_source": "me"},
        "row",
    ],
)
def test_one_bad_row_refuses_all_of_them(emulator, braintrust_api, bad):
    assert write(braintrust_api, {**ROW, "id": "good"}, bad, status=400)["error"]["message"]
    assert emulator.braintrust_rows() == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"rows": []}',
        '{"rows": {}, "api_version": 2}',
        '{"rows": {"type": "logs3_overflow", "key": "none"}, "api_version": 2}',
    ],
)
def test_a_body_without_rows_is_400(braintrust_api, body):
    assert braintrust_api.post("/logs3", content=body).status_code == 400


def test_what_is_too_large_is_uploaded_first(emulator, braintrust_api):
    assert write(braintrust_api, {**ROW, "input": "x" * 6_000_000}, status=413)
    offered = braintrust_api.post("/logs3/overflow", json={"rows": [{}], "content_type": "application/json"}).json()
    named = {"rows": {"type": "logs3_overflow", "key": offered["key"]}, "api_version": 2}
    assert braintrust_api.put(f"/logs3/overflow/{uuid.uuid4()}").status_code == 404
    for content in (json.dumps({"rows": [ROW], "api_version": 2}), "[]"):
        uploaded = braintrust_api.put(offered["signedUrl"], content=content, headers={"authorization": ""})
        assert uploaded.status_code == 200
        assert braintrust_api.post("/logs3", json=named).status_code == (200 if content != "[]" else 400)
        offered = braintrust_api.post("/logs3/overflow", json={"rows": [], "content_type": "application/json"}).json()
        named["rows"]["key"] = offered["key"]
    assert braintrust_api.post("/logs3", json=named).status_code == 400
    assert [row["id"] for row in emulator.braintrust_rows()] == ["r"]


@pytest.fixture
def logger(emulator, monkeypatch):
    """Return a logger of the real SDK, logged in to the emulator when it first writes."""
    for name, value in emulator.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(braintrust_logger, "_state", braintrust_logger.BraintrustState())
    return braintrust.init_logger(project="mine")


def test_the_real_sdk_writes_its_spans_and_its_feedback(emulator, logger):
    with logger.start_span(name="answer", input="q") as span:
        span.start_span(name="inner", output=[1]).end()
        span.log(output="a", scores={"mine": 0.5}, tags=["t"])
    span.log_feedback(scores={"z": 1}, comment="good", metadata={"user_id": "u"}, source="app")
    braintrust.flush()
    outer, inner = emulator.braintrust_rows()
    assert (outer["id"], outer["project_name"]) == (span.id, "mine")
    assert (outer["input"], outer["output"], outer["scores"], outer["tags"]) == ("q", "a", {"mine": 0.5, "z": 1}, ["t"])
    assert (outer["comments"][0]["text"], outer["audit"][0]["metadata"]) == ("good", {"user_id": "u"})
    assert (inner["span_parents"], inner["root_span_id"]) == ([outer["span_id"]], outer["root_span_id"])
    assert [outer["stray"], inner["stray"]] == [False, False]


def test_the_real_sdk_writes_what_is_too_large_for_one_body(emulator, logger):
    logger.log(input="x" * 6_500_000, output="a")
    braintrust.flush()
    assert [(len(row["input"]), row["output"]) for row in emulator.braintrust_rows()] == [(6_500_000, "a")]


def test_the_real_sdk_writes_experiments(emulator, logger):
    experiment = braintrust.init(project="mine", experiment="x", set_current=False)
    experiment.log(input=1, output=2, scores={"s": 1})
    experiment.flush()
    [row] = emulator.braintrust_rows()
    assert (row["experiment_id"], row["output"], row["scores"]) == (experiment.id, 2, {"s": 1})


def test_the_real_sdk_hears_that_its_key_is_wrong(emulator, logger):
    with pytest.raises(ValueError, match="Invalid API key"):
        braintrust.login(api_key="wrong-key-of-nobody", force_login=True)
