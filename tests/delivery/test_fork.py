"""Processes that are forked off: each delivers its own feedback, none another's, and none twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
import unmeasured

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

BEGIN = """
import os, sys, threading, time, warnings
import thumbprint
warnings.simplefilter("ignore", DeprecationWarning)  # Python says that to fork with threads is dangerous: it is tested

def say(name):
    ref = thumbprint.LogRef(backend="braintrust", id=name, project_name="emulator", captured_at=time.time())
    return thumbprint.record_feedback(ref, comment=name)

def ended(pid):
    assert os.waitpid(pid, 0)[1] == 0
"""


def run(script, *, measured=True, **environ):
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + script],
        check=False, capture_output=True, text=True, timeout=60,
        env=(os.environ | environ) if measured else unmeasured.environ(**environ),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def arrived(emulator):
    """Return how often each piece of feedback has arrived."""
    posts = [seen for seen in emulator.requests() if seen.method == "POST" and seen.status == 200]
    return Counter(item["id"] for seen in posts for item in json.loads(seen.body)["feedback"])


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request):
    return "memory://" if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")


def test_a_child_delivers_its_own_and_its_parent_what_was_queued_before(emulator, store):
    """What is on its way while the process forks is slow enough to be so."""
    emulator.fail("/v1/project_logs", delay=0.3, times=1)
    run(
        """
for number in range(20):
    say(f"before-{number}")
pid = os.fork()
who = "parent" if pid else "child"
for number in range(20):
    say(f"{who}-{number}")
assert thumbprint.flush(20).remaining == 0
if pid:
    ended(pid)
""",
        THUMBPRINT_STORE=store,
    )
    expected = [f"{who}-{number}" for who in ("before", "parent", "child") for number in range(20)]
    assert arrived(emulator) == Counter(expected)


def test_a_child_that_records_nothing_delivers_nothing(emulator):
    emulator.fail("/v1/project_logs", delay=0.3, times=1)
    run(
        """
say("one"), say("two")
pid = os.fork()
if not pid:
    assert thumbprint.flush(20) == thumbprint.FlushResult()
    assert not [each for each in threading.enumerate() if each.name.startswith("thumbprint")]
else:
    ended(pid)
    assert thumbprint.flush(20).remaining == 0
"""
    )
    assert arrived(emulator) == Counter(["one", "two"])


def test_workers_forked_from_a_server_that_was_idle_deliver_and_end_as_any_process(emulator, store):
    """As gunicorn does it: the application is loaded, then forked, and each worker ends by itself."""
    run(
        """
thumbprint.configure()
pids = []
for worker in range(4):
    pid = os.fork()
    if not pid:
        for number in range(10):
            say(f"{worker}-{number}")
        sys.exit(0)  # what is queued is delivered at exit
    pids.append(pid)
for pid in pids:
    ended(pid)
""",
        THUMBPRINT_STORE=store,
    )
    assert arrived(emulator) == Counter(f"{worker}-{number}" for worker in range(4) for number in range(10))


def test_workers_forked_while_the_server_delivers_and_its_threads_record_neither_lose_nor_double(emulator, store):
    emulator.fail("/v1/project_logs", delay=0.2, times=2)
    run(
        """
thumbprint.configure()
for number in range(20):
    say(f"queued-{number}")
stop = threading.Event()
def keep_recording(name):
    number = 0
    while not stop.is_set():
        say(f"{name}-{number}")
        number += 1
        time.sleep(0.005)
threads = [threading.Thread(target=keep_recording, args=(f"thread{n}",)) for n in range(2)]
for thread in threads:
    thread.start()
pids = []
for worker in range(4):
    pid = os.fork()
    if not pid:
        for number in range(10):
            say(f"worker{worker}-{number}")
        assert thumbprint.shutdown(20).remaining == 0
        os._exit(0)
    pids.append(pid)
for pid in pids:
    ended(pid)
stop.set()
for thread in threads:
    thread.join()
assert thumbprint.flush(20).remaining == 0
""",
        measured=False,
        THUMBPRINT_STORE=store,
    )
    counts = arrived(emulator)
    assert set(counts.values()) == {1}
    for name, least in {"queued": 20, "thread0": 1, "thread1": 1, **{f"worker{n}": 10 for n in range(4)}}.items():
        numbers = sorted(int(each.partition("-")[2]) for each in counts if each.startswith(f"{name}-"))
        assert numbers == list(range(max(least, len(numbers))))


def test_children_of_children_deliver_too_while_all_of_them_record(emulator, store):
    run(
        """
stop = threading.Event()
def keep_recording():
    number = 0
    while not stop.is_set():
        say(f"thread-{number}")
        number += 1
        time.sleep(0.002)
thread = threading.Thread(target=keep_recording)
thread.start()
child = os.fork()
if not child:
    say("child")
    grandchild = os.fork()
    if not grandchild:
        say("grandchild")
        assert thumbprint.shutdown(20).remaining == 0
        os._exit(0)
    ended(grandchild)
    assert thumbprint.shutdown(20).remaining == 0
    os._exit(0)
ended(child)
stop.set()
thread.join()
assert thumbprint.flush(20).remaining == 0
""",
        measured=False,
        THUMBPRINT_STORE=store,
    )
    counts = arrived(emulator)
    assert counts["child"] == counts["grandchild"] == 1
    assert set(counts.values()) == {1}
    threads = sorted(int(name.removeprefix("thread-")) for name in counts if name.startswith("thread-"))
    assert threads == list(range(len(threads)))


WAITING = """
import asyncio

async def waited(receipt):
    return (await asyncio.wait_for(receipt, 20)).status

one, two = say("one"), say("two")
"""


def test_of_what_its_parent_has_in_memory_a_child_hears_nothing_and_waits_for_nothing(emulator):
    emulator.fail("/v1/project_logs", delay=0.5, times=2)
    run(
        WAITING
        + """
pid = os.fork()
if not pid:
    assert one.wait().status == asyncio.run(waited(two)) == "queued"
    assert say("child").wait(20).status == "delivered"
    os._exit(0)
ended(pid)
assert one.wait(20).status == two.wait(20).status == "delivered"
"""
    )


def test_what_becomes_of_its_parents_feedback_a_child_sees_in_a_store_that_they_share(emulator, sqlite_url):
    emulator.fail("/v1/project_logs", delay=0.5, times=2)
    run(
        WAITING
        + """
pid = os.fork()
if not pid:
    assert thumbprint.flush(0).remaining == 0
    assert one.wait(20).status == asyncio.run(waited(two)) == "delivered"
    os._exit(0)
ended(pid)
assert thumbprint.flush(20).remaining == 0
""",
        THUMBPRINT_STORE=sqlite_url,
    )


def test_of_what_its_parent_has_not_got_into_their_store_a_child_hears_nothing(emulator):
    run(
        """
import logging
logging.disable()
receipt = say("one")
pid = os.fork()
if pid:
    ended(pid)
    assert receipt.wait(0.1).status == "queued"
    os._exit(0)  # it would be tried for some seconds
assert receipt.wait().status == "queued"
""",
        THUMBPRINT_STORE="redis://127.0.0.1:1/0",
        THUMBPRINT_FALLBACK="memory",
    )


def test_what_a_child_itself_delivers_of_its_parents_feedback_is_told_by_the_receipt(emulator, sqlite_url):
    emulator.fail("/v1/project_logs", status=401, times=3)
    run(
        """
import logging
logging.disable()
one, two = say("one"), say("two")
pid = os.fork()
if not pid:
    before = one.outcomes[0].attempts
    assert (one.wait().status, one.outcomes[0].attempts) == ("queued", before + 1)
    assert (one.wait().status, two.status) == ("delivered", "delivered")
    os._exit(0)
ended(pid)
""",
        THUMBPRINT_STORE=sqlite_url,
        THUMBPRINT_DELIVERY="inline",
    )


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_process_of_multiprocessing_has_queued_at_its_end_is_delivered(emulator, method, tmp_path):
    emulator.fail("/v1/project_logs", delay=0.3, times=1)
    script = tmp_path / "work.py"
    script.write_text(
        BEGIN
        + f"""
import multiprocessing

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    process = context.Process(target=say, args=("child",))
    process.start()
    process.join()
    assert process.exitcode == 0
"""
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)

    assert arrived(emulator) == Counter(["child"])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_the_workers_of_multiprocessing_deliver_their_own(emulator, method, tmp_path):
    script = tmp_path / "work.py"
    script.write_text(
        BEGIN
        + f"""
import multiprocessing

def work(name):
    say(name)
    thumbprint.flush(20)

if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    say("parent")
    with context.Pool(2) as pool:
        pool.map(work, [f"work-{{number}}" for number in range(6)])
    thumbprint.flush(20)
"""
    )
    subprocess.run([sys.executable, str(script)], check=True, timeout=60)

    assert arrived(emulator) == Counter(["parent", *(f"work-{number}" for number in range(6))])
