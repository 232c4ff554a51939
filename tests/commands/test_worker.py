"""The worker as a process of its own, with real stores, signals and terminals."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from redis_server import Server, free_port

from thumbprint import LogRef, Thumbprint, _log, cli
from thumbprint.commands import _display, worker
from thumbprint.stores import Conclusion, SqliteStore

PATIENCE = 30  # seconds for another process, on a machine that is busy
STOPS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def store(url):
    opened = SqliteStore(url.removeprefix("sqlite:///"))
    yield opened
    opened.close()


@pytest.fixture
def own_signals():
    """Keep this process's handlers of signals."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def waiting(store):
    return sum(depth.queued for depth in store.depths())


def wait_for(condition):
    ends_at = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < ends_at, "it did not come to pass"
        time.sleep(0.02)


def voted(emulator):
    return {row["id"] for row in emulator.braintrust_rows() if row["scores"]}


def ended(process):
    """Wait for the process; return its exit status and the lines of both of its outputs."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.splitlines(), err.splitlines()


def test_for_cron_it_ends_when_nothing_waits_whatever_the_setting_says(emulator, say, start, monkeypatch):
    monkeypatch.setenv("THUMBPRINT_DELIVERY", "none")
    monkeypatch.setenv("THUMBPRINT_DISABLED", "1")
    names = {f"row-{number}" for number in range(300)}
    say(*names)
    status, out, err = ended(start("worker", "--until-empty"))
    assert (status, err) == (0, [])
    assert out[0].startswith("delivering for cloudflare, braintrust, out of SqliteStore(")
    assert out[-1] == "stopped: 300 delivered, 0 retried, 0 failed; nothing waits"
    assert voted(emulator) == names


@pytest.mark.parametrize("number", STOPS)
def test_it_delivers_what_comes_until_a_signal_ends_it_cleanly(emulator, say, start, store, number):
    process = start("worker")
    assert process.stdout.readline().startswith("delivering for ")
    assert "nothing waits" in process.stdout.readline()
    say("a")
    wait_for(lambda: voted(emulator) == {"a"})
    wait_for(lambda: waiting(store) == 0)
    process.send_signal(number)
    status, out, err = ended(process)
    assert (status, err) == (0, [])
    assert out[-1] == "stopped: 1 delivered, 0 retried, 0 failed; nothing waits"


@pytest.mark.parametrize("number", STOPS)
def test_a_delivery_on_its_way_is_finished_and_the_rest_is_given_back(emulator, say, start, store, number):
    emulator.fail("/v1/project_logs", delay=1.0, times=None)
    say(*(f"row-{number}" for number in range(2000)))
    process = start("worker")
    wait_for(lambda: any("/v1/project?" in f"{r.path}?{r.query}" for r in emulator.requests()))
    process.send_signal(number)
    status, out, _ = ended(process)
    assert status == 0
    left = waiting(store)
    assert left == 2000 - len(voted(emulator))
    assert f"braintrust {left} waiting" in out[-1]
    assert left > 0
    claims = store.claim("braintrust", now=time.time(), most=10_000, lease=60)
    assert sum(len(claim.items) for claim in claims) == left


def test_a_delivery_that_hangs_is_waited_for_no_longer_than_the_grace(emulator, say, start):
    emulator.fail("/v1/project", hang=True, times=None)
    say("a")
    process = start("worker", "--grace", "0.5")
    wait_for(emulator.requests)
    process.send_signal(signal.SIGTERM)
    status, out, _ = ended(process)
    assert status == 0
    assert out[-1].endswith("braintrust 1 waiting; what was under way did not end in time")


def test_credentials_that_are_refused_are_told_on_stderr_and_end_the_run_for_cron(
    emulator, say, start, store, monkeypatch
):
    say("a")
    monkeypatch.setenv("BRAINTRUST_API_KEY", "wrong-osprey")
    status, out, err = ended(start("worker", "--until-empty"))
    assert status == 1
    assert "braintrust 1 waiting" in out[-1]
    [line] = err
    assert line.startswith("thumbprint: warning: braintrust refuses the credentials")
    assert "osprey" not in "".join([*out, *err])
    assert waiting(store) == 1


def test_what_waits_for_a_service_without_credentials_is_left_and_told(emulator, say, start, monkeypatch):
    say("a")
    monkeypatch.delenv("BRAINTRUST_API_KEY")
    status, out, _ = ended(start("worker", "--until-empty"))
    assert status == 1
    assert out[0].startswith("delivering for cloudflare, out of")
    assert "braintrust 1 waiting (braintrust lacks BRAINTRUST_API_KEY)" in out[-1]
    assert [request for request in emulator.requests() if "feedback" in request.path] == []


def test_feedback_whose_home_only_the_application_knew_waits_and_is_told(emulator, say, start, store, monkeypatch):
    say("a")
    monkeypatch.delenv("BRAINTRUST_PARENT")
    process = start("worker")
    assert "since it cannot be delivered from here: the project of the Braintrust row a" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert ended(process)[0] == 0
    [item] = store.listed(dead=False, most=9)
    assert "BRAINTRUST_PARENT" in item.reason
    assert store.listed(dead=True, most=9) == []


def test_a_file_that_has_to_be_made_is_the_first_that_is_told(emulator, tmp_path, start):
    path = tmp_path / "mistyped.db"
    status, out, err = ended(start("worker", "--until-empty", "--store", f"sqlite:///{path}"))
    assert (status, err) == (0, [])
    assert out[0].startswith(f"warning: there was no file {str(path)!r}, so an empty one was made; where applications")
    assert out[1].startswith("delivering for ")
    assert path.exists()
    assert ended(start("worker", "--until-empty", "--store", f"sqlite:///{path}"))[1][0].startswith("delivering for ")


@pytest.mark.parametrize("fallback", ["", "memory"])
def test_a_missing_folder_is_refused_and_nothing_is_made(emulator, tmp_path, start, fallback, monkeypatch):
    monkeypatch.setenv("THUMBPRINT_FALLBACK", fallback)
    status, out, [line] = ended(start("worker", "--store", f"sqlite:///{tmp_path}/nowhere/outbox.db"))
    assert (status, out) == (2, [])
    assert f"there is no folder {str(tmp_path / 'nowhere')!r}; make it, or give another path" in line
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_made_where_nothing_can_be_delivered_anyway(tmp_path, start):
    status, _, [line] = ended(start("worker", "--store", f"sqlite:///{tmp_path}/outbox.db"))
    assert status == 2
    assert "nothing can be delivered" in line
    assert list(tmp_path.iterdir()) == []


def test_what_is_too_old_is_told_by_the_environment(emulator, say, start, monkeypatch):
    emulator.fail("/v1/project_logs", status=503, times=None)
    say("a")
    monkeypatch.setenv("THUMBPRINT_EXPIRE_AFTER", "0.001")
    status, out, _ = ended(start("worker", "--until-empty"))
    assert (status, out[-1]) == (0, "stopped: 0 delivered, 0 retried, 1 failed; nothing waits")
    monkeypatch.setenv("THUMBPRINT_EXPIRE_AFTER", "soon")
    status, _, [line] = ended(start("worker", "--until-empty"))
    assert status == 2
    assert "THUMBPRINT_EXPIRE_AFTER (expire_after=…) is 'soon': give the seconds" in line


def test_where_nobody_reads_any_more_it_finishes_what_it_is_at_and_ends_quietly(emulator, say, start, store):
    emulator.fail("/v1/project_logs", delay=1.0, times=1)
    process = start("worker")
    assert process.stdout.readline().startswith("delivering for ")
    assert "nothing waits" in process.stdout.readline()
    process.stdout.close()
    say("a")
    assert process.wait(PATIENCE) == 128 + signal.SIGPIPE
    assert process.stderr.read() == ""
    assert waiting(store) == 0
    assert voted(emulator) == {"a"}


def test_a_worker_without_any_output_works_likewise(emulator, say, start):
    say("a")
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'exec "$0" -m thumbprint worker --until-empty >&-', sys.executable], stderr=subprocess.PIPE
    )
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, b"")
    assert voted(emulator) == {"a"}


def test_without_any_credentials_or_a_store_to_share_it_does_not_start(url, monkeypatch, capsys):
    assert cli.main(["worker"]) == 2
    assert "CLOUDFLARE_API_TOKEN; braintrust lacks BRAINTRUST_API_KEY" in capsys.readouterr().err
    assert cli.main(["worker", "--store", "memory://"]) == 2
    assert "memory:// is the memory of one process" in capsys.readouterr().err


def test_a_backend_that_refuses_every_entry_is_left_out_with_its_words():
    class Closed:
        name = "closed"

        def check(self, ref):
            raise worker.ConfigurationError("closed on Sundays")

    assert worker._lack(Closed()) == "closed on Sundays"


def test_what_fails_for_good_is_told_on_stderr(emulator, say, start):
    emulator.fail("/v1/project_logs", status=400, body="no\x1b[31m", times=None)
    say("a")
    status, out, err = ended(start("worker", "--until-empty"))
    assert status == 0
    assert out[-1] == "stopped: 0 delivered, 0 retried, 1 failed; nothing waits"
    [line] = err
    assert line == "thumbprint: warning: feedback for braintrust a failed: HTTP 400: no\\x1b[31m"


def test_it_outlives_a_store_that_goes_away_and_comes_back(emulator, start):
    with Server(durable=True) as server:
        application = Thumbprint(store=server.url, delivery="none")
        process = start("worker", "--store", server.url)
        assert process.stdout.readline().startswith("delivering for ")
        server.kill()
        errors = []
        reader = threading.Thread(target=lambda: errors.append(process.stderr.readline()), daemon=True)
        reader.start()
        reader.join(PATIENCE)
        assert errors[0].startswith("thumbprint: warning: ")
        server.start()

        def stored():
            return application.record_feedback(LogRef(backend="braintrust", id="a"), thumbs="up").status == "queued"

        wait_for(stored)
        wait_for(lambda: voted(emulator) == {"a"})
        process.send_signal(signal.SIGTERM)
        status, out, _ = ended(process)
        application.close(0)
    assert status == 0
    assert " 1 delivered" in out[-1]


def test_for_cron_a_store_that_does_not_answer_is_not_waited_for_for_ever(emulator, own_signals, monkeypatch, capsys):
    monkeypatch.setattr(worker, "STORE_PATIENCE", 0.1)
    assert cli.main(["worker", "--until-empty", "--store", f"redis://127.0.0.1:{free_port()}/0"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].endswith("the store does not answer")
    assert "the outbox cannot be read" in captured.err


def test_a_backend_that_is_not_known_here_is_told(emulator, store, start):

    application = Thumbprint(store=store, delivery="none")
    application.record_feedback(LogRef(backend="braintrust", id="a"), thumbs="up")
    [claim] = store.claim("braintrust", now=time.time(), most=1, lease=60)
    [item] = claim.items
    store.put([item._replace(id="other", ref=replace(item.ref, backend="elsewhere"))])
    store.conclude([(claim, Conclusion(settled=claim.items))])
    status, out, _ = ended(start("worker", "--until-empty"))
    application.close(0)
    assert status == 1
    assert out[-1].endswith("elsewhere 1 waiting (no such backend here)")


def on_a_terminal(*arguments):
    """Run a command whose stdout and stderr are a terminal; return its exit status and all that was shown there."""
    ours, theirs = pty.openpty()
    shown = bytearray()
    with subprocess.Popen([sys.executable, "-m", "thumbprint", *arguments], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while piece := _read(ours):
                shown += piece
        finally:
            process.terminate()
        process.wait(PATIENCE)
    os.close(ours)
    return process.returncode, shown.decode()


def _read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # nobody writes there any more
        return b""


def test_on_a_terminal_one_line_is_kept_up_to_date(emulator, say):
    emulator.fail("/v1/project_logs", status=400, times=1)
    emulator.fail("/v1/project_logs", delay=1.2, times=1)
    say("a")
    say("b")
    status, shown = on_a_terminal("worker", "--until-empty")
    assert status == 0
    lines = shown.split("\r\n")
    assert lines[0].startswith("delivering for ")
    progress = [text.strip() for line in lines[1:] for text in line.split("\r") if text.strip()]
    assert progress[0].startswith("0 delivered, 0 retried, 0 failed; braintrust 2 waiting")
    assert progress[-1].startswith("stopped: 2 delivered") or progress[-1].startswith("stopped: 1 delivered")
    assert len(progress) > len(lines) - 2  # some were written over


def test_a_warning_stands_above_the_line(capsys):
    line = _display.ProgressLine()
    line.tell("one waits")
    line.tell("one waits")
    line.warn("something is wrong")
    line.end("done")
    captured = capsys.readouterr()
    assert captured.err == "something is wrong\n"
    assert [text.strip() for text in captured.out.split("\r")] == [
        "",
        "one waits",
        "",
        "",
        "",
        "one waits",
        "",
        "",
        "done",
    ]


def test_plain_lines_tell_of_a_change_but_not_too_often(capsys, monkeypatch):
    lines = _display.PlainLines()
    lines.tell("one")
    lines.tell("two")
    monkeypatch.setattr(_display, "SAY_EVERY", 0.0)
    lines._says_from = 0.0
    lines.tell("two")
    lines.tell("two")
    assert capsys.readouterr().out == "one\ntwo\n"


def test_what_the_library_logs_is_shown_with_its_level_on_lines_that_a_terminal_can_take(capsys):
    handler = _display.Warnings(_display.PlainLines())
    _log.logger.addHandler(handler)
    try:
        _log.logger.error("first\x1b[31m\nsecond")
        _log.logger.info("nothing to see")
    finally:
        _log.logger.removeHandler(handler)
    assert re.fullmatch(r"thumbprint: error: first\\x1b\[31m\nsecond\n", capsys.readouterr().err)
