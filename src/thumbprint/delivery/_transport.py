"""Sending a request and returning what the service said. The only importer of httpx."""

from __future__ import annotations

import codecs
import contextlib
import functools
import json
import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._fork import importing
from ..backends import Answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping

    import httpx

    from ..backends import HttpRequest

TIMEOUT: Final = 30.0  # seconds for a whole request, from connecting to the end of the answer
LONGEST_ANSWER: Final = 16 * 1024 * 1024  # bytes of a body: a log of Cloudflare's tells the call's request and answer
PIECE: Final = 64 * 1024  # bytes that are written between two looks at the clock
HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "thumbprint"}
PLAIN: Final = frozenset({"", "identity"})  # encodings of a body that is as it is

PROXIED: Final = frozenset({"http", "https", "all"})  # schemes for which the environment may name a proxy

TIMEOUTS: Final = ("connect", "read", "write", "pool")
_log: Final = logging.getLogger("httpcore.http11")
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
    `timeout` is in seconds, for a request and its whole answer, however slowly that drips in; shorter as `ends_at` (of
    the monotonic clock) comes near, and after that nothing is sent. Only looking up a host's name has a time of its
    own, that of the system, and where it has several addresses each may take as long. Of a body, `longest` bytes are
    read; the rest is ignored, and the connection closed. So is a body that is compressed, which nobody has asked for:
    a small one may hold gigabytes.
    """

    def __init__(self, *, timeout: float = TIMEOUT, ends_at: float = math.inf, longest: int = LONGEST_ANSWER) -> None:
        self.timeout = timeout  # seconds, of the requests from here on
        self._ends_at = ends_at
        self._longest = longest
        self._proxies: Mapping[str, str] | None = None
        self._connections: dict[str | None, httpx.HTTPTransport] = {}  # by the proxy that they go through

    def send(self, request: HttpRequest) -> Answer:
        """Return the answer, whatever its status; raise TransportError where there is none."""
        if self._proxies is None:
            self._proxies = _proxies()
        import httpx  # noqa: PLC0415 - as in _proxies

        timeout = _Timeout(min(time.monotonic() + self.timeout, self._ends_at))
        if timeout <= 0:
            raise TransportError("no time was left to send it")
        try:
            written = _written(request, timeout)
            response = self._connection_for(written.url, self._proxies).handle_request(written)
            with contextlib.closing(response):
                content = _beginning(response.iter_raw(), self._longest) if _is_plain(response) else b""
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status_code, headers=headers, content=content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # What a protocol error of our own side says may quote a header, and with it a key.
            words = "" if isinstance(error, httpx.LocalProtocolError) else f": {error}"
            said = f"{type(error).__name__}{words}"
        raise TransportError(said)  # out here, where it does not drag the other error along

    def close(self) -> None:
        """Close the connections; a later `send` makes new ones."""
        connections, self._connections, self._proxies = self._connections, {}, None
        for connection in connections.values():
            connection.close()

    def _connection_for(self, url: httpx.URL, proxies: Mapping[str, str]) -> httpx.HTTPTransport:
        proxy = _proxy_for(url, proxies) if proxies else None
        if proxy not in self._connections:
            self._connections[proxy] = _new_connection(proxy)
        return self._connections[proxy]


def _written(request: HttpRequest, timeout: _Timeout) -> httpx.Request:
    """Return the request as it goes out. `Client.request` would do it, in twice the time, and merge more in."""
    import httpx  # noqa: PLC0415 - as in _proxies

    headers, content = {**HEADERS, **request.headers}, None
    if request.json is not None:
        headers["content-type"] = "application/json"
        content = _encode(request.json).encode()
    return httpx.Request(
        request.method,
        request.url,
        headers=headers,
        content=content,
        extensions={"timeout": dict.fromkeys(TIMEOUTS, timeout), "trace": _watch},
    )


def _is_plain(response: httpx.Response) -> bool:
    return response.headers.get("content-encoding", "").strip().lower() in PLAIN


def _beginning(chunks: Iterable[bytes], longest: int) -> bytes:
    """Return the chunks as one, at most so many bytes of them; no more are asked for then."""
    parts, length = [], 0
    for chunk in chunks:
        parts.append(chunk)
        length += len(chunk)
        if length > longest:
            break
    return b"".join(parts)[:longest]


# httpx gives each single read and write the whole timeout, so that an answer which drips in never ends. Its timeouts
# are handed down as they are, though, so that they can bring along when they end; and each connection is shown, when it
# is made, to a request's extension "trace" (https://www.python-httpx.org/advanced/extensions/), so that its reads and
# writes can be made to look.


class _Timeout(float):
    """The seconds that were left of a request's time when it began, which know when they end."""

    _ends_at: float

    def __new__(cls, ends_at: float) -> _Timeout:
        timeout = super().__new__(cls, ends_at - time.monotonic())
        timeout._ends_at = ends_at
        return timeout

    def left(self) -> float:
        """Return the seconds that are left now; raise ReadTimeout, by which the connection is closed, for none."""
        left = self._ends_at - time.monotonic()
        if left <= 0:
            import httpx  # noqa: PLC0415 - as in _proxies

            raise httpx.ReadTimeout(f"not done after {float(self):.3g} s")
        return left


def _watch(event: str, told: dict[str, Any]) -> None:
    """Have what is done with a new connection look at the clock, and httpcore's log say nothing of what came back.

    To be told more than of a connection takes time, which is spent where somebody reads that log. What it says of an
    event when this returns may quote a key: the words of an answer, or of an error about a header.
    """
    if event.endswith("send_request_headers.started"):
        # A request to CONNECT is to a proxy, behind which the connection goes on.
        if told["request"].method != b"CONNECT" and not _log.isEnabledFor(logging.DEBUG):
            told["request"].extensions.pop("trace", None)
    elif event.endswith(("connect_tcp.complete", "start_tls.complete")):
        _bound(told["return_value"])
    if not event.endswith(".started"):
        told.clear()


def _bound(stream: Any) -> None:
    """Have nothing on the connection take longer than what is left of its request's time."""
    read, write, start_tls = stream.read, stream.write, stream.start_tls

    def read_in_time(max_bytes: int, timeout: _Timeout | None = None) -> bytes:
        received: bytes = read(max_bytes, timeout and timeout.left())
        return received

    def write_in_time(buffer: bytes, timeout: _Timeout | None = None) -> None:
        for start in range(0, len(buffer), PIECE):  # the other side may read in drops
            write(buffer[start : start + PIECE], timeout and timeout.left())

    def start_tls_in_time(ssl_context: Any, server_hostname: Any = None, timeout: _Timeout | None = None) -> Any:
        return start_tls(ssl_context, server_hostname, timeout and timeout.left())

    stream.read, stream.write, stream.start_tls = read_in_time, write_in_time, start_tls_in_time


def _proxies() -> dict[str, str]:
    """Return scheme → the proxy that the environment names for it; import what it takes to send."""
    with importing:
        from urllib.request import getproxies  # noqa: PLC0415 - as below

        import httpx  # noqa: F401, PLC0415 - it costs 100 ms, and not everybody sends

        codecs.lookup("idna")  # which looking up a host's address imports
    named = {scheme: address for scheme, address in getproxies().items() if scheme in PROXIED}
    return {scheme: address if "://" in address else f"http://{address}" for scheme, address in named.items()}


def _proxy_for(url: httpx.URL, proxies: Mapping[str, str]) -> str | None:
    """Return the proxy through which the environment has a URL reached; None where it is reached directly."""
    from urllib.request import proxy_bypass  # noqa: PLC0415 - as in _proxies

    return None if proxy_bypass(url.host) else proxies.get(url.scheme, proxies.get("all"))


def _new_connection(proxy: str | None) -> httpx.HTTPTransport:
    """Return what sends: a bare transport, for a client's cookies, redirects and the like take a tenth of the time.

    And a client tells the application's log of each request, with words of the service's.
    """
    import httpx  # noqa: PLC0415 - as in _proxies

    with importing:  # which the making of one does
        if proxy is None:
            return httpx.HTTPTransport(verify=_tls_context())
        with contextlib.suppress(Exception):  # whose words may quote the proxy's password
            return httpx.HTTPTransport(verify=_tls_context(), proxy=httpx.Proxy(proxy))
    raise TransportError("the proxy that the environment names cannot be used: correct HTTPS_PROXY or its like")


@functools.cache
def _tls_context() -> ssl.SSLContext:
    """Return the TLS settings of all connections: to read the certificates takes 20 ms."""
    import httpx  # noqa: PLC0415 - as in _proxies

    return httpx.create_ssl_context()
