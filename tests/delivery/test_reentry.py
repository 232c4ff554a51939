"""Recording from a signal handler or a finalizer, which may interrupt a thread in the middle of its own recording."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import unmeasured

BEGIN = """
import faulthandler, gc, itertools, os, signal, sys, threading, time
import thumbprint
faulthandler.dump_traceback_later(15, exit=True)  # a deadlock shows where it is

own = thumbprint.Thumbprint()
counts = {"own": 0, "interrupting": 0, "dropped": 0}
numbers = {who: itertools.count(1) for who in counts}  # a handler may come between reading and writing of a sum

def say(who):
    number = next(numbers[who])
    counts[who] = max(counts[who], number)
    name = f"{who}-{number}"
    ref = thumbprint.LogRef(backend="braintrust", id=name, project_name="emulator", captured_at=time.time())
    if own.record_feedback(ref, comment=name).status == "dropped":
        next(numbers["dropped"])

say("own")
"""
SIGNALS = """
depth = 0
def interrupt(*_):
    global depth
    if depth < 3:  # deeper, a handler that is slower than its timer would never end
        depth += 1
        say("interrupting")
        depth -= 1
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
ends_at = time.monotonic() + 1
while time.monotonic() < ends_at:
    say("own")
signal.setitimer(signal.ITIMER_REAL, 0)
"""
FINALIZERS = """
class Finalized:
    def __init__(self):
        self.itself = self
    def __del__(self):
        if counts["interrupting"] < counts["own"]:
            say("interrupting")
gc.set_threshold(41, 2, 2)
ends_at = time.monotonic() + 1
while time.monotonic() < ends_at:
    Finalized()
    say("own")
gc.disable()
"""
END = """
assert own.close(20).remaining == 0
import json
for who in numbers:
    counts[who] = next(numbers[who]) - 1
print(json.dumps(counts))
"""


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request):
    return "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
@pytest.mark.parametrize("interruption", [SIGNALS, FINALIZERS], ids=["signal", "finalizer"])
def test_who_interrupts_its_own_recording_records_too(emulator, store, interruption):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + interruption + END],
        check=False, capture_output=True, text=True, timeout=60, env=unmeasured.environ(THUMBPRINT_STORE=store),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    arrived = {row["id"] for row in emulator.braintrust_rows()}

    assert counts["interrupting"] > 10
    assert len(arrived) == counts["own"] + counts["interrupting"] - counts["dropped"]
