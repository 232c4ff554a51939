"""Hooks on SDK clients that the generator of the OpenAI SDK made.

Whatever the resource, every call of such a client passes the same few methods, and that is where it is captured:

    _build_request                     the request, before it is sent (headers are added here)
    _process_response                  once per call that succeeded, after the client's own retries
    _process_response_data             once per object that is parsed: a stream's chunks, a raw response's content
    _make_status_error_from_response   once per call that failed

`wrap` hooks them on one client object, `instrument` on the classes that all clients share. Both may be on at once:
the response carries its call from the first hook that saw it, and the second leaves it alone.
"""

from __future__ import annotations

import inspect
import threading
import types
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import wrapt

from .._log import warn
from ..errors import UnsupportedClientError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from ._recorder import Recorder

ClientT = TypeVar("ClientT")
Recording: TypeAlias = "Callable[[], Recorder | None]"
"""Tells, at each call, who records it; None where capture is off."""

SDK_MODULES: Final = ("openai._base_client",)
BASE_CLASSES: Final = ("BaseClient", "SyncAPIClient", "AsyncAPIClient")
REQUIRED: Final = ("_process_response", "_make_status_error_from_response")
COPIERS: Final = ("copy", "with_options")
HOOKED: Final = (
    "_build_request",
    "_process_response",
    "_process_response_data",
    "_make_status_error_from_response",
    *COPIERS,
)
MOST_WRAPPERS: Final = 100  # around one method; a chain that is longer goes in a circle

Wrapper: TypeAlias = "Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]"


if TYPE_CHECKING:
    _FunctionWrapper = wrapt.FunctionWrapper[Any, Any]
else:
    _FunctionWrapper = wrapt.FunctionWrapper  # before wrapt 2.1 it takes no type parameters


class _Switch:
    """Tells who records a client's call; off, nobody: hooks that another library wrapped can only be switched off."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.on = True

    def __call__(self, client: Any) -> Recorder | None:  # noqa: ARG002 - a client's own hooks are for no other
        return self.recording() if self.on else None


class _ClassSwitch(_Switch):
    """The switch of hooks on classes: a client that was wrapped for itself is left to the hooks of its own."""

    def __call__(self, client: Any) -> Recorder | None:
        return None if _own_switches(client) else super().__call__(client)


class _Hook(_FunctionWrapper):
    """A method of an SDK with thumbprint around it, told from other libraries' wrappers by its type."""

    def __init__(self, method: Any, wrapper: Wrapper, switch: _Switch, *, hides_class: bool = False) -> None:
        super().__init__(method, wrapper)
        # wrapt keeps names that begin so on the wrapper itself.
        self._self_switch = switch
        self._self_hides_class = hides_class  # whether to remove it uncovers the method of the client's class


def _hooks(switch: _Switch) -> dict[str, Wrapper]:
    """Return method name → the wrapper around it."""

    def build_request(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        request = wrapped(*args, **kwargs)
        recorder = switch(client)
        if recorder is not None:
            recorder.prepare(request)
        return request

    def process_response(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder = switch(client)
        call = None if recorder is None else recorder.begin(kwargs.get("response"))
        result = wrapped(*args, **kwargs)
        if recorder is None or call is None:
            return result
        if inspect.iscoroutine(result):
            return _finish_later(result, lambda value: recorder.finish(call, value))
        recorder.finish(call, result)
        return result

    def process_response_data(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        recorder = switch(client)
        if recorder is not None:
            recorder.parsed(kwargs.get("response"), result)
        return result

    def make_status_error(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        error = wrapped(*args, **kwargs)
        recorder = switch(client)
        if recorder is not None:
            recorder.failed(args[0] if args else kwargs.get("response"), error)
        return error

    return {
        "_build_request": build_request,
        "_process_response": process_response,
        "_process_response_data": process_response_data,
        "_make_status_error_from_response": make_status_error,
    }


async def _finish_later(coroutine: Awaitable[Any], finish: Callable[[Any], None]) -> Any:
    result = await coroutine
    finish(result)
    return result


def wrap(client: ClientT, recording: Recording) -> ClientT:
    """Put hooks on one client, and of the copies that it makes of itself; return the same client.

    A client that somebody else wrapped is recorded by the latter from here on. The `openai` module stands for its
    module-level client. Raises UnsupportedClientError for what is no such client.
    """
    owner = _module_client(client)
    if inspect.isclass(owner) or not all(callable(getattr(owner, name, None)) for name in REQUIRED):
        raise UnsupportedClientError(
            f"wrap() takes a client object of the openai package (OpenAI, AsyncOpenAI, AzureOpenAI, "
            f"AsyncAzureOpenAI or a subclass) or the openai module itself, not {_described(client)}"
        )
    switches = _own_switches(owner)
    for switch in switches:
        switch.recording = recording
    if not switches:
        _hook_client(owner, recording)
    return client


def unwrap(client: ClientT, recording: Recording) -> ClientT:
    """Take off the hooks that `wrap` put on a client for this `recording`; return the same client.

    Copies that were made meanwhile keep theirs.
    """
    owner = _module_client(client)
    for switch in _own_switches(owner):
        if switch.recording == recording:
            switch.on = False
    for name in HOOKED:
        hook = _own_attributes(owner).get(name)
        if isinstance(hook, _Hook) and not hook._self_switch.on:  # noqa: SLF001 - our own class
            _take_off(owner, name, hook)
    return client


def _hook_client(client: Any, recording: Recording) -> None:
    def copied(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        copy = wrapped(*args, **kwargs)
        return wrap(copy, switch.recording) if switch.on else copy

    switch = _Switch(recording)
    hooks = _hooks(switch) | dict.fromkeys(COPIERS, copied)
    try:
        for name in HOOKED:
            method = getattr(client, name, None)
            if method is not None:
                hides_class = name not in _own_attributes(client)
                setattr(client, name, _Hook(method, hooks[name], switch, hides_class=hides_class))
    except (AttributeError, TypeError) as error:
        unwrap(client, recording)
        raise UnsupportedClientError(f"{_described(client)} takes no hooks: {error}") from error


def _take_off(client: Any, name: str, hook: _Hook) -> None:
    """Put back what stood there before the hook: the class's own method, or what another library had set."""
    if hook._self_hides_class:  # noqa: SLF001 - our own class
        delattr(client, name)
    else:
        setattr(client, name, hook.__wrapped__)


def _own_attributes(client: Any) -> dict[str, Any]:
    found = getattr(client, "__dict__", None)
    return found if isinstance(found, dict) else {}


def _own_switches(client: Any) -> list[_Switch]:
    """Return the switches that are on among the hooks on the client itself, also those that others wrapped."""
    attributes = _own_attributes(client)
    return [switch for name in HOOKED if name in attributes for switch in _switches(attributes[name]) if switch.on]


def _switches(value: Any) -> Iterator[_Switch]:
    """Yield the switches of our hooks in a chain of wrappers, the outermost first."""
    for _ in range(MOST_WRAPPERS):
        if isinstance(value, _Hook):
            yield value._self_switch  # noqa: SLF001 - our own class
        value = getattr(value, "__wrapped__", None)
        if value is None:
            return


def _module_client(client: Any) -> Any:
    """Return the client that the `openai` module makes for its module-level calls, where that module is meant."""
    if isinstance(client, types.ModuleType) and hasattr(client, "_load_client"):
        return client._load_client()  # noqa: SLF001 - it has no public name
    return client


def _described(client: object) -> str:
    name = getattr(client, "__name__", "")
    return f"the {type(client).__name__} {name}" if name else f"an object of type {type(client).__qualname__}"


def when_imported(callback: Callable[[], None]) -> None:
    """Have the callback called when an SDK is imported; at once where one is already."""
    for name in SDK_MODULES:
        wrapt.register_post_import_hook(lambda _: callback(), name)


class Instrumentation:
    """The hooks on the classes that all clients share, put on as soon as the SDK is imported, and taken off again.

    The SDK is never imported for it. `recording` is asked at each call.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._switch: _Switch | None = None
        self._modules: list[Any] | None = None  # those imported so far; None while nobody watches for them
        self._lock = threading.RLock()

    def instrument(self) -> None:
        """Put the hooks on; does nothing where they are on."""
        with self._lock:
            if self._switch is not None:
                return
            self._switch = _ClassSwitch(self._recording)
            if self._modules is None:
                self._modules = []
                for name in SDK_MODULES:
                    wrapt.register_post_import_hook(self._imported, name)
            else:
                for module in self._modules:
                    _hook_module(module, self._switch)

    def uninstrument(self) -> None:
        """Take the hooks off; does nothing where they are not on."""
        with self._lock:
            if self._switch is None:
                return
            self._switch.on = False
            self._switch = None
            for module in self._modules or ():
                for owner in _base_classes(module):
                    for name, value in list(vars(owner).items()):
                        _take_off_class(owner, name, value)

    def _imported(self, module: Any) -> None:
        with self._lock:
            assert self._modules is not None
            self._modules.append(module)
            if self._switch is not None:
                _hook_module(module, self._switch)


def _take_off_class(owner: type, name: str, value: Any) -> None:
    """Take the hooks that are off from the outside of a class's method."""
    method = value
    while isinstance(method, _Hook) and not method._self_switch.on:  # noqa: SLF001 - our own class
        method = method.__wrapped__
    if method is not value:
        setattr(owner, name, method)


def _hook_module(module: Any, switch: _Switch) -> None:
    hooks = _hooks(switch)
    methods = [
        (owner, name, method)
        for owner in _base_classes(module)
        for name, method in vars(owner).items()
        if name in hooks
    ]
    if not {name for _, name, _ in methods}.issuperset(REQUIRED):
        warn(
            f"instrument {module.__name__}",
            "%s lacks the methods that thumbprint captures calls at (%s): its calls are not captured",
            module.__name__,
            ", ".join(REQUIRED),
        )
        return
    for owner, name, method in methods:
        setattr(owner, name, _Hook(method, hooks[name], switch))


def _base_classes(module: Any) -> list[type]:
    return [owner for name in BASE_CLASSES if (owner := getattr(module, name, None)) is not None]
