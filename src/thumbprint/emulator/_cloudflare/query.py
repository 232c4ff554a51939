"""The query of the logs list: parsed once, then applied to the entries. Pure functions."""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._identity import parse_timestamp
from thumbprint.emulator._wire import whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from thumbprint.emulator._cloudflare.logs import LogEntry

_MOST_PER_PAGE = 50
_PER_PAGE = 20
_ORDERS = ("created_at", "provider", "model", "model_type", "success", "cached")
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}
_FLAT_FILTERS = ("provider", "model", "model_type", "success", "cached", "feedback")


class QueryError(ValueError):
    """A query that the API refuses. The text names the parameter."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition; several values are alternatives."""

    key: str
    operator: str
    values: tuple[Any, ...]

    def passes(self, entry: LogEntry) -> bool:
        """Whether a log meets the condition."""
        test = _OPERATORS[self.operator]
        met = any(test(have, value) for have in _FIELDS[self.key].read(entry) for value in self.values)
        return met != (self.operator == "neq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Everything that a list was asked for."""

    page: int
    per_page: int
    order_by: str
    ascending: bool
    search: str
    start: float
    end: float
    filters: tuple[Filter, ...]

    def select(self, entries: Iterable[LogEntry]) -> list[LogEntry]:
        """Return all that meet the query, in order. `entries` are oldest first."""
        kept = [entry for entry in entries if self._passes(entry)]
        ordered = kept if self.ascending else kept[::-1]
        return sorted(ordered, key=operator.attrgetter(self.order_by), reverse=not self.ascending)

    def cut(self, found: Sequence[LogEntry]) -> Sequence[LogEntry]:
        """Return the page that was asked for."""
        first = (self.page - 1) * self.per_page
        return found[first : first + self.per_page]

    def _passes(self, entry: LogEntry) -> bool:
        return (
            self.start <= entry.created_at <= self.end
            and self.search.lower() in json.dumps(entry.metadata, ensure_ascii=False).lower()
            and all(condition.passes(entry) for condition in self.filters)
        )


@dataclass(frozen=True, slots=True)
class _Field:
    """How a filter's key is read from a log, and how its value is read from the query."""

    read: Callable[[LogEntry], tuple[Any, ...]]
    parse: Callable[[str], Any]


def parse_query(params: list[tuple[str, str]]) -> Query:
    """Return the query. Raises QueryError."""
    single = dict(params)
    flat = [(name, "eq", [single[name]]) for name in _FLAT_FILTERS if name in single]
    return Query(
        page=_whole(single, "page", 1, None),
        per_page=_whole(single, "per_page", _PER_PAGE, _MOST_PER_PAGE),
        order_by=_one_of(single, "order_by", _ORDERS),
        ascending=_one_of(single, "order_by_direction", ("desc", "asc")) == "asc",
        search=single.get("search", ""),
        start=_moment(single, "start_date", float("-inf")),
        end=_moment(single, "end_date", float("inf")),
        filters=tuple(_filter(*condition) for condition in [*flat, *_triples(params)]),
    )


def _triples(params: list[tuple[str, str]]) -> list[tuple[str, str, list[str]]]:
    """Put repeated filters together by position; to a single key belong all the values."""
    keys, operators, values = (
        [value for key, value in params if key == f"filters.{name}"] for name in ("key", "operator", "value")
    )
    if len(keys) == len(operators) == 1 and values:
        return [(keys[0], operators[0], values)]
    if not len(keys) == len(operators) == len(values):
        raise QueryError("filters.key, filters.operator and filters.value must come equally often")
    return [(key, word, [value]) for key, word, value in zip(keys, operators, values, strict=True)]


def _filter(key: str, word: str, values: list[str]) -> Filter:
    if key not in _FIELDS:
        raise QueryError(f"filters.key: {key!r} is not known")
    if word not in _OPERATORS:
        raise QueryError(f"filters.operator: {word!r} is not known")
    try:
        return Filter(key, word, tuple(_FIELDS[key].parse(value) for value in values))
    except ValueError as error:
        raise QueryError(f"filters.value: not a value for {key}: {values!r}") from error


def _whole(single: dict[str, str], name: str, default: int, most: int | None) -> int:
    text = single.get(name, str(default))
    number = whole_number(text) or 0
    if number < 1 or (most is not None and number > most):
        raise QueryError(f"{name}: must be a whole number from 1" + (f" to {most}" if most else ""))
    return number


def _one_of(single: dict[str, str], name: str, allowed: tuple[str, ...]) -> str:
    word = single.get(name, allowed[0])
    if word not in allowed:
        raise QueryError(f"{name}: must be one of {', '.join(allowed)}")
    return word


def _moment(single: dict[str, str], name: str, default: float) -> float:
    if name not in single:
        return default
    try:
        return _time(single[name])
    except ValueError as error:
        raise QueryError(f"{name}: must be a date and time in ISO 8601") from error


def _time(text: str) -> float:
    seconds = parse_timestamp(text)
    if seconds is None:
        raise ValueError(text)
    return round(seconds, 3)


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise ValueError(text)
    return _TRUTHS[text.lower()]


def _spelled(value: object) -> str:
    """Return a metadata value as a query spells it."""
    return value if isinstance(value, str) else json.dumps(value)


def _contains(have: object, part: object) -> bool:
    return str(part).lower() in str(have).lower()


def _text(name: str) -> _Field:
    return _Field(lambda entry: (getattr(entry, name),), str)


def _number(name: str) -> _Field:
    return _Field(lambda entry: (getattr(entry, name) or 0,), float)


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.eq,
    "contains": _contains,
    "lt": operator.lt,
    "gt": operator.gt,
}

_FIELDS: dict[str, _Field] = {
    **{
        key: _text(name)
        for key, name in {
            "id": "id",
            "event_id": "event_id",
            "model": "model",
            "model_type": "model_type",
            "provider": "provider",
            "request_content_type": "request_type",
            "response_content_type": "response_type",
        }.items()
    },
    **{key: _number(key) for key in ("feedback", "tokens_in", "tokens_out")},
    "created_at": _Field(lambda entry: (entry.created_at,), _time),
    "success": _Field(lambda entry: (entry.success,), _truth),
    "cached": _Field(lambda entry: (entry.cached,), _truth),
    "metadata.key": _Field(lambda entry: tuple(entry.metadata), str),
    "metadata.value": _Field(lambda entry: tuple(map(_spelled, entry.metadata.values())), str),
}
