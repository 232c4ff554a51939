"""The command line, as a process and in process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from thumbprint import _demo, cli


def run(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "thumbprint", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **kwargs,
    )


def test_the_demo_shows_calls_captures_feedback_and_what_the_services_hold():
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for word in ("call ", "captured", "record_feedback(", "delivered", "now holds", "All 7 steps"):
        assert word in done.stdout


def test_the_version_is_that_of_the_distribution():
    assert run("--version").stdout.strip() == f"thumbprint {version('thumbprint')}"


def test_ctrl_c_ends_a_command_with_the_status_of_its_signal(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run", interrupted)
    assert cli.main(["demo"]) == 128 + signal.SIGINT


def test_a_reader_that_has_enough_ends_the_output_quietly():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "thumbprint", "demo"], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["doctor"], ["doctor", "--json"], ["emulator", "--port", "0"]]
)
def test_a_pipe_that_nobody_reads_ends_any_command_quietly(arguments, unbuffered):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "thumbprint", *arguments],
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )
    os.close(write)
    # What argparse writes itself it gives up in silence, where nothing keeps it back until later.
    assert done.returncode == 128 + signal.SIGPIPE or (unbuffered and arguments[0].startswith("--"))
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"], ["emulator", "--port", "0"]])
def test_output_that_cannot_be_written_is_a_failure_that_is_told(arguments, unbuffered):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "thumbprint", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("thumbprint: error: input or output failed: ")
    assert "No space left on device" in line


def test_what_is_no_text_on_the_command_line_is_told_without_a_traceback(emulator):
    for arguments in (
        [b"\xff"],
        [b"outbox", b"--store", b"sqlite:///\xff.db"],
        [b"outbox", b"--store", b"\xff"],
        [b"outbox", b"retry", b"\xff"],
        [b"outbox", b"list", b"--limit", b"\xff"],
        [b"send", b"--backend", b"braintrust", b"--id", b"\xff", b"--thumbs", b"up"],
        [b"send", b"--backend", b"braintrust", b"--id", b"a", b"--comment", b"\xff"],
        [b"verify", b"--backend", b"braintrust", b"--id", b"a", b"--user-id", b"\xff"],
        [b"emulator", b"--port", b"\xff"],
    ):
        done = run(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        assert "error: " in done.stderr


def test_output_that_a_terminal_cannot_show_is_shown_as_far_as_it_can(emulator):
    done = run("send", "--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
