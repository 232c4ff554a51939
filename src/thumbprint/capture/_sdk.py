"""Hooks on SDK clients that the generator of the OpenAI SDK made: openai, anthropic, groq and others.

They are known by their methods, not by their names. Whatever the resource, every call of such a client passes the same
few, and that is where it is captured:

    _build_request                     the request, before it is sent (headers are added here)
    _process_response                  once per answer that is handed on, after the client's own retries
    _process_response_data             once per object that is parsed: a stream's chunks, a raw response's content
    _make_status_error_from_response   once per call that failed
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from .._call import attached
from ._carrying import carry
from ._hooks import REDUCER, Switch, capture_copy, copying, put_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ._hooks import Recording, Wrapper

BASE_MODULE: Final = "_base_client"  # of the package, with the classes that its clients inherit from:
BASE_CLASSES: Final = ("BaseClient", "SyncAPIClient", "AsyncAPIClient")
REQUIRED: Final = ("_process_response", "_make_status_error_from_response")
COPIERS: Final = ("copy", "with_options")


def is_base(kind: type) -> bool:
    """Whether a class is one of those that all clients of such an SDK inherit from."""
    return kind.__name__ in BASE_CLASSES[1:] and kind.__module__.endswith(f".{BASE_MODULE}")


def base_classes(module: Any) -> list[type]:
    """Return the classes in a module that all clients of its SDK inherit from; none where it is of no such SDK."""
    classes = [owner for name in BASE_CLASSES if isinstance(owner := vars(module).get(name), type)]
    return classes if any(owner.__name__ in BASE_CLASSES[1:] for owner in classes) else []


def lacking(owners: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of the methods that calls are captured at and that none of the clients or classes has."""
    having = tuple(owners)
    return tuple(name for name in REQUIRED if not any(callable(getattr(owner, name, None)) for owner in having))


def is_client(value: Any) -> bool:
    """Whether the object is a client, by its methods."""
    return not lacking([value])


def capture_client(client: Any, recording: Recording) -> None:
    """Put hooks on one client, and of the copies that it makes of itself."""
    put_on(client, recording, _client_hooks)


def _client_hooks(switch: Switch) -> dict[str, Wrapper]:
    def copied(wrapped: Any, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        copy = wrapped(*args, **kwargs)
        if switch.on:
            capture_copy(copy, switch.recording, capture_client)
        return copy

    return {**method_hooks(switch), **dict.fromkeys(COPIERS, copied), REDUCER: copying(switch, capture_client)}


def preparing(switch: Switch) -> Wrapper:
    """Return the wrapper of a method that builds a request."""

    def build_request(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        request = wrapped(*args, **kwargs)
        recorder = switch(client)
        if recorder is not None and recorder.prepares:
            recorder.prepare(request, client)
        return request

    return build_request


def method_hooks(switch: Switch, *, only_by_id: bool = False) -> dict[str, Wrapper]:
    """Return method name → the wrapper around it; `only_by_id` as `Recorder.begin` has it."""

    def process_response(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder, response = switch(client), kwargs.get("response")
        call = None if recorder is None else recorder.begin(response, only_by_id=only_by_id)
        result = wrapped(*args, **kwargs)
        if recorder is None or call is None:
            return result
        if inspect.iscoroutine(result):
            return _finish_later(result, lambda value: recorder.finish(call, response, value))
        recorder.finish(call, response, result)
        return result

    def process_response_data(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        call = attached(kwargs.get("response"))
        if call is not None and carry(call, result):
            recorder = switch(client)
            if recorder is not None:
                recorder.parsed(call, result)
        return result

    def make_status_error(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        error = wrapped(*args, **kwargs)
        recorder = switch(client)
        if recorder is not None:
            response = args[0] if args else kwargs.get("response")
            recorder.failed(response, error, only_by_id=only_by_id)
        return error

    return {
        "_build_request": preparing(switch),
        "_process_response": process_response,
        "_process_response_data": process_response_data,
        "_make_status_error_from_response": make_status_error,
    }


async def _finish_later(coroutine: Awaitable[Any], finish: Callable[[Any], None]) -> Any:
    result = await coroutine
    finish(result)
    return result
