"""What `record_feedback` has returned from arrives, though the process is killed at any moment: counted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import pytest
from redis_server import Server

from thumbprint.emulator import Emulator

pytestmark = [pytest.mark.long, pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")]

RECORDER = Path(__file__).with_name("recorder.py")
SCALE = 1e5  # of a number as a Cloudflare score, which is a hundred times ours
ENTRIES = 3
SLOTS = 3
LEASE = 2.0
KILLS = 250


@pytest.fixture
def emulator():
    with Emulator(rate_limit=10**9) as running:
        yield running


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    """Return the URL of a durable store."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/outbox.db"
    else:
        with Server() as server:
            yield server.url


def new_log(emulator):
    asked = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(
        f"{emulator.cloudflare_openai_url}/chat/completions", json=asked, headers={"authorization": "Bearer any"}
    )
    return answer.headers["cf-aig-log-id"]


@contextlib.contextmanager
def recording(emulator, folder, store, **settings):
    """Run the program; in the end wait until it has delivered everything."""
    logs = [new_log(emulator) for _ in range(SLOTS * ENTRIES)]
    spec = {"folder": str(folder), "store": store, "logs": logs, "slots": SLOTS, "lease": LEASE, "seed": 0}
    spec |= {"kills": KILLS, "longest": 0.06, "lazy": False} | settings
    with subprocess.Popen(
        [sys.executable, RECORDER, json.dumps(spec)],
        env=os.environ | emulator.environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield
            said, _ = process.communicate(timeout=120)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # the processes that it has forked, too
            raise
        assert process.returncode == 0, said


def wait_for_records(folder):
    """Wait until the program records; before that it needs its server."""
    path, ends_at = folder / "acknowledged", time.monotonic() + 60
    while not path.exists() or path.stat().st_size == 0:
        assert time.monotonic() < ends_at
        time.sleep(0.02)


class Tally:
    """What was acknowledged, what the services received, and what was on its way when a process died."""

    def __init__(self, emulator, folder):
        self.acknowledged = defaultdict(list)
        for line in (folder / "acknowledged").read_text().splitlines():
            entry, number = line.split()
            self.acknowledged[entry].append(int(number))
        self.received = defaultdict(list)
        for row in emulator.braintrust_rows():
            if row["comments"]:
                self.received[row["id"]] = [int(comment["text"]) for comment in row["comments"]]
        for seen in emulator.requests():
            if seen.method == "PATCH":
                self.received[seen.path.rpartition("/")[2]].append(round(json.loads(seen.body)["score"] * SCALE))
        self.final = {log["id"]: round(log["score"] * SCALE) for log in emulator.cloudflare_logs() if log["score"]}
        self.interrupted = interrupted(folder / "deliveries")

    def lost(self):
        """Return what was acknowledged and is not there. A Cloudflare log holds the last word only."""
        rows = {
            f"{entry}:{number}"
            for entry, numbers in self.acknowledged.items()
            for number in numbers
            if entry not in self.final and number not in self.received[entry]
        }
        logs = {f"{entry}:{last}" for entry, last in self.last_words().items() if self.final.get(entry, -1) < last}
        return rows | logs

    def last_words(self):
        return {entry: numbers[-1] for entry, numbers in self.acknowledged.items() if not entry.startswith("row-")}

    def disordered(self):
        """Return the entries whose feedback came in another order, resent copies aside."""
        return [
            entry
            for entry, numbers in self.received.items()
            if list(dict.fromkeys(numbers)) != sorted(set(numbers))
            or self.final.get(entry, numbers[-1]) != max(numbers)
        ]

    def repeated(self):
        counts = Counter(f"{entry}:{number}" for entry, numbers in self.received.items() for number in numbers)
        return {name: count - 1 for name, count in counts.items() if count > 1}

    def counts(self, kills):
        repeated = self.repeated()
        return {
            "kills": kills,
            "acknowledged": sum(map(len, self.acknowledged.values())),
            "arrived": sum(len(set(numbers)) for numbers in self.received.values()),
            "lost": len(self.lost()),
            "on their way when a process died": len(self.interrupted),
            "of these, arrived twice": len(repeated.keys() & self.interrupted),
            "others that arrived twice": len(repeated.keys() - self.interrupted),
            "copies": sum(repeated.values()),
        }


def interrupted(path):
    """Return the items of leases that were not concluded before they ended: only these may arrive twice."""
    begun, found = {}, set()
    for line in path.read_text().splitlines():
        pid, what, at, *items = line.split()
        for item in items:
            since = begun.pop((pid, item), None)
            if what == "claimed":
                begun[pid, item] = float(at)
            elif since is None or float(at) - since > 0.9 * LEASE:
                found.add(item)
    return found | {item for _, item in begun}


def show(counts, record_property):
    """Have the counts in pytest's report (`-rP`) and in its XML."""
    for name, count in counts.items():
        print(f"{name}: {count}")  # noqa: T201
        record_property(name, count)


def test_nothing_that_was_acknowledged_is_lost_though_processes_are_killed_hundreds_of_times(
    emulator, store, tmp_path, record_property
):
    with recording(emulator, tmp_path, store):
        pass
    tally = Tally(emulator, tmp_path)
    counts = tally.counts(KILLS)
    show(counts, record_property)

    assert counts["acknowledged"] > KILLS
    assert tally.lost() == set()
    assert tally.disordered() == []
    assert counts["others that arrived twice"] == 0


def test_the_count_finds_what_a_store_loses_that_writes_only_later(emulator, tmp_path, record_property):
    with recording(emulator, tmp_path, f"sqlite:///{tmp_path}/outbox.db", lazy=True, kills=40):
        pass
    tally = Tally(emulator, tmp_path)
    show(tally.counts(40), record_property)

    assert tally.lost()


@pytest.mark.parametrize("end", [Server.stop, Server.kill])
def test_a_redis_server_that_is_restarted_with_its_append_only_file_loses_nothing_and_delivery_goes_on(
    emulator, tmp_path, record_property, end
):
    with Server(durable=True) as server:
        with recording(emulator, tmp_path, server.url, kills=40, longest=0.2):
            wait_for_records(tmp_path)
            for _ in range(3):
                time.sleep(0.7)
                end(server)
                server.start()
        tally = Tally(emulator, tmp_path)
    counts = tally.counts(40)
    show(counts, record_property)

    assert counts["acknowledged"] > 40
    assert tally.lost() == set()
    assert tally.disordered() == []
    assert counts["others that arrived twice"] == 0
