"""Each benchmark runs, with a few calls and whatever peers are installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

FOLDER = Path(__file__).parent
PEERS = {"braintrust", "braintrust, end to end", "langfuse", "langsmith", "cloudflare, 32 in flight"}
PEERS |= {"itsdangerous, dumps", "itsdangerous, loads", "openinference", "opentelemetry-instrumentation-openai-v2"}


NAMES = [
    *("capture", "capture-async", "capture-stream", "capture-async-stream"),
    *("record", "record-sqlite", "braintrust", "braintrust-50ms", "cloudflare", "cloudflare-50ms"),
    *("middleware", "memory", "token"),
]


@pytest.mark.parametrize("name", NAMES)
def test_each_benchmark_measures_all_that_is_installed(name, tmp_path):
    report = tmp_path / "report.json"
    subprocess.run(
        [sys.executable, FOLDER, "--only", name, "--rounds", "1", "--scale", "0.01", "--json", report],
        check=True,
        capture_output=True,
        timeout=120,
    )
    [measured] = json.loads(report.read_text())["benchmarks"]
    assert measured["name"] == name
    assert "thumbprint" in " ".join(measured["rounds"]) or name == "middleware"
    assert set(measured["missing"]) <= PEERS
    assert all(len(rounds) == 1 for rounds in measured["rounds"].values())


def test_those_are_all_that_there_are():
    listed = subprocess.run([sys.executable, FOLDER, "--help"], check=True, capture_output=True, text=True, timeout=60)
    assert f"{{{','.join(NAMES)}}}" in "".join(listed.stdout.split())
