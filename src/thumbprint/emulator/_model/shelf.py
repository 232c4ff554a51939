"""What is put away under an id and read back: uploaded files, in pages, and batches of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thumbprint.emulator._identity import timestamp, token
from thumbprint.emulator._model.media import read_upload
from thumbprint.emulator._model.prompts import error_answer, require
from thumbprint.emulator._wire import json_response, whole_number

if TYPE_CHECKING:
    from thumbprint.emulator._wire import Request, Response

_MOST_ON_A_PAGE = 10_000


class Shelf:
    """What was put away so far, the latest first."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, Any]] = {}
        self._batches: dict[str, dict[str, Any]] = {}

    def files(self, request: Request, rest: tuple[str, ...], now: float) -> Response:
        """Answer OpenAI's `files`. Raises MalformedBodyError."""
        match request.method, rest:
            case "POST", ():
                return json_response(self._add_file(request, now))
            case "GET", ():
                return json_response(_page(self._files, request))
            case "GET", (known,) if known in self._files:
                return json_response(self._files[known])
            case "DELETE", (known,) if known in self._files:
                del self._files[known]
                return json_response({"id": known, "object": "file", "deleted": True})
        return error_answer(404, f"There is no file at {request.path}.")

    def batches(self, request: Request, rest: tuple[str, ...], now: float) -> Response:
        """Answer Anthropic's `messages/batches`: a batch is never begun. Raises MalformedBodyError."""
        match request.method, rest:
            case "POST", ():
                return json_response(self._add_batch(request, now))
            case "GET", (known,) if known in self._batches:
                return json_response(self._batches[known])
        return error_answer(404, f"There is no batch at {request.path}.")

    def _add_file(self, request: Request, now: float) -> dict[str, Any]:
        upload = read_upload(request.body, request.headers.get("content-type", ""))
        file_id = token("file-")
        file = {"id": file_id, "object": "file", "created_at": int(now), "status": "processed"}
        file |= {"filename": upload.filename, "bytes": len(upload.content), "purpose": upload.fields.get("purpose")}
        self._files = {file_id: file} | self._files
        return file

    def _add_batch(self, request: Request, now: float) -> dict[str, Any]:
        asked = require(request.json_object(), "requests", list)
        counts = {"processing": len(asked), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        batch_id = token("msgbatch_")
        batch = {"id": batch_id, "type": "message_batch", "processing_status": "in_progress"}
        self._batches[batch_id] = batch | {"request_counts": counts, "created_at": timestamp(now), "results_url": None}
        return self._batches[batch_id]


def _page(files: dict[str, dict[str, Any]], request: Request) -> dict[str, Any]:
    """Return the files behind the one that is named by `after`, at most `limit` of them."""
    asked = dict(request.params)
    names = list(files)
    start = names.index(asked["after"]) + 1 if asked.get("after") in files else 0
    most = whole_number(asked.get("limit", "")) or _MOST_ON_A_PAGE
    shown = names[start : start + most]
    ends = {"first_id": shown[0], "last_id": shown[-1]} if shown else {}
    return {"object": "list", "data": [files[name] for name in shown], "has_more": names[start + most :] != [], **ends}
