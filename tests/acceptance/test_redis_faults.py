"""Whatever happens to Redis under load, every event is decided once, with the features of a run left alone.

Kept alive as ``weir up`` keeps it alive, a worker may die as often as it likes.
"""

import shutil
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis

from stream.agents import CRASHED
from stream.decisions import ALERTS, DECISIONS, LABELS, TRANSACTIONS
from stream.records import TP, Outgoing
from stream.up import Part
from tests.acceptance.harness import (
    env,
    eventually,
    first_by_id,
    log_of,
    rows,
    start,
    stop,
    weir,
    without_clock,
)
from tests.contract.valkey import Valkey

pytestmark = pytest.mark.slow

EVENTS = 6_000
SLICE, PAUSE = 100, 0.05
"""Records that arrive at once, and seconds until the next do: five seconds and more of load."""

AFTER = 1_500
"""Decisions after which things begin to happen."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, payments, profile, model):
    """A run that nobody disturbs: its directory, and what it decided."""
    home = tmp_path_factory.mktemp("undisturbed") / "weir"
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    worker = start("worker", "--role", "score", "--profile", profile, "--model", model, directory=home)
    try:
        eventually(lambda: decided(home) >= EVENTS and done(home), "every event was decided")
    finally:
        stop(worker)
    return home, first_by_id(rows(home, DECISIONS))


class Kept:
    """A worker, started again by the supervisor's own lines whenever it dies."""

    def __init__(self, arguments, environment, output):
        self._part = Part("score", arguments, environment, output)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self.output, self.said = output, []

    def start(self):
        self._part.start()
        self._thread.start()

    def _keep(self):
        while not self._ended.wait(0.05):
            line = self._part.check()
            if line:
                self.said.append(line)

    def stop(self):
        self._ended.set()
        self._thread.join()
        self._part.terminate()
        self._part.wait(time.monotonic() + 10)

    def text(self):
        return self.output.read_text() if self.output.exists() else ""


class Weir:
    """One Weir under load: a log, a worker, and servers of which a link names the one that is used."""

    def __init__(self, home, place, worker):
        self.home, self.worker = home, worker
        self.link = place / "redis.sock"
        self._place = place
        self.servers = []
        self.flows = threading.Event()
        self.flows.set()

    def server(self, *settings):
        directory = self._place / str(len(self.servers))
        directory.mkdir()
        made = Valkey(directory, "--appendonly", "yes", "--enable-debug-command", "yes", *settings)
        self.servers.append(made)
        made.start()
        return made

    def use(self, server):
        new = self.link.with_suffix(".new")
        new.symlink_to(server.socket)
        new.rename(self.link)


@pytest.fixture
def under_load(home, undisturbed, profile, model):
    """A Weir that is fed the undisturbed run's log, and has decided some of it."""
    before, _ = undisturbed
    home.mkdir()
    shutil.copytree(before / "keys", home / "keys")  # so that the pseudonyms are the same
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:  # a socket's path must be short
        link = Path(directory, "redis.sock")
        arguments = ["worker", "--role", "score", "--profile", str(profile), "--model", str(model)]
        worker = Kept(arguments, env(home, WEIR_REDIS=f"unix://{link}"), home / "score.log")
        made = Weir(home, Path(directory), worker)
        feeding = threading.Thread(target=feed, args=(before, home, made.flows))
        try:
            made.use(made.server())
            worker.start()
            feeding.start()
            eventually(lambda: decided(home) > AFTER, "the worker decides", pause=0.01)
            yield made
        finally:
            made.flows.set()
            feeding.join()
            worker.stop()
            for server in made.servers:
                server.kill()


def feed(before, home, flows):
    """What arrived there arrives here, in its order, a slice at a time, while `flows` is set."""
    source, target = log_of(before), log_of(home)
    reader = source.reader({TP(TRANSACTIONS, 0): 0, TP(LABELS, 0): 0})
    while records := reader.fetch(SLICE):
        flows.wait()
        topic = records[0].topic
        run = []
        for record in records:
            if record.topic != topic:
                target.append(topic, run)
                topic, run = record.topic, []
            run.append(Outgoing(record.key, record.value, record.headers))
        target.append(topic, run)
        time.sleep(PAUSE)
    source.close()
    target.close()


def decided(home):
    """How many decisions are on the log."""
    return log_of(home).end_offsets(DECISIONS)[0]


def done(home):
    """Whether the worker has committed all there is."""
    log = log_of(home)
    return all(
        log.committed("weir-score", topic) == log.end_offsets(topic) for topic in (TRANSACTIONS, LABELS)
    )


def all_is_as_if_nothing_had_happened(weir, undisturbed, seconds=120):
    """Nothing lost, nothing counted twice, no other feature, score or alert by id."""
    before, expected = undisturbed
    finished = log_of(before).end_offsets(TRANSACTIONS)
    eventually(lambda: log_of(weir.home).end_offsets(TRANSACTIONS) == finished, "all is fed", seconds)
    eventually(lambda: decisions_of(weir.home) >= EVENTS and done(weir.home), "all is decided", seconds, 0.5)
    made = first_by_id(rows(weir.home, DECISIONS))
    assert set(made) == set(expected)
    different = [name for name in expected if made[name] != expected[name]]
    assert not different, (
        f"{len(different)} differ, such as {made[different[0]]} and {expected[different[0]]}"
    )
    assert alerts(weir.home) == alerts(before)
    assert rows(weir.home, "transactions.dlq") == []


def decisions_of(home):
    return len(first_by_id(rows(home, DECISIONS)))


def alerts(home):
    first = {}
    for row in rows(home, ALERTS):
        first.setdefault(row["alert_id"], without_clock(row))
    return first


def held(server):
    """How far the store holds the payments; None while it does not answer, or holds nothing."""
    try:
        with server.client() as client:
            for key in client.keys("*}p"):
                if place := client.hget(key, "transactions/0"):  # a digest may end so too
                    return place
    except redis.RedisError:
        return None
    return None


def test_a_server_that_is_killed_and_comes_back_whole(under_load, undisturbed):
    (server,) = under_load.servers
    for _ in range(3):
        server.kill()
        time.sleep(0.3)
        server.start()
        time.sleep(0.5)
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    assert under_load.worker.said == []


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5])
def test_a_server_that_is_killed_and_lacks_its_last_writes(under_load, undisturbed, share):
    (server,) = under_load.servers
    under_load.flows.clear()  # what is lost must have been acknowledged: a batch on its way is sent again, and nothing lacks
    time.sleep(4 * PAUSE)
    eventually(lambda: done(under_load.home), "nothing is on its way")
    server.kill()
    server.cut(share)
    server.start()
    under_load.flows.set()
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    assert "StoreBehind: the feature store has lost what it had applied" in under_load.worker.text()


def test_a_server_that_somebody_empties(under_load, undisturbed):
    (server,) = under_load.servers
    with server.client() as client:
        client.flushall()
        all_is_decided_by_a_worker_that_was_started_again(under_load)
        client.flushall()
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    assert "knows nothing of it, so all of it is read again" in under_load.worker.text()


def all_is_decided_by_a_worker_that_was_started_again(weir):
    now = decided(weir.home)
    eventually(lambda: weir.worker.said, "the worker died")
    eventually(lambda: decided(weir.home) > now + 500, "a new one decides")


def test_a_server_that_was_emptied_while_nobody_looked(under_load, undisturbed):
    """The load is over, the worker idle and committed: the next event would find nothing."""
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    (server,) = under_load.servers
    with server.client() as client:
        client.flushall()
    log_of(under_load.home).append(TRANSACTIONS, last_record_of(under_load.home))
    eventually(
        lambda: held(server) is not None and decided(under_load.home) >= 2 * EVENTS, "all of it anew", 120
    )
    eventually(lambda: done(under_load.home), "all is done")
    assert first_by_id(rows(under_load.home, DECISIONS)) == undisturbed[1]


def last_record_of(home):
    log = log_of(home)
    last = log.end_offsets(TRANSACTIONS)[0] - 1
    return [
        Outgoing(each.key, each.value, each.headers) for each in log.fetch({TP(TRANSACTIONS, 0): last}, 1)
    ]


def test_a_failover_to_a_replica_that_lacks_the_last_second(under_load, undisturbed):
    (primary,) = under_load.servers
    under_load.flows.clear()  # a slow copy must not outlast the load
    replica = primary.replicated_by(under_load.server)
    applied = held(replica)
    under_load.flows.set()
    eventually(lambda: held(primary) != applied, "the primary goes on", pause=0.01)
    time.sleep(1.0)
    under_load.use(replica)
    primary.kill()
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    assert "StoreBehind" in under_load.worker.text()


def test_a_server_whose_memory_is_full_until_it_gets_more(under_load, undisturbed):
    (server,) = under_load.servers
    with server.client() as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"])
        eventually(
            lambda: "is full: give it more memory (maxmemory)" in under_load.worker.text(), "it is told"
        )
        client.config_set("maxmemory", 0)
    all_is_as_if_nothing_had_happened(under_load, undisturbed)


def test_a_server_that_takes_no_writes_for_a_while(under_load, undisturbed):
    (server,) = under_load.servers
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        eventually(lambda: "takes no writes (it is a replica?)" in under_load.worker.text(), "it is told")
        eventually(lambda: under_load.worker.said, "the worker gives up")
        client.execute_command("REPLICAOF", "NO", "ONE")
    all_is_as_if_nothing_had_happened(under_load, undisturbed)


def test_a_server_that_stands_still_for_seconds(under_load, undisturbed):
    (server,) = under_load.servers
    with server.client() as client:
        client.execute_command("CLIENT", "PAUSE", "3000", "ALL")
        time.sleep(3.5)
        client.execute_command("DEBUG", "SLEEP", "12")  # longer than an answer is waited for
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    assert under_load.worker.said == []


def test_a_server_that_is_away_for_a_minute(under_load, undisturbed):
    (server,) = under_load.servers
    server.kill()
    time.sleep(60)
    server.start()
    all_is_as_if_nothing_had_happened(under_load, undisturbed)
    assert "no answer from the Redis at unix://" in under_load.worker.text()
    assert any("no answer from the Redis at" in line for line in under_load.worker.said)


def test_a_worker_does_not_start_where_the_log_let_go_what_an_emptied_store_needs(home, started):
    log, place = log_of(home), TP(TRANSACTIONS, 0)
    log.ensure_topic(TRANSACTIONS, retention_ms=0)
    log.append(TRANSACTIONS, [Outgoing(b"k", b"{}")] * 3)
    log.commit("weir-score", {place: 3})
    time.sleep(0.05)
    assert log.retain()
    log.append(TRANSACTIONS, [Outgoing(b"k", b"{}")])
    worker = started("worker", "--role", "score", directory=home)
    assert worker.wait(60) == CRASHED
    (output,) = home.glob("worker*.out")
    assert "transactions[0]: the feature store has lost what it held from offset 0 on" in output.read_text()
    started("worker", "--role", "score", directory=home, WEIR_ACCEPT_GAP="1")
    eventually(lambda: log.end_offsets("transactions.dlq")[0] == 1, "it goes on")
    assert "accepted, as WEIR_ACCEPT_GAP says" in output.read_text()


def test_a_worker_does_not_start_on_a_log_that_ends_before_what_was_made_of_it(home, started):
    log = log_of(home)
    log.ensure_topic(TRANSACTIONS)
    log.append(TRANSACTIONS, [Outgoing(b"k", b"{}")] * 3)
    log.commit("weir-score", {TP(TRANSACTIONS, 0): 5})
    assert started("worker", "--role", "score", directory=home).wait(60) == CRASHED
    (output,) = home.glob("worker*.out")
    told = output.read_text()
    assert "transactions[0]: the log ends at offset 3, but this group has committed up to 5" in told
    assert "begin anew, with another WEIR_TOPIC_PREFIX" in told
    assert log.end_offsets("transactions.dlq") == {0: 0}
