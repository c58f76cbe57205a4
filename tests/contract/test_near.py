"""Long logs in Redis: what leaves next is copied behind the header, and a late event that falls into it is seen all the same."""

from __future__ import annotations

import random

import pytest
import redis

from features.catalogue import Feature, FeatureSet, Kind
from features.store import InMemoryFeatureStore
from tests.contract.schedules import REMEMBER, SECOND, bits, label, transaction

WINDOWS = (5 * SECOND, 60 * SECOND, 300 * SECOND)
SUMS = (Kind.COUNT, Kind.SUM)
OTHERS = (Kind.MAX, Kind.STD, Kind.GAP, Kind.RISK, Kind.FRAUD_RUN)
SETS = {
    "sums": (SUMS, WINDOWS, 10_000),
    "one window": (SUMS, WINDOWS[2:], 10_000),
    "beyond the bound": (SUMS, WINDOWS, 500),
    "others": ((*SUMS, *OTHERS), WINDOWS, 10_000),
    "others beyond the bound": ((*SUMS, *OTHERS), WINDOWS[1:], 500),
}


def features(kinds, windows, records):
    declared = tuple(Feature(f"{kind}_{us}", kind, "card", us) for kind in kinds for us in windows)
    last = Feature("since", Kind.SINCE_LAST, "card")
    return FeatureSet((*declared, last), ("card", "shop"), remember_us=REMEMBER, records=records)


def stream(count, late, seed=3):
    """One card, two events a second, in bursts; every so often one that comes late, anywhere within `remember`; labels."""
    draw = random.Random(seed)
    for number in range(count):
        at = number / 2 if number % 7 else number / 2 - number % 3 / 4
        amount = draw.randrange(-50, 10_000)
        yield transaction(f"t{number}", at, number / 2, amount=amount)
        if draw.random() < late:
            yield transaction(f"u{number}", at - draw.uniform(0, 99), at, amount=amount)
        if draw.random() < 0.3:
            yield label(f"l{number}", f"t{number}", number / 2 + 0.1, draw.random() < 0.4)


@pytest.mark.parametrize("late", [0.0, 0.15])
@pytest.mark.parametrize("name", SETS)
def test_a_long_log_is_answered_as_in_memory(make_redis_store, name, late):
    chosen = features(*SETS[name])
    store, reference = make_redis_store(chosen), InMemoryFeatureStore(chosen)
    events = list(stream(3_000, late))
    for at in range(0, len(events), 10):
        batch = events[at : at + 10]
        assert bits(store.apply(batch)) == bits(reference.apply(batch)), at


def test_an_event_reads_from_far_away_only_every_few_records(make_redis_store, valkey):
    client = redis.Redis.from_url(valkey.url)
    store = make_redis_store(features(*SETS["one window"]))
    events = list(stream(2_000, 0.0))
    store.apply(events[:-500])
    client.config_resetstat()
    for event in events[-500:]:
        store.apply([event])
    reads = client.info("commandstats")["cmdstat_getrange"]["calls"]
    assert reads < 500 * 1.5  # one is the header's own
