"""How much memory the process takes for what is queued: its resident set with a full queue, less that of before.

What the queue keeps alive counts: the log references and the comments, each of its own. Each round has a process of
its own, and Linux tells how large it is.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import uuid
from pathlib import Path

PROJECT = "6b1f0c9e-6f5a-4f0e-9f0a-3f0d5f1c2b3a"
STATM = Path("/proc/self/statm")


class Ours:
    """Queues so many pieces of feedback that nobody delivers."""

    label = "thumbprint"
    delivers = False

    def __init__(self, url):
        self.url = url

    def round(self, count):
        told = subprocess.run(
            [sys.executable, __file__, self.url, str(count)], check=True, capture_output=True, text=True
        )
        return {"MiB": float(told.stdout)}

    def close(self):
        pass


def grown(url, count):
    """Return by how many MiB this process has grown when so many are queued."""
    from thumbprint import Braintrust, LogRef, Thumbprint  # noqa: PLC0415 - before, this process is to be idle
    from thumbprint.stores import MemoryStore  # noqa: PLC0415 - as above

    class Kept(MemoryStore):
        """Gives nothing out to be delivered."""

        def claim(self, backend, *, now, most, lease):
            return []

        def next_due(self, backend):
            return None

    def record(number):
        ref = LogRef(
            backend="braintrust",
            id=str(uuid.uuid4()),
            operation="chat",
            project_id=PROJECT,
            response_id=f"chatcmpl-{uuid.uuid4().hex}",
            trace_id=uuid.uuid4().hex,
            span_id=uuid.uuid4().hex[:16],
            captured_at=1.0,
        )
        thumbprint.record_feedback(ref, thumbs="up", comment=f"Comment {number}: named the wrong city, though asked.")

    thumbprint = Thumbprint(backends=[Braintrust(api_key="key", api_url=url)], store=Kept())
    record(0)
    before = resident()
    for number in range(1, count):
        record(number)
    after = resident()
    if thumbprint.flush(0).remaining != count:
        raise RuntimeError("not everything is queued")
    thumbprint.close(0)
    return (after - before) / 2**20


def resident():
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    print(grown(sys.argv[1], int(sys.argv[2])))
