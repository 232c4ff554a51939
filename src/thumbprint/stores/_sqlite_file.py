"""An SQLite file as one process has it open: its layout, whose turn it is, forks, and its faults as errors of ours.

Nothing else imports `sqlite3` but for its types.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .._model import Finding
from ..errors import StoreError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")

PATIENCE: Final = 5.0  # seconds to wait for another thread, and for another process
CALLER_PATIENCE: Final = 2.0  # seconds that an application's own thread waits for them
HURRY: Final = 0.05  # seconds that it waits where another has waited in vain just now, and that anybody has for a turn
REST: Final = 4  # times as long as somebody waited in vain, the next ones hurry: a lock costs callers little time
CLOSE_PATIENCE: Final = 0.1  # seconds: nothing is lost by a connection that stays open
AT_ONCE: Final = 0.02  # seconds that SQLite waits for another process before this process's other threads have a turn
RETRY_EVERY: Final = 0.01  # seconds between two turns
LOOK_EVERY: Final = 1.0  # seconds between two looks whether the file is still there: each costs as much as a query

APPLICATION_ID: Final = 0x7468756D  # "thum", in the header of the file: it is ours
# In one statement: between two, another process may lay the file out.
LAYOUT: Final = """SELECT user_version, application_id, EXISTS (SELECT 1 FROM sqlite_master)
    FROM pragma_user_version, pragma_application_id"""

# What SQLite says → what happened and what to do.
ADVICE: Final = {
    "SQLITE_BUSY": "another process keeps it locked; see what that process does",
    "SQLITE_CANTOPEN": "it cannot be opened; see whether this user may read and write it and its folder",
    "SQLITE_CORRUPT": "it is damaged; move it away, and see what `sqlite3 FILE .recover` can save of it",
    "SQLITE_FULL": "the disk is full; make room",
    "SQLITE_IOERR": "the disk could not be read or written; see whether it is full, failing or a network drive",
    "SQLITE_NOTADB": "it is not an SQLite database; give the path of another file",
    "SQLITE_READONLY": "this user may not write to it or to its folder; change the permissions, or give another path",
}
OTHERWISE: Final = "SQLite could not do it"


class _BusyError(StoreError):
    """Others are at the file, and may be done soon."""


class SqliteFile:
    """A file with one connection, which the threads take in turn: SQLite has one writer at a time anyway.

    What interrupts a thread at its turn, a signal handler or a finalizer, takes part in that turn.

    It is opened when it is first used, and made where it is missing, but not its folder. `migrations` are the versions
    of its layout, which are counted in `user_version`: a tuple of statements makes each of the one before.

    Where it was deleted or another has taken its place, the one at the path is used soon after. `generation` is a
    query for the name by which one is told from the other; the attribute is its answer, for the file that is open.

    It is closed before a fork, and each side opens its own connection: SQLite's locks belong to the process that made
    them, and a child that inherits SQLite's notes of them would believe that it holds them too.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, migrations: Sequence[Sequence[str]], generation: str = "SELECT ''"
    ) -> None:
        self.path = Path(path).absolute()  # now: a daemon changes its folder before it first uses the store
        self.generation = ""
        self._migrations = migrations
        self._ask_generation = generation
        self._inode: tuple[int, int] | None = None  # of the file that is open, not before it can be used
        self._looked_at = 0.0
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._working: int | None = None  # the thread that is at work
        self._hurried_until = 0.0  # of the monotonic clock: until when an application's threads hurry
        self._forking: int | None = None  # the thread that has the lock because it forks
        _files.add(self)

    def __del__(self) -> None:
        """Close the connection of a file that nobody needs any more."""
        with contextlib.suppress(Exception):  # it was never opened, or the interpreter is shutting down
            self._disconnect()

    def run(self, work: Callable[[sqlite3.Connection], T], *, patience: float | None = None) -> T:
        """Do work with the connection, alone; the one place where SQLite's errors become StoreErrors.

        After a failure the connection is closed: that rolls back what was begun, and the next use finds the file as it
        then is. Where others are at the file, so that nothing could be begun, the work is tried again for `patience`
        seconds in all (PATIENCE if left out); meanwhile other threads have their turns, whose work may need no lock.

        A signal handler or a finalizer may come here in the middle of this thread's own work: what it does becomes part
        of that, and lasts when that does, since SQLite would let it wait for ever for the other.
        """
        try:
            return self._run(work, PATIENCE if patience is None else patience)
        except _BusyError as error:
            raise StoreError(*error.args) from error

    def run_for_caller(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work that writes, and that an application waits for: two seconds at most.

        Where that was in vain, for somebody keeps the file locked and writes nothing, the next ones hurry for a while.
        Each is tried all the same: it may find the file free.
        """
        began = time.monotonic()
        try:
            done = self._run(work, HURRY if began < self._hurried_until else CALLER_PATIENCE)
        except _BusyError as error:
            ended = time.monotonic()
            if not self._written_to_within(ended - began):
                self._hurried_until = max(self._hurried_until, ended + REST * (ended - began))
            raise StoreError(*error.args) from error
        self._hurried_until = 0.0
        return done

    def _written_to_within(self, seconds: float) -> bool:
        """Return whether anybody has just written to the file, which is to its log, as far as that can be told."""
        with contextlib.suppress(OSError):
            return time.time() - Path(f"{self.path}-wal").stat().st_mtime < seconds
        return False

    def _run(self, work: Callable[[sqlite3.Connection], T], patience: float) -> T:
        ends_at = time.monotonic() + patience
        while True:
            try:
                return self._in_turn(work, ends_at)
            except _BusyError:
                if time.monotonic() >= ends_at:
                    raise
            time.sleep(RETRY_EVERY)

    def _in_turn(self, work: Callable[[sqlite3.Connection], T], ends_at: float) -> T:
        if self._working == threading.get_ident():
            return self._inside(work)
        lock = self._lock
        try:
            if not lock.acquire(timeout=max(HURRY, ends_at - time.monotonic())):  # there is time for others' turns
                raise self._error("another thread is at it for too long; see what keeps the disk so busy", _BusyError)
            return self._alone(work)
        finally:  # even where a signal handler has raised between the acquisition and the next line
            try:  # noqa: SIM105 - suppress() would give signal handlers another chance before the release
                lock.release()
            except RuntimeError:  # it was not acquired
                pass

    def missing(self) -> Finding | None:
        """Return what there is to say of a file that is not there yet; None where it is. Makes nothing."""
        if os.access(self.path, os.F_OK) or self.path.name == ":memory:":
            return None
        found, folder = f"there is no file {str(self.path)!r} yet", self.path.parent
        if os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            advice = "correct the path, or start the application or `thumbprint worker`, whose first use of it makes it"
            return Finding(check="store", status="warning", found=found, advice=advice)
        lack = "let this user write to" if folder.is_dir() else "make"
        advice = f"give another path, or {lack} the folder {str(folder)!r}"
        return Finding(check="store", status="problem", found=found, advice=advice)

    def close(self) -> None:
        """Close the connection, if no thread is at work with it just now. A later use opens another."""
        lock = self._lock
        if lock.acquire(timeout=CLOSE_PATIENCE):
            try:
                self._disconnect()
            finally:
                lock.release()

    def before_fork(self) -> None:
        """Close the connection, and let no thread open another until the fork is done."""
        if self._lock.acquire(timeout=PATIENCE):
            self._forking = threading.get_ident()
            self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Let the threads go on."""
        if self._forking == threading.get_ident():
            self._forking = None
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin anew. A connection that could not be closed in time is the parent's: it is left alone, for ever."""
        _abandoned.append(self._connection)
        self._connection = None
        self._forking = None
        self._working = None
        self._lock = threading.RLock()

    def _alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        self._working = threading.get_ident()
        try:
            return work(self._usable() or self._connect())
        except BaseException as error:
            fault, connection = self._fault(error), self._connection
            if not isinstance(fault, _BusyError) or connection is None or connection.in_transaction:
                self._disconnect()
            if fault is None:
                raise
            raise fault from error
        finally:
            self._working = None

    def _inside(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in the middle of this thread's own."""
        try:
            return work(self._connection or self._connect())
        except Exception as error:
            fault = self._fault(error)
            if fault is None:
                raise
            raise fault from error

    def _connect(self) -> sqlite3.Connection:
        import sqlite3  # noqa: PLC0415 - not everybody has a store in a file

        if self.path.name == ":memory:":
            raise self._error("what is to be kept in memory needs no SQLite; use memory://")
        db = sqlite3.connect(self.path, timeout=AT_ONCE, isolation_level=None, check_same_thread=False)
        db.text_factory = text_of
        self._connection, self._inode = db, None
        db.execute("PRAGMA synchronous = NORMAL")
        self._layout(db)
        self._write_ahead(db)
        self._migrate(db)
        self.generation = fetch_value(db, self._ask_generation)
        self._inode = _inode_of(self.path)
        return db

    def _usable(self) -> sqlite3.Connection | None:
        """Return the connection that is open, after letting go of one that cannot be used on."""
        if self._connection is not None and (self._connection.in_transaction or self._inode is None):
            self._disconnect()  # left by who was interrupted once more while it let go, or could not open it
        if time.monotonic() > self._looked_at + LOOK_EVERY:
            if self._inode != _inode_of(self.path):
                self._disconnect()
            self._looked_at = time.monotonic()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is gone either way
                connection.close()

    def _layout(self, db: sqlite3.Connection) -> int:
        """Return which version of the layout the file has: 0 where it is new."""
        version: int
        [(version, application, used)] = fetch(db, LAYOUT)
        if used and application != APPLICATION_ID:
            raise self._error("it is the database of another application; give the path of another file")
        if version > len(self._migrations):
            raise self._error(
                f"a newer thumbprint has written it (layout {version}, and this one knows {len(self._migrations)}); "
                "upgrade this one, or give the path of another file"
            )
        return version

    def _write_ahead(self, db: sqlite3.Connection) -> None:
        """Switch WAL mode on; it stays on, in the file."""
        if fetch_value(db, "PRAGMA journal_mode = WAL") != "wal":
            raise self._error("SQLite can keep no write-ahead log there; give a path on a local disk")

    def _migrate(self, db: sqlite3.Connection) -> None:
        if self._layout(db) == len(self._migrations):
            return
        with transaction(db):
            for statements in self._migrations[self._layout(db) :]:  # again: another process may have been here
                for statement in statements:
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {len(self._migrations)}")

    def _fault(self, error: BaseException) -> StoreError | None:
        """Return an error of SQLite's as one of ours; None for any other."""
        import sqlite3  # noqa: PLC0415 - as above

        if not isinstance(error, sqlite3.Error):
            return None
        kind = _BusyError if _code(error) == "SQLITE_BUSY" else StoreError
        return self._error(f"{self._advice(error)} (SQLite says: {error})", kind)

    def _advice(self, error: sqlite3.Error) -> str:
        if os.path.isdir(self.path):  # noqa: PTH112 - Path.is_dir raises where it may not look
            return "it is a folder; give the path of a file"
        code = _code(error)
        if code == "SQLITE_CANTOPEN" and not os.path.isdir(self.path.parent):  # noqa: PTH112 - likewise
            return f"there is no folder {str(self.path.parent)!r}; make it, or give another path"
        return ADVICE.get(code, OTHERWISE)

    def _error(self, what: str, kind: type[StoreError] = StoreError) -> StoreError:
        return kind(f"the store {str(self.path)!r} cannot be used: {what}")


_files: Final[weakref.WeakSet[SqliteFile]] = weakref.WeakSet()
_abandoned: Final[list[sqlite3.Connection | None]] = []


def _before_fork() -> None:
    for file in list(_files):
        file.before_fork()


def _after_fork_in_parent() -> None:
    for file in list(_files):
        file.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for file in list(_files):
        file.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # pragma: no branch - not on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)


def _code(error: sqlite3.Error) -> str:
    """Return SQLite's name for what is wrong, without the particulars: SQLITE_IOERR_WRITE → SQLITE_IOERR."""
    return "_".join(getattr(error, "sqlite_errorname", "").split("_")[:2])


def _inode_of(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others while somebody has it open; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing. What fails inside is rolled back when `SqliteFile.run` closes the connection."""
    if db.in_transaction:  # in the middle of which a signal handler or a finalizer has come here
        yield
        return
    db.execute("BEGIN IMMEDIATE")
    yield
    db.execute("COMMIT")


def insert(db: sqlite3.Connection, statement: str, values: Sequence[Sequence[Any]]) -> None:
    """Execute the statement for each of the values, all or nothing."""
    if len(values) == 1:
        db.execute(statement, values[0])  # a transaction by itself, and the fastest
    else:
        with transaction(db):
            db.executemany(statement, values)


def text_of(value: bytes) -> str:
    """Return text from the file; in what is damaged, bytes that are no UTF-8 are written out."""
    return value.decode("utf-8", "backslashreplace")


def fetch(db: sqlite3.Connection, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return all rows that the query finds."""
    return db.execute(query, values).fetchall()


def fetch_value(db: sqlite3.Connection, query: str, *values: Any) -> Any:
    """Return the first value in the first row that the query finds."""
    return fetch(db, query, *values)[0][0]
