"""Weir's own records: what was written is read for ever, and what a later schema says is not guessed at.

The files in tests/golden are what version 1 put on the wire. They never change: a new schema adds others.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.decisions import AlertRecord, ConvertedRecord, DecisionRecord, LabelRecord, ReasonRecord
from stream.envelope import Envelopes
from stream.keyring import Opener, Seal
from stream.letters import AsItCame, DeadLetter, LetterOffice, as_it_came
from stream.sealing import Sealer
from stream.wire import WireError, decode, encode

GOLDEN = Path(__file__).parents[2] / "golden"

CONVERTED = ConvertedRecord(6204, "USD", "0.9213", "2018-03-30T14:15:00+00:00")
REASONS = [
    ReasonRecord("terminal_risk_7d", 0.25, 1.5),
    ReasonRecord("customer_ratio_amount_30d", None, -0.125),
]
DECISION = DecisionRecord(
    event_id="Käse-1",
    kind="transaction",
    outcome="review",
    score=0.8125,
    rung="river",
    reasons=REASONS,
    event_time="2018-04-01T00:00:31+00:00",
    arrived_us=1522540831000000,
    decided_at="2018-04-01T00:00:31.500000+00:00",
    model_version="river-12",
    features_version="5bd4bab7422252ff",
    threshold=0.75,
    features={"amount": 57.16, "customer_ratio_amount_30d": None},
    entities={"customer": "48e6bda0841adadd9d7d54e723af9792", "terminal": "3156"},
    amount=5716,
    currency="EUR",
    body="c489613b83fce9a2",
    seq=7,
)
ALERT = AlertRecord(
    alert_id="alert-Käse-1",
    event_id="Käse-1",
    score=0.8125,
    outcome="review",
    entities={"terminal": "3156"},
    reasons=REASONS,
    event_time="2018-04-01T00:00:31+00:00",
    arrived_us=1522540831000000,
    amount=5716,
    currency="EUR",
    model_version="river-12",
)
LABEL = LabelRecord("l1", "Käse-1", "fraud", "analyst", "2018-04-08T00:00:31+00:00", reverses="l0")

WRITTEN = [
    ("decision.v1.json", DECISION),
    ("decision_late.v1.json", msgspec.structs.replace(DECISION, threshold=None, late=True, approximate=True)),
    (
        "decision_approximate.v1.json",
        msgspec.structs.replace(DECISION, approximate=True, count_error=0.015625),
    ),
    ("alert.v1.json", ALERT),
    ("decision_sealed.v1.json", msgspec.structs.replace(DECISION, sealed={"customer": "AgHN3w=="})),
    ("decision_converted.v1.json", msgspec.structs.replace(DECISION, converted_from=CONVERTED)),
    ("alert_converted.v1.json", msgspec.structs.replace(ALERT, converted_from=CONVERTED)),
    ("decision_warming.v1.json", msgspec.structs.replace(DECISION, warming=["customer_ratio_amount_30d"])),
    (
        "decision_ensemble.v1.json",
        msgspec.structs.replace(
            DECISION, rung="ensemble", model_version="ensemble-3", scores={"river": 0.75, "sequence": 0.875}
        ),
    ),
    ("alert_sealed.v1.json", msgspec.structs.replace(ALERT, sealed={"customer": "AgHN3w=="})),
    ("label.v1.json", msgspec.structs.replace(LABEL, reverses=None)),
    ("label_reversing.v1.json", LABEL),
]


@pytest.mark.parametrize(("file", "record"), WRITTEN, ids=[file for file, _ in WRITTEN])
def test_version_1_is_read_as_it_was_meant(
    file: str, record: DecisionRecord | AlertRecord | LabelRecord
) -> None:
    assert decode((GOLDEN / file).read_bytes(), type(record)) == record


@pytest.mark.parametrize(("file", "record"), WRITTEN, ids=[file for file, _ in WRITTEN])
def test_version_1_is_written_as_it_always_was(
    file: str, record: DecisionRecord | AlertRecord | LabelRecord
) -> None:
    assert encode(record) == (GOLDEN / file).read_bytes().rstrip(b"\n")


SEALER = Sealer(bytes(range(32)))
CARD = ("card", "c1")
KEY = bytes(range(1, 33))  # the card's
LETTER = DeadLetter(
    topic="transactions",
    partition=3,
    offset=17,
    key=b"c1",
    value=b'{"amount": NaN, "card": "c1"}',
    reason="the field amount: expected a finite number, found NaN",
    at_us=1522540831000000,
    people=(CARD,),
)


def test_a_dead_letter_of_version_1_is_read_as_it_was_meant() -> None:
    golden = json.loads((GOLDEN / "dead_letter.v1.json").read_bytes())
    opener = Opener(Envelopes(SEALER), {})
    came = as_it_came(opener, bytes.fromhex(golden["sealed"]), SEALER.seal(b"c1"), SEALER.open)
    assert came == AsItCame(b"c1", b'{"amount": NaN}')
    assert as_it_came(opener, bytes.fromhex(golden["sealed"]), None, SEALER.open).key is None


def test_a_dead_letter_of_version_2_is_read_as_it_was_meant() -> None:
    golden = json.loads((GOLDEN / "dead_letter.v2.json").read_bytes())
    opener = Opener(Envelopes(SEALER), {SEALER.pseudonym(*CARD): KEY})
    came = as_it_came(opener, bytes.fromhex(golden["sealed"]), b"in no use", SEALER.open)
    assert came == AsItCame(LETTER.key, LETTER.value)


def test_a_dead_letter_is_written_as_it_always_was_but_for_its_envelope() -> None:
    golden = json.loads((GOLDEN / "dead_letter.v2.json").read_bytes())
    out = LetterOffice(SEALER, "card").outgoing(LETTER, {CARD: Seal(SEALER.pseudonym(*CARD), KEY, -1)})
    assert {name: value.decode() for name, value in out.headers} == golden["headers"]
    assert list(dict(out.headers)) == list(golden["headers"])
    assert (out.key or b"").decode() == golden["key"] == SEALER.pseudonym(*CARD)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
REASON = st.builds(ReasonRecord, TEXT, st.none() | FINITE, FINITE)


@pytest.mark.parametrize("kind", [DecisionRecord, AlertRecord, LabelRecord])
@given(data=st.data())
def test_a_record_comes_back_as_it_was_written(
    kind: type[DecisionRecord | AlertRecord | LabelRecord], data: st.DataObject
) -> None:
    strategies: dict[str, st.SearchStrategy[object]] = {
        "str": TEXT,
        "float": FINITE,
        "int": st.integers(-(2**63), 2**63 - 1),
        "bool": st.booleans(),
        "float | None": st.none() | FINITE,
        "str | None": st.none() | TEXT,
        "list[ReasonRecord]": st.lists(REASON, max_size=2),
        "dict[str, str]": st.dictionaries(TEXT, TEXT, max_size=2),
        "dict[str, str] | msgspec.UnsetType": st.just(msgspec.UNSET)
        | st.dictionaries(TEXT, TEXT, max_size=2),
        "float | msgspec.UnsetType": st.just(msgspec.UNSET) | FINITE,
        "list[str] | msgspec.UnsetType": st.just(msgspec.UNSET) | st.lists(TEXT, max_size=2),
        "dict[str, int] | msgspec.UnsetType": st.just(msgspec.UNSET)
        | st.dictionaries(TEXT, st.integers(0, 2**53), max_size=2),
        "dict[str, float] | msgspec.UnsetType": st.just(msgspec.UNSET)
        | st.dictionaries(TEXT, FINITE, max_size=2),
        "ConvertedRecord | msgspec.UnsetType": st.just(msgspec.UNSET)
        | st.builds(ConvertedRecord, st.integers(-(2**63), 2**63 - 1), TEXT, TEXT, TEXT),
        "dict[str, float | None]": st.dictionaries(TEXT, st.none() | FINITE, max_size=2),
    }
    values = {
        name: data.draw(strategies[annotation])
        for name, annotation in kind.__annotations__.items()
        if name != "v"
    }
    record = kind(**values)
    assert decode(encode(record), kind) == record


def test_a_later_schema_is_refused_with_what_to_do_even_where_its_shape_differs() -> None:
    for kind in (DecisionRecord, AlertRecord, LabelRecord):
        with pytest.raises(
            WireError, match=rf"a {kind.__name__} of schema 2; this Weir reads 1: use the one that wrote it"
        ):
            decode(b'{"v": 2, "event_id": ["of", "another", "shape"]}', kind)
    newer = json.loads(encode(LABEL)) | {"v": 2}
    with pytest.raises(WireError, match="schema 2"):
        decode(json.dumps(newer).encode(), LabelRecord)


def test_a_field_that_a_later_minor_version_adds_is_passed_over() -> None:
    more = json.loads(encode(LABEL)) | {"note": "added later"}
    assert decode(json.dumps(more).encode(), LabelRecord) == LABEL


@pytest.mark.parametrize("value", [b"", b"{", b"{}", b"[]", b"\xff", b"[" * 5_000, b'{"v": "one"}'], ids=repr)
def test_what_is_no_such_record_is_refused(value: bytes) -> None:
    with pytest.raises(WireError, match="not a LabelRecord"):
        decode(value, LabelRecord)


def test_every_record_carries_its_schema_version() -> None:
    for record in (DECISION, ALERT, LABEL):
        assert json.loads(encode(record))["v"] == 1


def test_a_number_that_is_not_known_is_null_on_the_wire() -> None:
    wire = json.loads(encode(DECISION))
    assert wire["features"]["customer_ratio_amount_30d"] is None
    assert wire["reasons"][1]["value"] is None
