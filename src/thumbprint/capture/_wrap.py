"""`wrap` and `unwrap`: which hooks a client takes is told by its methods."""

from __future__ import annotations

import inspect
import types
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..errors import UnsupportedClientError
from . import _http, _sdk
from ._hooks import own_switches, take_off

if TYPE_CHECKING:
    from ._hooks import Recording

ClientT = TypeVar("ClientT")

_ACCEPTED: Final = (
    "wrap() takes a client object of openai, anthropic, groq or another SDK of the same kind (OpenAI, AsyncOpenAI, "
    "Anthropic, AsyncGroq, … or a subclass), the openai module itself, or an HTTP client of httpx or httpx2 (Client or "
    "AsyncClient), which may be handed to SDKs of other kinds"
)


def wrap(client: ClientT, recording: Recording) -> ClientT:
    """Put hooks on one client; return the same client.

    A client that somebody else wrapped is recorded by the latter from here on. The `openai` module stands for its
    module-level client, and an object that has a client's methods of that client, as frameworks put one around it, for
    the client. Raises UnsupportedClientError for what is no such client, or takes no hooks.
    """
    owner = _owner(client)
    if inspect.isclass(owner):
        raise UnsupportedClientError(f"{_ACCEPTED}; not the class {owner.__qualname__}: give an object of it")
    lacking = _sdk.lacking([owner])
    if not lacking:
        _sdk.capture_client(owner, recording)
    elif _is_of_sdk(owner):
        raise UnsupportedClientError(
            f"{_described(client)} is of an SDK that lacks {' and '.join(lacking)}, where calls are captured: use "
            f"another version of it, or hand it an HTTP client that was wrapped"
        )
    elif _http.is_client(owner):
        _http.capture_client(owner, recording)
    else:
        raise UnsupportedClientError(f"{_ACCEPTED}; not {_described(client)}")
    return client


def unwrap(client: ClientT, recording: Recording) -> ClientT:
    """Take off the hooks that `wrap` put on a client for this `recording`; return the same client.

    Copies that were made meanwhile keep theirs.
    """
    owner = _owner(client)
    for switch in own_switches(owner):
        if switch.recording == recording:
            switch.on = False
    take_off(owner)
    return client


def _owner(client: Any) -> Any:
    """Return the client that is meant: the one whose own methods these are."""
    if isinstance(client, types.ModuleType) and hasattr(client, "_load_client"):
        return client._load_client()  # noqa: SLF001 - it has no public name
    for name, has_all in ((_sdk.REQUIRED[0], _sdk.is_client), (_http.METHODS[0], _http.is_client)):
        if has_all(client):
            owner = getattr(getattr(client, name), "__self__", None)
            return owner if has_all(owner) and not inspect.isclass(owner) else client
    return client


def _is_of_sdk(client: Any) -> bool:
    """Whether a class of the client's is one that all clients of an SDK of the kind inherit from."""
    return any(_sdk.is_base(kind) for kind in type(client).__mro__)


def _described(client: object) -> str:
    name = getattr(client, "__name__", "")
    return f"the {type(client).__name__} {name}" if name else f"an object of type {type(client).__qualname__}"
