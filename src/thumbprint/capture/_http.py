"""Hooks on bare HTTP clients, those of httpx and httpx2 and whatever has the same methods.

Through them go the calls of SDKs and frameworks that take a client of the application's. Everything that such a client
is asked for passes two methods:

    build_request   the request, before it is sent (headers are added here)
    send            once per answer that the caller gets, after redirects; its body may be still to come

Such a client has other uses too: only what bears a service's id counts.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from ._hooks import REDUCER, Switch, copying, put_on
from ._sdk import preparing

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from ._hooks import Recording, Wrapper
    from ._recorder import Recorder

METHODS: Final = ("build_request", "send")


def is_client(value: Any) -> bool:
    """Whether the object is such a client, by its methods."""
    return all(callable(getattr(value, name, None)) for name in METHODS)


def capture_client(client: Any, recording: Recording) -> None:
    """Put hooks on one client."""
    put_on(client, recording, _client_hooks)


def _client_hooks(switch: Switch) -> dict[str, Wrapper]:
    def send(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder = switch(client)
        if recorder is None:
            return wrapped(*args, **kwargs)
        request = args[0] if args else kwargs.get("request")
        recorder.sending(request)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:  # an event hook of the application's may raise for an answer
            recorder.raised(request, error)
            raise
        if inspect.iscoroutine(response):
            return _received(response, request, recorder)
        recorder.received(response)
        return response

    return {"build_request": preparing(switch), "send": send, REDUCER: copying(switch, capture_client)}


async def _received(coroutine: Awaitable[Any], request: Any, recorder: Recorder) -> Any:
    try:
        response = await coroutine
    except BaseException as error:
        recorder.raised(request, error)
        raise
    recorder.received(response)
    return response
