"""One key names the live generation, with all that others must know to decide on it; and one process at a time fills one."""

import time

import msgspec
import pytest

from features import redis_copy
from features.generations import Generation, decode, encode, mapping_hash
from features.profile import load
from features.redis_generations import RedisLive, live_key
from features.redis_store import FORMAT, RedisFeatureStore
from features.store import Source, StoreUnavailable
from stream.filling import Filler, fill_from_log, held_of
from stream.records import TP, Record
from tests.contract.schedules import feature_set, label

PAYMENTS = load("payments")
ONE = Generation(FORMAT, PAYMENTS.features, mapping_hash(PAYMENTS.source))
OTHER = Generation(FORMAT, feature_set(), "m")


@pytest.fixture
def live(valkey, request):
    made = RedisLive(valkey.url, f"{request.node.name}:")
    yield made
    made.close()


def test_what_is_named_is_told_whole_and_the_last_word_counts(live):
    assert live.read() is None
    live.claim(ONE)
    assert live.read() == ONE
    assert live.read().version == PAYMENTS.features_version
    live.claim(OTHER)
    assert live.read() == ONE, "it was taken"
    live.swap(OTHER)
    assert live.read() == OTHER


def test_a_backup_holds_it(valkey):
    live = RedisLive(valkey.url, "kept:")
    live.swap(ONE)
    prefix = redis_copy.prefix_of("kept:")
    assert [key for some in redis_copy.entries(valkey.url, prefix) for key, _, _ in some] == [
        live_key("kept:").encode()
    ]
    live.close()


def test_words_of_another_weir_name_nothing(live):
    assert decode(b'{"format":9,"sets":[]}') is None
    assert decode(b"\xff") is None
    assert decode(encode(ONE)) == ONE


def test_one_at_a_time_fills_a_generation_and_who_is_silent_is_followed(live, monkeypatch):
    monkeypatch.setattr("features.redis_generations.HELD_MS", 200)
    assert live.hold(ONE, "a")
    assert not live.hold(ONE, "b")
    assert live.hold(OTHER, "b"), "another generation is another thing"
    assert live.hold(ONE, "a")
    live.let_go(ONE, "b")
    assert not live.hold(ONE, "b"), "it was not b's to let go"
    live.let_go(ONE, "a")
    assert live.hold(ONE, "b")
    time.sleep(0.3)
    assert live.hold(ONE, "a")


def test_a_server_that_is_away_says_what_was_asked(tmp_path):
    with pytest.raises(StoreUnavailable, match="does not say which features are live"):
        RedisLive(f"unix://{tmp_path}/none.sock", "x:").read()


def test_a_mapping_is_another_if_it_gives_events_another_content():
    source = PAYMENTS.source
    assert mapping_hash(msgspec.structs.replace(source, label="fraud", max_ahead_us=1)) == mapping_hash(
        source
    )
    assert mapping_hash(msgspec.structs.replace(source, convert_to="EUR")) != mapping_hash(source)
    assert mapping_hash(msgspec.structs.replace(source, numbers=(*source.numbers, "age"))) != mapping_hash(
        source
    )


class Labels:
    """Reads every record as a label."""

    def decode_many(self, records):
        return [label(f"l{each.offset}", "t", each.offset / 10) for each in records]


class Reading:
    def __init__(self, positions, records):
        self.positions, self._records = dict(positions), records

    def fetch(self, count):
        some, self._records = self._records[:count], self._records[count:]
        for each in some:
            self.positions[TP(each.topic, each.partition)] = each.offset + 1
        return some

    def close(self):
        pass


def test_records_behind_a_gap_of_the_log_follow_what_the_store_holds(valkey):
    """The log begins at 7, the store holds 3: whoever filled it said that the rest is not needed."""
    store = RedisFeatureStore(valkey.url, feature_set(), prefix="gap:", hash_key=b"k")
    store.apply([], Source("t", 0, 0, 3))
    place = TP("t", 0)
    records = [Record("t", 0, offset, None, b"", (), 0) for offset in range(7, 12)]
    with Filler(store) as filler:
        fill_from_log(
            *(filler, Labels(), lambda starts: Reading(starts, records)),
            *({place: 7}, held_of(store, [place]), {place: 10}),
        )
    assert held_of(store, [place]) == {place: 10}
    store.close()
