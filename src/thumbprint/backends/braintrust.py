"""Braintrust: rows, told in `x-bt-span-id`, that take feedback by POST, many in one.

Sources: the gateway's and the REST API's documentation, https://www.braintrust.dev/docs , and its proxy's behaviour.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias
from urllib.parse import quote, urlsplit

from .._excerpt import excerpt
from .._log import warn
from .._model import UNSET, Feedback, Finding, LogRef, Pace, Verification
from ..errors import ConfigurationError, MissingCredentialsError
from ._comparison import Comparison, same_json
from ._protocol import (
    DOT_SEGMENTS,
    Answer,
    CallRecord,
    Confirmation,
    Diagnosis,
    Exchange,
    HttpRequest,
    Plan,
    Verdict,
    check_settings,
    checked_id,
    is_on,
    judge,
    url_lies_under,
    url_lies_under_any,
    words_of,
)
from ._slug import Slug, decode_slug, project_slug
from ._spans import current_span, in_use, read_span, stands_for_none, write_rows

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Redact: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Is given a row, and returns the row to write in its place, or None for none."""

API_URL: Final = "https://api.braintrust.dev"
OWN_DOMAIN: Final = "braintrust.dev"
ROW_ID: Final = "x-bt-span-id"
SLUG: Final = "x-bt-span-export"
PARENT: Final = "x-bt-parent"
CACHED: Final = "x-bt-cached"
PER_PAGE: Final = 100  # rows that one request of `confirm` fetches
MOST_PAGES: Final = 20
MOST_KNOWN: Final = 10_000  # rows of which is known that they are there
OWN_ROW: Final = "7470"  # how the ids of rows begin that thumbprint writes, which are UUIDs of version 8 (RFC 9562)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """Where rows live: an experiment, or a project known by its id or only by its name."""

    project_id: str | None = None
    project_name: str | None = None
    experiment_id: str | None = None

    def __bool__(self) -> bool:
        return bool(self.project_id or self.project_name or self.experiment_id)


_NOWHERE: Final = _Home()
_NOT_BRAINTRUST: Final = Verdict(kind="retry", reason="the answer is not one of Braintrust's API: a proxy in between?")
_OF_A_CALL: Final = ("input", "output", "error", "metrics", "span_attributes")  # what a row has that a call made
_METRICS: Final = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "total_tokens": "tokens",
    "cached_tokens": "prompt_cached_tokens",
    "cache_creation_tokens": "prompt_cache_creation_tokens",
    "reasoning_tokens": "completion_reasoning_tokens",
}
_PARENT_KINDS: Final = {"experiment": "experiment_id", "project_logs": "project_id", "playground_logs": "playground_id"}


@dataclass(frozen=True, kw_only=True)
class Braintrust:
    """Braintrust's gateway and logs.

    `api_key` pays for feedback; `api_url` is the API's (default `https://api.braintrust.dev`). `parent` says where
    calls through a Braintrust gateway are logged whose own headers do not say it (`project_name:NAME`,
    `project_id:UUID`, `experiment_id:UUID` or an exported span slug): without one the gateway logs nothing.
    `gateway_url` is a gateway of one's own, or several, comma-separated. With `log_calls` each call that no gateway and
    no span of Braintrust's SDK logs is logged by thumbprint, where `parent` says, with what was asked and answered.
    `redact` is called with each such row, a dict, and returns the row to write, or None for none: the call is then no
    target. Where it raises, nothing is written of what was asked and answered. Of a stream it is called twice: with
    what is known when it begins, and with all of it when it has ended. What is None comes from `BRAINTRUST_API_KEY`,
    `BRAINTRUST_API_URL`, `BRAINTRUST_PARENT`, `BRAINTRUST_GATEWAY_URL` and `BRAINTRUST_LOG_CALLS`.
    """

    api_key: str | None = field(default=None, repr=False)
    api_url: str | None = None
    parent: str | None = None
    gateway_url: str | None = None
    pace: Pace | None = None
    log_calls: bool | str | None = None
    redact: Redact | None = field(default=None, repr=False)
    _project_ids: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _written: dict[str, None] = field(default_factory=dict, init=False, repr=False, compare=False)

    name: ClassVar[str] = "braintrust"
    id_headers: ClassVar[tuple[str, ...]] = (ROW_ID,)
    batch_size: ClassVar[int] = 200
    concurrency: ClassVar[int] = 8
    log_size: ClassVar[int] = 5_000_000
    environment: ClassVar[Mapping[str, str]] = {
        "api_key": "BRAINTRUST_API_KEY",
        "api_url": "BRAINTRUST_API_URL",
        "parent": "BRAINTRUST_PARENT",
        "gateway_url": "BRAINTRUST_GATEWAY_URL",
        "log_calls": "BRAINTRUST_LOG_CALLS",
    }

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a setting that cannot be used, `parent` among them."""
        check_settings(self, secret="api_key", urls=["api_url", "gateway_url"], switches=["log_calls"])
        if not (self.redact is None or callable(self.redact)):
            raise ConfigurationError(f"Braintrust(redact=…) is of type {type(self.redact).__name__}: give a function")
        if self.parent:
            try:
                LogRef.from_dict({"backend": self.name, "id": "any", **self.home})
                _accepted_parent(self.parent)
            except ValueError as error:
                raise ConfigurationError(
                    f"BRAINTRUST_PARENT (Braintrust(parent=…)) is {self.parent[:80]!a}: give project_name:NAME, "
                    f"project_id:UUID, experiment_id:UUID or the slug of an exported span ({error})"
                ) from None

    @property
    def credential(self) -> str | None:
        """The API key."""
        return self.api_key

    @property
    def home(self) -> Mapping[str, str]:
        """The project or experiment that `parent` names."""
        found = _home_of_parent(self.parent) or _NOWHERE
        return {name: value for name, value in asdict(found).items() if value}

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Return the row that `x-bt-span-id` names; where it lives tells the slug beside it, or the request's parent.

        A playground's row is none that feedback can be sent to, and is passed over.
        """
        if ROW_ID not in exchange.response_headers:
            return None
        row_id = checked_id(ROW_ID, exchange.response_headers[ROW_ID])
        slug = exchange.response_headers.get(SLUG)
        home = _home_of_slug(slug) if slug else _home_of_parent(self._parent_of(exchange))
        if home is None:
            return None
        return exchange.log_ref(
            backend=self.name,
            id=row_id,
            project_id=home.project_id,
            project_name=home.project_name,
            experiment_id=home.experiment_id,
        )

    def row_of(self, target: object) -> LogRef | None:
        """Return the row of a span of Braintrust's SDK, or of what `span.export()` gave; None for anything else.

        Raises ValueError for a span that has no row, whose row takes no feedback, or of which the SDK does not know yet
        where it is.
        """
        if stands_for_none(target):
            raise ValueError(
                "the SDK gives it where no span is open, or no logger or experiment was set up: it has no row"
            )
        slug = _slug_in(target) if isinstance(target, str) else read_span(target)
        if slug is None or not slug.row_id:
            return None
        home = _home_in(slug)
        if home is None:
            raise ValueError("it is of a playground, whose rows take no feedback")
        return LogRef(backend=self.name, id=slug.row_id, **asdict(home))

    @property
    def spans_in_use(self) -> bool:
        """Whether the SDK is imported, and feedback could reach its rows: that takes an API key."""
        return bool(self.api_key) and in_use()

    def current_row(self, exchange: Exchange) -> LogRef | None:
        """Return the row of the SDK's current span as that of a call which is made in it; None where there is none."""
        span = current_span()
        ref = None if span is None else self.row_of(span)
        if ref is None:
            return None
        home = {name: getattr(ref, name) for name in ("project_id", "project_name", "experiment_id")}
        return exchange.log_ref(backend=self.name, id=ref.id, **home)

    def write_rows(self) -> None:
        """Have the SDK write its rows: the first that it writes of a span replaces what the service has by that id."""
        write_rows()

    def repeats(self, exchange: Exchange) -> bool:
        """Whether `x-bt-cached` tells of a hit: the row is new then, the model's answer is not."""
        return answered_from_cache(exchange.response_headers)

    @property
    def asks(self) -> bool:
        """Whether there is a parent to name in requests."""
        return bool(self.parent)

    def request_headers(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return `x-bt-parent` for a request to a Braintrust gateway that has none and gets it from `parent`."""
        if not self.parent or PARENT in headers or not self._is_gateway(url):
            return {}
        return {PARENT: _accepted_parent(self.parent)}

    def check(self, ref: LogRef) -> None:
        """Raise MissingCredentialsError where the key, or the project or experiment, is not known."""
        if not self.api_key:
            raise MissingCredentialsError(
                f"feedback for the Braintrust row {ref.id} needs an API key: set BRAINTRUST_API_KEY or pass "
                f"Braintrust(api_key=…) to configure()",
                variable="BRAINTRUST_API_KEY",
            )
        if not (ref.project_id or ref.project_name or ref.experiment_id or self._home(ref)):
            raise MissingCredentialsError(
                f"the project of the Braintrust row {ref.id} is not known: set BRAINTRUST_PARENT or pass "
                f"Braintrust(parent=…) to configure()",
                variable="BRAINTRUST_PARENT",
            )
        if ref.project_id in DOT_SEGMENTS or ref.experiment_id in DOT_SEGMENTS:
            raise ConfigurationError(f"no project or experiment has such an id: {ref}")

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:
        """Return the one entry that Braintrust cannot hold: metadata of the name that the user id takes."""
        return ("metadata.user_id",) if feedback.user_id is not None and "user_id" in feedback.metadata else ()

    def destination(self, ref: LogRef) -> str:
        """Return the project or experiment: each POST is for one of them."""
        home = ref if ref.project_id or ref.project_name or ref.experiment_id else self._home(ref)
        return f"{home.experiment_id}\n{home.project_id}\n{home.project_name}"

    def deliver(self, batch: Sequence[tuple[LogRef, Feedback]]) -> Plan:
        """POST the batch to its project or experiment; a project that is known only by name is looked up once.

        Where the project or experiment is not there, that is a verdict on all of the batch. Of a row that thumbprint
        writes, so much as a LogRef tells is written first, unless this process has written it: feedback alone would
        make a row that nobody can tell a call's from, where it was refused or lost.
        """
        place = yield from self._place(self._home(batch[0][0]))
        if isinstance(place, Verdict):
            return replace(place, whole=True)
        own = [ref for ref, _ in batch if ref.id.startswith(OWN_ROW) and _is_own(ref.id)]
        unwritten = [_bare_row(ref) for ref in own if ref.id not in self._written]
        if unwritten:
            verdict = yield from self._insert(place, unwritten)
            if verdict.kind != "delivered":
                return verdict
        items = [_item(ref.id, feedback) for ref, feedback in batch]
        for ref, feedback in batch:
            if len(feedback.comments) > 1:  # an item holds but one
                items += [{"id": ref.id, "comment": comment} for comment in feedback.comments[1:]]
        answer = yield self._request("POST", f"{place}/feedback", {"feedback": items})
        return replace(_judge(answer), whole=answer.status == 404)

    @property
    def logs_calls(self) -> bool:
        """Whether `log_calls` is on."""
        return is_on(self.log_calls)

    def check_logging(self) -> None:
        """Raise ConfigurationError where `log_calls` is on, and nothing says where to log."""
        if self.logs_calls and not _home_of_parent(self.parent):
            raise ConfigurationError(
                "BRAINTRUST_LOG_CALLS (Braintrust(log_calls=…)) is on, but nothing says where calls are logged: set "
                "BRAINTRUST_PARENT (Braintrust(parent=…)) to project_name:NAME, or to another project or experiment"
            )

    def new_entry(self, exchange: Exchange) -> LogRef:
        """Return a row of a new id, in the project or experiment that `parent` names."""
        return exchange.log_ref(backend=self.name, id=_new_row_id(), **self.home)

    def row(self, ref: LogRef, record: CallRecord) -> Mapping[str, Any] | None:
        """Return the row, as `redact` would have it."""
        row = _row(ref, record)
        if self.redact is None:
            return row
        try:
            redacted = self.redact(row)
            return None if redacted is None else _checked_row(ref, redacted)
        except Exception as error:  # of the application's: its words may quote what they should not
            reason = f"redact raised {type(error).__name__}"
        warn("redact", "a call is logged without what was asked and answered: %s", reason)
        return _bare_row(ref, record, note=f"what was asked and answered is left out: {reason}")

    def log(self, batch: Sequence[tuple[LogRef, Mapping[str, Any]]]) -> Plan:
        """POST the rows to their project or experiment; a project that is known only by name is made if need be."""
        place = yield from self._place(self._home(batch[0][0]), make=True)
        if isinstance(place, Verdict):
            return replace(place, whole=True)
        return (yield from self._insert(place, [{**row, "id": ref.id} for ref, row in batch]))

    def _insert(self, place: str, rows: Sequence[Mapping[str, Any]]) -> Plan:
        """POST rows; what is there of them already, such as scores, is kept."""
        answer = yield self._request("POST", f"{place}/insert", {"events": [_event(row) for row in rows]})
        verdict = _judge(answer)
        if verdict.kind == "delivered":
            if len(self._written) > MOST_KNOWN:
                self._written.clear()
            self._written.update((row["id"], None) for row in rows)
        return replace(verdict, whole=answer.status == 404)

    def _place(self, home: _Home, *, make: bool = False) -> Generator[HttpRequest, Answer, str | Verdict]:
        """Find the path that the rows of a home are under, or what an answer means instead.

        With `make` a project is made if there is none of the name, as the gateway does.
        """
        if home.experiment_id:
            return f"experiment/{quote(home.experiment_id, safe='')}"
        project_id = home.project_id or self._project_ids.get(home.project_name or "")
        if project_id is None:
            name = home.project_name or ""
            asking = self._request("POST", "project", {"name": name}) if make else self._project_named(name)
            found = _project_id((yield asking), home.project_name)
            if isinstance(found, Verdict):
                return found
            self._project_ids[name] = project_id = found
        return f"project_logs/{quote(project_id, safe='')}"

    def confirm(self, ref: LogRef, feedback: Feedback) -> Confirmation:
        """Fetch the rows of the project or experiment, the newest first, until the row is found, and compare."""
        place = yield from self._place(self._home(ref))
        if isinstance(place, Verdict):
            return _not_found(ref, place)
        cursor = None
        for _ in range(MOST_PAGES):
            asked = {"limit": PER_PAGE} | ({"cursor": cursor} if cursor else {})
            answer = yield self._request("POST", f"{place}/fetch", asked)
            verdict = _judge(answer)
            if verdict.kind != "delivered":
                return _not_found(ref, verdict)
            page = answer.json()
            for row in page.get("events") or ():
                if row.get("id") == ref.id:
                    return _confirmed(ref, feedback, row)
            cursor = page.get("cursor")
            if not cursor:
                return Verification(ref=ref, status="missing", reason=f"there is no such row in {place}")
        reason = f"the row is not among the newest {MOST_PAGES * PER_PAGE} in {place}, and more were not looked at"
        return Verification(ref=ref, status="unknown", reason=reason)

    def diagnose(self) -> Diagnosis:
        """Ask for the project or experiment that `parent` names, or for any project where it names none."""
        settings = [self._key_finding(), self._parent_finding()]
        if self.logs_calls:
            settings.append(self._logging_finding())
        if not self.api_key:
            return settings if any((self.parent, self.gateway_url)) else settings[:1]
        home = _home_of_parent(self.parent)
        if not home:
            answer = yield self._request("GET", "project?limit=1")
        elif home.experiment_id:
            answer = yield self._request("GET", f"experiment/{quote(home.experiment_id, safe='')}/fetch?limit=1")
        elif home.project_id:
            answer = yield self._request("GET", f"project/{quote(home.project_id, safe='')}")
        else:
            answer = yield self._project_named(home.project_name or "")
        return [*settings, self._answer_finding(answer, home or _NOWHERE)]

    def _key_finding(self) -> Finding:
        check, variable = f"{self.name} settings", self.environment["api_key"]
        if self.api_key:
            return Finding(check=check, status="ok", found="there is an API key")
        if not self.parent and not self.gateway_url:
            return Finding(check=check, status="ok", found="not configured", advice=f"to use it, set {variable}")
        return Finding(check=check, status="problem", found="there is no API key", advice=f"set {variable}")

    def _parent_finding(self) -> Finding:
        check, variable = f"{self.name} parent", self.environment["parent"]
        if not self.parent:
            return Finding(
                check=check,
                status="warning",
                found="there is no default parent, and a gateway logs only calls that name one",
                advice=f"set {variable} to project_name:NAME, or send x-bt-parent with each call",
            )
        if _home_of_parent(self.parent) is None:
            advice = f"give {variable} a project or an experiment"
            found = f"{variable} is a playground, whose rows take no feedback"
            return Finding(check=check, status="problem", found=found, advice=advice)
        return Finding(check=check, status="ok", found=f"{variable} says where calls are logged")

    def _logging_finding(self) -> Finding:
        check, found = f"{self.name} log_calls", "calls that have no row are logged, with what was asked and answered"
        try:
            self.check_logging()
        except ConfigurationError as error:
            return Finding(check=check, status="problem", found=str(error))
        return Finding(check=check, status="ok", found=found)

    def _answer_finding(self, answer: Answer, home: _Home) -> Finding:
        check, verdict = f"{self.name} credentials", _judge(answer)
        if verdict.kind == "delivered":
            named = home.project_name
            if named and isinstance(_project_id(answer, named), Verdict):
                found = f"the key is valid; there is no project named {named!r}"
                advice = "the gateway makes it at the first call; is the name right?"
                return Finding(check=check, status="warning", found=found, advice=advice)
            return Finding(check=check, status="ok", found="the key is valid, and reads what the parent names")
        advice = {
            401: f"give {self.environment['api_key']} a key that is valid",
            403: "give the key's owner access to the project",
            404: f"correct {self.environment['parent']}",
            400: f"correct {self.environment['parent']}",
        }.get(answer.status, f"see whether {self.api_url or API_URL} is Braintrust's API, and up")
        found = f"Braintrust does not answer as it should: {verdict.reason or words_of(answer)}"
        return Finding(check=check, status="problem", found=found, advice=advice)

    def _project_named(self, name: str) -> HttpRequest:
        return self._request("GET", f"project?project_name={quote(name, safe='')}")

    def _request(self, method: Any, path: str, json: Any = None) -> HttpRequest:
        url = f"{(self.api_url or API_URL).rstrip('/')}/v1/{path}"
        return HttpRequest(method=method, url=url, headers={"authorization": f"Bearer {self.api_key}"}, json=json)

    def _home(self, ref: LogRef) -> _Home:
        if ref.project_id or ref.project_name or ref.experiment_id:
            return _Home(project_id=ref.project_id, project_name=ref.project_name, experiment_id=ref.experiment_id)
        return _home_of_parent(self.parent) or _NOWHERE

    def _parent_of(self, exchange: Exchange) -> str | None:
        return exchange.request_headers.get(PARENT) or self.parent

    def _is_gateway(self, url: str) -> bool:
        host = urlsplit(url).hostname or ""
        if host == OWN_DOMAIN or host.endswith(f".{OWN_DOMAIN}"):
            return True
        proxy = f"{(self.api_url or API_URL).rstrip('/')}/v1/proxy"
        return url_lies_under(url, proxy) or url_lies_under_any(url, self.gateway_url)


def answered_from_cache(headers: Mapping[str, str]) -> bool:
    """Whether the answer is a copy of an older call's, so that what another gateway wrote into it is old as well."""
    return headers.get(CACHED, "").upper() == "HIT"


def _home_of_slug(text: str) -> _Home | None:
    return _home_in(decode_slug(text))


def _home_in(slug: Slug) -> _Home | None:
    """Return the place that a slug names; None for a playground; raise ValueError where it names none."""
    if not slug.object_id and not (slug.project_name and slug.object_type == "project_logs"):
        raise ValueError(f"the {slug.object_type} slug names no project or experiment")
    if slug.object_type == "experiment":
        return _Home(experiment_id=slug.object_id)
    if slug.object_type == "project_logs":
        return _Home(project_id=slug.object_id, project_name=None if slug.object_id else slug.project_name)
    return None


def _slug_in(text: str) -> Slug | None:
    """Return the slug that a text is, None where it is none."""
    try:
        return decode_slug(text)
    except ValueError:
        return None


def _home_of_parent(parent: str | None) -> _Home | None:
    """Return the place that a parent names; None for a playground; raise ValueError for what is no parent."""
    if not parent:
        return _NOWHERE
    kind, colon, value = parent.partition(":")
    if not colon:
        return _home_of_slug(parent)
    if kind == "playground_id":
        return None
    if kind not in {"project_id", "project_name", "experiment_id"} or not value:
        raise ValueError(f"{parent[:80]!a} is no parent of Braintrust's")
    return _Home(**{kind: value})


def _accepted_parent(parent: str) -> str:
    """Return the parent as the gateway takes it; raise ValueError where it takes none such.

    A wrong one would cost the application its call. Slugs newer than version 3 are refused there: of those only the
    place is sent. And how a header's text beyond ASCII is read is up to each server: such a name goes in a slug.
    """
    if ":" not in parent:
        slug = decode_slug(parent)
        if slug.version <= 3:
            return parent
        kind = _PARENT_KINDS[slug.object_type]
        parent = f"{kind}:{slug.object_id}" if slug.object_id else f"project_name:{slug.project_name}"
    if parent.isascii() and parent.isprintable() and parent == parent.strip():
        return parent
    kind, _, value = parent.partition(":")
    if kind != "project_name":
        raise ValueError("no header can hold it")
    return project_slug(value)


def _judge(answer: Answer) -> Verdict:
    """Say what an answer of the API means: a success of its is a JSON object."""
    verdict = judge(answer)
    return _NOT_BRAINTRUST if verdict.kind == "delivered" and not isinstance(answer.json(), dict) else verdict


def _project_id(answer: Answer, name: str | None) -> str | Verdict:
    """Return the id of the project that was looked up by name, or what the answer means instead."""
    verdict = _judge(answer)
    if verdict.kind != "delivered":
        return verdict
    told = answer.json()
    objects = told.get("objects", [told] if "id" in told else None)  # one that was made is told of by itself
    if not isinstance(objects, list):
        return _NOT_BRAINTRUST
    for found in objects:
        if isinstance(found, dict) and found.get("name", name) == name and isinstance(found.get("id"), str):
            return str(found["id"])
    return Verdict(kind="refused", reason=f"Braintrust has no project named {name!r}")


def _not_found(ref: LogRef, verdict: Verdict) -> Verification:
    """Return what an answer says of a row that it does not show."""
    return Verification(ref=ref, status="missing" if verdict.kind == "refused" else "unknown", reason=verdict.reason)


def _confirmed(ref: LogRef, feedback: Feedback, row: Mapping[str, Any]) -> Verification:
    """Compare what a row holds with what was said."""
    item, comparison = _item(ref.id, feedback), Comparison("Braintrust")
    held = row.get("scores") or {}
    for name, value in (item.get("scores") or {}).items():
        field = name if name in {"thumbs", "score"} and name not in feedback.scores else f"scores.{name}"
        comparison.add(field, held.get(name), same=same_json(held.get(name), value))
    if feedback.expected is not UNSET:
        comparison.add("expected", row.get("expected"), same=same_json(row.get("expected"), feedback.expected))
    if feedback.tags:
        tags = row.get("tags") or []
        comparison.add("tags", tags, same=set(feedback.tags) <= set(tags))
    comparison.hide(*_unseen(feedback))
    if not any(row.get(name) for name in _OF_A_CALL):
        reason = "the row holds nothing but feedback: Braintrust makes such a row for an id that is wrong"
        return Verification(ref=ref, status="unknown", reason=reason)
    return comparison.verification(ref)


def _unseen(feedback: Feedback) -> list[str]:
    """Return the fields that no row shows."""
    single = {"comment": feedback.comments, "user_id": feedback.user_id, "source": feedback.source}
    return [*(name for name, value in single.items() if value), *(f"metadata.{name}" for name in feedback.metadata)]


def _new_row_id() -> str:
    """Return an id of which can be told that the row is one of thumbprint's."""
    by_chance = uuid.uuid4().hex
    return str(uuid.UUID(hex=f"{OWN_ROW}{by_chance[4:12]}8{by_chance[13:]}"))


def _is_own(row_id: str) -> bool:
    """Whether the id is one that `_new_row_id` gave."""
    return row_id.startswith(OWN_ROW) and len(row_id) == 36 and row_id[14] == "8"


def _row(ref: LogRef, record: CallRecord) -> dict[str, Any]:
    """Return what is known of a call as a row."""
    metrics: dict[str, float] = {"start": record.started_at}
    if record.ended_at is not None:
        metrics["end"] = record.ended_at
    if record.first_output_at is not None:
        metrics["time_to_first_token"] = record.first_output_at - record.started_at
    metrics |= {_METRICS.get(name, name): number for name, number in record.usage.items()}
    bare = _bare_row(ref)
    told = {
        "model": record.model,
        "provider": record.provider,
        "user": record.user,
        **record.parameters,
        "response_id": record.response_id,
    }
    metadata = {name: value for name, value in told.items() if value is not None} | bare["metadata"]
    words = {"input": record.input, "output": record.output, "error": record.error}
    return {**bare, **words, "metadata": metadata, "metrics": metrics}


def _bare_row(ref: LogRef, record: CallRecord | None = None, *, note: str | None = None) -> dict[str, Any]:
    """Return a row without the words of anybody: what the ref says, and of the record the model and the numbers."""
    known = {
        "operation": ref.operation,
        "response_id": ref.response_id,
        "trace_id": ref.trace_id,
        "span_id": ref.span_id,
        "thumbprint": note,
    }
    row: dict[str, Any] = {
        "id": ref.id,
        "created": datetime.fromtimestamp(ref.captured_at, UTC).isoformat(),
        "metadata": {name: value for name, value in known.items() if value is not None},
        "span_attributes": {"name": ref.operation or "call", "type": "llm"},
    }
    if record is not None:
        row["metrics"] = _row(ref, record)["metrics"]
        row["metadata"] |= {"model": record.model} if record.model else {}
    return row


def _checked_row(ref: LogRef, row: Any) -> dict[str, Any]:
    """Return what `redact` returned as a row of JSON; raise TypeError where that is none."""
    if not isinstance(row, Mapping):
        raise TypeError("redact takes a row and returns one, or None")
    return {**excerpt(row), "id": ref.id}


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is inserted: a span of its own, merged with what is there."""
    told = {name: value for name, value in row.items() if value is not None}
    return {"span_id": row["id"], "root_span_id": row["id"], **told, "_is_merge": True}


def _item(row_id: str, feedback: Feedback) -> dict[str, Any]:
    _, _, _, comments, expected, tags, metadata, user_id, source = feedback
    item: dict[str, Any] = {"id": row_id}
    if scores := _scores(feedback):
        item["scores"] = scores
    if metadata or user_id is not None:
        item["metadata"] = {**metadata, **({} if user_id is None else {"user_id": user_id})}
    if comments:
        item["comment"] = comments[0]
    if tags is not None:
        item["tags"] = list(tags)
    if source is not None:
        item["source"] = source
    if expected is not UNSET:
        item["expected"] = expected
    return item


def _scores(feedback: Feedback) -> dict[str, float | None]:
    thumbs, score, named, *_ = feedback
    scores = dict(named) if named else {}
    if thumbs is not UNSET:
        scores["thumbs"] = None if thumbs is None else int(thumbs == 1)
    if score is not UNSET:
        scores["score"] = score
    return scores
