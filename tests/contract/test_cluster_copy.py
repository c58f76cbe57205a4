"""A copy of a cluster's features, node by node at moments of their own, goes on as the store would have; doctor asks each node."""

from __future__ import annotations

from pathlib import Path

import pytest

from features import redis_copy
from features.redis_cluster import ClusterFeatureStore
from features.redis_nodes import servers
from features.redis_server import redis_facts
from features.redis_store import base_key
from features.store import InMemoryFeatureStore, Source, StoreUnavailable
from stream import backup
from stream.backup_files import REDIS_FILE, frames
from stream.bootstrap import store_name
from stream.config import load
from tests.contract.schedules import feature_set, unnumbered
from tests.contract.test_cluster_store import KEY, PROBES, payments, said

ALL = feature_set()


@pytest.fixture
def config(cluster, tmp_path):
    cluster.flush()
    return load({"dir": str(tmp_path), "redis": f"{cluster.url}?shards=8"}, {}, Path("no.toml"))


def store_of(config):
    return ClusterFeatureStore(config.redis, ALL, prefix=store_name(config), hash_key=KEY)


def test_a_copy_whose_nodes_stand_at_other_moments_is_made_whole_from_the_log(config, tmp_path, monkeypatch):
    store, whole = store_of(config), InMemoryFeatureStore(ALL)
    batches = [[*payments(at, at + 20), *said(at, at + 20)] for at in (0, 20, 40)]
    places = [Source("transactions", 0, at, at + 40) for at in (0, 40, 80)]
    store.apply(batches[0], places[0])
    real, taken = redis_copy.fetch_snapshot, []

    def fetch(url, file):
        if taken:
            store.apply(batches[1], places[1])  # by the second node's moment there is more
        taken.append(url)
        return real(url, file)

    monkeypatch.setattr(redis_copy, "fetch_snapshot", fetch)
    found = backup._redis_positions(config, config.redis, tmp_path, print)
    held = redis_copy.held_by(found, base_key(store_name(config), ALL).decode())
    assert len(taken) == 3
    assert held == {"transactions/0": 40}

    prefix = backup.store_prefix(config)
    assert not redis_copy.is_empty(config.redis, prefix)
    redis_copy.clear(config.redis, prefix)
    assert redis_copy.is_empty(config.redis, prefix)
    redis_copy.fill(config.redis, frames(tmp_path / REDIS_FILE))
    again = store_of(config)
    assert again.positions() == {("transactions", 0): 40}
    for batch, place in zip(batches[1:], places[1:], strict=True):
        again.apply(batch, place)
    for batch in batches:
        whole.apply(batch)
    assert unnumbered(again.apply(PROBES)) == unnumbered(whole.apply(PROBES))
    store.close()
    again.close()


def test_a_copy_of_a_server_alone_is_none_of_a_cluster(config):
    assert redis_copy.layout(config.redis) != redis_copy.layout("redis://host")


def test_every_node_is_asked_how_it_is(cluster, config):
    facts = redis_facts(config.redis)
    assert sorted(facts) == sorted(f"127.0.0.1:{node.port}" for node in cluster.nodes)
    assert {each.role for each in facts.values()} == {"master"}
    assert sorted(servers(config.redis, 1.0)) == sorted(
        f"redis://127.0.0.1:{node.port}" for node in cluster.nodes
    )


def test_a_cluster_that_does_not_answer_is_a_finding_and_no_crash():
    with pytest.raises(StoreUnavailable, match="does not answer"):
        redis_facts("redis+cluster://127.0.0.1:1")
