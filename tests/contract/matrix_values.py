"""The values of features from what each event sees, for the oracle of matrices: integers by matrix, the last division in Python."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

import numpy as np

from features.catalogue import FIELDS, RECENT, Feature, Kind
from features.events import Transaction

NAN = math.nan
DIGITS = {"EUR": 2, "JPY": 0, "KWD": 3}
FAR = 1 << 62
OF_LABELS = {
    *(Kind.LABELS, Kind.FRAUDS, Kind.RISK),
    *(Kind.FRAUD_RUN, Kind.LEGITIMATE_RUN, Kind.RUN_AGE, Kind.SINCE_FRAUD, Kind.SINCE_LEGITIMATE),
}


@dataclass
class Seen:
    """Rows are events; columns are records in the order of (time, tie): events, or labels that count."""

    rows: np.ndarray  # the items
    events: list[Transaction]
    records: list
    times: np.ndarray  # of the columns
    nows: np.ndarray  # of the rows
    visible: np.ndarray
    named: np.ndarray  # rows that are records themselves, or (late) would be
    floor: np.ndarray  # the newest time that had left
    first: np.ndarray  # the earliest that ever came
    approximate: np.ndarray
    text: Callable[[Transaction, str], str]

    def __post_init__(self) -> None:
        self.amounts = np.array(
            [each.amount for each in self.records] if self.of_events else [], dtype=np.int64
        )
        self.own = np.array([each.amount for each in self.events], dtype=np.int64)
        self.scales = [10 ** DIGITS[each.currency] for each in self.events]
        self._windows: dict[int, np.ndarray] = {}
        self._added: dict[tuple[int, bool], tuple[list[int], list[int], list[int]]] = {}

    @property
    def of_events(self) -> bool:
        return bool(self.records) and isinstance(self.records[0], Transaction)

    def window(self, us: int) -> np.ndarray:
        """The columns that are in the window of each row."""
        if us not in self._windows:
            self._windows[us] = self.visible & (self.times[None, :] > (self.nows - us)[:, None])
        return self._windows[us]

    def added(self, us: int, *, own: bool) -> tuple[list[int], list[int], list[int]]:
        """Of each row: count, sum and sum of squares in its window, with the event itself or without."""
        if (us, own) not in self._added:
            self._added[us, own] = self._add(
                self.window(us), self.named if own else np.zeros_like(self.named)
            )
        return self._added[us, own]

    def _add(self, inside: np.ndarray, named: np.ndarray) -> tuple[list[int], list[int], list[int]]:
        count = inside.sum(axis=1) + named
        total = np.where(inside, self.amounts[None, :], 0).sum(axis=1) + named * self.own
        squares = np.where(inside, (self.amounts**2)[None, :], 0).sum(axis=1) + named * self.own**2
        return count.tolist(), total.tolist(), squares.tolist()

    def before(self, last: int) -> Iterator[tuple[Transaction, bool, list[int], list[int]]]:
        """Of each row: the event, whether it is a record itself, and times and amounts of the last ones before it."""
        chosen = self.visible & (self.visible[:, ::-1].cumsum(axis=1)[:, ::-1] <= last)
        places = [np.nonzero(row)[0] for row in chosen]
        for event, named, at in zip(self.events, self.named.tolist(), places, strict=True):
            yield event, named, self.times[at].tolist(), self.amounts[at].tolist()


def of_events(feature: Feature, seen: Seen) -> list[float] | np.ndarray:
    """The value of every row."""
    match feature.kind:
        case Kind.SINCE_FIRST:
            return np.where(seen.first <= seen.nows, (seen.nows - seen.first) / 1e6, NAN)
        case Kind.SINCE_LAST:
            return _since_last(seen)
        case Kind.GAP:
            return _gap(feature, seen)
        case Kind.VELOCITY:
            short, longer = (seen.added(us, own=True)[0] for us in (feature.window_us, feature.against_us))
            return [
                few * feature.against_us / (many * feature.window_us) if many else NAN
                for few, many in zip(short, longer, strict=True)
            ]
        case Kind.MIN | Kind.MAX:
            return _extremes(feature, seen)
    if feature.kind in RECENT:
        return [_of_the_last(feature, *each) for each in seen.before(feature.last)]
    if feature.kind in FIELDS:
        return _of_values(feature, seen)
    own = feature.kind not in (Kind.RATIO, Kind.ZSCORE)
    added = zip(*seen.added(feature.window_us, own=own), seen.own.tolist(), seen.scales, strict=True)
    return [_of_amounts(feature.kind, *each) for each in added]


def _of_amounts(kind: Kind, n: int, total: int, squares: int, own: int, scale: int) -> float:
    spread = n * squares - total**2
    match kind:
        case Kind.COUNT:
            return float(n)
        case Kind.SUM:
            return total / scale
        case Kind.MEAN:
            return total / (n * scale) if n else NAN
        case Kind.STD:
            return math.sqrt(spread / (n * (n - 1))) / scale if n > 1 else NAN
        case Kind.RATIO:
            return own * n / total + 0.0 if total else NAN
    assert kind is Kind.ZSCORE
    away = own * n - total
    return math.copysign(math.sqrt(away**2 * (n - 1) / (spread * n)), away) if n > 1 and spread else NAN


def _since_last(seen: Seen) -> np.ndarray:
    newest = np.where(seen.visible, seen.times[None, :], -FAR).max(axis=1, initial=-FAR)
    newest = np.where((newest == -FAR) & (seen.floor <= seen.nows), seen.floor, newest)
    return np.where(newest > -FAR, (seen.nows - newest) / 1e6, NAN)


def _gap(feature: Feature, seen: Seen) -> list[float]:
    inside = seen.window(feature.window_us)
    count = inside.sum(axis=1) + seen.named
    last = np.where(inside, seen.times[None, :], -FAR).max(axis=1, initial=-FAR)
    first = np.where(inside, seen.times[None, :], FAR).min(axis=1, initial=FAR)
    last = np.where(seen.named, np.maximum(last, seen.nows), last)
    first = np.where(seen.named, np.minimum(first, seen.nows), first)
    told = zip(count.tolist(), (last - first).tolist(), strict=True)
    return [span / ((n - 1) * 1_000_000) if n > 1 else NAN for n, span in told]


def _extremes(feature: Feature, seen: Seen) -> list[float]:
    inside, lowest = seen.window(feature.window_us), feature.kind is Kind.MIN
    sign = 1 if lowest else -1
    least = np.where(inside, sign * seen.amounts[None, :], FAR).min(axis=1, initial=FAR)
    least = np.where(seen.named, np.minimum(least, sign * seen.own), least)
    told = zip(least.tolist(), seen.scales, strict=True)
    return [sign * each / scale if each < FAR else NAN for each, scale in told]


def _of_values(feature: Feature, seen: Seen) -> list[float]:
    """From a matrix of how often each row's window holds each value."""
    texts = [seen.text(each, feature.field) for each in seen.records]
    mine = [seen.text(each, feature.field) for each in seen.events]
    numbers = {text: number for number, text in enumerate(filter(None, dict.fromkeys([*texts, *mine])))}
    hot = np.zeros((len(texts), len(numbers)))
    for at, text in enumerate(texts):
        if text:
            hot[at, numbers[text]] = 1
    counts = seen.window(feature.window_us).astype(float) @ hot
    own: list[int | None] = []
    for row, (text, named) in enumerate(zip(mine, seen.named.tolist(), strict=True)):
        at = numbers[text] if text else None
        if at is not None and named:
            counts[row, at] += 1
        own.append(int(counts[row, at]) if at is not None else None)
    if feature.kind is Kind.DISTINCT:
        return (counts > 0).sum(axis=1).astype(float).tolist()
    totals = counts.sum(axis=1).astype(int).tolist()
    if feature.kind is Kind.ENTROPY:
        alike = (counts**2).sum(axis=1).astype(int).tolist()
        return [math.log2(n**2 / same) if n else NAN for n, same in zip(totals, alike, strict=True)]
    if feature.kind is Kind.SHARE:
        return [its / n if its else NAN for its, n in zip(own, totals, strict=True)]
    return [float(its == named) if its else NAN for its, named in zip(own, seen.named.tolist(), strict=True)]


def _of_the_last(
    feature: Feature, event: Transaction, named: bool, times: list[int], amounts: list[int]
) -> float:
    now, amount = event.time_us, event.amount
    match feature.kind:
        case Kind.RANK:
            halves = sum((each < amount) + (each <= amount) for each in amounts)
            return halves / (2 * len(amounts)) if amounts else NAN
        case Kind.TYPICAL:
            middle = median(amounts) if amounts else 0
            return amount / middle + 0.0 if middle else NAN
        case Kind.PAST_AGE:
            return (now - times[0]) / 1_000_000 if len(times) == feature.last else NAN
        case Kind.PAST_AMOUNT:
            return amounts[0] / 10 ** DIGITS[event.currency] if len(times) == feature.last else NAN
        case Kind.GAP_STD:
            return _spread([after - before for before, after in pairwise([*times, now] if named else times)])
        case Kind.CUSUM:
            return _cusum(feature, times, amounts, now, amount)
        case Kind.PEAK:
            middle = median(amounts) if amounts else 0
            aged = [2.0 ** -((now - each) / feature.half_life_us) for each in times]
            told = zip(amounts, aged, strict=True)
            return max(each / middle * weight for each, weight in told) + 0.0 if middle else NAN
    weights = [2.0 ** -((now - each) / feature.half_life_us) for each in times]
    if feature.kind is Kind.DECAYED_COUNT:
        return math.fsum([*weights, 1.0] if named else weights)
    products = [weight * each for weight, each in zip(weights, amounts, strict=True)]
    return math.fsum([*products, float(amount)] if named else products) / 10 ** DIGITS[event.currency]


def _spread(gaps: list[int]) -> float:
    n = len(gaps)
    if n < 2:
        return NAN
    return math.sqrt((n * sum(each**2 for each in gaps) - sum(gaps) ** 2) / (n * (n - 1))) / 1_000_000


def _cusum(feature: Feature, times: list[int], amounts: list[int], now: int, amount: int) -> float:
    middle = median(amounts) if len(amounts) >= 3 else 0
    if middle <= 0:
        return 0.0
    total, before = 0.0, times[0]
    for time, each in zip([*times, now], [*amounts, amount], strict=True):
        surprise = max(-1.0, min(2.0, math.log(each / middle))) if each > 0 else -1.0
        total = max(0.0, total * 2.0 ** -((time - before) / feature.half_life_us) + surprise - 0.5)
        before = time
    return total


def of_labels(feature: Feature, seen: Seen) -> list[float]:
    """The value of every row."""
    inside = seen.window(feature.window_us)
    fraud = np.array([each.fraud for each in seen.records], dtype=bool)
    labels, frauds = inside.sum(axis=1), (inside & fraud[None, :]).sum(axis=1)
    match feature.kind:
        case Kind.LABELS:
            return labels.astype(float).tolist()
        case Kind.FRAUDS:
            return frauds.astype(float).tolist()
        case Kind.RISK:
            more, of = feature.prior
            told = zip(frauds.tolist(), labels.tolist(), strict=True)
            return [(each + more) / (n + of) if n + of else 0.0 for each, n in told]
        case Kind.SINCE_FRAUD | Kind.SINCE_LEGITIMATE:
            wanted = inside & (fraud == (feature.kind is Kind.SINCE_FRAUD))[None, :]
            newest = np.where(wanted, seen.times[None, :], -FAR).max(axis=1, initial=-FAR)
            return np.where(newest > -FAR, (seen.nows - newest) / 1e6, NAN).tolist()
    return [_of_a_run(feature, seen, fraud, row, inside[row]) for row in range(len(seen.rows))]


def _of_a_run(feature: Feature, seen: Seen, fraud: np.ndarray, row: int, inside: np.ndarray) -> float:
    places, now = np.nonzero(seen.visible[row])[0], int(seen.nows[row])
    if not inside.any():
        return NAN if feature.kind is Kind.RUN_AGE else 0.0
    kinds = fraud[places]
    others = np.nonzero(kinds != kinds[-1])[0]
    run = places[others[-1] + 1 if len(others) else 0 :]
    if feature.kind is Kind.RUN_AGE:
        return min(now - int(seen.times[run[0]]), feature.window_us) / 1e6 if kinds[-1] else NAN
    return float(inside[run].sum()) if kinds[-1] == (feature.kind is Kind.FRAUD_RUN) else 0.0


def alone(feature: Feature, event: Transaction, timezone: str, texts: Callable[[str], str]) -> float:
    """A feature of the event itself; `texts` reads its fields."""
    local = local_time(event.time_us, timezone)
    match feature.kind:
        case Kind.AMOUNT:
            return event.amount / 10 ** DIGITS[event.currency]
        case Kind.NUMBER:
            return float(event.fields.get(feature.field, NAN))
        case Kind.CATEGORY:
            digest = hashlib.blake2b(texts(feature.field).encode(), digest_size=8).digest()
            return float(
                1 + int.from_bytes(digest, "little") % (feature.size - 1) if texts(feature.field) else 0
            )
        case Kind.WEEKEND:
            return float(local.weekday() >= 5)
        case Kind.NIGHT:
            return float(local.hour < 6)
    return float(local.hour)


@lru_cache(maxsize=1 << 16)
def local_time(us: int, timezone: str) -> datetime:
    """A time on the wall clock of a zone."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).astimezone(ZoneInfo(timezone))
