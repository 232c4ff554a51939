"""Two server processes that share a store: what is said to one and to the other counts as if there were one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture
def servers(emulator, store):
    """Two servers' addresses. They have delivered what they took when the `with` block is left."""
    environ = {"THUMBPRINT_STORE": store, "THUMBPRINT_SECRET": web_clients.SECRET}

    @contextlib.contextmanager
    def running():
        with served(environ) as first, served(environ) as second:
            yield first, second

    return running


def token_of(address):
    return httpx.get(f"{address}/chat", trust_env=False, timeout=PATIENCE).headers["x-feedback-token"]


def say(address, token, path="/feedback", **said):
    return httpx.post(f"{address}{path}", json={"token": token, **said}, trust_env=False, timeout=PATIENCE)


@pytest.mark.parametrize("path", ["/chat", "/stream"])
def test_a_call_in_one_process_gets_the_vote_that_came_to_another(emulator, servers, path):
    with servers() as (first, second):
        token = httpx.get(f"{first}{path}", trust_env=False, timeout=PATIENCE).headers["x-feedback-token"]
        voted = say(second, token, thumbs="down")
        assert voted.status_code == 202
    assert [log["feedback"] for log in emulator.cloudflare_logs()] == [-1]


def test_a_double_click_that_comes_to_both_counts_once_and_a_change_of_mind_counts(emulator, servers):
    with servers() as (first, second):
        token = token_of(first)
        up = [say(address, token, thumbs="up", comment="yes") for address in (first, second)]
        down = [say(address, token, thumbs="down", comment="no") for address in (second, first)]
        back = say(first, token, thumbs="up", comment="yes")
        assert {got.status_code for got in (*up, *down, back)} == {202}
        assert up[0].json() == up[1].json()
        assert down[0].json() == down[1].json()
        assert len({got.json()["id"] for got in (up[0], down[0], back)}) == 3
    [log] = emulator.cloudflare_logs()
    assert (log["feedback"], log["metadata"]["comment"].splitlines()) == (1, ["yes", "no", "yes"])


def test_the_same_words_that_come_to_both_at_once_count_once(emulator, servers):
    with servers() as (first, second), ThreadPoolExecutor(8) as threads:
        token = token_of(first)
        found = list(threads.map(lambda address: say(address, token, comment="yes"), [first, second] * 8))
        assert {got.status_code for got in found} == {202}
        assert len({got.json()["id"] for got in found}) == 1
    assert emulator.cloudflare_logs()[0]["metadata"]["comment"] == "yes"


def test_the_limit_of_a_token_is_one_for_both(servers):
    with servers() as (first, second):
        token, other = token_of(first), token_of(second)
        turns = [first, second, first, second, first]
        found = [say(address, token, "/limited", comment=f"{turn}") for turn, address in enumerate(turns)]
        assert [got.status_code for got in found] == [202, 202, 202, 429, 429]
        assert 1 <= int(found[-1].headers["retry-after"]) <= 20
        assert say(second, other, "/limited", comment="a").status_code == 202
