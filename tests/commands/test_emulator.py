"""The emulator as a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.request

import pytest

from thumbprint import cli
from thumbprint.emulator import Emulator


def test_the_emulator_prints_the_environment_to_use_and_stops_on_sigterm():
    command = [sys.executable, "-m", "thumbprint", "emulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            lines = [process.stdout.readline() for _ in range(14)]
            environ = dict(line.removeprefix("export ").strip().split("=", 1) for line in lines[2:])
            assert lines[0].startswith("# The emulator listens on http://127.0.0.1:")
            assert "Open that in a browser" in lines[0]
            with Emulator() as other:
                assert environ.keys() == other.environ().keys()
            headers = {"authorization": f"Bearer {environ['OPENAI_API_KEY']}"}
            request = urllib.request.Request(f"{environ['OPENAI_BASE_URL']}/models", headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_emulator_says_so_where_the_port_is_taken(emulator, capsys):
    port = emulator.url.rpartition(":")[2]
    assert cli.main(["emulator", "--port", port]) == 1
    assert f"cannot start on port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "'70000' is no whole number from 0 to 65535"),
        (["--port", "-1"], "is no whole number"),
        (["--port", "0", "--ingestion-lag", "-1"], "'-1' is no number of seconds"),
    ],
)
def test_the_emulator_refuses_impossible_settings(arguments, words, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["emulator", *arguments])
    assert caught.value.code == 2
    assert words in capsys.readouterr().err
