"""What waits in a store, and what becomes of it, from a shell."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time

import pytest
from redis_server import Server

from thumbprint import LogRef, Thumbprint, cli
from thumbprint.stores import Conclusion, SqliteStore


@pytest.fixture
def told(capsys):
    """Return what runs a command with --json and returns its exit status and its document."""

    def run(*arguments):
        capsys.readouterr()
        status = cli.main(["outbox", *arguments, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def store(url):
    opened = SqliteStore(url.removeprefix("sqlite:///"))
    yield opened
    opened.close()


def bury(store, *, words="HTTP 400: no"):

    for claim in store.claim("braintrust", now=time.time(), most=100, lease=60):
        items = tuple(item._replace(attempts=1, reason=words) for item in claim.items)
        store.conclude([(claim, Conclusion(buried=items))])


def test_an_empty_outbox_is_told_so(say, store, told, capsys):
    store.depths()
    assert told() == (0, {"waiting": 0, "dead": 0, "backends": []})
    for command, words in (
        ([], "nothing waits, and there are"),
        (["list"], "nothing waits"),
        (["list", "--dead"], "no"),
    ):
        assert cli.main(["outbox", *command]) == 0
        assert words in capsys.readouterr().out


def test_the_overview_counts_by_backend_and_in_all(say, store, told, capsys):
    say("a", "b")
    bury(store)
    say("c")
    status, document = told()
    [backend] = document["backends"]
    assert (status, document["waiting"], document["dead"]) == (0, 1, 2)
    assert (backend["backend"], backend["waiting"], backend["dead"]) == ("braintrust", 1, 2)
    assert backend["oldest_at"] == pytest.approx(time.time(), abs=60)
    assert backend["oldest_age"] == pytest.approx(0, abs=60)
    cli.main(["outbox"])
    assert capsys.readouterr().out.startswith("braintrust: 1 waiting (the oldest for ")


def test_a_backend_with_dead_letters_only_has_no_oldest(say, store, told, capsys):
    say("a")
    bury(store)
    assert told()[1]["backends"][0]["oldest_age"] is None
    cli.main(["outbox"])
    assert capsys.readouterr().out == "braintrust: 0 waiting, 1 dead letter\n"


def test_items_are_listed_with_what_is_said_and_how_they_stand(say, store, told, capsys):
    say("a", thumbs="down", comment="\x1b[31mred")
    bury(store, words="HTTP 400: \x1b]no")
    say("b", "c")
    status, document = told("list", "--dead")
    [item] = document["items"]
    assert status == 0
    assert (item["backend"], item["log_id"], item["status"], item["attempts"]) == ("braintrust", "a", "dead", 1)
    assert item["reason"] == "HTTP 400: \x1b]no"
    assert item["feedback"] == 'thumbs=down comment="\\u001b[31mred"'
    assert item["age"] < 60
    assert LogRef.from_dict(item["ref"]).id == "a"
    assert [item["log_id"] for item in told("list", "--limit", "1")[1]["items"]] == ["b"]
    cli.main(["outbox", "list", "--dead"])
    shown = capsys.readouterr().out
    assert item["id"] in shown
    assert "dead for " in shown
    assert "1 attempt: HTTP 400: \\x1b]no" in shown
    assert "\x1b" not in shown
    cli.main(["outbox", "list"])
    assert "waiting for " in capsys.readouterr().out


def test_dead_letters_go_back_by_id_or_all(say, store, told, capsys):
    say("a", "b", "c")
    bury(store)
    first, *_ = (item["id"] for item in told("list", "--dead")[1]["items"])
    assert told("retry", first) == (0, {"retried": 1, "not_found": [], "unreadable": 0})
    assert told("retry", first, "nobody") == (1, {"retried": 0, "not_found": [first, "nobody"], "unreadable": 0})
    assert cli.main(["outbox", "retry", "nobody"]) == 1
    assert capsys.readouterr().err == "not found: nobody\n"
    assert cli.main(["outbox", "retry", "--all"]) == 0
    assert capsys.readouterr().out == "2 dead letters put back into the outbox\n"
    assert told()[1]["waiting"] == 3


def test_what_cannot_be_read_is_shown_and_stays_until_it_is_forgotten(say, store, told, capsys):
    say("a", "b")
    first, _ = (item["id"] for item in told("list")[1]["items"])
    text = '{"cut off": "\x1b' + 1000 * "…"
    with contextlib.closing(sqlite3.connect(store.path)) as db, db:
        db.execute("UPDATE outbox SET item = ? WHERE id = ?", (text, first))
    bury(store)
    [shown] = (item for item in told("list", "--dead")[1]["items"] if item["id"] == first)
    assert (shown["backend"], shown["log_id"], shown["feedback"]) == ("braintrust", "unknown", "")
    assert shown["reason"].startswith("it cannot be read (")
    assert shown["reason"].endswith(text)
    cli.main(["outbox", "list", "--dead"])
    out = capsys.readouterr().out
    assert "it cannot be read (JSONDecodeError: " in out
    assert '{"cut off": "\\x1b…' in out
    assert len(out) < len(text)

    assert told("retry", first) == (1, {"retried": 0, "not_found": [], "unreadable": 1})
    assert told("retry", "--all") == (1, {"retried": 1, "not_found": [], "unreadable": 1})
    assert cli.main(["outbox", "retry", first]) == 1
    assert capsys.readouterr() == (
        "0 dead letters put back into the outbox\n",
        "1 cannot be read, and left alone: see `thumbprint outbox list --dead`\n",
    )
    assert told("purge", first) == (0, {"purged": 1, "not_found": [], "under_way": 0})
    assert told()[1]["dead"] == 0


def test_what_is_forgotten_is_gone(say, store, told, capsys):
    say("a", "b")
    bury(store)
    say("c", "d")
    first, _ = (item["id"] for item in told("list", "--dead")[1]["items"])
    third, _ = (item["id"] for item in told("list")[1]["items"])
    assert told("purge", first, third) == (1, {"purged": 1, "not_found": [third], "under_way": 0})
    assert told("purge", third, "--waiting") == (0, {"purged": 1, "not_found": [], "under_way": 0})
    assert cli.main(["outbox", "purge", "--all"]) == 0
    assert capsys.readouterr().out == "1 forgotten\n"
    assert told("purge", "--all", "--waiting")[1]["purged"] == 1
    assert told() == (0, {"waiting": 0, "dead": 0, "backends": []})


def test_where_nothing_is_dead_but_something_waits_purge_says_how_to_forget_it(say, store, told, capsys):
    say("a", "b")
    hint = "what waits ({}) is no dead letter: to forget it, give --waiting\n"
    assert cli.main(["outbox", "purge", "--all"]) == 0
    assert capsys.readouterr() == ("0 forgotten\n", hint.format(2))
    first, _ = (item["id"] for item in told("list")[1]["items"])
    assert cli.main(["outbox", "purge", first, "nobody"]) == 1
    assert capsys.readouterr().err == f"{hint.format(1)}not found: {first}, nobody\n"
    assert cli.main(["outbox", "purge", "nobody"]) == 1
    assert capsys.readouterr().err == "not found: nobody\n"
    assert told("purge", "--all") == (0, {"purged": 0, "not_found": [], "under_way": 0})
    assert cli.main(["outbox", "purge", "--all", "--waiting"]) == 0
    assert capsys.readouterr() == ("2 forgotten\n", "")
    assert cli.main(["outbox", "purge", "--all"]) == 0
    assert capsys.readouterr() == ("0 forgotten\n", "")


def test_what_is_under_way_is_left(say, store, told, capsys):
    say("a")
    store.claim("braintrust", now=time.time(), most=1, lease=60)
    [item] = told("list")[1]["items"]
    assert told("purge", "--waiting", item["id"]) == (1, {"purged": 0, "not_found": [], "under_way": 1})
    assert cli.main(["outbox", "purge", "--waiting", item["id"]]) == 1
    assert "1 being delivered just now, and left alone\n" in capsys.readouterr().err


def test_the_store_may_be_given_before_or_after_the_action(say, url, monkeypatch, capsys):
    say("a")
    monkeypatch.delenv("THUMBPRINT_STORE")
    for arguments in (["--store", url, "--json", "list"], ["list", "--store", url, "--json"]):
        assert cli.main(["outbox", *arguments]) == 0
        assert len(json.loads(capsys.readouterr().out)["items"]) == 1


@pytest.mark.parametrize("store", [None, "memory://"])
@pytest.mark.parametrize("arguments", [[], ["list"], ["retry", "--all"], ["purge", "--all"]])
def test_a_process_s_memory_has_no_outbox_to_look_into(arguments, store, capsys):
    assert cli.main(["outbox", *arguments, *(["--store", store] if store else [])]) == 2
    assert "memory:// is the memory of one process" in capsys.readouterr().err


def test_a_store_that_is_not_there_is_not_made(tmp_path, capsys):
    path = tmp_path / "mistyped.db"
    for arguments in ([], ["list"], ["retry", "--all"], ["purge", "--all"]):
        assert cli.main(["outbox", *arguments, "--store", f"sqlite:///{path}"]) == 2
        assert f"error: there is no file {str(path)!r} yet; correct the path, or " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_store_in_a_folder_that_is_not_there_is_told_so(tmp_path, capsys):
    assert cli.main(["outbox", "--store", f"sqlite:///{tmp_path}/nowhere/outbox.db"]) == 2
    assert f"make the folder {str(tmp_path / 'nowhere')!r}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ["retry", "purge"])
@pytest.mark.parametrize("name", [b"\xff", "\0", "a\ud800"])
def test_an_id_that_is_no_text_is_a_usage_error(action, name, store, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["outbox", action, os.fsdecode(name)])
    assert caught.value.code == 2
    assert f"argument ID: {os.fsdecode(name)!a} cannot be the id of an item" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["retry"],
        ["purge"],
        ["purge", "x", "--all"],
        ["list", "--limit", "0"],
        ["list", "--limit", "9" * 20],
        ["list", "--limit", "9" * 5000],
    ],
)
def test_a_wrong_command_line_is_a_usage_error(arguments, url, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["outbox", *arguments])
    assert caught.value.code == 2
    assert "usage: thumbprint outbox" in capsys.readouterr().err


def test_an_outbox_in_redis_is_looked_into_likewise(emulator, told, capsys):
    with Server(password="geheim-osprey") as server:
        application = Thumbprint(store=server.url, delivery="none")
        application.record_feedback(LogRef(backend="braintrust", id="a"), thumbs="up")
        application.close(0)
        assert told("--store", server.url)[1]["waiting"] == 1
        server.stop()
        assert cli.main(["outbox", "--store", server.url]) == 2
        assert "geheim" not in capsys.readouterr().err


def test_the_help_tells_the_keys_of_the_documents(capsys):
    with pytest.raises(SystemExit):
        cli.main(["outbox", "--help"])
    text = capsys.readouterr().out
    for key in ("waiting", "dead", "backends", "items", "retried", "not_found", "purged", "under_way", "oldest_age"):
        assert f'"{key}"' in text
    assert os.environ.get("THUMBPRINT_STORE") is None
