"""What happens to each request: it meets its fault or its service, and is recorded."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from thumbprint.emulator import _page as page
from thumbprint.emulator._faults import Fault, take_fault
from thumbprint.emulator._server import MAX_BODY, ConnectionDropError, HalfAnswerError
from thumbprint.emulator._wire import RecordedRequest, Request, Response, json_response

if TYPE_CHECKING:
    from collections.abc import Callable

    from thumbprint.emulator._services import Services

_MOST_REQUESTS = 100_000
_DROPPED = "the emulator was asked to drop this request"


class Stage:
    """The services, the faults and the record of requests, under one lock.

    `stopping` is set when the server ends; whoever starts it anew puts a fresh event in its place.
    """

    def __init__(self, make_services: Callable[[], Services], clock: Callable[[], float]) -> None:
        self._make_services = make_services
        self._clock = clock
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.services = make_services()
        self.faults: list[Fault] = []
        self.requests: deque[RecordedRequest] = deque(maxlen=_MOST_REQUESTS)

    def clear(self) -> None:
        """Begin anew, with the same settings."""
        with self.lock:
            self.services = self._make_services()
            self.faults.clear()
            self.requests.clear()

    def __call__(self, request: Request) -> Response:
        """Answer a request. Raises ConnectionDropError or HalfAnswerError where a fault wants that."""
        arrived = self._clock()
        with self.lock:
            # Looking changes nothing: it meets no fault, and is no request that a test would count.
            looked_at = page.answer(request, self.services)
            if looked_at:
                return looked_at
            fault = take_fault(self.faults, request)
        if fault is None:
            return self._play(request, arrived)
        self._delay(fault, request, arrived)
        if fault.drop == "before":
            self._drop(request, arrived)
        return self._play(request, arrived, fault)

    def too_large(self, request: Request) -> Response:
        """Answer a request whose body was thrown away."""
        detail = {"message": f"The body is over {MAX_BODY} bytes.", "type": "invalid_request_error"}
        response = json_response({"error": detail}, 413)
        with self.lock:
            self._record(request, response.status, self._clock())
        return response

    def _delay(self, fault: Fault, request: Request, arrived: float) -> None:
        """Wait as long as the fault says; when the server ends meanwhile, the request is dropped."""
        stopping = self.stopping
        if fault.hang:
            with self.lock:
                self._record(request, None, arrived)
            stopping.wait()
            raise ConnectionDropError(_DROPPED)
        if fault.delay > 0 and stopping.wait(fault.delay):
            self._drop(request, arrived)

    def _drop(self, request: Request, arrived: float) -> NoReturn:
        with self.lock:
            self._record(request, None, arrived)
        raise ConnectionDropError(_DROPPED)

    def _play(self, request: Request, arrived: float, fault: Fault | None = None) -> Response:
        """Let the service answer, or the fault in its place."""
        with self.lock:
            made = fault.answer if fault else None
            response = made or self.services.answer(request, self._clock())
            dropped = fault is not None and fault.drop == "after"
            self._record(request, None if dropped else response.status, arrived)
        if dropped:
            raise ConnectionDropError(_DROPPED)
        if fault is None:
            return response
        response = response.adding(*fault.headers)
        if fault.drop == "during":
            raise HalfAnswerError(response)
        return response

    def _record(self, request: Request, status: int | None, arrived: float) -> None:
        self.requests.append(
            RecordedRequest(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=dict(request.headers),
                body=request.body,
                status=status,
                at=arrived,
            )
        )
