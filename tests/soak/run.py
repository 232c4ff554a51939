"""One run over one store: starts the processes, kills some, waits until all is delivered, and counts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import recorders
import services
from redis_server import Server

import thumbprint
from thumbprint.stores import RedisStore, SqliteStore

STORES = ("memory", "sqlite", "redis")
DURABLE = ("sqlite", "redis")
SLOTS = {"storing": (0, 1), "delivering": (2, 3), "forking": (4, 5), "child": (6,), "dying": (7,)}
DRAIN = 90.0  # seconds
LIFETIME = (1.0, 6.0)  # seconds that a process lives which is to be killed
SERVER_UPTIME = (8.0, 16.0)  # seconds between two restarts of the Redis server


def run(store, *, seconds, seed):
    """Give trouble for so many seconds, drain, and return the tally."""
    logging.getLogger("thumbprint").addHandler(logging.NullHandler())  # faults are asked for: no need to tell of them
    recorders.shorten_times()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thumbprint-soak-")))
        server = stack.enter_context(Server(durable=True)) if store == "redis" else None
        url = {"memory": "memory://", "sqlite": f"sqlite:///{folder}/outbox.db"}.get(store) or server.url
        conductor = Conductor(folder, url, server, seconds=seconds, seed=seed)
        stack.callback(conductor.kill_all)
        return conductor.conduct()


class Conductor:
    """Has the processes, each forked off this one, which has no threads and opens no store before they are gone."""

    def __init__(self, folder, store, server, *, seconds, seed):
        self.folder = folder
        self.seed = seed
        self.server = server
        self.chance = random.Random(f"{seed} conductor")
        self.pids = {}
        self.counts = Counter()
        reading, writing = os.pipe()
        logs = recorders.ENTRIES * (1 + max(slot for slots in SLOTS.values() for slot in slots))
        self.start("services", services.serve, seed, logs, folder, writing)
        os.close(writing)
        with os.fdopen(reading) as greeting:
            told = json.loads(greeting.readline())
        os.environ.update(told["environ"])
        warm_up()
        began = time.time()
        self.place = recorders.Place(
            folder=folder, store=store, seed=seed, logs=told["logs"], began=began, ends_at=began + seconds
        )

    def start(self, name, work, *args):
        """Fork a process that does the work and ends."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                work(*args)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        self.pids[name] = pid

    def conduct(self):
        self.start_all()
        deaths = {name: self.later(LIFETIME) for name in ("dying", "worker") if self.place.durable}
        if self.server is not None:
            deaths["server"] = self.later(SERVER_UPTIME)
        while time.time() < self.place.ends_at:
            for name, at in deaths.items():
                if time.time() >= at:
                    self.bring_back(name)
                    deaths[name] = self.later(SERVER_UPTIME if name == "server" else LIFETIME)
            time.sleep(0.02)
        (self.folder / "calm").touch()
        calm_at = time.time()
        drained = self.drain()
        drain_time = time.time() - calm_at
        (self.folder / "ended").touch()
        self.wait("services")
        return Tally(self, drained=drained, drain_time=drain_time)

    def start_all(self):
        mode = "none" if self.place.durable else "background"
        self.start("storing", recorders.recorder, self.place, SLOTS["storing"], 0, mode)
        self.start("delivering", recorders.recorder, self.place, SLOTS["delivering"], 0, "background")
        self.start("forking", recorders.forker, self.place, SLOTS["forking"], *SLOTS["child"])
        self.start("dying", recorders.recorder, self.place, SLOTS["dying"], 0, "background")
        if self.place.durable:
            self.start("worker", recorders.worker, self.place)

    def later(self, span):
        return time.time() + self.chance.uniform(*span)

    def bring_back(self, name):
        """Kill it and start another in its place."""
        self.counts[name] += 1
        if name == "server":
            self.server.stop()
            self.server.start()
            return
        os.kill(self.pids[name], signal.SIGKILL)
        os.waitpid(self.pids.pop(name), 0)
        if name == "worker":
            self.start(name, recorders.worker, self.place)
        else:
            self.start(name, recorders.recorder, self.place, SLOTS[name], self.counts[name], "background")

    def drain(self):
        """Wait until all is delivered or buried; return whether that came."""
        for name in ("storing", "delivering", "forking", "dying"):
            self.wait(name)
        if not self.place.durable:
            return set((self.folder / "remaining").read_text().split()) == {"0"}
        ends_at = time.time() + DRAIN
        store = open_store(self.place.store)
        while (left := any(depth.queued for depth in store.depths())) and time.time() < ends_at:
            time.sleep(0.05)
        for item in store.listed(dead=True, most=10**6):
            self.place.note("dead", item.id)
        store.close()
        os.kill(self.pids["worker"], signal.SIGTERM)
        self.wait("worker")
        return not left

    def wait(self, name):
        _, status = os.waitpid(self.pids.pop(name), 0)
        if status != 0:
            raise RuntimeError(f"the process {name!r} ended with status {status}")

    def kill_all(self):
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def open_store(url):
    return SqliteStore(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else RedisStore(url)


def warm_up():
    """Deliver something, so that processes that are forked off need not import and read what that takes."""
    import redis  # noqa: F401, PLC0415 - nor what a store takes: none may be opened here

    own = thumbprint.Thumbprint(store="memory://")
    own.record_feedback(thumbprint.LogRef(backend="braintrust", id="warm-up", project_name="emulator"), thumbs="up")
    own.close()


class Tally:
    """What became of everything that was accepted."""

    def __init__(self, conductor, *, drained, drain_time):
        folder = conductor.folder
        self.drained = drained
        self.drain_time = drain_time
        self.told = json.loads((folder / "told").read_text())
        self.dead = {line.partition("-")[0] for (line,) in lines(folder / "dead")}
        self.dropped = len(lines(folder / "dropped"))
        self.forks = len(lines(folder / "forks"))
        self.restarts = conductor.counts["server"]
        self.kills = conductor.counts["dying"] + conductor.counts["worker"]
        self.accepted = [(entry, int(number), receipt) for entry, number, receipt in lines(folder / "accepted")]
        self.lost = [each for each in self.accepted if each[2] not in self.dead and not self.arrived(*each[:2])]
        self.disordered = [*self.disordered_rows(), *self.stale_logs()]

    def arrived(self, entry, number):
        """Tell whether it is there; a Cloudflare log holds the last word only, with which earlier ones were merged."""
        if entry in self.told["logs"]:
            return self.told["logs"][entry] >= number
        return number in self.told["rows"].get(entry, ())

    def disordered_rows(self):
        """Return the rows whose comments came in another order, resent copies aside."""
        rows = self.told["rows"].items()
        return [entry for entry, numbers in rows if list(dict.fromkeys(numbers)) != sorted(set(numbers))]

    def stale_logs(self):
        """Return the logs that an older word was the last to reach."""
        return [entry for entry, numbers in self.told["scores"].items() if self.told["logs"][entry] < max(numbers)]

    def copies(self):
        return sum(len(numbers) - len(set(numbers)) for numbers in self.told["rows"].values())

    def counts(self):
        injected = self.told["injected"]
        buried = sum(receipt in self.dead for _, _, receipt in self.accepted)
        return {
            "accepted": len(self.accepted),
            "delivered": len(self.accepted) - buried - len(self.lost),
            "dead letters": buried,
            "lost": len(self.lost),
            "dropped (never accepted)": self.dropped,
            "entries out of order": len(self.disordered),
            "copies (at least once)": self.copies(),
            "requests": self.told["requests"],
            "seconds to drain": round(self.drain_time),
            "429 provoked": self.told["provoked"],
            f"busiest {services.WINDOW:g} s (limit {services.LIMIT})": self.told["busiest"],
            **{f"injected: {kind}": injected.get(kind, 0) for kind in services.TROUBLE},
            "restarts of the services": self.told["restarts"],
            "restarts of the store": self.restarts,
            "processes killed": self.kills,
            "processes forked": self.forks,
        }

    def violations(self):
        """Return what must not be, in words."""
        found = {
            "not everything was delivered in time": not self.drained,
            f"lost: {self.lost[:5]}": self.lost,
            f"out of order: {self.disordered[:5]}": self.disordered,
            "a 429 was provoked": self.told["provoked"] > 0,
            "nothing was accepted": not self.accepted,
        }
        return [words for words, violated in found.items() if violated]


def lines(path):
    """Return the words of each line; none where nobody has written any."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []
