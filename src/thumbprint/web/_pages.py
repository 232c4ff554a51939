"""The pages for people: confirm a vote, thank you, what went wrong. HTML without script; what is shown is escaped."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING, Any, Final

from ._http import Answer, phrase

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ._http import Problem

MAX_COMMENT: Final = 1200  # UTF-16 units that the page lets one write: with a token of 4 KiB, its POST is below 16 KiB

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:1rem/1.5 system-ui,sans-serif;max-width:28rem;margin:10vh auto;padding:0 1rem}
fieldset{border:0;margin:0 0 1rem;padding:0}
legend,.label{font-weight:600;margin-bottom:.5rem;display:block}
.choice{display:flex;align-items:center;gap:.75rem;min-height:2.75rem;padding:0 .75rem;margin:.25rem 0;
border:1px solid GrayText;border-radius:.5rem}
.choice:focus-within,textarea:focus-visible,button:focus-visible{outline:3px solid Highlight;outline-offset:2px}
textarea{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;border:1px solid GrayText;border-radius:.5rem}
button{font:inherit;font-weight:600;width:100%;min-height:2.75rem;margin-top:1rem;border:0;border-radius:.5rem;
background:#1d4ed8;color:#fff}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (("content-type", "text/html; charset=utf-8"), ("content-security-policy", _POLICY))

_STARS: Final = (("0", "Very poor"), ("0.25", "Poor"), ("0.5", "Fair"), ("0.75", "Good"), ("1", "Very good"))
_THUMBS: Final = (("up", "👍 Yes"), ("down", "👎 No"))
_THUMB_OF: Final[Mapping[object, str]] = {"up": "up", "down": "down", 1: "up", -1: "down", False: "down"}


def can_ask(allow: Collection[str]) -> bool:
    """Whether the page can ask for anything that a token allows."""
    return not {"thumbs", "score", "comment"}.isdisjoint(allow)


def confirmation(token: str, allow: Collection[str], chosen: Mapping[str, Any]) -> Answer:
    """Return the page that asks for what the token allows, with what the link chose already filled in.

    Only what its form sends counts: links are opened by mail scanners and previews too.
    """
    parts = [f'<input type="hidden" name="token" value="{escape(token)}">']
    if "thumbs" in allow:
        thumb = _THUMB_OF.get(chosen.get("thumbs"))
        parts.append(_choices("thumbs", "Was this answer helpful?", _THUMBS, thumb, required="comment" not in allow))
    elif "score" in allow:
        stars = f"{chosen['score']:g}" if "score" in chosen else None
        parts.append(_choices("score", "How good was this answer?", _STARS, stars, required="comment" not in allow))
    if "comment" in allow:
        parts.append(
            f'<label class="label" for="comment">Comment{"" if len(parts) == 1 else " (optional)"}</label>'
            f'<textarea id="comment" name="comment" rows="4" maxlength="{MAX_COMMENT}">'
            f"\n{escape(str(chosen.get('comment', '')))}</textarea>"
        )
    form = f'<form method="post" action="?">{"".join(parts)}<button>Send feedback</button></form>'
    return _page(200, "Your feedback", form)


def thanks() -> Answer:
    """Return the page after a vote."""
    return _page(200, "Thank you", "<p>Your feedback has been taken. You may close this page.</p>")


def refusal(problem: Problem) -> Answer:
    """Return the page that says why a request is refused."""
    page = _page(problem.status, phrase(problem.status), f"<p>{escape(problem.detail)}</p>")
    return page.with_headers(*problem.headers)


def _choices(
    name: str, question: str, choices: tuple[tuple[str, str], ...], chosen: str | None, *, required: bool
) -> str:
    radios = "".join(
        f'<label class="choice"><input type="radio" name="{name}" value="{value}"'
        f"{' checked' if value == chosen else ''}{' required' if required else ''}>{text}</label>"
        for value, text in choices
    )
    return f"<fieldset><legend>{question}</legend>{radios}</fieldset>"


def _page(status: int, title: str, content: str) -> Answer:
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )
    return Answer(status=status, headers=_HEADERS, body=html.encode("utf-8", "replace"))
