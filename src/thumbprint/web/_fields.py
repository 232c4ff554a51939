"""A query or a body → the fields that it says, or a Problem. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import parse_qsl

from .._token import FIELDS
from ._http import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._http import Request

TOKEN: Final = "token"  # noqa: S105 - the name of a field
IN_FORMS: Final = frozenset({TOKEN, "thumbs", "score", "comment"})
IN_LINKS: Final = IN_FORMS | {"thanks"}
IN_JSON: Final = frozenset({TOKEN, *FIELDS})
OF_THE_SERVER: Final = frozenset({"user_id", "source"})  # which say who speaks

MAX_FIELDS: Final = 32
FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"

_UTF_8: Final = frozenset({"", "utf-8", "utf8"})
_PARAMETER: Final = re.compile(r';\s*([\w-]+)\s*=\s*(?:"([^"]*)"|([^\s;"]+))', re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,30})?", re.ASCII)
_DISPOSITION: Final = re.compile(r'content-disposition:\s*form-data;\s*name="([^"\r\n]*)"\s*', re.IGNORECASE)
_PART_TYPE: Final = re.compile(r"content-type:\s*text/plain\s*(?:;\s*charset=\"?utf-8\"?\s*)?", re.IGNORECASE)


def fields_of(request: Request, body: bytes) -> dict[str, Any]:
    """Return the token and what is said with it, by the names that `record_feedback` has.

    Raises Problem: 415 for a body of another kind, 400 for one that is malformed, 403 for what only the server says.
    """
    if request.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Problem(415, "the body is compressed: send it as it is")
    parameters = _parameters(request.headers.get("content-type", ""))
    readers = {
        "application/json": (_from_json, IN_JSON),
        FORM: (_from_form, IN_FORMS),
        MULTIPART: (lambda text: _from_multipart(text, parameters.get("boundary", "")), IN_FORMS),
    }
    if request.media_type not in readers or parameters.get("charset", "").lower() not in _UTF_8:
        raise Problem(415, f"send {', '.join(readers)}, in UTF-8", ("accept-post", ", ".join(readers)))
    read, known = readers[request.media_type]
    return _known(read(_decoded(body)), known)


def query_fields(query: bytes) -> dict[str, Any]:
    """Return the fields that are in a link; what else is there, such as a mailing's own marks, is passed over."""
    pairs = _pairs(query.decode(errors="replace"), strict=False)
    return _as_said(_unique((name, value) for name, value in pairs if name in IN_LINKS))


def _known(fields: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    for name in fields:
        if name in OF_THE_SERVER:
            raise Problem(403, f"{name} is for the server to say")
        if name not in known:
            raise Problem(400, f"{name!a:.80} is no field: this takes {', '.join(sorted(known))}")
    return fields


def _parameters(content_type: str) -> dict[str, str]:
    return {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(content_type)}


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Problem(400, "this is not UTF-8") from None


def _from_json(text: str) -> dict[str, Any]:
    try:
        fields = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"this is no JSON that can be read ({type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise Problem(400, "send a JSON object")
    return fields


def _no_number(name: str) -> NoReturn:
    raise Problem(400, f"{name} is no number in JSON")


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise Problem(400, f"{name!a:.80} is said twice")
        fields[name] = value
    return fields


def _from_form(text: str) -> dict[str, Any]:
    return _as_said(_unique(_pairs(text, strict=True)))


def _pairs(text: str, *, strict: bool) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            strict_parsing=strict and text != "",
            errors="strict" if strict else "replace",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:  # UnicodeDecodeError too
        raise Problem(400, "this is no form that can be read") from None


def _from_multipart(text: str, boundary: str) -> dict[str, Any]:
    if not 0 < len(boundary) <= 70:  # RFC 2046, 5.1.1
        raise Problem(400, "the content type names no boundary")
    _, *parts = f"\r\n{text}".split(f"\r\n--{boundary}")
    if not parts or parts.pop().rstrip() != "--" or len(parts) > MAX_FIELDS:
        raise Problem(400, "this is no form that can be read")
    return _as_said(_unique(map(_part, parts)))


def _part(text: str) -> tuple[str, str]:
    """Return name and value of a part; raise Problem for a file and whatever else a text field does not have."""
    head, end, value = text.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    dispositions = [match for line in lines if (match := _DISPOSITION.fullmatch(line))]
    others = [line for line in lines if not _DISPOSITION.fullmatch(line) and not _PART_TYPE.fullmatch(line)]
    if not end or first.strip() or others or len(dispositions) != 1:
        raise Problem(400, "a part of the form is no text field")
    return dispositions[0][1], value


def _as_said(fields: dict[str, str]) -> dict[str, Any]:
    """Return what the texts of a form mean; a field that was left empty says nothing."""
    meant: dict[str, Any] = {name: value for name, value in fields.items() if value != "" or name == TOKEN}
    if "thumbs" in meant:
        meant["thumbs"] = _THUMBS.get(meant["thumbs"], meant["thumbs"])
    if "score" in meant:
        if not _NUMBER.fullmatch(meant["score"]):
            raise Problem(400, "score: it must be a number from 0 to 1")
        meant["score"] = float(meant["score"])
    if "comment" in meant:
        meant["comment"] = meant["comment"].replace("\r\n", "\n")  # as forms send the ends of lines
    return meant


_THUMBS: Final = {"1": 1, "-1": -1, "true": True, "false": False}
