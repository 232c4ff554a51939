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
PEERS |= {"itsdangerous, dumps", "itsdangerous, loads"}


def test_each_benchmark_measures_all_that_is_installed(tmp_path):
    report = tmp_path / "report.json"
    subprocess.run(
        [sys.executable, FOLDER, "--rounds", "1", "--scale", "0.01", "--json", report],
        check=True,
        capture_output=True,
        timeout=120,
    )
    benchmarks = json.loads(report.read_text())["benchmarks"]

    assert [each["name"] for each in benchmarks] == [
        "record", "record-sqlite", "braintrust", "braintrust-50ms", "cloudflare", "cloudflare-50ms", "middleware",
        "memory", "token",
    ]  # fmt: skip
    for each in benchmarks:
        assert "thumbprint" in " ".join(each["rounds"]) or each["name"] == "middleware"
        assert set(each["missing"]) <= PEERS
        assert all(len(rounds) == 1 for rounds in each["rounds"].values())
