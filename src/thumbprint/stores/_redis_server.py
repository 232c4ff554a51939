"""How a Redis server is reached: its URL, connections for each process, and its faults as errors of this house.

The only importer of the package `redis`.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
import socket
import time
from collections import deque
from dataclasses import dataclass
from queue import Empty, Full
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, urlsplit

from .._fork import importing
from .._model import Finding
from .._secrets import Secrets
from ..errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ._redis_scripts import Script

TIMEOUT: Final = 2.0  # seconds for connecting, and for an answer; a URL may ask for less
MAX_CONNECTIONS: Final = 64  # of one process; a thread that finds them all in use waits for one
LOOK_EVERY: Final = 0.005  # seconds between two looks for a free one
OLDEST: Final = (6, 2)  # the version of Redis that the scripts need
REST: Final = 4  # times as long as a failure took, nothing else is tried: a server that hangs costs callers little time

# Words in what Redis says → what happened and what to do.
ADVICE: Final = {
    "maxmemory": "its memory is full; raise maxmemory, or make room",
    "read only replica": "it is a replica, which takes no writes; give the URL of its primary",
    "DB index": "it has no database of that number; correct the number in THUMBPRINT_STORE",
    "another version of thumbprint": "it is another version's; use that version, another database or another prefix",
}

_LENIENT: Final = "thumbprint.lenient"
_SETTINGS: Final = {"decode_responses": True, "encoding": "utf-8", "encoding_errors": _LENIENT}
PASSWORDS: Final = ("password", "ssl_password")
_TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")


def _be_lenient(error: UnicodeError) -> tuple[str | bytes, int]:
    """Let lone surrogates pass, and write out bytes that are no UTF-8: one damaged value must not hide the others."""
    try:
        return codecs.lookup_error("surrogatepass")(error)
    except UnicodeDecodeError:
        return codecs.lookup_error("backslashreplace")(error)


codecs.register_error(_LENIENT, _be_lenient)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)  # some releases of redis-py show a client's password
class _Opened:
    """What one process has open: the package, a client with its pool of connections, and a name for the process."""

    pid: int
    redis: Any
    client: Any
    consumer: str


class RedisServer:
    """A server that runs scripts. Connects when it is first asked to, again where it was away, anew in a child process.

    Raises ConfigurationError where the URL cannot be used, with options that it does not know for instance, and where
    the package `redis` is missing.
    """

    def __init__(self, url: str) -> None:
        self.place = place_of(url)
        self._url = url
        self._opened: _Opened | None = _open(url, self.place)
        self._rests_until = 0.0
        self._fault = ""

    @property
    def consumer(self) -> str:
        """The name of this process among the consumers of the streams."""
        return self._open().consumer

    def run(self, script: Script, key: str, *args: str | float) -> Any:
        """Return what the script answers; every fault of Redis is a StoreError from here on."""
        return self._tried(lambda opened: _answer(opened, script, key, *args))

    def findings(self) -> list[Finding]:
        """Return what the server tells of itself that an operator should know; raise StoreError where it does not."""
        return findings_of(self._tried(lambda opened: opened.client.info()), self.place)

    def _tried(self, work: Callable[[_Opened], Any]) -> Any:
        opened = self._open()
        started = time.monotonic()
        if started < self._rests_until:
            raise StoreError(f"{self._fault}; it is tried again {_when(self._rests_until - started)}")
        try:
            return work(opened)
        except Exception as error:  # whatever redis-py raises: a ValueError where another thread closes the connection
            said = f"the store {self.place!r} cannot be used: {_advice(opened.redis, error)} ({str(error).rstrip('.')})"
            said = _without_passwords(opened.client, said)
            if not isinstance(error, opened.redis.ResponseError):
                ended = time.monotonic()
                self._fault, self._rests_until = said, ended + REST * (ended - started)
        raise StoreError(said)  # out here, where it does not drag the other error along

    def close(self) -> None:
        """Close this process's connections, without a word to the server. A later use opens new ones."""
        opened, self._opened = self._opened, None
        if opened is not None and opened.pid == os.getpid():
            opened.client.connection_pool.disconnect()

    def _open(self) -> _Opened:
        """Return what this process has open.

        Without a lock, which a fork could leave locked for good: of two threads that come here first, one opens for
        nothing.
        """
        opened = self._opened
        if opened is None or opened.pid != os.getpid():
            opened = self._opened = _open(self._url, self.place)
        return opened


def findings_of(info: Mapping[str, Any], place: str) -> list[Finding]:
    """Return what INFO tells that an operator should know. Pure."""
    version = str(info.get("redis_version", "0"))
    name = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {version}"
    findings = [Finding(check="store", status="ok", found=f"{place} is {name}")]
    if _number(version) < OLDEST:
        advice = "update the server: the store needs Redis 6.2 or newer, or Valkey"
        findings = [Finding(check="store", status="problem", found=f"{place} is {name}", advice=advice)]
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found = f"when the server's memory is full it evicts keys (maxmemory-policy {policy}), feedback among them"
        advice = "set maxmemory-policy to noeviction"
        findings.append(Finding(check="store eviction", status="warning", found=found, advice=advice))
    if not info.get("aof_enabled"):
        found = "the server keeps no append-only file: what it holds can be lost when it crashes"
        advice = "set appendonly to yes, or see that the service keeps its data in another way"
        findings.append(Finding(check="store durability", status="warning", found=found, advice=advice))
    return findings


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())


def place_of(url: str) -> str:
    """Return the URL without user, password and options; raise ConfigurationError where it is none of Redis."""
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        place = _place(urlsplit(url))
        if place is not None:
            return place
    # Out here, where it does not drag along an error that quotes what stands in a password's place.
    raise ConfigurationError(
        "THUMBPRINT_STORE (store=…) is no URL of a Redis server: write redis://[user:password@]host[:port][/database], "
        "the same with rediss:// for TLS, or unix:///path?db=0; in a password, write / as %2F, @ as %40, # as %23 and "
        "? as %3F"
    )


def _place(parts: SplitResult) -> str | None:
    host, port = parts.hostname or "localhost", parts.port or 6379
    if "@" in f"{parts.path}{parts.query}" or parts.fragment:  # then the "host" may be the beginning of a password
        return None
    database = parts.path.strip("/") or "0"
    if parts.scheme == "unix" and parts.path:
        return f"unix://{parts.path}"
    if parts.scheme in {"redis", "rediss"} and database.isdecimal():
        return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}/{database}"
    return None


def _open(url: str, place: str) -> _Opened:
    """Return what is needed to connect; it connects nowhere yet."""
    try:
        with importing:
            import redis  # noqa: PLC0415 - it costs 100 ms, and only those who use the store have it

            codecs.lookup("idna")  # which looking up a host's address imports
    except ImportError:
        raise ConfigurationError(f"{place} needs the package redis: pip install thumbprint[redis]") from None
    consumer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    with contextlib.suppress(AttributeError, TypeError, ValueError):
        pool = _pool(redis, url)
        return _Opened(pid=os.getpid(), redis=redis, client=redis.Redis(connection_pool=pool), consumer=consumer)
    raise ConfigurationError(  # out here, as in place_of
        f"THUMBPRINT_STORE (store=…): {place} is no URL with options that redis-py takes: correct what stands behind "
        "its ?, or leave it out"
    )


def _pool(redis: Any, url: str) -> Any:
    asked: dict[str, Any] = redis.connection.parse_url(url)
    limits = {name: min(asked.get(name, TIMEOUT), TIMEOUT) for name in _TIMEOUTS}
    # Once more after a lost connection: an idle one may have been cut long ago. So every script may come to run twice.
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
    settings = {**asked, **limits, **_SETTINGS, "retry": retry}
    pool = redis.BlockingConnectionPool(
        max_connections=MAX_CONNECTIONS, timeout=TIMEOUT, queue_class=_FreeConnections, **settings
    )
    pool.connection_class(**pool.connection_kwargs)  # connects nowhere, but refuses options that it does not know
    return pool


class _FreeConnections:
    """What the pool keeps the connections in that nobody uses, the last one used first: a queue without a lock.

    With one, a signal handler or a finalizer that records could wait for ever for the thread that it has interrupted.
    """

    def __init__(self, maxsize: int) -> None:
        self.queue: deque[Any] = deque()
        self._most = maxsize

    def put_nowait(self, connection: Any) -> None:
        if len(self.queue) >= self._most:
            raise Full
        self.queue.append(connection)

    def get(self, block: bool, timeout: float) -> Any:  # noqa: ARG002 - the pool always asks to be blocked
        ends_at = time.monotonic() + timeout
        while True:
            with contextlib.suppress(IndexError):
                return self.queue.pop()
            if time.monotonic() >= ends_at:
                raise Empty
            time.sleep(LOOK_EVERY)


def _answer(opened: _Opened, script: Script, key: str, *args: str | float) -> Any:
    try:
        return opened.client.evalsha(script.sha, 1, key, *args)
    except opened.redis.exceptions.NoScriptError:  # a new or a restarted server, or SCRIPT FLUSH
        return opened.client.eval(script.text, 1, key, *args)


def _without_passwords(client: Any, text: str) -> str:
    """Return the text without the passwords, which a server may repeat that does not know how to log in."""
    settings = client.connection_pool.connection_kwargs
    return Secrets(*(settings.get(name) for name in PASSWORDS)).masked(text) or ""


def _advice(redis: Any, error: Exception) -> str:
    """Say what happened, and what to do about it."""
    if isinstance(error, redis.AuthenticationError):
        return "it lets nobody in like that; check the user and the password in THUMBPRINT_STORE"
    if isinstance(error, redis.BusyLoadingError):
        return "it is starting; wait for it"
    if isinstance(error, redis.ResponseError):
        otherwise = "it refuses a command; it must be Redis 6.2 or newer, or Valkey, and nobody else may use the prefix"
        return next((advice for words, advice in ADVICE.items() if words in str(error)), otherwise)
    if isinstance(error, redis.TimeoutError):
        return "it does not answer; see how it is, or correct THUMBPRINT_STORE"
    return "it cannot be reached; start it, or correct THUMBPRINT_STORE"


def _when(seconds: float) -> str:
    return "in a moment" if seconds < 1 else f"in {seconds:.0f} s"
