"""Sending a request and returning what the service said. The only importer of httpx."""

from __future__ import annotations

import codecs
import functools
import json
import math
import time
from typing import TYPE_CHECKING, Final, Protocol

from .._fork import importing
from ..backends import Answer

if TYPE_CHECKING:
    import ssl

    import httpx

    from ..backends import HttpRequest

TIMEOUT: Final = 30.0  # seconds for each of connecting, writing and reading
HEADERS: Final = {"accept": "application/json", "user-agent": "thumbprint"}

TIMEOUTS: Final = ("connect", "read", "write", "pool")
_encode: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class TransportError(Exception):
    """The service could not be reached, or did not answer; says why."""


class Transport(Protocol):
    """Carries requests to a service, for one thread at a time."""

    def send(self, request: HttpRequest) -> Answer:
        """Return the answer, whatever its status; raise TransportError where there is none."""
        ...

    def close(self) -> None:
        """Close the connections; a later `send` makes new ones."""
        ...


def load_httpx() -> None:
    """Import httpx now, in this thread.

    openai 3 looks at each of its calls whether a module httpx is loaded, and fails where it is half loaded by another
    thread; so it must be there before the first call is made.
    """
    import httpx  # noqa: F401, PLC0415 - it costs 100 ms, and not everybody makes calls


class HttpxTransport:
    """Sends over a kept-alive connection, made when first needed. httpx is imported then, too.

    Each sending thread has one of its own: a pool that threads share is searched through for every request.
    `timeout` is in seconds, for each of connecting, writing and reading; shorter as `ends_at` (of the monotonic clock)
    comes near, and after that nothing is sent.
    """

    def __init__(self, *, timeout: float = TIMEOUT, ends_at: float = math.inf) -> None:
        self.timeout = timeout  # seconds, of the requests from here on
        self._ends_at = ends_at
        self._client: httpx.Client | None = None

    def send(self, request: HttpRequest) -> Answer:
        """Return the answer, whatever its status; raise TransportError where there is none."""
        if self._client is None:
            self._client = _new_client(self.timeout)
        import httpx  # noqa: PLC0415 - as in _new_client

        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TransportError("no time was left to send it")
        try:
            response = self._client.send(self._written(request, min(self.timeout, left)))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # What a protocol error of our own side says may quote a header, and with it a key.
            words = "" if isinstance(error, httpx.LocalProtocolError) else f": {error}"
            raise TransportError(f"{type(error).__name__}{words}") from None
        return Answer(
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            content=response.content,
        )

    def _written(self, request: HttpRequest, timeout: float) -> httpx.Request:
        """Return the request as it goes out. `Client.request` would do it, in twice the time, and merge more in."""
        import httpx  # noqa: PLC0415 - as in _new_client

        headers, content = {**HEADERS, **request.headers}, None
        if request.json is not None:
            headers["content-type"] = "application/json"
            content = _encode(request.json).encode()
        return httpx.Request(
            request.method,
            request.url,
            headers=headers,
            content=content,
            extensions={"timeout": dict.fromkeys(TIMEOUTS, timeout)},
        )

    def close(self) -> None:
        """Close the connection; a later `send` makes a new one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _new_client(timeout: float) -> httpx.Client:
    with importing:
        import httpx  # noqa: PLC0415 - it costs 100 ms, and not everybody sends

        codecs.lookup("idna")  # which looking up a host's address imports
        return httpx.Client(timeout=timeout, verify=_tls_context())


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Return the TLS settings of all connections: to read the certificates takes 20 ms."""
    import httpx  # noqa: PLC0415 - as above

    return httpx.create_ssl_context()
