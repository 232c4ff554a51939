"""Settings: arguments first, then the environment. The only reader of the environment."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, Literal, TypeVar, get_args

from ._log import warn
from ._model import Baggage
from ._secrets import Concealed
from ._token import Keys
from .backends import Backend, Braintrust, Carried, Cloudflare, Emitting, Logging, OpenTelemetry
from .delivery import EXPIRE_AFTER
from .errors import ConfigurationError, StoreError
from .stores import BufferedStore, MemoryStore, Pace, RedisStore, SqliteStore, Store

DISABLED: Final = "THUMBPRINT_DISABLED"
STORE: Final = "THUMBPRINT_STORE"
DELIVERY: Final = "THUMBPRINT_DELIVERY"
FALLBACK: Final = "THUMBPRINT_FALLBACK"
EXPIRY: Final = "THUMBPRINT_EXPIRE_AFTER"
BAGGAGE: Final = "THUMBPRINT_BAGGAGE"
SECRET: Final = "THUMBPRINT_SECRET"  # noqa: S105 - its name

MIN_SECRET_BYTES: Final = 16
MAKE_SECRET: Final = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'  # noqa: S105 - how to make one

MEMORY: Final = "memory://"
SQLITE: Final = "sqlite:///"
REDIS: Final = ("redis://", "rediss://", "unix://")

WITHOUT_THREADS: Final = frozenset({"emscripten", "wasi"})  # platforms, such as Pyodide's

Delivery = Literal["background", "inline", "none"]
Fallback = Literal["memory"]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})

BACKENDS: Final = (Cloudflare, Braintrust)
PLUGINS: Final = "thumbprint.backends"

BackendT = TypeVar("BackendT", bound=Backend | Emitting)


class _Environment(Mapping[str, str]):
    """The environment, in no repr: what shows a traceback's locals is not to show the keys that are in it."""

    def __getitem__(self, name: str) -> str:
        return os.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)


ENVIRONMENT: Final = _Environment()


def concealed(secret: Any) -> Any:
    """Return a secret such that no repr shows it; of what is no string, only its type. Twice does nothing more."""
    if isinstance(secret, str):
        return Concealed(secret)
    return secret if secret is None or isinstance(secret, type) else type(secret)


def concealed_url(store: Any) -> Any:
    """Return a store's URL, which may have a password in it, such that no repr shows it; a store as it is."""
    return Concealed(store) if isinstance(store, str) else store


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, read and checked."""

    backends: Mapping[str, Backend]
    emitting: Mapping[str, Emitting]
    store: Store
    delivery: Delivery
    expire_after: float
    baggage: Baggage | None
    disabled: bool
    keys: Keys | None


def settings_from(
    *,
    backends: Sequence[Backend | Emitting] | None = None,
    store: Store | str | None = None,
    delivery: str | None = None,
    expire_after: float | None = None,
    fallback: str | None = None,
    baggage: str | None = None,
    disabled: bool | None = None,
    secret: str | None = None,
    environ: Mapping[str, str] = ENVIRONMENT,
) -> Settings:
    """Return the settings that the arguments give, completed from the environment.

    Raises ConfigurationError, naming the setting and its value, for what cannot be used; StoreError for a file that
    cannot be opened.
    """
    known = _known_from(backends, environ)
    chosen, mode = store_from(store, environ), delivery_from(delivery, environ)
    off = disabled_from(disabled, environ)
    if not off:
        check_delivered(chosen, mode)
        check_carried(known.values(), mode)
        check_logging(known.values())
    usable = _usable(chosen, fallback=fallback_from(fallback, environ))
    return Settings(
        backends=_delivered_to(known),
        emitting={name: backend for name, backend in known.items() if isinstance(backend, Emitting)},
        expire_after=expire_after_from(expire_after, environ),
        store=usable,
        delivery="background" if mode == "none" and _only_here(usable, chosen) else mode,
        baggage=baggage_from(baggage, environ),
        disabled=off,
        keys=keys_from(secret, environ) or (_passing_keys() if off else None),
    )


def backends_from(environ: Mapping[str, str] = ENVIRONMENT) -> dict[str, Backend]:
    """Return name → backend of all that are known and delivered to, completed from the environment.

    Raises ConfigurationError for what cannot be used.
    """
    return _delivered_to(_known_from(None, environ))


def _delivered_to(known: Mapping[str, Backend | Emitting]) -> dict[str, Backend]:
    return {name: backend for name, backend in known.items() if not isinstance(backend, Emitting)}


def _known_from(
    backends: Sequence[Backend | Emitting] | None, environ: Mapping[str, str]
) -> dict[str, Backend | Emitting]:
    """Return name → backend of those that are given, or else of all that are known, completed from the environment."""
    if backends is None:
        backends = [*default_backends(), OpenTelemetry(spans=False)]
    elif not isinstance(backends, Iterable):
        raise ConfigurationError(f"backends: give a list of them, not {_described(backends)}")
    ready = [completed(backend, environ) for backend in backends]
    names = [backend.name for backend in ready]
    if len(set(names)) < len(names):
        raise ConfigurationError(f"backends: each may be given once, got {', '.join(names)}")
    return dict(zip(names, ready, strict=True))


def default_backends() -> list[Backend]:
    """Return the backends that are known where none are given, still without what the environment says.

    Our own, and those of installed packages that have an entry point in the group `thumbprint.backends`: a class, or
    what gives a backend when it is called. One that cannot be used, or whose name is taken, is told of and left out.
    """
    found: dict[str, Backend] = {kind.name: kind() for kind in BACKENDS}
    for plugin in sorted(entry_points(group=PLUGINS), key=lambda plugin: plugin.name):
        try:
            backend: Backend = plugin.load()()
            completed(backend, {})
            if backend.name in (*found, OpenTelemetry.name):
                raise ConfigurationError(f"there is a backend of the name {backend.name!r} already")  # noqa: TRY301
            found[backend.name] = backend
        except Exception:  # somebody else's code
            warn(f"plugin {plugin.name}", "%s cannot be used, and is left out", _named(plugin), exc_info=True)
    return list(found.values())


def _named(plugin: EntryPoint) -> str:
    package = f" of the package {plugin.dist.name}" if plugin.dist else ""
    return f"the backend {plugin.name!r}{package} ({plugin.value})"


def completed(backend: BackendT, environ: Mapping[str, str] = ENVIRONMENT) -> BackendT:
    """Return the backend with those of its settings that are None filled in from the environment."""
    if isinstance(backend, type) or not isinstance(getattr(backend, "environment", None), Mapping):
        raise ConfigurationError(
            f"backends: {_described(backend)} is none; give instances, such as Cloudflare() or Braintrust(api_url=…)"
        )
    found = _found(backend, environ)
    ready: BackendT = dataclasses.replace(backend, **found) if found else backend  # type: ignore[type-var]
    if not isinstance(ready, Emitting):
        _check_limits(ready)
    return ready


def _found(backend: Any, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that the environment has and the backend has not; what is in no repr of its is concealed."""
    named = {setting: name for setting, name in backend.environment.items() if getattr(backend, setting) is None}
    found = {setting: value for setting, name in named.items() if (value := environ.get(name, "").strip())}
    shown = {spec.name for spec in dataclasses.fields(backend) if spec.repr} if found else set()
    return {setting: value if setting in shown else Concealed(value) for setting, value in found.items()}


def _check_limits(backend: Backend) -> None:
    """Raise ConfigurationError for limits of a backend that its delivery could not keep."""
    for name in ("batch_size", "concurrency"):
        number = getattr(backend, name, None)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ConfigurationError(f"backends: {name} of {backend.name!r} is {number!a:.40}: give a number from 1 on")
    pace = backend.pace
    if pace is not None and not (
        isinstance(pace, Pace) and 0 < pace.rate < float("inf") and 1 <= pace.burst < float("inf")
    ):
        raise ConfigurationError(
            f"backends: pace of {backend.name!r} is {pace!a:.80}: give a Pace of more than 0 requests a second, "
            "and 1 at once or more, or None"
        )


def _described(value: object) -> str:
    """Say what it is without showing it: it may hold a key."""
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"


def _usable(store: Store, *, fallback: bool) -> Store:
    """Return the store, opened where it is a file; with a fallback one that may be away."""
    if isinstance(store, SqliteStore):
        try:
            store.open()
        except StoreError as error:
            if not fallback:
                raise
            warn("fallback", "references and feedback are kept in memory only: %s", error)
            return MemoryStore()
    return BufferedStore(store) if fallback and store.shared else store


def _only_here(usable: Store, chosen: Store) -> bool:
    """Whether memory has taken the place of a store that others could deliver from."""
    return usable is not chosen and not usable.shared


def store_from(store: Store | str | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> Store:
    """Return the store that is given, as one or by its URL, or else that of the environment.

    Raises ConfigurationError for what cannot be used.
    """
    store = concealed_url(environ.get(STORE) or "memory://" if store is None else store)
    if not isinstance(store, str):
        if not callable(getattr(store, "put", None)):
            raise ConfigurationError(f"store: an object of type {type(store).__name__} is neither a URL nor a store")
        return store
    if "\0" in store:
        raise ConfigurationError(f"{STORE} (store=…) has a NUL character, which no path and no host has")
    if store == MEMORY:
        return MemoryStore()
    if store.startswith(SQLITE) and store != SQLITE:
        return SqliteStore(store.removeprefix(SQLITE))  # sqlite:///relative, sqlite:////absolute
    if store.startswith(REDIS) and store not in REDIS:
        return RedisStore(store)
    raise ConfigurationError(
        f"{STORE} (store=…) is {_scheme(store)}: give memory://, sqlite:///PATH or redis://HOST:PORT/DATABASE"
    )


def delivery_from(mode: str | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> Delivery:
    """Return the way of delivery that is given or in the environment; raise ConfigurationError for another."""
    if mode is None:
        mode = environ.get(DELIVERY) or ("inline" if sys.platform in WITHOUT_THREADS else "background")
    for known in get_args(Delivery):
        if mode == known:
            return known  # type: ignore[no-any-return]
    raise ConfigurationError(f"{DELIVERY} (delivery=…) is {mode!a:.40}: say background, inline or none")


def baggage_from(told: str | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> Baggage | None:
    """Return what is done with scope ids in baggage, as is given or else in the environment; None: nothing."""
    if told is None:
        told = environ.get(BAGGAGE) or None
    if told not in (None, *get_args(Baggage)):
        raise ConfigurationError(f"{BAGGAGE} (baggage=…) is {told!a:.40}: say send, accept or both, or leave it out")
    return told  # type: ignore[return-value]


def fallback_from(told: str | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> bool:
    """Return whether to go on without a store that cannot be used, as is given or else in the environment."""
    if told is None:
        told = environ.get(FALLBACK) or None
    if told not in {None, *get_args(Fallback)}:
        raise ConfigurationError(f"{FALLBACK} (fallback=…) is {told!a:.40}: say memory, or leave it out")
    return told is not None


def check_delivered(store: Store, delivery: Delivery) -> None:
    """Raise ConfigurationError where nobody could ever deliver what the store holds."""
    if delivery == "none" and not store.shared:
        raise ConfigurationError(
            f"{DELIVERY} (delivery=…) is none, but nobody else can deliver what is in the memory of this process: set "
            f"{STORE} (store=…) to what a `thumbprint worker` can share, sqlite:///PATH or redis://…, or {DELIVERY} to "
            "background"
        )


def check_carried(backends: Iterable[Backend | Emitting], delivery: Delivery) -> None:
    """Raise ConfigurationError where a backend that is awaited would have to be delivered to by threads."""
    for backend in backends:
        if isinstance(backend, Carried) and delivery == "background":
            raise ConfigurationError(
                f"{DELIVERY} (delivery=…) is background, but requests to {backend.name!r} are awaited: say inline"
            )


def check_logging(backends: Iterable[Backend | Emitting]) -> None:
    """Raise ConfigurationError where a backend shall log calls, and is not told where."""
    for backend in backends:
        if isinstance(backend, Logging):
            backend.check_logging()


def expire_after_from(given: float | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> float:
    """Return the seconds for which feedback is tried, as given, else as in the environment, else 72 hours.

    Raises ConfigurationError for what is no positive and finite number.
    """
    told: object = given
    if given is None:
        told = _number(environ.get(EXPIRY, "").strip() or str(EXPIRE_AFTER))
    if isinstance(told, bool) or not isinstance(told, (int, float)) or not 0 < told <= sys.float_info.max:
        raise ConfigurationError(
            f"{EXPIRY} (expire_after=…) is {told!a:.40}: give the seconds for which feedback is tried, more than 0"
        )
    return float(told)


def keys_from(secret: str | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> Keys | None:
    """Return the keys that the secrets give, as given or else in the environment; None where there are none.

    Raises ConfigurationError, which shows none of them, for what is no secret.
    """
    secret = concealed(secret)
    if secret is None:
        secret = concealed(environ.get(SECRET, "").strip() or None)
        if secret is None:
            return None
    if isinstance(secret, type):
        raise ConfigurationError(f"{SECRET} (secret=…) is of type {secret.__name__}: it takes a string")
    parts = [Concealed(part.strip()) for part in secret.split(",")]
    for number, part in enumerate(parts, 1):
        _check_secret(part, f"{SECRET} (secret=…)" if len(parts) == 1 else f"{SECRET} (secret=…), part {number}")
    return Keys(parts)


def _passing_keys() -> Keys:
    """Return keys for tokens that nobody is going to verify."""
    return Keys([os.urandom(MIN_SECRET_BYTES).hex()])


def _check_secret(secret: str, name: str) -> None:
    length = len(secret.encode("utf-8", "surrogatepass"))
    if length < MIN_SECRET_BYTES:
        found = f"only {length} bytes long" if length else "empty"
        raise ConfigurationError(f"{name} is {found}, less than {MIN_SECRET_BYTES} bytes; make one with {MAKE_SECRET}")


def _number(text: str) -> float | str:
    """Return the number that a text is; the text where it is none."""
    try:
        return float(text)
    except ValueError:
        return text


def _scheme(url: str) -> str:
    """Say of a store's URL as much as may be shown: it can hold a password."""
    scheme, separator, _ = url.partition("://")
    return f"{f'{scheme:.30}://…'!r}" if separator else "not a URL"


def disabled_from(given: bool | None = None, environ: Mapping[str, str] = ENVIRONMENT) -> bool:
    """Return whether thumbprint is switched off, as is given or else in the environment."""
    if given is None:
        return _switch(DISABLED, environ.get(DISABLED, ""))
    if not isinstance(given, bool):
        raise ConfigurationError(f"disabled={given!a:.40} is of type {type(given).__name__}: say True or False")
    return given


def reach_loopback_directly() -> None:
    """Keep this process's HTTP clients from sending what is for this machine through a proxy of the environment's."""
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))


def _switch(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ConfigurationError(f"{name} is {text!r}: say 1, true, yes or on; 0, false, no, off or nothing")
