"""A copy of a feature store goes on as the store would have, holds nobody else's keys, and is of one moment or none."""

import pytest

from features import redis_copy
from features.redis_store import RedisFeatureStore, base_key
from features.store import Source, StoreUnavailable
from stream import backup
from stream.backup_files import BackupError
from stream.embedded.server import reading
from tests.contract.schedules import feature_set, label, transaction
from tests.contract.test_redis_store import client_of

ALL, KEY, NAME = feature_set(), b"a key for digests", "[mine]*"
PREFIX = redis_copy.prefix_of(NAME)


@pytest.fixture
def server(valkey):
    client_of(valkey).flushall()
    return valkey


def store_at(url, name=NAME):
    return RedisFeatureStore(url, ALL, prefix=name, hash_key=KEY)


def payments(first, count):
    made = [transaction(f"t{at}", at / 10, amount=100 + at) for at in range(first, first + count)]
    return [*made, label(f"l{first}", f"t{first}", first / 10 + 8)]


def test_a_copy_of_a_running_server_goes_on_as_the_server_does(server, valkey_at, tmp_path):
    store = store_at(server.url)
    store.apply(payments(0, 300), Source("transactions", 0, 0, 301))
    store_at(server.url, "m*").apply(payments(0, 5))
    number = redis_copy.fetch_snapshot(server.url, tmp_path / "all.rdb")
    assert number == 0
    later = payments(300, 50)
    expected = store.apply(later, Source("transactions", 0, 301, 352))

    with reading(tmp_path, "all.rdb") as url:
        copied = [entry for some in redis_copy.entries(url, PREFIX) for entry in some]
    assert {key[: len(PREFIX)] for key, _, _ in copied} == {PREFIX.encode()}
    base = base_key(NAME, ALL).decode()
    assert redis_copy.positions_in(copied) == {base: {"transactions/0": 301}}
    counts = (base.encode() + b"d" + b"\xcd" * 14 + b"}p", "hash", [(b"1:1:x", b"1")])  # a digest may end so
    assert redis_copy.positions_in([*copied, counts]) == {base: {"transactions/0": 301}}
    fresh = valkey_at().url
    assert redis_copy.is_empty(fresh, PREFIX)
    assert redis_copy.fill(fresh, [copied]) == len(copied)
    again = store_at(fresh)
    assert again.positions() == {("transactions", 0): 301}
    assert again.apply(later, Source("transactions", 0, 301, 352)) == expected


def test_nothing_but_what_begins_so_is_cleared(server):
    store_at(server.url).apply(payments(0, 40))
    store_at(server.url, "m*").apply(payments(0, 5))
    others = [key for key in client_of(server).scan_iter() if not key.startswith(PREFIX.encode())]
    redis_copy.clear(server.url, PREFIX)
    assert sorted(client_of(server).scan_iter()) == sorted(others)
    assert others


@pytest.fixture
def closed(server):
    """A user who may not copy all data."""
    client = client_of(server)
    client.acl_setuser("weir", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-sync"])
    yield f"unix://weir:any@{server.socket}"
    client.acl_deluser("weir")


def test_a_server_that_gives_nobody_all_its_data_says_so(closed, tmp_path):
    with pytest.raises(redis_copy.SnapshotRefused, match=r"gives no copy of its data: .*NOPERM"):
        redis_copy.fetch_snapshot(closed, tmp_path / "all.rdb")


def test_keys_that_are_read_one_by_one_are_a_copy_only_if_nothing_was_applied_meanwhile(
    closed, server, tmp_path, monkeypatch
):
    store = store_at(server.url)
    store.apply(payments(0, 40), Source("transactions", 0, 0, 41))
    found = backup._copy_still(closed, PREFIX, tmp_path / "still")
    assert found == {base_key(NAME, ALL).decode(): {"transactions/0": 41}}

    def entries(url, prefix, real=redis_copy.entries):
        yield from real(url, prefix)
        if prefix == PREFIX:
            store.apply(payments(100, 1), Source("transactions", 0, 41, 43))

    monkeypatch.setattr(redis_copy, "entries", entries)
    with pytest.raises(BackupError, match="stop the score workers while the backup runs"):
        backup._copy_still(closed, PREFIX, tmp_path / "moving")


def test_a_key_that_weir_does_not_write_is_refused(server):
    client_of(server).rpush(f"{PREFIX}x", "1")
    with pytest.raises(StoreUnavailable, match="keys of the kind list are none that Weir writes"):
        list(redis_copy.entries(server.url, PREFIX))
