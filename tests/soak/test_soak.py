"""A few seconds of the fault soak; `.ci/run` has two minutes of it, and `--seconds` makes it longer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")]

SOAK = Path(__file__).parent


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
def test_in_a_few_seconds_of_trouble_nothing_is_lost_or_disordered_and_the_counts_are_printed(store):
    done = subprocess.run(
        [sys.executable, SOAK, "--seconds", "5", "--seed", "7", "--store", store],
        check=False, capture_output=True, text=True, timeout=150,
    )  # fmt: skip
    counts = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line[-1:].isdigit())

    assert done.returncode == 0, done.stdout + done.stderr
    assert int(counts["accepted"]) > 0
    assert int(counts["accepted"]) == int(counts["delivered"]) + int(counts["dead letters"])
    assert (counts["lost"], counts["entries out of order"], counts["429 provoked"]) == ("0", "0", "0")
