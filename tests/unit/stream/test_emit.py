"""Decisions and alerts as they are written: byte for byte what a record made field by field gives."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET

from features.events import EPOCH, Converted, Label, Transaction
from features.store import Applied, Status
from models.base import Reason
from stream.decide import NEVER, Outcome
from stream.decisions import AlertRecord, ConvertedRecord, DecisionRecord, ReasonRecord
from stream.emit import Emitter, utc_text
from stream.grounds import Basis
from stream.keyring import Seal
from stream.letters import DeadLetter
from stream.pipeline import Champion, Decision
from stream.records import Outgoing
from stream.wire import decode, encode
from tests.unit.stream.fakes import AmountScorer

NAMES = ("amount", 'odd"name', "né")
ENTITIES = ("card", "merchant", "device")
AT = "2026-01-01T12:00:00+00:00"
CHAMPIONS = [Champion(AmountScorer(), "river-1", 0.5), Champion(None, "none", NEVER)]


def pseudonym(entity, value):
    return f"<{entity} {value}>"


def emitter(personal=("card", "device"), names=NAMES, entities=ENTITIES):
    return Emitter(
        names=names,
        entities=entities,
        personal=personal,
        features_version="f1",
        pseudonym=pseudonym,
        partition_by=entities[0] if entities else None,
    )


def plainly(made, personal, seals):
    """The record of a decision, field by field."""
    event, applied, champion = made.event, made.applied, made.champion
    named = {name: value for name, value in zip(ENTITIES, event.entities, strict=True) if value}
    texts = {
        name: seals[name, named[name]].text_at(event.arrived_us)
        for name in personal
        if seals and name in named
    }
    sealed = {name: text for name, text in texts.items() if text}
    return DecisionRecord(
        event_id=event.event_id,
        kind="transaction",
        outcome=made.outcome.value,
        score=made.score,
        rung=made.rung,
        reasons=[ReasonRecord(each.feature, known(each.value), each.weight) for each in made.reasons],
        event_time=(EPOCH + timedelta(microseconds=event.time_us)).isoformat(),
        arrived_us=event.arrived_us,
        decided_at=AT,
        model_version=champion.version,
        features_version="f1",
        threshold=None if champion.threshold == NEVER else champion.threshold,
        features={name: known(value) for name, value in zip(NAMES, applied.vector, strict=True)},
        entities={
            name: pseudonym(name, value) if name in personal else value for name, value in named.items()
        },
        amount=event.amount,
        currency=event.currency,
        body=event.body.hex(),
        seq=applied.seq,
        late=applied.status is Status.LATE,
        approximate=applied.approximate,
        count_error=applied.error if applied.approximate else UNSET,
        sealed=sealed or UNSET,
        scores=UNSET if made.parts is None else made.parts,
        converted_from=converted_from(event.converted),
    )


def converted_from(before):
    if before is None:
        return UNSET
    at = (EPOCH + timedelta(microseconds=before.at_us)).isoformat()
    return ConvertedRecord(before.amount, before.currency, before.rate, at)


def alert_of(record):
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


def known(value):
    return None if math.isnan(value) else value


VALUES = st.sampled_from(["", "", "a", "b", "né", 'q"uote'])
NUMBERS = st.floats(allow_infinity=False) | st.just(math.nan)
TIMES_US = st.integers(0, 253_402_300_799_999_999)
EVENTS = st.builds(
    Transaction,
    event_id=st.text(st.characters(exclude_categories=["Cs"])),
    time_us=TIMES_US,
    arrived_us=st.integers(0, 20),
    amount=st.integers(-(1 << 62), 1 << 62),
    currency=st.sampled_from(["EUR", "JPY"]),
    entities=st.tuples(VALUES, VALUES, VALUES),
    fields=st.just({}),
    body=st.binary(min_size=8, max_size=8),
    converted=st.none() | st.builds(Converted, st.integers(-9, 9), st.just("USD"), st.just("0.5"), TIMES_US),
)
APPLIED = st.builds(
    Applied,
    status=st.sampled_from([Status.FRESH, Status.DUPLICATE, Status.LATE]),
    seq=st.integers(0, 1 << 53),
    vector=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    approximate=st.booleans(),
    error=st.floats(0, 1),
)
DECISIONS = st.builds(
    Decision,
    event=EVENTS,
    applied=APPLIED,
    score=st.floats(0, 1),
    outcome=st.sampled_from(Outcome),
    reasons=st.lists(st.builds(Reason, st.sampled_from(NAMES), NUMBERS, st.floats(-9, 9)), max_size=2),
    champion=st.sampled_from(CHAMPIONS),
    rung=st.sampled_from(["ensemble", "river", "rules"]),
    parts=st.none() | st.dictionaries(st.sampled_from(["river", "sequence"]), st.floats(0, 1)),
)


class Everybody(dict):
    """Seals of whoever is asked for; those of "b" were forgotten at 10."""

    def __missing__(self, pair):
        return Seal(pseudonym(*pair), b"k", 10 if pair[1] == "b" else -1, f"sealed {pair}")


@pytest.mark.parametrize("personal", [(), ("card",), ("card", "device"), ENTITIES], ids=str)
@pytest.mark.parametrize("is_sealed", [True, False])
@given(made=st.lists(DECISIONS, max_size=3))
def test_decisions_and_alerts_are_written_as_field_by_field(personal, is_sealed, made):
    seals = Everybody({("nobody", ""): None}) if is_sealed and personal else {}
    keys = [b"key %d" % number for number in range(len(made))]
    records = [plainly(each, personal, seals) for each in made]
    if personal:
        kept = [
            pseudonym("card", each.event.entities[0]).encode() if each.event.entities[0] else b""
            for each in made
        ]
    else:
        kept = keys
    decisions, alerts = emitter(personal).outgoing(made, keys, AT, seals)
    assert decisions == [Outgoing(key, encode(record)) for key, record in zip(kept, records, strict=True)]
    assert alerts == [
        Outgoing(key, encode(alert_of(record)))
        for key, record in zip(kept, records, strict=True)
        if record.outcome != "approve"
    ]
    assert [decode(each.value, DecisionRecord) for each in decisions] == records
    if not seals:
        assert emitter(personal).lines(made, AT) == [each.value for each in decisions]


def test_of_a_person_the_arrival_of_their_newest_event_counts_whatever_the_order():
    def event(card, at_us):
        return Transaction("a", 1, at_us, 1, "EUR", (card, "m", ""), {}, b"body0000")

    letter = DeadLetter("transactions", 0, 0, None, b"", "", 9, people=(("card", "b"),))
    decoded = [event("a", 5), event("b", 7), event("a", 3), letter, Label("l", "a", True, "test", 99)]
    assert emitter().people(decoded) == {("card", "a"): 5, ("card", "b"): 9}
    assert emitter(personal=()).people(decoded) == {}


def test_an_event_without_entities_has_none():
    made = Decision(
        Transaction("a", 1, 1, 1, "EUR", (), {}, b"body0000"),
        Applied(Status.FRESH, 1, (1.0,)),
        0.5,
        Outcome.REVIEW,
        [],
        CHAMPIONS[0],
        "river",
    )
    [line] = emitter((), ("amount",), ()).lines([made], AT)
    assert decode(line, DecisionRecord).entities == {}


@pytest.mark.parametrize("names", [NAMES, ("a", "b", "c")], ids=str)
@pytest.mark.parametrize("length", [2, 4])
def test_a_vector_of_another_length_is_no_decision(names, length):
    made = Decision(
        Transaction("a", 1, 1, 1, "EUR", ("c", "m", "d"), {}, b"body0000"),
        Applied(Status.FRESH, 1, (1.0,) * length),
        0.5,
        Outcome.APPROVE,
        [],
        CHAMPIONS[0],
        "river",
    )
    with pytest.raises((TypeError, ValueError)):
        emitter(names=names).lines([made], AT)


@given(TIMES_US)
@example(0)
@example(59_999_999)
@example(60_000_000)
def test_a_time_is_written_as_an_aware_datetime_writes_it(us):
    assert utc_text(us) == (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)).isoformat()


def test_what_a_decision_rests_on_is_said_with_it():
    event = Transaction("e", 0, 0, 100, "EUR", ("c", "m", "d"), {}, b"body0000")
    made = [
        Decision(
            event,
            Applied(Status.FRESH, 3, (1.0, math.nan, 2.0)),
            0.9,
            Outcome.REVIEW,
            [],
            CHAMPIONS[0],
            "river",
        )
    ]
    basis = Basis("f0", ("né",), "degraded")
    (out,), (alert,) = emitter().outgoing(made, [b"k"], AT, basis=basis)
    record = decode(out.value, DecisionRecord)
    assert (record.features_version, record.warming, record.rung) == ("f0", ["né"], "degraded")
    assert decode(alert.value, AlertRecord).event_id == "e"
    (out,), _ = emitter().outgoing(made, [b"k"], AT)
    record = decode(out.value, DecisionRecord)
    assert (record.features_version, record.warming, record.rung) == ("f1", UNSET, "river")
