"""References to captured calls: whoever captures one does not wait for a store that others share."""

from __future__ import annotations

import threading

import pytest

from thumbprint import LogRef, StoreError
from thumbprint._call import Call
from thumbprint.stores import Key, MemoryStore, References, _references

KEY = Key("scope", "s")
LONG = 30  # seconds, on a machine that is busy


def call(id="1"):  # noqa: A002 - as LogRef names it
    return Call([LogRef(backend="cloudflare", id=id)])


def ids(calls):
    return [found.refs[0].id for found in calls]


class Shared(MemoryStore):
    """A store that others share, which can be away and can take its time."""

    shared = True

    def __init__(self):
        super().__init__()
        self.away: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()

    def remember(self, keys, call):
        self.asked.set()
        self.open.wait(LONG)
        if self.away:
            raise self.away
        super().remember(keys, call)

    def recall(self, key):
        if self.away:
            raise self.away
        return super().recall(key)


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(_references, "RETRY_EVERY", 0.01)
    return Shared()


@pytest.fixture
def references(store):
    made = References(store)
    yield made
    store.open.set()
    store.away = None
    made.close(LONG)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "thumbprint-references"]


def test_a_store_of_this_process_alone_is_written_at_once():
    store = MemoryStore()
    References(store).remember([KEY], call())

    assert ids(store.recall(KEY)) == ["1"]
    assert threads() == []


def test_without_threads_a_shared_store_is_written_at_once(store):
    References(store, threaded=False).remember([KEY], call())

    assert ids(store.recall(KEY)) == ["1"]
    assert threads() == []


def test_a_slow_store_is_not_waited_for_and_its_calls_are_found_all_the_same(store, references):
    store.open.clear()
    for number in "123":
        references.remember([KEY], call(number))
    assert store.asked.wait(LONG)

    assert store.recall(KEY) == ()
    assert ids(references.recall(KEY)) == ["1", "2", "3"]


def test_what_was_written_is_found_once_and_after_what_others_wrote(store, references):
    store.remember([KEY], call("theirs"))
    references.remember([KEY], call("ours"))
    references.close(LONG)

    assert ids(store.recall(KEY)) == ["theirs", "ours"]
    assert ids(references.recall(KEY)) == ["theirs", "ours"]


def test_calls_that_are_known_by_one_span_are_told_apart_by_their_time(store, references):
    def made(at):
        return Call([LogRef(backend="opentelemetry", id="b7ad6b7169203331", captured_at=at)])

    store.remember([KEY], made(1.5))
    store.open.clear()
    references.remember([KEY], made(1.5))
    references.remember([KEY], made(2.5))

    assert [found.refs[0].captured_at for found in references.recall(KEY)] == [1.5, 2.5]


def test_what_was_written_by_others_alone_is_found(store, references):
    store.remember([KEY], call("theirs"))

    assert ids(references.recall(KEY)) == ["theirs"]


def test_a_store_that_is_away_gets_the_calls_when_it_is_back(store, references, caplog):
    store.away = StoreError("it is away")
    references.remember([KEY], call())
    assert store.asked.wait(LONG)
    assert ids(references.recall(KEY)) == ["1"]
    with pytest.raises(StoreError, match="it is away"):
        references.recall(Key("scope", "of another process"))

    store.away = None
    references.close(LONG)

    assert ids(store.recall(KEY)) == ["1"]
    assert "captured calls wait to be stored: it is away" in caplog.text


def test_closing_gives_up_a_store_that_stays_away(store, references):
    store.away = StoreError("it is away")
    references.remember([KEY], call())
    [thread] = threads()
    references.close(0)
    thread.join(LONG)

    assert not thread.is_alive()


def test_after_closing_it_begins_anew(store, references):
    references.remember([KEY], call("1"))
    references.close(LONG)
    references.remember([KEY], call("2"))
    references.close(None)

    assert ids(store.recall(KEY)) == ["1", "2"]


def test_a_fault_of_the_store_costs_one_call(store, references, caplog):
    store.away = RuntimeError("a fault")
    references.remember([KEY], call("1"))
    references.close(LONG)
    store.away = None
    references.remember([KEY], call("2"))
    references.close(LONG)

    assert ids(store.recall(KEY)) == ["2"]
    assert "a captured call could not be stored" in caplog.text


def test_too_many_that_wait_are_kept_in_this_process_only(store, references, monkeypatch, caplog):
    monkeypatch.setattr(_references, "MAX_WAITING", 1)
    store.open.clear()
    references.remember([KEY], call("1"))
    assert store.asked.wait(LONG)
    references.remember([KEY], call("2"))
    references.remember([KEY], call("3"))

    assert ids(references.recall(KEY)) == ["1", "2", "3"]
    store.open.set()
    references.close(LONG)
    assert ids(store.recall(KEY)) == ["1", "2"]
    assert "can be found by its ids in this process only" in caplog.text


def test_calls_wait_where_no_thread_can_be_started(store, references, monkeypatch, caplog):
    with monkeypatch.context() as patched:

        def refuse(thread):
            raise RuntimeError("can't start new thread")

        patched.setattr(threading.Thread, "start", refuse)
        references.remember([KEY], call("1"))
    references.remember([KEY], call("2"))
    references.close(LONG)

    assert ids(store.recall(KEY)) == ["1", "2"]
    assert "captured calls wait to be stored: can't start new thread" in caplog.text


def test_of_threads_that_capture_at_once_one_starts_the_writer(store, references):
    capturing = [threading.Thread(target=references.remember, args=([KEY], call(str(number)))) for number in range(16)]
    for thread in capturing:
        thread.start()
    for thread in capturing:
        thread.join(LONG)

    assert len(threads()) == 1
    references.close(LONG)
    assert sorted(ids(store.recall(KEY)), key=int) == [str(number) for number in range(16)]


def test_a_writer_that_another_thread_started_is_not_started_again(references):
    references._start()
    references._start()

    assert len(threads()) == 1


def test_a_call_without_keys_is_not_kept(store, references):
    references.remember([], call())

    assert threads() == []


def test_a_child_process_knows_its_parent_s_calls_and_leaves_them_to_it_to_write(store, references):
    store.open.clear()
    references.remember([KEY], call("parent"))
    parents = references._waiting
    references.after_fork()
    references.remember([KEY], call("child"))

    assert ids(references.recall(KEY)) == ["parent", "child"]
    parents.put(None)
