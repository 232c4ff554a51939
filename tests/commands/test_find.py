"""Log entries from a shell, by what is known of their calls."""

from __future__ import annotations

import json
import time

import pytest
import sdk

import thumbprint
from thumbprint import cli


@pytest.fixture
def calls(emulator):
    """Make four calls: with metadata of its own, inside a scope, of another model, and one that fails."""
    tagging = thumbprint.Thumbprint(
        backends=[thumbprint.Cloudflare(tag_requests=True, gateway_url=emulator.cloudflare_openai_url)]
    )
    client = tagging.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    create = client.chat.completions.create
    create(
        model="gpt-5",
        messages=sdk.asked("1"),
        extra_headers={"cf-aig-metadata": '{"user": "jane", "n": 3, "on": true}'},
    )
    with tagging.scope(id="request-1"):
        create(model="gpt-5", messages=sdk.asked("2"))
    create(model="gpt-5-mini", messages=sdk.asked("3"), extra_headers={"cf-aig-metadata": '{"other": "jane"}'})
    emulator.fail("/v1", status=500)
    with pytest.raises(Exception, match="500"):
        create(model="gpt-5-mini", messages=sdk.asked("4"))
    tagging.close()
    return [log["id"] for log in emulator.cloudflare_logs()]


def found(capsys, *arguments):
    status = cli.main(["find", "--json", *arguments])
    return status, [entry["id"] for entry in json.loads(capsys.readouterr().out)["found"]]


def test_find_shows_the_latest_the_earliest_first_and_what_it_shows_can_be_voted_on(emulator, calls, capsys):
    assert cli.main(["find"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == calls
    assert lines[-1] == f"{len(calls)} log entries"
    assert "chat openai gpt-5 " in lines[0]
    assert '{"user": "jane", "n": 3, "on": true}' in lines[0]

    assert cli.main(["send", "--backend", "cloudflare", "--id", calls[0], "--thumbs", "up"]) == 0
    assert emulator.cloudflare_logs()[0]["feedback"] == 1


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--scope", "request-1"], [1]),
        (["--scope", "request-2"], []),
        (["--metadata", "user=jane"], [0]),  # not what has that value under another name
        (["--metadata", "user=jane", "--metadata", "n=3"], [0]),
        (["--metadata", "n=4"], []),
        (["--metadata", "on=true"], [0]),
        (["--model", "gpt-5"], [0, 1]),
        (["--model", "gpt-5-mini", "--provider", "openai", "--limit", "1"], [-1]),
        (["--since", "1h"], None),
        (["--since", "2001-01-01", "--until", "2001-01-02T03:04:05+01:00"], []),
        (["--until", "1d"], []),
    ],
)
def test_find_finds_what_meets_all_that_is_said(calls, capsys, arguments, numbers):
    expected = calls if numbers is None else [calls[number] for number in numbers]
    assert found(capsys, *arguments) == (0 if expected else 1, expected)


def test_find_tells_all_that_is_known_as_json(calls, capsys):
    before = time.time()
    assert cli.main(["find", "--json", "--scope", "request-1"]) == 0
    [entry] = json.loads(capsys.readouterr().out)["found"]
    assert before - 60 < entry["captured_at"] <= before
    assert (entry["backend"], entry["operation"], entry["model"], entry["provider"], entry["success"]) == (
        "cloudflare",
        "chat",
        "gpt-5",
        "openai",
        True,
    )
    assert entry["metadata"] == {"thumbprint.scope_id": "request-1"}
    assert thumbprint.LogRef.from_dict(entry["ref"]).id == calls[1]


def test_find_marks_what_failed_and_says_when_there_is_nothing(emulator, capsys):
    assert cli.main(["find"]) == 1
    assert capsys.readouterr().out == "no log entry is known that meets this\n"
    client = sdk.openai_client(emulator.cloudflare_openai_url)
    with pytest.raises(Exception, match="400"):
        client.chat.completions.create(model="gpt-5", messages=[], extra_body={"n": -1})
    assert cli.main(["find"]) == 0
    assert "(failed)" in capsys.readouterr().out


def test_find_reads_as_many_pages_as_it_takes(emulator, capsys):
    client = sdk.openai_client(emulator.cloudflare_openai_url)
    for number in range(60):
        client.embeddings.create(model="e", input=str(number))
    status, ids = found(capsys, "--limit", "55")
    assert (status, ids) == (0, [log["id"] for log in emulator.cloudflare_logs()][-55:])
    assert found(capsys, "--limit", "100")[1] == [log["id"] for log in emulator.cloudflare_logs()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "yesterday"], "is no time: give 2026-"),
        (["--until", "99999-01-01"], "is no time"),
        (["--metadata", "user"], "is not NAME=VALUE"),
        (["--limit", "0"], "is no whole number"),
    ],
)
def test_find_refuses_what_cannot_be_read(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["find", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["braintrust", "nobody"])
def test_find_says_who_can_be_asked(emulator, backend, capsys):
    assert cli.main(["find", "--backend", backend]) == 2
    assert "cannot be asked for log entries: give --backend cloudflare" in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID", "CLOUDFLARE_GATEWAY_ID"])
def test_find_names_the_setting_that_is_missing(emulator, variable, monkeypatch, capsys):
    monkeypatch.delenv(variable)
    assert cli.main(["find"]) == 2
    assert variable in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 500}, "its logs cannot be read: HTTP 500"),
        ({"status": 200, "body": "<html>"}, "its logs cannot be read: HTTP 200"),
        ({"status": 404}, "its logs cannot be read: HTTP 404"),
        ({"drop": True}, "it cannot be reached"),
    ],
)
def test_find_tells_why_there_is_no_answer(emulator, fault, message, capsys):
    emulator.fail("/client/v4", **fault)
    assert cli.main(["find"]) == 1
    assert message in capsys.readouterr().err
