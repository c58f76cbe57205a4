"""What the stores must answer, computed the slow way: every reading looks at every record that is kept.

It shares no code with the stores. What is kept is said here in full: at most `records` of an entity, none older than
the longest window and `remember` behind the newest, nothing of an entity that was idle for too long, and ids as long
as the longer of `remember` and `label_horizon`, all by the latest arrival so far. Of records beyond `records` it is known
which bucket they are in, and no more: see `Entity.buckets`.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import groupby, pairwise
from operator import mul
from statistics import median
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec

from features.catalogue import (
    CURRENCY,
    DAY_US,
    FIELDS,
    HOUR_OF_DAY,
    RECENT,
    WEEKDAY,
    Feature,
    FeatureSet,
    Kind,
)
from features.events import Event, Label, Transaction
from features.store import Applied, Status
from tests.contract.oracle_kept import Entity, Known, Record

NAN = math.nan
DIGITS = {"EUR": 2, "JPY": 0, "KWD": 3}
RUNS = {Kind.FRAUD_RUN, Kind.LEGITIMATE_RUN, Kind.RUN_AGE, Kind.SINCE_FRAUD, Kind.SINCE_LEGITIMATE}
OF_LABELS = {Kind.LABELS, Kind.FRAUDS, Kind.RISK, Kind.SINCE_FIRST_FRAUD} | RUNS


def mean(amounts: Sequence[int]) -> Fraction:
    return Fraction(sum(amounts), len(amounts))


def variance(amounts: Sequence[int]) -> Fraction:
    middle = mean(amounts)
    return sum(((each - middle) ** 2 for each in amounts), Fraction(0)) / (len(amounts) - 1)


Part = tuple[str, tuple[str, str], tuple[str, ...]]
"""An entity, and which of its events are meant."""


class Oracle:
    """A feature store that keeps lists."""

    def __init__(self, features: FeatureSet) -> None:
        self.features = features
        self.seq = 0
        self.clock = 0
        self.known: dict[str, Known] = {}
        self.entities: dict[tuple[bool, Part, tuple[str, str]], Entity] = {}

    def apply(self, batch: list[Event]) -> list[Applied]:
        return [self._one(each) for each in batch]

    def _one(self, each: Event) -> Applied:
        self.clock = max(self.clock, each.arrived_us)
        memory = max(self.features.remember_us, self.features.label_horizon_us)
        known = self.known.get(each.event_id)
        if known is not None and self.clock - known.stamp > memory:
            del self.known[each.event_id]
            known = None
        return self._label(each, known) if isinstance(each, Label) else self._event(each, known)

    # events

    def _event(self, event: Transaction, known: Known | None) -> Applied:
        if known is not None and known.applied is not None:
            first = known.applied
            if known.event.body != event.body:
                return Applied(Status.CONFLICT, first.seq, ())
            return msgspec.structs.replace(first, status=Status.DUPLICATE)
        late = event.arrived_us - event.time_us > self.features.remember_us
        vector = tuple(self._value(feature, event) for feature in self.features.features)
        approximate = any(self._approximate(feature, event) for feature in self.features.features)
        error = max((self._error(feature, event) for feature in self.features.features), default=0) / 10**6
        if late:
            return Applied(Status.LATE, 0, vector, approximate, error)
        self.seq += 1
        applied = Applied(Status.FRESH, self.seq, vector, approximate, error)
        for part in self._with(labels=False):
            if self._inside(part, event):
                record = Record(event.time_us, crc32(event.event_id.encode()), event)
                self._add(False, part, self._key(part, event), record)
                self._trim(False, part, self._key(part, event))
        entry = self.known[event.event_id] = Known(self.clock, event, applied)
        for label, seq in (known.labels if known else {}).values():
            if label.arrived_us - event.arrived_us <= self.features.label_horizon_us:
                self._say(entry, label, seq)
        return applied

    def _add(self, labels: bool, at: Part, value: tuple[str, str], record: Record) -> None:
        if not value[0]:
            return
        entity = self._entity(labels, at, value) or Entity()
        self.entities[labels, at, value] = entity
        entity.touched = self.clock
        entity.records.append(record)
        entity.first = min(entity.first, record.time)
        entity.records.sort(key=lambda each: each.place)

    def _trim(self, labels: bool, at: Part, value: tuple[str, str]) -> None:
        entity = self._entity(labels, at, value)
        if entity is None:
            return
        edge = entity.records[-1].time - self._longest(labels, at) - self.features.remember_us
        young = [each for each in entity.records if each.time > edge]
        kept = young[-self.features.records :]
        entity.gone += [each.place for each in entity.records[: -len(kept)]]
        left = [each for each in entity.records[: -len(kept)] if each.until == math.inf]
        entity.left_frauds += [each.time for each in left if labels and each.what.fraud]
        entity.records = kept
        entity.folded += [each for each in young[: -len(kept)] if each.until == math.inf]
        buckets = entity.buckets(self._shortest(labels, at))
        entity.folded = [each for bucket in buckets if bucket[-1].time > edge for each in bucket]

    def _entity(self, labels: bool, at: Part, value: tuple[str, str]) -> Entity | None:
        entity = self.entities.get((labels, at, value))
        behind = self._longest(labels, at) + self.features.remember_us
        idle = max(behind, self.features.label_horizon_us) + DAY_US
        return entity if entity is not None and self.clock - entity.touched <= idle else None

    def _with(self, *, labels: bool) -> Iterator[Part]:
        yield from {
            self._part(each)
            for each in self.features.features
            if each.entity and (each.kind in OF_LABELS) == labels
        }

    @staticmethod
    def _part(feature: Feature) -> Part:
        return feature.entity, feature.where, feature.same

    def _key(self, part: Part, event: Transaction) -> tuple[str, str]:
        name, _, same = part
        texts = [self._text(event, each) for each in same]
        shared = repr(texts) if all(texts) else ""
        value = event.entities[self.features.entities.index(name)]
        return (value, shared) if value and (shared or not same) else ("", "")

    def _inside(self, part: Part, event: Transaction) -> bool:
        field, wanted = part[1]
        return not field or self._text(event, field) == wanted

    def _longest(self, labels: bool, at: Part) -> int:
        return max(self._windows(labels, at), default=0)

    def _shortest(self, labels: bool, at: Part) -> int:
        return min(self._windows(labels, at), default=0)

    def _windows(self, labels: bool, at: Part) -> set[int]:
        return {
            window
            for each in self.features.features
            if self._part(each) == at and (each.kind in OF_LABELS) == labels
            for window in (each.window_us, each.against_us)
            if window
        }

    # labels

    def _label(self, label: Label, known: Known | None) -> Applied:
        if known is not None and label.label_id in known.labels:
            return Applied(Status.LABEL_DUPLICATE, known.labels[label.label_id][1], ())
        horizon = self.features.label_horizon_us
        if known is not None and known.event and label.arrived_us - known.event.arrived_us > horizon:
            return Applied(Status.LABEL_LATE, 0, ())
        self.seq += 1
        if known is None:
            known = self.known[label.event_id] = Known(self.clock)
        if known.event is None:
            known.labels[label.label_id] = (label, self.seq)
            return Applied(Status.LABEL_PENDING, self.seq, ())
        self._say(known, label, self.seq)
        return Applied(Status.LABELLED, self.seq, ())

    def _say(self, known: Known, label: Label, seq: int) -> None:
        known.labels[label.label_id] = (label, seq)
        for at in self._with(labels=True):
            if not self._inside(at, known.event):
                continue
            value = self._key(at, known.event)
            self._add(True, at, value, Record(label.arrived_us, crc32(label.label_id.encode()), label))
            entity = self.entities.get((True, at, value), Entity())
            for record in entity.records:
                if record.what.event_id == label.event_id:
                    corrections = [
                        each.arrived_us
                        for each, _ in known.labels.values()
                        if each.reverses == record.what.label_id != each.label_id
                    ]
                    record.until = min([record.until, *corrections])
            self._trim(True, at, value)

    # values

    def _seen(self, feature: Feature, event: Transaction) -> list[Record]:
        at = self._part(feature)
        labels = feature.kind in OF_LABELS
        now = event.arrived_us if labels else event.time_us
        entity = self._entity(labels, at, self._key(at, event))
        return [each for each in entity.records if each.time <= now < each.until] if entity else []

    def _approximate(self, feature: Feature, event: Transaction) -> bool:
        if not feature.entity:
            return False
        labels = feature.kind in OF_LABELS
        at = self._part(feature)
        entity = self._entity(labels, at, self._key(at, event))
        now = event.arrived_us if labels else event.time_us
        longest = self._longest(labels, at)
        return entity is not None and any(time > now - longest for time, _ in entity.gone)

    def _reach(self, feature: Feature, event: Transaction, window: int) -> tuple[list[Record], list[Record]]:
        """The folded records that are counted in a window, and those of which it is not known whether they are in it."""
        labels, at = feature.kind in OF_LABELS, self._part(feature)
        entity = self._entity(labels, at, self._key(at, event))
        if entity is None:
            return [], []
        now = event.arrived_us if labels else event.time_us
        counted, unclear = [], []
        for bucket in entity.buckets(self._shortest(labels, at)) if entity.folded else ():
            first, last = bucket[0].time, bucket[-1].time
            if now - window < last <= now:
                counted += bucket
            if first <= now - window < last <= now or first <= now < last:
                unclear += bucket
        return counted, unclear

    def _error(self, feature: Feature, event: Transaction) -> int:
        """In millionths, rounded up: what is not known, in what may be in the window; all, where that is not known."""
        if not self._approximate(feature, event):
            return 0
        labels, at = feature.kind in OF_LABELS, self._part(feature)
        entity = self._entity(labels, at, self._key(at, event))
        now, longest = event.arrived_us if labels else event.time_us, self._longest(labels, at)
        if now - longest < entity.records[-1].time - longest - self.features.remember_us:
            return 10**6
        named = not labels and self._inside(at, event)
        return max((self._share(feature, event, now, w, named) for w in self._windows(labels, at)), default=0)

    def _share(self, feature: Feature, event: Transaction, now: int, window: int, named: bool) -> int:
        counted, unclear = self._reach(feature, event, window)
        exact = [each for each in self._seen(feature, event) if each.time > now - window]
        possible = {id(each) for each in [*exact, *counted, *unclear]}
        return -(-(10**6) * len(unclear) // (len(possible) + named)) if unclear else 0

    def _value(self, feature: Feature, event: Transaction) -> float:
        if not feature.entity:
            return self._alone(feature, event)
        at = self._part(feature)
        seen = self._seen(feature, event)
        if feature.kind is Kind.SINCE_LAST:
            return self._since_last(at, event, seen)
        if feature.kind is Kind.SINCE_FIRST:
            known = self._entity(False, at, self._key(at, event))
            return (event.time_us - known.first) / 1e6 if known and known.first <= event.time_us else NAN
        if feature.kind in (Kind.SPEED, Kind.DISTANCE):
            return self._moved(feature, event, seen)
        if feature.kind in RECENT:
            return self._of_the_last(feature, event, [each.what for each in seen][-feature.last :])
        if feature.kind is Kind.SINCE_FIRST_FRAUD:
            entity = self._entity(True, at, self._key(at, event))
            frauds = [each.time for each in seen if each.what.fraud] + (entity.left_frauds if entity else [])
            past = [each for each in frauds if each <= event.arrived_us]
            return (event.arrived_us - min(past)) / 1e6 if past else NAN
        if feature.kind in RUNS:
            return self._of_a_run(feature, event.arrived_us, seen)
        if feature.kind in OF_LABELS:
            seen = [each for each in seen if each.time > event.arrived_us - feature.window_us]
            seen = [*self._reach(feature, event, feature.window_us)[0], *seen]
            return self._of_labels(feature, [each.what.fraud for each in seen])
        inside = [each.what for each in seen if each.time > event.time_us - feature.window_us]
        named = bool(self._key(at, event)[0]) and self._inside(at, event)
        if feature.kind in FIELDS:
            return self._of_values(feature, event, inside, named)
        inside = [*(each.what for each in self._reach(feature, event, feature.window_us)[0]), *inside]
        if feature.kind is Kind.VELOCITY:
            longer = [each for each in seen if each.time > event.time_us - feature.against_us]
            longer += self._reach(feature, event, feature.against_us)[0]
            here, there = len(inside) + named, len(longer) + named
            return (
                float(Fraction(here, feature.window_us) / Fraction(there, feature.against_us))
                if there
                else NAN
            )
        return self._of_events(feature, event, inside, named)

    def _of_the_last(self, feature: Feature, event: Transaction, before: list[Transaction]) -> float:
        named = bool(self._key(self._part(feature), event)[0]) and self._inside(self._part(feature), event)
        amounts = [each.amount for each in before]
        middle = median(amounts) if amounts else 0
        match feature.kind:
            case Kind.RANK:
                halves = [(each < event.amount) + (each <= event.amount) for each in amounts]
                return sum(halves) / (2 * len(halves)) if halves else NAN
            case Kind.TYPICAL:
                return event.amount / middle or 0.0 if middle else NAN
            case Kind.PEAK:
                halvings = [(event.time_us - each.time_us) / feature.half_life_us for each in before]
                return (
                    max(n / middle * 2.0**-h for n, h in zip(amounts, halvings, strict=True)) or 0.0
                    if middle
                    else NAN
                )
            case Kind.PAST_AGE:
                return (event.time_us - before[0].time_us) / 1e6 if len(before) == feature.last else NAN
            case Kind.PAST_AMOUNT:
                return before[0].amount / 10 ** DIGITS[event.currency] if len(before) == feature.last else NAN
            case Kind.GAP_STD:
                times = [each.time_us for each in before] + [event.time_us] * named
                gaps = [later - earlier for earlier, later in pairwise(times)]
                return math.sqrt(variance(gaps)) / 1e6 if len(gaps) > 1 else NAN
            case Kind.CUSUM:
                return self._cusum(feature, [*before, event], middle if len(amounts) >= 3 else 0)
        every = [*before, event] if named else before
        weights = [2.0 ** -((event.time_us - each.time_us) / feature.half_life_us) for each in every]
        if feature.kind is Kind.DECAYED_COUNT:
            return math.fsum(weights)
        return (
            math.fsum(map(mul, weights, [float(each.amount) for each in every]))
            / 10 ** DIGITS[event.currency]
        )

    @staticmethod
    def _cusum(feature: Feature, events: list[Transaction], middle: float) -> float:
        total, before = 0.0, events[0].time_us
        for each in events if middle > 0 else ():
            total *= 2.0 ** -((each.time_us - before) / feature.half_life_us)
            surprise = math.log(each.amount / middle) if each.amount > 0 else -1.0
            total, before = max(0.0, total + sorted((-1.0, surprise, 2.0))[1] - 0.5), each.time_us
        return total

    def _moved(self, feature: Feature, event: Transaction, seen: list[Record]) -> float:
        ends = [
            [each.fields.get(name, NAN) for name in feature.place]
            for each in [*(r.what for r in seen[-1:]), event]
        ]
        if len(ends) < 2 or not all(abs(north) <= 90 and abs(east) <= 180 for north, east in ends):
            return NAN
        (a, b), (c, d) = [[round(each * 10**7) for each in end] for end in ends]
        north, south = math.radians(a / 10**7), math.radians(c / 10**7)
        across = math.sin(math.radians((d - b) / 10**7) / 2) ** 2
        chord = math.sin((south - north) / 2) ** 2 + math.cos(north) * math.cos(south) * across
        km = 2 * 6371.0088 * math.asin(min(1.0, math.sqrt(chord)))
        seconds = max((event.time_us - seen[-1].time) / 1e6, 1.0)
        return km * 3600.0 / seconds if feature.kind is Kind.SPEED else km

    def _since_last(self, at: Part, event: Transaction, seen: list[Record]) -> float:
        entity = self._entity(False, at, self._key(at, event))
        times = [each.time for each in seen]
        # Of those that left only the newest is remembered.
        times += (
            [time for time in [max(entity.gone)[0]] if time <= event.time_us]
            if entity and entity.gone
            else []
        )
        return (event.time_us - max(times)) / 1e6 if times else NAN

    def _of_a_run(self, feature: Feature, now: int, seen: list[Record]) -> float:
        inside = [each for each in seen if each.time > now - feature.window_us]
        newest = {each.what.fraud: each.time for each in inside}
        runs = [(fraud, list(group)) for fraud, group in groupby(seen, key=lambda each: each.what.fraud)]
        fraud, run = runs[-1] if inside else (None, [])
        match feature.kind:
            case Kind.SINCE_FRAUD | Kind.SINCE_LEGITIMATE:
                at = newest.get(feature.kind is Kind.SINCE_FRAUD)
                return (now - at) / 1e6 if at is not None else NAN
            case Kind.RUN_AGE:
                return min(now - run[0].time, feature.window_us) / 1e6 if fraud else NAN
        wanted = fraud is (feature.kind is Kind.FRAUD_RUN)
        return float(sum(each.time > now - feature.window_us for each in run)) if wanted else 0.0

    def _of_labels(self, feature: Feature, said: list[bool]) -> float:
        match feature.kind:
            case Kind.LABELS:
                return float(len(said))
            case Kind.FRAUDS:
                return float(sum(said))
        said = said + [each < feature.prior[0] for each in range(feature.prior[1])]
        return sum(said) / len(said) if said else 0.0

    def _of_values(self, feature: Feature, event: Transaction, others: list, named: bool) -> float:
        mine = self._text(event, feature.field)
        texts = [self._text(each, feature.field) for each in ([*others, event] if named else others)]
        counts = Counter(each for each in texts if each)
        total = sum(counts.values())
        match feature.kind:
            case Kind.DISTINCT:
                return float(len(counts))
            case Kind.ENTROPY:
                return math.log2(total**2 / sum(each**2 for each in counts.values())) if total else NAN
        if not counts[mine]:
            return NAN
        return counts[mine] / total if feature.kind is Kind.SHARE else float(counts[mine] == named)

    def _of_events(self, feature: Feature, event: Transaction, others: list, named: bool) -> float:
        scale = 10 ** DIGITS[event.currency]
        events = [*others, event] if named else others
        amounts = [each.amount for each in events]
        match feature.kind:
            case Kind.COUNT:
                return float(len(events))
            case Kind.SUM:
                return float(Fraction(sum(amounts), scale))
            case Kind.MEAN:
                return float(Fraction(sum(amounts), scale * len(events))) if events else NAN
            case Kind.MIN:
                return float(Fraction(min(amounts), scale)) if events else NAN
            case Kind.MAX:
                return float(Fraction(max(amounts), scale)) if events else NAN
            case Kind.STD:
                return math.sqrt(variance(amounts)) / scale if len(amounts) > 1 else NAN
            case Kind.ZSCORE:
                return self._zscore(event.amount, [each.amount for each in others])
            case Kind.GAP:
                times = sorted(each.time_us for each in events)
                gaps = [after - before for before, after in pairwise(times)]
                return sum(gaps) / (len(gaps) * 1_000_000) if gaps else NAN
        total = sum(each.amount for each in others)
        return float(Fraction(event.amount * len(others), total)) if total else NAN

    @staticmethod
    def _zscore(amount: int, before: list[int]) -> float:
        if len(set(before)) < 2:
            return NAN
        away, square = Fraction(amount) - mean(before), variance(before)
        return math.copysign(math.sqrt(away**2 / square), away) if away else 0.0

    def _text(self, event: Transaction, name: str) -> str:
        if name in self.features.entities:
            return event.entities[self.features.entities.index(name)]
        if name == CURRENCY:
            return event.currency
        if name == HOUR_OF_DAY:
            return str(self._when(event).hour)
        if name == WEEKDAY:
            return str(self._when(event).weekday())
        return event.fields.get(name, "")

    def _when(self, event: Transaction) -> datetime:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event.time_us)
        return when.astimezone(ZoneInfo(self.features.timezone))

    def _alone(self, feature: Feature, event: Transaction) -> float:
        local = self._when(event)
        match feature.kind:
            case Kind.AMOUNT:
                return float(Fraction(event.amount, 10 ** DIGITS[event.currency]))
            case Kind.NUMBER:
                return float(event.fields.get(feature.field, NAN))
            case Kind.CATEGORY:
                text = self._text(event, feature.field).encode()
                digest = int(hashlib.blake2b(text, digest_size=8).digest()[::-1].hex(), 16)
                return float(digest % (feature.size - 1) + 1 if text else 0)
            case Kind.WEEKEND:
                return float(local.weekday() >= 5)
            case Kind.NIGHT:
                return float(local.hour < 6)
        return float(local.hour)
