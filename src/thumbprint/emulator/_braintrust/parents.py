"""Where a row goes: the `x-bt-parent` header, and span slugs of version 3. Pure functions."""

from __future__ import annotations

import base64
import binascii
import uuid
from dataclasses import dataclass
from typing import Any

from thumbprint.emulator._identity import parse_uuid
from thumbprint.emulator._wire import MalformedBodyError, dump, parse_json

EXPERIMENT, PROJECT, PLAYGROUND = 1, 2, 3
_VERSION = 3
_FIELDS = {1: "object_id", 2: "row_id", 3: "span_id", 4: "root_span_id"}
_NUMBERS = {name: number for number, name in _FIELDS.items()}
_ENTRY = 17
_PREFIXES = {"project_id": PROJECT, "experiment_id": EXPERIMENT}


class ParentError(ValueError):
    """An `x-bt-parent` that the service refuses. The text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """The object that rows go to, by id or (projects only) by name; and the span above, if any."""

    kind: int
    object_id: str | None = None
    project_name: str | None = None
    span_id: str | None = None
    root_span_id: str | None = None


def parse_parent(text: str) -> Parent:
    """Return what an `x-bt-parent` header means. Raises ParentError."""
    prefix, colon, value = text.partition(":")
    if not colon:
        return _from_slug(text)
    if prefix == "project_name" and value:
        return Parent(kind=PROJECT, project_name=value)
    object_id = parse_uuid(value)
    if prefix not in _PREFIXES or object_id is None:
        raise ParentError(f"not a parent: {text!r}")
    return Parent(kind=_PREFIXES[prefix], object_id=object_id)


def make_slug(parent: Parent, *, row_id: str, span_id: str, root_span_id: str) -> str:
    """Return the slug of a row: UUIDs are packed, other ids stand in its JSON, and so does a mere name."""
    values = {"object_id": parent.object_id, "row_id": row_id}
    values |= {"span_id": span_id, "root_span_id": root_span_id}
    given = {name: value for name, value in values.items() if value}
    rest: dict[str, object] = {name: value for name, value in given.items() if not parse_uuid(value)}
    packed = [(_NUMBERS[name], uuid.UUID(given[name]).bytes) for name in given if name not in rest]
    if not parent.object_id:
        rest["compute_object_metadata_args"] = {"project_name": parent.project_name}
    head = bytes((_VERSION, parent.kind, len(packed)))
    entries = b"".join(bytes((number,)) + value for number, value in packed)
    return base64.b64encode(head + entries + dump(rest)).decode()


def _from_slug(text: str) -> Parent:
    """Read a slug. Anything that does not fit its form is refused, and so is a later version."""
    try:
        raw = base64.b64decode(text, validate=True)
        fields = _read_fields(raw)
    except (binascii.Error, ValueError, IndexError) as error:
        raise ParentError(f"not a parent: {error}") from error
    found = fields.get("compute_object_metadata_args")
    named = found if isinstance(found, dict) else {}
    parent = Parent(
        kind=raw[1],
        object_id=fields.get("object_id") or named.get("project_id"),
        project_name=named.get("project_name"),
        span_id=fields.get("span_id"),
        root_span_id=fields.get("root_span_id"),
    )
    if not parent.object_id and not (parent.project_name and parent.kind == PROJECT):
        raise ParentError("not a parent: the slug names no object")
    return parent


def _read_fields(raw: bytes) -> dict[str, Any]:
    """Return the fields of a slug. Raises IndexError or ValueError."""
    version, kind, count = raw[0], raw[1], raw[2]
    if version > _VERSION:
        raise MalformedBodyError(f"version {version} of the slug is not supported, only those up to {_VERSION}")
    if version < _VERSION or kind not in (EXPERIMENT, PROJECT, PLAYGROUND):
        raise MalformedBodyError("not a span slug")
    end = 3 + count * _ENTRY
    entries = [raw[start : start + _ENTRY] for start in range(3, end, _ENTRY)]
    rest = parse_json(raw[end:]) if raw[end:] else {}
    if not isinstance(rest, dict):
        raise MalformedBodyError("the slug ends in no object")
    return {**rest, **{_FIELDS.get(entry[0], ""): str(uuid.UUID(bytes=entry[1:])) for entry in entries}}
