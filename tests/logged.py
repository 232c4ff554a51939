"""What a test sees of calls that were logged: their rows, once all is delivered."""

from __future__ import annotations

import asyncio
import json
import time

import sdk

import thumbprint


def through(door, client):
    async def call():
        async with sdk.entered(client):
            return await door(client)

    return asyncio.run(call())


def rows_of(emulator):
    """Return the rows once all is delivered, after a look at what was sent: no feedback before its row."""
    assert thumbprint.flush(10).remaining == 0
    inserted = set()
    for request in emulator.requests():
        verb = request.path.rpartition("/")[2]
        if verb == "insert":
            inserted.update(event["id"] for event in json.loads(request.body)["events"])
        if verb == "feedback":
            assert {item["id"] for item in json.loads(request.body)["feedback"]} <= inserted
    rows = emulator.braintrust_rows()
    assert not any(row["stray"] for row in rows)
    return rows


def row_of(emulator):
    [row] = rows_of(emulator)
    return row


def check_each(emulator, results):
    for number, result in enumerate(results):
        thumbprint.record_feedback(result, scores={f"of-{number}": 1})
    row = row_of(emulator)
    assert row["scores"] == {f"of-{number}": 1 for number in range(len(results))}
    assert "Ulm" in json.dumps(row["input"])
    assert "Ulm" in json.dumps(row["output"])
    assert row["error"] is None
    assert row["metadata"]["model"]
    assert row["metadata"]["response_id"]
    assert row["metrics"]["end"] >= row["metrics"]["start"] > time.time() - 100
    assert row["span_attributes"] == {"name": "chat", "type": "llm"}
