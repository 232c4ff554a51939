"""Logs and rows in one shape, as a table shows them. Pure functions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._braintrust.gateway import described
from thumbprint.emulator._identity import timestamp
from thumbprint.emulator._wire import Request, Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from thumbprint.emulator._cloudflare.logs import LogEntry

MOST = 500
_LONGEST = 2000
_TEXTS = ("content", "text", "output_text", "message", "parts")


def shown(logs: Iterable[LogEntry], rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the newest 500 `entries`, newest first, and the `total` of what there is."""
    found = sorted([*map(_young_log, logs), *map(_young_row, rows)], key=_age)
    return {"total": len(found), "entries": [describe(value) for _, describe, value in found[: -MOST - 1 : -1]]}


def _young_log(entry: LogEntry) -> tuple[str, Any, LogEntry]:
    return timestamp(entry.created_at), log_shown, entry


def _young_row(row: dict[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    return row["created"], row_shown, row


def _age(found: tuple[str, Any, Any]) -> str:
    return found[0]


def log_shown(entry: LogEntry) -> dict[str, Any]:
    """Return a Cloudflare log as the table shows it."""
    heard = Response(
        status=entry.status_code, headers=(("content-type", entry.response_type),), chunks=(entry.response,)
    )
    told = described(Request(method="POST", path=entry.path, body=entry.request), heard, entry.created_at)
    return {
        "service": "Cloudflare",
        "place": entry.place.gateway_id,
        "id": entry.id,
        "at": timestamp(entry.created_at),
        "model": entry.model,
        "asked": clipped(told["input"]),
        "answered": clipped(told["output"]),
        "error": clipped(told["error"]),
        "note": "from the cache" if entry.cached else "",
        "thumb": {1: "up", -1: "down"}.get(int(entry.feedback or 0)),
        "facts": facts({"score": entry.score, **entry.metadata}),
    }


def row_shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of Braintrust, as `RowBook.for_tests` gives it, as the table shows it."""
    scores = dict(row["scores"] or {})
    thumb = scores.pop("thumbs", None)
    told = {"comment": [comment["text"] for comment in row["comments"]], "expected": row["expected"]}
    return {
        "service": "Braintrust",
        "place": row.get("project_name") or "",
        "id": row["id"],
        "at": row["created"],
        "model": str((row["metadata"] or {}).get("model") or ""),
        "asked": clipped(row["input"]),
        "answered": clipped(row["output"]),
        "error": clipped(row["error"]),
        "note": "stray: feedback for an id that no call had" if row["stray"] else "",
        "thumb": None if thumb is None else "up" if thumb else "down",
        "facts": facts({**scores, **told, "tags": row["tags"], **_said_beside(row)}),
    }


def _said_beside(row: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of all feedback on a row, the last word of each name."""
    return {name: value for item in row["audit"] for name, value in (item["metadata"] or {}).items()}


def facts(named: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what is set as pairs of name and text; None, empty text and empty lists are left out."""
    return [(name, text) for name, value in named.items() if (text := clipped(value))]


def clipped(value: Any) -> str:
    """Return the text in a value, at most 2,000 characters of it."""
    text = "\n".join(texts_in(value)) if isinstance(value, (dict, list)) else plain(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def texts_in(value: Any) -> Iterator[str]:
    """Yield what messages, choices and parts say: the last question, every answer; or, of other JSON, the JSON."""
    if isinstance(value, list) and value and all(isinstance(part, dict) and "role" in part for part in value):
        yield from texts_in(value[-1])
    elif isinstance(value, list) and not any(isinstance(part, (int, float)) for part in value):
        for part in value:
            yield from texts_in(part)
    elif isinstance(value, dict) and (inner := next((value[name] for name in _TEXTS if value.get(name)), None)):
        yield from texts_in(inner)
    else:
        yield plain(value)


def plain(value: Any) -> str:
    """Return text as it is, None as nothing, a number in its shortest spelling, and anything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)
