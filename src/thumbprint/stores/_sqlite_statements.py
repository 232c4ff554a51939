"""The tables of the SQLite store, and every statement that reads or changes them.

What waits lives in three tables. `inbox` takes what is put: it has no index, so that `put`, which an application waits
for, is one append to the end of one tree (an insert that keeps four indexes costs four times as much). Whoever looks
at the outbox next sorts the inbox first: in bulk, in SQL, into `outbox`, where an item is found by its id, its log
entry and its age, and `entries`, which says for each log entry with waiting items when the first is due. A lease is a
token on the row of its entry, with the lease's end for `due_at`: one that nobody ends becomes due by itself. The row
stays as long as its lease, even where an earlier holder has settled all the items: what is put then waits as well.
Dead letters move to `dead`, which keeps their places, so that one that is revived is where it was.

`calls` has one row for each key of a captured call, the oldest first, `buckets` the pace of each credential and
whatever else keeps to one, and `notes` what is said from process to process of a moment; a row of these two goes when
it says nothing more. All values are JSON, and nothing in them is secret. `generation` has one random name, by which a
file that was deleted and made anew is told from the one that took an item.
"""

from __future__ import annotations

from typing import Final

# One tuple of statements for each version of the layout, which is counted in `user_version`. What was released stays
# as it is; a change is a further tuple.
MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE inbox (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL, backend TEXT NOT NULL, entry BLOB NOT NULL,
            created_at REAL NOT NULL, item TEXT NOT NULL
        )""",
        """CREATE TABLE entries (
            number INTEGER PRIMARY KEY, backend TEXT NOT NULL, entry BLOB NOT NULL, due_at REAL NOT NULL, token TEXT,
            UNIQUE (backend, entry)
        )""",
        "CREATE INDEX entries_by_due ON entries (backend, due_at)",
        """CREATE TABLE outbox (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, number INTEGER NOT NULL,
            backend TEXT NOT NULL, created_at REAL NOT NULL, item TEXT NOT NULL
        )""",
        "CREATE INDEX outbox_by_entry ON outbox (number)",
        "CREATE INDEX outbox_by_age ON outbox (backend, created_at)",
        """CREATE TABLE dead (
            seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, backend TEXT NOT NULL, created_at REAL NOT NULL,
            item TEXT NOT NULL
        )""",
        "CREATE INDEX dead_by_age ON dead (backend, created_at)",
        "CREATE TABLE calls (seq INTEGER PRIMARY KEY, key BLOB NOT NULL, call TEXT NOT NULL, expires_at REAL NOT NULL)",
        "CREATE INDEX calls_by_key ON calls (key)",
        "CREATE TABLE buckets (name TEXT PRIMARY KEY, tokens REAL, counted_at REAL, held_until REAL) WITHOUT ROWID",
    ),
    (
        "CREATE TABLE generation (name TEXT NOT NULL)",
        "INSERT INTO generation (name) VALUES (lower(hex(randomblob(8))))",
    ),
    (
        "ALTER TABLE buckets ADD COLUMN full_at REAL",
        "CREATE TABLE notes (name TEXT PRIMARY KEY, text TEXT NOT NULL, expires_at REAL NOT NULL) WITHOUT ROWID",
    ),
)

HOLDS: Final = """SELECT EXISTS (SELECT 1 FROM entries WHERE backend = ? AND entry = ?)
    OR EXISTS (SELECT 1 FROM inbox WHERE backend = ? AND entry = ?)"""
GENERATION: Final = "SELECT name FROM generation"

APPEND: Final = "INSERT INTO inbox (id, backend, entry, created_at, item) VALUES (?, ?, ?, ?, ?)"
COUNT: Final = "SELECT count(*) FROM outbox"

ANY_UNSORTED: Final = "SELECT EXISTS (SELECT 1 FROM inbox)"
LAST_TO_SORT: Final = "SELECT max(seq) FROM (SELECT seq FROM inbox ORDER BY seq LIMIT ?)"
SORT_ENTRIES: Final = """INSERT INTO entries (backend, entry, due_at)
    SELECT backend, entry, min(created_at, ?) FROM inbox
    WHERE seq <= ? AND id NOT IN (SELECT id FROM dead) ORDER BY seq
    ON CONFLICT (backend, entry) DO NOTHING"""
SORT_ITEMS: Final = """INSERT INTO outbox (id, number, backend, created_at, item)
    SELECT id, number, inbox.backend, created_at, item FROM inbox JOIN entries USING (backend, entry)
    WHERE seq <= ? AND id NOT IN (SELECT id FROM dead) ORDER BY seq
    ON CONFLICT (id) DO NOTHING"""
# Only what has moved: where this is interrupted by a sorting of the same thread's, which leaves the inbox empty, the
# next row that is put begins at seq 1 again.
EMPTY_INBOX: Final = """DELETE FROM inbox
    WHERE seq <= ? AND (id IN (SELECT id FROM outbox) OR id IN (SELECT id FROM dead))"""

DUE: Final = "SELECT number, entry FROM entries WHERE backend = ? AND due_at <= ? ORDER BY due_at, number LIMIT ?"
WAITING: Final = "SELECT seq, id, backend, created_at, item FROM outbox WHERE number = ? ORDER BY seq"
LEASE: Final = "UPDATE entries SET due_at = ?, token = ? WHERE number = ?"
FORGET_ENTRY: Final = "DELETE FROM entries WHERE number = ?"
NEXT_DUE: Final = "SELECT min(due_at) FROM entries WHERE backend = ?"

BURY: Final = """INSERT INTO dead (seq, id, backend, created_at, item)
    SELECT seq, id, backend, created_at, ? FROM outbox WHERE id = ?"""
BURY_AS_IT_IS: Final = """INSERT INTO dead (seq, id, backend, created_at, item)
    SELECT seq, id, backend, created_at, item FROM outbox WHERE seq = ?"""
FORGET_PLACE: Final = "DELETE FROM outbox WHERE seq = ?"
FORGET: Final = "DELETE FROM outbox WHERE id = ?"
FORGET_DEAD: Final = "DELETE FROM dead WHERE id = ?"
KEEP: Final = "UPDATE outbox SET item = ? WHERE id = ?"
END_LEASE: Final = "UPDATE entries SET due_at = ?, token = NULL WHERE backend = ? AND entry = ? AND token = ?"
FORGET_EMPTY: Final = """DELETE FROM entries
    WHERE token IS NULL AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.number = entries.number)"""
THIS_ENTRY: Final = " AND backend = ? AND entry = ?"
THIS_NUMBER: Final = " AND number = ?"

# Also what is not sorted yet: to sort it would be to wait for the turn to write.
FATE: Final = """SELECT 'queued', id, backend, created_at, item FROM inbox WHERE id = ?
    UNION ALL SELECT 'queued', id, backend, created_at, item FROM outbox WHERE id = ?
    UNION ALL SELECT 'failed', id, backend, created_at, item FROM dead WHERE id = ?"""
DEPTHS: Final = """SELECT backend, sum(queued), min(oldest_at), sum(dead) FROM (
        SELECT backend, count(*) AS queued, min(created_at) AS oldest_at, 0 AS dead FROM outbox GROUP BY backend
        UNION ALL SELECT backend, 0, NULL, count(*) FROM dead GROUP BY backend
    ) GROUP BY backend ORDER BY backend"""
LISTED: Final = """SELECT id, backend, created_at, item FROM outbox
    WHERE seq IN (SELECT seq FROM outbox ORDER BY created_at, seq LIMIT ?) ORDER BY created_at, seq"""
LISTED_DEAD: Final = LISTED.replace("outbox", "dead")

PLACES: Final = "SELECT seq FROM outbox WHERE true"
PLACES_OF_DEAD: Final = "SELECT seq FROM dead WHERE true"
THIS_ID: Final = " AND id = ?"
IN_ORDER: Final = " ORDER BY seq"

DEAD: Final = "SELECT id, backend, created_at, item FROM dead WHERE seq = ?"
REVIVE_ENTRY: Final = """INSERT INTO entries (backend, entry, due_at) VALUES (?, ?, ?)
    ON CONFLICT (backend, entry) DO NOTHING"""
REVIVE: Final = """INSERT INTO outbox (seq, id, number, backend, created_at, item)
    SELECT ?, ?, number, backend, ?, ? FROM entries WHERE backend = ? AND entry = ?"""
PURGE_DEAD: Final = "DELETE FROM dead WHERE seq = ?"
NUMBER: Final = """SELECT number FROM outbox JOIN entries USING (number)
    WHERE seq = ? AND (token IS NULL OR due_at <= ?)"""

REMEMBER: Final = "INSERT INTO calls (key, call, expires_at) VALUES (?, ?, ?)"
RECALL: Final = "SELECT call FROM calls WHERE key = ? AND expires_at > ? ORDER BY seq DESC LIMIT ?"
PURGE_CALLS: Final = "DELETE FROM calls WHERE expires_at <= ? AND seq IN (SELECT seq FROM calls ORDER BY seq LIMIT ?)"

BUCKET: Final = "SELECT tokens, counted_at, held_until FROM buckets WHERE name = ?"
SAVE_BUCKET: Final = """INSERT INTO buckets (name, tokens, counted_at, held_until, full_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE
    SET tokens = excluded.tokens, counted_at = excluded.counted_at, held_until = excluded.held_until,
    full_at = excluded.full_at"""
HOLD_BUCKET: Final = """INSERT INTO buckets (name, held_until) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET held_until = excluded.held_until"""
PURGE_BUCKETS: Final = "DELETE FROM buckets WHERE full_at <= ? AND held_until <= ?"

NOTE: Final = "SELECT text FROM notes WHERE name = ? AND expires_at > ?"
SAVE_NOTE: Final = """INSERT INTO notes (name, text, expires_at) VALUES (?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET text = excluded.text, expires_at = excluded.expires_at"""
PURGE_NOTES: Final = "DELETE FROM notes WHERE expires_at <= ?"
