"""The crossing between Python and JavaScript, as Pyodide has it. Its modules `js` and `pyodide` exist only there.

What JavaScript calls null is None in Pyodide up to 0.27, and `jsnull` from 0.28 on; None becomes undefined, which JSON
leaves out. So what holds nulls crosses as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def from_json(text: str) -> Any:
    """Return the object of JavaScript that the JSON is of."""
    import js  # noqa: PLC0415 - it exists in Pyodide alone

    return js.JSON.parse(text)


def to_json(value: Any) -> str:
    """Return an object of JavaScript as JSON."""
    import js  # noqa: PLC0415 - as above

    text: str = js.JSON.stringify(value)
    return text


def to_object(value: Any) -> Any:
    """Return a dict as an object of JavaScript, all that is in it too; what is none as it is."""
    import js  # noqa: PLC0415 - as above
    from pyodide.ffi import to_js  # noqa: PLC0415

    return to_js(value, dict_converter=js.Object.fromEntries) if isinstance(value, Mapping) else value


def with_entry(value: Any, name: str, entry: Any) -> Any:
    """Return a copy of an object of JavaScript that has one more entry, or another in its place."""
    import js  # noqa: PLC0415 - as above

    return js.Object.assign(js.Object.new(), value, from_json(json.dumps({name: entry})))


def error(name: str, message: str) -> Exception:
    """Return an error of JavaScript's, to be raised."""
    import js  # noqa: PLC0415 - as above

    made: Exception = js.Error.new(message)
    made.name = name  # type: ignore[attr-defined]
    return made


def mark(value: Any, name: str, text: str) -> None:
    """Set an attribute of an object of JavaScript that nobody sees who does not ask for it: no JSON, no copy, no loop.

    Raises an error where it takes none.
    """
    import js  # noqa: PLC0415 - as above

    js.Object.defineProperty(value, name, from_json(json.dumps({"value": text, "configurable": True})))


def is_object(value: Any) -> bool:
    """Whether it is an object of JavaScript's."""
    from pyodide.ffi import JsProxy  # noqa: PLC0415 - as above

    return isinstance(value, JsProxy)


def entry(value: Any, name: str) -> Any:
    """Return an entry of an object of JavaScript; None where there is none."""
    return getattr(value, name, None)
