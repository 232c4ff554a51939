"""What a backend is: a class that answers four questions about its service without doing any I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable
from urllib.parse import SplitResult, urlsplit

from .._model import Finding, LogRef, Pace, Verification
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .._model import Feedback

MAX_ID_LENGTH: Final = 512
DOT_SEGMENTS: Final = frozenset({".", ".."})
_SHOWN: Final = 300
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One HTTP exchange of a captured client: the request that was sent last, and the headers of its answer.

    Both kinds of headers are looked up by lower-case name. The rest is what thumbprint knows about the call, in the
    words of `LogRef`.
    """

    method: str
    url: str
    request_headers: Mapping[str, str]
    response_headers: Mapping[str, str]
    operation: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    captured_at: float = 0.0

    def log_ref(self, *, backend: str, id: str, **home: str | None) -> LogRef:  # noqa: A002 - as LogRef names it
        """Return the LogRef of an entry that this exchange made; `home` says where it lives."""
        return LogRef(
            backend=backend,
            id=id,
            operation=self.operation,
            trace_id=self.trace_id,
            span_id=self.span_id,
            captured_at=self.captured_at,
            **home,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request that a backend wants sent. Its headers hold the service's key, so they are in no repr."""

    method: Literal["GET", "PATCH", "POST", "PUT"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    json: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service said: HTTP status, headers by lower-case name, and the body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""

    def json(self) -> Any:
        """Return the body read as JSON, or None where it is none."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer means for the feedback that was sent.

    `delivered`; `retry`, not before `retry_after` seconds if the service said so; `early`, the log entry may not be
    there yet; `unauthorized`, the credentials are refused; `refused`, for good. `reason` says why, for people.
    Of a batch that is refused it is found out which items are to blame, unless `whole` says that it is none of them: it
    is their destination.
    """

    kind: Literal["delivered", "retry", "early", "unauthorized", "refused"]
    reason: str | None = None
    retry_after: float | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError for a `retry_after` that nobody could wait for."""
        if self.retry_after is not None and not 0 <= self.retry_after < float("inf"):
            raise ValueError(f"retry_after is {self.retry_after!r}: give seconds, or None")


Plan: TypeAlias = Generator[HttpRequest, Answer, Verdict]
"""A delivery without its I/O: yields each request in turn, is sent its answer, and returns the verdict."""

Diagnosis: TypeAlias = Generator[HttpRequest, Answer, Sequence[Finding]]
"""A look at the service without its I/O, likewise; none of its requests changes anything there."""

Confirmation: TypeAlias = Generator[HttpRequest, Answer, Verification]
"""A look at one log entry without its I/O, likewise; none of its requests changes anything there."""


class Backend(Protocol):
    """A service that keeps log entries and takes feedback for them.

    A backend is a dataclass (or anything that copies like one) of its settings; those that are None are filled in
    from the variables that `environment` names. It does no I/O: thumbprint carries out what it says.
    """

    name: ClassVar[str]
    """The word that stands in `LogRef.backend`."""

    id_headers: ClassVar[tuple[str, ...]]
    """The response headers, in lower case, one of which any answer with an id of this service has."""

    batch_size: ClassVar[int]
    """How many items one delivery may carry at most."""

    concurrency: ClassVar[int]
    """How many deliveries may be under way at a time."""

    environment: ClassVar[Mapping[str, str]]
    """Setting → the environment variable it comes from where it is not given."""

    @property
    def pace(self) -> Pace | None:
        """How fast the credential may be used, or None where the service sets no limit that is known."""
        ...

    @property
    def credential(self) -> str | None:
        """What pays for the requests: those with the same one share a pace."""
        ...

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Say which log entry the answer tells of: its id and where it lives; None where it tells of none.

        Raises ValueError for an id, a URL or a header that is broken; the call is then not captured.
        """
        ...

    def repeats(self, exchange: Exchange) -> bool:
        """Whether the service answered from a cache of its own, so that the answer's response id is an older call's."""
        ...

    def request_headers(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers that a request to this URL must carry besides its own, so that its answer has an id."""
        ...

    def check(self, ref: LogRef) -> None:
        """Raise a ConfigurationError, naming the setting, where feedback for this entry could not be sent."""
        ...

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:
        """Return the names of the fields that this service cannot hold."""
        ...

    def destination(self, ref: LogRef) -> str:
        """Return what must be the same for two items to share one delivery."""
        ...

    def deliver(self, batch: Sequence[tuple[LogRef, Feedback]]) -> Plan:
        """Return the plan that delivers this batch: items of one destination, each for another log entry."""
        ...


@runtime_checkable
class Diagnosable(Protocol):
    """What a backend may have besides: a way to look at its own settings, credentials and permissions."""

    def diagnose(self) -> Diagnosis:
        """Return the plan that finds out how the settings stand, and what the service says to them."""
        ...


@runtime_checkable
class Confirmable(Protocol):
    """What a backend may have besides: a way to ask its service whether feedback is there."""

    def confirm(self, ref: LogRef, feedback: Feedback) -> Confirmation:
        """Return the plan that compares what the log entry holds with what the feedback says."""
        ...


class Event(NamedTuple):
    """An event of OpenTelemetry: its name, its attributes, and the trace id and span id (hex digits) of its parent."""

    name: str
    attributes: Mapping[str, str | float]
    parent: tuple[str, str] | None


@runtime_checkable
class Emitting(Protocol):
    """A backend of the other kind: it is told of feedback in the process that records it, by events, not by HTTP.

    A dataclass of its settings, as a Backend is; it emits nothing itself. Every call's feedback is told to it, besides
    what the backend of its log entry gets.
    """

    name: ClassVar[str]
    """The word that stands in `LogRef.backend` of calls that nobody but this one knows."""

    environment: ClassVar[Mapping[str, str]]
    """Setting → the environment variable it comes from where it is not given."""

    @property
    def spans(self) -> bool:
        """Whether `recognise` is asked about calls in whose answers no service's id is."""
        ...

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Say which span the call was made in."""
        ...

    def span_attributes(self, refs: Sequence[LogRef]) -> Mapping[str, str]:
        """Return what the current span is told of the log entries that a call became."""
        ...

    def check(self, ref: LogRef) -> None:
        """Raise an error where events for this entry, one of its own, would have nothing to be about."""
        ...

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:
        """Return the names of the fields that its events do not tell."""
        ...

    def events(self, refs: Sequence[LogRef], feedback: Feedback) -> Iterable[Event]:
        """Return the events that tell this feedback for these entries, whichever service keeps them."""
        ...


@runtime_checkable
class Homed(Protocol):
    """What a backend may have besides: where log entries are that its settings speak of."""

    @property
    def home(self) -> Mapping[str, str]:
        """What the settings know of it, by the names that a LogRef has, such as `account_id`."""
        ...


def known_home(backend: Backend) -> Mapping[str, str]:
    """Return what the settings of a backend know of where log entries are."""
    return backend.home if isinstance(backend, Homed) else {}


def judge(answer: Answer) -> Verdict:
    """Say what an answer means by its HTTP status alone, the way most services mean it."""
    status, reason = answer.status, words_of(answer)
    if 200 <= status < 300:
        return Verdict(kind="delivered")
    if status in {401, 403}:
        return Verdict(kind="unauthorized", reason=reason)
    if status in {408, 425, 429} or status >= 500:
        return Verdict(kind="retry", reason=reason, retry_after=_retry_after(answer))
    return Verdict(kind="refused", reason=reason)


def url_lies_under(url: str, base: str) -> bool:
    """Whether the URL is the base or below it: same scheme, host and port, and whole path segments."""
    parts, base_parts = urlsplit(url), urlsplit(base)
    if _origin(parts) != _origin(base_parts):
        return False
    return f"{parts.path}/".startswith(f"{base_parts.path.rstrip('/')}/")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def check_settings(backend: Any, *, secret: str, urls: Sequence[str]) -> None:
    """Raise ConfigurationError for settings of a backend that could not be used; no message shows a secret.

    All settings that `environment` names are strings or None. The secret goes into a header, so it is visible ASCII.
    The URLs, each perhaps several with commas between, are http or https, with a host and without a password.
    """
    for setting, variable in backend.environment.items():
        value = getattr(backend, setting)
        named = f"{variable} ({type(backend).__name__}({setting}=…))"
        if value is None:
            continue
        if not isinstance(value, str):
            raise ConfigurationError(f"{named} is of type {type(value).__name__}: it takes a string")
        if setting == secret and not (value.isascii() and value.isprintable() and " " not in value):
            raise ConfigurationError(f"{named} has characters that no header takes: was it pasted with a line break?")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigurationError(f"{named} has bytes that are no UTF-8, which no URL takes")
        if setting in urls and not all(_is_plain_url(url.strip()) for url in value.split(",") if url.strip()):
            raise ConfigurationError(f"{named} is no URL that can be used: give https://HOST/PATH, without a password")


def _is_plain_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        )
    except ValueError:  # the port is no number
        return False


def checked_id(header: str, value: str) -> str:
    """Return the id that the header holds; raise ValueError where it is not 1 to 512 visible ASCII characters.

    Nor may it be a dot segment, which would lead a URL that it stands in elsewhere (RFC 3986, 5.2.4).
    """
    if value in DOT_SEGMENTS or not (
        0 < len(value) <= MAX_ID_LENGTH and value.isascii() and value.isprintable() and " " not in value
    ):
        raise ValueError(f"the header {header} holds no id: {value[:40]!a}")
    return value


def _retry_after(answer: Answer) -> float | None:
    """Seconds to wait, where the service says so, in seconds or as a date (RFC 9110, 10.2.3)."""
    told = answer.headers.get("retry-after", "")
    try:
        seconds = float(told)
    except ValueError:
        seconds = _seconds_until(told)
    return seconds if 0 <= seconds < float("inf") else None


def _seconds_until(date: str) -> float:
    """Seconds until an HTTP date, 0 where it is past; infinity for what is no date."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - seldom needed, and slow to import

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, OverflowError):
        return float("inf")


def words_of(answer: Answer) -> str:
    """Return the status and the beginning of the body, on one line, for people."""
    text = " ".join(answer.content[: 4 * _SHOWN].decode(errors="replace").split())
    return f"HTTP {answer.status}: {text[:_SHOWN]}" if text else f"HTTP {answer.status}"
