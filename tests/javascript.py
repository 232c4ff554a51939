"""A stand-in for what Pyodide brings along, its modules `js` and `pyodide.ffi`, and for a Worker's `AI` binding.

With these, what is written for a Worker runs in CPython, where its coverage is measured. `tests/workers` runs the same
in Pyodide.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
import types
from collections.abc import Mapping
from datetime import datetime
from typing import Any

HOURS = 36_000.0


class JsProxy:
    """An object of JavaScript: its entries are attributes. What is hidden is in no JSON."""

    def __init__(self, entries=(), *, kind="Object", frozen=False):
        vars(self).update(__entries=dict(entries), __hidden={}, __kind=kind, __frozen=frozen)

    @property
    def constructor(self):
        return types.SimpleNamespace(name=vars(self)["__kind"])

    def __getattr__(self, name):
        for place in ("__hidden", "__entries"):
            if name in vars(self)[place]:
                return vars(self)[place][name]
        raise AttributeError(name)

    def __setattr__(self, name, value):
        vars(self)["__entries"][name] = value

    def to_py(self):
        return _plain(self)

    def __iter__(self):
        return iter([_proxied(entry) for entry in vars(self)["__entries"].items()])


class JsArray(JsProxy):
    def __init__(self, items):
        super().__init__(enumerate(items), kind="Array")

    def __iter__(self):
        return iter(vars(self)["__entries"].values())


class JsException(Exception, JsProxy):
    def __init__(self, message):
        Exception.__init__(self, message)
        JsProxy.__init__(self, {"name": "Error", "message": message}, kind="Error")

    def __str__(self):
        return f"{self.name}: {self.message}"


class Promise:
    """What a function of JavaScript's that waits returns: it has begun, and may be awaited once."""

    def __init__(self, coroutine):
        self._task = asyncio.ensure_future(coroutine)

    def __await__(self):
        return self._task.__await__()


def _proxied(value):
    if isinstance(value, Mapping):
        return JsProxy({name: _proxied(entry) for name, entry in value.items()})
    return JsArray(map(_proxied, value)) if isinstance(value, (list, tuple)) else value


def _plain(value):
    if isinstance(value, JsArray):
        return [_plain(item) for item in value]
    if isinstance(value, JsProxy):
        return {name: _plain(entry) for name, entry in vars(value)["__entries"].items() if not callable(entry)}
    return value.isoformat() if isinstance(value, datetime) else value


class JSON:
    @staticmethod
    def parse(text):
        return _proxied(json.loads(text))

    @staticmethod
    def stringify(value):
        return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


class Object:
    new = JsProxy

    @staticmethod
    def fromEntries(entries):
        return JsProxy(entries)

    @staticmethod
    def keys(value):
        return list(vars(value)["__entries"])

    @staticmethod
    def assign(target, *sources):
        for source in sources:
            vars(target)["__entries"].update(vars(source)["__entries"])
        return target

    @staticmethod
    def defineProperty(target, name, descriptor):
        if vars(target)["__frozen"]:
            raise JsException("it is not extensible")
        vars(target)["__hidden"][name] = descriptor.value
        return target


class Error:
    new = JsException


class Response(JsProxy):
    """A response of `fetch`; as a body it takes text, or the stream that is the body of another."""

    def __init__(self, body, *, status=200, headers=(), frozen=False):
        if isinstance(body, str):
            body = JsProxy({"content": body}, kind="ReadableStream", frozen=frozen)
        entries = {"body": body, "status": status, "ok": 200 <= status < 300, "headers": Headers(headers)}
        super().__init__(entries, kind="Response", frozen=frozen)

    async def text(self):
        return self.body.content if self.body else ""

    async def json(self):
        try:
            return JSON.parse(self.body.content)
        except ValueError as error:
            failed = JsException(str(error))
            failed.name = "SyntaxError"
            raise failed from None


Response.new = Response


class Headers(JsProxy):
    def get(self, name):
        return vars(self)["__entries"].get(name)


def to_js(value, *, dict_converter):
    return _proxied(value)


def modules():
    """Return name → module, for `sys.modules`."""
    js, ffi, pyodide = (types.ModuleType(name) for name in ("js", "pyodide.ffi", "pyodide"))
    vars(js).update(JSON=JSON, Object=Object, Error=Error, Response=Response)
    vars(ffi).update(JsProxy=JsProxy, to_js=to_js)
    pyodide.ffi = ffi
    return {"js": js, "pyodide": pyodide, "pyodide.ffi": ffi}


def load(path):
    """Return a module that imports what only Pyodide has, as `sys.modules` does not know it."""
    sys.modules.update(modules())
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        for name in modules():
            del sys.modules[name]
    return module


class Service:
    """What is behind the binding, as in `tests/workers/binding.mjs`."""

    def __init__(self, answers):
        self._answers = answers
        self._logs, self._requests, self._turns, self._cached, self._answered = {}, [], [], set(), 0

    def log(self, log_id):
        return json.dumps(self._logs.get(log_id))

    def ids(self):
        return json.dumps(list(self._logs))

    def requests(self):
        return json.dumps(self._requests)

    def next(self, *turns):
        self._turns += turns

    async def answer(self, model, inputs, options):
        while self._answered < inputs.get("after", 0):  # noqa: ASYNC110 - one service, and no time to lose
            await asyncio.sleep(0.001)  # as the other stand-in does
        self._answered += 1
        if model not in self._answers:
            raise JsException(f"no route to {model}")
        canned = self._answers[model]
        headers = {} if "empty" in canned else {"content-type": canned.get("type", "application/json")}
        gateway = options.get("gateway") or {}
        if gateway.get("id") and gateway.get("collectLog") is not False:
            headers["cf-aig-log-id"] = self._logged(model, gateway)
            headers["cf-aig-cache-status"] = "HIT" if gateway.get("cacheKey") in self._cached else "MISS"
            self._cached |= {gateway["cacheKey"]} if "cacheKey" in gateway else set()
        body = None if "empty" in canned else canned.get("text") or json.dumps(canned.get("json", inputs))
        return Response(body, status=canned.get("status", 200), headers=headers, frozen=canned.get("frozen", False))

    def _logged(self, model, gateway):
        log_id = f"01JADMCQQQBWH3NXZ5GCRN{len(self._logs):04}"
        metadata = json.dumps(gateway["metadata"]) if "metadata" in gateway else None
        created_at = "2026-11-24T10:00:00Z"
        self._logs[log_id] = {"id": log_id, "gateway": gateway["id"], "model": model, "metadata": metadata}
        self._logs[log_id]["created_at"] = created_at
        return log_id

    async def request(self, method, gateway, log_id, body=None):
        self._requests.append({"method": method, "gateway": gateway, "id": log_id} | ({"body": body} if body else {}))
        turn = self._turns.pop(0) if self._turns else None
        if turn == "hang":
            await asyncio.sleep(HOURS)
        if turn not in {None, "early"}:
            raise _named("AiGatewayInternalError", turn)
        log = self._logs.get(log_id)
        if turn == "early" or log is None or log["gateway"] != gateway:
            raise _named("AiGatewayLogNotFound", "Not Found")
        log.update(body or {})
        if isinstance(log["metadata"], dict):
            log["metadata"] = json.dumps(log["metadata"])
        return log


class Ai(JsProxy):
    """The binding: it knows of the last call alone, and goes by the options of the call that was begun last."""

    def __init__(self, service):
        states = ("lastRequestId", "aiGatewayLogId", "lastRequestHttpStatusCode", "lastRequestInternalStatusCode")
        super().__init__(dict.fromkeys(states), kind="Ai")
        vars(self).update(_service=service, _options=JsProxy())

    def run(self, model, inputs, options=None, *_):
        vars(self)["_options"] = options = JsProxy() if options is None else options
        for argument in (inputs, options):
            if not isinstance(argument, JsProxy):
                raise TypeError(f"a {type(argument).__name__} means nothing to JavaScript")
        return Promise(self._answered(model, _plain(inputs), _plain(options)))

    async def _answered(self, model, inputs, options):
        response = await self._service.answer(model, inputs, options)
        self.aiGatewayLogId = response.headers.get("cf-aig-log-id")
        self.lastRequestHttpStatusCode = response.status
        if any(getattr(self._options, name, False) for name in ("returnRawResponse", "websocket")):
            return response
        if not (response.ok and response.body):
            raise self._failed(await response.text())
        return await response.json() if response.headers.get("content-type") == "application/json" else response.body

    def _failed(self, text: str) -> Exception:
        try:
            told: Any = json.loads(text)
        except ValueError:
            return _named("InferenceUpstreamError", text)
        told = told if isinstance(told, dict) else {}
        if told.get("internalCode"):
            self.lastRequestInternalStatusCode = told["internalCode"]
            words = f"{told['internalCode']}: {told['description']}"
            return _named(told.get("name", "InferenceUpstreamError"), words)
        first = (told.get("errors") or [None])[0]
        words = f"{first['code']}: {first['message']}" if isinstance(first, dict) else text
        return _named("InferenceUpstreamError", words)

    def gateway(self, gateway_id):
        return AiGateway(self._service, gateway_id)


class AiGateway(JsProxy):
    def __init__(self, service, gateway_id):
        super().__init__(kind="AiGateway")
        vars(self).update(_service=service, _id=gateway_id)

    async def getLog(self, log_id):
        log = await self._service.request("GET", self._id, log_id)
        return JsProxy(log | {"created_at": datetime.fromisoformat(log["created_at"])})

    async def patchLog(self, log_id, data):
        await self._service.request("PATCH", self._id, log_id, _plain(data))


def _named(name, message):
    error = JsException(message)
    error.name = name
    return error


class Dict(dict):
    """What workers-runtime-sdk makes of an object."""

    def __getattr__(self, name):
        if name not in self:
            raise AttributeError(name)
        return self[name]

    def __setattr__(self, name, value):
        self[name] = value


class Wrapper:
    """A binding as workers-runtime-sdk wraps it: it keeps each attribute as it was when it was first asked for."""

    def __init__(self, binding):
        self._binding = binding

    def __getattr__(self, name):
        found = getattr(self._binding, name)
        kept = self._function(found) if callable(found) else self._convert_result(found)
        vars(self)[name] = kept
        return kept

    @staticmethod
    def _convert_args(args, kwargs):
        return list(map(_proxied, args)), {name: _proxied(value) for name, value in kwargs.items()}

    def _function(self, function):
        def call(*args, **kwargs):
            result = function(*self._convert_args(args, {})[0], *([_proxied(kwargs)] if kwargs else []))
            return self._awaited(result) if isinstance(result, Promise) else self._convert_result(result)

        return call

    async def _awaited(self, promise):
        return self._convert_result(await promise)

    def _convert_result(self, value):
        kind = value.constructor.name if isinstance(value, JsProxy) else None
        if kind == "Response":
            return SdkResponse(value)
        if kind in {"Object", "Array"}:
            return _sdk_values(_plain(value))
        return Wrapper(value) if kind == "AiGateway" else value


def _sdk_values(value):
    if isinstance(value, dict):
        return Dict((name, _sdk_values(entry)) for name, entry in value.items())
    return [_sdk_values(item) for item in value] if isinstance(value, list) else value


class SdkResponse:
    def __init__(self, response):
        self.js_object = response

    @property
    def status(self):
        return self.js_object.status

    async def json(self):
        return _sdk_values(_plain(await self.js_object.json()))
