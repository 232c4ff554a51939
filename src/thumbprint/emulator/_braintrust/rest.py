"""Braintrust's REST API: projects, rows and feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thumbprint.emulator._braintrust.checks import ItemError, check_event, check_feedback
from thumbprint.emulator._braintrust.parents import EXPERIMENT, PROJECT
from thumbprint.emulator._braintrust.rows import RowBook, Shelf
from thumbprint.emulator._identity import BRAINTRUST_KEY, parse_uuid
from thumbprint.emulator._wire import (
    MalformedBodyError,
    Response,
    json_response,
    plain_response,
    whole_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from thumbprint.emulator._wire import Request

_KINDS = {"project_logs": PROJECT, "experiment": EXPERIMENT}
_LIMIT = 1000


class RestApi:
    """Everything that wants BRAINTRUST_API_KEY and is no call of a model."""

    def __init__(self, rows: RowBook) -> None:
        self._rows = rows

    def answer(self, request: Request, now: float) -> Response:
        """Answer one request under `/v1/project`, `/v1/project_logs` or `/v1/experiment`."""
        if request.bearer != BRAINTRUST_KEY:
            return unauthorized()
        try:
            return self._route(request, now)
        except (MalformedBodyError, ItemError) as error:
            return refusal(400, str(error))

    def _route(self, request: Request, now: float) -> Response:
        match request.method, request.segments[1:]:
            case "GET", ("project",):
                return self._projects(dict(request.params).get("project_name"))
            case "POST", ("project",):
                return self._make_project(request.json_object())
            case "GET", ("project", project_id):
                return self._project(checked_uuid(project_id))
            case "POST", ("experiment",):
                return self._make_experiment(request.json_object())
            case method, (kind, object_id, verb) if kind in _KINDS:
                shelf = Shelf(_KINDS[kind], checked_uuid(object_id))
                return self._at_rows(request, shelf, f"{method} {verb}", now)
        return refusal(404, f"there is nothing at {request.method} {request.path}")

    def _at_rows(self, request: Request, shelf: Shelf, asked: str, now: float) -> Response:
        match asked:
            case "POST insert":
                events = checked_items(request, "events", check_event)
                rows = [self._rows.insert(shelf, event, now) for event in events]
                return json_response({"row_ids": [row.id for row in rows]})
            case "POST feedback":
                for item in checked_items(request, "feedback", check_feedback):
                    self._rows.feed(shelf, item, now)
                return json_response({"status": "success"})
            case "POST fetch":
                return self._fetch(shelf, request.json_object() if request.body else {})
            case "GET fetch":
                return self._fetch(shelf, dict(request.params))
        return refusal(404, f"there is nothing at {request.method} {request.path}")

    def _fetch(self, shelf: Shelf, asked: dict[str, Any]) -> Response:
        """Give the newest rows first; the cursor is the number of the last row given."""
        limit = checked_count("limit", asked.get("limit"), _LIMIT)
        before = checked_count("cursor", asked.get("cursor"), None)
        rows = [row for row in reversed(self._rows.on(shelf)) if before is None or row.sequence < before]
        page = rows[:limit]
        cursor = str(page[-1].sequence) if page and len(rows) > len(page) else None
        return json_response({"events": [row.seen_by_api() for row in page], "cursor": cursor})

    def _projects(self, name: str | None) -> Response:
        found = [key for key, value in self._rows.projects.items() if name is None or value == name]
        return json_response({"objects": [self._rows.project(key) for key in found]})

    def _make_project(self, body: dict[str, Any]) -> Response:
        name = body.get("name")
        if not isinstance(name, str) or not name:
            return refusal(400, "name must be a string that is not empty")
        return json_response(self._rows.project(self._rows.project_named(name)))

    def _project(self, project_id: str) -> Response:
        known = project_id in self._rows.projects
        return json_response(self._rows.project(project_id)) if known else refusal(404, "no such project")

    def _make_experiment(self, body: dict[str, Any]) -> Response:
        project_id = registered(self._rows.projects, body.get("project_id"))
        ensure_new = bool(body.get("ensure_new"))
        return json_response(self._rows.make_experiment(project_id, body.get("name"), ensure_new=ensure_new))


def checked_items(request: Request, name: str, check: Callable[[object], dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a batch where every item passes its check. Raises ItemError or MalformedBodyError."""
    items = request.json_object().get(name)
    if not isinstance(items, list):
        raise ItemError(f"{name} must be a list")
    return [check(item) for item in items]


def checked_uuid(text: str) -> str:
    """Return a UUID in lower case. Raises ItemError."""
    found = parse_uuid(text)
    if found is None:
        raise ItemError(f"not a UUID: {text!r}")
    return found


def registered(projects: Container[str], project_id: object) -> str:
    """Return the id of a project that there is. Raises ItemError."""
    found = checked_uuid(str(project_id))
    if found not in projects:
        raise ItemError(f"there is no project {found}")
    return found


def checked_count(name: str, value: object, default: int | None) -> int | None:
    """Return a whole number that came as a number or as text. Raises ItemError."""
    if value is None:
        return default
    number = None if isinstance(value, bool) else whole_number(str(value))
    if number is None:
        raise ItemError(f"{name} is not valid: {value!r}")
    return number


def unauthorized() -> Response:
    """Return what a bad key gets: plain text."""
    return plain_response(b"Unauthorized: the API key is not valid", 401, "text/plain; charset=utf-8")


def refusal(status: int, message: str) -> Response:
    """Return an error of the API."""
    return json_response({"error": {"message": message, "status": status}}, status)
