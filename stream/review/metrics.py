"""What is counted, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping

from stream.review.ledger import Ledger
from stream.review.queue import ReviewQueue

COUNTERS = {
    "events": "events decided",
    "alerts": "events that a person should look at",
    "repeated": "decisions that came again and changed nothing",
    "conflicts": "decisions of a known event with another content",
}
"""Only ever grow."""

GAUGES = {
    "labelled": "events with a label",
    "labelled_fraud": "events whose newest label says fraud",
    "alerts_labelled": "alerts whose event has a label",
    "alerts_fraud": "alerts whose event's newest label says fraud",
    "alerts_open": "alerts that wait for a person",
    "verdicts_unsent": "verdicts that are not on the log yet",
    "dead_letters": "records that could not be used and are kept",
}


def text_of(ledger: Ledger, queue: ReviewQueue) -> str:
    """The text for a scrape."""
    now = {
        "alerts_open": queue.open(),
        "verdicts_unsent": queue.waiting(),
        "dead_letters": ledger.dead_letter_count(),
    }
    return rendered({**ledger.counters(), **now})


def rendered(values: Mapping[str, int]) -> str:
    """Values in Prometheus' text format; what was never counted is 0.

    >>> rendered({"events": 3}).splitlines()[:3]
    ['# HELP weir_events_total events decided', '# TYPE weir_events_total counter', 'weir_events_total 3']
    """
    lines = [
        _metric(f"weir_{name}_total", "counter", COUNTERS[name], values.get(name, 0)) for name in COUNTERS
    ]
    lines += [_metric(f"weir_{name}", "gauge", GAUGES[name], values.get(name, 0)) for name in GAUGES]
    return "".join(lines)


def _metric(name: str, kind: str, meaning: str, value: int) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value}\n"
