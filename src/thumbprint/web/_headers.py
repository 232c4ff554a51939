"""The headers by which a browser learns of its request's scope: what goes out, and what comes in. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FEEDBACK_ID: Final = "x-feedback-id"
FEEDBACK_TOKEN: Final = "x-feedback-token"  # noqa: S105 - the name of a header
EXPOSE: Final = "access-control-expose-headers"  # which headers a page of another origin may read (Fetch standard)

NAMES: Final = (FEEDBACK_ID, FEEDBACK_TOKEN)
EXPOSED: Final = ", ".join(NAMES)

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_TRUSTED_ID: Final = re.compile(r"[!-+\--~]{1,256}")  # visible ASCII but the comma, which joins several values


def is_header_name(name: object) -> bool:
    """Whether it can be the name of a header."""
    return isinstance(name, str) and _HEADER_NAME.fullmatch(name) is not None


def inbound_id(values: Sequence[str]) -> str | None:
    """Return the id that an inbound header gives: one value, of 1 to 256 visible ASCII characters without a comma.

    None for anything else: it goes out again in a header, and into stores and logs.
    """
    return values[0] if len(values) == 1 and _TRUSTED_ID.fullmatch(values[0]) else None


def labelled(headers: Iterable[tuple[str, str]], labels: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the headers with the labels added, and made readable for pages of other origins.

    A header that the application set itself is left as it is.
    """
    kept = list(headers)
    names = [name.lower() for name, _ in kept]
    added = [label for label in labels if label[0] not in names]
    if EXPOSE not in names:
        return [*kept, *added, (EXPOSE, EXPOSED)]
    place = names.index(EXPOSE)
    name, value = kept[place]
    kept[place] = name, exposing_ours(value)
    return kept + added


def exposing_ours(value: str) -> str:
    """Return what Access-Control-Expose-Headers has to say, `*` or a list, with our two names in it."""
    listed = [name.strip().lower() for name in value.split(",")]
    missing = [name for name in NAMES if name not in listed]
    if "*" in listed or not missing:
        return value
    return ", ".join([*([value] if value.strip() else []), *missing])
