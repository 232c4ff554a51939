"""Rows of projects and experiments, and the book that keeps them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._braintrust.parents import EXPERIMENT, PLAYGROUND, PROJECT
from thumbprint.emulator._identity import PROJECT_ID, PROJECT_NAME, new_uuid, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

_ID_NAMES = {EXPERIMENT: "experiment_id", PROJECT: "project_id", PLAYGROUND: "playground_id"}


@dataclass(frozen=True, slots=True)
class Shelf:
    """The object that a row belongs to: its kind (a number as in slugs) and its id."""

    kind: int
    object_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. `content` holds what a user wrote; `sequence` counts all rows in the order of making."""

    id: str
    shelf: Shelf
    sequence: int
    created: float
    span_id: str
    root_span_id: str
    span_parents: tuple[str, ...] = ()
    content: dict[str, Any] = field(default_factory=dict)
    comments: tuple[dict[str, Any], ...] = ()
    audit: tuple[dict[str, Any], ...] = ()
    stray: bool = False

    def seen_by_api(self) -> dict[str, Any]:
        """Return the row as the API's fetch gives it."""
        return {
            "id": self.id,
            _ID_NAMES[self.shelf.kind]: self.shelf.object_id,
            "_xact_id": str(self.sequence),
            "created": timestamp(self.created),
            "span_id": self.span_id,
            "root_span_id": self.root_span_id,
            "span_parents": list(self.span_parents),
            "is_root": self.span_id == self.root_span_id,
            **_EMPTY,
            **copy.deepcopy(self.content),
            "comments": copy.deepcopy(list(self.comments)),
        }


_EMPTY: dict[str, Any] = {
    "input": None,
    "output": None,
    "expected": None,
    "error": None,
    "scores": {},
    "metadata": {},
    "metrics": {},
    "tags": [],
    "span_attributes": {},
}


class RowBook:
    """All rows, oldest first, and the projects by id."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Shelf, str], Row] = {}
        self._sequence = 0
        self._experiments: dict[str, dict[str, str]] = {}
        self.projects: dict[str, str] = {PROJECT_ID: PROJECT_NAME}

    def project_named(self, name: str) -> str:
        """Return the id of a project, which is made where there is none."""
        known = next((key for key, value in self.projects.items() if value == name), None)
        if known is None:
            known = new_uuid()
            self.projects[known] = name
        return known

    def project(self, project_id: str) -> dict[str, str]:
        """Return a project as the API describes it."""
        return {"id": project_id, "name": self.projects[project_id]}

    def make_experiment(self, project_id: str, name: object, *, ensure_new: bool) -> dict[str, str]:
        """Return a new experiment as the API describes it; or the one of this name where it need not be new."""
        wanted = name if isinstance(name, str) and name else "experiment"
        named = {each["name"]: each for each in self._experiments.values() if each["project_id"] == project_id}
        if wanted in named and not ensure_new:
            return named[wanted]
        made_id = new_uuid()
        free = f"{wanted}-{made_id[:8]}" if wanted in named else wanted
        self._experiments[made_id] = {"id": made_id, "project_id": project_id, "name": free}
        return self._experiments[made_id]

    def all(self) -> Iterator[Row]:
        """Every row, oldest first."""
        return iter(self._rows.values())

    def on(self, shelf: Shelf) -> list[Row]:
        """Return the rows of one object, oldest first."""
        return [row for row in self.all() if row.shelf == shelf]

    def insert(self, shelf: Shelf, event: dict[str, Any], now: float) -> Row:
        """Write a row; one of the same id is replaced, or merged with where `_is_merge` is true.

        A row that is merged with stays the span that it is; one that is replaced, or stray, becomes the event's.
        """
        known = self._rows.get((shelf, event.get("id", "")))
        row = known or self._new(shelf, event, now)
        content = {name: event[name] for name in _EMPTY if name in event}
        merging = event.get("_is_merge")
        if known and merging:
            content = merged(known.content, content)
        if known and (known.stray or not merging):
            row = replace(row, **span_of(event))
        return self._keep(replace(row, content=content, stray=False))

    def feed(self, shelf: Shelf, item: dict[str, Any], now: float) -> Row:
        """Apply one feedback item; where its row is not known, a stray row is made."""
        known = self._rows.get((shelf, item["id"]))
        row = known or replace(self._new(shelf, {"id": item["id"]}, now), stray=True)
        noted = {"source": "external", "metadata": None} | item | {"created": timestamp(now)}
        said = {name: item[name] for name in ("scores", "tags") if item.get(name) is not None}
        if "expected" in item:
            said["expected"] = item["expected"]
        return self._keep(
            replace(
                row,
                content=merged(row.content, said),
                comments=row.comments + comments_in(noted),
                audit=(*row.audit, noted),
            )
        )

    def for_tests(self) -> list[dict[str, Any]]:
        """Return everything there is, for `Emulator.braintrust_rows`."""
        return [self._described(row) for row in self.all()]

    def _described(self, row: Row) -> dict[str, Any]:
        name = self.projects.get(row.shelf.object_id)
        named = {"project_name": name} if name else {}
        return row.seen_by_api() | named | {"stray": row.stray, "audit": copy.deepcopy(list(row.audit))}

    def _new(self, shelf: Shelf, event: dict[str, Any], now: float) -> Row:
        self._sequence += 1
        row_id = event.get("id") or new_uuid()
        return Row(id=row_id, shelf=shelf, sequence=self._sequence, created=now, **span_of(event))

    def _keep(self, row: Row) -> Row:
        self._rows[row.shelf, row.id] = row
        return row


def span_of(event: dict[str, Any]) -> dict[str, Any]:
    """Return what a row is as a span; where the event does not say it, one that is its own root."""
    span_id = event.get("span_id") or new_uuid()
    root, above = event.get("root_span_id") or span_id, event.get("span_parents") or ()
    return {"span_id": span_id, "root_span_id": root, "span_parents": tuple(above)}


def comments_in(noted: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Return the comment of a feedback item, or nothing where it has none."""
    if noted.get("comment") is None:
        return ()
    kept = {name: noted[name] for name in ("source", "metadata", "created")}
    return ({"id": new_uuid(), "text": noted["comment"], **kept},)


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return both together: objects are merged in depth, tags are united, anything else is replaced."""
    result = {**old, **new}
    for name in old.keys() & new.keys():
        if isinstance(old[name], dict) and isinstance(new[name], dict):
            result[name] = merged(old[name], new[name])
        elif name == "tags" and old[name] and new[name]:
            result[name] = list(dict.fromkeys([*old[name], *new[name]]))
    return result
