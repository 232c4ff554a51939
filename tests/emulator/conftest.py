import ssl
import time
from collections.abc import Iterator

import httpx
import pytest

from thumbprint.emulator import Emulator

# Everything here is plain HTTP; sharing a context saves each client the loading of certificates.
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Clock:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[Emulator]:
    with Emulator(clock=clock) as running:
        yield running


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5, verify=TLS) as client:
        yield client


@pytest.fixture
def cloudflare_api(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client of Cloudflare's REST API."""
    variables = emulator.environ()
    with httpx.Client(
        base_url=variables["CLOUDFLARE_BASE_URL"],
        headers={"authorization": f"Bearer {variables['CLOUDFLARE_API_TOKEN']}"},
        timeout=5,
        verify=TLS,
    ) as client:
        yield client


@pytest.fixture
def braintrust_api(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client of Braintrust: its REST API and its gateways."""
    with httpx.Client(
        base_url=emulator.url,
        headers={"authorization": f"Bearer {emulator.environ()['BRAINTRUST_API_KEY']}"},
        timeout=5,
        verify=TLS,
    ) as client:
        yield client


@pytest.fixture
def gateway(emulator: Emulator) -> Iterator[httpx.Client]:
    """A client of the Cloudflare gateway, at the place of its providers."""
    with httpx.Client(
        base_url=emulator.environ()["CLOUDFLARE_GATEWAY_URL"],
        headers={"authorization": "Bearer any-key"},
        timeout=5,
        verify=TLS,
    ) as client:
        yield client
