"""What a Worker does, in real Pyodide under Node, with a JavaScript stand-in of the binding.

The versions are those that Cloudflare runs, but for its oldest, 0.26.0a2, which npm has only the releases after. In
that one the runtime gives bindings as they are, later workers-runtime-sdk wraps them; both are tried where both can be.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import javascript
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
HOUSES = [("0.26.4", "runtime"), ("0.28.2", "runtime"), ("0.28.2", "sdk"), ("314.0.5", "sdk")]
NEEDED = ("wrapt", "opentelemetry-api")  # of our dependencies: the others are not imported there
SDK = "workers-runtime-sdk"
INSTALLATION = 300  # seconds
PATIENCE = 300  # seconds, on a busy machine

SCENARIOS = [name for name, _ in javascript.load(HERE / "scenarios.py").every()]
SDK_SCENARIOS = [*SCENARIOS, "the_worker_of_the_readme_answers_and_takes_votes"]
EVERY = [(*house, name) for house in HOUSES for name in (SCENARIOS if house[1] == "runtime" else SDK_SCENARIOS)]

pytestmark = pytest.mark.long


def installed(*command):
    """Run a package client; skip where it cannot do its work, as without a network."""
    program = shutil.which(command[0])
    if program is None:
        pytest.skip(f"there is no {command[0]} here")
    try:
        subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, check=True, timeout=INSTALLATION, cwd=ROOT
        )
    except subprocess.SubprocessError as error:
        pytest.skip(f"{error}: {str(error.stderr)[-1000:]}")


@pytest.fixture(scope="module")
def pyodides(tmp_path_factory):
    """Return version → the folder of that Pyodide."""
    folder = tmp_path_factory.mktemp("npm")
    versions = dict.fromkeys(version for version, _ in HOUSES)
    quiet = ("--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
    installed(
        "npm", "install", "--prefix", str(folder), *quiet, *(f"at-{each}@npm:pyodide@{each}" for each in versions)
    )
    return {version: folder / "node_modules" / f"at-{version}" for version in versions}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return kind of house → the folder with the wheels that it needs: our own, and none but pure Python."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("runtime", "sdk")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [line for line in project["dependencies"] if line.startswith(NEEDED)]
    assert len(needed) == len(NEEDED)
    pure = ("--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", "--python-version=3.12")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    installed(*pip, "wheel", "--no-deps", "-w", str(folders["runtime"]), str(ROOT))
    installed(*pip, "download", *pure, "-d", str(folders["runtime"]), *needed)
    installed(*pip, "download", *pure, "--no-deps", "-d", str(folders["sdk"]), SDK)
    for wheel in folders["runtime"].glob("*.whl"):
        shutil.copy(wheel, folders["sdk"])
    return folders


@pytest.fixture(scope="module")
def told(pyodides, wheels):
    """Return house → scenario → None, or how it failed; each house runs once, two at a time."""

    def run(house):
        version, kind = house
        command = ["node", HERE / "run.mjs", pyodides[version], wheels[kind], ROOT / "README.md", kind]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    with ThreadPoolExecutor(2) as threads:
        return dict(zip(HOUSES, threads.map(run, HOUSES), strict=True))


@pytest.mark.parametrize(("version", "kind", "scenario"), EVERY)
def test_in_pyodide(told, version, kind, scenario):
    assert told[version, kind][scenario] is None, told[version, kind][scenario]


@pytest.mark.parametrize(("version", "kind"), HOUSES)
def test_every_scenario_ran(told, version, kind):
    assert list(told[version, kind]) == (SCENARIOS if kind == "runtime" else SDK_SCENARIOS)
