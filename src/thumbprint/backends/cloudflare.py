"""Cloudflare AI Gateway: logs with a ULID each, told in `cf-aig-log-id`, whose feedback is set by PATCH.

Sources: the AI Gateway documentation and the REST API's reference, https://developers.cloudflare.com/ai-gateway/ .
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import quote, urlencode, urlsplit

from .._model import UNSET, Feedback, Finding, LogRef, Pace, Verification, is_word
from .._operation import operation_of
from ..errors import ConfigurationError, MissingCredentialsError
from ._comparison import Comparison, same_json
from ._protocol import (
    DOT_SEGMENTS,
    Answer,
    Confirmation,
    Diagnosis,
    Exchange,
    Found,
    HttpRequest,
    Plan,
    Search,
    Verdict,
    Wanted,
    check_settings,
    checked_id,
    is_on,
    judge,
    url_lies_under,
    url_lies_under_any,
    words_of,
)
from .braintrust import answered_from_cache

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

API_URL: Final = "https://api.cloudflare.com/client/v4"
GATEWAY_HOST: Final = "gateway.ai.cloudflare.com"
BINDING_URL: Final = "https://workers-binding.ai/ai-gateway/run"  # where the AI binding of a Worker sends to
LOG_ID: Final = "cf-aig-log-id"
CACHE_STATUS: Final = "cf-aig-cache-status"
GATEWAY_ID: Final = "cf-aig-gateway-id"
DEFAULT_GATEWAY: Final = "default"
PACE: Final = Pace(rate=2.5, burst=150.0)  # 900 requests in the busiest 5 minutes; 1,200 are allowed
BLOCKED_FOR: Final = 300.0  # seconds: how long a token is blocked that went over its limit

METADATA: Final = "cf-aig-metadata"
MAX_METADATA: Final = 5  # entries that a log keeps of its request's, the first; more are dropped without a word
SCOPE_TAG: Final = "thumbprint.scope_id"
MAX_TAG_LENGTH: Final = 4096  # characters of the whole header: no server need take a longer one
MAX_PER_PAGE: Final = 50
MAX_PAGES: Final = 20  # of one search, so that one which finds little does not read all there is
MAX_INGESTION_LAG: Final = 50.0  # seconds: an id that nobody knows is given up soon after
INGESTION_LAG: Final = 10.0  # seconds; a log is written some seconds after its answer

_THUMBS: Final = {1: "up", -1: "down", 0: "no vote"}  # by Cloudflare's `feedback`

_GATEWAY_ROUTE: Final = re.compile(r"/v1/(?P<account>[^/]+)/(?P<gateway>[^/]+)(?:/|$)")
_HEX_ROUTE: Final = re.compile(r"/v1/(?P<account>[0-9a-fA-F]{32})/(?P<gateway>[^/]+)/")
_REST_ROUTE: Final = re.compile(r"/accounts/(?P<account>[^/]+)/ai/(?:v1|run)(?:/|$)")
_ACCOUNT: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_GATEWAY: Final = re.compile(r"(?=.{1,64}\Z)[a-z0-9_]+(?:-[a-z0-9_]+)*")


@dataclass(frozen=True, kw_only=True)
class Cloudflare:
    """Cloudflare AI Gateway.

    `api_token` needs the permission *AI Gateway Write* (and *Read* for feedback that adds metadata). `account_id` and
    `gateway_id` are needed only where a call's own URL does not tell them, as behind a custom domain.
    `pace` keeps below the limit of 1,200 requests in 5 minutes, over which Cloudflare blocks the token, for everything,
    for 5 minutes more: by default 900 in the busiest 5 minutes. For an account with a raised limit give another.
    `base_url` is the REST API's (default `https://api.cloudflare.com/client/v4`), `gateway_url` a gateway of one's own
    behind another domain, or several, comma-separated. What is None comes from `CLOUDFLARE_API_TOKEN`,
    `CLOUDFLARE_ACCOUNT_ID`, `CLOUDFLARE_GATEWAY_ID`, `CLOUDFLARE_BASE_URL`, `CLOUDFLARE_GATEWAY_URL` and
    `CLOUDFLARE_TAG_REQUESTS`.

    With `tag_requests` requests to a gateway bear the ids of the scopes that they are made in, as entries of
    `cf-aig-metadata` beside the caller's own, as far as these leave room among the five that Cloudflare keeps. An id
    that no store knows is then looked for among the logs of the account and the gateway that are configured, so that
    feedback by a scope's id needs no store that processes share; `ingestion_lag` seconds after it was given, from 0 on,
    so that the logs of all calls before it are written.
    """

    api_token: str | None = field(default=None, repr=False)
    account_id: str | None = None
    gateway_id: str | None = None
    base_url: str | None = None
    gateway_url: str | None = None
    pace: Pace | None = PACE
    tag_requests: bool | str | None = None
    ingestion_lag: float = INGESTION_LAG

    name: ClassVar[str] = "cloudflare"
    id_headers: ClassVar[tuple[str, ...]] = (LOG_ID,)
    batch_size: ClassVar[int] = 1
    concurrency: ClassVar[int] = 32
    environment: ClassVar[Mapping[str, str]] = {
        "api_token": "CLOUDFLARE_API_TOKEN",
        "account_id": "CLOUDFLARE_ACCOUNT_ID",
        "gateway_id": "CLOUDFLARE_GATEWAY_ID",
        "base_url": "CLOUDFLARE_BASE_URL",
        "gateway_url": "CLOUDFLARE_GATEWAY_URL",
        "tag_requests": "CLOUDFLARE_TAG_REQUESTS",
    }

    def __post_init__(self) -> None:
        """Raise ConfigurationError for a setting that cannot be used."""
        check_settings(self, secret="api_token", urls=["base_url", "gateway_url"], switches=["tag_requests"])
        lag: object = self.ingestion_lag
        if isinstance(lag, bool) or not isinstance(lag, (int, float)) or not 0 <= lag <= MAX_INGESTION_LAG:
            raise ConfigurationError(
                f"Cloudflare(ingestion_lag={lag!a:.40}): give seconds, from 0 to {MAX_INGESTION_LAG:g}"
            )

    @property
    def credential(self) -> str | None:
        """The API token, to which Cloudflare's limit belongs."""
        return self.api_token

    @property
    def home(self) -> Mapping[str, str]:
        """The account and the gateway, as far as they are set."""
        values = {"account_id": self.account_id, "gateway_id": self.gateway_id}
        return {name: value for name, value in values.items() if value}

    def recognise(self, exchange: Exchange) -> LogRef | None:
        """Return the log entry that `cf-aig-log-id` names, unless the answer is a copy of an older call's."""
        if LOG_ID not in exchange.response_headers or answered_from_cache(exchange.response_headers):
            return None
        log_id = checked_id(LOG_ID, exchange.response_headers[LOG_ID])
        account, gateway = self._home(exchange)
        return exchange.log_ref(backend=self.name, id=log_id, account_id=account, gateway_id=gateway)

    def repeats(self, exchange: Exchange) -> bool:
        """Whether `cf-aig-cache-status` tells of a hit: the log id is new then, the model's answer is not."""
        return exchange.response_headers.get(CACHE_STATUS, "").upper() == "HIT"

    @property
    def asks(self) -> bool:
        """Never, but for those that inherit: the gateway sends the id unasked."""
        return type(self).request_headers is not Cloudflare.request_headers

    def request_headers(self, url: str, headers: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """Return nothing."""
        return {}

    @property
    def tags(self) -> bool:
        """Whether requests are tagged."""
        return is_on(self.tag_requests)

    def tag_headers(self, url: str, headers: Mapping[str, str], scope_ids: Sequence[str]) -> Mapping[str, str]:
        """Return `cf-aig-metadata` with the scopes' ids behind the caller's own entries, where there is room for any.

        The innermost scope's id is under `thumbprint.scope_id`, those around it under `thumbprint.scope_id.2` and on.
        A header that is no JSON object, and an entry that bears such a name already, are left as they are.
        """
        if not (self.tags and scope_ids and self._is_gateway(url)):
            return {}
        own = _json_object(headers.get(METADATA) or "{}")
        if own is None:
            return {}
        named = [
            (SCOPE_TAG if number == 1 else f"{SCOPE_TAG}.{number}", id_) for number, id_ in enumerate(scope_ids, 1)
        ]
        tags = dict([each for each in named if each[0] not in own][: max(0, MAX_METADATA - len(own))])
        header = _with_entries(headers.get(METADATA) or "{}", tags)
        return {METADATA: header} if tags and len(header) <= MAX_TAG_LENGTH else {}

    def _is_gateway(self, url: str) -> bool:
        """Whether the URL is of a gateway that is known to be one."""
        path = urlsplit(url).path
        if _is_at_gateway(url):
            return True
        if _REST_ROUTE.search(path) and any(url_lies_under(url, base) for base in (API_URL, self.base_url) if base):
            return True
        return url_lies_under_any(url, self.gateway_url)

    def check(self, ref: LogRef) -> None:
        """Raise MissingCredentialsError where the token, the account or the gateway is not known."""
        for setting, value, what in (
            ("api_token", self.api_token, "an API token with the permission AI Gateway Write"),
            ("account_id", ref.account_id or self.account_id, "the account of this log entry"),
            ("gateway_id", ref.gateway_id or self.gateway_id, "the gateway of this log entry"),
        ):
            if not value:
                variable = self.environment[setting]
                raise MissingCredentialsError(
                    f"feedback for the Cloudflare log {ref.id} needs {what}: set {variable} or pass "
                    f"Cloudflare({setting}=…) to configure()",
                    variable=variable,
                )
        for part in (ref.id, ref.account_id or self.account_id, ref.gateway_id or self.gateway_id):
            if part in DOT_SEGMENTS:
                raise ConfigurationError(f"{part!r} is in no URL of a log entry: {ref}")

    def unsupported(self, feedback: Feedback) -> tuple[str, ...]:
        """Return the metadata entries that are no string, number or boolean, or whose name another field takes."""
        taken = _metadata_of_fields(feedback)
        return tuple(
            f"metadata.{name}"
            for name, value in feedback.metadata.items()
            if name in taken or not isinstance(value, (str, int, float))
        )

    def destination(self, ref: LogRef) -> str:
        """Return the log's own id: each PATCH is for one log."""
        return ref.id

    def deliver(self, batch: Sequence[tuple[LogRef, Feedback]]) -> Plan:
        """PATCH the log; metadata goes out as the union with what the log has, so that none of that is lost."""
        [(ref, feedback)] = batch
        body, metadata = _body(feedback), self._metadata(feedback)
        if not metadata:
            return _judge((yield self._patch(ref, body)))
        held = yield from self._held(ref)
        if isinstance(held, Verdict):
            return held
        if feedback.comments:
            del metadata["comment"]
            return (yield from self._add_comments(ref, feedback.comments, body, metadata, held))
        return _judge((yield self._patch(ref, body | {"metadata": held | metadata})))

    def _held(self, ref: LogRef) -> Generator[HttpRequest, Answer, dict[str, str | float] | Verdict]:
        """Find the metadata that the log has, or what an answer means instead."""
        answer = yield self._get(self._log_url(ref))
        verdict = _judge(answer)
        if verdict.kind != "delivered":
            return verdict
        reason = "the log's own metadata cannot be read, and would be lost if it were written anew"
        held = _metadata_of_log(answer)
        return Verdict(kind="refused", reason=reason) if held is None else held

    def _add_comments(
        self,
        ref: LogRef,
        comments: Sequence[str],
        body: Mapping[str, Any],
        metadata: Mapping[str, str | float],
        held: Mapping[str, str | float],
    ) -> Plan:
        """PATCH with the comments below those that are there, or where that is refused, as for its length, without."""
        comment = {"comment": _with_comments(held.get("comment"), comments)}
        verdict = _judge((yield self._patch(ref, {**body, "metadata": {**held, **metadata, **comment}})))
        if verdict.kind != "refused" or not (body or metadata):
            return verdict
        rest = _judge((yield self._patch(ref, {**body, "metadata": {**held, **metadata}})))
        if rest.kind != "delivered":
            return rest
        return Verdict(kind="refused", reason=f"all but the comment was delivered; with it: {verdict.reason}")

    def confirm(self, ref: LogRef, feedback: Feedback) -> Confirmation:
        """GET the log and compare; where it shows no vote, the vote is asked for by the filters of the list."""
        answer = yield self._get(self._log_url(ref))
        verdict = _judge(answer)
        if answer.status == 404:
            return Verification(ref=ref, status="missing", reason=f"there is no such log, or not yet: {verdict.reason}")
        if verdict.kind != "delivered":
            return Verification(ref=ref, status="unknown", reason=verdict.reason)
        log, comparison = answer.json()["result"], Comparison(type(self).__name__)
        if feedback.thumbs is not UNSET:
            wanted = feedback.thumbs or 0
            held = (log["feedback"] or 0) if "feedback" in log else (yield from self._vote(ref, wanted))
            if held is None:
                comparison.hide("thumbs")
            else:
                comparison.add("thumbs", _THUMBS.get(held, held), same=held == wanted)
        _compare_score(comparison, feedback, log)
        self._compare_metadata(comparison, feedback, _metadata_of_log(answer))
        return comparison.verification(ref)

    @property
    def finds_scopes(self) -> bool:
        """Whether requests are tagged, and the settings say where their logs are."""
        return is_on(self.tag_requests) and bool(self.api_token and self.account_id and self.gateway_id)

    def check_search(self) -> None:
        """Raise MissingCredentialsError where the token, or what says where the logs are, is not set."""
        self.check(LogRef(backend=self.name, id="any"))

    def find(self, wanted: Wanted) -> Search:
        """List the logs of the configured gateway, the latest first, and return those that are wanted."""
        found: list[Found] = []
        place = LogRef(backend=self.name, id="any")
        for page in range(1, MAX_PAGES + 1):
            answer = yield self._get(f"{self._logs_url(place)}?{_query_of(wanted, page)}")
            logs = _logs(answer)
            if logs is None:
                verdict = judge(answer)  # a 404 here is a gateway that is not there, not a log
                reason = f"its logs cannot be read: {verdict.reason or words_of(answer)}"
                kind = "retry" if verdict.kind == "delivered" else verdict.kind
                return Verdict(kind=kind, reason=reason, retry_after=verdict.retry_after)
            found += [entry for log in logs if (entry := self._found(log)) and _is_wanted(entry, wanted)]
            if len(logs) < MAX_PER_PAGE or len(found) >= wanted.most:
                break
        latest = found[: wanted.most]
        latest.reverse()  # of those that were written at the same time the order of the list counts
        return sorted(latest, key=lambda entry: entry.ref.captured_at)

    def _found(self, log: Mapping[str, Any]) -> Found | None:
        """Return a log of the list as what was found; None where it bears no id."""
        log_id, path = log.get("id"), log.get("path")
        if not isinstance(log_id, str) or not log_id:
            return None
        if not is_word(log_id):
            return None
        ref = LogRef(
            backend=self.name,
            id=log_id,
            operation=operation_of("POST", f"/{path}") if isinstance(path, str) and path else None,
            account_id=self.account_id,
            gateway_id=self.gateway_id,
            captured_at=_seconds(log.get("created_at")),
        )
        return Found(
            ref=ref,
            model=_text(log.get("model")),
            provider=_text(log.get("provider")),
            success=log.get("success") is not False,
            metadata=_metadata_in(log) or {},
        )

    def _vote(self, ref: LogRef, wanted: int) -> Generator[HttpRequest, Answer, int | None]:
        """Find the vote of a log that does not show it, first of all the wanted one; None where it cannot be found."""
        for vote in sorted(_THUMBS, key=lambda vote: vote != wanted):
            filters = (("id", quote(ref.id, safe="")), ("feedback", vote))
            query = "&".join(f"filters.key={key}&filters.operator=eq&filters.value={value}" for key, value in filters)
            answer = yield self._get(f"{self._logs_url(ref)}?{query}")
            logs = _logs(answer)
            if logs is None:
                return None
            if any(log.get("id") == ref.id for log in logs):
                return vote
        return None

    def _compare_metadata(
        self, comparison: Comparison, feedback: Feedback, held: Mapping[str, str | float] | None
    ) -> None:
        own = _metadata_of_fields(feedback)
        for name, value in self._metadata(feedback).items():
            field = _field_of(name) if name in own else f"metadata.{name}"
            if held is None:
                comparison.hide(field)
            elif name == "comment" and name in own:
                comparison.add(field, held.get(name), same=_holds_lines(held.get(name), str(value)))
            else:
                comparison.add(field, held.get(name), same=same_json(held.get(name), value))

    def diagnose(self) -> Diagnosis:
        """Read one log of the configured gateway, where the settings say which that is."""
        unset = [name for name in ("api_token", "account_id", "gateway_id") if not getattr(self, name)]
        if unset:
            return [self._unset(unset)]
        place = LogRef(backend=self.name, id="any")
        answer = yield self._get(f"{self._logs_url(place)}?per_page=1")
        if _logs(answer) is None:
            return [self._refusal(answer)]
        found = f"the token reads the logs of the gateway {self.gateway_id!r}"
        return [
            Finding(check=f"{self.name} credentials", status="ok", found=found),
            Finding(
                check=f"{self.name} permission",
                status="ok",
                found="the token may read; whether it may also write feedback cannot be seen by reading",
                advice="writing takes the permission AI Gateway Write; `thumbprint send` to a log of yours tries it",
            ),
        ]

    def _unset(self, unset: Sequence[str]) -> Finding:
        variables = " and ".join(self.environment[name] for name in unset)
        check = f"{self.name} settings"
        if len(unset) == 3:
            advice = f"to use it, set {self.environment['api_token']}"
            return Finding(check=check, status="ok", found="not configured", advice=advice)
        if "api_token" in unset:
            advice = f"set {variables}: an API token with the permissions AI Gateway Read and Write"
            return Finding(check=check, status="problem", found="there is no API token", advice=advice)
        return Finding(
            check=check,
            status="warning",
            found=f"the token cannot be tried without {variables}",
            advice="set them to have it tried; they are needed for calls whose own URL does not tell the gateway",
        )

    def _refusal(self, answer: Answer) -> Finding:
        verdict = _judge(answer)
        advice = {
            401: f"give {self.environment['api_token']} a token that is valid",
            403: "give the token the permissions AI Gateway Read and Write for this account, or give another token",
            404: f"correct {self.environment['account_id']} or {self.environment['gateway_id']}",
            400: f"correct {self.environment['account_id']} or {self.environment['gateway_id']}",
            429: "the token is over its limit; wait for five minutes, and see who else uses it",
        }.get(answer.status, f"see whether {self.base_url or API_URL} is Cloudflare's API, and up")
        return Finding(
            check=f"{self.name} credentials",
            status="problem",
            found=f"the logs of the gateway {self.gateway_id!r} cannot be read: {verdict.reason or words_of(answer)}",
            advice=advice,
        )

    def _get(self, url: str) -> HttpRequest:
        return HttpRequest(method="GET", url=url, headers={"authorization": f"Bearer {self.api_token}"})

    def _patch(self, ref: LogRef, body: Mapping[str, Any]) -> HttpRequest:
        headers = {"authorization": f"Bearer {self.api_token}"}
        return HttpRequest(method="PATCH", url=self._log_url(ref), headers=headers, json=body)

    def _metadata(self, feedback: Feedback) -> dict[str, str | float]:
        left_out = self.unsupported(feedback)
        own = {name: value for name, value in feedback.metadata.items() if f"metadata.{name}" not in left_out}
        return own | _metadata_of_fields(feedback)

    def _log_url(self, ref: LogRef) -> str:
        return f"{self._logs_url(ref)}/{quote(ref.id, safe='')}"

    def _logs_url(self, ref: LogRef) -> str:
        account, gateway = (
            quote(part or "", safe="")
            for part in (ref.account_id or self.account_id, ref.gateway_id or self.gateway_id)
        )
        base = (self.base_url or API_URL).rstrip("/")
        return f"{base}/accounts/{account}/ai-gateway/gateways/{gateway}/logs"

    def _home(self, exchange: Exchange) -> tuple[str | None, str | None]:
        """Return the account and the gateway of a call, from its URL and headers or from the configuration."""
        if _is_at_gateway(exchange.url):
            return _place_at_gateway(exchange.url)
        if exchange.url == BINDING_URL:
            return self.account_id, exchange.request_headers.get(GATEWAY_ID) or self.gateway_id
        path = urlsplit(exchange.url).path
        route = _REST_ROUTE.search(path)
        own_base = self.base_url if route else None  # one's own host may have a gateway beside the REST API
        if any(url_lies_under(exchange.url, base) for base in (API_URL, own_base) if base):
            return _ids(route, exchange.request_headers.get(GATEWAY_ID) or DEFAULT_GATEWAY, exchange.url)
        if self.account_id and self.gateway_id:
            return self.account_id, self.gateway_id
        found = _HEX_ROUTE.search(path)
        if found is None:
            return self.account_id, self.gateway_id
        account, gateway = _ids(found, None, exchange.url)
        return self.account_id or account, self.gateway_id or gateway


def log_at(url: str) -> tuple[str, str]:
    """Return the gateway and the id of the log that a request of `Cloudflare.deliver` is for, percent-encoded."""
    _, gateway, _, log_id = url.rsplit("/", 3)
    return gateway, log_id


@functools.lru_cache(maxsize=256)  # an application calls few URLs, each often
def _is_at_gateway(url: str) -> bool:
    return urlsplit(url).hostname == GATEWAY_HOST


@functools.lru_cache(maxsize=256)
def _place_at_gateway(url: str) -> tuple[str, str]:
    return _ids(_GATEWAY_ROUTE.match(urlsplit(url).path), None, url)


def _ids(found: re.Match[str] | None, gateway: str | None, url: str) -> tuple[str, str]:
    if found is not None:
        account, gateway = found["account"], gateway or found["gateway"]
        if _ACCOUNT.fullmatch(account) and _GATEWAY.fullmatch(gateway):
            return account, gateway
    place = f"{urlsplit(url).hostname}{urlsplit(url).path}"  # without a query, which may hold a key
    raise ValueError(f"no account and gateway can be read from the URL {place[:200]!a}")


def _body(feedback: Feedback) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if feedback.thumbs is not UNSET:
        body["feedback"] = feedback.thumbs or 0  # 0 is "not evaluated"
    if feedback.score is not UNSET:
        body["score"] = None if feedback.score is None else _percent(feedback.score)
    return body


def _compare_score(comparison: Comparison, feedback: Feedback, log: Mapping[str, Any]) -> None:
    if feedback.score is UNSET:
        return
    if "score" not in log:
        comparison.hide("score")
    else:
        wanted = None if feedback.score is None else _percent(feedback.score)
        comparison.add("score", log["score"], same=same_json(log["score"], wanted))


def _percent(score: float) -> float:
    """Return 100 times the score, without the digits that binary fractions add (0.57 → 57, not 56.99999999999999)."""
    return round(100 * score, 10)


def _metadata_of_fields(feedback: Feedback) -> dict[str, str | float]:
    """Return the fields that Cloudflare has no place of its own for, as metadata: strings, numbers and booleans.

    Null is not allowed there, so a score that is taken back becomes the empty string.
    """
    metadata: dict[str, str | float] = {
        f"score.{name}": "" if value is None else value for name, value in feedback.scores.items()
    }
    if feedback.comments:
        metadata["comment"] = "\n".join(feedback.comments)
    if feedback.expected is not UNSET:
        metadata["expected"] = json.dumps(feedback.expected, ensure_ascii=False)
    if feedback.tags is not None:
        metadata["tags"] = ",".join(feedback.tags)
    if feedback.user_id is not None:
        metadata["user_id"] = feedback.user_id
    if feedback.source is not None:
        metadata["source"] = feedback.source
    return metadata


def _metadata_of_log(answer: Answer) -> dict[str, str | float] | None:
    """Return the metadata that the log of an answer has, None where it cannot be read."""
    return _metadata_in(answer.json()["result"])


def _metadata_in(log: Mapping[str, Any]) -> dict[str, str | float] | None:
    """Return the metadata that a log has, None where it cannot be read: a JSON string inside the API's JSON."""
    found = log.get("metadata") or {}
    if isinstance(found, str):
        found = _json_object(found)
    if not isinstance(found, dict):
        return None
    return {name: value for name, value in found.items() if isinstance(value, (str, int, float))}


def _json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text holds, None where it holds none."""
    found = Answer(status=200, content=text.encode("utf-8", "surrogatepass")).json()
    return found if isinstance(found, dict) else None


def _with_entries(text: str, entries: Mapping[str, str]) -> str:
    """Return the text of a JSON object with further entries at its end; what is there stays as it is written."""
    beginning = text.rstrip()[:-1].rstrip()
    comma = "" if beginning.endswith("{") and beginning.strip() == "{" else ", "
    return f"{beginning}{comma}{json.dumps(entries)[1:]}"


def _query_of(wanted: Wanted, page: int) -> str:
    """Return the query of the logs list. A filter's value that is text is compared exactly, and once more by us."""
    filters: list[tuple[str, str | None]] = [
        ("model", wanted.model),
        ("provider", wanted.provider),
        ("metadata.value", wanted.scope_id),
    ]
    for name, value in wanted.metadata.items():
        filters += [("metadata.key", name), ("metadata.value", value if isinstance(value, str) else json.dumps(value))]
    pairs = [("page", str(page)), ("per_page", str(MAX_PER_PAGE)), ("order_by", "created_at")]
    pairs += [("order_by_direction", "desc")]
    pairs += [(name, _date(at)) for name, at in (("start_date", wanted.since), ("end_date", wanted.until)) if at]
    for key, text in filters:
        if text is not None:
            pairs += [("filters.key", key), ("filters.operator", "eq"), ("filters.value", text)]
    return urlencode(pairs)


def _is_wanted(entry: Found, wanted: Wanted) -> bool:
    """Whether the entry is what was asked for: a filter for a value says nothing of the name that it stands under."""
    tags = {value for name, value in entry.metadata.items() if name.startswith(SCOPE_TAG)}
    return (wanted.scope_id is None or wanted.scope_id in tags) and all(
        same_json(entry.metadata.get(name), value) for name, value in wanted.metadata.items()
    )


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(date: object) -> float:
    """Return the seconds since 1970 of a date; 0 where it is none."""
    try:
        return datetime.fromisoformat(date).timestamp() if isinstance(date, str) else 0.0
    except ValueError:
        return 0.0


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _with_comments(held: str | float | None, comments: Sequence[str]) -> str:
    """Return the comments below what is there, on lines of their own.

    What is there may be the same, from somebody else or from a delivery that nobody could be told of: to say it twice
    loses nothing.
    """
    there = [] if held is None or held == "" else [str(held)]
    return "\n".join([*there, *comments])


def _field_of(name: str) -> str:
    """Return the field of feedback that `_metadata_of_fields` has put under this name."""
    return f"scores.{name.removeprefix('score.')}" if name.startswith("score.") else name


def _holds_lines(held: object, lines: str) -> bool:
    """Whether a comment is there, by itself or among others that were delivered with it."""
    return isinstance(held, str) and f"\n{lines}\n" in f"\n{held}\n"


def _logs(answer: Answer) -> list[dict[str, Any]] | None:
    """Return the logs of a list's answer; None where that is no list of the API."""
    body = answer.json()
    found = body.get("result") if isinstance(body, dict) and body.get("success") and answer.status == 200 else None
    return [log for log in found if isinstance(log, dict)] if isinstance(found, list) else None


def _judge(answer: Answer) -> Verdict:
    """Say what an answer of the REST API means; a 404 may be a log that is still on its way into the store."""
    verdict = judge(answer)
    if answer.status == 404:
        return Verdict(kind="early", reason=verdict.reason)
    if answer.status == 429 and verdict.retry_after is None:
        return Verdict(kind="retry", reason=verdict.reason, retry_after=BLOCKED_FOR)
    if verdict.kind == "delivered":
        body = answer.json()
        if not (isinstance(body, dict) and "success" in body):
            return Verdict(kind="retry", reason="the answer is not one of Cloudflare's API: a proxy in between?")
        if not (body["success"] and isinstance(body.get("result"), dict)):
            return Verdict(kind="retry", reason=words_of(answer))
    return verdict
