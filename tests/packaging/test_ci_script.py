"""`.ci/run` begins with what README.md tells a developer to run."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"^\s*(?:\$ )?(python3 -m venv .*-m pytest.*?)\s*$", re.MULTILINE)


def test_ci_runs_the_test_command_of_the_readme():
    [in_readme] = COMMAND.findall((ROOT / "README.md").read_text())
    [in_script] = COMMAND.findall((ROOT / ".ci" / "run").read_text())
    assert in_script == in_readme


def test_the_script_can_be_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)  # noqa: S607 - our own file, and whatever bash there is


def test_the_script_stops_at_the_first_failure():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert next(line for line in lines if not line.startswith("#")) == "set -euo pipefail"
