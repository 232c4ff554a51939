"""Cloudflare's REST API under `/client/v4`: tokens, logs, and the newer way to the models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thumbprint.emulator._cloudflare.gateway import (
    Gateway,
    is_account_id,
    refusal,
    rest_destination,
    run_destination,
)
from thumbprint.emulator._cloudflare.logs import LogBook, LogEntry, Place, check_patch, is_gateway_id
from thumbprint.emulator._cloudflare.query import QueryError, parse_query
from thumbprint.emulator._identity import CLOUDFLARE_TOKEN
from thumbprint.emulator._wire import MalformedBodyError, Response, json_response

if TYPE_CHECKING:
    from thumbprint.emulator._cloudflare.quota import Quota
    from thumbprint.emulator._wire import Request

_NOT_FOUND = 7002
_NOT_AUTHENTICATED = 10000
_TOO_MANY = 971
_TOKEN_ID = "e" * 32


class RestApi:
    """Everything that wants CLOUDFLARE_API_TOKEN and is counted against its quota."""

    def __init__(self, gateway: Gateway, logs: LogBook, quota: Quota, *, feedback_shown: bool) -> None:
        self._gateway = gateway
        self._logs = logs
        self._quota = quota
        self._feedback_shown = feedback_shown

    def answer(self, request: Request, now: float) -> Response:
        """Answer one request under `/client/v4`: first the token, then the quota, then the rest."""
        if request.bearer != CLOUDFLARE_TOKEN:
            response = refusal(403 if request.bearer else 401, "Authentication error", _NOT_AUTHENTICATED)
        elif self._quota.spend(now):
            response = self._route(request, now)
        else:
            response = refusal(429, "Rate limit exceeded for this token", _TOO_MANY)
            response = response.adding(("retry-after", str(self._quota.wait(now))))
        return response.adding(*self._quota.headers(now))

    def _route(self, request: Request, now: float) -> Response:
        match request.method, request.segments[2:]:
            case "GET", ("user", "tokens", "verify"):
                return success({"id": _TOKEN_ID, "status": "active"})
            case _, ("accounts", account, "ai", "v1", *path):
                place = Place(account, asked_gateway(request))
                return self._gateway.call(place, rest_destination(request, path), now)
            case "POST", ("accounts", account, "ai", "run", *name):
                place = Place(account, asked_gateway(request))
                return self._gateway.call(place, run_destination(request, "/".join(name)), now)
            case _, ("accounts", account, "ai-gateway", "gateways", gateway, "logs", *log_id):
                return self._at_logs(request, Place(account, gateway), log_id, now)
        return refusal(404, "Not Found", _NOT_FOUND)

    def _at_logs(self, request: Request, place: Place, log_id: list[str], now: float) -> Response:
        if not is_account_id(place.account_id) or not is_gateway_id(place.gateway_id):
            return refusal(400, "not an account id and a gateway id")
        match request.method, log_id:
            case _ if not self._logs.knows(place):
                return refusal(404, "Not Found", _NOT_FOUND)
            case "GET", []:
                return self._list(request, place, now)
            case "GET", [known]:
                return self._detail(self._logs.find(place, known, now))
            case "PATCH", [known]:
                return self._patch(request, self._logs.find(place, known, now))
        return refusal(404, "Not Found", _NOT_FOUND)

    def _list(self, request: Request, place: Place, now: float) -> Response:
        try:
            query = parse_query(request.params)
        except QueryError as error:
            return refusal(400, str(error))
        found = query.select(self._logs.visible(place, now))
        page = [entry.seen_by_api() for entry in query.cut(found)]
        info = {"page": query.page, "per_page": query.per_page, "count": len(page), "total_count": len(found)}
        return json_response({"success": True, "result": page, "result_info": info})

    def _detail(self, entry: LogEntry | None) -> Response:
        if entry is None:
            return refusal(404, "Not Found", _NOT_FOUND)
        return success(entry.in_detail(feedback_shown=self._feedback_shown))

    def _patch(self, request: Request, entry: LogEntry | None) -> Response:
        try:
            changes = check_patch(request.json_object())
        except MalformedBodyError as error:
            return refusal(400, str(error))
        if entry is None:
            return refusal(404, "Not Found", _NOT_FOUND)
        self._logs.patch(entry, changes)
        return success({})


def asked_gateway(request: Request) -> str:
    """Return the gateway that a call of the REST route is meant for."""
    return request.headers.get("cf-aig-gateway-id") or "default"


def success(result: object) -> Response:
    """Return a result as Cloudflare's API wraps it."""
    return json_response({"success": True, "result": result})
