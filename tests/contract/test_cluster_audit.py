"""An audit of what was decided on a cluster: each shard in its own order, labels that came before their event included."""

import itertools
import random

import pytest

from features.compute import Plan
from features.packing import Packer
from features.redis_cluster import ClusterFeatureStore
from features.shards import Shards
from stream.pipeline import Pipeline
from tests.unit.stream.test_audit import PROFILE, Live, clean, found

COUNT, KEY = 4, b"a key for digests"
PREFIXES = (f"audit{number}" for number in itertools.count())


@pytest.fixture
def live(cluster):
    flowing = Live()
    store = ClusterFeatureStore(
        f"{cluster.url}?shards={COUNT}", PROFILE.features, prefix=next(PREFIXES), hash_key=KEY
    )
    flowing.pipeline = Pipeline(store)
    yield flowing
    store.close()


def audited(live):
    plan = Plan(PROFILE.features)
    shards = Shards(plan, Packer(plan, KEY), COUNT)
    return live.audit(lives=lambda event, count: shards.lives(event))[0]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_order_of_partitions_an_audit_finds_nothing(live, seed):
    dice = random.Random(seed)
    hours = sorted(dice.uniform(0, 100) for _ in range(60))
    lanes = {0: [], 1: [], "labels": []}
    for number, hour in enumerate(hours):
        card = f"c{dice.randrange(5)}" if dice.random() < 0.9 else ""
        part = dice.randrange(2)
        lanes[part].append(live.pay(f"e{number}", hour, part, card=card, late=dice.choice([0, 1])))
    for number in range(60):
        event = f"e{dice.randrange(60)}"
        lanes["labels"].append(live.say(f"l{number}", event, hours[number], fraud=dice.random() < 0.5))
    queues = [queue for queue in lanes.values() if queue]
    while queues:
        queue = dice.choice(queues)
        live.apply(queue.pop(0))
        queues = [each for each in queues if each]
    report = audited(live)
    assert clean(report), found(report)
    assert (report.gone, report.shared, report.unclaimed, report.sampled) == (0, 0, 0, report.decisions)


def test_a_forged_value_is_found_in_the_shard_of_its_entity(live):
    records = [live.pay(f"e{at}", at, card=f"c{at % 3}") for at in range(12)]
    live.apply(*records)
    live.forge(7, features={"card_count_1d": 99.0})
    live.forge(9, features={"amount": 98.0})
    report = audited(live)
    assert {name: differing for name, (_, differing) in found(report).items() if differing} == {
        "card_count_1d": 1,
        "amount": 1,
    }
    assert report.differing == 2
