"""Log entries of the gateway, and the book that keeps them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from thumbprint.emulator._identity import ACCOUNT_ID, GATEWAY_ID, timestamp
from thumbprint.emulator._wire import MalformedBodyError, is_number

if TYPE_CHECKING:
    from collections.abc import Iterator

MetadataPatch = Literal["replace", "merge"]

_GATEWAY = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*")
_LONGEST_GATEWAY = 64
_MOST_SCORE = 100
# `created_at` is rounded to milliseconds, so it can lie this far in the future.
_ROUNDING = 0.001


@dataclass(frozen=True, slots=True)
class Place:
    """An account and one of its gateways."""

    account_id: str
    gateway_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One log of the gateway. `feedback` and `score` are None until they are given."""

    id: str
    place: Place
    event_id: str
    created_at: float
    provider: str
    model: str
    path: str
    status_code: int
    cached: bool
    request: bytes
    response: bytes
    request_type: str
    response_type: str
    metadata: dict[str, Any] = field(default_factory=dict)
    feedback: float | None = None
    score: float | None = None

    @property
    def success(self) -> bool:
        """Whether the provider answered well."""
        return self.status_code < HTTPStatus.BAD_REQUEST

    @property
    def tokens_in(self) -> int:
        """Words sent."""
        return len(self.request.split())

    @property
    def tokens_out(self) -> int:
        """Words that came back."""
        return len(self.response.split())

    @property
    def model_type(self) -> str:
        """What kind of call it was: the first part of its path."""
        return self.path.partition("/")[0]

    def seen_by_api(self) -> dict[str, Any]:
        """Return the result of the API's list: without feedback and score, and with metadata as text."""
        return {
            "id": self.id,
            "cached": self.cached,
            "created_at": timestamp(self.created_at),
            "duration": 1,
            "metadata": json.dumps(self.metadata, ensure_ascii=False),
            "model": self.model,
            "model_type": self.model_type,
            "path": self.path,
            "provider": self.provider,
            "request_content_type": self.request_type,
            "response_content_type": self.response_type,
            "status_code": self.status_code,
            "step": 0,
            "success": self.success,
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
        }

    def in_detail(self, *, feedback_shown: bool) -> dict[str, Any]:
        """Return the result of the API's look at a single log, as its reference tells it or with its feedback."""
        voted = {"feedback": self.feedback, "score": self.score} if feedback_shown else {}
        return (
            self.seen_by_api()
            | voted
            | {
                "request_head": self.request.decode(errors="replace"),
                "request_head_complete": True,
                "request_size": len(self.request),
                "response_head": self.response.decode(errors="replace"),
                "response_head_complete": True,
                "response_size": len(self.response),
            }
        )

    def for_tests(self) -> dict[str, Any]:
        """Return everything there is, for `Emulator.cloudflare_logs`."""
        return self.seen_by_api() | {
            "account_id": self.place.account_id,
            "gateway_id": self.place.gateway_id,
            "event_id": self.event_id,
            "feedback": self.feedback,
            "score": self.score,
            "metadata": dict(self.metadata),
            "request": self.request.decode(errors="replace"),
            "response": self.response.decode(errors="replace"),
        }


class LogBook:
    """All logs by id, oldest first, and the gateways that have been seen."""

    def __init__(self, ingestion_lag: float, metadata_patch: MetadataPatch) -> None:
        self._lag = ingestion_lag
        self._merging = metadata_patch == "merge"
        self._entries: dict[str, LogEntry] = {}
        self._places = {Place(ACCOUNT_ID, GATEWAY_ID), Place(ACCOUNT_ID, "default")}

    def open(self, place: Place) -> None:
        """Make sure that a gateway exists."""
        self._places.add(place)

    def knows(self, place: Place) -> bool:
        """Whether a gateway exists."""
        return place in self._places

    def write(self, entry: LogEntry) -> None:
        """Add a log."""
        self._entries[entry.id] = entry

    def all(self) -> Iterator[LogEntry]:
        """Every log, also the ones too young to be seen."""
        return iter(self._entries.values())

    def visible(self, place: Place, now: float) -> list[LogEntry]:
        """Return the logs of a gateway that the API can see by now, oldest first."""
        return [entry for entry in self.all() if entry.place == place and self._ingested(entry, now)]

    def find(self, place: Place, log_id: str, now: float) -> LogEntry | None:
        """Return one log, or None where the API cannot see it (yet)."""
        entry = self._entries.get(log_id)
        return entry if entry and entry.place == place and self._ingested(entry, now) else None

    def patch(self, entry: LogEntry, changes: dict[str, Any]) -> None:
        """Apply what `check_patch` has passed."""
        if "metadata" in changes:
            kept = entry.metadata if self._merging and changes["metadata"] is not None else {}
            changes = changes | {"metadata": kept | (changes["metadata"] or {})}
        self._entries[entry.id] = replace(entry, **changes)

    def _ingested(self, entry: LogEntry, now: float) -> bool:
        return now - entry.created_at > self._lag - _ROUNDING


def is_gateway_id(text: str) -> bool:
    """Whether a gateway may be called so."""
    return len(text) <= _LONGEST_GATEWAY and _GATEWAY.fullmatch(text) is not None


def check_patch(body: dict[str, Any]) -> dict[str, Any]:
    """Return the changes that a PATCH asks for. Raises MalformedBodyError, naming the field."""
    changes: dict[str, Any] = {name: body[name] for name in ("feedback", "score", "metadata") if name in body}
    _check_range("feedback", changes.get("feedback"), -1, 1)
    _check_range("score", changes.get("score"), 0, _MOST_SCORE)
    metadata = changes.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise MalformedBodyError("metadata must be an object or null")
    for name, value in (metadata or {}).items():
        if not isinstance(value, (str, int, float)):
            raise MalformedBodyError(f"metadata.{name} must be a string, a number or a boolean")
    return changes


def _check_range(name: str, value: Any, least: int, most: int) -> None:
    if value is not None and not (is_number(value) and least <= value <= most):
        raise MalformedBodyError(f"{name} must be a number from {least} to {most}, or null")
