"""Features of an entity's last events, one by one: what no sum tells. Each is read newest first, as ages and amounts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from operator import mul
from statistics import median
from typing import TYPE_CHECKING

from features.catalogue import SECOND_US, Feature, Kind
from features.events import Transaction
from features.folds import NEVER

if TYPE_CHECKING:
    from features.compute import Compute, Raw

SURPRISE_MOST, SURPRISE_LEAST = 2.0, -1.0
"""A surprise is cut here, so that one wild amount is no series of them."""

ALLOWANCE = 0.5
"""What a surprise may be without adding up: half of the shift that Page's test is set to find, which is a natural log of 1."""

ENOUGH = 3
"""Amounts that a median needs before anything surprises."""


def of_the_last(feature: Feature, at: int, inside: Callable[[Transaction], bool]) -> Compute:
    """The feature that is told from `at` on: pairs of (age in microseconds, amount), NEVER behind the oldest.

    `inside` tells whether the event is one of the entity's itself.
    """
    if feature.kind in (Kind.PAST_AGE, Kind.PAST_AMOUNT):
        return _past(feature, at + 2 * (feature.last - 1))
    ends = at + 2 * feature.last

    def told(raw: Raw) -> tuple[list[int], Sequence[int]]:
        ages = [age for age in raw[at:ends:2] if age != NEVER]
        return ages, raw[at + 1 : at + 1 + 2 * len(ages) : 2]

    def gaps(event: Transaction, raw: Raw, scale: int) -> float:
        ages, _ = told(raw)
        return gap_std([0, *ages] if inside(event) else ages)

    def surprise(event: Transaction, raw: Raw, scale: int) -> float:
        ages, amounts = told(raw)
        return cusum([0, *ages], [event.amount, *amounts], feature.half_life_us)

    def decayed(event: Transaction, raw: Raw, scale: int) -> float:
        ages, amounts = told(raw)
        weights, own = [2.0 ** -(age / feature.half_life_us) for age in ages], float(inside(event))
        if feature.kind is Kind.DECAYED_COUNT:
            return math.fsum([own, *weights])
        return math.fsum([own * event.amount, *map(mul, weights, amounts)]) / scale

    match feature.kind:
        case Kind.RANK:
            return lambda event, raw, scale: rank(event.amount, told(raw)[1])
        case Kind.TYPICAL:
            return lambda event, raw, scale: typical(event.amount, told(raw)[1])
        case Kind.PEAK:
            return lambda event, raw, scale: peak(*told(raw), feature.half_life_us)
        case Kind.GAP_STD:
            return gaps
        case Kind.CUSUM:
            return surprise
    return decayed


def _past(feature: Feature, at: int) -> Compute:
    """Of the event whose age stands at `at`, and its amount behind it."""
    if feature.kind is Kind.PAST_AGE:
        return lambda event, raw, scale: raw[at] / SECOND_US if raw[at] != NEVER else math.nan
    return lambda event, raw, scale: raw[at + 1] / scale if raw[at] != NEVER else math.nan


def rank(amount: int, amounts: Sequence[int]) -> float:
    """The share of `amounts` that is lower; equal ones count half. NaN of none.

    >>> rank(5, [1, 5, 9, 2])
    0.625
    """
    if not amounts:
        return math.nan
    lower = sum(each < amount for each in amounts)
    return (2 * lower + sum(each == amount for each in amounts)) / (2 * len(amounts))


def typical(amount: int, amounts: Sequence[int]) -> float:
    """An amount against the median of others: a mean that no single fraud moves. NaN of none, or where that is nothing.

    >>> typical(30, [10, 10, 900])
    3.0
    """
    middle = median(amounts) if amounts else 0
    return amount / middle + 0.0 if middle else math.nan  # no -0.0


def peak(ages: Sequence[int], amounts: Sequence[int], half_life_us: int) -> float:
    """The highest of some amounts against their median, each halved with every `half_life_us` of its age.

    It tells how unusual it got lately. NaN of none, or where the median is nothing.

    >>> peak([0, 1000, 2000], [10, 80, 10], 1000), peak([500], [7], 500)
    (4.0, 0.5)
    """
    middle = median(amounts) if amounts else 0
    if not middle:
        return math.nan
    weights = [2.0 ** -(age / half_life_us) for age in ages]
    highest: float = max(amount / middle * weight for amount, weight in zip(amounts, weights, strict=True))
    return highest + 0.0  # no -0.0


def gap_std(ages: Sequence[int]) -> float:
    """The sample's standard deviation of the seconds between events of these ages, newest first. NaN of fewer than three.

    >>> round(gap_std([0, 1_000_000, 4_000_000]), 6)
    1.414214
    """
    gaps = [older - newer for newer, older in pairwise(ages)]
    n = len(gaps)
    if n < 2:
        return math.nan
    spread = n * sum(gap * gap for gap in gaps) - sum(gaps) ** 2
    return math.sqrt(spread / (n * (n - 1))) / SECOND_US


def cusum(ages: Sequence[int], amounts: Sequence[int], half_life_us: int) -> float:
    """How surprising amounts (newest first) were lately: a series of high ones counts for more than one of them.

    Page's one-sided cumulative sum (E. S. Page, Continuous inspection schemes, Biometrika 41, 1954) of surprises, each the
    natural log of an amount against the median of those before it, less ALLOWANCE; it never falls below nothing, and
    what was summed is halved with every `half_life_us`.

    >>> usual, high = [10] * 5, [100, 100]
    >>> cusum(range(5), usual, 1000), round(cusum(range(7), high + usual, 1_000_000), 3)
    (0.0, 3.0)
    """
    total, before = 0.0, None
    for surprise, age in _surprises(ages, amounts):
        if before is not None:
            total *= 2.0 ** -((before - age) / half_life_us)
        total, before = max(0.0, total + surprise - ALLOWANCE), age
    return total


def _surprises(ages: Sequence[int], amounts: Sequence[int]) -> Iterator[tuple[float, int]]:
    """Each event's surprise and age, oldest first."""
    middle = median(amounts[1:]) if len(amounts) > ENOUGH else 0
    if middle <= 0:
        return
    for age, amount in zip(reversed(ages), reversed(amounts), strict=True):
        surprise = math.log(amount / middle) if amount > 0 else SURPRISE_LEAST
        yield min(max(surprise, SURPRISE_LEAST), SURPRISE_MOST), age
