"""Braintrust's gateway, its older proxy, and the chain with Cloudflare's gateway behind."""

import base64
import json
import uuid
from pathlib import Path

import openai
import pytest

from thumbprint.emulator._braintrust.parents import ParentError, make_slug, parse_parent

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
PROJECT = "11111111-2222-4333-8444-555555555555"
EXPERIMENT = "99999999-2222-4333-8444-555555555555"
BY_NAME = {"x-bt-parent": "project_name:emulator"}
GATEWAY, PROXY, CHAIN = (
    "/braintrust/chat/completions",
    "/v1/proxy/chat/completions",
    "/braintrust/cloudflare/chat/completions",
)


def read_slug(slug):
    """Return a slug's type, its packed ids by number, and its JSON."""
    raw = base64.b64decode(slug, validate=True)
    ends = [3 + 17 * index for index in range(raw[2] + 1)]
    packed = {raw[start]: str(uuid.UUID(bytes=raw[start + 1 : start + 17])) for start in ends[:-1]}
    return raw[1], packed, json.loads(raw[ends[-1] :])


def test_without_a_parent_nothing_is_logged(emulator, braintrust_api):
    for path in (GATEWAY, PROXY):
        answer = braintrust_api.post(path, json=CHAT)
        assert answer.json()["choices"][0]["message"]["content"] == "You said: hello"
        assert not [name for name in answer.headers if name.startswith("x-bt-")]
    assert emulator.braintrust_rows() == []


@pytest.mark.parametrize(
    "path",
    [
        "/braintrust/chat/completions",
        "/braintrust/v1/chat/completions",
        "/v1/proxy/chat/completions",
        "/v1/proxy/v1/chat/completions",
    ],
)
def test_a_row_is_named_by_the_answer(emulator, braintrust_api, path):
    answer = braintrust_api.post(path, json=CHAT, headers=BY_NAME)
    [row] = emulator.braintrust_rows()
    assert row["id"] == answer.headers["x-bt-span-id"] != row["span_id"]
    assert (row["project_name"], row["span_id"]) == ("emulator", row["root_span_id"])
    assert (row["input"], row["output"]) == (CHAT["messages"], answer.json()["choices"])
    assert (row["metadata"], row["scores"], row["comments"]) == ({"model": "gpt-5"}, {}, [])
    assert (row["stray"], row["error"]) == (False, None)
    assert ("x-bt-span-export" in answer.headers) is path.startswith("/v1/proxy")


def test_the_base_urls_fit_the_openai_client(emulator):
    key = emulator.environ()["BRAINTRUST_API_KEY"]
    for url in (emulator.braintrust_gateway_url, emulator.braintrust_proxy_url, emulator.chained_url):
        with openai.OpenAI(base_url=url, api_key=key, default_headers=BY_NAME) as client:
            assert client.responses.create(model="gpt-5", input="hi").output_text == "You said: hi"
    assert [row["input"] for row in emulator.braintrust_rows()] == ["hi"] * 3


@pytest.mark.parametrize(
    ("parent", "kind", "place"),
    [
        (f"project_id:{PROJECT}", 2, ("project_id", PROJECT)),
        (f"project_id:{PROJECT.upper()}", 2, ("project_id", PROJECT)),
        (f"experiment_id:{EXPERIMENT}", 1, ("experiment_id", EXPERIMENT)),
        # The slug of an experiment, and of a span in a playground.
        ("AwEBAZmZmZkiIkMzhERVVVVVVVU=", 1, ("experiment_id", EXPERIMENT)),
        ("AwMBAREREREiIkMzhERVVVVVVVU=", 3, ("playground_id", PROJECT)),
    ],
)
def test_a_row_goes_to_its_parent(emulator, braintrust_api, parent, kind, place):
    answer = braintrust_api.post(PROXY, json=CHAT, headers={"x-bt-parent": parent})
    [row] = emulator.braintrust_rows()
    assert row[place[0]] == place[1]
    packed = {1: place[1], 2: row["id"], 3: row["span_id"], 4: row["root_span_id"]}
    assert read_slug(answer.headers["x-bt-span-export"]) == (kind, packed, {})


def test_a_project_by_name_is_made_and_stays_a_name_in_the_slug(emulator, braintrust_api):
    answers = [
        braintrust_api.post(PROXY, json=CHAT, headers={"x-bt-parent": "project_name:new: one"}) for _ in range(2)
    ]
    rows = emulator.braintrust_rows()
    [project] = braintrust_api.get("/v1/project", params={"project_name": "new: one"}).json()["objects"]
    assert [row["project_id"] for row in rows] == [project["id"]] * 2
    kind, packed, rest = read_slug(answers[0].headers["x-bt-span-export"])
    assert (kind, sorted(packed)) == (2, [2, 3, 4])
    assert rest == {"compute_object_metadata_args": {"project_name": "new: one"}}


def test_a_row_under_a_span_belongs_to_its_trace(emulator, braintrust_api):
    parent = braintrust_api.post(PROXY, json=CHAT, headers=BY_NAME).headers["x-bt-span-export"]
    braintrust_api.post(PROXY, json=CHAT, headers={"x-bt-parent": parent})
    first, second = emulator.braintrust_rows()
    assert second["root_span_id"] == first["root_span_id"]
    assert second["span_parents"] == [first["span_id"]]
    assert second["project_id"] == first["project_id"]


def slug(*parts):
    return base64.b64encode(b"".join(parts)).decode()


ID = uuid.UUID(PROJECT).bytes


@pytest.mark.parametrize(
    "parent",
    [
        "garbage",
        "project_id:garbage",
        f"project_id:{PROJECT.replace('-', '')}",
        f"playground_id:{PROJECT}",
        f"nothing:{PROJECT}",
        "project_name:",
        ":",
        slug(b"\x04\x02\x00", json.dumps({"object_id": PROJECT}).encode()),
        slug(b"\x02\x02\x01\x01", ID),
        slug(b"\x03\x09\x01\x01", ID),
        slug(b"\x03"),
        slug(b"\x03\x02\x01\x01", ID[:5]),
        slug(b"\x03\x02\x00"),
        slug(b"\x03\x02\x00[]"),
        slug(b"\x03\x02\x00{"),
        slug(b'\x03\x02\x00{"compute_object_metadata_args":[]}'),
        slug(b'\x03\x01\x00{"compute_object_metadata_args":{"project_name":"x"}}'),
    ],
)
def test_a_parent_that_is_wrong_is_400_without_ids(emulator, braintrust_api, parent):
    answer = braintrust_api.post(PROXY, json=CHAT, headers={"x-bt-parent": parent})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert not [name for name in answer.headers if name.startswith("x-bt-")]
    assert emulator.braintrust_rows() == []


def test_a_slug_may_hold_ids_that_are_no_uuids(braintrust_api):
    sent = slug(b"\x03\x02\x00", json.dumps({"object_id": "proj-x", "root_span_id": "root"}).encode())
    answer = braintrust_api.post(PROXY, json=CHAT, headers={"x-bt-parent": sent})
    kind, packed, rest = read_slug(answer.headers["x-bt-span-export"])
    assert (kind, sorted(packed)) == (2, [2, 3])
    assert rest == {"object_id": "proj-x", "root_span_id": "root"}


@pytest.mark.parametrize("path", [GATEWAY, PROXY, CHAIN])
@pytest.mark.parametrize("key", ["", "Bearer wrong"])
def test_a_bad_key_is_401_without_ids(emulator, braintrust_api, path, key):
    answer = braintrust_api.post(path, json=CHAT, headers={**BY_NAME, "authorization": key})
    assert answer.status_code == 401
    assert not [name for name in answer.headers if name.startswith(("x-bt-", "cf-aig-"))]
    assert emulator.braintrust_rows() == emulator.cloudflare_logs() == []


@pytest.mark.parametrize("status", [400, 401, 500])
def test_an_error_from_upstream_has_a_row(emulator, braintrust_api, status):
    body = {**CHAT, "model": f"error-{status}"}
    answer = braintrust_api.post(PROXY, json=body, headers=BY_NAME)
    [row] = emulator.braintrust_rows()
    assert (answer.status_code, answer.headers["x-bt-span-id"]) == (status, row["id"])
    assert answer.headers["x-bt-span-export"]
    assert str(status) in row["error"]
    assert row["output"] is None


@pytest.mark.parametrize(
    ("path", "body", "output"),
    [
        ("chat/completions", CHAT, "You said: hello"),
        ("responses", {"model": "m", "input": "hello"}, "You said: hello"),
        ("completions", {"model": "m", "prompt": "hello"}, "You said: hello"),
        ("messages", CHAT, "You said: hello"),
    ],
)
def test_a_stream_has_ids_and_its_row_the_whole_text(emulator, braintrust_api, path, body, output):
    answer = braintrust_api.post(f"/v1/proxy/{path}", json={**body, "stream": True}, headers=BY_NAME)
    [row] = emulator.braintrust_rows()
    assert answer.headers["x-bt-span-id"] == row["id"]
    assert row["output"] == output


@pytest.mark.parametrize(
    ("call", "given", "output"),
    [
        (("POST", "audio/speech", b'{"input":"hi"}'), "hi", None),
        (("GET", "models/gpt-5", b""), None, {"object": "model"}),
        (("POST", "chat/completions", b"[1]"), None, None),
    ],
)
def test_a_row_tells_what_it_can_of_any_call(emulator, braintrust_api, call, given, output):
    method, path, body = call
    braintrust_api.request(method, f"/braintrust/{path}", content=body, headers=BY_NAME)
    [row] = emulator.braintrust_rows()
    assert row["input"] == given
    assert row["output"] == output or output.items() <= row["output"].items()


def test_the_chain_gives_the_ids_of_both(emulator, braintrust_api):
    answer = braintrust_api.post(CHAIN, json=CHAT, headers=BY_NAME)
    assert emulator.braintrust_rows()[0]["id"] == answer.headers["x-bt-span-id"]
    [log] = emulator.cloudflare_logs()
    assert (log["id"], log["gateway_id"]) == (answer.headers["cf-aig-log-id"], "emulator")
    assert "x-bt-span-export" not in answer.headers


def test_a_hit_has_a_new_row_and_the_old_log(emulator, braintrust_api):
    headers = {**BY_NAME, "x-bt-use-cache": "always"}
    answers = [braintrust_api.post(CHAIN, json=CHAT, headers=headers) for _ in range(2)]
    assert [answer.headers["x-bt-cached"] for answer in answers] == ["MISS", "HIT"]
    assert answers[0].content == answers[1].content
    assert len({answer.headers["x-bt-span-id"] for answer in answers}) == 2
    assert len({answer.headers["cf-aig-log-id"] for answer in answers}) == 1
    assert len(emulator.cloudflare_logs()) == 1
    assert len(emulator.braintrust_rows()) == 2


def test_what_is_cached_is_the_same_call_that_went_well(braintrust_api):
    headers = {**BY_NAME, "x-bt-use-cache": "always"}
    bad = {**CHAT, "model": "error-400"}
    asked = [(GATEWAY, CHAT), (GATEWAY, {**CHAT, "n": 2}), (CHAIN, CHAT), (GATEWAY, bad), (GATEWAY, bad)]
    for path, body in asked:
        assert braintrust_api.post(path, json=body, headers=headers).headers["x-bt-cached"] == "MISS"
    assert "x-bt-cached" not in braintrust_api.post(GATEWAY, json=CHAT, headers=BY_NAME).headers


VECTORS = Path(__file__).parent.parent / "backends" / "braintrust_span_exports.json"


def test_slugs_made_by_the_official_sdks_are_read_and_written_alike():
    samples = json.loads(VECTORS.read_text())
    for sample in (sample for sample in samples if sample["version"] == 4):
        with pytest.raises(ParentError, match="version 4"):
            parse_parent(sample["slug"])
    for sample in (sample for sample in samples if sample["version"] == 3):
        parent = parse_parent(sample["slug"])
        assert (parent.kind, parent.object_id) == (sample["object_type"], sample["object_id"])
        assert parent.span_id == sample["span_id"]
        if sample["source"].startswith("braintrust-proxy"):
            ids = {name: sample[name] for name in ("row_id", "span_id", "root_span_id")}
            assert make_slug(parent, **ids) == sample["slug"]
