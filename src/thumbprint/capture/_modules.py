"""Modules as they are imported: whoever watches for a name is told of each module that bears it, once it is loaded.

The modules of SDKs are known by the ends of their names alone, so nobody can wait for them by name. A finder at the
head of `sys.meta_path` sees each name that is imported. It finds nothing by itself: it has the finders behind it look,
as if it were not there, and lets the loader that they found tell when it is done. Only names that are watched for cost
anything. A module that is reloaded, or imported anew, is told of again.
"""

from __future__ import annotations

import contextlib
import sys
from importlib.util import LazyLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec

    _ObjectProxy = wrapt.ObjectProxy[Any]
else:
    _ObjectProxy = wrapt.ObjectProxy


class ModuleWatch:
    """Tells of modules whose names end in a suffix: of those that are there, and of each that is loaded later.

    What is told to raises nothing, and may be told of a module more than once.
    """

    def __init__(self, suffix: str, tell: Callable[[ModuleType], None]) -> None:
        self._suffix = suffix
        self._tell = tell
        self._unfinished: list[ModuleType] = []

    def start(self) -> None:
        """Tell of the modules that are there, and watch from now on."""
        sys.meta_path.insert(0, self)
        for name, module in sys.modules.copy().items():
            if name.endswith(self._suffix) and isinstance(module, ModuleType):
                self._look_at(module)

    def stop(self) -> None:
        """Watch no more. What is being imported just now may still be told of."""
        with contextlib.suppress(ValueError):  # somebody took it out
            sys.meta_path.remove(self)
        self._unfinished = []

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the finders behind this one find, with a loader that tells; None for any other name."""
        if self._unfinished:
            self._look_again()
        if not name.endswith(self._suffix):
            return None
        spec = _found_behind(self, name, path, target)
        if spec is not None:
            self._have_told(spec)
        return spec

    def _look_at(self, module: ModuleType) -> None:
        """Tell of a module that is there: now, or where it is not loaded yet as soon as it is."""
        spec: ModuleSpec | None = _attributes(module).get("__spec__")
        if spec is None:
            self._tell(module)
        elif type(module).__getattribute__ is not ModuleType.__getattribute__:  # it loads when it is touched
            self._have_told(spec)
        elif getattr(spec, "_initializing", False):  # another thread is importing it
            self._unfinished.append(module)
        else:
            self._tell(module)

    def _look_again(self) -> None:
        """Look at the modules once more that were being imported; it is asked at the next import of anything."""
        unfinished, self._unfinished = self._unfinished, []
        for module in unfinished:
            self._look_at(module)

    def _have_told(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        if isinstance(loader, LazyLoader):
            loader.loader = _TellingLoader(loader.loader, self._tell)  # type: ignore[attr-defined]
        elif hasattr(loader, "exec_module"):
            spec.loader = _TellingLoader(loader, self._tell)  # type: ignore[assignment]


class _TellingLoader(_ObjectProxy):
    """A loader that tells of the module that it has loaded, and then leaves the module to the loader it stands for."""

    def __init__(self, loader: Any, tell: Callable[[ModuleType], None]) -> None:
        super().__init__(loader)
        self._self_tell = tell  # wrapt keeps names that begin so on the proxy itself

    def exec_module(self, module: ModuleType) -> None:
        """Load the module, and tell of it."""
        attributes = _attributes(module)
        if attributes.get("__loader__") is self:
            attributes["__loader__"] = self.__wrapped__
        spec = attributes.get("__spec__")
        if spec is not None and spec.loader is self:
            spec.loader = self.__wrapped__
        self.__wrapped__.exec_module(module)
        self._self_tell(module)


def _attributes(module: ModuleType) -> dict[str, Any]:
    """Return a module's attributes without waking one that loads when it is touched."""
    found: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return found


def _found_behind(
    watch: ModuleWatch, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    finders = list(sys.meta_path)
    behind = finders[finders.index(watch) + 1 :] if watch in finders else []
    for finder in behind:
        find_spec = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = find_spec(name, path, target) if find_spec is not None else None
        if spec is not None:
            return spec
    return None
