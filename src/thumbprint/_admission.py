"""What can be said of feedback for a log entry before it is sent, by the backends that are configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import _events
from ._metrics import count
from .delivery import Told
from .errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._model import Feedback, LogRef
    from .backends import Backend, Emitting


class Admission:
    """Knows the backends by name: those that feedback is delivered to, and those that are told of it by events."""

    def __init__(self, backends: Mapping[str, Backend], emitting: Mapping[str, Emitting]) -> None:
        self._backends = backends
        self._emitting = emitting

    def backend_of(self, ref: LogRef) -> Backend | Emitting:
        """Return the backend of a log entry; raise ConfigurationError where nothing can be delivered to it."""
        backend = self._backends.get(ref.backend) or self._emitting.get(ref.backend)
        if backend is None:
            known = ", ".join(sorted({*self._backends, *self._emitting})) or "none"
            raise ConfigurationError(f"no backend named {ref.backend!r} is configured for {ref}; known: {known}")
        backend.check(ref)
        return backend

    def told(self, refs: Sequence[LogRef], feedback: Feedback) -> dict[int, Told] | None:
        """Return what there is to tell at once, by the place of the ref; the others, or where None all, are queued.

        Raises ConfigurationError where to one of them nothing can be delivered.
        """
        told: dict[int, Told] | None = None
        for place, ref in enumerate(refs):
            news = self._told(ref, feedback)
            if news is not None:
                told = {**(told or {}), place: news}
        return told

    def _told(self, ref: LogRef, feedback: Feedback) -> Told | None:
        """Return what there is to tell of one; it is dropped where its service can hold nothing of the feedback."""
        backend = self.backend_of(ref)
        unsupported = backend.unsupported(feedback)
        if not unsupported and backend.name not in self._emitting:
            return None
        if feedback.said() <= set(unsupported):
            count("dropped", backend.name)
            reason = f"{backend.name} can hold none of {', '.join(unsupported)}"
            return Told(status="dropped", reason=reason, unsupported=unsupported)
        if backend.name in self._emitting:
            return _told_by_events(backend.name, unsupported)
        return Told(unsupported=unsupported)

    def emit(self, refs: Sequence[LogRef], feedback: Feedback) -> None:
        """Tell OpenTelemetry of the feedback, whichever services keep the entries, where anybody hears it."""
        if self._emitting and _events.heard():
            for emitting in self._emitting.values():
                _events.emit(emitting.events(refs, feedback))


def _told_by_events(name: str, unsupported: tuple[str, ...]) -> Told:
    """Return what becomes of feedback for what only events go to, which are emitted as soon as it is recorded."""
    if _events.heard():
        count("delivered", name)
        return Told("delivered", None, 1, unsupported)
    count("dropped", name)
    return Told("dropped", "this process has set up no OpenTelemetry logger provider", 0, unsupported)
