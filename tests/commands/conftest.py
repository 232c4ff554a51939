"""What the tests of the commands have in common."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import sdk

import thumbprint
from thumbprint import LogRef, Thumbprint


@pytest.fixture
def log_id(emulator):
    client = thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
    with thumbprint.scope() as scope:
        client.chat.completions.create(model="gpt-5", messages=sdk.asked())
    return scope.last.id


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Return the URL of a store in a file, which is also what the environment says."""
    monkeypatch.setenv("THUMBPRINT_STORE", f"sqlite:///{tmp_path / 'outbox.db'}")
    return os.environ["THUMBPRINT_STORE"]


@pytest.fixture
def application(emulator, url):
    """Lend an application that only stores its feedback."""
    made = Thumbprint(delivery="none")
    yield made
    made.close(0)


@pytest.fixture
def say(application):
    """Return what puts feedback for rows into the store."""

    def put(*names, **said):
        for name in names:
            application.record_feedback(LogRef(backend="braintrust", id=name), **(said or {"thumbs": "up"}))

    return put


@pytest.fixture
def start():
    """Return what starts a command as a process, which is ended with the test."""
    started = []

    def begin(*arguments, **options):
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-m", "thumbprint", *arguments], **(piped | options)))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
