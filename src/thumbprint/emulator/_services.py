"""Which service answers which path. All state is here; there are no sockets."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from thumbprint.emulator import _braintrust as braintrust
from thumbprint.emulator import _cloudflare as cloudflare
from thumbprint.emulator._cloudflare.gateway import find_destination, unversioned
from thumbprint.emulator._identity import ACCOUNT_ID, GATEWAY_ID, OPENAI_KEY
from thumbprint.emulator._model import Model, ModelCall
from thumbprint.emulator._wire import Request, Response, json_response

if TYPE_CHECKING:
    from thumbprint.emulator._cloudflare.logs import MetadataPatch

_ACCOUNT = re.compile(r"[0-9a-fA-F]{32}")
_HERE = cloudflare.Place(ACCOUNT_ID, GATEWAY_ID)


class Services:
    """Both services and the model behind them, as if in one world."""

    def __init__(
        self,
        *,
        ingestion_lag: float,
        rate_limit: int,
        rate_window: float,
        metadata_patch: MetadataPatch,
        feedback_shown: bool,
    ) -> None:
        self.logs = cloudflare.LogBook(ingestion_lag, metadata_patch)
        self.rows = braintrust.RowBook()
        self._model = Model()
        self._cloudflare = cloudflare.Gateway(self.logs, self._model)
        self._cloudflare_rest = cloudflare.RestApi(
            self._cloudflare, self.logs, cloudflare.Quota(rate_limit, rate_window), feedback_shown=feedback_shown
        )
        self._braintrust = braintrust.Gateway(self.rows)
        self._braintrust_rest = braintrust.RestApi(self.rows)
        self._braintrust_sdk = braintrust.SdkApi(self.rows)

    def answer(self, request: Request, now: float) -> Response:  # noqa: PLR0911 - one for each route
        """Answer one request; `now` is in seconds since the epoch."""
        match request.segments:
            case ("client", "v4", *_):
                return self._cloudflare_rest.answer(request, now)
            case ("braintrust", "cloudflare", *path):
                return self._at_braintrust(request, path, now, self._ask_cloudflare, exporting=False)
            case ("braintrust", *path):
                return self._at_braintrust(request, path, now, self._ask_model, exporting=False)
            case ("v1", "proxy", *path):
                return self._at_braintrust(request, path, now, self._ask_model, exporting=True)
            case ("v1", "project" | "project_logs" | "experiment", *_):
                return self._braintrust_rest.answer(request, now)
            case ("api" | "version" | "logs3", *_):
                return self._braintrust_sdk.answer(request, now)
            case ("v1", account, *_) if _ACCOUNT.fullmatch(account):
                return self._cloudflare.by_path(request, now)
        return json_response({"error": {"message": f"The emulator plays nothing at {request.path}."}}, 404)

    def _at_braintrust(
        self, request: Request, path: list[str], now: float, upstream: braintrust.Upstream, *, exporting: bool
    ) -> Response:
        return self._braintrust.answer(request, unversioned(path), now, upstream, exporting=exporting)

    def _ask_model(self, request: Request, path: tuple[str, ...], now: float) -> Response:
        return self._model.answer(ModelCall(request=request, path=path), now)

    def _ask_cloudflare(self, request: Request, path: tuple[str, ...], now: float) -> Response:
        """Pass a call on to the Cloudflare gateway, with a key of the provider's."""
        keyed = replace(request, headers={**request.headers, "authorization": f"Bearer {OPENAI_KEY}"})
        destination = find_destination(keyed, ("openai", *path))
        assert destination is not None
        return self._cloudflare.call(_HERE, destination, now)
