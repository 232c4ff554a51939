"""What an SDK of the service's own has yet to write: that comes before feedback for it, or would take its place."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Final

from .._log import warn
from .._scope import run_untraced

if TYPE_CHECKING:
    from ..backends import Spanning

PATIENCE: Final = 5.0  # seconds that feedback waits for the SDK
_overdue: dict[str, threading.Thread] = {}  # by backend: who still waits for an SDK that took longer than that


def have_rows_written(backend: Spanning) -> None:
    """Have the SDK of the backend's service write its rows, and wait for it, but not for long; raises nothing.

    In a child process an SDK may wait for its parent's threads without end: then nobody waits for it again.
    """
    overdue = _overdue.get(backend.name)
    if overdue is not None and overdue.is_alive():
        return
    writing = threading.Thread(
        target=functools.partial(run_untraced, functools.partial(_write, backend)),
        name=f"thumbprint-{backend.name}-rows",
        daemon=True,
    )
    try:
        writing.start()
    except RuntimeError:  # the interpreter is shutting down, and no thread can be started any more
        _write(backend)
        return
    writing.join(PATIENCE)
    if writing.is_alive():
        _overdue[backend.name] = writing
        warn("rows", "the SDK of %s takes long to write its rows; feedback no longer waits for them", backend.name)


def _write(backend: Spanning) -> None:
    try:
        backend.write_rows()
    except Exception as error:  # the SDK's own, which it tells of by itself
        warn("rows", "the SDK of %s could not write its rows: %s", backend.name, type(error).__name__)
