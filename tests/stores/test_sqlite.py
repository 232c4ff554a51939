"""What only the SQLite store has: a file that may be unusable, processes that share it or die, forks, and a layout."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from thumbprint import LogRef, StoreError
from thumbprint._call import Call
from thumbprint._model import Feedback, Item
from thumbprint.stores import Conclusion, DataLostError, Key, Pace, _kept, _sqlite_file
from thumbprint.stores import sqlite as sqlite_module
from thumbprint.stores._sqlite_file import SqliteFile, fetch, fetch_value
from thumbprint.stores._sqlite_statements import MIGRATIONS
from thumbprint.stores.sqlite import COUNT_EVERY, PURGE_EVERY, SORTED_AT_ONCE, SqliteStore

PATIENCE = 60  # seconds for another process, on a machine that is busy
NOW = 2_000_000_000.0
PACE = Pace(rate=2.0, burst=3.0)

# What the programs below begin with, run in processes of their own.
PROLOGUE = """
import os, sys, time
from thumbprint import LogRef
from thumbprint._model import Feedback, Item
from thumbprint.stores import Conclusion
from thumbprint.stores.sqlite import SqliteStore

def item(entry, number):
    ref = LogRef(backend="cloudflare", id=str(entry))
    return Item(id=f"{entry}-{number}", ref=ref, feedback=Feedback(thumbs=1), created_at=1.0)

def say(*words):  # in one piece: others write to the same file
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

store = SqliteStore(sys.argv[1])
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.db"


@pytest.fixture
def open_store(path):
    """Return what opens the store, as often as is asked for."""
    with contextlib.ExitStack() as opened:

        def open_store(path=path, **settings):
            store = SqliteStore(path, **settings)
            opened.callback(store.close)
            return store

        yield open_store


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(_sqlite_file, "PATIENCE", 0.05)
    monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 0.05)


@contextlib.contextmanager
def elsewhere(lock):
    """Have another thread hold the lock."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(PATIENCE)
    try:
        yield
    finally:
        done.set()
        thread.join()


def is_locked(lock):
    """Tell whether another thread would have to wait."""
    with ThreadPoolExecutor(1) as pool:
        if pool.submit(lock.acquire, blocking=False).result():
            pool.submit(lock.release).result()
            return False
    return True


def item(entry="e", number=0, *, created_at=1.0):
    ref = LogRef(backend="cloudflare", id=entry)
    return Item(id=f"{entry}-{number}", ref=ref, feedback=Feedback(thumbs=1), created_at=created_at)


@contextlib.contextmanager
def another_thread_at(store):
    began, end = threading.Event(), threading.Event()

    def be_at_it(_):
        began.set()
        end.wait(PATIENCE)

    busy = threading.Thread(target=store._file.run, args=(be_at_it,))
    busy.start()
    began.wait(PATIENCE)
    try:
        yield
    finally:
        end.set()
        busy.join()


def free(store):
    """Whether another thread than this one could use the file now."""
    with ThreadPoolExecutor() as pool:
        taken = pool.submit(store._file._lock.acquire, blocking=False).result()
    if taken:
        store._file._lock = threading.RLock()  # the thread that has the other is gone
    return taken


def call(log_id="1"):
    return Call([LogRef(backend="cloudflare", id=log_id)])


def claim(store, *, now=NOW, most=1_000, lease=60.0):
    return store.claim("cloudflare", now=now, most=most, lease=lease)


def settle(store, claimed):
    store.conclude([(claimed, Conclusion(settled=claimed.items))])


def connection_of(store):
    """Return the store's own connection, opening it."""
    return store._file.run(lambda db: db)


def queued(store):
    return sum(depth.queued for depth in store.depths())


@pytest.fixture
def run():
    """Return what starts a program in a process of its own, which ends with the test at the latest."""
    with contextlib.ExitStack() as started:

        def run(program, *arguments, stdout=subprocess.PIPE):
            command = [sys.executable, "-W", "ignore", "-c", PROLOGUE + textwrap.dedent(program)]
            process = subprocess.Popen([*command, *map(str, arguments)], stdout=stdout, text=True)
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield run


def output_of(process):
    """Return the lines that the process has printed in the end: there are some."""
    said, _ = process.communicate(timeout=PATIENCE)
    assert said
    return said.splitlines()


# --- what stays


def test_everything_is_there_when_the_file_is_opened_again(open_store):
    store = open_store()
    store.put([item("a", 1), item("b", 1)])
    [kept, dead] = claim(store)
    store.put([item("a", 2)])
    store.conclude([(dead, Conclusion(buried=dead.items))])
    store.remember([Key("scope", "s")], call())
    store.take("bucket", Pace(rate=0.001, burst=1.0), now=NOW)
    store.hold("held", until=NOW + 5)
    store.close()

    store = open_store()
    assert [one.refs for one in store.recall(Key("scope", "s"))] == [call().refs]
    assert store.take("bucket", Pace(rate=0.001, burst=1.0), now=NOW) > 0
    assert store.take("held", PACE, now=NOW) == 5
    assert store.listed(dead=True, most=9) == [item("b", 1)]
    assert claim(store) == []
    [again] = claim(store, now=NOW + 60)
    assert again.items == (item("a", 1), item("a", 2))
    assert again.entry == kept.entry


def test_it_shows_its_path(store, path):
    assert repr(store) == f"SqliteStore({str(path)!r})"


def test_nothing_is_opened_before_it_is_used(open_store, path):
    open_store().close()

    assert not path.exists()


def test_a_relative_path_is_that_of_the_folder_in_which_the_store_was_made(open_store, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    store = open_store("outbox.db")
    monkeypatch.chdir(tmp_path / "there")
    store.put([item()])

    assert (tmp_path / "outbox.db").is_file()


def test_what_was_committed_is_in_a_write_ahead_log(store, path):
    db = connection_of(store)

    assert fetch_value(db, "PRAGMA journal_mode") == "wal"
    assert fetch_value(db, "PRAGMA synchronous") == 1
    assert path.with_name("outbox.db-wal").exists()


def test_putting_one_item_is_one_statement(store):
    store.put([item("a")])
    statements = []
    connection_of(store).set_trace_callback(statements.append)
    store.put([item("b")])

    [statement] = statements
    assert statement.startswith("INSERT INTO inbox")


def test_a_store_that_nobody_looks_at_is_sorted_now_and_then(open_store):
    """A process that only puts must not leave years of work to the first that claims."""
    store = open_store()
    for number in range(2 * COUNT_EVERY + 1):
        store.put([item("a", number)])

    assert fetch_value(connection_of(store), "SELECT count(*) FROM inbox") == 1


def test_leases_end_together_or_not_at_all(store):
    store.put([item("a"), item("b")])
    first, second = claim(store)
    broken = second.items[0]._replace(reason=object())
    with pytest.raises(TypeError):
        store.conclude([(first, Conclusion(settled=first.items)), (second, Conclusion(buried=(broken,)))])

    assert [depth.queued for depth in store.depths()] == [2]


def test_more_than_is_sorted_at_once_is_claimed_in_order(store):
    items = [item(str(number % 3), number) for number in range(2 * SORTED_AT_ONCE + 1)]
    store.put(items)

    for claimed in claim(store):
        entry = claimed.items[0].ref.id
        assert claimed.items == tuple(one for one in items if one.ref.id == entry)


def test_a_retry_does_not_wait_for_all_that_was_put_after_it(open_store):
    store = open_store(clock=lambda: 100.0)
    store.put([item("retried", created_at=10.0)])
    [claimed] = claim(store, now=20.0)
    store.conclude([(claimed, Conclusion(waiting=claimed.items, due_at=50.0))])
    store.put([item("earlier", created_at=40.0), item("later", created_at=60.0), item("ahead", created_at=1e9)])

    assert [claimed.items[0].ref.id for claimed in claim(store, now=100.0)] == ["earlier", "retried", "later", "ahead"]


def test_a_revived_item_takes_its_old_place_among_those_of_its_entry(store):
    store.put([item(number=1), item(number=2), item(number=3)])
    [claimed] = claim(store)
    first, second, third = claimed.items
    store.conclude([(claimed, Conclusion(waiting=(first, third), buried=(second,)))])
    store.put([item(number=4)])
    store.revive()

    assert [one.id for one in claim(store)[0].items] == ["e-1", "e-2", "e-3", "e-4"]


def test_what_a_dead_worker_had_may_be_purged_when_the_lease_has_ended(open_store):
    clock = [100.0]
    store = open_store(clock=lambda: clock[0])
    store.put([item()])
    claim(store, now=100.0, lease=60.0)

    assert store.purge(dead=False) == 0
    clock[0] = 160.0
    assert store.purge(dead=False) == 1
    assert claim(store) == []
    assert store.next_due("cloudflare") is None


# --- references go after a while


def test_calls_are_forgotten_when_their_time_is_over(open_store):
    clock = [100.0]
    store = open_store(clock=lambda: clock[0], reference_ttl=50.0)
    store.remember([Key("scope", "s")], call("1"))
    clock[0] = 149.0
    store.remember([Key("scope", "s")], call("2"))

    assert [one.refs[0].id for one in store.recall(Key("scope", "s"))] == ["1", "2"]
    clock[0] = 150.0
    assert [one.refs[0].id for one in store.recall(Key("scope", "s"))] == ["2"]


def test_forgotten_calls_leave_the_file_while_others_are_remembered(open_store):
    clock = [100.0]
    store = open_store(clock=lambda: clock[0], reference_ttl=50.0)
    for number in range(PURGE_EVERY):
        store.remember([Key("scope", str(number)), Key("trace", "t")], call())
    clock[0] = 151.0
    for _ in range(PURGE_EVERY + 1):
        store.remember([Key("scope", "new")], call())

    assert fetch_value(connection_of(store), "SELECT count(*) FROM calls") == PURGE_EVERY + 1


# --- the pace


def test_a_time_that_was_read_before_others_took_does_not_fill_the_bucket_twice(store):
    assert [store.take("b", PACE, now=NOW) for _ in range(3)] == [0.0] * 3
    assert store.take("b", PACE, now=NOW + 0.5) == 0.0
    assert store.take("b", PACE, now=NOW - 5) == pytest.approx(0.5)
    assert store.take("b", PACE, now=NOW + 0.5) == pytest.approx(0.5)


def test_a_clock_that_is_set_back_by_hours_stops_nobody_for_hours(store):
    for _ in range(3):
        store.take("b", PACE, now=NOW)
    earlier = NOW - 3 * 3600

    assert store.take("b", PACE, now=earlier) > 0
    assert store.take("b", PACE, now=earlier + 60.25) == pytest.approx(0.25)
    assert store.take("b", PACE, now=earlier + 61) == 0.0


def test_buckets_that_are_full_again_leave_the_file_while_others_are_used(store):
    for number in range(PURGE_EVERY):
        store.take(str(number), PACE, now=NOW)
    store.hold("held", until=NOW + 1e9)
    store.take("slow", Pace(rate=1e-308, burst=1e9), now=NOW)
    for _ in range(PURGE_EVERY):
        store.take("new", PACE, now=NOW + 60)

    assert {name for (name,) in fetch(connection_of(store), "SELECT name FROM buckets")} == {"held", "slow", "new"}


def test_a_full_bucket_that_is_held_stays(store):
    store.take("b", PACE, now=NOW)
    store.hold("b", until=NOW + 1_000)
    for _ in range(PURGE_EVERY):
        store.take("new", PACE, now=NOW + 60)

    assert store.take("b", PACE, now=NOW + 60) == 940


def test_notes_whose_time_is_over_leave_the_file_while_others_are_written(open_store):
    clock = [100.0]
    store = open_store(clock=lambda: clock[0])
    for number in range(PURGE_EVERY):
        store.swap(str(number), "", "text", seconds=10)
    store.swap("long", "", "text", seconds=100)
    clock[0] = 111.0
    for _ in range(PURGE_EVERY):
        store.swap("new", "text", "text", seconds=10)

    assert {name for (name,) in fetch(connection_of(store), "SELECT name FROM notes")} == {"long", "new"}


# --- what cannot be used


def refusal_of(store):
    """Return what the store says when it is used, the same however it is used."""
    with pytest.raises(StoreError) as refused:
        store.put([item()])
    with pytest.raises(StoreError) as refused_again:
        store.depths()
    message = str(refused.value)
    assert str(refused_again.value) == message
    assert message.startswith(f"the store {str(store._file.path)!r} cannot be used: ")
    return message.partition("cannot be used: ")[2]


def test_a_missing_folder_is_named_and_may_be_made_later(open_store, tmp_path):
    store = open_store(tmp_path / "missing" / "outbox.db")

    assert refusal_of(store).startswith(f"there is no folder {str(tmp_path / 'missing')!r}; make it, or give another")
    (tmp_path / "missing").mkdir()
    assert store.put([item()])


def test_a_folder_is_no_store(open_store, tmp_path):
    assert refusal_of(open_store(tmp_path)).startswith("it is a folder; give the path of a file")


def test_a_file_that_is_no_database_is_left_as_it_is(open_store, path):
    path.write_text("The quick brown fox jumps over the lazy dog.\n" * 100)

    assert refusal_of(open_store()).startswith("it is not an SQLite database; give the path of another file (SQLite")
    assert path.read_text().startswith("The quick brown fox")


def test_the_database_of_another_application_is_left_as_it_is(open_store, path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE users (name TEXT)")
    before = path.read_bytes()

    assert refusal_of(open_store()) == "it is the database of another application; give the path of another file"
    assert path.read_bytes() == before


def test_a_store_that_a_newer_version_has_written_is_left_as_it_is(open_store, path):
    open_store().put([item()])
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")

    assert refusal_of(open_store()) == (
        f"a newer thumbprint has written it (layout {len(MIGRATIONS) + 1}, and this one knows {len(MIGRATIONS)}); "
        "upgrade this one, or give the path of another file"
    )


def test_a_damaged_file_is_told_and_a_mended_one_is_used_again(open_store, path, tmp_path):
    store = open_store()
    store.put([item(str(number)) for number in range(200)])
    store.depths()
    store.close()
    shutil.copy(path, tmp_path / "copy")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    assert refusal_of(store).startswith("it is damaged; move it away")
    shutil.copy(tmp_path / "copy", path)
    assert queued(store) == 200


def test_a_full_disk_is_told_and_what_was_put_before_is_kept(store):
    store.put([item("a")])
    connection_of(store).execute(f"PRAGMA max_page_count = {fetch_value(connection_of(store), 'PRAGMA page_count')}")

    with pytest.raises(StoreError, match=r"the disk is full; make room \(SQLite says: database or disk is full\)"):
        store.put([item(str(number)) for number in range(1_000)])
    assert queued(store) == 1
    assert store.put([item("b")])


def test_a_store_that_another_process_keeps_locked_is_told_and_used_when_it_is_free(open_store, path, impatient):
    store = open_store()
    store.put([item("a")])
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert refusal_of(store).startswith("another process keeps it locked; see what that process does")

    assert store.put([item("b")])


def test_a_store_at_which_another_thread_is_for_too_long_is_told(store, impatient):
    store.put([item()])
    with elsewhere(store._file._lock):
        with pytest.raises(StoreError, match="another thread is at it for too long"):
            store.put([item()])
        store.close()  # which nobody waits for


def test_who_interrupts_its_own_thread_at_the_file_gets_its_work_done_as_part_of_that(store):
    """As a signal handler does, and a finalizer."""

    def begin(db):
        with _sqlite_file.transaction(db):
            assert store.put([item("a", 1), item("a", 2)])
            assert queued(store) == 2
        return store._file.run(lambda inner: inner is db)

    assert store._file.run(begin) is True
    assert queued(store) == 2


def test_who_fails_in_interrupting_its_own_thread_at_the_file_does_not_spoil_what_that_is_at(store):
    def begin(db):
        with _sqlite_file.transaction(db):
            store.put([item("a", 1)])
            with pytest.raises(StoreError, match="syntax error"):
                store._file.run(lambda inner: inner.execute("no SQL"))
            with pytest.raises(ZeroDivisionError):
                store._file.run(lambda _: 1 / 0)

    store._file.run(begin)
    assert queued(store) == 1


def test_what_sqlite_says_otherwise_is_passed_on(store):
    connection_of(store).execute("DROP TABLE buckets")

    with pytest.raises(StoreError, match=r"cannot be used: SQLite could not do it \(SQLite says: no such table"):
        store.hold("b", until=NOW)


def test_what_sqlite_for_python_says_is_passed_on_too(store):
    connection_of(store).close()

    with pytest.raises(StoreError, match=r"SQLite could not do it \(SQLite says: Cannot operate on a closed"):
        store.depths()
    assert store.depths() == []


def test_a_store_in_sqlite_s_memory_is_refused(open_store):
    assert refusal_of(open_store(":memory:")) == "what is to be kept in memory needs no SQLite; use memory://"


def test_a_place_where_no_write_ahead_log_can_be_kept_is_refused(open_store, path, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(  # as on a network drive: processes cannot share memory there
        sqlite3, "connect", lambda _, **settings: connect(f"{path.as_uri()}?vfs=unix-dotfile", uri=True, **settings)
    )

    assert refusal_of(open_store()) == "SQLite can keep no write-ahead log there; give a path on a local disk"


def sleeping(sleep):
    """Return what stands for the time in a module of the store's; other threads' own sleep stays as it is."""
    return SimpleNamespace(sleep=sleep, time=time.time, monotonic=time.monotonic)


def test_who_opens_the_file_while_somebody_else_lays_it_out_waits(open_store, path, impatient, monkeypatch):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(_sqlite_file, "time", sleeping(lambda _: other.execute("ROLLBACK")))
        store = open_store()

        assert store.put([item()])


def test_who_waits_for_that_in_vain_is_told(open_store, path, impatient):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        assert "locked" in refusal_of(open_store())


UNPRIVILEGED = """
    import sqlite3
    from thumbprint import StoreError
    if os.getuid() == 0:  # whom no permission holds
        os.setgid(65534)
        os.setuid(65534)
    for use in (lambda: store.put([item("a", 1)]), store.depths):
        try:
            say("done:", use())
        except StoreError as error:
            say("refused:", error)
"""


@pytest.fixture
def open_folder():
    """Return a folder that everybody may enter, unlike pytest's own, and perhaps those above that of TMPDIR."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_a_file_that_may_only_be_read_is_told(run, open_folder, open_store):
    path = open_folder / "outbox.db"
    store = open_store(path)
    store.put([item()])
    store.close()
    path.chmod(0o444)

    refused = f"refused: the store {str(path)!r} cannot be used: "
    for line in output_of(run(UNPRIVILEGED, path)):
        assert line.startswith(f"{refused}this user may not write to it or to its folder; change the permissions")


def test_a_folder_that_may_not_be_written_to_is_told(run, open_folder):
    path = open_folder / "outbox.db"
    open_folder.chmod(0o555)

    refused = f"refused: the store {str(path)!r} cannot be used: "
    for line in output_of(run(UNPRIVILEGED, path)):
        assert line.startswith(f"{refused}it cannot be opened; see whether this user may read and write it")


def test_what_must_be_done_for_a_file_that_is_missing_is_told(run, open_folder):
    check = (
        UNPRIVILEGED.partition("    for use")[0]
        + """
    [finding] = store.check()
    say(finding.status, finding.advice)
    """
    )
    lines = [
        "warning correct the path, or start the application or `thumbprint worker`, whose first use of it makes it"
    ]
    open_folder.chmod(0o777)
    assert output_of(run(check, open_folder / "outbox.db")) == lines
    open_folder.chmod(0o555)
    for path, what in (
        (open_folder / "outbox.db", f"let this user write to the folder {str(open_folder)!r}"),
        (open_folder / "no" / "outbox.db", f"make the folder {str(open_folder / 'no')!r}"),
    ):
        assert output_of(run(check, path)) == [f"problem give another path, or {what}"]
    assert list(open_folder.iterdir()) == []


def test_what_was_begun_is_undone_where_it_fails(store, monkeypatch):
    store.put([item("a"), item("b")])

    def fail(text):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(_kept, "item_from_json", fail)
        with pytest.raises(KeyboardInterrupt):
            claim(store)

    assert len(claim(store)) == 2


# --- a file that another process keeps locked


@pytest.fixture
def patient(monkeypatch):
    """Have the delivery wait for longer than a test may last: whoever is back has not waited like that."""
    monkeypatch.setattr(_sqlite_file, "PATIENCE", 10.0 * PATIENCE)


@contextlib.contextmanager
def locked(path):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


def seconds(work, *arguments):
    began = time.monotonic()
    work(*arguments)
    return time.monotonic() - began


def refused(work, *arguments):
    with pytest.raises(StoreError, match="another process keeps it locked") as raised:
        work(*arguments)
    assert type(raised.value) is StoreError


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("operation", ["put", "remember"])
def test_what_an_application_waits_for_is_given_up_sooner_than_what_a_delivery_does(store, path, operation):
    store.put([item("a")])
    arguments = [[item("b")]] if operation == "put" else [[Key("scope", "s")], call()]
    with locked(path):
        assert seconds(refused, getattr(store, operation), *arguments) < PATIENCE


@pytest.mark.usefixtures("patient")
def test_after_one_has_waited_in_vain_the_next_ones_try_but_hardly_wait(store, path, monkeypatch):
    monkeypatch.setattr(_sqlite_file, "REST", 1e9)
    store.put([item("a")])
    with locked(path) as other:
        refused(store.put, [item("b")])
        monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 10.0 * PATIENCE)
        assert seconds(refused, store.put, [item("c")]) < PATIENCE
        other.execute("ROLLBACK")
        assert store.put([item("d")])

    assert [one.ref.id for one in store.listed(dead=False, most=9)] == ["a", "d"]


def test_when_one_has_found_the_file_free_the_next_ones_wait_again(store, path, monkeypatch):
    monkeypatch.setattr(_sqlite_file, "REST", 1e9)
    monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 0.05)
    store.put([item("a")])
    with locked(path) as other:
        refused(store.put, [item("b")])
        other.execute("ROLLBACK")
        store.put([item("c")])
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 10.0 * PATIENCE)
        waits = ThreadPoolExecutor(1)
        waiting = waits.submit(store.put, [item("d")])
        time.sleep(3 * _sqlite_file.HURRY)
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert waiting.result(PATIENCE)
        waits.shutdown()


@pytest.mark.usefixtures("patient")
def test_who_only_reads_does_not_wait_for_a_thread_that_waits_to_write(store, path):
    store.remember([Key("scope", "s")], call())
    store.put([item("a")])
    with locked(path) as other, ThreadPoolExecutor(1) as delivery:
        waiting = delivery.submit(claim, store)
        assert seconds(store.recall, Key("scope", "s")) < PATIENCE
        assert store.fates(["a-0", "b-0"]) == {"a-0": ("queued", item("a"))}
        assert not waiting.done()
        other.execute("ROLLBACK")
        assert [claimed.items for claimed in waiting.result(PATIENCE)] == [(item("a"),)]


@pytest.mark.usefixtures("impatient")
def test_who_waits_for_another_process_opens_the_file_only_once(store, path, monkeypatch):
    """To open it again at each try would cost the others, and itself, the time in which it might have its turn."""
    store.put([item("a")])
    connection = connection_of(store)
    with locked(path):
        refused(store.put, [item("b")])

        assert connection_of(store) is connection


@pytest.mark.usefixtures("impatient")
def test_who_is_turned_away_in_the_middle_of_a_change_leaves_nothing_of_it(store, open_store):
    def change(db):
        db.execute("BEGIN IMMEDIATE")
        error = sqlite3.OperationalError("database is locked")
        error.sqlite_errorname = "SQLITE_BUSY_SNAPSHOT"
        raise error

    store.put([item("a")])
    refused(store._file.run, change)

    assert open_store().put([item("b")])


def test_while_others_have_their_turns_nobody_has_to_hurry(store, open_store, path, monkeypatch):
    monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 0.05)
    store.put([item("a")])
    with locked(path):
        # As at the end of somebody's turn.
        monkeypatch.setattr(_sqlite_file, "time", sleeping(lambda _: Path(f"{path}-wal").touch()))
        refused(store.put, [item("b")])

    assert store._file._hurried_until == 0.0


def test_where_nobody_has_written_yet_who_finds_the_file_locked_makes_others_hurry(open_store, path, monkeypatch):
    monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 0.05)
    store = open_store()
    with locked(path):
        refused(store.put, [item("b")])

    assert store._file._hurried_until > 0.0


def test_a_thread_that_waits_for_another_process_lets_a_fork_through(store, path, monkeypatch):
    store.put([item("a")])
    with locked(path) as other, ThreadPoolExecutor(1) as delivery:
        waiting = delivery.submit(claim, store)
        _sqlite_file._before_fork()
        assert store._file._connection is None
        _sqlite_file._after_fork_in_parent()
        other.execute("ROLLBACK")
        assert len(waiting.result(PATIENCE)) == 1


# --- a file that is deleted


@pytest.fixture
def attentive(monkeypatch):
    monkeypatch.setattr(_sqlite_file, "LOOK_EVERY", 0.0)


def delete(path):
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


@pytest.mark.parametrize("others", [True, False], ids=["and made anew by another", "and not made anew"])
@pytest.mark.parametrize("is_open", [True, False])
def test_what_was_in_a_file_that_was_deleted_is_lost_and_what_comes_then_is_in_the_new_one(
    open_store, path, others, is_open, attentive
):
    store, other = open_store(), open_store()
    generation = store.put([item("lost")])
    if not is_open:
        store.close()
    delete(path)
    if others:
        other.put([item("another")])

    with pytest.raises(DataLostError, match=f"{path}' was deleted or replaced"):
        store.fates(["lost-0"], generation)
    newer = store.put([item("kept")])
    store.close()
    assert store.fates(["lost-0", "kept-0"], newer) == {"kept-0": ("queued", item("kept"))}
    assert queued(other) == 1 + others
    assert newer == other.put([item("last")])


def test_a_file_that_is_deleted_in_the_middle_of_a_change_is_worked_with_until_that_is_done(store, path, attentive):
    def delete_and_put(db):
        delete(path)
        return store.put([item("a")])

    generation = store._file.run(delete_and_put)
    with pytest.raises(DataLostError):
        store.fates(["a-0"], generation)


# --- the layout


def test_a_file_of_an_older_version_is_brought_up_to_date(run, tmp_path):
    first = ("CREATE TABLE names (name TEXT)", "INSERT INTO names VALUES ('a')")
    second = ("ALTER TABLE names ADD COLUMN length INTEGER", "UPDATE names SET length = length(name)")
    third = ("CREATE INDEX by_length ON names (length)",)
    path = tmp_path / "old.db"
    for migrations in ((first,), (first, second, third)):
        file = SqliteFile(path, migrations=migrations)
        assert file.run(lambda db: fetch_value(db, "PRAGMA user_version")) == len(migrations)
        file.close()

    assert file.run(lambda db: fetch(db, "SELECT name, length FROM names INDEXED BY by_length")) == [("a", 1)]
    file.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(run, tmp_path):
    first = ("CREATE TABLE names (name TEXT)",)
    broken = ("INSERT INTO names VALUES ('half')", "this is no SQL")
    old, new = (SqliteFile(tmp_path / "old.db", migrations=each) for each in ((first,), (first, broken)))
    old.run(lambda db: db)
    old.close()
    with pytest.raises(StoreError, match="syntax error"):
        new.run(lambda db: db)

    assert old.run(lambda db: fetch(db, "SELECT * FROM names")) == []
    old.close()


# --- forks


def test_a_child_opens_the_file_anew_and_the_parent_s_close_takes_nothing_from_it(run, path, open_store):
    """SQLite in a child would believe the notes on locks that it inherits, and the parent take its log away."""
    program = """
        store.put([item("parent", 1)])
        from_child, to_parent = os.pipe()
        from_parent, to_child = os.pipe()
        child = os.fork()
        if child == 0:
            store.put([item("child", 1)])
            os.write(to_parent, b"x")
            os.read(from_parent, 1)
            store.put([item("child", 2)])
            os._exit(0)
        os.read(from_child, 1)
        store.put([item("parent", 2)])
        store.close()
        os.write(to_child, b"x")
        _, status = os.waitpid(child, 0)
        store.put([item("parent", 3)])
        say(status)
    """
    assert output_of(run(program, path)) == ["0"]
    assert sorted(one.id for one in open_store().listed(dead=False, most=9)) == [
        "child-1",
        "child-2",
        "parent-1",
        "parent-2",
        "parent-3",
    ]


def test_forks_in_the_middle_of_other_threads_work_lose_nothing(run, path, open_store):
    program = """
        import threading
        def put(name, count):
            for number in range(count):
                assert store.put([item(name, number)])
        threads = [threading.Thread(target=put, args=(f"thread{n}", 400)) for n in range(3)]
        for thread in threads:
            thread.start()
        children = []
        for n in range(8):
            child = os.fork()
            if child == 0:
                put(f"child{n}", 20)
                os._exit(0)
            children.append(child)
        for thread in threads:
            thread.join()
        say(*(os.waitpid(child, 0)[1] for child in children))
    """
    assert output_of(run(program, path)) == ["0 0 0 0 0 0 0 0"]

    claims = claim(open_store())
    assert {claimed.items[0].ref.id: len(claimed.items) for claimed in claims} == {
        **{f"thread{n}": 400 for n in range(3)},
        **{f"child{n}": 20 for n in range(8)},
    }
    for claimed in claims:
        assert [one.id.rpartition("-")[2] for one in claimed.items] == [str(n) for n in range(len(claimed.items))]


def test_the_file_is_closed_while_a_fork_is_on_and_used_again_after_it(store):
    store.put([item("a")])
    _sqlite_file._before_fork()
    try:
        assert store._file._connection is None
        assert is_locked(store._file._lock)
    finally:
        _sqlite_file._after_fork_in_parent()

    assert store.put([item("b")])


def test_a_child_has_locks_of_its_own(store):
    store.put([item("a")])
    _sqlite_file._before_fork()
    _sqlite_file._after_fork_in_child()

    assert store.put([item("b")])
    assert queued(store) == 2


def test_a_fork_waits_no_longer_than_a_few_seconds_for_who_is_at_the_file(store, impatient):
    """The child leaves the connection, which is in use, to the parent: it does not even close it."""
    store.put([item("a")])
    connection = connection_of(store)
    lock = store._file._lock
    with elsewhere(lock):
        _sqlite_file._before_fork()
        assert store._file._connection is connection
        _sqlite_file._after_fork_in_parent()
        assert is_locked(lock)
        _sqlite_file._after_fork_in_child()

    assert connection in _sqlite_file._abandoned
    assert store.put([item("b")])
    assert fetch_value(connection, "SELECT 1") == 1
    _sqlite_file._abandoned.remove(connection)
    connection.close()


# --- processes that share the file, and processes that die


PUT = """
    name, count = sys.argv[2], int(sys.argv[3])
    for number in range(count):
        assert store.put([item(number % 5, f"{name}-{number}")])
"""
DELIVER = """
    while True:
        claims = store.claim("cloudflare", now=time.time(), most=3, lease=60.0)
        for claim in claims:
            for one in claim.items:
                say(one.id)
            store.conclude([(claim, Conclusion(settled=claim.items))])
        if not claims and os.path.exists(sys.argv[2]) and not store.depths():
            break
"""


def test_processes_that_put_and_claim_together_lose_and_double_nothing_and_keep_the_order(run, path, tmp_path, store):
    done = tmp_path / "done"
    with (tmp_path / "delivered").open("a") as log:  # appended to line by line, before each lease ends
        delivering = [run(DELIVER, path, done, stdout=log) for _ in range(2)]
        for putter in [run(PUT, path, name, 300) for name in "ab"]:
            assert putter.wait(PATIENCE) == 0
        done.touch()
        assert [worker.wait(PATIENCE) for worker in delivering] == [0, 0]

    delivered = (tmp_path / "delivered").read_text().split()
    assert sorted(delivered) == sorted(f"{number % 5}-{name}-{number}" for name in "ab" for number in range(300))
    for name in "ab":
        for entry in range(5):
            numbers = [int(id_.split("-")[2]) for id_ in delivered if id_.startswith(f"{entry}-{name}-")]
            assert numbers == list(range(entry, 300, 5))
    assert store.depths() == []


def test_what_a_process_had_put_is_there_when_it_is_killed(run, path, store):
    """Kill -9 at any moment: what was acknowledged is there once, and so is at most one item more."""
    program = """
        number = 0
        while True:
            assert store.put([item("a", f"{sys.argv[2]}-{number}"), item("b", f"{sys.argv[2]}-{number}")])
            say(number)
            number += 1
    """
    for attempt in range(8):
        process = run(program, path, attempt)
        for _ in range(1 + 7 * attempt):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = 1 + 7 * attempt + len(process.stdout.readlines())
        process.wait(PATIENCE)

        claims = claim(store)
        assert [claimed.items[0].ref.id for claimed in claims] == ["a", "b"]
        first, second = ([one.id.partition("-")[2] for one in claimed.items] for claimed in claims)
        assert first == second == [f"{attempt}-{number}" for number in range(len(first))]
        assert len(first) in (acknowledged, acknowledged + 1)
        for claimed in claims:
            settle(store, claimed)


def test_what_a_killed_process_had_claimed_comes_back_when_its_lease_ends(run, path, store):
    store.put([item(number=1), item(number=2)])
    program = """
        [claim] = store.claim("cloudflare", now=float(sys.argv[2]), most=9, lease=60.0)
        say(len(claim.items))
        time.sleep(60)
    """
    process = run(program, path, NOW)
    assert process.stdout.readline() == "2\n"
    process.kill()
    process.wait(PATIENCE)
    store.put([item(number=3)])

    assert claim(store, now=NOW + 59) == []
    assert store.next_due("cloudflare") == NOW + 60
    [claimed] = claim(store, now=NOW + 60)
    assert [one.id for one in claimed.items] == ["e-1", "e-2", "e-3"]


def test_a_process_that_is_killed_in_the_middle_of_a_change_leaves_none_of_it(run, path, store):
    store.put([item()])
    program = """
        from thumbprint.stores import _kept
        def stop(text):
            say("in the middle")
            time.sleep(60)
        _kept.item_from_json = stop
        store.claim("cloudflare", now=float(sys.argv[2]), most=9, lease=60.0)
    """
    process = run(program, path, NOW)
    assert process.stdout.readline() == "in the middle\n"
    process.kill()
    process.wait(PATIENCE)

    assert len(claim(store)) == 1


def test_an_item_that_is_put_again_while_it_is_concluded_does_not_come_back(store, open_store, monkeypatch):
    other = open_store()
    store.put([item()])
    [claimed] = claim(store)
    sort = sqlite_module._sort

    def sort_and_put_again(db, now):
        sort(db, now)
        monkeypatch.undo()
        other.put([item()])

    other.put([item("another")])  # it is open, and sorts no more
    monkeypatch.setattr(sqlite_module, "_sort", sort_and_put_again)
    settle(store, claimed)

    assert [one.ref.id for one in store.listed(dead=False, most=9)] == ["another"]


def test_several_processes_fill_an_outbox_to_little_more_than_fits(open_store):
    stores = [open_store(max_items=100) for _ in range(3)]
    taken = sum(
        bool(store.put([item(f"{index}", number)])) for number in range(150) for index, store in enumerate(stores)
    )

    assert 100 <= taken <= 100 + 2 * 100
    assert queued(stores[0]) == taken
    assert [store.put([item("x")]) for store in stores] == [False] * 3


@pytest.fixture
def between_pages(monkeypatch):
    """Return what has something done between two pages of one row."""
    monkeypatch.setattr(sqlite_module, "PAGE", 1)
    monkeypatch.setattr(_sqlite_file, "CALLER_PATIENCE", 0.05)

    def do(work):
        monkeypatch.setattr(sqlite_module, "PAUSE", 0.001)
        slept = sleeping(lambda seconds: work() if seconds == 0.001 else time.sleep(seconds))
        monkeypatch.setattr(sqlite_module, "time", slept)

    return do


def bury(store, *items):
    store.put(items)
    store.conclude([(claimed, Conclusion(buried=claimed.items)) for claimed in claim(store)])


@pytest.mark.parametrize("operation", ["revive", "purge"])
def test_many_are_revived_or_purged_without_keeping_the_file_locked(store, open_store, between_pages, operation):
    other, numbers = open_store(), iter(range(9))
    bury(store, item("a"), item("b"), item("c"))
    between_pages(lambda: other.put([item("voted", next(numbers))]))

    assert getattr(store, operation)() == 3
    assert queued(store) == 2 + (3 if operation == "revive" else 0)


@pytest.mark.parametrize("operation", ["revive", "purge"])
def test_a_dead_letter_that_another_purges_meanwhile_is_left(store, open_store, between_pages, operation):
    other = open_store()
    bury(store, item("a"), item("b"))
    between_pages(lambda: other.purge(["b-0"]))

    assert getattr(store, operation)() == 1
    assert store.listed(dead=True, most=9) == []


def test_what_is_leased_while_others_are_purged_is_left(store, open_store, between_pages):
    other = open_store(clock=lambda: NOW)
    store.put([item("a"), item("b")])
    between_pages(lambda: claim(other))

    assert store.purge(dead=False) == 1
    assert [one.ref.id for one in store.listed(dead=False, most=9)] == ["b"]


def test_threads_share_a_store(store):
    def work(name):
        for number in range(50):
            store.put([item(name, number)])
            store.remember([Key("scope", name)], call())

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert queued(store) == 200
    assert [len(store.recall(Key("scope", name))) for name in "abcd"] == [50] * 4


def test_nothing_that_an_item_says_is_lost_in_the_file(store):
    reason = item()._replace(attempts=3, reason="503: \ud800")
    store.put([reason])

    assert store.listed(dead=False, most=1) == [reason]


# --- what an operator should know


def test_the_check_makes_no_file_and_says_where_none_is(path):
    [finding] = SqliteStore(path).check()
    assert (finding.check, finding.status) == ("store", "warning")
    assert str(path) in finding.found
    assert not path.exists()


def test_the_check_finds_that_there_is_no_folder_to_make_the_file_in(path):
    [finding] = SqliteStore(path / "there" / "outbox.db").check()
    assert finding.status == "problem"
    assert str(path / "there") in finding.advice


def test_the_check_says_what_is_wrong_with_a_file(path):
    path.write_bytes(b"no database " * 1000)
    [finding] = SqliteStore(path).check()
    assert finding.status == "problem"
    assert "is not an SQLite database" in finding.found
    assert "memory://" in SqliteStore(":memory:").check()[0].found


def test_the_check_finds_that_nobody_can_write(path, impatient):
    with contextlib.closing(SqliteStore(path)) as store, contextlib.closing(sqlite3.connect(path)) as other:
        assert store.check()[0].status == "ok"
        other.execute("BEGIN IMMEDIATE")
        [finding] = store.check()
        assert finding.status == "problem"
        assert "another process keeps it locked" in finding.found


class Interrupted:
    """A connection after whose n-th statement something else happens in the same thread, as in a signal handler."""

    def __init__(self, connection, n, interrupt):
        self._connection = connection
        self._left = n
        self._interrupt = interrupt
        self.done = False

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, *arguments):
        result = self._connection.execute(*arguments)
        self._left -= 1
        if self._left == 0:
            self.done = True
            self._interrupt()
        return result


class Failing:
    """A connection that raises before or after its n-th statement."""

    def __init__(self, connection, n, error, *, after):
        self._connection = connection
        self._left = n
        self._error = error
        self._after = after
        self.done = False

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, *arguments):
        return self._do(self._connection.execute, arguments)

    def executemany(self, *arguments):
        return self._do(self._connection.executemany, arguments)

    def _do(self, method, arguments):
        self._left -= 1
        if self._left == 0:
            self.done = True
            if self._after:
                method(*arguments)
            raise self._error
        return method(*arguments)


SCOPE = Key("scope", "s")
OPERATIONS = {
    "put": lambda store, _: store.put([item("new")]),
    "put several": lambda store, _: store.put([item("new"), item("waiting", 8), item("dead")]),
    "put and count": lambda store, _: [setattr(store, "_room", 0), store.put([item("new"), item("newer")])],
    "claim": lambda store, _: claim(store),
    "conclude": lambda store, claimed: store.conclude(
        [(claimed, Conclusion(settled=claimed.items[:1], buried=claimed.items[1:2], waiting=claimed.items[2:]))]
    ),
    "take": lambda store, _: store.take("bucket", PACE, now=NOW),
    "hold": lambda store, _: store.hold("bucket", until=NOW + 9),
    "swap": lambda store, _: store.swap("note", "", "text", seconds=60),
    "remember": lambda store, _: store.remember([SCOPE, Key("trace", "t")], call("2")),
    "revive": lambda store, _: store.revive(),
    "purge": lambda store, _: store.purge(),
    "purge waiting": lambda store, _: store.purge(dead=False),
    "fates": lambda store, _: store.fates(["waiting-0"]),
}


def fill(store):
    """Have something of everything, sorted and unsorted; return a claim that is leased."""
    store.remember([SCOPE], call("1"))
    store.put([item("dead"), item("dead", 1)])
    [dead] = claim(store)
    store.conclude([(dead, Conclusion(buried=dead.items))])
    store.put([item("leased", number) for number in range(3)])
    [leased] = claim(store)
    store.take("bucket", PACE, now=NOW)
    store.fates([])
    store.put([item("waiting"), item("leased", 9)])
    return leased


def state(store):
    """Return all that can be told of the store, without the names of leases."""
    return (
        store.listed(dead=False, most=99),
        store.listed(dead=True, most=99),
        [one.refs for one in store.recall(SCOPE)] + [one.refs for one in store.recall(Key("trace", "t"))],
        store._file.run(lambda db: fetch(db, "SELECT backend, entry, due_at > 1e9, token NOT NULL FROM entries")),
        store._file.run(lambda db: fetch(db, "SELECT * FROM buckets")),
        store._file.run(lambda db: fetch(db, "SELECT name, text FROM notes")),
    )


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, sqlite3.OperationalError])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_fails_at_any_statement_is_done_whole_or_not_at_all(tmp_path, open_store, operation, after, error):
    """The connection is another's from there on: what it sees lasts, and it does not have to wait for a lock."""
    work = OPERATIONS[operation]
    path, n, done = tmp_path / "store.db", 0, True
    claimed = fill(store := open_store(path))
    store.close()
    before = state(open_store(copy_of(path, "before.db")))
    work(whole := open_store(copy_of(path, "whole.db")), claimed)
    allowed = (before, state(whole))
    while done:
        n += 1
        failed, other = (open_store(copy_of(path, f"{n}.db")) for _ in range(2))
        failed.open()
        failing = failed._file._connection = Failing(failed._file._connection, n, error, after=after)
        with contextlib.suppress(error, StoreError):
            work(failed, claimed)
        done, failing._left = failing.done, 0
        failed_state = state(other)
        assert failed_state in allowed
        assert not is_locked(failed._file._lock)
        assert state(failed) == failed_state
        work(failed, claimed)
        other.close()
        failed.close()
    assert n > 1


def copy_of(path, name):
    return shutil.copy(path, path.with_name(name))


def test_an_interrupt_just_after_the_lock_was_acquired_leaves_it_free(store):
    class Interrupting:
        def acquire(self, timeout):
            lock.acquire(timeout=timeout)
            raise KeyboardInterrupt

        def release(self):
            lock.release()

    lock = store._file._lock
    store._file._lock = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        store.put([item()])
    store._file._lock = lock

    assert not is_locked(lock)


def test_a_transaction_that_was_left_open_takes_nothing_with_it(store, open_store):
    connection_of(store).execute("BEGIN")
    store.put([item()])

    assert queued(open_store()) == 1


def test_what_is_put_while_this_thread_opens_the_file_is_there_where_it_was_taken(open_store, tmp_path, monkeypatch):
    """The generation of the file is not known then."""

    class Interrupting(sqlite3.Connection):
        left = 0

        def execute(self, *arguments):
            result = super().execute(*arguments)
            Interrupting.left -= 1
            if Interrupting.left == 0:
                with contextlib.suppress(StoreError):  # there is no table yet
                    taken.append(store.put([item("inner")]))
            return result

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *place, **settings: connect(*place, factory=Interrupting, **settings)
    )
    in_all = 0
    for n in range(1, 30):
        store, taken = open_store(tmp_path / f"{n}.db"), []
        Interrupting.left = n
        store.put([item("outer")])
        Interrupting.left = 0
        expected = ["inner", "outer"] if any(taken) else ["outer"]
        in_all += len(taken)
        assert sorted(one.ref.id for one in store.listed(dead=False, most=9)) == expected
    assert in_all > 9


@pytest.mark.parametrize("n", range(1, 13))
def test_what_is_put_between_any_two_statements_of_another_put_is_kept(open_store, n):
    """Both look how much room there is, so both sort the inbox, the inner one in the middle of the outer one."""
    store = open_store()
    store.put([item("first")])
    store._room = 0
    connection = connection_of(store)
    interrupted = Interrupted(connection, n, lambda: store.put([item("inner")]))
    store._file._connection = interrupted
    store.put([item("outer")])
    store._file._connection = connection

    assert interrupted.done or n > 5, "the outer put makes fewer statements than this test knows"
    expected = {"first", "outer", "inner"} if interrupted.done else {"first", "outer"}
    assert {one.ref.id for one in store.listed(dead=False, most=9)} == expected
