"""Feature sets and random schedules of events and labels: out of order, equal times, repeated, contested, late."""

from __future__ import annotations

import struct

import msgspec
from hypothesis import strategies as st

from features.catalogue import CURRENCY, PLACES, RECENT, WEEKDAY, Feature, FeatureSet, Kind
from features.catalogue import FIELDS as OF_VALUES
from features.events import MAX_AMOUNT, Event, Label, Transaction
from features.store import Applied, Status

SECOND = 1_000_000
REMEMBER = 100 * SECOND
HORIZON = 80 * SECOND
START = 1_700_000_000 * SECOND // (400 * SECOND) * (400 * SECOND)  # where generations begin
WINDOWS = (10 * SECOND, 60 * SECOND)

OF_EVENTS = (Kind.COUNT, Kind.SUM, Kind.MEAN, Kind.MIN, Kind.MAX, Kind.RATIO, Kind.STD, Kind.ZSCORE, Kind.GAP)
RUNS = (Kind.FRAUD_RUN, Kind.LEGITIMATE_RUN, Kind.RUN_AGE, Kind.SINCE_FRAUD, Kind.SINCE_LEGITIMATE)
OF_LABELS = (Kind.LABELS, Kind.FRAUDS, Kind.RISK, *RUNS)


PARTS: dict[str, dict[str, object]] = {
    "french": {"where": ("country", "FR")},
    "currency": {"same": (CURRENCY,)},
    "both": {"where": ("country", "FR"), "same": ("shop", CURRENCY)},
}
"""Of an entity's events those that are meant: of some, and of those that share something."""

EVERY = frozenset(Kind)
PLAIN = EVERY - OF_VALUES - RECENT - PLACES - {*RUNS} - {Kind.MIN, Kind.MAX, Kind.STD, Kind.ZSCORE, Kind.GAP}
"""What needs nothing but counts and sums goes a way of its own in the store's script."""


def feature_set(kinds: frozenset[Kind] = EVERY, **changes: int) -> FeatureSet:
    """Features of these kinds, of two entities."""
    features = [Feature(kind.value, kind) for kind in (Kind.AMOUNT, Kind.WEEKEND, Kind.NIGHT, Kind.HOUR)]
    features.append(Feature("score", Kind.NUMBER, field="score"))
    features.append(Feature("which", Kind.CATEGORY, field="merchant", size=5))
    for entity, other in (("card", "shop"), ("shop", "card")):
        features.append(Feature(f"{entity}_since", Kind.SINCE_LAST, entity))
        features.append(Feature(f"{entity}_age", Kind.SINCE_FIRST, entity))
        features += [
            Feature(f"{entity}_{kind}", kind, entity, place=("lat", "lon")) for kind in sorted(PLACES)
        ]
        features.append(Feature(f"{entity}_first_fraud", Kind.SINCE_FIRST_FRAUD, entity))
        features += [
            Feature(f"{entity}_{kind}", kind, entity, last=last, half_life_us=7 * SECOND)
            for kind, last in zip(sorted(RECENT), range(2, 2 + len(RECENT)), strict=True)
        ]
        features.append(
            Feature(f"{entity}_velocity", Kind.VELOCITY, entity, WINDOWS[0], against_us=WINDOWS[1])
        )
        for us in WINDOWS:
            for kind in OF_EVENTS + OF_LABELS:
                features.append(Feature(f"{entity}_{kind}_{us}", kind, entity, us))
            features.append(Feature(f"{entity}_careful_{us}", Kind.RISK, entity, us, prior=(1, 5)))
            for field in (other, "country", WEEKDAY):
                for kind in sorted(OF_VALUES):
                    features.append(Feature(f"{entity}_{kind}_{field}_{us}", kind, entity, us, field))
    features += [
        msgspec.structs.replace(each, name=f"{each.name}_{name}", **part)
        for each in features
        if each.entity == "card" and each.window_us in (0, WINDOWS[0])
        for name, part in PARTS.items()
    ]
    chosen = FeatureSet(
        tuple(each for each in features if each.kind in kinds),
        ("card", "shop"),
        "Asia/Kathmandu",
        REMEMBER,
        label_horizon_us=HORIZON,
    )
    return msgspec.structs.replace(chosen, **changes)


def transaction(event_id: str, at: float, arrived: float | None = None, **changes: object) -> Transaction:
    """A payment; times are seconds after START."""
    time_us = START + round(at * SECOND)
    arrived_us = time_us if arrived is None else START + round(arrived * SECOND)
    event = Transaction(event_id, time_us, arrived_us, 1000, "EUR", ("a", "x"), {}, b"body0000")
    return msgspec.structs.replace(event, **changes)


def label(label_id: str, event_id: str, at: float, fraud: bool = True, reverses: str | None = None) -> Label:
    """What was said of a payment; `at` is in seconds after START."""
    return Label(label_id, event_id, fraud, "test", START + round(at * SECOND), reverses)


AMOUNTS = st.integers(-200, 2000) | st.sampled_from([1 - MAX_AMOUNT, MAX_AMOUNT - 1, 1 << 53, -(1 << 53) - 1])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "lat": st.floats(-95, 95),
        "lon": st.floats(-185, 185) | st.just(180.0),
        "country": st.sampled_from(["FR", "DE", ""]),
        "score": st.floats(allow_nan=False),
    },
)


@st.composite
def events(draw: st.DrawFn, event_id: str, arrived: float) -> Transaction:
    delay = draw(st.integers(-5, 130) | st.sampled_from([0, 0, 1, 10, 60]))
    return transaction(
        event_id,
        arrived - delay,
        arrived,
        amount=draw(AMOUNTS),
        currency=draw(st.sampled_from(["EUR", "JPY", "KWD"])),
        entities=(draw(st.sampled_from(["a", "b", ""])), draw(st.sampled_from(["x", "y", ""]))),
        fields=draw(FIELDS),
    )


@st.composite
def labels(draw: st.DrawFn, arrived: float) -> Label:
    ids = st.integers(0, 9).map("l{}".format)
    return label(
        draw(ids),
        f"t{draw(st.integers(0, 11))}",
        arrived,
        draw(st.booleans()),
        draw(st.none() | ids),
    )


@st.composite
def schedules(draw: st.DrawFn, stretches: tuple[int, ...] = (1, 1, 4, 2500)) -> list[Event]:
    """Some 25 events and labels, in or out of order of arrival: within REMEMBER, or (stretched) over days."""
    arrivals = draw(st.lists(st.integers(0, 99), max_size=25))
    stretch = draw(st.sampled_from(stretches))
    if draw(st.booleans()):
        arrivals.sort()
    schedule: list[Event] = []
    seen: list[Transaction] = []
    for arrived in (each * stretch for each in arrivals):
        step = draw(st.sampled_from(["new", "new", "new", "label", "label", "again", "conflict"]))
        if step == "label":
            schedule.append(draw(labels(arrived)))
        elif step == "new" or not seen:
            seen.append(draw(events(f"t{len(seen)}", arrived)))
            schedule.append(seen[-1])
        else:
            before = draw(st.sampled_from(seen))
            body = before.body if step == "again" else b"another0"
            schedule.append(msgspec.structs.replace(before, arrived_us=START + arrived * SECOND, body=body))
    return schedule


@st.composite
def split(draw: st.DrawFn, schedule: list[Event]) -> list[list[Event]]:
    """A schedule in batches."""
    cuts = sorted(draw(st.lists(st.integers(0, len(schedule)), max_size=5)))
    return [schedule[low:high] for low, high in zip([0, *cuts], [*cuts, len(schedule)], strict=True)]


def bits(answers: list[Applied]) -> list[tuple[Status, int, bytes, bool, float]]:
    """Answers as what can be compared to the bit, NaN included."""
    return [
        (
            each.status,
            each.seq,
            struct.pack(f">{len(each.vector)}d", *each.vector),
            each.approximate,
            each.error,
        )
        for each in answers
    ]


def unnumbered(answers: list[Applied]) -> list[tuple[Status, bytes, bool, float]]:
    """The same without the numbers, which each home on a cluster gives on its own."""
    return [(status, *rest) for status, _, *rest in bits(answers)]
