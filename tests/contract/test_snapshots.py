"""A store that a server has lost is put back from the newest snapshot, to the byte, or not at all."""

import tempfile
import threading
from pathlib import Path

import pytest

from features import redis_copy, redis_snapshot
from features.generations import Generation
from features.redis_generations import RedisLive, live_key
from features.redis_store import FORMAT, RedisFeatureStore
from features.store import Source, StoreUnavailable
from stream import snapshots
from stream.config import load
from tests.contract.schedules import feature_set
from tests.contract.test_redis_copy import payments

KEY = b"a key for digests"
PREFIX = redis_copy.prefix_of("weir:")
MINE = Generation(FORMAT, feature_set(), "m")


@pytest.fixture
def server(valkey_at):
    return valkey_at()


@pytest.fixture
def config(server):
    with tempfile.TemporaryDirectory(prefix="weir-") as directory:  # a socket's path must be short
        yield load({"dir": directory, "redis": server.url, "profile": "payments"}, {}, Path("none.toml"))


@pytest.fixture
def store(server):
    made = RedisFeatureStore(server.url, feature_set(), prefix="weir:", hash_key=KEY)
    yield made
    made.close()


@pytest.fixture
def live(server):
    made = RedisLive(server.url, "weir:")
    made.claim(MINE)
    yield made
    made.close()


def held(server):
    return {key: what for some in redis_copy.entries(server.url, PREFIX) for key, _, what in some}


def test_what_was_lost_is_there_again_and_goes_on_as_it_would_have(server, config, store, live):
    store.apply(payments(0, 300), Source("transactions", 0, 0, 301))
    with server.client() as client:
        client.set("somebody's", "own")
        client.execute_command("SELECT", 3)
        client.set("elsewhere", 1)
    snapshots.take(config)
    expected = held(server)
    assert not snapshots.put_back(config, server.url, live, MINE), "nothing is lost"
    with server.client() as client:
        client.flushall()
    assert snapshots.put_back(config, server.url, live, MINE)
    assert held(server) == expected
    assert live.read() == MINE
    with server.client() as client:
        assert sorted(client.keys()) == sorted(expected), "nobody else's keys came with it"
    assert store.positions() == {("transactions", 0): 301}
    more = payments(300, 20)
    assert [each.seq for each in store.apply(more, Source("transactions", 0, 301, 322))] == [*range(302, 323)]


def test_without_a_snapshot_it_begins_with_nothing(server, config, live):
    with server.client() as client:
        client.flushall()
    assert not snapshots.put_back(config, server.url, live, MINE)
    assert held(server) == {}


def test_one_that_is_damaged_is_passed_over_for_the_one_before(server, config, store, live, caplog):
    store.apply(payments(0, 10), Source("transactions", 0, 0, 11))
    snapshots.take(config)
    expected = held(server)
    store.apply(payments(10, 10), Source("transactions", 0, 11, 22))
    file = snapshots.take(config)
    file.write_bytes(file.read_bytes()[:-1])
    with server.client() as client:
        client.flushall()
    assert snapshots.put_back(config, server.url, live, MINE)
    assert held(server) == expected
    assert "not as it was written" in caplog.text


def test_the_newest_two_stay(server, config, store, live):
    for begin in range(0, 40, 10):
        store.apply(payments(begin, 10))
        newest = snapshots.take(config)
    assert len(list(snapshots.folder_of(config).glob("*.rdb"))) == snapshots.KEPT
    assert snapshots.newest(config)[0] == newest


def test_what_was_put_back_in_part_is_begun_anew(server, config, store, live, monkeypatch):
    store.apply(payments(0, 300), Source("transactions", 0, 0, 301))
    snapshots.take(config)
    expected = held(server)
    with server.client() as client:
        client.flushall()
    whole, pour = redis_snapshot._pour, lambda url, commands: (whole(url, commands), 1 / 0)
    monkeypatch.setattr(redis_snapshot, "_pour", pour)
    with pytest.raises(ZeroDivisionError):
        snapshots.put_back(config, server.url, live, MINE)
    assert held(server)
    assert store.positions() == {}, "nobody may take it for whole"
    monkeypatch.setattr(redis_snapshot, "_pour", whole)
    assert snapshots.put_back(config, server.url, live, MINE)
    assert held(server) == expected


def test_what_was_put_back_in_part_does_not_stay_where_there_is_no_snapshot_any_more(server, config, store):
    store.apply(payments(0, 30))
    with server.client() as client:
        client.set("weir:restoring", 1)
        client.delete(live_key("weir:"))
    live = RedisLive(server.url, "weir:")
    assert not snapshots.put_back(config, server.url, live, MINE)
    assert held(server) == {}
    store.apply(payments(0, 30))
    assert not snapshots.put_back(config, server.url, live, MINE)
    live.close()


def test_of_several_that_start_at_once_one_puts_it_back(server, config, store, live):
    store.apply(payments(0, 300), Source("transactions", 0, 0, 301))
    snapshots.take(config)
    expected = held(server)
    with server.client() as client:
        client.flushall()
    did = []
    workers = [
        threading.Thread(
            target=lambda: did.append(snapshots.put_back(config, server.url, live_of(server), MINE))
        )
        for _ in range(3)
    ]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert did.count(True) == 1
    assert held(server) == expected


def live_of(server):
    return RedisLive(server.url, "weir:")


def test_a_server_that_does_not_take_it_says_why(server, tmp_path):
    commands = tmp_path / "commands"
    commands.write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nSET\r\n$1\r\na\r\n")
    with pytest.raises(StoreUnavailable, match="does not take the snapshot: ERR wrong number of arguments"):
        redis_snapshot.pour(server.url, commands, [], "weir:restoring")
    with server.client() as client:
        assert client.exists("weir:restoring")
