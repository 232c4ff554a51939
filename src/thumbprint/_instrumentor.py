"""What OpenTelemetry's zero-code start-up (`opentelemetry-instrument`) switches on, found by its entry point."""

from __future__ import annotations

from typing import Any

from . import _default


class ThumbprintInstrumentor:
    """`instrument()` and `uninstrument()` in the shape that OpenTelemetry's loader calls.

    The loader passes keyword arguments that are meant for instrumentations with options; there are none here. It is
    not a subclass of the loader's own base class, which would make its package a dependency.
    """

    def instrument(self, **_options: Any) -> None:
        """Capture the calls of all clients in this process."""
        _default.instrument()

    def uninstrument(self, **_options: Any) -> None:
        """Undo `instrument`."""
        _default.uninstrument()

    def instrumentation_dependencies(self) -> tuple[str, ...]:
        """Return nothing: it works whichever SDKs are installed."""
        return ()
