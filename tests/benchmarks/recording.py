"""Contestants of the caller's thread: how long does saying a thumb and a comment take, while delivery goes on?

Each product is set up as its manual says, with its delivery in the background as it is by default, to a server that
accepts everything. A round is a burst of calls, each for another log entry and timed by itself; what is still on its
way is then delivered untimed, before the next contestant's turn.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import uuid
from pathlib import Path

from rounds import timed

COMMENT = "Named the wrong city, though the question was clear."
PROJECT = "6b1f0c9e-6f5a-4f0e-9f0a-3f0d5f1c2b3a"


class Ours:
    """`thumbprint.record_feedback` with everything as it is by default."""

    label = "thumbprint"
    delivers = False
    store = "memory://"
    delivery = "background"

    def __init__(self, url):
        import thumbprint  # noqa: PLC0415 - every contestant imports its own

        self.thumbprint = thumbprint
        self.folder = tempfile.TemporaryDirectory()
        backend = thumbprint.Braintrust(api_key="key", api_url=url, parent=f"project_id:{PROJECT}")
        store = self.store.replace("FOLDER", self.folder.name)
        thumbprint.configure(backends=[backend], store=store, delivery=self.delivery)

    def round(self, count):
        record, ref = self.thumbprint.record_feedback, self.thumbprint.LogRef
        refs = [ref(backend="braintrust", id=str(uuid.uuid4()), project_id=PROJECT) for _ in range(count)]
        measured = timed(lambda ref: record(ref, thumbs="up", comment=COMMENT), refs)
        result = self.thumbprint.flush(60)
        if self.delivery == "background" and (result.remaining or result.dropped or result.failed):
            raise RuntimeError(f"not everything was delivered: {result}")
        return measured

    def close(self):
        self.thumbprint.shutdown()
        self.folder.cleanup()


class OursSqlite(Ours):
    label = "thumbprint, sqlite"
    store = "sqlite:///FOLDER/store.db"


class OursSqliteStored(OursSqlite):
    """Without delivery, for orientation: what the call itself costs. The outbox is emptied after each round."""

    label = "thumbprint, sqlite, delivery=none"
    delivery = "none"

    def round(self, count):
        measured = super().round(count)
        self.thumbprint._default._get()._settings.store.purge(dead=False)
        return measured


class SqliteInsert:
    """The floor: one insert of a row like ours, committed, in WAL mode with synchronous=NORMAL."""

    label = "one WAL insert and commit"
    delivers = False

    def __init__(self, url):
        self.folder = tempfile.TemporaryDirectory()
        self.row = self.row_of_ours(url)
        self.db = sqlite3.connect(Path(self.folder.name, "floor.db"), isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        columns = ", ".join(f"c{number}" for number in range(len(self.row)))
        self.db.execute(f"CREATE TABLE floor (seq INTEGER PRIMARY KEY, {columns})")
        self.insert = f"INSERT INTO floor ({columns}) VALUES ({', '.join('?' * len(self.row))})"

    def row_of_ours(self, url):
        """Return what one call of ours puts into its table."""
        path = Path(self.folder.name, "ours.db")
        from thumbprint import Braintrust, LogRef, Thumbprint  # noqa: PLC0415 - as above

        backend = Braintrust(api_key="key", api_url=url)
        thumbprint = Thumbprint(backends=[backend], store=f"sqlite:///{path}", delivery="none")
        ref = LogRef(backend="braintrust", id=str(uuid.uuid4()), project_id=PROJECT)
        thumbprint.record_feedback(ref, thumbs="up", comment=COMMENT)
        with sqlite3.connect(path) as db:
            [(_, *row)] = db.execute("SELECT * FROM inbox")
        thumbprint.close(0)
        return row

    def round(self, count):
        rows = [[str(uuid.uuid4()), *self.row[1:]] for _ in range(count)]
        return timed(lambda row: self.db.execute(self.insert, row), rows)

    def close(self):
        self.db.close()
        self.folder.cleanup()


class BraintrustSdk:
    """Braintrust's SDK: `Logger.log_feedback`."""

    label = "braintrust"
    delivers = False

    def __init__(self, url):
        os.environ["BRAINTRUST_APP_URL"] = url
        os.environ["BRAINTRUST_API_KEY"] = "key"
        import braintrust  # noqa: PLC0415 - as above

        self.braintrust = braintrust
        braintrust.login()
        self.logger = braintrust.init_logger(project="benchmark", project_id=PROJECT)

    def round(self, count):
        ids = [str(uuid.uuid4()) for _ in range(count)]
        say = self.logger.log_feedback
        measured = timed(lambda row: say(id=row, scores={"thumbs": 1}, comment=COMMENT), ids)
        self.braintrust.flush()
        return measured

    def close(self):
        self.braintrust.flush()


class LangfuseSdk:
    """Langfuse's SDK: `create_score`."""

    label = "langfuse"
    delivers = False

    def __init__(self, url):
        from langfuse import Langfuse  # noqa: PLC0415 - as above

        self.langfuse = Langfuse(public_key="pk", secret_key="sk", base_url=url)

    def round(self, count):
        traces = [uuid.uuid4().hex for _ in range(count)]
        say = self.langfuse.create_score
        measured = timed(lambda trace: say(name="thumbs", value=1, trace_id=trace, comment=COMMENT), traces)
        self.langfuse.flush()
        return measured

    def close(self):
        self.langfuse.shutdown()


class LangsmithSdk:
    """LangSmith's SDK: `create_feedback`, with the trace's id and the session's, which it wants for its batches."""

    label = "langsmith"
    delivers = False

    def __init__(self, url):
        from langsmith import Client  # noqa: PLC0415 - as above

        self.client = Client(api_url=url, api_key="key")

    def round(self, count):
        traces = [uuid.uuid4() for _ in range(count)]
        say = self.client.create_feedback
        session = uuid.UUID(PROJECT)
        measured = timed(
            lambda trace: say(key="thumbs", score=1, trace_id=trace, session_id=session, comment=COMMENT), traces
        )
        self.client.flush(30)
        return measured

    def close(self):
        self.client.flush(30)
