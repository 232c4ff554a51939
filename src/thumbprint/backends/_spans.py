"""The spans of Braintrust's own SDK, read as they lie in memory; the SDK is never imported.

Nor is it asked for a span's `export()`, which may go to the network for the id of an experiment, and switches a cache
off. What is read here holds from version 0.0.180 to 0.48.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from ._slug import OBJECT_TYPES, Slug

SDK: Final = "braintrust"


def in_use() -> bool:
    """Whether the application has imported the SDK, to the end."""
    return hasattr(sys.modules.get(SDK), "current_span")


def current_span() -> Any:
    """Return the SDK's current span; None where there is none."""
    span = sys.modules[SDK].current_span()
    return None if stands_for_none(span) else span


def stands_for_none(span: object) -> bool:
    """Whether this is what the SDK gives where it has no span: without a logger, an experiment or a current span."""
    return in_use() and span is sys.modules[SDK].NOOP_SPAN


def write_rows() -> None:
    """Have the SDK write what it holds of its spans, and wait until it has."""
    sys.modules[SDK].flush()


def read_span(span: Any) -> Slug | None:
    """Return what a span of the SDK's says of its row, as its slug would; None for what is no such span.

    The id of a project that is not known yet is left out beside its name. Raises ValueError where nothing tells yet
    where the row is.
    """
    if type(span).__module__.partition(".")[0] != SDK:
        return None
    home = getattr(span, "parent_object_id", None)
    if home is None:  # something else of the SDK's, such as an experiment
        return None
    logger = span.parent_compute_object_metadata_args or {}
    slug = Slug(
        version=3,
        object_type=OBJECT_TYPES[getattr(span.parent_object_type, "value", span.parent_object_type)],  # an enum, mostly
        object_id=home.value or logger.get("project_id"),
        project_name=logger.get("project_name"),
        row_id=span.id,
    )
    if not (slug.object_id or slug.project_name):
        raise ValueError("the SDK does not know yet where the span's row is: flush it first")
    return slug
