"""Two server processes that share a store: the call is made in one, the vote comes to the other."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import redis_server
import web_clients

SERVED = Path(__file__).with_name("served.py")
PATIENCE = 30.0


@contextlib.contextmanager
def served(environ):
    """Yield the address of a server process; it delivers what it took before it ends."""
    process = subprocess.Popen(
        [sys.executable, SERVED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | environ
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'store.db'}"
    else:
        with redis_server.Server() as server:
            yield server.url


@pytest.mark.parametrize("path", ["/chat", "/stream"])
def test_a_call_in_one_process_gets_the_vote_that_came_to_another(emulator, store, path):
    environ = {"THUMBPRINT_STORE": store, "THUMBPRINT_SECRET": web_clients.SECRET}
    with served(environ) as first, served(environ) as second:
        asked = httpx.get(f"{first}{path}", trust_env=False, timeout=PATIENCE)
        said = {"token": asked.headers["x-feedback-token"], "thumbs": "down"}
        voted = httpx.post(f"{second}/feedback", json=said, trust_env=False, timeout=PATIENCE)
        ends_at = time.monotonic() + PATIENCE
        # References are written behind the caller's back: until then nobody else knows the scope.
        while voted.status_code == 404 and time.monotonic() < ends_at:
            voted = httpx.post(f"{second}/feedback", json=said, trust_env=False, timeout=PATIENCE)
        assert voted.status_code == 202
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [-1]
