"""Generations in Redis, on one server and on a cluster: which there are, and an old one goes without holding anybody up."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest

from features import redis_kept
from features.generations import Generation
from features.profile import load
from features.redis_cluster import ClusterFeatureStore
from features.redis_copy import escaped, prefix_of
from features.redis_generations import RedisLive
from features.redis_kept import FILLING, LIVE, MARK, OLD, Refused, drop, finish, kept
from features.redis_nodes import client_of
from features.redis_store import FORMAT, RedisFeatureStore
from features.store import Source
from stream import bootstrap, cli, config
from tests.contract.schedules import feature_set, label, transaction

SETS = [msgspec.structs.replace(feature_set(), records=records) for records in (100, 200, 300)]
NAMES = [f"{FORMAT}:{each.version}" for each in SETS]
MOST_US = 2_000


@pytest.fixture(params=["redis", pytest.param("cluster", marks=pytest.mark.slow)])
def place(request, monkeypatch):
    """A server or a cluster, with the stores of a name of their own."""
    prefix = f"{request.node.name}:"
    if request.param == "redis":
        server, kind = request.getfixturevalue("valkey"), RedisFeatureStore
        url, nodes = server.url, [server]
    else:
        server, kind = request.getfixturevalue("cluster"), ClusterFeatureStore
        url, nodes = f"{server.url}?shards=4", server.nodes
    stores = []

    def store(features, name=prefix):
        stores.append(kind(url, features, prefix=name, hash_key=b"k"))
        return stores[-1]

    live = RedisLive(url, prefix)
    monkeypatch.setattr(redis_kept, "IN_USE_S", 0)
    yield SimpleNamespace(url=url, prefix=prefix, store=store, live=live, nodes=nodes)
    for each in stores:
        each.close()
    live.close()


def generation(features):
    return Generation(FORMAT, features, "m")


def payments(count):
    made = [
        transaction(f"t{at}", at / 10, amount=100 + at, entities=(f"c{at % 700}", f"m{at % 50}"))
        for at in range(count)
    ]
    return [*made, label("l", "t0", 8)]


def filled(place, features, count=200, name=None):
    store = place.store(features, name or place.prefix)
    return store.apply(payments(count), Source("transactions", 0, 0, count + 1))


def keys_of(place, start):
    with client_of(place.url, 5) as client:
        return sorted(client.scan_iter(escaped(start)))


def of(place, name):
    return keys_of(place, f"{prefix_of(place.prefix)}{name}")


@contextmanager
def slow_calls(place):
    """The calls that took a server longer than MOST_US meanwhile."""
    clients = [node.client() for node in place.nodes]
    for client in clients:
        client.config_set("slowlog-log-slower-than", MOST_US)
        client.slowlog_reset()
    found = []
    yield found
    found += [each["command"][:60] for client in clients for each in client.slowlog_get(100)]
    for client in clients:
        client.close()


def test_generations_are_told_with_what_they_take_and_when_they_were_live(place):
    assert kept(place.url, place.prefix) == []
    for features, count in zip(SETS, (200, 400, 20), strict=True):
        filled(place, features, count)
    filled(place, SETS[0], 5, name="another:")
    began_us = time.time_ns() // 1_000
    place.live.claim(generation(SETS[0]))
    place.live.swap(generation(SETS[1]))
    assert place.live.hold(generation(SETS[2]), "me")
    found = {each.name: each for each in kept(place.url, place.prefix)}
    assert {name: each.state for name, each in found.items()} == dict(
        zip(NAMES, (OLD, LIVE, FILLING), strict=True)
    )
    assert next(iter(found)) == NAMES[1], "the live one first"
    for name, each in found.items():
        assert each.keys == len(of(place, name))
        assert each.bytes > 100 * each.keys / 2
        assert each.idle_s is not None
        assert 0 <= each.idle_s < 60
    assert found[NAMES[0]].left_us - began_us < 60_000_000
    assert found[NAMES[1]].left_us is None
    assert found[NAMES[1]].bytes > found[NAMES[2]].bytes
    some = {each.name: each for each in kept(place.url, place.prefix, most=100)}
    assert some.keys() <= found.keys(), "a part of the keys stands for all"


def test_what_a_generation_takes_is_about_what_the_server_says(place):
    filled(place, SETS[0], 400)
    with client_of(place.url, 5) as client:
        exact = sum(client.memory_usage(key) for key in of(place, NAMES[0]))
    [found] = kept(place.url, place.prefix)
    assert found.bytes == pytest.approx(exact, rel=0.4)


def test_an_old_one_goes_whole_and_nothing_else_does_and_no_call_is_long(place):
    answers = filled(place, SETS[1], 50)
    filled(place, SETS[0], 2_000)
    filled(place, SETS[0], 5, name=f"{place.prefix}more:")
    place.live.claim(generation(SETS[0]))
    place.live.swap(generation(SETS[1]))
    before, others = of(place, NAMES[0]), of(place, NAMES[1])
    told = []
    with slow_calls(place) as slow:
        count = drop(place.url, place.prefix, NAMES[0], told.append)
    assert slow == []
    assert count == len(before) > 1_000
    assert 0 < len(before) - sum(told) <= 2 * 9, "the heads went first"
    assert of(place, NAMES[0]) == []
    assert of(place, NAMES[1]) == others
    assert keys_of(place, prefix_of(f"{place.prefix}more:")) != []
    assert [each.name for each in kept(place.url, place.prefix)] == [NAMES[1]]
    assert place.live.left() == {}
    assert place.store(SETS[1]).apply(payments(50)) != [], "the live one answers"
    assert [each.vector for each in place.store(SETS[1]).apply(payments(50))] == [
        each.vector for each in answers
    ]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (NAMES[0], "is live: decisions rest on it"),
        (NAMES[1], "is being filled"),
        (f"{FORMAT}:{'0' * 16}", "there is no generation"),
        ("", "there is no generation"),
        (NAMES[2], "a worker of its profile may still decide on it"),
    ],
)
def test_what_is_live_or_filled_or_in_use_is_not_dropped(place, monkeypatch, name, why):
    monkeypatch.setattr(redis_kept, "IN_USE_S", 60)
    for features in SETS:
        filled(place, features, 20)
    place.live.claim(generation(SETS[0]))
    place.live.hold(generation(SETS[1]), "me")
    before = keys_of(place, prefix_of(place.prefix))
    with pytest.raises(Refused, match=why):
        drop(place.url, place.prefix, name)
    assert keys_of(place, prefix_of(place.prefix)) == before


def broken_off(place, monkeypatch, after):
    """Begin a drop, and die behind so many slices."""

    def let_go(*args, real=redis_kept._let_go):
        nonlocal after
        after -= 1
        if after < 0:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(redis_kept, "_let_go", let_go)
        with pytest.raises(KeyboardInterrupt):
            drop(place.url, place.prefix, NAMES[0])


@pytest.mark.parametrize("after", [0, 1, 4, 12, 25])
def test_a_drop_that_broke_off_is_completed_by_whoever_begins_on_that_generation(place, monkeypatch, after):
    expected = filled(place, SETS[0], 800)
    place.live.swap(generation(SETS[1]))
    broken_off(place, monkeypatch, after)
    assert of(place, NAMES[0]) != []
    assert finish(place.url, place.prefix, SETS[1]) == 0, "another generation's is none of theirs"
    finish(place.url, place.prefix, SETS[0])
    assert of(place, NAMES[0]) == []
    assert finish(place.url, place.prefix, SETS[0]) == 0
    store = place.store(SETS[0])
    assert store.positions() == {}
    again = store.apply(payments(800), Source("transactions", 0, 0, 801))
    assert [each.vector for each in again] == [each.vector for each in expected], "it begins with nothing"


def test_a_drop_that_broke_off_goes_on_when_it_is_said_again(place, monkeypatch):
    filled(place, SETS[0], 800)
    place.live.swap(generation(SETS[1]))
    broken_off(place, monkeypatch, 12)
    drop(place.url, place.prefix, NAMES[0])
    assert of(place, NAMES[0]) == []


def test_one_who_slept_drops_nothing_of_what_was_made_since(place, monkeypatch):
    """Its drop was completed, and the generation filled again, between two of its slices."""
    filled(place, SETS[0], 800)
    place.live.swap(generation(SETS[1]))
    made, slices = [], 0

    def let_go(*args, real=redis_kept._let_go):
        nonlocal slices
        slices += 1
        if slices == 12:
            with monkeypatch.context() as awake:
                awake.setattr(redis_kept, "_let_go", real)
                finish(place.url, place.prefix, SETS[0])
            filled(place, SETS[0], 800)
            made.extend(of(place, NAMES[0]))
        return real(*args)

    monkeypatch.setattr(redis_kept, "_let_go", let_go)
    with pytest.raises(Refused, match="somebody else drops it, or has done so"):
        drop(place.url, place.prefix, NAMES[0])
    assert of(place, NAMES[0]) == made


def test_one_that_became_live_meanwhile_stops_the_drop(place, monkeypatch):
    filled(place, SETS[0], 800)
    place.live.swap(generation(SETS[1]))
    monkeypatch.setattr(redis_kept, "PAGE", 50)
    with pytest.raises(Refused, match="became live meanwhile"):
        drop(place.url, place.prefix, NAMES[0], lambda count: place.live.swap(generation(SETS[0])))
    assert any(key.endswith(MARK) for key in of(place, NAMES[0])), "its first worker knows"


def test_the_command_line_lists_and_drops_and_says_why_not(place, capsys):
    def weir(*more):
        named = ["--redis", place.url, "--topic-prefix", place.prefix]
        with pytest.raises(SystemExit) as ended:
            cli.main(["features", "generations", *more, *named])
        return ended.value.code, capsys.readouterr()

    live = RedisLive(place.url, f"{place.prefix}weir:")
    for features in SETS[:2]:
        filled(place, features, 40, name=f"{place.prefix}weir:")
    live.claim(generation(SETS[0]))
    live.swap(generation(SETS[1]))
    live.close()
    _, said = weir("list", "--json")
    assert {each["name"]: each["state"] for each in msgspec.json.decode(said.out)} == {
        NAMES[0]: OLD,
        NAMES[1]: LIVE,
    }
    _, said = weir("list")
    assert all(name in said.out for name in NAMES[:2])
    status, said = weir("drop", NAMES[1])
    assert (status, "is live: decisions rest on it" in said.err) == (1, True)
    status, said = weir("drop", NAMES[0])
    assert (status, f"dropped {NAMES[0]}: " in said.out) == (0, True)
    _, said = weir("list", "--json")
    assert [each["name"] for each in msgspec.json.decode(said.out)] == [NAMES[1]]


def test_a_worker_completes_what_broke_off_before_it_begins(place, tmp_path, monkeypatch):
    profile = msgspec.structs.replace(load("payments"), features=SETS[0])
    filled(place, SETS[0], 800)
    place.live.swap(generation(SETS[1]))
    broken_off(place, monkeypatch, 12)
    monkeypatch.setattr(bootstrap, "store_name", lambda config: place.prefix)
    flags = {"redis": place.url, "dir": str(tmp_path)}
    store, close = bootstrap.features(config.load(flags, environ={}), profile)
    made = [key for key in of(place, NAMES[0]) if not key.endswith(b"n")]
    assert (store.positions(), made) == ({}, [])
    close()


def test_a_server_that_does_not_count_idleness_says_nothing_of_it(valkey):
    with valkey.client() as client:
        client.config_set("maxmemory-policy", "volatile-lfu")
        try:
            store = RedisFeatureStore(valkey.url, SETS[0], prefix="lfu:", hash_key=b"k")
            store.apply(payments(5))
            store.close()
            [found] = kept(valkey.url, "lfu:")
            assert found.idle_s is None
        finally:
            client.config_set("maxmemory-policy", "noeviction")
