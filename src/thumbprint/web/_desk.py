"""The feedback endpoint without its protocol: what becomes of a request, step by step. None waits for a client."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from .. import _feedback
from .._default import _get as default_thumbprint
from ..errors import ArgumentTypeError, ArgumentValueError, StoreError
from . import _pages
from ._cors import Cors
from ._fields import TOKEN, fields_of, query_fields
from ._http import Answer, Problem, Request, json_answer, problem_json, problems
from ._recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._client import Thumbprint
    from .._model import Feedback
    from .._token import Grant

ALLOW: Final = "GET, HEAD, OPTIONS, POST"
PER_MINUTE: Final = 30

_EVERYWHERE: Final = (
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-robots-tag", "noindex"),
)
_ADDED: Final = frozenset({"user_id", "source", "metadata"})  # what a hook may add


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What a browser said: with which token, which grants what, in which words, and what these mean."""

    token: str
    grant: Grant
    words: Mapping[str, Any]
    feedback: Feedback


class Desk:
    """Answers requests in steps: `at_once`, where that returns None `vote` with the body, and then `record`.

    The latter two may wait for a store. Each raises Problem for what is refused. `finished` makes of any answer or
    problem what is sent.
    """

    def __init__(
        self, *, thumbprint: Thumbprint | None, on_feedback: object, allow_origins: Iterable[str], per_minute: int
    ) -> None:
        if on_feedback is not None and not callable(on_feedback):
            raise ArgumentTypeError(f"on_feedback={on_feedback!a:.80}: give a function", argument="on_feedback")
        if isinstance(per_minute, bool) or not isinstance(per_minute, int):
            raise ArgumentTypeError(f"per_minute={per_minute!a:.80}: give a whole number", argument="per_minute")
        if not 0 < per_minute <= 6000:
            raise ArgumentValueError(f"per_minute={per_minute!a:.80}: give 1 to 6000", argument="per_minute")
        self._thumbprint = thumbprint
        self._cors = Cors(allow_origins)
        self._recent = Recent(per_minute)

    def at_once(self, request: Request) -> Answer | None:
        """Return the answer to a request that needs no body, None for a POST."""
        if request.method == "POST":
            return None
        if request.method == "OPTIONS":
            return Answer(status=204, headers=(("allow", ALLOW), *self._cors.preflight(request)))
        if request.method in {"GET", "HEAD"}:
            return self._page(query_fields(request.query))
        raise Problem(405, f"this takes {ALLOW}", ("allow", ALLOW))

    def _page(self, fields: Mapping[str, Any]) -> Answer:
        if TOKEN not in fields and "thanks" in fields:
            return _pages.thanks()
        token, grant = self._opened(fields)
        if not _pages.can_ask(grant.allow):
            raise Problem(403, f"this page asks for none of {', '.join(grant.allow)}, which the token allows")
        return _pages.confirmation(token, grant.allow, fields)

    def vote(self, request: Request, body: bytes) -> Vote:
        """Return what a POST says, checked: its token, and whether that allows it."""
        fields = fields_of(request, body)
        token, grant = self._opened(fields)
        seconds = self._recent.wait(self._ours().store(), _digest(token))
        if seconds:
            raise Problem(429, f"this token speaks too often: wait {seconds} s", ("retry-after", str(seconds)))
        words = {name: value for name, value in fields.items() if name != TOKEN}
        with problems():
            feedback = _feedback.feedback_from(**words)
            grant.check(feedback.said())
        return Vote(token=token, grant=grant, words=words, feedback=feedback)

    def record(self, request: Request, vote: Vote, added: Mapping[str, Any] | None) -> Answer:
        """Record a vote, once, with what the hook added to it."""
        words = vote.words if added is None else _with_added(vote.words, added)
        feedback = vote.feedback if added is None else _feedback.feedback_from(**words)
        said = _digest(vote.token, json.dumps([vote.words, words.get("user_id")], sort_keys=True))
        with problems():
            text = self._recent.once(
                self._ours().store(), _digest(vote.token), said, lambda: self._recorded(vote.grant, feedback)
            )
        if request.wants_page:
            return Answer(status=303, headers=(("location", "?thanks=1"),))  # a reload then says nothing twice
        return json_answer(202, text)

    def _recorded(self, grant: Grant, feedback: Feedback) -> str:
        ours = self._ours()
        receipt = ours.record(grant.refs or grant, feedback, grant.which)
        unsupported = any(outcome.unsupported for outcome in receipt.outcomes)
        disabled = ours.recorder() is None
        if receipt.status == "dropped" and not (unsupported or disabled):
            raise StoreError("it could not be stored")  # lest somebody who could try again is told that it was
        return json.dumps({"id": receipt.id, "status": receipt.status})

    def finished(self, request: Request, answer: Answer | Problem) -> Answer:
        """Return what is sent, of an answer or a problem."""
        if isinstance(answer, Problem):
            answer = _pages.refusal(answer) if request.wants_page else problem_json(answer)
        length = () if answer.status == 204 else (("content-length", str(len(answer.body))),)
        whole = answer.with_headers(*length, *_EVERYWHERE, *self._cors.headers(request))
        return Answer(status=whole.status, headers=whole.headers) if request.method == "HEAD" else whole

    def _opened(self, fields: Mapping[str, Any]) -> tuple[str, Grant]:
        """Return the token that is among the fields, and what it grants."""
        token = fields.get(TOKEN)
        if not isinstance(token, str) or not token:
            raise Problem(400, f"give a {TOKEN}")
        with problems():
            return token, self._ours().granted(token)

    def _ours(self) -> Thumbprint:
        return self._thumbprint or default_thumbprint()


def _with_added(words: Mapping[str, Any], added: object) -> dict[str, Any]:
    """Return the words with the hook's; raise, which is the hook's fault, for what it may not return."""
    if not isinstance(added, Mapping):
        raise ArgumentTypeError(
            f"on_feedback returned {added!a:.80} of type {type(added).__name__}: it returns None, or a dict with what "
            f"is to be added",
            argument="on_feedback",
        )
    for name in added:
        if name not in _ADDED:
            raise ArgumentValueError(
                f"on_feedback returned {name!a:.80}: it may add {', '.join(sorted(_ADDED))}", argument="on_feedback"
            )
    said = {name: value for name, value in added.items() if value is not None}
    if isinstance(said.get("metadata"), Mapping):
        said["metadata"] = {**(words.get("metadata") or {}), **said["metadata"]}
    return {**words, **said}


def _digest(*texts: str) -> str:
    """Return what tells texts from others and does not tell what they are, if one of them cannot be guessed."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
