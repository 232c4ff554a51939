"""The examples run as they are, end by themselves, and their votes are on the emulator afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))
LONGEST = 60


def run(name, *arguments, **environ):
    """Return the lines that an example prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environ)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_flask_minimal_gives_a_token_and_takes_the_vote_by_it(emulator):
    assert run("flask_minimal.py", "--once") == [
        "answer: You said: Where is Ulm?",
        "vote: 202 Accepted",
        "delivered: 1",
    ]
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [1]


def test_fastapi_decorator_gives_an_id_and_takes_the_vote_by_it(emulator):
    assert run("fastapi_decorator.py", "--once") == [
        "answer: You said: Where is Ulm?",
        "vote: 202 queued",
        "delivered: 1",
    ]
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [-1]


def test_batch_script_scores_each_answer_and_waits_until_all_is_delivered(emulator):
    assert run("batch_script.py") == [
        "Where is Ulm? right",
        "What flows through it? wrong",
        "How tall is its minster? right",
        "3 delivered, 0 failed, 0 remaining",
    ]
    logs = emulator.cloudflare_logs()
    assert [log["feedback"] for log in logs] == [1, -1, 1]
    assert [log["metadata"]["score.has_word"] for log in logs] == [1, 0, 1]
    assert {log["metadata"]["expected"] for log in logs} == {'"Ulm"', '"Danube"', '"minster"'}


def test_batch_script_goes_on_after_a_call_that_failed(emulator):
    emulator.fail("/v1/", method="POST", status=400)
    assert run("batch_script.py")[0] == "Where is Ulm? failed: BadRequestError"
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [-1, 1]


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("batch_script.py", "3 delivered, 0 failed, 0 remaining"),
        ("fastapi_decorator.py", "delivered: 1"),
        ("flask_minimal.py", "delivered: 1"),
        ("otel_tracing.py", "the vote is on the span of the call: True"),
    ],
)
def test_an_example_runs_without_any_setting(name, last):
    assert run(name, "--once")[-1] == last


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_an_example_is_short_and_the_readme_names_it(path):
    assert len(path.read_text().splitlines()) < LONGEST
    assert f"`examples/{path.name}`" in (EXAMPLES.parent / "README.md").read_text()
