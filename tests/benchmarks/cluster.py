"""The feature store on a cluster of three nodes against the one on a server alone, in one run, on this machine.

usage: python -m tests.benchmarks.cluster

The handbook's features on payments and labels, as in `store`. Both get the same batches, in turns, two in line; every node
and the client share this machine's cores, so the cluster shows what it costs, not what three machines would give.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import redis

from features.catalogue import FeatureSet
from features.events import Event
from features.grammar import Scope, parse_all
from features.redis_cluster import ClusterFeatureStore
from features.redis_store import RedisFeatureStore
from features.store import Run, Source
from tests.benchmarks.store import DECLARED, ENTITIES, history
from tests.contract.cluster import Cluster
from tests.contract.valkey import Valkey

BATCH, ROUNDS = 500, 16
LONG_US = 2_000
"""No call may hold a node up for longer."""


def main() -> None:
    """Print events a second of both, what the servers spend on an item, and how many calls were long."""
    features = FeatureSet(parse_all(DECLARED, Scope(ENTITIES)), ENTITIES)
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:
        (home := Path(directory, "alone")).mkdir()
        alone, cluster = Valkey(home, "--appendonly", "yes"), Cluster(Path(directory), "--appendonly", "yes")
        alone.start()
        try:
            report(features, history(), alone, cluster)
        finally:
            alone.kill()
            cluster.kill()


def report(features: FeatureSet, items: Sequence[Event], alone: Valkey, cluster: Cluster) -> None:
    """Run both on the same items, in turns: others' work on the machine slows both."""
    stores = {
        "a server alone": Timed(
            RedisFeatureStore(alone.url, features, prefix="b", hash_key=b"k"), [alone.client()]
        ),
        "three nodes": Timed(
            ClusterFeatureStore(cluster.url, features, prefix="b", hash_key=b"k"),
            [node.client() for node in cluster.nodes],
        ),
    }
    rounds = [items[at : at + 4 * BATCH] for at in range(0, len(items), 4 * BATCH)]
    for part in rounds[:-ROUNDS]:
        for store in stores.values():
            store.apply(part)
    for store in stores.values():
        store.begin()
    for part in rounds[-ROUNDS:]:
        for store in stores.values():
            store.apply(part)
    for name, store in stores.items():
        sys.stdout.write(f"{name}: {store.told()}\n")


class Timed:
    """A store, and what its servers say of the calls."""

    def __init__(self, store: Any, servers: Sequence[redis.Redis]) -> None:
        """Nothing is measured yet."""
        self._store, self._servers = store, servers
        self._at, self._count, self._used_s, self._rates = 0, 0, 0.0, list[float]()

    def apply(self, items: Sequence[Event]) -> None:
        """Some batches, all of them in line from the beginning."""
        began = time.perf_counter()
        waiting = [self._batch(items[at : at + BATCH]) for at in range(0, len(items), BATCH)]
        for batch in waiting:
            batch.apply()
            batch.answers()
        self._rates.append(len(items) / (time.perf_counter() - began))
        self._count += len(items)

    def _batch(self, some: Sequence[Event]) -> Any:
        before, self._at = self._at, self._at + len(some)
        return self._store.batch([Run(some, Source("t", 0, before, self._at, range(before, self._at)))])

    def begin(self) -> None:
        """Measure from now on."""
        self._rates, self._count, self._used_s = [], 0, self._used()
        for server in self._servers:
            server.config_resetstat()
            server.config_set("slowlog-log-slower-than", LONG_US)
            server.config_set("slowlog-max-len", 10_000)
            server.slowlog_reset()

    def told(self) -> str:
        """The rate, and the servers' time, in words."""
        stats = [server.info("commandstats")["cmdstat_evalsha"] for server in self._servers]
        calls, spent_us = sum(each["calls"] for each in stats), 1e6 * (self._used() - self._used_s)
        long = sum(server.slowlog_len() for server in self._servers)
        return (
            f"{median(self._rates):,.0f} items/s (of {len(self._rates)} rounds); their processors {spent_us / self._count:.1f} us "
            f"an item; {calls:,} calls, {long} of them over {LONG_US / 1000:g} ms by the clock on the wall"
        )

    def _used(self) -> float:
        """Seconds of the servers' processors."""
        told = [server.info("cpu") for server in self._servers]
        return float(sum(each["used_cpu_user"] + each["used_cpu_sys"] for each in told))


if __name__ == "__main__":
    main()
