"""The arguments of `record_feedback` → a valid `Feedback`, or an error that names the argument. Pure."""

from __future__ import annotations

import itertools
import json
import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, get_args

from ._model import NONE_NAMED, UNSET, Feedback, Source, Unset
from .errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_COMMENT_BYTES: Final = 64 * 1024
MAX_JSON_BYTES: Final = 1024 * 1024  # `expected` and `metadata`, as JSON
MAX_JSON_DEPTH: Final = 100  # lists and dicts in each other: what waits must be readable however deep the reader stands
MAX_NAME_BYTES: Final = 1024  # a tag, a user id, the name of a score or of a metadata entry
MAX_ENTRIES: Final = 1000  # tags, scores, metadata

_SOURCES: Final = get_args(Source)
_SHOWN: Final = 80


def feedback_from(  # noqa: PLR0917 - the caller of `record_feedback` waits less for arguments without names
    thumbs: str | bool | int | Unset | None = UNSET,
    score: float | Unset | None = UNSET,
    scores: Mapping[str, float | None] | None = None,
    comment: str | None = None,
    expected: Any = UNSET,
    tags: Iterable[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    user_id: str | None = None,
    source: str | None = None,
) -> Feedback:
    """Return the feedback that the arguments say.

    Raises ArgumentValueError (a ValueError) or ArgumentTypeError (a TypeError) naming the argument and the value.
    """
    checked = Feedback(
        thumbs if thumbs is UNSET or thumbs is None else _thumbs(thumbs),
        score if score is UNSET or score is None else _unit_interval("score", score),
        _scores(scores) if scores is not None else NONE_NAMED,
        (_text("comment", comment, MAX_COMMENT_BYTES),) if comment is not None and comment != "" else (),
        expected if expected is UNSET else _json("expected", expected),
        _tags(tags) if tags is not None else None,
        _metadata(metadata) if metadata is not None else NONE_NAMED,
        _name("user_id", user_id) if user_id is not None else None,
        _source(source) if source is not None else None,
    )
    if checked.thumbs is UNSET and checked.score is UNSET:
        _refuse_silence(checked)
    if checked.scores:
        _refuse_conflict(checked)
    return checked


def _refuse_silence(feedback: Feedback) -> None:
    if not feedback.said():
        raise ArgumentValueError(
            "this feedback says nothing: give at least one of thumbs, score, scores, comment, expected, tags "
            "and metadata (user_id and source only say who speaks)",
            argument="thumbs",
        )


def _refuse_conflict(feedback: Feedback) -> None:
    for name, value in (("thumbs", feedback.thumbs), ("score", feedback.score)):
        if value is not UNSET and name in feedback.scores:
            raise ArgumentValueError(
                f"scores has an entry {name!r} beside the argument {name}={value!r}: both are stored under that "
                f"name, give only one",
                argument="scores",
            )


def _thumbs(value: object) -> Literal[1, -1]:
    if isinstance(value, str):
        if value == "up":
            return 1
        if value == "down":
            return -1
    elif isinstance(value, int):  # True is 1; False is 0 and must be told from it
        if value is True or value == 1:
            return 1
        if value is False or value == -1:
            return -1
        if value == 0:
            _invalid("thumbs", value, "0 is ambiguous: say False or -1 for a thumb down, None to take a vote back")
    else:
        _wrong_type("thumbs", value, '"up", "down", True, False, 1, -1 or None')
    _invalid("thumbs", value, 'it must be "up", "down", True, False, 1, -1 or None')


def _unit_interval(argument: str, value: object) -> float:
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            _wrong_type(argument, value, "a number from 0 to 1, or None")
        try:
            value = float(value)
        except Exception:  # an integer too large for a float, or a number type that misbehaves
            _invalid(argument, value, "it must be from 0 to 1")
    if not 0.0 <= value <= 1.0:  # NaN is not, either
        _invalid(argument, value, "it must be from 0 to 1")
    return value


def _scores(scores: object) -> dict[str, float | None]:
    entries = _entries("scores", scores)
    return {
        name: None if value is None else _unit_interval(f"scores[{_shown(name)}]", value)
        for name, value in entries.items()
    }


def _tags(tags: object) -> tuple[str, ...]:
    if isinstance(tags, (str, bytes, type, Mapping)) or not hasattr(tags, "__iter__"):
        _wrong_type("tags", tags, "a list of strings")
    checked = tuple(_name("tags", tag) for tag in itertools.islice(tags, MAX_ENTRIES + 1))
    if len(checked) > MAX_ENTRIES:
        _invalid("tags", tags, f"at most {MAX_ENTRIES} are taken")
    return checked


def _metadata(metadata: object) -> dict[str, Any]:
    entries = _entries("metadata", metadata)
    checked: dict[str, Any] = _json("metadata", entries)
    return checked


def _entries(argument: str, value: object) -> dict[str, Any]:
    if isinstance(value, type) or not (hasattr(value, "keys") and hasattr(value, "__getitem__")):
        _wrong_type(argument, value, "a dict with strings as keys")
    entries = {_name(argument, key): value[key] for key in value.keys()}  # noqa: SIM118 - a Mapping by shape
    if len(entries) > MAX_ENTRIES:
        _invalid(argument, f"{len(entries)} entries", f"at most {MAX_ENTRIES} are taken")
    return entries


def _json(argument: str, value: object) -> Any:
    """Return the value as JSON would give it back: a copy, which the caller cannot change afterwards."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        copy = json.loads(text)
    except ValueError as error:  # NaN, a circle, a lone surrogate, an integer of thousands of digits
        _invalid(argument, value, f"it must be JSON ({error})")
    except Exception as error:  # no JSON type, too deep, or an object of the caller's that fails when it is read
        _wrong_type(argument, value, f"JSON ({type(error).__name__}: {error!s:.200})")
    if len(text) > MAX_JSON_BYTES:
        _invalid(argument, value, f"as JSON it is {len(text)} bytes long, at most {MAX_JSON_BYTES} are taken")
    if _is_deeper(copy, MAX_JSON_DEPTH):
        _invalid(argument, value, f"it is nested too deeply, at most {MAX_JSON_DEPTH} lists or dicts in each other")
    return copy


def _is_deeper(value: object, most: int) -> bool:
    """Whether more than so many lists and dicts are nested in each other; without recursion."""
    level = [value]
    for _ in range(most):
        insides = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [inner for inside in insides for inner in inside]
        if not level:
            return False
    return any(isinstance(one, (dict, list)) for one in level)


def _source(value: object) -> Source:
    if not isinstance(value, str):
        _wrong_type("source", value, f"one of {', '.join(_SOURCES)}")
    for source in _SOURCES:
        if value == source:
            return source  # type: ignore[no-any-return]
    _invalid("source", value, f"it must be one of {', '.join(_SOURCES)}")


def _name(argument: str, value: object) -> str:
    text = _text(argument, value, MAX_NAME_BYTES)
    if not text:
        _invalid(argument, value, "it must not be empty")
    return text


def _text(argument: str, value: object, most: int) -> str:
    if not isinstance(value, str):
        _wrong_type(argument, value, "a string")
    text = value if type(value) is str else str.__str__(value)  # an Enum's `str()` would be its name
    if 4 * len(text) > most or not text.isascii():  # else it is short enough, and can be encoded
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            _invalid(argument, value, f"it cannot be written as UTF-8 ({error.reason})")
        if length > most:
            _invalid(argument, value, f"it is {length} bytes long, at most {most} are taken")
    return text


def _invalid(argument: str, value: object, why: str) -> NoReturn:
    raise ArgumentValueError(f"{argument}={_shown(value)}: {why}", argument=argument.partition("[")[0])


def _wrong_type(argument: str, value: object, takes: str) -> NoReturn:
    raise ArgumentTypeError(
        f"{argument}={_shown(value)} is of type {type(value).__name__}: it takes {takes}",
        argument=argument.partition("[")[0],
    )


def _shown(value: object) -> str:
    """Return the value as a message may show it: short, on one line, and never a reason to fail."""
    try:
        text = ascii(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
