"""The emulator itself: one server, both services, and what a test wants to know of them."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from thumbprint.emulator import _identity as identity
from thumbprint.emulator._faults import Fault, compile_path, fault_answer, parse_drop
from thumbprint.emulator._server import Serving
from thumbprint.emulator._services import Services
from thumbprint.emulator._stage import Stage

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from thumbprint.emulator._cloudflare.logs import MetadataPatch
    from thumbprint.emulator._faults import Body, Drop
    from thumbprint.emulator._wire import RecordedRequest


class Emulator:
    """Cloudflare AI Gateway and Braintrust on one local server, with a make-believe model behind both.

        with Emulator() as emulator:
            client = OpenAI(base_url=emulator.cloudflare_openai_url, api_key="any")

    It plays the gateways (ids in response headers, caches, error statuses), Cloudflare's logs API (with
    its limits and its ingestion lag), Braintrust's REST API (with its stray rows) and what Braintrust's SDKs
    log in to and write their spans to. The model echoes the
    last text of the user; where JSON is asked for, the answer is that text as it is. Of functions that it
    is offered as tools it calls each once, in order, before it answers: with that text, where it is a JSON
    object, or with it for each text that the function requires. The model `error-NNN` always answers that
    status, and `flaky-N` answers 500 N times before it succeeds.

    - `port`: where to listen on 127.0.0.1; 0 takes a free one, which is then kept over restarts.
    - `ingestion_lag`: seconds for which a new Cloudflare log is unknown to the logs API (404).
    - `rate_limit`, `rate_window`: REST calls allowed to Cloudflare's API in a window of so many seconds;
      going over answers 429 for a whole window.
    - `metadata_patch`: whether a PATCH of a log's metadata shall "replace" or "merge" what is there.
    - `feedback_shown`: whether a GET of a single log shall show `feedback` and `score`; the API's reference
      has neither, its guide says that it does. The list's filters find the feedback either way.
    - `clock`: the time in seconds since the epoch, for all of the above; a test can move it.

    Raises ValueError for values out of range. It is a context manager; `start` and `stop` do the same.
    State outlives a stop, so a restart looks like a service that was down for a while.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        ingestion_lag: float = 0.0,
        rate_limit: int = 1200,
        rate_window: float = 300.0,
        metadata_patch: MetadataPatch = "replace",
        feedback_shown: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        _check_settings(ingestion_lag, rate_limit, rate_window, metadata_patch)
        make_services = partial(
            Services,
            ingestion_lag=ingestion_lag,
            rate_limit=rate_limit,
            rate_window=rate_window,
            metadata_patch=metadata_patch,
            feedback_shown=feedback_shown,
        )
        self._stage = Stage(make_services, clock)
        self._port = port
        self._started = False
        self._serving: Serving | None = None
        self._lifecycle = threading.Lock()

    def start(self) -> Self:
        """Begin to serve, in the background; nothing happens where it already does.

        Raises OSError where the port is taken.
        """
        with self._lifecycle:
            if self._serving is None:
                self._stage.stopping = threading.Event()
                self._serving = Serving.begin(self._port, self._stage)
                self._port = self._serving.port
                self._started = True
        return self

    def stop(self) -> None:
        """Close the port and every connection, also hanging ones; nothing happens where it is stopped."""
        with self._lifecycle:
            if self._serving is not None:
                self._stage.stopping.set()
                self._serving.end()
                self._serving = None

    def __enter__(self) -> Self:
        """Start, and return the emulator."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens. It stays the same when stopped; before the first start RuntimeError is raised."""
        if not self._started:
            raise RuntimeError(
                "the emulator has no address before it is started: call start() or use it in a with-block"
            )
        return f"http://127.0.0.1:{self._port}"

    @property
    def cloudflare_openai_url(self) -> str:
        """Base URL for the OpenAI SDK, by way of the Cloudflare gateway. Any key will do."""
        return f"{self._gateway_url}/openai"

    @property
    def cloudflare_rest_url(self) -> str:
        """Base URL for the OpenAI SDK, by way of Cloudflare's REST API. The key is CLOUDFLARE_API_TOKEN."""
        return f"{self.url}/client/v4/accounts/{identity.ACCOUNT_ID}/ai/v1"

    @property
    def braintrust_gateway_url(self) -> str:
        """Base URL for the OpenAI SDK, by way of Braintrust's gateway. The key is BRAINTRUST_API_KEY."""
        return f"{self.url}/braintrust/v1"

    @property
    def braintrust_proxy_url(self) -> str:
        """Base URL for the OpenAI SDK, by way of Braintrust's older proxy. The key is BRAINTRUST_API_KEY."""
        return f"{self.url}/v1/proxy"

    @property
    def chained_url(self) -> str:
        """Base URL for the OpenAI SDK: Braintrust's gateway with Cloudflare's behind it.

        An answer carries the ids of both. The key is BRAINTRUST_API_KEY.
        """
        return f"{self.url}/braintrust/cloudflare"

    @property
    def _gateway_url(self) -> str:
        return f"{self.url}/v1/{identity.ACCOUNT_ID}/{identity.GATEWAY_ID}"

    def environ(self) -> dict[str, str]:
        """Return the environment variables that point thumbprint and the SDKs at the emulator."""
        return {
            "CLOUDFLARE_API_TOKEN": identity.CLOUDFLARE_TOKEN,
            "CLOUDFLARE_ACCOUNT_ID": identity.ACCOUNT_ID,
            "CLOUDFLARE_GATEWAY_ID": identity.GATEWAY_ID,
            "CLOUDFLARE_BASE_URL": f"{self.url}/client/v4",
            "CLOUDFLARE_GATEWAY_URL": self._gateway_url,
            "BRAINTRUST_API_KEY": identity.BRAINTRUST_KEY,
            "BRAINTRUST_API_URL": self.url,
            "BRAINTRUST_APP_URL": self.url,
            "BRAINTRUST_PARENT": f"project_name:{identity.PROJECT_NAME}",
            "BRAINTRUST_GATEWAY_URL": f"{self.url}/braintrust",
            "OPENAI_BASE_URL": self.cloudflare_openai_url,
            "OPENAI_API_KEY": identity.OPENAI_KEY,
        }

    def cloudflare_logs(self) -> list[dict[str, Any]]:
        """Return every log of the Cloudflare gateway, oldest first, also those that the API cannot see yet.

        Each has id, account_id, gateway_id, provider, model, path, status_code, success, cached,
        created_at (ISO 8601), event_id, feedback, score, metadata (a dict), and as text request and response.
        """
        with self._stage.lock:
            return [entry.for_tests() for entry in self._stage.services.logs.all()]

    def braintrust_rows(self) -> list[dict[str, Any]]:
        """Return every row of Braintrust, oldest first.

        Each has id, project_id (and project_name where it is known) or experiment_id, span_id, root_span_id,
        span_parents, input, output, error, expected, metadata, metrics, scores (null is kept as None), tags,
        comments (each with text, source, metadata, created), audit (every feedback item that came, with
        created), and stray: whether the row was made by feedback for an unknown id.
        """
        with self._stage.lock:
            return self._stage.services.rows.for_tests()

    def requests(self) -> list[RecordedRequest]:
        """Return the last 100,000 requests, in the order in which they were answered."""
        with self._stage.lock:
            return list(self._stage.requests)

    def clear(self) -> None:
        """Forget logs, rows, projects, caches, quota, requests and faults: begin anew."""
        self._stage.clear()

    def fail(
        self,
        path: str | re.Pattern[str],
        *,
        times: int | None = 1,
        method: str | None = None,
        status: int | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        drop: bool | Drop = False,
        hang: bool = False,
        after: int = 0,
    ) -> Fault:
        """Let the next `times` matching requests go wrong (None: all until `clear`).

        `path` is a regular expression; one that begins with a slash must match from the start of the path,
        so that a prefix is enough. `method` narrows it. The first `after` matches are let through.

        - `status`, `body` (text, bytes or JSON), `headers`: this answer instead of the service's own, which
          does not see the request; `headers` alone are added to the service's answer.
        - `delay`: wait so many seconds first.
        - `drop`: close the connection without an answer, "before" (or True) or "after" the request has had
          its effect; or "during" the answer, that is then cut off.
        - `hang`: no answer until the emulator stops.

        Returns a Fault whose `hits` counts. The first fault that matches a request is the only one.
        Raises ValueError for values out of range, and re.error for a bad expression.
        """
        if delay < 0 or after < 0 or (times is not None and times < 0):
            raise ValueError("delay, after and times must not be negative")
        fault = Fault(
            path=compile_path(path),
            method=method.upper() if method else None,
            times=times,
            after=after,
            delay=delay,
            drop=parse_drop(drop),
            hang=hang,
            answer=fault_answer(status, body, headers or {}),
            headers=tuple((headers or {}).items()),
        )
        with self._stage.lock:
            self._stage.faults.append(fault)
        return fault


def _check_settings(lag: float, limit: int, window: float, metadata_patch: str) -> None:
    if not (lag >= 0 and limit >= 1 and window > 0):
        raise ValueError("ingestion_lag must be 0 or more, rate_limit 1 or more, and rate_window more than 0")
    if metadata_patch not in ("replace", "merge"):
        raise ValueError(f"metadata_patch must be 'replace' or 'merge', not {metadata_patch!r}")
