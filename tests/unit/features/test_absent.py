"""A store that is not there lets decisions go on, and knows only what an event says itself."""

import math

from features.absent import Absent
from features.borrowed import Borrowed
from features.catalogue import FeatureSet
from features.grammar import Scope, parse_all
from features.store import Run, Source, Status
from tests.contract.schedules import label, transaction

ENTITIES = ("card", "merchant", "device")
WANTED = FeatureSet(
    parse_all(
        ("count by card over 1h", "amount"), Scope(ENTITIES, ("country", "channel"), ("age",), "UTC", True)
    ),
    ENTITIES,
)


def test_events_are_fresh_each_time_and_of_features_only_theirs_are_known():
    store = Borrowed(Absent(lambda: {("t", 0): 7}), Absent.of(WANTED), WANTED)
    assert store.unknown == ("card_count_1h",)
    runs = [
        Run([transaction("t1", 0.0, amount=500), label("l1", "t1", 1.0), transaction("t1", 0.0, amount=500)])
    ]
    first, said, again = store.apply_many([Run(runs[0].events, Source("t", 0, 99, 102))])
    assert math.isnan(first.vector[0])
    assert first.vector[1] == 5.0
    assert (first.status, again.status, first.seq) == (Status.FRESH, Status.FRESH, 0)
    assert (said.status, said.vector) == (Status.LABEL_LATE, ())
    assert store.positions() == {("t", 0): 7}, "what is taken for applied"
    assert not store.forget("card", "c1")
    store.close()
