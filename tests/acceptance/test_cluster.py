"""The real scorer with its features on a Redis Cluster: killed, and one of its nodes too, it decides each event once, exactly."""

from __future__ import annotations

import signal
import threading

import msgspec
import pytest

from stream.decisions import DECISIONS
from tests.acceptance.harness import eventually, first_by_id, rows, stop, weir
from tests.acceptance.test_audit import EVENTS, SOME
from tests.contract.cluster import Cluster

pytestmark = pytest.mark.slow


@pytest.fixture
def cluster(tmp_path):
    found = Cluster(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    yield found
    found.kill()


def test_a_scorer_on_a_cluster_decides_what_the_audit_finds_exact(home, started, payments, profile, cluster):
    some = home.parent / "some.jsonl"
    some.write_bytes(b"".join(payments.read_bytes().splitlines(keepends=True)[SOME]))

    def score():
        return started(
            "worker", "--role", "score", "--profile", profile, directory=home, WEIR_REDIS=cluster.url
        )

    def decided(count):
        eventually(lambda: len(rows(home, DECISIONS)) >= count, f"{count} events were decided")

    worker = score()
    started("send", some, "--profile", profile, "--rate", "100", "--label-delay", "6h", directory=home)
    decided(100)
    stop(worker, signal.SIGKILL)
    worker = score()
    decided(250)
    cluster.nodes[1].kill()
    back = threading.Timer(0.5, cluster.nodes[1].start)
    back.start()
    eventually(lambda: len(first_by_id(rows(home, DECISIONS))) == EVENTS, "every event was decided")
    back.join()
    assert worker.is_running()
    started("doctor", "--json", directory=home, WEIR_REDIS=cluster.url).wait(60)
    told = msgspec.json.decode((home / "doctor---json.out").read_bytes())
    checks = {each["check"] for each in told["findings"] if each["state"] == "ok"}
    assert {f"redis 127.0.0.1:{node.port}" for node in cluster.nodes} <= checks
    stop(worker)

    made = rows(home, DECISIONS)
    assert all(row["shards"]["of"] == 16 for row in made)
    assert any(row["features"]["merchant_risk_1d"] for row in made), "labels count"
    audit = ("features", "audit", "--profile", profile, "--sample", "1", "--json")
    told = msgspec.json.decode(weir(*audit, directory=home))
    assert (told["well"], told["differing"], told["sampled"]) == (True, 0, EVENTS)
    assert (told["gone"], told["shared"], told["unclaimed"], told["undecided"]) == (0, 0, 0, 0)
    assert {each["compared"] for each in told["features"]} == {EVENTS}
