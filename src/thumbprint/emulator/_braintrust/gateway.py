"""Braintrust's gateway and its older proxy: they pass a call on, keep a row of it and name that row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from thumbprint.emulator._braintrust.parents import Parent, ParentError, make_slug, parse_parent
from thumbprint.emulator._braintrust.rest import refusal, unauthorized
from thumbprint.emulator._braintrust.rows import RowBook, Shelf
from thumbprint.emulator._identity import BRAINTRUST_KEY
from thumbprint.emulator._wire import (
    STREAM_TYPE,
    Headers,
    MalformedBodyError,
    Request,
    Response,
    parse_json,
)

if TYPE_CHECKING:
    from thumbprint.emulator._braintrust.rows import Row

Upstream = Callable[[Request, tuple[str, ...], float], Response]
"""Who answers a call: given the request, the path behind the gateway's own, and the time."""

_OUTPUTS = ("choices", "output", "content", "data", "results")


class Gateway:
    """The gateway and the proxy, that differ in what their headers tell."""

    def __init__(self, rows: RowBook) -> None:
        self._rows = rows
        self._cache: dict[object, Response] = {}

    def answer(
        self, request: Request, path: tuple[str, ...], now: float, upstream: Upstream, *, exporting: bool
    ) -> Response:
        """Answer a call; `exporting` adds the slug, as only the proxy does."""
        if request.bearer != BRAINTRUST_KEY:
            return unauthorized()
        try:
            parent = asked_parent(request)
        except ParentError as error:
            return refusal(400, str(error))
        answer = self._ask(request, path, now, upstream)
        if parent is None:
            return answer
        row = self._log(parent, request, answer, now)
        return answer.adding(*row_headers(parent, row, exporting=exporting))

    def _ask(self, request: Request, path: tuple[str, ...], now: float, upstream: Upstream) -> Response:
        """Ask upstream, or the cache where the caller wants that. A hit keeps the old headers."""
        if request.headers.get("x-bt-use-cache", "").lower() != "always":
            return upstream(request, path, now)
        key = (upstream, request.method, path, request.query, request.body)
        held = self._cache.get(key)
        if held:
            return held.adding(("x-bt-cached", "HIT"))
        answer = upstream(request, path, now)
        if answer.ok:
            self._cache[key] = answer
        return answer.adding(("x-bt-cached", "MISS"))

    def _log(self, parent: Parent, request: Request, answer: Response, now: float) -> Row:
        above = [parent.span_id] if parent.span_id else []
        event = {"root_span_id": parent.root_span_id, "span_parents": above}
        return self._rows.insert(self._shelf(parent), event | described(request, answer, now), now)

    def _shelf(self, parent: Parent) -> Shelf:
        object_id = parent.object_id or self._rows.project_named(parent.project_name or "")
        return Shelf(parent.kind, object_id)


def asked_parent(request: Request) -> Parent | None:
    """Return where the row shall go, or None for nowhere. Raises ParentError."""
    text = request.headers.get("x-bt-parent")
    return parse_parent(text) if text else None


def row_headers(parent: Parent, row: Row, *, exporting: bool) -> Headers:
    """Return the headers that name a row."""
    named = ("x-bt-span-id", row.id)
    if not exporting:
        return (named,)
    slug = make_slug(parent, row_id=row.id, span_id=row.span_id, root_span_id=row.root_span_id)
    return (named, ("x-bt-span-export", slug))


def described(request: Request, answer: Response, now: float) -> dict[str, Any]:
    """Return what a row tells of a call."""
    sent = json_or_none(request.body)
    fields = sent if isinstance(sent, dict) else {}
    asked = next((name for name in ("messages", "input", "prompt") if name in fields), None)
    return {
        "input": fields[asked] if asked else None,
        "output": output_of(answer) if answer.ok else None,
        "error": None if answer.ok else answer.body.decode(errors="replace"),
        "metadata": {name: value for name, value in fields.items() if name != asked},
        "metrics": {"start": now, "end": now},
        "span_attributes": {"name": "/".join(request.segments[-2:]), "type": "llm"},
    }


def output_of(answer: Response) -> Any:
    """Return what was said: the heart of a JSON answer, or the joined text of a stream; sound is left out."""
    if answer.content_type == STREAM_TYPE:
        return "".join(delta_of(line) for line in answer.body.splitlines() if line.startswith(b"data: {"))
    whole = json_or_none(answer.body)
    fields = whole if isinstance(whole, dict) else {}
    return next((fields[name] for name in _OUTPUTS if name in fields), whole)


def delta_of(line: bytes) -> str:
    """Return the piece of text in one event of a stream, whoever's format it is."""
    event = parse_json(line.removeprefix(b"data: "))
    choices = event.get("choices") or [{}]
    delta = choices[0].get("delta") or event.get("delta") or choices[0].get("text") or ""
    text = delta if isinstance(delta, str) else delta.get("content") or delta.get("text") or ""
    return str(text)


def json_or_none(body: bytes) -> Any:
    """Return parsed JSON, or None for anything else."""
    try:
        return parse_json(body)
    except MalformedBodyError:
        return None
