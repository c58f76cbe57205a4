"""What the store in memory holds: as much as its windows and memories span, however long the stream is."""

from __future__ import annotations

from features.catalogue import Feature, FeatureSet, Kind
from features.events import Label, Transaction
from features.ids import GENERATIONS, IdMemory, Remembered, label_key
from features.store import InMemoryFeatureStore, Status

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
FEATURES = FeatureSet(
    (Feature("count", Kind.COUNT, "card", DAY_US), Feature("risk", Kind.RISK, "card", DAY_US)),
    ("card",),
    remember_us=DAY_US,
    label_horizon_us=2 * DAY_US,
)


def transaction(name, at, card="c1", body=bytes(8)):
    return Transaction(name, at, at, 1000, "EUR", (card,), {}, body)


def test_cards_that_never_come_again_and_their_labels_leave():
    store = InMemoryFeatureStore(FEATURES)
    sizes = []
    for hour in range(24 * 30):
        name, at = str(hour), hour * HOUR_US
        store.apply([transaction(name, at, card=name), Label(name, name, True, "test", at + 1)])
        (part,) = store._parts
        sizes.append((len(part.events), len(part.labels), len(store._ids)))
    most = 24 * (3 + 2)  # idle after three days, in epochs of at most one
    assert all(max(each[24 * 10 :]) <= most for each in zip(*sizes, strict=True))


def test_a_card_that_comes_every_day_is_never_forgotten():
    store = InMemoryFeatureStore(FEATURES)
    for day in range(30):
        others = [transaction(f"{day}-{n}", day * DAY_US + n, card=f"{day}-{n}") for n in range(5)]
        (*_, answer) = store.apply([*others, transaction(f"{day}", day * DAY_US + 10)])
    assert answer.vector == (1.0, 0.0)
    (answer,) = store.apply([transaction("again", 29 * DAY_US + 11)])
    assert answer.vector == (2.0, 0.0)


def test_an_old_stream_after_a_new_one_is_still_counted_once():
    store = InMemoryFeatureStore(FEATURES)
    store.apply([transaction("new", 1000 * DAY_US)])
    statuses = [store.apply([transaction("old", 0)])[0].status for _ in range(2)]
    assert statuses == [Status.FRESH, Status.DUPLICATE]


def test_sums_beyond_64_bits_are_remembered():
    features = FeatureSet((Feature("sum", Kind.SUM, "card", DAY_US),), ("card",))
    store = InMemoryFeatureStore(features)
    batch = [Transaction(str(n), n, n, (1 << 62) - 1, "JPY", ("c1",), {}, bytes(8)) for n in range(4)]
    assert store.apply(batch)[-1].vector == store.apply(batch)[-1].vector == (float(((1 << 62) - 1) * 4),)


def test_an_id_is_remembered_for_its_span_and_no_longer():
    memory = IdMemory(100)
    memory.keep("a", Remembered(0, 1))
    assert memory.find("a", 100) is not None
    assert memory.find("a", 101) is None


def test_forgotten_ids_are_dropped_by_the_generation():
    memory = IdMemory(100)
    for stamp in range(1000):
        memory.keep(str(stamp), Remembered(stamp, 1))
    assert len(memory) <= 100 + 2 * 100 // GENERATIONS


def test_a_changed_entry_is_forgotten_when_it_would_have_been():
    memory = IdMemory(100)
    memory.keep("a", Remembered(0, 1))
    memory.keep("b", Remembered(99, 2))
    memory.change("a", Remembered(0, 7))
    found = memory.find("a", 100)
    assert found is not None
    assert found.seq == 7
    assert memory.find("a", 101) is None


def test_labels_of_two_events_may_share_an_id():
    assert label_key("a", "1") != label_key("b", "1")
