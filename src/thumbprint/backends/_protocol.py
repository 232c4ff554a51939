"""What a backend is: a class that answers four questions about its service without doing any I/O."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable
from urllib.parse import SplitResult, urlsplit

from .._model import Finding, Json, LogRef, Pace, Verification, is_word
from .._words import printable
from ..errors import ConfigurationError

if TYPE_CHECKING:
    from .._model import Feedback

MAX_ID_LENGTH: Final = 512
DOT_SEGMENTS: Final = frozenset({".", ".."})
_SHOWN: Final = 300
ON: Final = ("1", "true", "yes", "on")
OFF: Final = ("0", "false", "no", "off")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One HTTP exchange of a captured client: the request that was sent last, and the headers of its answer.

    Both kinds of headers are looked up by lower-case name. The rest is what thumbprint knows about the call, in the
    words of `LogRef`. The application's keys are in the headers, or in the URL's query, so these are in no repr.
    """

    method: str
    url: str = field(repr=False)
    request_headers: Mapping[str, str] = field(repr=False)
    response_headers: Mapping[str, str] = field(repr=False)
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

    What inherits from this class has to say `name`, `id_headers`, `recognise` and `deliver`; all else is then as for a
    service of which nothing more is known.
    """

    name: ClassVar[str]
    """The word that stands in `LogRef.backend`."""

    id_headers: ClassVar[tuple[str, ...]]
    """The response headers, in lower case, one of which any answer with an id of this service has."""

    batch_size: ClassVar[int] = 1
    """How many items one delivery may carry at most."""

    concurrency: ClassVar[int] = 8
    """How many deliveries may be under way at a time."""

    environment: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Setting → the environment variable it comes from where it is not given."""

    @property
    def pace(self) -> Pace | None:
        """How fast the credential may be used, or None where the service sets no limit that is known."""
        return None

    @property
    def credential(self) -> str | None:
        """What pays for the requests: those with the same one share a pace. None where the service is not set up."""
        return None

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Say which log entry the answer tells of: its id and where it lives; None where it tells of none.

        Raises ValueError for an id, a URL or a header that is broken; the call is then not captured.
        """
        ...

    def repeats(self, exchange: Exchange) -> bool:  # noqa: ARG002 - for those who need it
        """Whether the service answered from a cache of its own, so that the answer's response id is an older call's."""
        return False

    @property
    def asks(self) -> bool:
        """Whether a request may need headers, as the settings are: only then are `request_headers` asked for."""
        return type(self).request_headers is not Backend.request_headers

    def request_headers(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002 - as above
        """Return the headers that a request to this URL must carry besides its own, so that its answer has an id.

        Only to hosts that are known to be the service's own.
        """
        return {}

    def check(self, ref: LogRef) -> None:
        """Raise a ConfigurationError, naming the setting, where feedback for this entry could not be sent."""

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:  # noqa: ARG002 - as above
        """Return those of the names in `feedback.said()` that this service cannot hold."""
        return ()

    def destination(self, ref: LogRef) -> str:
        """Return what must be the same for two items to share one delivery."""
        return ref.id

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which log entries are looked for: those that meet all that is said. Times are in seconds since 1970.

    `scope_id` is that of a thumbprint scope with which the calls' requests were tagged.
    """

    scope_id: str | None = None
    metadata: Mapping[str, str | float] = field(default_factory=dict)
    model: str | None = None
    provider: str | None = None
    since: float | None = None
    until: float | None = None
    most: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A log entry that was found: where it is, and what its service says of the call; `success` of its answer."""

    ref: LogRef
    model: str | None = None
    provider: str | None = None
    success: bool = True
    metadata: Mapping[str, str | float] = field(default_factory=dict)


Search: TypeAlias = Generator[HttpRequest, Answer, Sequence[Found] | Verdict]
"""A search without its I/O, likewise: what was found, the earliest first, or what an answer means instead."""


@runtime_checkable
class Findable(Protocol):
    """What a backend may have besides: a way to find log entries by what is known of their calls."""

    name: ClassVar[str]
    """The word that stands in `LogRef.backend`."""

    @property
    def finds_scopes(self) -> bool:
        """Whether the calls of a scope can be found by its id, as the settings are."""
        ...

    @property
    def ingestion_lag(self) -> float:
        """After how many seconds all of a scope's calls can be found."""
        ...

    def check_search(self) -> None:
        """Raise a ConfigurationError, naming the setting, where nothing could be found with these settings."""
        ...

    def find(self, wanted: Wanted) -> Search:
        """Return the plan that finds the latest log entries of the kind; none of its requests changes anything."""
        ...


@runtime_checkable
class Tagging(Protocol):
    """What a backend may have besides: a way to let a call's log entry bear the ids of the scopes it was made in."""

    @property
    def tags(self) -> bool:
        """Whether it does so, as the settings are."""
        ...

    def tag_headers(self, url: str, headers: Mapping[str, str], scope_ids: Sequence[str]) -> Mapping[str, str]:
        """Return the headers to set on a request to this URL; the scopes' ids are in order, the innermost first."""
        ...


@runtime_checkable
class Spanning(Protocol):
    """What a backend may have besides: entries that an SDK of its service's makes, each a span, without any gateway."""

    name: ClassVar[str]
    """The word that stands in `LogRef.backend`."""

    def row_of(self, target: object) -> LogRef | None:
        """Return the entry of one of the SDK's spans, or of what was exported of it; None for anything else.

        Raises ValueError for a span that leads to no entry.
        """
        ...

    @property
    def spans_in_use(self) -> bool:
        """Whether the application uses the SDK, so that `current_row` and `write_rows` may be asked."""
        ...

    def current_row(self, exchange: Exchange) -> LogRef | None:
        """Return the entry of the SDK's current span as one of the call made in it; None where there is none."""
        ...

    def write_rows(self) -> None:
        """Have the SDK send what it holds of its spans, and wait until it has; feedback for them comes after it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRecord:
    """What passed in one call, as far as it is known by now, for a log entry to be written from; all of it JSON.

    `input` is what was asked, in the shape that the provider takes it; `parameters` are the rest of the request.
    `output` is what was answered, and `error` says why nothing was, or why no more. `usage` counts tokens, by
    `input_tokens`, `output_tokens`, `total_tokens` and what else the provider tells. Times are in seconds since 1970;
    `first_output_at` is told of streams alone. A call of which `ended_at` is None goes on.
    """

    input: Json = field(default=None, repr=False)
    output: Json = field(default=None, repr=False)
    error: str | None = field(default=None, repr=False)
    model: str | None = None
    provider: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict, repr=False)
    response_id: str | None = None
    user: str | None = field(default=None, repr=False)
    usage: Mapping[str, int] = field(default_factory=dict)
    started_at: float = 0.0
    first_output_at: float | None = None
    ended_at: float | None = None


@runtime_checkable
class Logging(Protocol):
    """What a backend may have besides: log entries that thumbprint writes itself, of calls that no gateway logs."""

    name: ClassVar[str]
    """The word that stands in `LogRef.backend`."""

    log_size: ClassVar[int]
    """How many bytes of rows one delivery may carry; a single row may be longer."""

    @property
    def logs_calls(self) -> bool:
        """Whether calls of which the service has no entry shall be logged, as the settings are."""
        ...

    def check_logging(self) -> None:
        """Raise a ConfigurationError, naming the setting, where calls shall be logged and could not be."""
        ...

    def new_entry(self, exchange: Exchange) -> LogRef:
        """Return a log entry that is still to be written, for a call that has none: its id is chosen here."""
        ...

    def row(self, ref: LogRef, record: CallRecord) -> Mapping[str, Json] | None:
        """Return what shall be written of the call, as JSON; None where nothing shall be.

        Of a stream it is asked at the beginning, and again at the end: what is written then replaces, or adds to, what
        was there.
        """
        ...

    def log(self, batch: Sequence[tuple[LogRef, Mapping[str, Json]]]) -> Plan:
        """Return the plan that writes rows of one destination, each into another log entry, or into it once more.

        Feedback for an entry is delivered after its row was written, or was refused for good. It may also come where
        the row was lost: `deliver` has to see to it that nobody takes it for something else than a call's.
        """
        ...


Carrier: TypeAlias = Callable[[HttpRequest], Awaitable[Answer]]
"""Carries a request to its service: awaited, it gives the answer; raises an error where there is none."""


@runtime_checkable
class Carried(Protocol):
    """What a backend may have besides: a way of its own to its service, where there are neither sockets nor threads.

    Its feedback is delivered inline, when the receipt is awaited. Its `pace` is None: to wait for a turn would hold up
    the event loop.
    """

    async def carry(self, request: HttpRequest) -> Answer:
        """Return the service's answer; raise an error where there is none."""
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


def url_lies_under_any(url: str, bases: str | None) -> bool:
    """Whether the URL is one of several bases, which stand with commas between, or below one."""
    return any(url_lies_under(url, base.strip()) for base in (bases or "").split(",") if base.strip())


def url_lies_under(url: str, base: str) -> bool:
    """Whether the URL is the base or below it: same scheme, host and port, and whole path segments."""
    parts, base_parts = urlsplit(url), urlsplit(base)
    if _origin(parts) != _origin(base_parts):
        return False
    return f"{parts.path}/".startswith(f"{base_parts.path.rstrip('/')}/")


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def check_settings(backend: Any, *, secret: str, urls: Sequence[str], switches: Sequence[str] = ()) -> None:
    """Raise ConfigurationError for settings of a backend that could not be used; no message shows a secret.

    All settings that `environment` names are strings or None, and of characters that a LogRef takes. The secret goes
    into a header, so it is visible ASCII.
    The URLs, each perhaps several with commas between, are http or https, with a host and without a password. Switches
    may be booleans too, and are read by `is_on`.
    """
    for setting, variable in backend.environment.items():
        if setting in switches:
            fault = _fault_of_switch(getattr(backend, setting))
        else:
            fault = _fault(getattr(backend, setting), is_secret=setting == secret, is_url=setting in urls)
        if fault is not None:  # no variable here holds the value: a traceback may show them
            raise ConfigurationError(f"{variable} ({type(backend).__name__}({setting}=…)) {fault}")


def is_on(switch: bool | str | None) -> bool:
    """Whether a switch that `check_settings` has passed is on: a boolean, a word of the environment, or nothing."""
    return switch is True or switch in ON


def _fault_of_switch(value: object) -> str | None:
    if value is None or isinstance(value, bool) or value in (*ON, *OFF):
        return None
    return f"is {value!a:.40}: say {', '.join(ON)}, or {', '.join(OFF)}"


def _fault(value: object, *, is_secret: bool, is_url: bool) -> str | None:
    """Return what is wrong with a setting; None where it can be used."""
    if value is None:
        return None
    if not isinstance(value, str):
        return f"is of type {type(value).__name__}: it takes a string"
    if is_secret and not (value.isascii() and value.isprintable() and " " not in value):
        return "has characters that no header takes: was it pasted with a line break?"
    if not is_word(value):
        return "has control characters, or bytes that are no UTF-8: correct it"
    if is_url and not all(_is_plain_url(url.strip()) for url in value.split(",") if url.strip()):
        return "is no URL that can be used: give https://HOST/PATH, without a password"
    return None


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
    """Return the status and the beginning of the body, on one line and without control characters, for people."""
    text = printable(" ".join(answer.content[: 4 * _SHOWN].decode(errors="replace").split()))
    return f"HTTP {answer.status}: {text[:_SHOWN]}" if text else f"HTTP {answer.status}"
