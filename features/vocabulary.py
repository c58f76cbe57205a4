"""The words of a profile's ``declare`` lines: which kind each stands for, and what it means, for people."""

from __future__ import annotations

from features.catalogue import Kind

ALONE = {
    "amount": (Kind.AMOUNT, "the amount of this event, in major units"),
    "weekend": (Kind.WEEKEND, "1 if this event falls on a Saturday or Sunday ({zone})"),
    "night": (Kind.NIGHT, "1 if this event falls between midnight and 6 in the morning ({zone})"),
    "hour": (Kind.HOUR, "the hour of the day of this event, 0 to 23 ({zone})"),
}
OF_AMOUNTS = {
    "sum": (Kind.SUM, "sum of the amounts of this {entity}'s events in the last {window}, this one included"),
    "mean": (Kind.MEAN, "mean amount of this {entity}'s events in the last {window}, this one included"),
    "std": (
        Kind.STD,
        "standard deviation of the amounts of this {entity}'s events in the last {window}, this one included",
    ),
    "min": (Kind.MIN, "lowest amount of this {entity}'s events in the last {window}, this one included"),
    "max": (Kind.MAX, "highest amount of this {entity}'s events in the last {window}, this one included"),
    "ratio": (
        Kind.RATIO,
        "this amount against the mean of this {entity}'s earlier events in the last {window}",
    ),
    "zscore": (
        Kind.ZSCORE,
        "how far this amount is from the mean of this {entity}'s earlier events in the last {window}, in their standard deviations",
    ),
}
OF_EVENTS = {
    "count": (Kind.COUNT, "number of this {entity}'s events in the last {window}, this one included"),
    "gap": (Kind.GAP, "mean seconds between this {entity}'s events of the last {window}, this one included"),
    "labels": (Kind.LABELS, "number of labels of this {entity}'s events that arrived in the last {window}"),
    "frauds": (
        Kind.FRAUDS,
        "number of frauds among the labels of this {entity}'s events that arrived in the last {window}",
    ),
    "risk": (
        Kind.RISK,
        "share of frauds among the labels of this {entity}'s events that arrived in the last {window}",
    ),
}
OF_VALUES = {
    "distinct": (
        Kind.DISTINCT,
        "number of different values of {field} in this {entity}'s events in the last {window}",
    ),
    "entropy": (
        Kind.ENTROPY,
        "how mixed {field} is in this {entity}'s events in the last {window}, in bits (0: always the same)",
    ),
    "share": (
        Kind.SHARE,
        "share of this {entity}'s events in the last {window} that have this event's {field}, this one included",
    ),
    "new": (
        Kind.NEW,
        "1 if none of this {entity}'s earlier events in the last {window} has this event's {field}",
    ),
}
RUNS = {
    "of frauds": (
        Kind.FRAUD_RUN,
        "fraud_run",
        "number of frauds in a row that are the last labels of this {entity}, of the last {window}",
    ),
    "of legitimate": (
        Kind.LEGITIMATE_RUN,
        "legitimate_run",
        "number of legitimate labels in a row that are the last of this {entity}, of the last {window}",
    ),
    "age": (
        Kind.RUN_AGE,
        "run_age",
        "seconds since the first of the frauds in a row that are the last labels of this {entity}, at most {window}",
    ),
}
SINCE_LABELS = {
    "fraud": (
        Kind.SINCE_FRAUD,
        "seconds since this {entity}'s last fraud that was labelled in the last {window}",
    ),
    "legitimate": (
        Kind.SINCE_LEGITIMATE,
        "seconds since this {entity}'s last legitimate label of the last {window}",
    ),
}
RECENT = {
    "rank amount": (
        Kind.RANK,
        "rank_amount",
        "share of this {entity}'s last {last} events whose amount was lower than this one's",
    ),
    "typical amount": (
        Kind.TYPICAL,
        "typical_amount",
        "this amount against the median of this {entity}'s last {last} events",
    ),
    "gap spread": (
        Kind.GAP_STD,
        "gap_spread",
        "how much the seconds between this {entity}'s last {last} events differ (standard deviation)",
    ),
    "cusum amount": (
        Kind.CUSUM,
        "cusum_amount",
        "how surprisingly high the amounts of this {entity}'s last {last} events were in a row, halved every {half}",
    ),
    "peak amount": (
        Kind.PEAK,
        "peak_amount",
        "highest amount of this {entity}'s last {last} events before this one against their median, halved every {half}",
    ),
    "decayed count": (
        Kind.DECAYED_COUNT,
        "decayed_count",
        "number of this {entity}'s last {last} events, each half as much for every {half} of its age",
    ),
    "decayed sum": (
        Kind.DECAYED_SUM,
        "decayed_sum",
        "sum of the amounts of this {entity}'s last {last} events, each half as much for every {half} of its age",
    ),
}
VELOCITY_WORDS = (
    "how many times as often this {entity} has events in the last {window} as in the last {longer}"
)
SINCE = {
    "last": (Kind.SINCE_LAST, "seconds since this {entity}'s last event"),
    "first": (Kind.SINCE_FIRST, "seconds since this {entity}'s first event"),
    "first fraud": (Kind.SINCE_FIRST_FRAUD, "seconds since this {entity}'s first fraud was labelled"),
}
PLACED = {
    "speed": (Kind.SPEED, "km/h from the place of this {entity}'s event before to that of this one"),
    "distance": (Kind.DISTANCE, "km from the place of this {entity}'s event before to that of this one"),
}
RECENT_VERBS = ("rank", "typical", "cusum", "peak", "decayed")
VERBS = (
    *ALONE,
    "number",
    "category",
    *OF_AMOUNTS,
    *OF_EVENTS,
    *OF_VALUES,
    *RECENT_VERBS,
    "velocity",
    *PLACED,
    "run",
    "since",
    "history",
)

CATEGORY_WORDS = (
    "which of {size} numbers stands for this event's {field}: 0 for none, else one of 1 to {most} by a digest"
)
PAST = (
    (Kind.PAST_AGE, "past_age", "seconds since this {entity}'s {nth} event before this one"),
    (Kind.PAST_AMOUNT, "past_amount", "amount of this {entity}'s {nth} event before this one"),
)
"""What `history` tells of each event: nearest first."""
