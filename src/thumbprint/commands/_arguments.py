"""What several commands take: a store, a log entry and feedback on it, and how their values are read."""

from __future__ import annotations

import argparse
import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .. import ArgumentValueError, LogRef
from .._config import STORE
from .._model import UNSET

if TYPE_CHECKING:
    from collections.abc import Callable

STORE_HELP: Final = f"where the feedback is kept: sqlite:///PATH or redis://…; left out, what {STORE} says"
PORTS: Final = 65535
ITEMS: Final = 1_000_000  # in one list
AGO: Final = re.compile("([0-9]{1,6})([smhd])")
SECONDS_IN: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
HOME_OPTIONS: Final = ("account-id", "gateway-id", "project-id", "project-name", "experiment-id")


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], *, summary: str, description: str
) -> argparse.ArgumentParser:
    """Put a command among the subcommands, with a description that is shown as it is written; return its parser."""
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.set_defaults(command=run)
    return command


def add_store(parser: argparse.ArgumentParser, **options: Any) -> None:
    """Add the option that says which store is meant."""
    parser.add_argument("--store", metavar="URL", help=STORE_HELP, **options)


def add_log_entry(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which log entry is meant."""
    entry = parser.add_argument_group("the log entry")
    entry.add_argument("--backend", required=True, help="cloudflare or braintrust")
    entry.add_argument("--id", required=True, help="Cloudflare's log id, Braintrust's row id")
    for option in HOME_OPTIONS:
        entry.add_argument(
            f"--{option}", metavar="ID" if option.endswith("id") else "NAME", help="if not as configured"
        )


def log_entry(chosen: argparse.Namespace) -> LogRef:
    """Return the log entry that the options say; raise ArgumentValueError where there can be none such."""
    home = (option.replace("-", "_") for option in HOME_OPTIONS)
    try:
        return LogRef(backend=chosen.backend, id=chosen.id, **{name: getattr(chosen, name) for name in home})
    except ValueError as error:
        raise ArgumentValueError(str(error), argument="id") from None


def add_feedback(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is thought of the answer."""
    feedback = parser.add_argument_group("the feedback")
    feedback.add_argument(
        "--thumbs", type=_or_none(str), default=UNSET, metavar="up|down|none", help="none takes it back"
    )
    feedback.add_argument("--score", type=_or_none(float), default=UNSET, metavar="0…1|none", help="none clears it")
    feedback.add_argument(
        "--scores", type=pair(_or_none(float)), action="append", metavar="NAME=0…1|none", help="repeatable"
    )
    feedback.add_argument("--comment", metavar="TEXT")
    feedback.add_argument(
        "--expected", type=any_json, default=UNSET, metavar="JSON", help="what the answer should have been"
    )
    feedback.add_argument("--tag", dest="tags", action="append", metavar="TAG", help="repeatable")
    feedback.add_argument("--metadata", type=pair(any_json), action="append", metavar="NAME=JSON", help="repeatable")
    feedback.add_argument("--user-id", metavar="ID", help="who says it")
    feedback.add_argument("--source", metavar="app|api|external")


def feedback_arguments(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what the options say, as the arguments of `record_feedback`."""
    given = {name: getattr(chosen, name) for name in ("thumbs", "score", "comment", "expected", "tags")}
    said_by = {"user_id": chosen.user_id, "source": chosen.source}
    pairs = {name: dict(found) if (found := getattr(chosen, name)) else None for name in ("scores", "metadata")}
    return given | said_by | pairs


def seconds(text: str) -> float:
    """Read a number of seconds."""
    number = float(text)
    if not 0 <= number < float("inf"):
        _misread(f"{text!r} is no number of seconds")
    return number


def moment(text: str) -> float:
    """Read a time, as a date of ISO 8601 (UTC where it names no zone) or as how long ago: 90s, 15m, 2h, 3d.

    Returns seconds since 1970.
    """
    ago = AGO.fullmatch(text)
    try:
        if ago is not None:
            return time.time() - int(ago[1]) * SECONDS_IN[ago[2]]
        date = datetime.fromisoformat(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, OSError):
        _misread(f"{text!a:.40} is no time: give 2026-11-24T18:30:00Z, or how long ago, as in 90s, 15m, 2h, 3d")


def port(text: str) -> int:
    """Read the number of a port; 0 stands for a free one."""
    return _whole_number(text, 0, PORTS)


def limit(text: str) -> int:
    """Read how many items shall be shown at most."""
    return _whole_number(text, 1, ITEMS)


def _whole_number(text: str, least: int, most: int) -> int:
    try:
        number = int(text)
    except ValueError:  # also what has thousands of digits
        number = -1
    if not least <= number <= most:
        _misread(f"{text!a:.40} is no whole number from {least} to {most}")
    return number


def item_id(text: str) -> str:
    """Read the id of an item."""
    if "\0" in text or not _is_unicode(text):
        _misread(f"{text!a:.80} cannot be the id of an item")
    return text


def _is_unicode(text: str) -> bool:
    """Whether it is text: Python reads an argument's bytes that are not into lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        return None if text.lower() == "none" else read(text)

    value.__name__ = read.__name__  # argparse names it where a value cannot be read
    return value


def pair(read: Callable[[str], Any]) -> Callable[[str], tuple[str, Any]]:
    """Return a function that reads NAME=VALUE."""

    def value(text: str) -> tuple[str, Any]:
        name, equals, rest = text.partition("=")
        if not equals:
            _misread(f"{text!r} is not NAME=VALUE")
        try:
            return name, read(rest)
        except ValueError:
            _misread(f"{rest!r} in {text!r} cannot be read as {read.__name__}")

    return value


def any_json(text: str) -> Any:
    """Read JSON; a text that is none stands for itself, so that a plain word needs no double quoting."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _misread(message: str) -> NoReturn:
    raise argparse.ArgumentTypeError(message)
