"""Feature definitions: what a profile's one-line declarations mean, and the hashes that name them."""

from __future__ import annotations

from enum import StrEnum
from hashlib import blake2b

import msgspec

FORMAT = 1
"""Part of every hash: raised when a kind changes its meaning, so that no model is used on other numbers."""

SECOND_US, HOUR_US, DAY_US = 1_000_000, 3_600_000_000, 86_400_000_000


class Kind(StrEnum):
    """What a feature measures. "Window" is the half-open span (clock - window, clock]."""

    # of the event alone
    AMOUNT = "amount"  # major units, of the event's own currency
    WEEKEND = "weekend"  # 1.0 on Saturday and Sunday in the profile's zone
    NIGHT = "night"  # 1.0 from midnight to 6 in the profile's zone
    HOUR = "hour"  # 0..23 in the profile's zone
    NUMBER = "number"  # a mapped number field; NaN where the event has none
    CATEGORY = "category"  # which of `size` numbers stands for its value of `field`: see `parts.category`
    # of an entity's events: those that had arrived, nothing later than this event's time, this event included
    COUNT = "count"
    SUM = "sum"  # of amounts
    MEAN = "mean"
    MIN = "min"
    MAX = "max"
    STD = "std"  # of amounts: the sample's standard deviation; NaN of fewer than two
    DISTINCT = "distinct"  # different values of `field`: an entity, a mapped text, or one of CALENDAR
    ENTROPY = "entropy"  # of `field`, in bits: Renyi's of order 2, -log2 of the chance that two events are alike; NaN of none
    SHARE = "share"  # of the events that have a value of `field`: those that have this event's; NaN where it has none
    NEW = "new"  # 1.0 where no earlier event in the window has this event's value of `field`; NaN where it has none
    GAP = "gap"  # mean seconds from one event to the next; NaN of fewer than two
    VELOCITY = "velocity"  # events a time here, against events a time in the longer window `against_us`
    # of an entity's events before this one
    SINCE_LAST = "since_last"  # seconds; NaN at the first
    SINCE_FIRST = "since_first"  # seconds since the first event there ever was; NaN at it
    RATIO = "ratio"  # this amount to the mean of the earlier ones in the window; NaN where there are none
    ZSCORE = "zscore"  # this amount less the mean of the earlier ones, in their standard deviations; NaN where that is none
    DISTANCE = "distance"  # km from the place of the event before; NaN where there is none, or one of them has no place
    SPEED = "speed"  # km/h on the way from there, as if that had taken a second at least; NaN likewise
    # of an entity's last events before this one, at most `last` of them, and nothing later than this one
    RANK = "rank"  # the share of them whose amount is lower, half of those that are equal; NaN where there are none
    TYPICAL = "typical"  # this amount against their median; NaN where there are none, or it is nothing
    CUSUM = "cusum"  # how surprising the amounts were lately, this one included: see `recent.cusum`
    PEAK = "peak"  # the highest of them against their median, each halved for every `half_life_us` of its age; NaN likewise
    DECAYED_COUNT = (
        "decayed_count"  # them and this one, each half as much for every `half_life_us` of its age
    )
    DECAYED_SUM = "decayed_sum"  # of amounts, likewise
    GAP_STD = "gap_std"  # standard deviation of the seconds between events, this one included; NaN of fewer than two gaps
    PAST_AGE = "past_age"  # seconds since the `last`-th event before this one; NaN where there is none
    PAST_AMOUNT = "past_amount"  # its amount, in major units; NaN likewise
    # of the labels of an entity's events, by their arrival: those in (arrival - window, arrival]
    LABELS = "labels"  # how many arrived
    FRAUDS = "frauds"  # how many of them say fraud
    RISK = "risk"  # frauds / labels; 0.0 where none arrived; with a prior (f, n): (frauds + f) / (labels + n)
    # of the run that these labels end with: frauds, or legitimate ones, in a row
    FRAUD_RUN = "fraud_run"  # how many frauds in a row were the last
    LEGITIMATE_RUN = "legitimate_run"  # how many legitimate ones
    RUN_AGE = "run_age"  # seconds since the first fraud of such a run, at most the window; NaN where the last is none
    SINCE_FRAUD = "since_fraud"  # seconds since the last fraud; NaN where there is none in the window
    SINCE_LEGITIMATE = "since_legitimate"  # seconds since the last legitimate label; NaN likewise
    SINCE_FIRST_FRAUD = (
        "since_first_fraud"  # seconds since the first fraud there ever was; NaN where none was
    )


ZONED = frozenset({Kind.WEEKEND, Kind.NIGHT, Kind.HOUR})
"""Kinds whose value depends on the profile's zone."""


HOUR_OF_DAY, WEEKDAY = "@hour", "@weekday"
CALENDAR = {"hour": HOUR_OF_DAY, "weekday": WEEKDAY}
"""Fields that an event has by its time, in the profile's zone: as a profile writes them, and as a feature names them."""

CURRENCY = "@currency"
"""The field that amounts of several currencies are told apart by."""

RECENT = frozenset(
    {
        Kind.RANK,
        Kind.TYPICAL,
        Kind.CUSUM,
        Kind.PEAK,
        Kind.DECAYED_COUNT,
        Kind.DECAYED_SUM,
        Kind.GAP_STD,
        Kind.PAST_AGE,
        Kind.PAST_AMOUNT,
    }
)
"""Kinds that look at the last events one by one."""

DECAYING = frozenset({Kind.CUSUM, Kind.PEAK, Kind.DECAYED_COUNT, Kind.DECAYED_SUM})
"""Kinds in which an event counts for less as it ages."""

OF_AMOUNTS = frozenset({Kind.SUM, Kind.MEAN, Kind.STD, Kind.MIN, Kind.MAX, Kind.RATIO, Kind.ZSCORE}) | (
    RECENT - {Kind.DECAYED_COUNT, Kind.GAP_STD}  # past ages too: of the events whose amounts stand beside
)
"""Kinds that look at the amounts of several events."""

PLACES = frozenset({Kind.DISTANCE, Kind.SPEED})
"""Kinds that look at where events happen."""

FIELDS = frozenset({Kind.DISTINCT, Kind.ENTROPY, Kind.SHARE, Kind.NEW})
"""Kinds that look at a field's values."""


class Feature(msgspec.Struct, frozen=True):
    """One number in the vector."""

    name: str
    kind: Kind
    entity: str = ""  # "" for features of the event alone
    window_us: int = 0
    field: str = ""  # NUMBER, and kinds of FIELDS: the entity or field that is meant
    words: str = ""  # the meaning, for people
    against_us: int = 0  # VELOCITY: the longer window
    where: tuple[str, str] = ("", "")  # only of events whose field has this value
    same: tuple[str, ...] = ()  # only of events that have this event's values of these fields
    last: int = 0  # kinds of RECENT: how many events; those of PAST: which one, the newest is 1
    half_life_us: int = 0  # kinds of DECAYING
    place: tuple[str, str] = (
        "",
        "",
    )  # kinds of PLACES: the number fields of latitude and longitude, in degrees
    prior: tuple[int, int] = (0, 0)  # RISK: (frauds, labels) that count as if they had arrived
    size: int = 0  # CATEGORY: how many numbers


class FeatureSet(msgspec.Struct, frozen=True):
    """The features of a profile, compiled: what stores and scorers are built for."""

    features: tuple[Feature, ...]
    entities: tuple[str, ...]  # in the order of Transaction.entities
    timezone: str = "UTC"  # of weekend, night, hour
    remember_us: int = 7 * DAY_US  # ids are remembered, and late events applied, for so long
    records: int = 10_000  # exact windows hold so many records of one entity
    label_horizon_us: int = 30 * DAY_US  # labels that come longer after their event change no feature
    convert_to: str = ""  # the currency into which all amounts are converted; "": each is in its own

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of every vector."""
        return tuple(feature.name for feature in self.features)

    @property
    def categories(self) -> dict[str, int]:
        """By name: the features whose values have no order, and how many values there are."""
        return {feature.name: feature.size for feature in self.features if feature.kind is Kind.CATEGORY}

    @property
    def hashes(self) -> dict[str, str]:
        """By name, in the order of every vector: what each feature measures, as `feature_hash` says."""
        return {
            feature.name: feature_hash(feature, self.timezone, self.convert_to) for feature in self.features
        }

    @property
    def version(self) -> str:
        """The short hash of the whole set: equal sets have equal versions, in every process."""
        return _digest(
            list(self.hashes.values()), self.entities, self.remember_us, self.records, self.label_horizon_us
        )


def feature_hash(feature: Feature, timezone: str = "UTC", convert_to: str = "") -> str:
    """The short hash of what one feature measures; `timezone` and `convert_to` count only where the value depends on them.

    The words for people are left out: mending a phrase refuses no model.

    >>> weekend = Feature("weekend", Kind.WEEKEND)
    >>> feature_hash(weekend, "UTC") == feature_hash(weekend, "Europe/Paris")
    False
    """
    fields = {feature.field, feature.where[0], *feature.same}
    zone = timezone if feature.kind in ZONED or not fields.isdisjoint(CALENDAR.values()) else ""
    unset = Feature("", feature.kind)
    more = [
        [name, value]
        for name in ("against_us", "where", "same", "last", "half_life_us", "prior", "place", "size")
        if (value := getattr(feature, name)) != getattr(unset, name)
    ]
    if convert_to and feature.kind in OF_AMOUNTS | {Kind.AMOUNT}:
        more.append(["convert_to", convert_to])
    return _digest(
        feature.name, feature.kind.value, feature.entity, feature.window_us, feature.field, zone, *more
    )


def _digest(*parts: object) -> str:
    return blake2b(msgspec.json.encode([FORMAT, *parts]), digest_size=8).hexdigest()
