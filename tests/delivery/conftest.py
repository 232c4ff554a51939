"""Stores by their URLs, for processes of a test's own."""

from __future__ import annotations

import pytest
from redis_server import Server


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/outbox.db"


@pytest.fixture
def redis_url():
    with Server() as server:
        yield server.url
