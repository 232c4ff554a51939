"""The id that an answer bears in its body, for whoever gets the body and not an object of an SDK's."""

from __future__ import annotations

import re
from typing import Any, Final

from .._model import is_word

# Bodies are long, and their ids stand at one of the ends: `id` after a few plain members at most, as OpenAI, Anthropic
# and Mistral answer, and `responseId` as the last member of all, as Google does. So nothing is parsed; what stands
# elsewhere is not found. What these match is a member of the outermost object and of no other.
_HEAD: Final = 2048  # bytes
_TAIL: Final = 1024
_FIRST: Final = re.compile(
    rb'''\s*+\{
        (?: \s*+ "(?!id")[^"\\]*+" \s*+ : \s*+ (?: "[^"\\]*+" | [\w.+-]++ ) \s*+ , )*+
        \s*+ "id" \s*+ : \s*+ "([^"\\]++)"''',
    re.VERBOSE,
)
_LAST: Final = re.compile(rb'(?<!\\)"responseId"\s*+:\s*+"([^"\\]++)"\s*+\}\s*+\Z')


def id_in_body(response: Any) -> str | None:
    """Return the id that an HTTP answer, read to its end, bears in its body; None where there is none to be found."""
    try:
        body = response.content
    except Exception:  # it was not read, as that of a stream, or cannot be decoded
        return None
    found = _FIRST.match(body[:_HEAD]) or _LAST.search(body[-_TAIL:])
    text = found[1].decode(errors="replace") if found else ""
    return text if text and is_word(text) else None
