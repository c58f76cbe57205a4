"""Decisions and alerts as records for the log."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from msgspec import UNSET, UnsetType

from features.events import Transaction
from models.base import Reason
from stream.codec import Decoded
from stream.decide import Outcome
from stream.decisions import AlertRecord, DecisionRecord, ReasonRecord
from stream.keyring import NOBODY, Pair, Seals
from stream.letters import DeadLetter
from stream.pipeline import Decision

NAIVE_EPOCH = datetime(1970, 1, 1)  # in UTC
APPROVED = Outcome.APPROVE.value

Pseudonym = Callable[[str, str], str]
"""(entity name, value) -> what may be kept in place of the value."""


class Emitter:
    """Turns decisions into records, keeping of personal entities only a keyed hash."""

    def __init__(
        self,
        *,
        names: Sequence[str],
        entities: Sequence[str],
        personal: Sequence[str],
        features_version: str,
        pseudonym: Pseudonym,
        partition_by: str | None = None,
    ) -> None:
        """For vectors with these feature `names` and events with these `entities`, keyed by `partition_by`."""
        self._names = tuple(names)
        self._entities = tuple((name, name in personal) for name in entities)
        self._personal = tuple((index, name) for index, name in enumerate(entities) if name in personal)
        self._features_version = features_version
        self._pseudonym = lru_cache(maxsize=1 << 16)(pseudonym)
        keyed = partition_by if partition_by in personal else None
        self._keyed_by = None if keyed is None else list(entities).index(keyed)

    def key(self, event: Transaction, key: bytes | None) -> bytes | None:
        """The key of what is written of an event: the event's own, or its keyed hash where that is personal.

        Equal keys stay equal, so decisions of one card keep their order.
        """
        if self._keyed_by is None:
            return key
        name, _ = self._entities[self._keyed_by]
        return self._pseudonym(name, event.entities[self._keyed_by]).encode()

    def people(self, decoded: Iterable[Decoded]) -> dict[Pair, int]:
        """Everybody whom a batch is about, with the arrival of what came of them last."""
        newest: dict[Pair, int] = {}
        if not self._personal:
            return newest
        for each in decoded:
            if type(each) is Transaction:
                pairs, at_us = self.people_of(each), each.arrived_us
            elif type(each) is DeadLetter:
                pairs, at_us = each.people, each.at_us
            else:
                continue
            for pair in pairs:
                newest[pair] = max(at_us, newest.get(pair, at_us))
        return newest

    def people_of(self, event: Transaction) -> tuple[Pair, ...]:
        """Whom an event is about."""
        entities = event.entities
        return tuple([(name, entities[index]) for index, name in self._personal if entities[index]])

    def decision(self, decision: Decision, decided_at: str, seals: Seals = NOBODY) -> DecisionRecord:
        """The complete record of one decision; `seals` has everybody whom the event is about, or nobody."""
        event, applied = decision.event, decision.applied
        return DecisionRecord(
            event_id=event.event_id,
            kind="transaction",
            outcome=decision.outcome.value,
            score=decision.score,
            rung=decision.champion.rung,
            reasons=reason_records(decision.reasons),
            event_time=utc_text(event.time_us),
            arrived_us=event.arrived_us,
            decided_at=decided_at,
            model_version=decision.champion.version,
            features_version=self._features_version,
            threshold=_finite(decision.champion.threshold),
            features={  # _known, without a call for each
                name: None if value != value else value
                for name, value in zip(self._names, applied.vector, strict=True)
            },
            entities=self.entities(event),
            amount=event.amount,
            currency=event.currency,
            body=event.body.hex(),
            seq=applied.seq,
            late=applied.status == "late",
            approximate=applied.approximate,
            sealed=self._sealed(event, seals) if seals else UNSET,
        )

    @staticmethod
    def alert(record: DecisionRecord) -> AlertRecord:
        """The alert of a decision that a person should look at; the same event never makes two."""
        return AlertRecord(
            alert_id=f"alert-{record.event_id}",
            event_id=record.event_id,
            score=record.score,
            outcome=record.outcome,
            entities=record.entities,
            reasons=record.reasons,
            event_time=record.event_time,
            arrived_us=record.arrived_us,
            amount=record.amount,
            currency=record.currency,
            model_version=record.model_version,
            sealed=record.sealed,
        )

    def _sealed(self, event: Transaction, seals: Seals) -> dict[str, str] | UnsetType:
        """The personal entities' values, each sealed for its person; nothing of those who were forgotten since."""
        found = {pair[0]: seals[pair].text_at(event.arrived_us) for pair in self.people_of(event)}
        return {name: text for name, text in found.items() if text} or UNSET

    def entities(self, event: Transaction) -> dict[str, str]:
        """The event's entities as they may be kept; those it does not name are left out."""
        return {
            name: self._pseudonym(name, value) if personal else value
            for (name, personal), value in zip(self._entities, event.entities, strict=True)
            if value
        }


def alerting(record: DecisionRecord) -> bool:
    """Whether a person should look at it."""
    return record.outcome != APPROVED


def reason_records(reasons: Sequence[Reason]) -> list[ReasonRecord]:
    """A scorer's reasons as they stand on the wire."""
    return [ReasonRecord(reason.feature, _known(reason.value), reason.weight) for reason in reasons]


def utc_text(us: int) -> str:
    """Microseconds since 1970 as ISO 8601, as an aware time would write it at three times the cost.

    >>> utc_text(1_500_000)
    '1970-01-01T00:00:01.500000+00:00'
    """
    return (NAIVE_EPOCH + timedelta(microseconds=us)).isoformat() + "+00:00"


def now_text() -> str:
    """The wall clock, for the clock fields of records and for nothing else."""
    return datetime.now(UTC).isoformat()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _finite(threshold: float) -> float | None:
    return None if math.isinf(threshold) else threshold
