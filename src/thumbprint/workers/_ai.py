"""The `AI` binding of a Worker with its calls captured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .._call import ATTRIBUTE, attach, sealed
from .._log import warn
from .._operation import operation_of_model
from ..backends import Answer
from ..backends.cloudflare import BINDING_URL, GATEWAY_ID
from ..errors import UnsupportedClientError
from . import _javascript as javascript
from ._gateway import unwrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from .._call import Call
    from ..capture import Recorder

    _ToJs = Callable[[tuple[Any, ...]], Iterable[Any]]
    _ToPy = Callable[[Any], Any]

JSON: Final = "application/json"  # just this: what is of any other type the binding gives as a stream
RAW: Final = "returnRawResponse"
ERROR: Final = "InferenceUpstreamError"


class _Asked(NamedTuple):
    """What `run` is asked for, as far as it matters here."""

    arguments: tuple[Any, Any, Any]
    """Those with which the binding gives the response as it is."""

    raw: bool
    """Whether that is what the caller wants."""

    operation: str

    headers: Mapping[str, str]
    """What an HTTP client would have told the gateway."""


class AI:
    """The `AI` binding of a Worker with its calls captured; made with `thumbprint.workers.wrap()`.

    All that the binding has, this has: what is not `run` is the binding's own.

    Only its response tells a call's own log id: what the binding keeps (`aiGatewayLogId`) is of the call that was
    answered last, whoever made it. So `run` asks for the response, and makes of it what the binding would have made.
    """

    def __init__(self, binding: Any, recording: Callable[[], Recorder | None]) -> None:
        self._given = binding
        self._binding = unwrapped(binding)
        self._recording = recording
        self._to_js, self._to_py = _crossing(binding)

    def run(self, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        """Run a model: `await AI.run(model, inputs, {"gateway": {"id": …}})`.

        Takes, gives and raises what the binding's own `run` does, and begins at once, as that does. Dicts are taken by
        both kinds of binding. A call that goes through a gateway is captured.
        """
        args = tuple(self._to_js(_with_options(args, kwargs)))
        recorder = self._recording()
        asked = _asked(args) if recorder else None
        pending = self._binding.run(*(asked.arguments if asked else args))
        return self._finished(pending, asked, recorder)

    async def _finished(self, pending: Awaitable[Any], asked: _Asked | None, recorder: Recorder | None) -> Any:
        response = await pending
        if asked is None or recorder is None:
            return self._to_py(response)
        if not _is_response(response):  # the binding goes by the options of the call that was begun last
            _complain("the binding was used beside thumbprint at the same time")
            return self._to_py(response)
        call = _seen(recorder, asked, response)
        value = response if asked.raw else await self._value(response, call)
        result = self._to_py(value)
        if call is not None and response.ok:
            recorder.finish(call, None, result)
        for target in (value, result):
            _carry(target, call)
        return result

    async def _value(self, response: Any, call: Call | None) -> Any:
        """Return what the binding makes of a response, or raise the error that it makes."""
        if not response.ok or not response.body:
            error = self._error(await response.text())
            _carry(error, call)
            raise error
        return await response.json() if response.headers.get("content-type") == JSON else response.body

    def _error(self, text: str) -> Exception:
        told = Answer(status=0, content=text.encode("utf-8", "surrogatepass")).json()
        told = told if isinstance(told, dict) else {}
        code, errors = told.get("internalCode"), told.get("errors")
        if code:
            self._binding.lastRequestInternalStatusCode = code
            return javascript.error(str(told.get("name") or ERROR), f"{code}: {told.get('description', 'undefined')}")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            return javascript.error(ERROR, f"{errors[0].get('code')}: {errors[0].get('message')}")
        return javascript.error(ERROR, text)

    def __getattr__(self, name: str) -> Any:
        """Return what the binding has; its state as it is now, where the SDK would keep what was first asked for."""
        if name.startswith("_"):  # what is private is not asked of JavaScript
            raise AttributeError(name)
        found = getattr(self._binding, name)
        return getattr(self._given, name) if callable(found) else self._to_py(found)

    def __repr__(self) -> str:
        return f"<thumbprint.workers.AI around {self._given!r}>"


def given(binding: Any) -> Any:
    """Return the binding that was wrapped by thumbprint; any other as it is."""
    return binding._given if isinstance(binding, AI) else binding  # noqa: SLF001 - our own class


def _crossing(binding: Any) -> tuple[_ToJs, _ToPy]:
    """Return how arguments get to JavaScript and results come back: the SDK converts both, the runtime neither."""
    if isinstance(binding, type) or not callable(getattr(binding, "run", None)):
        raise _unsupported(binding)
    if unwrapped(binding) is binding:
        return _objects, _unchanged
    to_js, to_py = (getattr(binding, name, None) for name in ("_convert_args", "_convert_result"))
    if to_js is None or to_py is None:
        raise _unsupported(binding)
    return lambda args: to_js(args, {})[0], to_py


def _unsupported(binding: Any) -> UnsupportedClientError:
    return UnsupportedClientError(
        f"wrap() takes the AI binding of a Worker, env.AI, as the runtime or workers-runtime-sdk (1.5 and newer) gives "
        f"it, not an object of type {type(binding).__qualname__}"
    )


def _objects(args: tuple[Any, ...]) -> Iterable[Any]:
    return map(javascript.to_object, args)


def _unchanged(value: Any) -> Any:
    return value


def _with_options(args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the arguments with the options among them, which both kinds of binding take by name as well."""
    if named or len(args) == 2:
        return (*args, named)
    return (*args[:2], {}) if args[2:] == (None,) else args


def _asked(args: tuple[Any, ...]) -> _Asked | None:
    """Return what is asked for; None where that cannot be read, and is the binding's to refuse."""
    try:
        model, inputs, options = args
        gateway_id = javascript.entry(javascript.entry(options, "gateway"), "id")
        return _Asked(
            arguments=(model, inputs, javascript.with_entry(options, RAW, entry=True)),
            raw=bool(javascript.entry(options, RAW) or javascript.entry(options, "websocket")),
            operation=operation_of_model(str(model), chats=bool(javascript.entry(inputs, "messages"))),
            headers={GATEWAY_ID: gateway_id} if isinstance(gateway_id, str) and gateway_id else {},
        )
    except Exception as error:
        _complain(f"its arguments cannot be read ({type(error).__name__})")
        return None


def _is_response(value: Any) -> bool:
    return javascript.is_object(value) and value.constructor.name == "Response"


def _seen(recorder: Recorder, asked: _Asked, response: Any) -> Call | None:
    headers = {name.lower(): value for name, value in response.headers}
    return recorder.seen(
        url=BINDING_URL, request_headers=asked.headers, response_headers=headers, operation=asked.operation
    )


def _carry(target: Any, call: Call | None) -> None:
    """Let what the application gets carry the call, where it is an object."""
    if call is None:
        return
    attach(target, call)
    try:
        if javascript.is_object(target):
            javascript.mark(target, ATTRIBUTE, sealed(call))
    except Exception:  # it is frozen
        return


def _complain(why: str) -> None:
    warn("capture binding", "a call of the AI binding was not captured, and is unharmed: %s", why)
