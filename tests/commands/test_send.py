"""Feedback from a shell."""

from __future__ import annotations

import pytest

from thumbprint import cli


def test_send_delivers_by_log_id(emulator, log_id, capsys):
    arguments = ["--thumbs", "up", "--score", "0.5", "--scores", "tone=1", "--comment", "Spot on.", "--tag", "a"]
    arguments += ["--tag", "b", "--metadata", "page=/help", "--metadata", "n=3", "--user-id", "u", "--source", "api"]
    arguments += ["--expected", '{"a": 1}']
    assert cli.main(["send", "--backend", "cloudflare", "--id", log_id, *arguments]) == 0
    assert capsys.readouterr().out == f"delivered: cloudflare {log_id}\n"
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["score"]) == (1, 50)
    assert log["metadata"] == {
        "score.tone": 1.0,
        "comment": "Spot on.",
        "tags": "a,b",
        "page": "/help",
        "n": 3,
        "user_id": "u",
        "source": "api",
        "expected": '{"a": 1}',
    }


def test_send_takes_a_vote_back(emulator, log_id):
    for thumbs in ("up", "none"):
        assert cli.main(["send", "--backend", "cloudflare", "--id", log_id, "--thumbs", thumbs]) == 0
    assert emulator.cloudflare_logs()[0]["feedback"] == 0


def test_send_reaches_a_braintrust_row_by_its_project(emulator):
    place = ["--project-name", "emulator"]
    assert (
        cli.main(["send", "--backend", "braintrust", "--id", "row-1", *place, "--scores", "tone=none", "--score", "1"])
        == 0
    )
    [row] = emulator.braintrust_rows()
    assert (row["id"], row["scores"]) == ("row-1", {"tone": None, "score": 1.0})


def test_send_says_what_a_service_cannot_hold(emulator, log_id, capsys):
    entry = ["send", "--backend", "cloudflare", "--id", log_id]
    assert cli.main([*entry, "--thumbs", "up", "--metadata", "deep={}"]) == 0
    assert "cloudflare cannot hold: metadata.deep" in capsys.readouterr().err
    assert cli.main([*entry, "--metadata", "deep={}"]) == 1
    assert capsys.readouterr().out.startswith("dropped: ")


def test_send_fails_where_the_service_refuses(emulator, capsys, monkeypatch):
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "wrong")
    assert cli.main(["send", "--backend", "cloudflare", "--id", "01J", "--thumbs", "up"]) == 1
    assert capsys.readouterr().out.startswith("failed: cloudflare 01J: HTTP 40")


def test_send_gives_up_after_its_timeout(emulator, capsys):
    emulator.fail("/client/v4", status=503, times=None)
    assert cli.main(["send", "--backend", "cloudflare", "--id", "01J", "--thumbs", "up", "--timeout", "0.2"]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("not delivered within 0.2 s: cloudflare 01J: HTTP 503")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--thumbs", "sideways"], "thumbs='sideways'"),
        (["--thumbs", "0"], "thumbs='0'"),
        (["--score", "1.5"], "score=1.5"),
        (["--source", "nowhere"], "source='nowhere'"),
        ([], "says nothing"),
    ],
)
def test_send_refuses_what_cannot_be_meant(emulator, arguments, message, capsys):
    assert cli.main(["send", "--backend", "cloudflare", "--id", "01J", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--id", "01J", "--thumbs", "up"], "--backend"),
        (["--backend", "cloudflare", "--thumbs", "up"], "--id"),
        (["--backend", "cloudflare", "--id", "01J", "--score", "high"], "invalid float value: 'high'"),
        (["--backend", "cloudflare", "--id", "01J", "--thumbs", "up", "--timeout", "nan"], "no number of seconds"),
        (["--backend", "cloudflare", "--id", "01J", "--scores", "tone"], "'tone' is not NAME=VALUE"),
        (["--backend", "cloudflare", "--id", "01J", "--scores", "tone=x"], "'x' in 'tone=x' cannot be read as float"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(emulator, arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["send", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_credential_is_named(capsys):
    assert cli.main(["send", "--backend", "cloudflare", "--id", "01J", "--thumbs", "up"]) == 2
    assert "CLOUDFLARE_API_TOKEN" in capsys.readouterr().err


def test_an_unknown_backend_is_named(emulator, capsys):
    assert cli.main(["send", "--backend", "nobody", "--id", "01J", "--thumbs", "up"]) == 2
    assert "no backend named 'nobody'" in capsys.readouterr().err


def test_send_refuses_an_empty_id(emulator, capsys):
    assert cli.main(["send", "--backend", "cloudflare", "--id", "", "--thumbs", "up"]) == 2
    assert "cannot be the id" in capsys.readouterr().err
