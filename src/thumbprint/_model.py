"""The values that travel through the house: where a call's log entry is, what is thought of it, what became of that.

Frozen, and of the standard library only. They know nothing of the rooms that make and use them.
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

Status = Literal["queued", "delivered", "failed", "dropped"]
Which = Literal["last", "all"]
Source = Literal["app", "api", "external"]
Baggage = Literal["send", "accept", "both"]
Json = Any  # what the json module can write: typing it exactly would burden every caller


class Unset(Enum):
    """The type of `UNSET`, which stands for "left out" where None already means "clear"."""

    UNSET = "…"

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset.UNSET

NONE_NAMED: Final[Mapping[str, Any]] = {}

# What does not answer anybody: `last` passes over calls with these operations.
# Every other operation, a future one too, counts as generating.
NON_GENERATING: Final = frozenset(
    {"cancel", "count_tokens", "delete", "embeddings", "list", "moderation", "rerank", "retrieve", "upload"}
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LogRef:
    """Where the log entry of one LLM call is.

    `backend` is the service that keeps it ("cloudflare", "braintrust", …) and `id` the service's own, opaque id of it:
    Cloudflare's log id, Braintrust's row id. `operation` says what was called, in the words of OpenTelemetry's
    `gen_ai.operation.name` where it has one (chat, text_completion, embeddings, generate_content …).

    Where the entry lives is said by `account_id` and `gateway_id` (Cloudflare) or by one of `project_id`,
    `project_name` and `experiment_id` (Braintrust); None means "as configured". `response_id` is the id that the
    model's answer bore, `trace_id` and `span_id` (32 and 16 hex digits) the OpenTelemetry span that was current, and
    `captured_at` the time of the capture, in seconds since 1970; 0 where it is not known.

    Raises TypeError and ValueError for what no service could have given, such as a word with control characters.
    """

    backend: str
    id: str
    operation: str | None = None
    account_id: str | None = None
    gateway_id: str | None = None
    project_id: str | None = None
    project_name: str | None = None
    experiment_id: str | None = None
    response_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    captured_at: float = 0.0

    def __post_init__(self) -> None:
        """Check it here, once: whoever records feedback for it does not wait for that."""
        words = _words_of(self)
        try:
            printable = "".join([word for word in words if word is not None]).isprintable()
        except TypeError:
            printable = False
        if not (printable and self.backend and self.id):
            _refuse_unfit(words)
        if type(self.captured_at) is not float or self.captured_at != self.captured_at:
            _refuse_no_time(self.captured_at)

    def __repr__(self) -> str:
        return f"LogRef({', '.join(f'{name}={value!r}' for name, value in self.to_dict().items())})"

    @property
    def generated(self) -> bool:
        """Whether the call generated an answer, and was not an embedding, a moderation, a listing or a poll."""
        return self.operation not in NON_GENERATING

    def to_dict(self) -> dict[str, str | float]:
        """Return what is known as a flat dict of strings, plus `captured_at` as a number, ready for JSON."""
        return {name: value for name, value in zip(_LOG_REF_FIELDS, _values_of(self), strict=True) if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LogRef:
        """Return the LogRef that `to_dict` was called on; names that this version does not know are passed over.

        Raises ValueError where `backend` or `id` is missing or a value is of another type than `to_dict` writes.
        """
        known = {name: values[name] for name in _LOG_REF_FIELDS if name in values}
        for name, value in known.items():
            expected = (int, float) if name == "captured_at" else (str,)
            if not isinstance(value, expected) or isinstance(value, bool) or value != value:  # noqa: PLR0124 - NaN
                raise ValueError(f"{value!a:.80} cannot be the {name} of a LogRef")
        if missing := {"backend", "id"} - known.keys():
            raise ValueError(f"a LogRef needs {' and '.join(sorted(missing))}, got {' and '.join(known) or 'neither'}")
        return cls(**known)


def _refuse_unfit(words: Sequence[object]) -> None:
    """Raise TypeError or ValueError for the first word that cannot be; there may be none.

    Of the words in which people name things only those are refused that would break lines, or that no URL can hold.
    """
    for name, word in zip(_WORDS, words, strict=True):
        if word is not None and not isinstance(word, str):
            raise TypeError(f"{word!a:.80} cannot be the {name} of a LogRef: it takes a string")
        if name in {"backend", "id"} and not (word and word.isprintable()):
            raise ValueError(f"{word!a:.80} cannot be the {name} of a LogRef: give visible characters")
        if word is not None and not is_word(word):
            raise ValueError(f"{word!a:.80} cannot be the {name} of a LogRef: it has control characters")


def is_word(text: str) -> bool:
    """Whether the text can be one of a LogRef's words: on one line, without control characters and lone surrogates."""
    return text.isprintable() or _UNFIT.search(text) is None


def _refuse_no_time(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!a:.80} cannot be the captured_at of a LogRef: it takes seconds since 1970")
    if value != value:  # noqa: PLR0124 - NaN
        raise ValueError(f"{value!a:.80} cannot be the captured_at of a LogRef: it is no time")


def answered_as(ref: LogRef, response_id: str) -> LogRef:
    """Return the same LogRef with a response id; all else was checked when it was made."""
    answered = object.__new__(LogRef)
    for name in _LOG_REF_FIELDS:
        object.__setattr__(answered, name, getattr(ref, name))
    object.__setattr__(answered, "response_id", response_id)
    return answered


_LOG_REF_FIELDS: Final = tuple(spec.name for spec in dataclasses.fields(LogRef))
_WORDS: Final = tuple(name for name in _LOG_REF_FIELDS if name != "captured_at")
_UNFIT: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_words_of: Final = operator.attrgetter(*_WORDS)
_values_of: Final = operator.attrgetter(*_LOG_REF_FIELDS)


class Feedback(NamedTuple):
    """What somebody thinks of an answer: valid, and still in thumbprint's own words.

    `UNSET` means "leave as it is", None means "clear". `thumbs` is 1 or -1, `score` and the values of `scores` are
    from 0 to 1, `expected` is any JSON. `comments` are one, or several where feedback was merged. A tuple, because the
    caller of `record_feedback` waits for it: frozen dataclasses take four times as long to make.
    """

    thumbs: Literal[1, -1] | Unset | None = UNSET
    score: float | Unset | None = UNSET
    scores: Mapping[str, float | None] = NONE_NAMED
    comments: tuple[str, ...] = ()
    expected: Json | Unset = UNSET
    tags: tuple[str, ...] | None = None
    metadata: Mapping[str, Json] = NONE_NAMED
    user_id: str | None = None
    source: Source | None = None

    def merged(self, later: Feedback) -> Feedback:
        """Return both as one: of each field the later word holds, comments are all kept, in order."""
        return Feedback(
            thumbs=self.thumbs if later.thumbs is UNSET else later.thumbs,
            score=self.score if later.score is UNSET else later.score,
            scores={**self.scores, **later.scores},
            comments=self.comments + later.comments,
            expected=self.expected if later.expected is UNSET else later.expected,
            tags=self.tags if later.tags is None else later.tags,
            metadata={**self.metadata, **later.metadata},
            user_id=self.user_id if later.user_id is None else later.user_id,
            source=self.source if later.source is None else later.source,
        )

    def said(self) -> set[str]:
        """Return the names of the fields that say something about the answer; each score and metadata entry is one.

        In the words of `record_feedback`: thumbs, score, comment, expected, tags, `scores.NAME`, `metadata.NAME`.
        """
        fields = {
            "thumbs": self.thumbs is not UNSET,
            "score": self.score is not UNSET,
            "comment": self.comments != (),
            "expected": self.expected is not UNSET,
            "tags": self.tags is not None,
        }
        names = {name for name, given in fields.items() if given}
        names.update(f"scores.{name}" for name in self.scores)
        names.update(f"metadata.{name}" for name in self.metadata)
        return names

    def to_dict(self) -> dict[str, Json]:
        """Return what is said, ready for JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value, silence in zip(self._fields, self, _SILENCE, strict=True)
            if value != silence
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Json]) -> Feedback:
        """Return the Feedback that `to_dict` was called on; names that this version does not know are passed over.

        Raises ValueError for what `to_dict` does not write.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"{values!a:.80} cannot be a Feedback")
        known: dict[str, Any] = {name: values[name] for name in cls._fields if name in values}
        for name, value in known.items():
            if not _FEEDBACK_TAKES[name](value):
                raise ValueError(f"{value!a:.80} cannot be the {name} of a Feedback")
        known |= {name: tuple(known[name]) for name in ("comments", "tags") if known.get(name) is not None}
        return cls(**known)


def _is_score(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1)


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_SILENCE: Final = tuple(Feedback())
_FEEDBACK_TAKES: Final[Mapping[str, Callable[[Any], bool]]] = {
    "thumbs": lambda value: value is None or (type(value) is int and value in {1, -1}),
    "score": _is_score,
    "scores": lambda value: isinstance(value, Mapping) and all(map(_is_score, value.values())),
    "comments": _is_texts,
    "expected": lambda _: True,
    "tags": lambda value: value is None or _is_texts(value),
    "metadata": lambda value: isinstance(value, Mapping),
    "user_id": _is_text,
    "source": _is_text,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of feedback for one log entry.

    `status` is queued, delivered, failed (the service refused it for good; `reason` gives its words) or dropped
    (never sent; `reason` says why). `attempts` counts the deliveries tried. `unsupported` names the fields that the
    backend cannot hold.
    """

    ref: LogRef
    status: Status = "queued"
    reason: str | None = None
    attempts: int = 0
    unsupported: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """How the outbox stands when `flush` returns, counted in log entries.

    `delivered`, `failed` and `dropped` were settled since the flush before (or since the start); `remaining` wait.
    """

    delivered: int = 0
    remaining: int = 0
    failed: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Whether a service has the feedback on one log entry.

    `status` is confirmed; missing: the entry, or what was said, is not there; or unknown: nobody can tell, as where the
    service cannot be reached. `fields` names what was found as it was said, in the words of `record_feedback`; `reason`
    says what is there instead, what the service does not show, or what went wrong.
    """

    ref: LogRef
    status: Literal["confirmed", "missing", "unknown"]
    reason: str | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What an operator should know of one part: `check` names it, `found` says how it stands, `advice` what to do."""

    check: str
    status: Literal["ok", "warning", "problem"]
    found: str
    advice: str | None = None


class Item(NamedTuple):
    """One piece of feedback on its way to one log entry, as the outbox keeps it.

    `created_at` is in seconds since 1970; `attempts` counts the deliveries that failed, `reason` is that of the last.
    With a `row`, it is the log entry itself that is written, or a part of it, in its service's words, and the feedback
    says nothing. A tuple, as Feedback is.
    """

    id: str
    ref: LogRef
    feedback: Feedback
    created_at: float
    attempts: int = 0
    reason: str | None = None
    row: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast one credential may be used: `rate` requests a second on average, `burst` of them at once."""

    rate: float
    burst: float


def overall(statuses: Sequence[Status]) -> Status:
    """Return the status that stands for all: queued while one is, else the worst; dropped where there are none."""
    for status in ("queued", "failed", "dropped"):
        if status in statuses:
            return status
    return "delivered" if statuses else "dropped"
