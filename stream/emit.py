"""Decisions and alerts as records for the log."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import starmap
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from features.events import NAIVE_EPOCH, Transaction
from features.store import Applied, Status
from models.base import Reason
from stream.codec import Decoded
from stream.decide import APPROVE
from stream.decisions import AlertRecord, ConvertedRecord, DecisionRecord, ReasonRecord
from stream.grounds import Basis
from stream.keyring import NOBODY, Pair, Seal, Seals
from stream.letters import DeadLetter
from stream.pipeline import Champion, Decision
from stream.records import Outgoing
from stream.wire import encode, encode_many, object_of

MINUTE_US = 60_000_000
SECONDS = [f":{second:02}+00:00" for second in range(60)]

COLUMNS = DecisionRecord.__struct_fields__[:-1]  # the last one is the schema's version
LATE = Status.LATE
APPROVED = APPROVE.value

Pseudonym = Callable[[str, str], str]
"""(entity name, value) -> what may be kept in place of the value."""


class People(NamedTuple):
    """What is written of the people of a batch of events, event by event."""

    hashes: dict[str, list[str]]  # personal entity -> what stands for its value; "" where there is none
    sealed: Sequence[object]  # the values sealed, or UNSET


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
        self._features = object_of(names)
        self._named, self._enveloped = object_of(entities), object_of([n for n in entities if n in personal])
        self._entities = tuple(entities)
        self._personal = tuple((index, name) for index, name in enumerate(entities) if name in personal)
        self.basis = Basis(features_version)
        self._pseudonym = lru_cache(maxsize=1 << 16)(pseudonym)
        self._keyed_by = partition_by if partition_by in personal else None

    def people(self, decoded: Iterable[Decoded]) -> dict[Pair, int]:
        """Everybody whom a batch is about, with the arrival of what came of them last."""
        newest: dict[Pair, int] = {}
        for each in decoded if self._personal else ():
            if isinstance(each, Transaction):
                pairs, at_us = self.people_of(each), each.arrived_us
            elif isinstance(each, DeadLetter):
                pairs, at_us = each.people, each.at_us
            else:
                continue
            for pair in pairs:
                if at_us >= newest.get(pair, at_us):
                    newest[pair] = at_us
        return newest

    def people_of(self, event: Transaction) -> tuple[Pair, ...]:
        """Whom an event is about."""
        entities = event.entities
        return tuple([(name, entities[index]) for index, name in self._personal if entities[index]])

    def outgoing(
        self,
        made: Sequence[Decision],
        keys: Sequence[bytes | None],
        decided_at: str,
        seals: Seals = NOBODY,
        basis: Basis | None = None,
    ) -> tuple[list[Outgoing], list[Outgoing]]:
        """Decisions and alerts for the log, of events whose records had these `keys`.

        `seals` has everybody whom the events are about, or nobody; `basis` is what they rest on, if not on the features' own.
        """
        people = self._people([each.event for each in made], seals)
        records = self._records(made, people, decided_at, basis or self.basis)
        keys = self._keys(people, keys)
        alerts = [
            Outgoing(key, encode(self.alert(record)))
            for key, record in zip(keys, records, strict=True)
            if alerting(record)
        ]
        return list(starmap(Outgoing, zip(keys, encode_many(records), strict=True))), alerts

    def lines(self, made: Sequence[Decision], decided_at: str) -> list[bytes]:
        """Decisions as they stand on the log, with nothing sealed."""
        people = self._people([each.event for each in made], NOBODY)
        return encode_many(self._records(made, people, decided_at, self.basis))

    def _people(self, events: Sequence[Transaction], seals: Seals) -> People:
        """What may be known of the people whom events are about."""
        columns = {name: [event.entities[index] for event in events] for index, name in self._personal}
        if not seals:
            hashed = self._pseudonym
            hashes = {name: [each and hashed(name, each) for each in columns[name]] for name in columns}
            return People(hashes, [UNSET] * len(events))
        found = {name: [seals[name, each] if each else None for each in columns[name]] for name in columns}
        hashes = {name: [seal.person if seal else "" for seal in found[name]] for name in found}
        return People(hashes, self._sealed(events, found))

    def _sealed(
        self, events: Sequence[Transaction], found: Mapping[str, Sequence[Seal | None]]
    ) -> list[object]:
        """The personal entities' values, each sealed for its person; nothing of those who were forgotten since."""
        columns = [
            [
                (seal and seal.text_at(event.arrived_us)) or UNSET
                for seal, event in zip(seals, events, strict=True)
            ]
            for seals in found.values()
        ]
        return [
            UNSET if texts.count(UNSET) == len(texts) else self._enveloped(*texts)
            for texts in zip(*columns, strict=True)
        ]

    def _keys(self, people: People, keys: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """The keys as they may be kept. Equal ones stay equal, so decisions of one card keep their order."""
        return keys if self._keyed_by is None else [each.encode() for each in people.hashes[self._keyed_by]]

    def _records(
        self, made: Sequence[Decision], people: People, decided_at: str, basis: Basis
    ) -> list[DecisionRecord]:
        """Complete records to be written: what of them is a struct is written as the dict that a reader finds."""
        events = [each.event for each in made]
        columns: dict[str, Iterable[object]] = {
            "event_id": [event.event_id for event in events],
            "kind": ["transaction"] * len(made),
            "outcome": [APPROVED if each.outcome is APPROVE else each.outcome.value for each in made],
            "score": [each.score for each in made],
            "reasons": [reason_records(each.reasons) if each.reasons else [] for each in made],
            "event_time": [utc_text(event.time_us) for event in events],
            "arrived_us": [event.arrived_us for event in events],
            "decided_at": [decided_at] * len(made),
            "features_version": [basis.version] * len(made),
            "entities": self._kept(events, people),
            "amount": [event.amount for event in events],
            "currency": [event.currency for event in events],
            "body": [event.body.hex() for event in events],
            "sealed": people.sealed,
            "rung": [basis.rung] * len(made) if basis.rung else [each.rung for each in made],
            "converted_from": [_converted(event) for event in events],
            "scores": [UNSET if each.parts is None else each.parts for each in made],
            "warming": [list(basis.warming) if basis.warming else UNSET] * len(made),
        }
        columns |= self._of_answers([each.applied for each in made])
        columns |= _of_champions([each.champion for each in made])
        return list(starmap(DecisionRecord, zip(*[columns[name] for name in COLUMNS], strict=True)))

    def _of_answers(self, applied: Sequence[Applied]) -> dict[str, Iterable[object]]:
        return {
            "features": starmap(self._features, [each.vector for each in applied]),
            "seq": [each.seq for each in applied],
            "late": [each.status is LATE for each in applied],
            "approximate": [each.approximate for each in applied],
            "count_error": [each.error if each.approximate else UNSET for each in applied],
            "shards": [each.shards or UNSET for each in applied],
        }

    def _kept(self, events: Sequence[Transaction], people: People) -> Iterable[object]:
        """The events' entities as they may be kept; those that one does not name are left out."""
        if not self._entities:
            return [{}] * len(events)
        columns = [
            people.hashes[name] if name in people.hashes else [event.entities[index] for event in events]
            for index, name in enumerate(self._entities)
        ]
        kept = [[value or UNSET for value in column] for column in columns]
        return starmap(self._named, zip(*kept, strict=True))

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
            converted_from=record.converted_from,
        )


def _converted(event: Transaction) -> ConvertedRecord | UnsetType:
    before = event.converted
    return (
        ConvertedRecord(before.amount, before.currency, before.rate, utc_text(before.at_us))
        if before
        else UNSET
    )


def alerting(record: DecisionRecord) -> bool:
    """Whether a person should look at it."""
    return record.outcome != APPROVED


def reason_records(reasons: Sequence[Reason]) -> list[ReasonRecord]:
    """A scorer's reasons as they stand on the wire."""
    return [ReasonRecord(reason.feature, without_nan(reason.value), reason.weight) for reason in reasons]


def utc_text(us: int) -> str:
    """Microseconds since 1970 as ISO 8601, as an aware time would write it at six times the cost.

    >>> utc_text(1_500_000)
    '1970-01-01T00:00:01.500000+00:00'
    """
    minute, rest_us = divmod(us, MINUTE_US)
    second, fraction_us = divmod(rest_us, 1_000_000)
    if fraction_us:
        return f"{_minute_text(minute)}:{second:02}.{fraction_us:06}+00:00"
    return _minute_text(minute) + SECONDS[second]


@lru_cache(maxsize=1 << 12)
def _minute_text(minute: int) -> str:
    return (NAIVE_EPOCH + timedelta(minutes=minute)).isoformat(timespec="minutes")


def now_text() -> str:
    """The wall clock, for the clock fields of records and for nothing else."""
    return datetime.now(UTC).isoformat()


def _of_champions(champions: Sequence[Champion]) -> dict[str, Iterable[object]]:
    return {
        "model_version": [champion.version for champion in champions],
        "threshold": [_finite(champion.threshold) for champion in champions],
    }


def without_nan(value: float) -> float | None:
    """A feature's value as it stands on the wire: JSON has no NaN."""
    return None if math.isnan(value) else value


def _finite(threshold: float) -> float | None:
    return None if math.isinf(threshold) else threshold
