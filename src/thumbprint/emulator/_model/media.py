"""Everything that is no conversation: embeddings, moderations, models, pictures and sound."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, cast

from thumbprint.emulator._identity import token
from thumbprint.emulator._model.prompts import echo, how_many, require, usage_of
from thumbprint.emulator._wire import MalformedBodyError, Response, json_response, plain_response

MODELS = ("gpt-5", "gpt-5-mini", "gpt-4o-mini", "text-embedding-3-small", "whisper-1", "tts-1")
_DIMENSIONS = 8
_MOST_DIMENSIONS = 4096
_SOUNDS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
_CATEGORIES = ("harassment", "hate", "self-harm", "sexual", "violence")
# A PNG of one grey pixel.
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="


def embeddings(body: dict[str, Any], _now: float) -> Response:
    """Answer `embeddings`: the same text has the same vector, of length 1. Raises MalformedBodyError."""
    asked = require(body, "input", str, list)
    texts = asked if isinstance(asked, list) and not isinstance(asked[0], int) else [asked]
    size = body.get("dimensions") or _DIMENSIONS
    if not isinstance(size, int) or not 0 < size <= _MOST_DIMENSIONS:
        raise MalformedBodyError(f"'dimensions' must be a whole number from 1 to {_MOST_DIMENSIONS}")
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _embedded(str(text), size, packed=packed)}
        for index, text in enumerate(texts)
    ]
    used = usage_of(asked, "").tokens_in
    usage = {"prompt_tokens": used, "total_tokens": used}
    model = require(body, "model", str)
    return json_response({"object": "list", "data": data, "model": model, "usage": usage})


def moderations(body: dict[str, Any], _now: float) -> Response:
    """Answer `moderations`: nothing is ever flagged. Raises MalformedBodyError."""
    asked = require(body, "input", str, list)
    result = {
        "flagged": False,
        "categories": dict.fromkeys(_CATEGORIES, False),
        "category_scores": dict.fromkeys(_CATEGORIES, 0.0),
        "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
    }
    count = len(asked) if isinstance(asked, list) else 1
    model = body.get("model") or "omni-moderation-latest"
    return json_response({"id": token("modr-"), "model": model, "results": [result] * count})


def images(body: dict[str, Any], now: float) -> Response:
    """Answer `images/generations` with pictures of one pixel. Raises MalformedBodyError."""
    prompt = require(body, "prompt", str)
    as_url = body.get("response_format") == "url"
    picture = {"url": "https://images.invalid/pixel.png"} if as_url else {"b64_json": _PIXEL}
    data = [{**picture, "revised_prompt": prompt}] * how_many(body)
    return json_response({"created": int(now), "data": data})


def speech(body: dict[str, Any], _now: float) -> Response:
    """Answer `audio/speech` with bytes that are no real sound. Raises MalformedBodyError."""
    said = require(body, "input", str)
    asked = body.get("response_format")
    kind = asked if asked in _SOUNDS else _SOUNDS[0]
    return plain_response(f"{kind}:{said}".encode(errors="replace"), 200, f"audio/{kind}")


def transcription(form: dict[str, str], _now: float) -> Response:
    """Answer `audio/transcriptions`: what it hears is the name of the file."""
    text = echo(form["file"])
    kind = form.get("response_format", "json")
    if kind == "text":
        return plain_response(f"{text}\n".encode(), 200, "text/plain; charset=utf-8")
    verbose = {"language": "english", "duration": 1.0, "segments": []} if kind == "verbose_json" else {}
    return json_response({"text": text, **verbose})


def model_list(now: float) -> Response:
    """Answer `GET models`."""
    return json_response({"object": "list", "data": [_described(name, now) for name in MODELS]})


def model_detail(name: str, now: float) -> Response:
    """Answer `GET models/{name}` for any name."""
    return json_response(_described(name, now))


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A multipart form: the file in it, and the other fields as text."""

    filename: str
    content: bytes
    fields: dict[str, str]


def read_form(body: bytes, content_type: str) -> dict[str, str]:
    """Return the fields of a multipart form; the file is its name. Raises MalformedBodyError without one."""
    upload = read_upload(body, content_type)
    return {**upload.fields, "file": upload.filename}


def read_upload(body: bytes, content_type: str) -> Upload:
    """Return what a multipart form holds. Raises MalformedBodyError where there is no file in it."""
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1")
    fields: dict[str, str] = {}
    file = None
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        name = str(part.get_param("name", "", header="content-disposition"))
        payload = cast("bytes", part.get_payload(decode=True))
        text = payload.decode(errors="replace").strip()
        if name == "file":
            file = (part.get_filename() or text, payload)
        else:
            fields[name] = part.get_filename() or text
    if file is None:
        raise MalformedBodyError("'file' is required, in a multipart/form-data body")
    return Upload(filename=file[0], content=file[1], fields=fields)


def _described(name: str, now: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(now), "owned_by": "thumbprint"}


def _vector(text: str, size: int) -> list[float]:
    raw = hashlib.shake_256(text.encode(errors="replace")).digest(size)
    whole = [byte - 127.5 for byte in raw]
    length = sum(number * number for number in whole) ** 0.5
    return [number / length for number in whole]


def _embedded(text: str, size: int, *, packed: bool) -> str | list[float]:
    vector = _vector(text, size)
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() if packed else vector
