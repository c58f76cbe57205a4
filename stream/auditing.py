"""Reads the log of a Weir for an audit."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from features.compute import Plan
from features.events import Transaction
from features.packing import Packer
from features.profile import Profile
from features.shards import Lives, Shards
from stream import bootstrap
from stream.audit import Audit, Report, sampled
from stream.broker import tail_for
from stream.config import Config, ConfigError
from stream.decisions import DECISIONS, LABELS, TRANSACTIONS
from stream.extents import Extents, extents
from stream.numbered import NumberedLog
from stream.progress import Tracker, tracking
from stream.records import TP, Record
from stream.review.ledger import Ledger
from stream.review.people import People

TOPICS = (DECISIONS, TRANSACTIONS, LABELS)

ON_THEIR_WAY_S = 1.0
"""A batch's decisions follow the numbers that it took within so long, where the scorer runs."""

Take = Callable[[Sequence[Record]], None]


def audit(config: Config, *, share: float, seed: int, silent: bool = False) -> Report:
    """Recompute the features of a share of the logged decisions.

    Raises ConfigError where there is nothing on the log, and what the log, the profile and the database raise.
    """
    found = extents(config, TOPICS)
    if not any(end for _, end in found.values()):
        raise ConfigError(
            f"there is nothing on the log at {config.shown()['broker']}: --dir or --broker names another"
        )
    profile = bootstrap.profile_of(config)
    log = _empty(config, profile, found, share, seed)
    try:
        with tracking("read", sum(end - first for first, end in found.values()), silent=silent) as tracker:
            _Reading(config, tracker).read(log)
        with tracking("recompute", log.counts["events"], silent=silent) as tracker:
            return Audit(log, profile.features, profile.max_ahead_us).run(tracker)
    finally:
        log.close()


def _empty(config: Config, profile: Profile, found: Extents, share: float, seed: int) -> NumberedLog:
    return NumberedLog(
        bootstrap.codec_of(config, profile),
        profile.features,
        personal=profile.personal,
        forgotten=_forgotten(config, profile),
        sampled=sampled(share, seed),
        gone=[_tp(config, tp) for tp, (first, _) in found.items() if first > 0],
        lives=_lives(config, profile),
    )


def _lives(config: Config, profile: Profile) -> Callable[[Transaction, int], Sequence[Lives]]:
    """Where on a cluster an event's entities live, by their digests."""
    plan = Plan(profile.features)
    packer = Packer(plan, bootstrap.sealer(config).hash_key())
    shards: dict[int, Shards] = {}

    def lives(event: Transaction, count: int) -> Sequence[Lives]:
        if count not in shards:
            shards[count] = Shards(plan, packer, count)
        return shards[count].lives(event)

    return lives


def _tp(config: Config, tp: TP) -> TP:
    return TP(tp.topic.removeprefix(config.topic_prefix), tp.partition)


def _forgotten(config: Config, profile: Profile) -> list[str]:
    """The keyed hashes of those who were forgotten: the store dropped what it knew of them."""
    if not profile.personal:
        return []
    ledger = Ledger.open(config.database)
    try:
        return People(ledger.engine, bootstrap.sealer(config)).forgotten(0)[1]
    finally:
        ledger.close()


class _Reading:
    """One reading of the three topics."""

    def __init__(self, config: Config, tracker: Tracker) -> None:
        self._config, self._tracker = config, tracker
        self._done = 0

    def read(self, log: NumberedLog) -> None:
        """Decisions first: so the others hold whatever a decision is of."""
        self._topic(DECISIONS, log.decisions, log.end_numbers)
        self._topic(TRANSACTIONS, log.transactions)
        self._topic(LABELS, log.labels)

    def _topic(self, name: str, take: Take, ended: Callable[[], None] | None = None) -> None:
        """All that stands in a topic; where `ended` is to be called then, a moment of what follows too."""
        tail = tail_for(self._config.broker, self._config.topic(name), self._config.kafka)
        try:
            while not tail.at_end():
                self._take(tail.read(), take, name)
            if ended:
                ended()
                until = time.monotonic() + ON_THEIR_WAY_S
                while time.monotonic() < until:
                    self._take(tail.read(), take, name)
        finally:
            tail.close()

    def _take(self, records: Sequence[Record], take: Take, name: str) -> None:
        take(records)
        self._done += len(records)
        self._tracker.at(self._done, name)
