"""Who asks for the page or for what it shows, and the answers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from thumbprint.emulator._page.entries import shown
from thumbprint.emulator._wire import Request, Response, json_response, plain_response

if TYPE_CHECKING:
    from thumbprint.emulator._services import Services

# Nothing from elsewhere, and nothing that was said can become a script: what is shown was written by others.
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src data:; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


def answer(request: Request, services: Services) -> Response | None:
    """Answer `GET /` with the page and `GET /emulator/entries` with its JSON; None for any other request."""
    match request.method, request.segments:
        case "GET", ():
            policy = ("content-security-policy", _POLICY)
            return plain_response(_html(), 200, "text/html; charset=utf-8", (*_HEADERS, policy))
        case "GET", ("emulator", "entries"):
            return json_response(shown(services.logs.all(), services.rows.for_tests()), headers=_HEADERS)
    return None


@cache
def _html() -> bytes:
    return files(__package__).joinpath("page.html").read_bytes()
