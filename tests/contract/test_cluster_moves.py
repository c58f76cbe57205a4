"""A store on a cluster whose nodes die and come back, and whose slots move from one to another while events flow."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from pathlib import Path

import pytest
from redis.crc import key_slot

from features import redis_patience
from features.redis_cluster import ClusterFeatureStore, shard_keys
from features.store import InMemoryFeatureStore, Source, StoreUnavailable
from tests.contract.cluster import Cluster, until
from tests.contract.schedules import feature_set, unnumbered
from tests.contract.test_cluster_store import KEY, PROBES, payments, said

ALL = feature_set()
PREFIXES = (f"moves{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def durable():
    """A cluster whose nodes keep what they acknowledged."""
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        found = Cluster(Path(directory), "--appendonly", "yes", "--appendfsync", "always")
        yield found
        found.kill()


class Flow:
    """A store that is given payments and their labels, and a store in memory that is given the same."""

    def __init__(self, cluster: Cluster) -> None:
        self.prefix = next(PREFIXES)
        self.store = ClusterFeatureStore(f"{cluster.url}?shards=4", ALL, prefix=self.prefix, hash_key=KEY)
        self._whole, self._at = InMemoryFeatureStore(ALL), 0
        self.homes, self.shards = shard_keys(self.prefix, ALL, 4)

    def batch(self):
        return [*payments(self._at, self._at + 20), *said(self._at, self._at + 20)]

    def go_on(self) -> None:
        """The next batch gets the answers that it would in memory."""
        at, batch = self._at * 2, self.batch()
        told = self.store.apply(batch, Source("transactions", 0, at, at + 40))
        # What was interrupted may be answered as known; its features are the first ones.
        assert [each[1:] for each in unnumbered(told)] == [
            each[1:] for each in unnumbered(self._whole.apply(batch))
        ]
        self._at += 20

    def end(self) -> None:
        assert unnumbered(self.store.apply(PROBES)) == unnumbered(self._whole.apply(PROBES))
        self.store.close()


@pytest.fixture
def flow(durable):
    durable.wait()
    flowing = Flow(durable)
    flowing.go_on()
    yield flowing
    flowing.store.close()


def test_a_node_that_is_killed_and_comes_back_is_waited_for(durable, flow):
    durable.nodes[1].kill()
    back = threading.Timer(0.5, durable.nodes[1].start)
    back.start()
    flow.go_on()
    back.join()
    flow.end()


def test_a_node_that_stays_away_is_told_as_such_and_the_batch_is_made_whole_when_it_is_back(
    durable, flow, monkeypatch
):
    durable.nodes[2].kill()
    with monkeypatch.context() as impatient:
        impatient.setattr(redis_patience, "PATIENCE_S", (0.0, 0.0))
        with pytest.raises(StoreUnavailable, match=r"no answer from the Redis at redis\+cluster://127"):
            flow.go_on()
        until(lambda: not durable.nodes[0].whole(3), "nobody misses the node")
        with pytest.raises(StoreUnavailable, match=r"(is not whole|no answer)"):
            flow.go_on()
    durable.nodes[2].start()
    flow.go_on()
    flow.end()


def begin_moving(durable, slot):
    """As `valkey-cli --cluster reshard` moves a slot, key by key."""
    source = durable.node_of(slot)
    target = next(node for node in durable.nodes if node is not source)
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID"))
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID"))
    return source, target


def end_moving(durable, slot, owner):
    for node in durable.nodes:
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", owner.ask("CLUSTER", "MYID"))


@pytest.mark.parametrize("which", ["homes", "shards"])
def test_while_a_slot_is_moved_key_by_key_nothing_is_done_by_halves(durable, flow, monkeypatch, which):
    """Of a slot's keys some are here then and some there: a script that went ahead would break off in the middle."""
    monkeypatch.setattr(redis_patience, "PATIENCE_S", (0.0, 0.0))
    slot = key_slot(getattr(flow, which)[0])
    source, target = begin_moving(durable, slot)
    with pytest.raises(StoreUnavailable, match="is moving a slot that features lie in"):
        flow.go_on()
    keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100_000)
    half = len(keys) // 2
    for some in (keys[:half], keys[half:]):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 10_000, "KEYS", *some)
        held = source.ask("CLUSTER", "COUNTKEYSINSLOT", slot) + target.ask("CLUSTER", "COUNTKEYSINSLOT", slot)
        with pytest.raises(StoreUnavailable, match="is moving a slot that features lie in"):
            flow.go_on()
        assert held == source.ask("CLUSTER", "COUNTKEYSINSLOT", slot) + target.ask(
            "CLUSTER", "COUNTKEYSINSLOT", slot
        )
    end_moving(durable, slot, target)
    flow.go_on()
    assert half > 2
    assert durable.node_of(slot) is target
    flow.end()


def test_slots_that_are_moved_as_a_whole_hold_nothing_up(durable, flow):
    """As Valkey 9 moves them."""
    slot = key_slot(flow.shards[0])
    source = durable.node_of(slot)
    target = next(node for node in durable.nodes if node is not source)
    source.ask(
        "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.ask("CLUSTER", "MYID").decode()
    )
    deadline = time.monotonic() + 30
    while durable.node_of(slot) is source:
        flow.go_on()
        assert time.monotonic() < deadline
    for _ in range(3):
        flow.go_on()
    flow.end()
