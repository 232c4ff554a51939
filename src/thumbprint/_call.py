"""One captured call, and how it rides on the objects that the application got for it.

The SDK's own objects carry the call in an underscore attribute: pydantic leaves such a name out of dumps, JSON, repr
and equality and keeps it in copies. Pickled, a call becomes plain tuples and dicts, so that a cached answer can be
read by a process that has no thumbprint installed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from ._model import LogRef

if TYPE_CHECKING:
    from collections.abc import Iterable

ATTRIBUTE: Final = "_thumbprint"


class Call:
    """The log entries that one call became: one, or two where one gateway stands behind another.

    `refs` are replaced once, when the answer tells its response id (a stream does so with its first chunk).
    `repeats` says that the answer came from a gateway's cache, so that its response id is an older call's as well.
    """

    __slots__ = ("refs", "repeats")

    def __init__(self, refs: Iterable[LogRef], *, repeats: bool = False) -> None:
        self.refs = tuple(refs)
        self.repeats = repeats

    @property
    def operation(self) -> str | None:
        """What was called, the same for all refs."""
        return self.refs[0].operation

    @property
    def response_id(self) -> str | None:
        """The id that the model's answer bore, as far as it is known yet."""
        return self.refs[0].response_id

    @property
    def generated(self) -> bool:
        """Whether the call generated an answer (see `LogRef.generated`)."""
        return self.refs[0].generated

    def learn_response_id(self, response_id: str) -> None:
        """Set the response id of all refs."""
        self.refs = tuple(dataclasses.replace(ref, response_id=response_id) for ref in self.refs)

    def __repr__(self) -> str:
        return f"Call({', '.join(f'{ref.backend}:{ref.id}' for ref in self.refs)})"

    def __copy__(self) -> Call:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Call:
        return self

    def __reduce__(self) -> tuple[type[tuple[Any, ...]], tuple[list[dict[str, str | float]]]]:
        return tuple, ([ref.to_dict() for ref in self.refs],)


def _shows_attributes(kind: type) -> bool:
    """Whether objects of the type are models of pydantic 1, which dump every attribute that they are given."""
    return hasattr(kind, "__fields_set__") and not hasattr(kind, "__pydantic_fields_set__")


def attach(target: object, call: Call) -> None:
    """Let the target carry the call; an object that cannot carry anything (a str, None) is left as it is.

    So are models of pydantic 1, which take no weak references either: they are found by their response id.
    """
    if _shows_attributes(type(target)):
        return
    try:
        object.__setattr__(target, ATTRIBUTE, call)
    except Exception:  # it takes no attributes, or not this one
        return


def attached(target: object) -> Call | None:
    """Return the call that the target carries, or None."""
    try:
        found = getattr(target, ATTRIBUTE, None)
        if isinstance(found, Call):
            return found
        if isinstance(found, tuple) and found:
            return Call(LogRef.from_dict(values) for values in found)
    except Exception:  # the target is any object at all: one whose attributes misbehave carries nothing
        return None
    return None
