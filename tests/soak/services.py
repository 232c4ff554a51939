"""Both services in a process of their own that gives trouble, and in the end tells what has really reached them."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from collections import Counter, defaultdict

import httpx

from thumbprint.emulator import Emulator

WINDOW = 5.0  # seconds of Cloudflare's limit
LIMIT = 240  # requests in them: what the pace allows in the busiest is three quarters of that
SCALE = 1e7  # of a number as a Cloudflare score

LOGS = "/client/v4/.*/logs"
ROWS = "/v1/project"
SLOW = 0.8  # seconds at most, well below the time after which a client gives up

# kind → (how often, what it is). These are counted: whatever else is refused for coming too fast was provoked.
TROUBLE = {
    "dropped before": (4, lambda chance: {"drop": "before"}),
    "dropped after": (4, lambda chance: {"drop": "after"}),
    "cut off": (3, lambda chance: {"drop": "during"}),
    "hang": (1, lambda chance: {"hang": True}),
    "slow": (4, lambda chance: {"delay": chance.uniform(0.1, SLOW)}),
    "429": (2, lambda chance: {"status": 429, "headers": {"retry-after": str(chance.choice([0, 1]))}}),
    "500": (3, lambda chance: {"status": 500}),
    "503": (3, lambda chance: {"status": 503, "body": "overloaded"}),
    "400": (1, lambda chance: {"status": 400, "body": "asked to refuse"}),
}


class Services:
    """The emulator, the faults that it was asked for, and what can be told from its requests."""

    def __init__(self, seed):
        self.chance = random.Random(f"{seed} services")
        self.emulator = Emulator(rate_limit=LIMIT, rate_window=WINDOW).start()
        self.faults = []
        self.restarts = 0
        self.statuses = Counter()
        self.scores = defaultdict(list)
        self.calls = []  # when Cloudflare's API was called
        self._last = None

    def new_logs(self, count):
        """Make calls through the gateway; return the ids of their logs."""
        with httpx.Client(headers={"authorization": "Bearer any"}) as client:
            asked = {"model": "gpt-5", "messages": [{"role": "user", "content": "hi"}]}
            url = f"{self.emulator.cloudflare_openai_url}/chat/completions"
            return [client.post(url, json=asked).headers["cf-aig-log-id"] for _ in range(count)]

    def give_trouble(self):
        """Let the next few requests to one of the services go wrong, or be down for a moment."""
        if self.chance.random() < 0.02:
            self.restart()
            return
        [kind] = self.chance.choices(list(TROUBLE), [often for often, _ in TROUBLE.values()])
        settings = TROUBLE[kind][1](self.chance)
        path, times = self.chance.choice([LOGS, ROWS]), self.chance.randint(1, 4)
        self.faults.append((kind, self.emulator.fail(path, times=times, **settings)))

    def restart(self):
        self.emulator.stop()
        time.sleep(self.chance.uniform(0.1, 1.5))
        self.emulator.start()
        self.restarts += 1

    def calm_down(self):
        """Give no trouble any more."""
        for _, fault in self.faults:
            fault.times = 0
        self.restart()  # which ends what hangs

    def look(self):
        """Note the requests since the last look."""
        seen = self.emulator.requests()
        new = list(itertools.takewhile(lambda each: each is not self._last, reversed(seen)))
        for each in reversed(new):
            self._note(each)
        self._last = seen[-1] if seen else None

    def _note(self, seen):
        if not seen.path.startswith(("/client/", "/v1/project")):
            return
        self.statuses[str(seen.status)] += 1
        if seen.path.startswith("/client/"):
            self.calls.append(seen.at)
        if seen.method == "PATCH" and seen.status == 200:
            self.scores[seen.path.rpartition("/")[2]].append(round(json.loads(seen.body)["score"] * SCALE))

    def told(self):
        """Return everything that a tally needs, as JSON."""
        self.look()
        injected = Counter()
        for kind, fault in self.faults:
            injected[kind] += fault.hits
        rows = {row["id"]: row["comments"] for row in self.emulator.braintrust_rows()}
        logs = self.emulator.cloudflare_logs()
        return {
            "rows": {name: [int(comment["text"]) for comment in comments] for name, comments in rows.items()},
            "logs": {log["id"]: round((log["score"] or 0) * SCALE) for log in logs},
            "scores": self.scores,
            "injected": injected,
            "requests": sum(self.statuses.values()),
            "restarts": self.restarts,
            "provoked": self.statuses["429"] - injected["429"],
            "busiest": busiest(self.calls),
        }


def busiest(moments):
    """Return the most calls in any window."""
    most, first = 0, 0
    moments = sorted(moments)
    for last, moment in enumerate(moments):
        while moment - moments[first] >= WINDOW:
            first += 1
        most = max(most, last - first + 1)
    return most


def serve(seed, logs, folder, greeting):
    """Write to the pipe `greeting` where the services are, and serve as long as the folder has no file `ended`.

    Gives trouble until there is a file `calm`. Ends with the process that started it.
    """
    services, parent = Services(seed), os.getppid()
    told = {"environ": services.emulator.environ(), "logs": services.new_logs(logs)}
    os.write(greeting, f"{json.dumps(told)}\n".encode())
    while not (folder / "calm").exists() and os.getppid() == parent:
        services.give_trouble()
        services.look()
        time.sleep(services.chance.uniform(0, 0.3))
    services.calm_down()
    while not (folder / "ended").exists() and os.getppid() == parent:
        services.look()
        time.sleep(0.1)
    (folder / "told").write_text(json.dumps(services.told()))
    services.emulator.stop()
