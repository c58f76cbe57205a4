"""What a feature means: from the integers of the stores to the vector. The one place where floats are made.

A ``Plan`` is compiled once per feature set. It tells the stores what to keep of which entity, and in which order to
answer; the answer's integers (``raw``) become the vector here, whichever store counted them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from zoneinfo import ZoneInfo

from features.catalogue import (
    DAY_US,
    DECAYING,
    FIELDS,
    HOUR_US,
    PLACES,
    RECENT,
    SECOND_US,
    Feature,
    FeatureSet,
    Kind,
)
from features.entity_plan import EntityPlan
from features.events import Transaction, to_datetime
from features.folds import MILLION, NEVER
from features.money import EXPONENTS
from features.parts import Part, Text, category, part_of, text_reader
from features.places import of_places, place_reader
from features.recent import of_the_last
from features.windows import Shape

Raw = Sequence[int]
Compute = Callable[[Transaction, Raw, int], float]
"""(event, raw, minor units in a major unit) -> the feature's value."""

QUARTER_US = 900_000_000
SCALES = {currency: 10**digits for currency, digits in EXPONENTS.items()}
USUAL_SCALE = 100
MAX_RECORDS = (
    1_000_000  # the stores' sums of so many amounts stay exact (Redis' Lua adds two limbs in doubles)
)

RUNS = frozenset({Kind.FRAUD_RUN, Kind.LEGITIMATE_RUN, Kind.RUN_AGE, Kind.SINCE_FRAUD, Kind.SINCE_LEGITIMATE})
MAX_RECENT = 64
"""So many records can be told one by one, of each part of an entity."""

OF_LABELS = frozenset({Kind.LABELS, Kind.FRAUDS, Kind.RISK, Kind.SINCE_FIRST_FRAUD}) | RUNS
ALONE = frozenset({Kind.AMOUNT, Kind.NUMBER, Kind.CATEGORY, Kind.WEEKEND, Kind.NIGHT, Kind.HOUR})
OF_EVENTS = frozenset(Kind) - OF_LABELS - ALONE
WITHOUT_WINDOW = frozenset({Kind.SINCE_LAST, Kind.SINCE_FIRST, Kind.SINCE_FIRST_FRAUD}) | RECENT | PLACES
EXTREMES = frozenset({Kind.MIN, Kind.MAX})
SQUARES = frozenset({Kind.STD, Kind.ZSCORE})


class Plan:
    """A feature set, compiled."""

    def __init__(self, feature_set: FeatureSet) -> None:
        """Raises ValueError for a set that names an entity it does not have, or bounds that no store can keep."""
        _check(feature_set)
        self.feature_set = feature_set
        self.memory_us = max(feature_set.remember_us, feature_set.label_horizon_us)
        self.fields = tuple(dict.fromkeys(f.field for f in feature_set.features if f.kind in FIELDS))
        self.placed = next((each.place for each in feature_set.features if each.kind in PLACES), None)
        self._place = place_reader(self.placed) if self.placed else None
        self.entities = _entities(feature_set, self.fields)
        self.owners = tuple(i for i, entity in enumerate(self.entities) if entity.labels)
        self.idle_us = max((s.idle_us for e in self.entities for s in (e.events, e.labels) if s), default=0)
        self.need_us = max(self.memory_us, self.idle_us) + feature_set.label_horizon_us
        self.width = sum(entity.width for entity in self.entities)
        self.squared = any(entity.events is not None and entity.events.squares for entity in self.entities)
        self._local = _local_us(feature_set.timezone)
        self._readers = [self._reader(field) for field in self.fields]
        self.keys = [self._key(entity) for entity in self.entities]
        self.inside = [self._inside(entity.part) for entity in self.entities]
        self._computes = [self._compute(feature) for feature in feature_set.features]

    def index_of(self, entity: str) -> int:
        """Where an entity's value stands in an event; raises ValueError for one that the set does not have."""
        if entity not in self.feature_set.entities:
            known = ", ".join(self.feature_set.entities)
            raise ValueError(f"{entity!r} is no entity of these features; known are {known}")
        return self.feature_set.entities.index(entity)

    def values(self, event: Transaction) -> list[str]:
        """What is counted of an event, in the order of `fields`; "" where it has none."""
        return [read(event) for read in self._readers]

    def places(self, event: Transaction) -> list[int]:
        """An event's place, where a feature looks at places: see places.py."""
        return list(self._place(event)) if self._place else []

    def vector(self, event: Transaction, raw: Raw) -> tuple[float, ...]:
        """The features of an event, in the order of the set."""
        scale = SCALES.get(event.currency, USUAL_SCALE)
        return tuple([compute(event, raw, scale) for compute in self._computes])

    def error(self, raw: Raw) -> float:
        """How much of a window's count is uncertain at most, of all windows of an event."""
        return max([raw[entity.error] for entity in self.entities], default=0) / MILLION

    def _reader(self, field: str) -> Text:
        return text_reader(field, self.feature_set.entities, self._local)

    def _key(self, entity: EntityPlan) -> Callable[[Transaction], tuple[str, str]]:
        """Reads under which key a part knows an event: the entity's value, and what its events share; "" first: under none."""
        index, same = entity.index, entity.part.same
        if not same:
            return lambda event: (event.entities[index], "")
        readers = [self._reader(field) for field in same]

        def key(event: Transaction) -> tuple[str, str]:
            value, texts = event.entities[index], [read(event) for read in readers]
            return (value, "\0".join(texts)) if value and all(texts) else ("", "")

        return key

    def _inside(self, part: Part) -> Callable[[Transaction], bool] | None:
        """Reads whether an event is a record of a part; None: every event that has a key is."""
        field, value = part.where
        if not field:
            return None
        read = self._reader(field)
        return lambda event: read(event) == value

    def _compute(self, feature: Feature) -> Compute:
        if feature.kind is Kind.CATEGORY:
            return _category(self._reader(feature.field), feature.size)
        if not feature.entity:
            return _of_the_event(feature, self._local)
        at = next(i for i, each in enumerate(self.entities) if each.part == part_of(feature))
        entity = self.entities[at]
        if feature.kind in OF_LABELS:
            return _of_labels(feature, entity)
        inside, key = self.inside[at] or _always, self.keys[at]
        if feature.kind in RECENT:
            return of_the_last(feature, entity.recent, lambda event: bool(key(event)[0]) and inside(event))
        return _of_events(feature, entity, self.fields, inside)


def _always(event: Transaction) -> bool:
    return True


def _check(feature_set: FeatureSet) -> None:
    if not 1 <= feature_set.records <= MAX_RECORDS:
        raise ValueError(f"records must be at least 1 and at most {MAX_RECORDS}, not {feature_set.records}")
    if feature_set.remember_us <= 0 or feature_set.label_horizon_us <= 0:
        raise ValueError("remember and label_horizon must be longer than nothing")
    if len({each.place for each in feature_set.features if each.kind in PLACES}) > 1:
        raise ValueError("features of speed and distance must all be from the same two fields")
    for feature in feature_set.features:
        if feature.kind in OF_EVENTS | OF_LABELS and feature.entity not in feature_set.entities:
            raise ValueError(
                f"the feature {feature.name} is of {feature.entity!r}, which is no entity of the set"
            )
        if feature.entity and feature.kind not in WITHOUT_WINDOW and feature.window_us <= 0:
            raise ValueError(f"the feature {feature.name} needs a window longer than nothing")
        if feature.kind is Kind.VELOCITY and feature.against_us <= feature.window_us:
            raise ValueError(f"the feature {feature.name} needs a longer window to compare with")
        if feature.kind in RECENT and not 1 <= feature.last <= MAX_RECENT:
            raise ValueError(f"the feature {feature.name} must look at 1 to {MAX_RECENT} events")
        if feature.kind in DECAYING and feature.half_life_us <= 0:
            raise ValueError(f"the feature {feature.name} needs a half-life longer than nothing")


def _entities(feature_set: FeatureSet, fields: Sequence[str]) -> tuple[EntityPlan, ...]:
    made: list[EntityPlan] = []
    of_entities = [feature for feature in feature_set.features if feature.entity]
    parts = sorted({part_of(feature) for feature in of_entities}, key=lambda each: each.name)
    for index, name in enumerate(feature_set.entities):
        for part in (each for each in parts if each.entity == name):
            features = [feature for feature in of_entities if part_of(feature) == part]
            events = [feature for feature in features if feature.kind in OF_EVENTS]
            labels = [feature for feature in features if feature.kind in OF_LABELS]
            start = made[-1].start + made[-1].width if made else 0
            shapes = [_shape(each, feature_set, fields) if each else None for each in (events, labels)]
            made.append(EntityPlan(part, index, start, *shapes))
    return tuple(made)


def _shape(features: Sequence[Feature], feature_set: FeatureSet, fields: Sequence[str]) -> Shape:
    windows = tuple(sorted({us for each in features for us in (each.window_us, each.against_us)} - {0}))
    kinds = {feature.kind for feature in features}
    counted = {(each.window_us, fields.index(each.field)) for each in features if each.kind in FIELDS}
    looked_at = sorted({field for _, field in counted})
    keep_us = max(windows, default=0) + feature_set.remember_us
    return Shape(
        windows=windows,
        keep_us=keep_us,
        idle_us=max(keep_us, feature_set.label_horizon_us) + DAY_US,  # a day: times may run ahead of arrivals
        records=feature_set.records,
        extremes=not kinds.isdisjoint(EXTREMES),
        squares=not kinds.isdisjoint(SQUARES),
        starts=Kind.GAP in kinds,
        runs=not kinds.isdisjoint(RUNS),
        frauds=Kind.SINCE_FIRST_FRAUD in kinds,
        first=Kind.SINCE_FIRST in kinds,
        place=len(fields) if not kinds.isdisjoint(PLACES) else -1,
        recent=max((each.last for each in features), default=0),
        fields=tuple(looked_at),
        uncounted=frozenset(
            (w, f)
            for w, us in enumerate(windows)
            for f, field in enumerate(looked_at)
            if (us, field) not in counted
        ),
    )


def _of_labels(feature: Feature, entity: EntityPlan) -> Compute:
    assert entity.labels
    if feature.kind is Kind.SINCE_FIRST_FRAUD:
        return _age(entity.said + entity.labels.at_frauds)
    labels = entity.said + 2 * entity.labels.windows.index(feature.window_us)
    frauds = labels + 1
    if feature.kind in RUNS:
        return _of_a_run(feature, labels, entity.said + entity.labels.at_runs)
    match feature.kind:
        case Kind.LABELS:
            return lambda event, raw, scale: float(raw[labels])
        case Kind.FRAUDS:
            return lambda event, raw, scale: float(raw[frauds])
    more_frauds, more_labels = feature.prior

    def risk(event: Transaction, raw: Raw, scale: int) -> float:
        total = raw[labels] + more_labels
        return (raw[frauds] + more_frauds) / total if total else 0.0

    return risk


def _age(at: int) -> Compute:
    return lambda event, raw, scale: raw[at] / SECOND_US if raw[at] != NEVER else math.nan


def _of_a_run(feature: Feature, labels: int, run: int) -> Compute:
    """What labels end with; a run that began before the window is as old as the window."""
    length, first, last, before = run + 1, run + 2, run + 3, run + 4
    window_us, kind = feature.window_us, int(feature.kind in (Kind.FRAUD_RUN, Kind.SINCE_FRAUD))

    def run_length(event: Transaction, raw: Raw, scale: int) -> float:
        return float(min(raw[length], raw[labels])) if raw[run] == kind else 0.0

    def run_age(event: Transaction, raw: Raw, scale: int) -> float:
        if raw[run] != 1 or not raw[labels]:
            return math.nan
        return min(raw[first], window_us) / SECOND_US

    def since(event: Transaction, raw: Raw, scale: int) -> float:
        age_us = raw[last] if raw[run] == kind else raw[before]
        return age_us / SECOND_US if 0 <= age_us < window_us else math.nan

    match feature.kind:
        case Kind.FRAUD_RUN | Kind.LEGITIMATE_RUN:
            return run_length
        case Kind.RUN_AGE:
            return run_age
    return since


def _of_events(
    feature: Feature, entity: EntityPlan, fields: Sequence[str], inside: Callable[[Transaction], bool]
) -> Compute:
    """`inside` tells whether the event is among those that are counted."""
    assert entity.events
    shape = entity.events
    if feature.kind in PLACES:
        return of_places(feature, entity.last, entity.place)
    if feature.kind in WITHOUT_WINDOW:
        return _since(entity.last + (feature.kind is Kind.SINCE_FIRST))
    w, windows = shape.windows.index(feature.window_us), len(shape.windows)
    count = entity.start + 2 * w
    if feature.kind in EXTREMES:
        return _extreme(count, count + 2 * windows + (feature.kind is Kind.MAX))
    if feature.kind in SQUARES:
        squares = entity.start + shape.at_squares + w
        return _std(count, squares) if feature.kind is Kind.STD else _zscore(count, squares, inside)
    if feature.kind in FIELDS:
        which = w * len(shape.fields) + shape.fields.index(fields.index(feature.field))
        return _of_values(feature.kind, entity.start + shape.at_fields + 4 * which, inside)
    if feature.kind is Kind.GAP:
        return _gap(count, entity.start + shape.at_starts + w, entity.last, inside)
    if feature.kind is Kind.RATIO:
        return _ratio(count, inside)
    if feature.kind is Kind.VELOCITY:
        longer = entity.start + 2 * shape.windows.index(feature.against_us)
        return _velocity(count, longer, feature)
    return _summed(feature.kind, count)


def _summed(kind: Kind, count: int) -> Compute:
    total = count + 1
    match kind:
        case Kind.COUNT:
            return lambda event, raw, scale: float(raw[count])
        case Kind.SUM:
            return lambda event, raw, scale: raw[total] / scale
    return lambda event, raw, scale: raw[total] / (raw[count] * scale) if raw[count] else math.nan


def _earlier(event: Transaction, raw: Raw, count: int, mine: bool) -> tuple[int, int]:
    """Count and sum of a window without this event, which is in it if it is `mine`."""
    return raw[count] - mine, raw[count + 1] - mine * event.amount


def _ratio(count: int, inside: Callable[[Transaction], bool]) -> Compute:
    def ratio(event: Transaction, raw: Raw, scale: int) -> float:
        n, before = _earlier(event, raw, count, inside(event))
        if n < 1 or not before:
            return math.nan
        return event.amount * n / before + 0.0  # no -0.0

    return ratio


def _spread(count: int, total: int, squares: int) -> int:
    """The sample's variance times count * (count - 1): whole numbers until the end, so that nothing is cancelled."""
    return count * squares - total * total


def _std(count: int, squares: int) -> Compute:
    def std(event: Transaction, raw: Raw, scale: int) -> float:
        n = raw[count]
        if n < 2:
            return math.nan
        return math.sqrt(_spread(n, raw[count + 1], raw[squares]) / (n * (n - 1))) / scale

    return std


def _zscore(count: int, squares: int, inside: Callable[[Transaction], bool]) -> Compute:
    def zscore(event: Transaction, raw: Raw, scale: int) -> float:
        mine, amount = inside(event), event.amount
        n, total = _earlier(event, raw, count, mine)
        spread = _spread(n, total, raw[squares] - mine * amount * amount)
        if n < 2 or not spread:
            return math.nan
        away = n * amount - total  # n times as far as it is from the mean
        return math.copysign(math.sqrt(away * away * (n - 1) / (spread * n)), away)

    return zscore


def _of_values(kind: Kind, at: int, inside: Callable[[Transaction], bool]) -> Compute:
    total, distinct, alike, own = at, at + 1, at + 2, at + 3
    match kind:
        case Kind.DISTINCT:
            return lambda event, raw, scale: float(raw[distinct])
        case Kind.ENTROPY:
            return lambda event, raw, scale: (
                math.log2(raw[total] ** 2 / raw[alike]) if raw[total] else math.nan
            )
        case Kind.SHARE:
            return lambda event, raw, scale: raw[own] / raw[total] if raw[own] else math.nan
    return lambda event, raw, scale: float(raw[own] == inside(event)) if raw[own] else math.nan


def _gap(count: int, start: int, last: int, inside: Callable[[Transaction], bool]) -> Compute:
    def gap(event: Transaction, raw: Raw, scale: int) -> float:
        if raw[count] < 2:
            return math.nan
        newest = event.time_us if inside(event) else raw[last]
        return (newest - raw[start]) / (SECOND_US * (raw[count] - 1))

    return gap


def _velocity(short: int, longer: int, feature: Feature) -> Compute:
    short_us, longer_us = feature.window_us, feature.against_us

    def velocity(event: Transaction, raw: Raw, scale: int) -> float:
        return raw[short] * longer_us / (raw[longer] * short_us) if raw[longer] else math.nan

    return velocity


def _extreme(count: int, at: int) -> Compute:
    return lambda event, raw, scale: raw[at] / scale if raw[count] else math.nan


def _since(at: int) -> Compute:
    def since(event: Transaction, raw: Raw, scale: int) -> float:
        return (event.time_us - raw[at]) / SECOND_US if raw[at] != NEVER else math.nan

    return since


def _of_the_event(feature: Feature, local: Callable[[int], int]) -> Compute:
    match feature.kind:
        case Kind.AMOUNT:
            return lambda event, raw, scale: event.amount / scale
        case Kind.NUMBER:
            return _number(feature.field)
    match feature.kind:
        case Kind.WEEKEND:  # 1970 began on a Thursday
            return lambda event, raw, scale: float((local(event.time_us) // DAY_US + 3) % 7 >= 5)
        case Kind.NIGHT:
            return lambda event, raw, scale: float(local(event.time_us) % DAY_US < 6 * HOUR_US)
        case Kind.HOUR:
            return lambda event, raw, scale: float(local(event.time_us) % DAY_US // HOUR_US)
    raise ValueError(f"the feature {feature.name} ({feature.kind}) must name an entity")


def _category(read: Text, size: int) -> Compute:
    known = lru_cache(maxsize=1 << 16)(lambda text: float(category(text, size)))
    return lambda event, raw, scale: known(read(event))


def _number(field: str) -> Compute:
    def number(event: Transaction, raw: Raw, scale: int) -> float:
        value = event.fields.get(field, math.nan)
        return math.nan if isinstance(value, str) else float(value)

    return number


def _local_us(timezone: str) -> Callable[[int], int]:
    """From UTC to the wall clock of a zone, both as microseconds."""
    if timezone == "UTC":
        return lambda us: us
    zone = ZoneInfo(timezone)

    def offset_us(us: int) -> int:
        try:
            offset = to_datetime(us).astimezone(zone).utcoffset()
        except OverflowError:  # at the ends of the calendar, where no zone's clock means anything
            return 0
        assert offset is not None
        return round(offset.total_seconds()) * SECOND_US

    @lru_cache(maxsize=4096)
    def offset_of_quarter(quarter: int) -> int | None:
        """The offset during a quarter of an hour; None where the clock is set in the middle of it."""
        first, last = offset_us(quarter * QUARTER_US), offset_us((quarter + 1) * QUARTER_US - 1)
        return first if first == last else None

    def local(us: int) -> int:
        offset = offset_of_quarter(us // QUARTER_US)
        return us + (offset if offset is not None else offset_us(us))

    return local
