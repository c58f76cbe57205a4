"""What the features of an entity and of an event take in Redis: bytes by kind, the bound of `records`, and what expiry frees.

usage: python -m tests.benchmarks.memory

By kind: cards with one event each, and what each further event adds, on an empty server: logs and counts of the entity itself,
and beside them what every event id takes, for `remember` or `label_horizon`. The bound: one card with ten times as many events as
the profile's `records` lets stay, its memory at most. Expiry: a crowd of cards comes for a day and stays away; the stream goes on
until they are forgotten, and the server holds what one does that never saw them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import redis

from features.catalogue import DAY_US
from features.events import Event, Label, Transaction
from features.redis_store import RedisFeatureStore
from tests.benchmarks.features import MIXED, SUMS
from tests.benchmarks.meters import Meter, say, table, valkey
from tests.benchmarks.payments import BEGIN, Population, features_of

KINDS = {
    "count over 1d": ["count by card over 1d"],
    "count, sum, mean over 1d": [
        f"{kind} by card over 1d" for kind in ("count", "sum amount", "mean amount")
    ],
    "count, sum, mean over 1h 1d 7d 30d": [
        f"{kind} by card over 1h 1d 7d 30d" for kind in ("count", "sum amount", "mean amount")
    ],
    "min, max over 1d": ["min amount by card over 1d", "max amount by card over 1d"],
    "std, zscore over 1d": ["std amount by card over 1d", "zscore amount by card over 1d"],
    "distinct merchant over 1d": ["distinct merchant by card over 1d"],
    "distinct merchant over 1h 1d 7d 30d": ["distinct merchant by card over 1h 1d 7d 30d"],
    "since last, since first": ["since last by card", "since first by card"],
    "rank over last 20": ["rank amount by card over last 20"],
    "risk over 1d 7d 30d": ["risk by card over 1d 7d 30d"],
    "run of frauds over 30d": ["run of frauds by card over 30d"],
    "thirty, counts, sums and means": SUMS,
    "thirty, a mixture": MIXED,
}
CARDS, MORE = 2_000, 30
CROWD, REGULARS, A_DAY, DAYS = 20_000, 200, 1_000, 80
QUIET = {"appendonly": "no"}
BATCH = 500
OF_ENTITIES = "tdlc"


def main() -> None:
    """Print the three tables."""
    say(f"bytes in Redis: {CARDS:,} cards with one event, then {MORE} more of each within an hour")
    table(
        ("declared", "a card seen once", "each further event", "its id"),
        [by_kind(*each) for each in KINDS.items()],
    )
    say()
    say("one card with ten times `records` events: bytes at most, and a record")
    table(("records", "bytes at most", "a record"), [bound(records) for records in (100, 1_000, 10_000)])
    say()
    say(
        f"{CROWD:,} cards for a day, then {DAYS} days without them ({REGULARS} cards go on): megabytes of the server"
    )
    table(("", "before", "with them", "after", "of a server that never saw them"), [expiry()])


def by_kind(what: str, lines: Sequence[str]) -> tuple[str, ...]:
    """A row: bytes of a card's first event, of each further one, and of an id."""
    people = Population(1, 100, CARDS, a_day=CARDS * MORE * 24)
    with valkey(**QUIET) as url:
        store = RedisFeatureStore(url, features_of(lines), prefix="weir", hash_key=b"key")
        labelled = "risk" in what or "run" in what

        def come(times: int) -> Counter[str]:
            events = [people.payment(card=f"c{card}") for _ in range(times) for card in range(CARDS)]
            apply(store, [item for event in events for item in said_of(event, labelled)])
            return held(url)

        once, often = come(1), come(MORE)
    first, later = (sum(each[kind] for kind in OF_ENTITIES) for each in (once, often))
    return (
        what,
        f"{first / CARDS:,.0f}",
        f"{(later - first) / CARDS / MORE:,.1f}",
        f"{often['i'] / CARDS / (1 + MORE):,.0f}",
    )


def said_of(event: Transaction, labelled: bool) -> Iterator[Event]:
    """An event, and where it is asked for what is said of it at once."""
    yield event
    if labelled:
        yield Label(f"l{event.event_id}", event.event_id, False, "benchmark", event.arrived_us)


def apply(store: RedisFeatureStore, items: Sequence[Event]) -> None:
    """In batches."""
    for at in range(0, len(items), BATCH):
        store.apply(items[at : at + BATCH])


def held(url: str) -> Counter[str]:
    """Bytes by the letter that tells kinds of keys apart, what the server itself needs for a key included."""
    client = redis.Redis.from_url(url)
    keys = list(client.scan_iter(count=10_000))
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.memory_usage(key, samples=0)
        sizes = pipeline.execute()
    counted: Counter[str] = Counter()
    for key, size in zip(keys, sizes, strict=True):
        counted[key.partition(b"}")[2][:1].decode()] += size
    return counted


def bound(records: int) -> tuple[str, ...]:
    """A row: the most that one card ever takes."""
    people = Population(1, 100, 1, a_day=100 * records)
    lines = ["count by card over 30d", "sum amount by card over 30d"]
    with valkey(**QUIET) as url:
        store = RedisFeatureStore(url, features_of(lines, records=records), prefix="weir", hash_key=b"key")
        client, most = redis.Redis.from_url(url), 0
        for _ in range(0, 10 * records, 100):
            apply(store, [people.payment(card="c") for _ in range(100)])
            most = max(most, sum(client.memory_usage(key, samples=0) for key in client.scan_iter("*}t*")))
    return f"{records:,}", f"{most:,}", f"{most / records:.1f}"


def expiry() -> tuple[str, ...]:
    """A row: the server before a crowd, with it, when it is forgotten, and one that never saw it."""
    features = features_of(SUMS)
    with valkey(**QUIET) as url, valkey(**QUIET) as other:
        stores = [RedisFeatureStore(each, features, prefix="weir", hash_key=b"key") for each in (url, other)]
        meters = [Meter(each) for each in (url, other)]
        regulars = Population(REGULARS, 100, REGULARS, a_day=A_DAY)
        before = meters[0].memory()
        apply(stores[0], [of_the_crowd(number) for number in range(CROWD)])
        crowded = meters[0].memory()
        for _ in range(DAYS):
            day = regulars.payments(A_DAY)
            for store in stores:
                apply(store, day)
        after, never = (meter.memory() for meter in meters)
    return ("", *(f"{each / 1e6:.1f}" for each in (before, crowded, after, never)))


def of_the_crowd(number: int) -> Transaction:
    """A payment of a card and a device that come once."""
    at = BEGIN - DAY_US + number * DAY_US // CROWD
    values = f"once{number}", "m0", f"once{number}"
    return Transaction(f"once{number}", at, at, 1000, "EUR", values, {}, number.to_bytes(8, "big"))


if __name__ == "__main__":
    main()
