"""What it costs that a network carries a state from event to event: the same batches with and without, on both sides of the socket.

usage: python -m tests.benchmarks.carried

Batches of 500 events of some 400 different cards, on a server as `weir up` sets its own; each batch's states, of 256 bytes, are
written back with the next one, as the score role does. The network itself costs nothing here. Then what a state takes in Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from features.carried import Kept
from features.events import Transaction
from features.redis_store import RedisFeatureStore
from features.store import Applied
from tests.benchmarks.features import SUMS
from tests.benchmarks.meters import Meter, load, middle, say, table, valkey
from tests.benchmarks.payments import Population, features_of

NETWORK, STATE = "0badcafe", bytes(range(256))
CARDS, BATCH, ROUNDS, WARM = 1_200, 500, 30, 10  # 500 events are of some 400 of so many cards
CROWD, SIZES = 20_000, (64, 256, 1024)


def main() -> None:
    """Print both tables."""
    features = features_of(SUMS)
    with valkey() as url:
        plain = RedisFeatureStore(url, features, prefix="plain", hash_key=b"key")
        carrying = RedisFeatureStore(url, features, prefix="carrying", hash_key=b"key")
        carrying.carry("card", NETWORK)
        batches = _batches(WARM + ROUNDS)
        ways, meter, spent = (plain.apply, _with(carrying)), Meter(url), []
        for number, batch in enumerate(batches):
            took = [meter.spent(partial(way, batch)).each(BATCH) for way in ways]
            if number >= WARM:
                spent.append(took)
        assert not carrying.refused
    say(
        f"batches of {BATCH}, {_different(batches):.0f} different cards in each, states of {len(STATE)} bytes; {load()}"
    )
    rows = [middle(each) for each in zip(*spent, strict=True)]
    names = ("the features alone", "with what a network carries")
    table(
        ("us an event", "worker", "server", "both", "ratio"),
        [
            (name, f"{row.ours:.1f}", f"{row.server:.1f}", f"{row.cpu:.1f}", f"{row.cpu / rows[0].cpu:.2f}")
            for name, row in zip(names, rows, strict=True)
        ],
    )
    say()
    table(("bytes of a state", "in Redis, a card", "more than the state"), [_memory(size) for size in SIZES])


def _batches(count: int) -> list[list[Transaction]]:
    """Events of cards that come again and again."""
    people = Population(CARDS, 300, 1_500, a_day=4_000)
    return [people.payments(BATCH) for _ in range(count)]


def _different(batches: Sequence[Sequence[Transaction]]) -> float:
    return sum(len({event.entities[0] for event in batch}) for batch in batches) / len(batches)


def _with(store: RedisFeatureStore, state: bytes = STATE) -> Callable[[Sequence[Transaction]], None]:
    def work(batch: Sequence[Transaction]) -> None:
        store.keep(_kept(batch, store.apply(batch), state))

    return work


def _kept(batch: Sequence[Transaction], answers: Sequence[Applied], state: bytes) -> list[Kept]:
    """The state of each card, as a network would have left it."""
    kept: dict[str, Kept] = {}
    for event, applied in zip(batch, answers, strict=True):
        value, carried = event.entities[0], applied.carried
        assert carried is not None
        before = kept.get(value)
        if before is None:
            kept[value] = Kept(value, carried.mark, applied.number, state, [(event.event_id, 0.5)])
        else:
            kept[value] = before._replace(
                after=applied.number, answers=[*before.answers, (event.event_id, 0.5)]
            )
    return list(kept.values())


def _memory(size: int) -> tuple[object, ...]:
    """What a crowd of cards with a state takes more than one without."""
    features = features_of(["count by card over 1d"])
    held = []
    for network in (None, NETWORK):
        with valkey(appendonly="no") as url:
            store, people = (
                RedisFeatureStore(url, features, prefix="m", hash_key=b"key"),
                Population(1, 1, 1, a_day=CROWD),
            )
            store.carry("card", network)
            for start in range(0, CROWD, BATCH):
                batch = [people.payment(card=f"c{at}") for at in range(start, start + BATCH)]
                answers = store.apply(batch)
                if network:
                    store.keep([each._replace(answers=()) for each in _kept(batch, answers, bytes(size))])
            store.flush()
            held.append(Meter(url).memory())
    a_card = (held[1] - held[0]) / CROWD
    return size, f"{a_card:.0f}", f"{a_card - size:.0f}"


if __name__ == "__main__":
    main()
