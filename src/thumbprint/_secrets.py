"""Keeping secrets out of what is told: of settings, and of answers, however these may have spelled them. Pure."""

from __future__ import annotations

import base64
import functools
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MASK: Final = "***"
MIN_SECRET_LENGTH: Final = 8  # characters: what is shorter is a word, such as "Bearer", and no secret
LONGEST: Final = 10_000  # characters that are told of an answer
SPELLED: Final = 128  # characters of a secret that are looked for; the rest is what follows them without a break

_SEPARATORS: Final = re.compile(r"[\s,;:='\"]+")

# Beginnings of escapes, then the end of the text, or what stands for the rest of it.
_CUT: Final = r"(?:[\\%&][a-z0-9#{;]{0,20}){0,9}(?=\Z|…|\.\.\.)"
_UNBROKEN: Final = r"[^\s\"'<>…]*"


class Concealed(str):
    """A text that no repr shows, as of the locals of a traceback."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'…'"


class Secrets:
    """Secrets that are `known`, and those of requests that were sent. No repr shows them."""

    __slots__ = ("_known", "_values")

    def __init__(self, *known: str | None) -> None:
        self._known = set(filter(None, known))
        self._values: set[str] = set()

    def note(self, headers: Mapping[str, str]) -> None:
        """Take the words that stand in a request's headers for secrets, unless they are short."""
        self._values.update(map(str, headers.values()))

    def masked(self, text: str | None) -> str | None:
        """Return the text, at most so much of it as is told, without the secrets that it quotes.

        Each character of one may stand there in upper or lower case and as URLs, JSON, string literals and HTML escape
        it, once or again; where the text was cut, the secret's beginning is enough.
        """
        if text is not None:
            text = text[:LONGEST]
            for secret in sorted(self._known | _words_of(self._values), key=len, reverse=True):
                text = _spellings(secret).sub(MASK, text)
        return text


def _words_of(values: set[str]) -> set[str]:
    """Return the words of header values, their parts, and the parts of what is encoded for Basic authentication."""
    words = {word for value in values for word in value.split()}
    told = {*values, *filter(None, map(_basic, words))}
    words.update(part for value in told for part in _SEPARATORS.split(value))
    return {word for word in words if len(word) >= MIN_SECRET_LENGTH}


def _basic(word: str) -> str | None:
    """Return the `user:password` that a word is in base64; None where it is nothing like that (RFC 7617)."""
    try:
        text = base64.b64decode(word, validate=True).decode()
    except ValueError:
        return None
    return text if ":" in text else None


@functools.lru_cache(maxsize=32)
def _spellings(secret: str) -> re.Pattern[str]:
    """Return what finds a secret, in all its spellings."""
    spelled = [_spelled(*each) for each in re.findall(r"(\\*)(.)", secret[:SPELLED], re.DOTALL)]
    head, tail = spelled[:MIN_SECRET_LENGTH], spelled[MIN_SECRET_LENGTH:]
    rest = [_UNBROKEN] if len(secret) > SPELLED else []
    return re.compile("".join([*head, *(f"(?:{_CUT}|{each})" for each in tail), *rest]), re.IGNORECASE)


def _spelled(slashes: str, character: str) -> str:
    """Return a pattern of one character of a secret, and of the backslashes before it, in all spellings.

    A backslash may be a secret's own, or of a string literal in which it stands: either way there are as many as the
    literal's own escaping makes. So each text can be read in one way only, and no search takes long.
    """
    if character == "\\":  # they end the secret
        return _SLASHES
    before = _SLASHES if slashes else r"\\{0,8}"
    return rf"{before}?(?:{_escaped(character)}|{re.escape(character)})"


def _escaped(character: str) -> str:
    """Return a pattern of a character as it is escaped in URLs, by its number in string literals, and in HTML."""
    code = ord(character)
    percent = "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))
    references = "|".join([f"#0{{0,6}}{code}", f"#x0{{0,6}}{code:x}", *_NAMED.get(character, ())])
    return rf"{percent}|[\\%][ux]\{{?0{{0,6}}{code:x}\}}?|&(?:amp;){{0,3}}(?:{references});"


_NAMED: Final = {"&": ("amp",), "<": ("lt",), ">": ("gt",), '"': ("quot",), "'": ("apos",)}
_SLASHES: Final = rf"(?:{_escaped(chr(92))}|\\){{1,99}}"
