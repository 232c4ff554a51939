"""What Braintrust's own SDKs ask for beside the REST API: to log in, to register, and to write their rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thumbprint.emulator._braintrust.checks import ItemError, check_event, check_feedback
from thumbprint.emulator._braintrust.parents import EXPERIMENT, PLAYGROUND, PROJECT
from thumbprint.emulator._braintrust.rest import checked_uuid, refusal, registered, unauthorized
from thumbprint.emulator._braintrust.rows import Shelf
from thumbprint.emulator._identity import BRAINTRUST_KEY, ORGANIZATION_ID, ORGANIZATION_NAME, new_uuid
from thumbprint.emulator._wire import JSON_TYPE, MalformedBodyError, json_response, parse_json

if TYPE_CHECKING:
    from thumbprint.emulator._braintrust.rows import RowBook
    from thumbprint.emulator._wire import Request, Response

MOST_BYTES = 6_000_000
"""How large a body of `/logs3` may be; larger ones are uploaded, and then named in one that is small."""

_OVERFLOW = "logs3_overflow"
_FIELDS_OF_FEEDBACK = ("id", "scores", "expected", "tags")
_NOT_PLAYED = ("_object_delete", "_merge_paths", "_array_delete")


class SdkApi:
    """The part of the service that only its SDKs know."""

    def __init__(self, rows: RowBook) -> None:
        self._rows = rows
        self._uploads: dict[str, bytes | None] = {}

    def answer(self, request: Request, now: float) -> Response:
        """Answer one request under `/api`, `/version` or `/logs3`. What is signed, or public, needs no key."""
        match request.method, request.segments:
            case "GET", ("version",):
                return json_response({"version": "emulator", "logs3_payload_max_bytes": MOST_BYTES})
            case "PUT", ("logs3", "overflow", key) if key in self._uploads:
                self._uploads[key] = request.body
                return json_response({})
        if request.bearer != BRAINTRUST_KEY:
            return unauthorized()
        try:
            return self._route(request, now)
        except (MalformedBodyError, ItemError) as error:
            return refusal(400, str(error))

    def _route(self, request: Request, now: float) -> Response:
        match request.method, request.segments:
            case "POST", ("api", "apikey", "login"):
                return json_response({"org_info": [_organization(_origin(request))]})
            case "POST", ("api", "project", "register"):
                project_id = self._project_of(request.json_object())
                return json_response({"project": self._rows.project(project_id)})
            case "POST", ("api", "experiment", "register"):
                return self._register_experiment(request.json_object())
            case "POST", ("logs3", "overflow"):
                return self._offer_upload(request)
            case "POST", ("logs3",):
                return self._write(request.json_object(), len(request.body), now)
        return refusal(404, f"there is nothing at {request.method} {request.path}")

    def _project_of(self, body: dict[str, Any]) -> str:
        """Return the id of the project that is meant by its id or its name. Raises ItemError."""
        if body.get("project_id") is not None:
            return registered(self._rows.projects, body["project_id"])
        name = body.get("project_name")
        if not isinstance(name, str) or not name:
            raise ItemError("project_name must be a string that is not empty")
        return self._rows.project_named(name)

    def _register_experiment(self, body: dict[str, Any]) -> Response:
        project_id = self._project_of(body)
        name = body.get("experiment_name")
        experiment = self._rows.make_experiment(project_id, name, ensure_new=not body.get("update"))
        return json_response({"project": self._rows.project(project_id), "experiment": experiment})

    def _offer_upload(self, request: Request) -> Response:
        """Give away a signed address for a body that is too large."""
        asked = request.json_object()
        if not isinstance(asked.get("rows"), list) or asked.get("content_type") != JSON_TYPE:
            raise ItemError(f"rows must be a list, and content_type {JSON_TYPE}")
        key = new_uuid()
        self._uploads[key] = None
        url = f"{_origin(request)}/logs3/overflow/{key}"
        return json_response({"method": "PUT", "signedUrl": url, "headers": {"content-type": JSON_TYPE}, "key": key})

    def _write(self, body: dict[str, Any], size: int, now: float) -> Response:
        """Write the rows of a body, or of the upload that it names: all of them, or where one is wrong none."""
        if size > MOST_BYTES:
            return refusal(413, f"the body is over {MOST_BYTES} bytes")
        named = body.get("rows")
        if isinstance(named, dict):
            body = self._uploaded(named)
        rows = body.get("rows")
        if not isinstance(rows, list) or not isinstance(body.get("api_version"), int):
            raise ItemError("rows must be a list, and api_version a whole number")
        checked = [_checked(row) for row in rows]
        for shelf, row in checked:
            self._write_one(shelf, row, now)
        return json_response({"ids": [row["id"] for _, row in checked]})

    def _uploaded(self, named: dict[str, Any]) -> dict[str, Any]:
        uploaded = self._uploads.pop(str(named.get("key")), None) if named.get("type") == _OVERFLOW else None
        if uploaded is None:
            raise ItemError("rows names no upload")
        body = parse_json(uploaded)
        if not isinstance(body, dict):
            raise ItemError("the upload must be a JSON object")
        return body

    def _write_one(self, shelf: Shelf, row: dict[str, Any], now: float) -> None:
        """Write a row: a span's, or feedback, or both, since an SDK makes one row of all that it has for an id."""
        said = "_audit_source" in row
        if "span_id" in row or not said:
            self._rows.insert(shelf, row, now)
        if said:
            self._rows.feed(shelf, _as_feedback(row), now)


def _checked(row: object) -> tuple[Shelf, dict[str, Any]]:
    """Return where a row goes, and the row as it is. Raises ItemError."""
    known = check_event(row)
    for name in _NOT_PLAYED:
        if known.get(name):
            raise ItemError(f"{name} is not played by the emulator")
    if "id" not in known:
        raise ItemError("id is required")
    if "_audit_source" in known:
        check_feedback(_as_feedback(known))
    return _shelf_of(known), known


def _shelf_of(row: dict[str, Any]) -> Shelf:
    """Return the object that a row names. Raises ItemError."""
    match row:
        case {"experiment_id": str(object_id)}:
            return Shelf(EXPERIMENT, checked_uuid(object_id))
        case {"project_id": str(object_id), "log_id": "g"}:
            return Shelf(PROJECT, checked_uuid(object_id))
        case {"prompt_session_id": str(object_id), "log_id": "x"}:
            return Shelf(PLAYGROUND, checked_uuid(object_id))
    raise ItemError("a row must name its experiment_id, its project_id with the log_id g, or a playground's session")


def _as_feedback(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with which an SDK gives feedback as an item of the REST API; a comment is a row of its own."""
    item = {name: row[name] for name in _FIELDS_OF_FEEDBACK if name in row}
    if "comment" in row:
        comment, origin = row["comment"], row.get("origin")
        item["id"] = origin.get("id") if isinstance(origin, dict) else None
        item["comment"] = comment.get("text") if isinstance(comment, dict) else comment
    return item | {"source": row["_audit_source"], "metadata": row.get("_audit_metadata")}


def _organization(origin: str) -> dict[str, Any]:
    """Return the one organization there is; everything of it is here."""
    urls = {"api_url": origin, "proxy_url": origin, "realtime_url": origin}
    settings = {"is_universal_api": True, "git_metadata": {"collect": "none"}}
    return {"id": ORGANIZATION_ID, "name": ORGANIZATION_NAME, **urls, **settings}


def _origin(request: Request) -> str:
    """Return under what address the emulator was asked."""
    return f"http://{request.headers.get('host', '127.0.0.1')}"
