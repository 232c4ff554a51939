"""Braintrust's span slugs, as `span.export()` and the header `x-bt-span-export` give them. Pure.

A slug is base64 of: a version byte (3 or 4), a type byte, a count, that many binary entries, then a JSON object with
what did not fit an entry, or nothing. Source: the official SDKs, whose samples the tests hold this to.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Final

OBJECT_TYPES: Final = {1: "experiment", 2: "project_logs", 3: "playground_logs"}
_FIELDS: Final = {1: "object_id", 2: "row_id", 3: "span_id", 4: "root_span_id"}
_V3_ENTRY: Final = dict.fromkeys(_FIELDS, 16)  # bytes: a UUID each
_V4_ENTRY: Final = {3: 8, 4: 16}  # bytes: OpenTelemetry's ids, told in hex
_ENTRY_BYTES: Final = {3: _V3_ENTRY, 4: _V4_ENTRY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slug:
    """What a slug says: where its row lives, and the row's id. All but version and type may be missing."""

    version: int
    object_type: str
    object_id: str | None = None
    project_name: str | None = None
    row_id: str | None = None
    span_id: str | None = None
    root_span_id: str | None = None


def decode_slug(text: str) -> Slug:
    """Return what the slug says; raise ValueError where it is none of version 3 or 4."""
    try:
        return _decode(base64.b64decode(text, validate=True))
    except (ValueError, IndexError, RecursionError) as error:
        raise ValueError(f"not a Braintrust span slug of version 3 or 4: {text[:60]!a} ({error})") from None


def project_slug(name: str) -> str:
    """Return a slug, of version 3, of the project that is known by this name."""
    rest = json.dumps({"compute_object_metadata_args": {"project_name": name}}, ensure_ascii=False)
    return base64.b64encode(bytes((3, 2, 0)) + rest.encode()).decode()


def _decode(raw: bytes) -> Slug:
    version, object_type, count = raw[0], raw[1], raw[2]
    if version not in _ENTRY_BYTES or object_type not in OBJECT_TYPES:
        raise ValueError(f"version {version}, type {object_type}")
    found: dict[str, str] = {}
    at = 3
    for _ in range(count):
        field = raw[at]
        size = _ENTRY_BYTES[version].get(field)
        value = raw[at + 1 : at + 1 + (size or 0)]
        if size is None or len(value) != size:
            raise ValueError(f"broken entry {field}")
        found[_FIELDS[field]] = _uuid(value) if version == 3 else value.hex()
        at += 1 + size
    rest = json.loads(raw[at:]) if raw[at:] else {}
    if not isinstance(rest, dict):
        raise ValueError("the JSON part is no object")
    return _slug(version, OBJECT_TYPES[object_type], found, rest)


def _uuid(value: bytes) -> str:
    """Return 16 bytes the way a UUID is written (the module uuid would cost every import of thumbprint 2 ms)."""
    text = value.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _slug(version: int, object_type: str, found: dict[str, str], rest: dict[str, Any]) -> Slug:
    """Join the binary entries with the JSON part, where the project may be only in the logger's arguments."""
    logger = rest.get("compute_object_metadata_args")
    named = logger if isinstance(logger, dict) else {}

    def text(values: dict[str, Any], key: str) -> str | None:
        value = values.get(key)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{key} is no string")
        (value or "").encode()  # raises ValueError for half a surrogate pair, which no URL and no header can hold
        return value or None

    return Slug(
        version=version,
        object_type=object_type,
        object_id=found.get("object_id") or text(rest, "object_id") or text(named, "project_id"),
        project_name=text(named, "project_name"),
        row_id=found.get("row_id") or text(rest, "row_id"),
        span_id=found.get("span_id") or text(rest, "span_id"),
        root_span_id=found.get("root_span_id") or text(rest, "root_span_id"),
    )
