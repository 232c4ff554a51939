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
:root{color-scheme:light dark;--ground:#f5f3ee;--card:#fff;--line:#87817a;--edge:#e2ddd3;--ink:#22201c;--soft:#5f5a52;
--accent:#2c4a7c;--on-accent:#fff;--chosen:#e8eef8}
@media (prefers-color-scheme:dark){:root{--ground:#15171b;--card:#1f2229;--line:#7d8390;--edge:#343944;--ink:#eceae5;
--soft:#b0aea8;--accent:#a9c4f5;--on-accent:#15171b;--chosen:#27354d}}
*{box-sizing:border-box}
body{margin:0;padding:clamp(1rem,10vh,7rem) 1rem 2rem;background:var(--ground);color:var(--ink);
font:1rem/1.5 system-ui,sans-serif}
main{max-width:27rem;margin:0 auto;padding:1.5rem;background:var(--card);border:1px solid var(--edge);
border-radius:1rem}
h1{margin:0 0 1rem;font-size:1.375rem;line-height:1.25}
p{margin:0;overflow-wrap:anywhere}
fieldset{border:0;margin:0;padding:0;min-width:0}
legend,.label{display:block;padding:0;margin:0 0 .5rem;font-weight:600}
.choices{display:grid;gap:.5rem;margin-bottom:1.25rem}
.thumbs{grid-template-columns:repeat(auto-fit,minmax(8rem,1fr))}
.choice{display:flex;align-items:center;gap:.75rem;min-height:3rem;padding:.25rem .875rem;border:1px solid var(--line);
border-radius:.75rem;cursor:pointer}
.choice:has(:checked){background:var(--chosen);border-color:var(--accent);box-shadow:inset 0 0 0 1px var(--accent)}
.choice:focus-within,textarea:focus-visible,button:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
input{margin:0;flex:none;width:1.125rem;height:1.125rem;accent-color:var(--accent)}
svg{flex:none;width:1.5rem;height:1.5rem;fill:none;stroke:currentColor;stroke-width:1.6;stroke-linejoin:round;
stroke-linecap:round}
.choice+.choice svg{transform:rotate(180deg)}
textarea{display:block;width:100%;min-height:6rem;margin-bottom:1.25rem;padding:.625rem .875rem;font:inherit;
color:inherit;background:var(--card);border:1px solid var(--line);border-radius:.75rem;resize:vertical}
button{width:100%;min-height:3rem;padding:.5rem 1rem;font:inherit;font-weight:600;color:var(--on-accent);
background:var(--accent);border:1px solid transparent;border-radius:.75rem;cursor:pointer}
.detail{margin-top:1rem;font-size:.875rem;color:var(--soft)}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("content-type", "text/html; charset=utf-8"),
    ("content-security-policy", _POLICY),
    ("x-frame-options", "DENY"),  # for what does not know `frame-ancestors`
)

# What a refusal means to whoever opened a link, who cannot mend it, and what they may do. Status → title and text.
_NOT_TAKEN: Final = "Your feedback was not taken"
_REFUSALS: Final[Mapping[int, tuple[str, str]]] = {
    403: ("This link cannot be used", "It was changed on its way, or is not meant for this."),
    404: ("This answer is not known yet", "Please try again in a moment."),
    410: ("This link has expired", "Feedback on this answer is no longer taken."),
    413: (_NOT_TAKEN, "It is too long: please go back and make it shorter."),
    429: (_NOT_TAKEN, "That was a bit too often. Please wait a minute, then go back and send it again."),
    500: (_NOT_TAKEN, "Something is wrong here. Please try again later."),
    503: (_NOT_TAKEN, "It cannot be kept at the moment. Please go back and send it again later."),
}
_ANY_REFUSAL: Final = (_NOT_TAKEN, "Something is missing, or is not as it should be. Is the link complete?")

_STARS: Final = (("0", "Very poor"), ("0.25", "Poor"), ("0.5", "Fair"), ("0.75", "Good"), ("1", "Very good"))
_THUMB: Final = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M7 10.5 11 3c1.4 0 2.5 1.1 2.5 2.5V9h5.3a2 2 0 0 1 2 2.3l'
    '-1.2 7a2 2 0 0 1-2 1.7H7m0-9.5V20m0-9.5H4a1 1 0 0 0-1 1V19a1 1 0 0 0 1 1h3"/></svg>'
)
_THUMBS: Final = (("up", f"{_THUMB}Yes"), ("down", f"{_THUMB}No"))
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
        parts.append(_choices("thumbs", "Was this answer helpful?", _THUMBS, _THUMB_OF.get(chosen.get("thumbs"))))
    elif "score" in allow:
        stars = f"{chosen['score']:g}" if "score" in chosen else None
        parts.append(_choices("score", "How good was this answer?", _STARS, stars))
    if "comment" in allow:
        alone = len(parts) == 1
        parts.append(
            f'<label class="label" for="comment">Comment{"" if alone else " (optional)"}</label>'
            f'<textarea id="comment" name="comment" rows="4" maxlength="{MAX_COMMENT}"{" required" if alone else ""}>'
            f"\n{escape(str(chosen.get('comment', '')))}</textarea>"
        )
    form = f'<form method="post" action="?">{"".join(parts)}<button>Send feedback</button></form>'
    return _page(200, "Your feedback", form)


def thanks() -> Answer:
    """Return the page after a vote."""
    return _page(200, "Thank you", "<p>Your feedback has been taken. You may close this page.</p>")


def refusal(problem: Problem) -> Answer:
    """Return the page that says why a request is refused: in the application's words, or else for people in ours."""
    if problem.of_application:
        title, content = _NOT_TAKEN, f"<p>{escape(problem.detail)}</p>"
    else:
        title, text = _REFUSALS.get(problem.status, _ANY_REFUSAL)
        detail = f"{problem.status} {phrase(problem.status)}: {problem.detail}"
        content = f'<p>{text}</p><p class="detail">{escape(detail)}</p>'
    return _page(problem.status, title, content).with_headers(*problem.headers)


def _choices(name: str, question: str, choices: tuple[tuple[str, str], ...], chosen: str | None) -> str:
    radios = "".join(
        f'<label class="choice"><input type="radio" name="{name}" value="{value}"'
        f"{' checked' if value == chosen else ''} required>{text}</label>"
        for value, text in choices
    )
    return f'<fieldset><legend>{question}</legend><div class="choices {name}">{radios}</div></fieldset>'


def _page(status: int, title: str, content: str) -> Answer:
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )
    return Answer(status=status, headers=_HEADERS, body=html.encode("utf-8", "replace"))
