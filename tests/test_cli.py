"""The command line, as a process and in process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.metadata import version

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


def test_output_that_a_terminal_cannot_show_is_shown_as_far_as_it_can(emulator):
    done = run("send", "--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
