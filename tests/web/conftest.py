from __future__ import annotations

import pytest
import sdk
import web_clients


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("THUMBPRINT_SECRET", web_clients.SECRET)
    return web_clients.SECRET


@pytest.fixture
def client(emulator, secret):
    """A captured client of the emulator's Cloudflare gateway."""
    import thumbprint  # noqa: PLC0415 - after the environment is set

    return thumbprint.wrap(sdk.openai_client(emulator.cloudflare_openai_url))
