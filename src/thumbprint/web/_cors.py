"""Which pages of other origins may speak to the endpoint. Pure; see the Fetch standard, "CORS protocol"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ._http import Headers, Request

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@,]+")


class Cors:
    """The origins that are allowed, none unless they are named; `*` is any. No cookies: the token says who may."""

    def __init__(self, allow_origins: Iterable[str]) -> None:
        if isinstance(allow_origins, (str, bytes)):
            raise ArgumentTypeError(
                f"allow_origins={allow_origins!a:.80}: give a list of origins", argument="allow_origins"
            )
        self._origins = frozenset(allow_origins)
        for origin in self._origins:
            if origin != "*" and not (isinstance(origin, str) and _ORIGIN.fullmatch(origin)):
                raise ArgumentValueError(
                    f'allow_origins has {origin!a:.80}: give "*", or scheme, host and port in lower case and no more, '
                    f"such as https://app.example",
                    argument="allow_origins",
                )

    def headers(self, request: Request) -> Headers:
        """Return what any answer to the request has to say."""
        if not self._origins:
            return ()
        if "*" in self._origins:
            return (("access-control-allow-origin", "*"), *_EXPOSED)
        origin = request.headers.get("origin", "")
        allowed = (("access-control-allow-origin", origin), *_EXPOSED) if origin in self._origins else ()
        return (*allowed, ("vary", "Origin"))

    def preflight(self, request: Request) -> Headers:
        """Return what the answer to an OPTIONS request says beyond that."""
        origin = request.headers.get("origin", "")
        return _PREFLIGHT if "*" in self._origins or origin in self._origins else ()


_EXPOSED: Final = (("access-control-expose-headers", "retry-after"),)
_PREFLIGHT: Final = (
    ("access-control-allow-methods", "POST"),
    ("access-control-allow-headers", "content-type"),
    ("access-control-max-age", "600"),
)
