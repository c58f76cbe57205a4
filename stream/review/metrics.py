"""What the review process tells those who watch: the ledger's counts, the queue's and the outbox's."""

from __future__ import annotations

from collections.abc import Iterator

from stream.review.ledger import Ledger
from stream.review.outbox import Outbox
from stream.review.queue import ReviewQueue
from stream.watch import Reading

COUNTERS = ("events", "alerts", "repeated", "conflicts")
"""Of the ledger's counts: those that only ever grow."""

GAUGES = ("labelled", "labelled_fraud", "alerts_labelled", "alerts_fraud")


def readings(ledger: Ledger, queue: ReviewQueue, outbox: Outbox) -> Iterator[Reading]:
    """The numbers of the pages; what was never counted is 0."""
    kept = ledger.counters()
    for name in (*COUNTERS, *GAUGES):
        yield Reading(f"weir_{name}", kept.get(name, 0))
    yield Reading("weir_alerts_open", queue.open())
    yield Reading("weir_verdicts_unsent", queue.waiting())
    yield Reading("weir_dead_letters_kept", ledger.dead_letter_count())
    yield Reading("weir_outbox_failures", outbox.failures)
