"""Braintrust: rows, told in `x-bt-span-id`, that take feedback by POST, many in one.

Sources: the gateway's and the REST API's documentation, https://www.braintrust.dev/docs , and its proxy's behaviour.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from .._model import UNSET, Feedback, Finding, LogRef, Pace, Verification
from ..errors import ConfigurationError, MissingCredentialsError
from ._comparison import Comparison, same_json
from ._protocol import (
    DOT_SEGMENTS,
    Answer,
    Confirmation,
    Diagnosis,
    Exchange,
    HttpRequest,
    Plan,
    Verdict,
    check_settings,
    checked_id,
    judge,
    url_lies_under,
    words_of,
)
from ._slug import decode_slug, project_slug

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

API_URL: Final = "https://api.braintrust.dev"
OWN_DOMAIN: Final = "braintrust.dev"
ROW_ID: Final = "x-bt-span-id"
SLUG: Final = "x-bt-span-export"
PARENT: Final = "x-bt-parent"
CACHED: Final = "x-bt-cached"
PER_PAGE: Final = 100  # rows that one request of `confirm` fetches
MOST_PAGES: Final = 20


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
_PARENT_KINDS: Final = {"experiment": "experiment_id", "project_logs": "project_id", "playground_logs": "playground_id"}


@dataclass(frozen=True, kw_only=True)
class Braintrust:
    """Braintrust's gateway and logs.

    `api_key` pays for feedback; `api_url` is the API's (default `https://api.braintrust.dev`). `parent` says where
    calls through a Braintrust gateway are logged whose own headers do not say it (`project_name:NAME`,
    `project_id:UUID`, `experiment_id:UUID` or an exported span slug): without one the gateway logs nothing.
    `gateway_url` is a gateway of one's own, or several, comma-separated. What is None comes from
    `BRAINTRUST_API_KEY`, `BRAINTRUST_API_URL`, `BRAINTRUST_PARENT` and `BRAINTRUST_GATEWAY_URL`.
    """

    api_key: str | None = field(default=None, repr=False)
    api_url: str | None = None
    parent: str | None = None
    gateway_url: str | None = None
    pace: Pace | None = None
    _project_ids: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    name: ClassVar[str] = "braintrust"
    id_headers: ClassVar[tuple[str, ...]] = (ROW_ID,)
    batch_size: ClassVar[int] = 100
    concurrency: ClassVar[int] = 8
    environment: ClassVar[Mapping[str, str]] = {
        "api_key": "BRAINTRUST_API_KEY",
        "api_url": "BRAINTRUST_API_URL",
        "parent": "BRAINTRUST_PARENT",
        "gateway_url": "BRAINTRUST_GATEWAY_URL",
    }

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a setting that cannot be used, `parent` among them."""
        check_settings(self, secret="api_key", urls=["api_url", "gateway_url"])
        if self.parent:
            try:
                _home_of_parent(self.parent)
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

    def repeats(self, exchange: Exchange) -> bool:
        """Whether `x-bt-cached` tells of a hit: the row is new then, the model's answer is not."""
        return answered_from_cache(exchange.response_headers)

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

        Where the project or experiment is not there, that is a verdict on all of the batch.
        """
        place = yield from self._place(self._home(batch[0][0]))
        if isinstance(place, Verdict):
            return replace(place, whole=True)
        items = [_item(ref.id, feedback) for ref, feedback in batch]
        for ref, feedback in batch:  # an item holds but one comment
            items += [{"id": ref.id, "comment": comment} for comment in feedback.comments[1:]]
        answer = yield self._request("POST", f"{place}/feedback", {"feedback": items})
        return replace(_judge(answer), whole=answer.status == 404)

    def _place(self, home: _Home) -> Generator[HttpRequest, Answer, str | Verdict]:
        """Find the path that the rows of a home are under, or what an answer means instead."""
        if home.experiment_id:
            return f"experiment/{quote(home.experiment_id, safe='')}"
        project_id = home.project_id or self._project_ids.get(home.project_name or "")
        if project_id is None:
            found = _project_id((yield self._project_named(home.project_name or "")), home.project_name)
            if isinstance(found, Verdict):
                return found
            self._project_ids[home.project_name or ""] = project_id = found
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
        own = [f"{(self.api_url or API_URL).rstrip('/')}/v1/proxy", *(self.gateway_url or "").split(",")]
        return any(url_lies_under(url, base.strip()) for base in own if base.strip())


def answered_from_cache(headers: Mapping[str, str]) -> bool:
    """Whether the answer is a copy of an older call's, so that what another gateway wrote into it is old as well."""
    return headers.get(CACHED, "").upper() == "HIT"


def _home_of_slug(text: str) -> _Home | None:
    slug = decode_slug(text)
    if not slug.object_id and not (slug.project_name and slug.object_type == "project_logs"):
        raise ValueError(f"the slug {text[:60]!a} names no project or experiment")
    if slug.object_type == "experiment":
        return _Home(experiment_id=slug.object_id)
    if slug.object_type == "project_logs":
        return _Home(project_id=slug.object_id, project_name=None if slug.object_id else slug.project_name)
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
    objects = answer.json().get("objects")
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


def _item(row_id: str, feedback: Feedback) -> dict[str, Any]:
    item: dict[str, Any] = {"id": row_id}
    if scores := _scores(feedback):
        item["scores"] = scores
    if feedback.metadata or feedback.user_id is not None:
        user = {} if feedback.user_id is None else {"user_id": feedback.user_id}
        item["metadata"] = {**feedback.metadata, **user}
    if feedback.comments:
        item["comment"] = feedback.comments[0]
    if feedback.tags is not None:
        item["tags"] = list(feedback.tags)
    if feedback.source is not None:
        item["source"] = feedback.source
    if feedback.expected is not UNSET:
        item["expected"] = feedback.expected
    return item


def _scores(feedback: Feedback) -> dict[str, float | None]:
    scores = dict(feedback.scores) if feedback.scores else {}
    if feedback.thumbs is not UNSET:
        scores["thumbs"] = None if feedback.thumbs is None else int(feedback.thumbs == 1)
    if feedback.score is not UNSET:
        scores["score"] = feedback.score
    return scores
