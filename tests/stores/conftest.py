"""The stores that the contract suite runs over."""

from __future__ import annotations

import contextlib
import secrets

import pytest
from redis_server import Servers

from thumbprint.stores import BufferedStore, MemoryStore
from thumbprint.stores.redis import RedisStore
from thumbprint.stores.sqlite import SqliteStore

# name → the fixture that makes its stores. Each is called as `make(name, **settings)`: another name is another store,
# and where a store can be shared the same name is the same one, as another process would open it. The settings are
# those that all stores have. A new store joins here, and the contract runs over it.
STORES = {
    "memory": "make_memory_store",
    "sqlite": "make_sqlite_store",
    "buffered": "make_buffered_store",
    "redis": "make_redis_store",
}
SHARED = [name for name in STORES if name != "memory"]


@pytest.fixture
def make_memory_store():
    return lambda name, **settings: MemoryStore(**settings)


@pytest.fixture
def make_sqlite_store(tmp_path):
    with contextlib.ExitStack() as opened:

        def make(name, **settings):
            store = SqliteStore(tmp_path / f"{name}.db", **settings)
            opened.callback(store.close)
            return store

        yield make


@pytest.fixture
def make_buffered_store(make_sqlite_store):
    return lambda name, **settings: BufferedStore(make_sqlite_store(name, **settings))


@pytest.fixture(scope="session")
def redis_servers():
    """Lend servers by name; they run until the end, and every test keeps to prefixes of its own."""
    with Servers() as running:
        yield running


@pytest.fixture
def make_redis_store(redis_servers):
    url, test = redis_servers.newest.url, secrets.token_hex(8)
    with contextlib.ExitStack() as opened:

        def make(name, **settings):
            store = RedisStore(url, prefix=f"{test}-{name}", **settings)
            opened.callback(store.close)
            return store

        yield make


@pytest.fixture(params=STORES)
def make_store(request):
    return request.getfixturevalue(STORES[request.param])


@pytest.fixture(params=SHARED)
def make_shared_store(request):
    return request.getfixturevalue(STORES[request.param])


@pytest.fixture
def store(make_store):
    return make_store("store")


@pytest.fixture
def stores(make_shared_store):
    """Return the same store twice, as two processes have it."""
    return make_shared_store("store"), make_shared_store("store")
