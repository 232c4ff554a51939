"""The request's method and path, or the model's name → what was called, in OpenTelemetry's words. Pure.

Names of `gen_ai.operation.name` are used where the semantic conventions have one (2026-11), plain words elsewhere.
"""

from __future__ import annotations

import functools
import re
from typing import Final
from urllib.parse import unquote, urlsplit

# The first pattern that is found in the path decides. Paths are those of the OpenAI API, which gateways and
# compatible services keep behind prefixes of their own, and of Anthropic's, Google's, Amazon's and Cohere's.
_STORED: Final = (
    "files|uploads|batches|models|fine_tuning|vector_stores|evals|containers|assistants|threads|conversations"
    "|realtime|chatkit|skills|voices|voice_consents|vaults|webhook_endpoints|organization|projects|environments|live"
    "|content_provenance_checks|safety|decisions"
)
_POSTED: Final = tuple(
    (re.compile(pattern), operation)
    for pattern, operation in (
        (r"/cancel$", "cancel"),
        (r"/(count_tokens|input_tokens)$|:countTokens$", "count_tokens"),
        (r"/threads/[^/]+/messages$|/chat/completions/[^/]+$", "upload"),
        (r"/threads/(.*/)?runs(/[^/]+/submit_tool_outputs)?$", "invoke_agent"),
        (r"/chat/completions$|/messages$|/responses(/compact)?$", "chat"),
        (r"/completions$", "text_completion"),
        (r"/embed(dings)?$|:(batchE|e)mbedContents?$|embed[^/]*:predict$|/model/.*embed.*/invoke$", "embeddings"),
        (r":(streamR|r)awPredict$|/model/.+/(invoke(-with-response-stream)?|converse(-stream)?)$", "chat"),
        (r"/moderations$", "moderation"),
        (r"/rerank$", "rerank"),
        (r"/images/", "image_generation"),
        (r"/videos$|/videos/(edits|extensions)$|/videos/[^/]+/remix$", "video_generation"),
        (r"/audio/speech$", "speech"),
        (r"/audio/transcriptions$", "transcription"),
        (r"/audio/translations$", "translation"),
        (r":((streamG|g)enerateContent|predict(LongRunning)?)$", "generate_content"),
        (rf"/({_STORED})(/|$)", "upload"),
    )
)
_RETRIEVED: Final = re.compile(r"/(responses|completions|videos|runs|batches|messages)/[^/]+$")
UNKNOWN: Final = "generate_content"

# Models that answer nobody, by their names at Cloudflare's Workers AI and elsewhere. The first that is found decides.
_MODELS: Final = tuple(
    (re.compile(pattern), operation)
    for pattern, operation in (
        (r"rerank", "rerank"),
        (r"embed|/bge-", "embeddings"),
        (r"guard|moderation", "moderation"),
    )
)

# What asks no model anything, and is not logged.
UNLOGGED: Final = frozenset({"cancel", "count_tokens", "delete", "list", "retrieve", "upload"})

POLLS: Final = frozenset({"retrieve", "cancel"})


@functools.lru_cache(maxsize=1024)
def operation_at(method: str, url: str) -> str:
    """Return the operation that a request to this URL calls."""
    return operation_of(method, unquote(urlsplit(url).path))


def operation_of(method: str, path: str) -> str:
    """Return the operation that a request calls.

    What is read back is "retrieve" or "list". An unknown POST counts as generating: better that a future resource of
    the API is a target than that it is passed over.
    """
    if method == "DELETE":
        return "delete"
    if method != "POST":
        return "retrieve" if _RETRIEVED.search(path) else "list"
    for pattern, operation in _POSTED:
        if pattern.search(path):
            return operation
    return UNKNOWN


@functools.lru_cache(maxsize=1024)
def asks_model(method: str, path: str) -> bool:
    """Whether a request is by its path one that asks a model something, whoever sends it."""
    return method == "POST" and any(pattern.search(path) for pattern, operation in _POSTED if operation not in UNLOGGED)


@functools.lru_cache(maxsize=1024)
def operation_of_model(model: str, *, chats: bool) -> str:
    """Return the operation of a call of which the model is known, and whether messages were sent to it."""
    for pattern, operation in _MODELS:
        if pattern.search(model.lower()):
            return operation
    return "chat" if chats else UNKNOWN
