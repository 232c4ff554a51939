"""`instrument` and `uninstrument`: hooks on the classes that all clients of an SDK inherit from."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

import wrapt

from .._log import warn
from ._hooks import Hook, Switch, own_attributes, own_switches, switches
from ._modules import ModuleWatch
from ._sdk import BASE_MODULE, REQUIRED, base_classes, lacking, method_hooks

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ._hooks import Recording
    from ._recorder import Recorder

# SDKs that serve models and nothing else: any call of theirs is one to feed back on. The same generator also made SDKs
# of quite other services, so an answer of any other SDK has to bear the id of a log entry.
SDKS_OF_MODELS: Final = frozenset({"openai", "anthropic", "groq"})


class _ClassSwitch(Switch):
    """The switch of hooks on classes: a client that was wrapped for itself is left to the hooks of its own."""

    def __call__(self, client: Any) -> Recorder | None:
        if REQUIRED[0] in own_attributes(client) and own_switches(client):
            return None
        return super().__call__(client)


class Instrumentation:
    """The hooks on the classes that all clients share, put on as soon as an SDK is imported, and taken off again.

    No SDK is imported for it. `recording` is asked at each call.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._switch: Switch | None = None
        self._hooked: weakref.WeakSet[type] = weakref.WeakSet()
        self._lock = threading.RLock()
        self._watch = ModuleWatch(f".{BASE_MODULE}", self._loaded)

    def instrument(self) -> None:
        """Put the hooks on; does nothing where they are on."""
        with self._lock:
            if self._switch is None:
                self._switch = _ClassSwitch(self._recording)
                self._watch.start()

    def uninstrument(self) -> None:
        """Take the hooks off; does nothing where they are not on."""
        with self._lock:
            if self._switch is None:
                return
            self._watch.stop()
            self._switch.on = False
            self._switch = None
            for owner in self._hooked:
                for name, value in list(vars(owner).items()):
                    _take_off_class(owner, name, value)
            self._hooked.clear()

    def _loaded(self, module: ModuleType) -> None:
        """Put hooks on the classes of a module that was imported just now; a fault does not harm the import."""
        try:
            with self._lock:
                if self._switch is not None:
                    self._hooked.update(_hook_module(module, self._switch))
        except Exception:
            warn(f"instrument {module.__name__}", "the calls of %s are not captured", module.__name__, exc_info=True)


def when_imported(callback: Callable[[], None]) -> None:
    """Have the callback called when the openai package is imported; at once where it is already."""
    wrapt.register_post_import_hook(lambda _: callback(), f"openai.{BASE_MODULE}")


def _hook_module(module: ModuleType, switch: Switch) -> list[type]:
    """Put hooks on the base classes in a module, and return these; none where it is of no SDK of the kind."""
    owners = base_classes(module)
    missing = lacking(owners) if owners else ()
    if missing:
        warn(
            f"instrument {module.__name__}",
            "%s lacks %s, where thumbprint captures calls: its calls are not captured",
            module.__name__,
            " and ".join(missing),
        )
        return []
    hooks = method_hooks(switch, only_by_id=module.__name__.partition(".")[0] not in SDKS_OF_MODELS)
    for owner in owners:
        for name in hooks.keys() & vars(owner).keys():
            method = vars(owner)[name]
            if switch not in switches(method):
                setattr(owner, name, Hook(method, hooks[name], switch))
    return owners


def _take_off_class(owner: type, name: str, value: Any) -> None:
    """Take the hooks that are off from the outside of a class's method."""
    method = value
    while isinstance(method, Hook) and not method.switch.on:
        method = method.__wrapped__
    if method is not value:
        setattr(owner, name, method)
