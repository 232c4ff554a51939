"""Hooks: methods of a client with thumbprint around them, told from what others put there, and taken off again."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import wrapt

from .._log import warn
from ..errors import UnsupportedClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ._recorder import Recorder

Recording: TypeAlias = "Callable[[], Recorder | None]"
"""Tells, at each call, who records it; None where capture is off."""

Wrapper: TypeAlias = "Callable[[Any, Any, tuple[Any, ...], dict[str, Any]], Any]"

REDUCER: Final = "__reduce_ex__"  # what `copy` and `pickle` ask an object for

HOOKED: Final = (
    # of SDK clients
    "_build_request",
    "_process_response",
    "_process_response_data",
    "_make_status_error_from_response",
    "copy",
    "with_options",
    # of HTTP clients
    "build_request",
    "send",
    # of both
    REDUCER,
)
"""The methods that hooks may stand on."""

_NEW: Final[Any] = object().__reduce_ex__(4)[0]  # makes the copies of objects whose class does not say otherwise

MOST_WRAPPERS: Final = 100  # around one method; a chain that is longer goes in a circle

if TYPE_CHECKING:
    _FunctionWrapper = wrapt.FunctionWrapper[Any, Any]
else:
    _FunctionWrapper = wrapt.FunctionWrapper  # before wrapt 2.1 it takes no type parameters


class Switch:
    """Tells who records a client's call; off, nobody: hooks that another library wrapped can only be switched off."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.on = True

    def __call__(self, client: Any) -> Recorder | None:  # noqa: ARG002 - a client's own hooks are for no other
        return self.recording() if self.on else None


class Hook(_FunctionWrapper):
    """A method with thumbprint around it, told from other libraries' wrappers by its type."""

    def __init__(self, method: Any, wrapper: Wrapper, switch: Switch, *, hides_class: bool = False) -> None:
        super().__init__(method, wrapper)
        # wrapt keeps names that begin so on the wrapper itself.
        self._self_switch = switch
        self._self_hides_class = hides_class  # whether to remove it uncovers the method of the client's class

    @property
    def switch(self) -> Switch:
        """Who switches it off."""
        return self._self_switch

    @property
    def hides_class(self) -> bool:
        """Whether it stands on a client object before the method of its class."""
        return self._self_hides_class


def put_on(client: Any, recording: Recording, hooks_for: Callable[[Switch], Mapping[str, Wrapper]]) -> None:
    """Put hooks around those of the methods that the client has; where there are some, change who records only.

    Raises UnsupportedClientError for an object that takes no attributes; it is then left as it was.
    """
    switches = own_switches(client)
    for switch in switches:
        switch.recording = recording
    if not switches:
        _hook(client, Switch(recording), hooks_for)


def _hook(client: Any, switch: Switch, hooks_for: Callable[[Switch], Mapping[str, Wrapper]]) -> None:
    try:
        for name, wrapper in hooks_for(switch).items():
            method = getattr(client, name, None)
            if method is not None:
                hides_class = name not in own_attributes(client)
                setattr(client, name, Hook(method, wrapper, switch, hides_class=hides_class))
    except (AttributeError, TypeError) as error:
        switch.on = False
        take_off(client)
        kind = type(client).__qualname__
        raise UnsupportedClientError(f"an object of type {kind} takes no hooks: {error}") from error


def take_off(client: Any) -> None:
    """Take the hooks that are off from the outside of a client's methods, and put back what stood there before."""
    for name, hook in list(own_attributes(client).items()):
        if isinstance(hook, Hook) and not hook.switch.on:
            if hook.hides_class:
                delattr(client, name)
            else:
                setattr(client, name, hook.__wrapped__)


def own_attributes(client: Any) -> dict[str, Any]:
    """Return what stands on the object itself and not on its class."""
    found = getattr(client, "__dict__", None)
    return found if isinstance(found, dict) else {}


def own_switches(client: Any) -> list[Switch]:
    """Return the switches that are on among the hooks on the client itself, also those that others wrapped."""
    attributes = own_attributes(client)
    return [switch for name in HOOKED if name in attributes for switch in switches(attributes[name]) if switch.on]


def switches(method: Any) -> Iterator[Switch]:
    """Yield the switches of the hooks in a chain of wrappers, the outermost first."""
    for _ in range(MOST_WRAPPERS):
        if isinstance(method, Hook):
            yield method.switch
        method = getattr(method, "__wrapped__", None)
        if method is None:
            return


def copying(switch: Switch, capture: Callable[[Any, Recording], None]) -> Wrapper:
    """Return the wrapper of what copies are made with: hooks are bound to their client, and stay with it.

    A copy (`copy.copy`) of a client gets hooks of its own, put on by `capture`; what is unpickled has none.
    """

    def reduce_ex(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        match wrapped(*args, **kwargs):
            case (make, arguments, state, *rest):
                if make is _NEW and switch.on:
                    make = _Capturing(capture, switch.recording)
                return make, arguments, _without_hooks(state), *rest
            case reduced:  # to a name, or to nothing that holds hooks
                return reduced

    return reduce_ex


def capture_copy(copy: Any, recording: Recording, capture: Callable[[Any, Recording], None]) -> None:
    """Put hooks on a client's copy; where it takes none, a line in the log tells so, and it is as it was."""
    try:
        capture(copy, recording)
    except Exception:
        warn("capture a copy", "the calls of a client's copy are not captured", exc_info=True)


class _Capturing:
    """Makes an object as `copy` does, with hooks on it; pickled, it makes one without."""

    def __init__(self, capture: Callable[[Any, Recording], None], recording: Recording) -> None:
        self._capture = capture
        self._recording = recording

    def __call__(self, *arguments: Any) -> Any:
        made = _NEW(*arguments)
        capture_copy(made, self._recording, self._capture)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (_NEW,)  # who unpickles it may have no thumbprint


def _without_hooks(state: Any) -> Any:
    """Return what `copy` would give a copy: its attributes, by name, perhaps with those in slots beside them."""
    if type(state) is tuple:
        return tuple(_without_hooks(each) for each in state)
    if not isinstance(state, dict):
        return state
    kept: dict[str, Any] = {}
    for name, value in state.items():
        found = value
        while isinstance(found, Hook) and not found.hides_class:
            found = found.__wrapped__
        if not isinstance(found, Hook):
            kept[name] = found
    return kept
