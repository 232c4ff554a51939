"""One captured call, and how it rides on the objects that the application got for it.

The SDK's own objects carry the call in an underscore attribute: pydantic leaves such a name out of dumps, JSON, repr
and equality and keeps it in copies. Pickled, a call becomes plain tuples and dicts, so that a cached answer can be
read by a process that has no thumbprint installed.
"""

from __future__ import annotations

import functools
import json
import os
from typing import TYPE_CHECKING, Any, Final

from ._model import LogRef, answered_as

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

ATTRIBUTE: Final = "_thumbprint"


class Call:
    """The log entries that one call became: one, or two where one gateway stands behind another.

    `refs` are others, once, when the answer has told its response id (a stream does so with its first chunk).
    `repeats` says that the answer came from a gateway's cache, so that its response id is an older call's as well.
    `reported` says that the open scopes and the store were told of it: of several hooks that it passes, one does so.
    `learns` says that it was, and that its answer's id is still to come: a stream tells it with its first chunk.
    """

    __slots__ = ("_learnt", "_refs", "learns", "repeats", "reported")

    def __init__(self, refs: Iterable[LogRef], *, repeats: bool = False) -> None:
        self._refs = tuple(refs)
        self._learnt: str | None = None  # a response id that the refs do not have yet
        self.repeats = repeats
        self.reported = self.learns = False

    @property
    def refs(self) -> tuple[LogRef, ...]:
        """The log entries; made anew with the response id when somebody asks: no call of a model is to wait for it."""
        learnt = self._learnt
        if learnt is not None:
            self._refs = tuple(answered_as(ref, learnt) for ref in self._refs)
            self._learnt = None
        return self._refs

    @property
    def operation(self) -> str | None:
        """What was called, the same for all refs."""
        return self._refs[0].operation

    @property
    def trace_id(self) -> str | None:
        """The trace that the call was made in, if any, the same for all refs."""
        return self._refs[0].trace_id

    @property
    def response_id(self) -> str | None:
        """The id that the model's answer bore, as far as it is known yet."""
        return self._learnt or self._refs[0].response_id

    @property
    def generated(self) -> bool:
        """Whether the call generated an answer (see `LogRef.generated`)."""
        return self._refs[0].generated

    def learn_response_id(self, response_id: str) -> None:
        """Set the response id of all refs."""
        self._learnt = response_id
        self.learns = False

    def __repr__(self) -> str:
        return f"Call({', '.join(f'{ref.backend}:{ref.id}' for ref in self.refs)})"

    def __copy__(self) -> Call:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Call:
        return self

    def __reduce__(self) -> tuple[type[tuple[Any, ...]], tuple[list[dict[str, str | float]]]]:
        return tuple, ([ref.to_dict() for ref in self.refs],)


@functools.lru_cache(maxsize=256)
def _shows_attributes(kind: Hashable) -> bool:
    """Whether objects of the type are models of pydantic 1, which dump every attribute that they are given.

    Remembered, since pydantic looks long for what a type has not: for a stream of ten chunks that takes 15 µs.
    """
    return hasattr(kind, "__fields_set__") and not hasattr(kind, "__pydantic_fields_set__")


def attach(target: object, call: Call) -> None:
    """Let the target carry the call; an object that cannot carry anything (a str, None) is left as it is.

    So are models of pydantic 1, which take no weak references either: they are found by their response id.
    """
    try:
        if not _shows_attributes(type(target)):  # type: ignore[arg-type] # nearly any type can be hashed
            object.__setattr__(target, ATTRIBUTE, call)
    except Exception:  # it takes no attributes, or not this one
        return


def detach(target: object) -> None:
    """Have the target carry no call."""
    try:
        if getattr(target, ATTRIBUTE, None) is not None:
            object.__delattr__(target, ATTRIBUTE)
    except Exception:  # it is any object at all
        return


def sealed(call: Call) -> str:
    """Return the call as a text, for an object of JavaScript to carry."""
    return _seal() + json.dumps([ref.to_dict() for ref in call.refs])


@functools.cache
def _seal() -> str:
    """Return how such texts begin. What strangers send may be an object with an attribute of our name, but not this."""
    return os.urandom(16).hex()


def attached(target: object) -> Call | None:
    """Return the call that the target carries, or None."""
    try:
        found = getattr(target, ATTRIBUTE, None)
        if found is None or isinstance(found, Call):
            return found
        if isinstance(found, str) and found.startswith(_seal()):
            found = tuple(json.loads(found.removeprefix(_seal())))
        if isinstance(found, tuple) and found:
            return Call(LogRef.from_dict(values) for values in found)
    except Exception:  # the target is any object at all: one whose attributes misbehave carries nothing
        return None
    return None
