"""The page for people: what it is told, and that looking changes nothing."""

import json

import pytest

from thumbprint.emulator._page.entries import MOST, clipped

QUESTION = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where is Ulm?"}]


def entries(http, emulator):
    answer = http.get(f"{emulator.url}/emulator/entries")
    answer.raise_for_status()
    return answer.json()


def ask(http, base_url, emulator, path="chat/completions", **fields):
    headers = {
        "authorization": f"Bearer {emulator.environ()['BRAINTRUST_API_KEY']}",
        "x-bt-parent": "project_name:emulator",
    }
    body = {"model": "gpt-5", "messages": QUESTION} | fields
    return http.post(f"{base_url}/{path}", json=body, headers=headers | fields.pop("extra_headers", {}))


def test_the_page_is_html_that_may_load_nothing(http, emulator):
    page = http.get(emulator.url)
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; connect-src 'self'; ")
    assert "src=" not in page.text


def test_an_emulator_without_calls_has_no_entries(http, emulator):
    assert entries(http, emulator) == {"total": 0, "entries": []}


def test_the_root_answers_nothing_but_get(http, emulator):
    assert http.post(emulator.url).status_code == 404


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_through_both_gateways_shows_as_two_entries_with_what_was_said(http, emulator, stream):
    ask(http, emulator.chained_url, emulator, stream=stream)
    shown = entries(http, emulator)["entries"]
    assert {entry["service"] for entry in shown} == {"Braintrust", "Cloudflare"}
    for entry in shown:
        assert entry["asked"] == "Where is Ulm?"
        assert entry["answered"] == "You said: Where is Ulm?"
        assert (entry["place"], entry["model"], entry["error"], entry["note"]) == ("emulator", "gpt-5", "", "")
        assert (entry["thumb"], entry["facts"]) == (None, [])


def test_a_failed_call_shows_its_error(http, emulator):
    ask(http, emulator.chained_url, emulator, model="error-500")
    for entry in entries(http, emulator)["entries"]:
        assert "answers 500 as asked" in entry["error"]
        assert entry["answered"] == ""


def test_an_answer_from_the_cache_says_so(http, emulator):
    for _ in range(2):
        http.post(
            f"{emulator.cloudflare_openai_url}/chat/completions",
            json={"model": "gpt-5", "messages": QUESTION},
            headers={"authorization": "Bearer any", "cf-aig-cache-ttl": "60"},
        )
    assert sorted(entry["note"] for entry in entries(http, emulator)["entries"]) == ["", "from the cache"]


@pytest.mark.parametrize(("feedback", "thumb"), [(1, "up"), (-1, "down"), (0, None)])
def test_a_log_shows_its_feedback(http, emulator, cloudflare_api, feedback, thumb):
    answer = ask(http, emulator.cloudflare_openai_url, emulator)
    account, gateway = emulator.environ()["CLOUDFLARE_ACCOUNT_ID"], emulator.environ()["CLOUDFLARE_GATEWAY_ID"]
    cloudflare_api.patch(
        f"accounts/{account}/ai-gateway/gateways/{gateway}/logs/{answer.headers['cf-aig-log-id']}",
        json={"feedback": feedback, "score": 80, "metadata": {"comment": "<b>", "empty": ""}},
    ).raise_for_status()
    [entry] = entries(http, emulator)["entries"]
    assert entry["thumb"] == thumb
    assert entry["facts"] == [["score", "80"], ["comment", "<b>"]]


@pytest.mark.parametrize(("score", "thumb"), [(1, "up"), (0, "down"), (None, None)])
def test_a_row_shows_its_feedback_and_whether_it_is_a_stray(http, emulator, braintrust_api, score, thumb):
    known = ask(http, emulator.braintrust_gateway_url, emulator).headers["x-bt-span-id"]
    project = emulator.braintrust_rows()[0]["project_id"]
    said = {
        "scores": {"thumbs": score, "score": 0.4},
        "comment": "No.",
        "tags": ["a", "b"],
        "metadata": {"user_id": "u"},
    }
    feedback = [{"id": known, **said}, {"id": "nobody"}]
    braintrust_api.post(f"v1/project_logs/{project}/feedback", json={"feedback": feedback}).raise_for_status()
    by_id = {entry["id"]: entry for entry in entries(http, emulator)["entries"]}
    assert by_id[known]["thumb"] == thumb
    assert dict(by_id[known]["facts"]) == {"score": "0.4", "comment": "No.", "tags": "a\nb", "user_id": "u"}
    assert by_id["nobody"]["note"].startswith("stray")


def test_the_newest_500_are_shown_the_newest_first(http, emulator, clock):
    for number in range(MOST + 1):
        clock.now += 1
        http.post(
            f"{emulator.cloudflare_openai_url}/chat/completions",
            json={"model": "gpt-5", "messages": [{"role": "user", "content": f"question {number}"}]},
            headers={"authorization": "Bearer any"},
        )
    shown = entries(http, emulator)
    assert shown["total"] == MOST + 1
    assert [entry["asked"] for entry in shown["entries"]] == [f"question {number}" for number in range(MOST, 0, -1)]


def test_looking_meets_no_fault_and_is_no_request(http, emulator):
    emulator.fail("/", status=500)
    assert http.get(emulator.url).status_code == 200
    assert entries(http, emulator)["total"] == 0
    assert emulator.requests() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("as it is", "as it is"),
        (0.5, "0.5"),
        ([], ""),
        ([1, 2], "[1, 2]"),
        ({"a": "ü"}, '{"a": "ü"}'),
        ({"message": {"role": "assistant", "content": "Hello."}}, "Hello."),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}], "a\nb"),
        ("x" * 2001, "x" * 1999 + "…"),
    ],
)
def test_of_any_json_the_text_is_shown(value, text):
    assert clipped(json.loads(json.dumps(value))) == text
