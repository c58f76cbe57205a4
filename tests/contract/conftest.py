"""The stores that the contract holds for, and a Valkey of their own to hold it in."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from features.redis_cluster import ClusterFeatureStore
from features.redis_store import RedisFeatureStore
from features.store import InMemoryFeatureStore
from tests.contract.cluster import Cluster, Numbered
from tests.contract.valkey import Valkey

KEY = b"a key for digests"


@pytest.fixture(scope="session")
def valkey_at() -> Iterator[object]:
    """A maker of servers, each with settings of its own; they end with the tests."""
    servers: list[Valkey] = []
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:  # a socket's path must be short

        def start(*settings: str) -> Valkey:
            place = Path(directory, str(len(servers)))
            place.mkdir()
            servers.append(Valkey(place, *settings))
            servers[-1].start()
            return servers[-1]

        yield start
        for server in servers:
            server.kill()


@pytest.fixture(scope="session")
def valkey(valkey_at) -> Valkey:
    """A server that is shared; every store has a prefix of its own."""
    return valkey_at()


@pytest.fixture(scope="session")
def make_redis_store(valkey):
    """A maker of empty stores in Valkey."""
    stores: list[RedisFeatureStore] = []
    prefixes = itertools.count()

    def make(features, key=KEY):
        if stores:
            stores.pop().close()
        stores.append(RedisFeatureStore(valkey.url, features, prefix=f"test{next(prefixes)}", hash_key=key))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Three nodes that are shared; every store has a prefix of its own."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        found = Cluster(Path(directory))
        yield found
        found.kill()


@pytest.fixture(scope="session")
def make_cluster_store(cluster):
    """A maker of empty stores on the cluster."""
    stores: list[ClusterFeatureStore] = []
    prefixes = itertools.count()

    def make(features, key=KEY):
        if stores:
            stores.pop().close()
        prefix = f"test{next(prefixes)}"
        stores.append(Numbered(f"{cluster.url}?shards=4", features, prefix=prefix, hash_key=key))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture(scope="session", params=["memory", "redis", pytest.param("cluster", marks=pytest.mark.slow)])
def make_store(request):
    """A maker of empty stores of one kind."""
    if request.param != "memory":
        return request.getfixturevalue(f"make_{request.param}_store")
    return lambda features: InMemoryFeatureStore(features, KEY)
