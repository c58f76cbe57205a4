"""The codec: every record becomes an event or a dead letter with a reason, and none stops another."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.events import Label, Transaction, to_us
from features.profile import SHIPPED, Profile, load
from stream.codec import MAX_UNKNOWN, OTHERS, Codec, arrival_us
from stream.decisions import LabelRecord
from stream.letters import DeadLetter, LetterOffice
from stream.records import ARRIVED, Record
from stream.sealing import Sealer
from stream.wire import encode

ARRIVED_US = to_us(datetime(2026, 1, 1, 12, tzinfo=UTC))
EVENT: dict[str, object] = {
    "id": "p1",
    "at": "2026-01-01T11:59:00Z",
    "card": "c1",
    "merchant": "m1",
    "device": "d1",
    "country": "DE",
    "channel": "chip",
    "amount": 57.16,
    "currency": "EUR",
}
LABEL: dict[str, object] = {
    "label_id": "l1",
    "event_id": "p1",
    "label": "fraud",
    "source": "analyst",
    "labelled_at": "2026-01-01T11:59:30Z",
}
PROFILE = load("payments")
HEADERS = ((ARRIVED, b"%d" % ARRIVED_US),)


def record(
    value: bytes | dict[str, object] = EVENT,
    topic: str = "transactions",
    headers: tuple[tuple[str, bytes], ...] = HEADERS,
    timestamp_ms: int = ARRIVED_US // 1_000 + 5,
) -> Record:
    encoded = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Record(topic, 3, 17, b"c1", encoded, headers, timestamp_ms)


def decoded(
    value: bytes | dict[str, object], topic: str = "transactions"
) -> Transaction | Label | DeadLetter:
    return Codec(PROFILE).decode(record(value, topic))


def event(**changes: object) -> dict[str, object]:
    return {name: value for name, value in (EVENT | changes).items() if value is not ...}


def reason(value: bytes | dict[str, object], topic: str = "transactions") -> str:
    letter = decoded(value, topic)
    assert isinstance(letter, DeadLetter)
    return letter.reason


def test_a_transaction_is_what_the_profile_makes_of_its_json() -> None:
    assert decoded(EVENT) == PROFILE.transaction(EVENT, ARRIVED_US)


def test_a_label_counts_from_its_arrival() -> None:
    assert decoded(LABEL, "labels") == Label("l1", "p1", True, "analyst", ARRIVED_US)
    answer = decoded(LABEL | {"label": "legitimate", "reverses": "l0", "v": 1}, "labels")
    assert answer == Label("l1", "p1", False, "analyst", ARRIVED_US, "l0")


def test_a_tenants_prefix_is_taken_off_the_topic() -> None:
    codec = Codec(PROFILE, prefix="acme.")
    assert isinstance(codec.decode(record(LABEL, "acme.labels")), Label)
    letter = codec.decode(record(b"x", "acme.transactions"))
    assert isinstance(letter, DeadLetter)
    assert letter.topic == "transactions"


# --- the clock


def test_the_header_says_when_a_record_arrived_else_the_log_does() -> None:
    assert arrival_us(record()) == ARRIVED_US
    assert arrival_us(record(headers=(("other", b"x"), *HEADERS))) == ARRIVED_US
    assert arrival_us(record(headers=())) == (ARRIVED_US // 1_000 + 5) * 1_000


BAD_ARRIVALS = [b"", b"soon", b"-1", b"1.5", b"1e15", "١٢".encode(), b"\xff", b"9" * 18, b"9" * 400, b" 1"]


@pytest.mark.parametrize("header", BAD_ARRIVALS, ids=repr)
def test_a_bad_arrived_header_is_a_dead_letter_dated_by_the_log(header: bytes) -> None:
    letter = Codec(PROFILE).decode(record(headers=((ARRIVED, header),)))
    assert isinstance(letter, DeadLetter)
    assert letter.reason.startswith("the header arrived: expected microseconds since 1970, found ")
    assert letter.at_us == (ARRIVED_US // 1_000 + 5) * 1_000


def test_a_record_without_any_clock_is_a_dead_letter() -> None:
    letter = Codec(PROFILE).decode(record(headers=(), timestamp_ms=-1))
    assert isinstance(letter, DeadLetter)
    assert "its clock is unknown" in letter.reason


# --- bytes that are no JSON object


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "the record is empty"),
        (b" \n", "the record is empty"),
        (b'{"id": "p1", "amou', "the JSON ends too early, after 18 bytes"),
        (b'{"id": "p1"', "the JSON ends too early"),
        (b"hello", "the record is not JSON: invalid character (byte 0)"),
        (b"{'id': 'p1'}", "the record is not JSON"),
        (b'{"id": "p1"} x', "the record is not JSON: trailing characters"),
        (b'{"id": "p1",}', "the record is not JSON"),
        (b"id=p1;amount=3", "the record is not JSON"),
        (b"\xef\xbb\xbf{}", "the record begins with a byte order mark"),
        (b'{"id": "caf\xe9"}', "the record is not UTF-8 text"),
        (b'{"caf\xe9": 1}', "the record is not UTF-8 text"),
        (b'{"id": "\\ud800"}', "a text in the JSON holds half a character"),
        (b"null", "the record is not a JSON object but nothing"),
        (b"[1]", "the record is not a JSON object but a list"),
        (b'"4111111111111111"', "the record is not a JSON object but a text of 16 characters"),
        (b"7", "the record is not a JSON object but a number"),
        (b"[" * 100_000, "the JSON is nested too deep"),
        (b'{"id":' * 100_000, "the JSON is nested too deep"),
        (b'{"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", "the JSON is nested too deep"),
        (b'{"id": ' + b"9" * 6_000 + b"}", "the JSON holds a number that is too large"),
        (b"\x00\x00\x00\x00\x01", "the record is not JSON"),
    ],
)
def test_what_is_no_json_object_is_a_dead_letter(value: bytes, why: str) -> None:
    assert reason(value).startswith(why)


def test_a_record_over_the_limit_is_refused_unread() -> None:
    big = b'{"id": "' + b"x" * 10_000_000 + b'"}'
    assert reason(big) == "the record has 10,000,010 bytes; at most 1,000,000 are read"
    small = Codec(PROFILE, max_bytes=len(record().value) - 1).decode(record())
    assert isinstance(small, DeadLetter)
    assert isinstance(Codec(PROFILE, max_bytes=len(record().value)).decode(record()), Transaction)


@pytest.mark.parametrize(
    "value",
    [
        b'{"amount":1,"amount":2}',
        b'{"amount" :1,"amount":2}',
        b'{"amount"\t:1,"amount"\n:2}',
        b'{"amount":1,"note":"x","amou\\u006et":2}',
    ],
)
def test_a_field_named_twice_is_a_dead_letter(value: bytes) -> None:
    assert reason(value) == "the JSON object has the field 'amount' 2 times"


def test_a_field_that_only_looks_named_twice_is_not() -> None:
    for odd in ({"note": '":"amount":'}, {"note": "a : b"}, {"more": {"amount": 1}}, {"amount ": 1}):
        assert isinstance(decoded(event(**odd)), Transaction)
    assert isinstance(decoded(json.dumps(EVENT, indent=2).encode()), Transaction)


# --- fields


@pytest.mark.parametrize("field", ["id", "at", "card", "merchant", "device", "amount", "currency"])
def test_a_missing_required_field_is_a_dead_letter_that_names_it(field: str) -> None:
    for value in (..., None, ""):
        assert reason(event(**{field: value})).startswith(f"the field {field}: expected ")
    assert reason(event(**{field: ...})).endswith("found nothing")


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999", "-1e400"])
def test_an_amount_that_is_not_finite_is_a_dead_letter(token: str) -> None:
    bare = json.dumps(event(amount="?")).replace('"?"', token).encode()
    assert reason(bare).startswith("the field amount: expected a finite number, found ")


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-inf"])
def test_an_amount_that_says_so_in_text_is_one_too(text: str) -> None:
    assert reason(event(amount=text)) == f"the field amount: expected a finite number, found '{text}'"


def test_a_huge_amount_is_a_dead_letter() -> None:
    for amount in (1e300, 10**30, "1e999", str(10**30)):
        assert reason(event(amount=amount)).startswith(
            "the field amount: expected an amount below 4.6e+18 minor units"
        )


@pytest.mark.parametrize("wrong", [True, [], {}, {"value": 57.16}, "57,16 EUR"], ids=repr)
def test_a_wrong_type_is_a_dead_letter(wrong: object) -> None:
    assert reason(event(amount=wrong)).startswith(
        "the field amount: expected a decimal number in major units"
    )
    if not isinstance(wrong, str):
        assert reason(event(id=wrong)).startswith("the field id: expected a text or a whole number, found ")
        assert reason(event(at=wrong)).startswith("the field at: expected a time as ISO 8601 text, such as ")
        assert reason(event(country=wrong)).startswith("the field country: expected a text, found ")
        assert reason(event(currency=wrong)).startswith(
            "the field currency: expected an ISO 4217 currency code"
        )


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("99999-01-01T00:00:00Z", "expected a time as ISO 8601 text"),
        ("soon", "expected a time as ISO 8601 text"),
        ("1969-12-31T23:59:59Z", "expected a time after 1970"),
        ("9999-12-31T23:59:59Z", "expected a time at most 1h after the event's arrival"),
        ("2026-01-01T13:00:01Z", "expected a time at most 1h after the event's arrival"),
        ("2026-01-01T11:59:00", "expected a time with its zone"),
        (1_767_268_740, "expected a time as ISO 8601 text"),
    ],
)
def test_an_absurd_or_naive_time_is_a_dead_letter(at: object, why: str) -> None:
    assert reason(event(at=at)).startswith(f"the field at: {why}")


def test_an_unknown_currency_is_a_dead_letter() -> None:
    why = "the field currency: expected an ISO 4217 currency code, such as EUR, found 'EURO'"
    assert reason(event(currency="EURO")) == f"{why} (did you mean EUR?)"


def test_an_id_that_is_too_long_or_has_control_characters_is_a_dead_letter() -> None:
    assert reason(event(id="x" * 257)) == "the field id: expected at most 256 characters, found 257"
    assert "without control characters" in reason(event(id="p\x001"))
    assert "without control characters" in reason(event(merchant="m\n1"))


def test_unknown_fields_are_ignored_and_counted() -> None:
    codec = Codec(PROFILE)
    answers = codec.decode_many([record(event(colour="red")), record(event(colour=1, size=[])), record()])
    assert answers == [PROFILE.transaction(EVENT, ARRIVED_US)] * 3
    assert codec.unknown == {"colour": 2, "size": 1}


def test_the_label_field_of_a_file_is_no_unknown_one() -> None:
    codec = Codec(load("handbook"))
    row = {"TRANSACTION_ID": 1, "TX_DATETIME": "2026-01-01 11:59:00", "TX_AMOUNT": 1, "TX_FRAUD": 0}
    assert isinstance(codec.decode(record(row | {"CUSTOMER_ID": 1, "TERMINAL_ID": 2})), Transaction)
    assert not codec.unknown


def test_unknown_fields_are_counted_within_bounds() -> None:
    codec = Codec(PROFILE)
    for number in range(2 * MAX_UNKNOWN):
        codec.decode(record(event(**{f"x{number}": 1})))
    assert len(codec.unknown) == MAX_UNKNOWN + 1
    assert codec.unknown[OTHERS] == MAX_UNKNOWN


# --- labels


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"label": "maybe"}, 'the field label: expected "fraud" or "legitimate", found \'maybe\''),
        ({"label": True}, 'the field label: expected "fraud" or "legitimate", found true'),
        ({"label": None}, 'the field label: expected "fraud" or "legitimate", found nothing'),
        ({"label_id": None}, "the field label_id: expected a text or a whole number, found nothing"),
        ({"event_id": ""}, "the field event_id: expected a text or a whole number, found nothing"),
        ({"source": []}, "the field source: expected a text or a whole number, found a list"),
        ({"reverses": {}}, "the field reverses: expected a text or a whole number, found an object"),
        ({"labelled_at": "2026-01-01T11:00:00"}, "the field labelled_at: expected a time with its zone"),
        ({"labelled_at": "now"}, "the field labelled_at: expected a time as ISO 8601 text"),
        ({"labelled_at": None}, "the field labelled_at: expected a time as ISO 8601 text"),
        ({"labelled_at": "2027-01-01T11:00:00Z"}, "the field labelled_at: expected a time not after"),
        ({"v": 2}, "the field v: expected the schema version 1, found 2"),
    ],
)
def test_a_bad_label_is_a_dead_letter(changes: dict[str, object], why: str) -> None:
    assert reason(LABEL | changes, "labels").startswith(why)


def test_what_is_no_json_is_no_label_either() -> None:
    letter = decoded(b"{", "labels")
    assert isinstance(letter, DeadLetter)
    assert letter.topic == "labels"


def test_where_ids_are_made_of_what_is_personal_events_and_their_labels_are_known_by_one_hash(
    tmp_path: Path,
) -> None:
    path = tmp_path / "own.toml"
    path.write_text((SHIPPED / "payments.toml").read_text().replace('"id"', '["card", "at"]'))
    codec = Codec(load(path).keyed(bytes(32)))
    event_id = f"{EVENT['card']}-{EVENT['at']}"
    transaction = codec.decode(record())
    label = codec.decode(record(LABEL | {"event_id": event_id, "label_id": f"file-{event_id}"}, "labels"))
    assert isinstance(transaction, Transaction)
    assert isinstance(label, Label)
    assert label.event_id == transaction.event_id
    assert not {event_id, f"file-{event_id}"} & {label.label_id, label.event_id}
    verdict = LABEL | {"event_id": transaction.event_id, "label_id": "v2", "reverses": f"file-{event_id}"}
    taken_back = codec.decode(record(verdict, "labels"))
    assert isinstance(taken_back, Label)
    assert (taken_back.event_id, taken_back.reverses) == (label.event_id, label.label_id)


# --- good among bad


def test_good_records_around_bad_ones_are_decoded_in_order() -> None:
    bad = [b"", b"{", b"[" * 5_000, b"\xff", json.dumps(event(amount=None)).encode(), b"null"]
    records = [record()]
    for value in bad:
        records += [record(value), record(event(id=f"p{len(records)}")), record(LABEL, "labels")]
    answers = Codec(PROFILE).decode_many(records)
    kinds = [type(answer) for answer in answers]
    assert kinds == [Transaction] + [DeadLetter, Transaction, Label] * len(bad)
    assert [a.event_id for a in answers if isinstance(a, Transaction)] == [
        "p1",
        *(f"p{3 * number + 1}" for number in range(len(bad))),
    ]


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_whatever_bytes_come_the_codec_answers(value: bytes) -> None:
    for topic in ("transactions", "labels"):
        assert isinstance(decoded(value, topic), DeadLetter)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@example("amount", {"0": math.inf})
@given(st.sampled_from(sorted(EVENT)), JSON)
def test_whatever_a_field_holds_the_codec_answers(field: str, value: object) -> None:
    answer = decoded(event(**{field: value}))
    if isinstance(answer, DeadLetter):
        assert len(answer.reason) < 400
        assert f"the field {field}: expected " in answer.reason or "JSON" in answer.reason
        assert answer.value == json.dumps(event(**{field: value})).encode()


@given(st.sampled_from(sorted(LABEL)), JSON)
def test_whatever_a_labels_field_holds_the_codec_answers(field: str, value: object) -> None:
    assert isinstance(decoded(LABEL | {field: value}, "labels"), Label | DeadLetter)


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=256)


@given(
    NAMES,
    st.datetimes(datetime(1971, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC)),
    st.integers(-(10**11), 10**11),
    st.lists(NAMES, min_size=3, max_size=3),
)
def test_a_transaction_written_as_json_is_read_as_it_was(
    event_id: str, at: datetime, minor: int, entities: list[str]
) -> None:
    card, merchant, device = entities
    written = event(id=event_id, at=at, card=card, merchant=merchant, device=device, amount=minor / 100)
    answer = Codec(PROFILE).decode(
        record(msgspec.json.encode(written), headers=((ARRIVED, b"%d" % to_us(at)),))
    )
    assert isinstance(answer, Transaction)
    assert answer.event_id == event_id
    assert answer.time_us == answer.arrived_us == to_us(at)
    assert answer.amount == minor
    assert answer.entities == tuple(entities)


@given(NAMES, NAMES, st.booleans(), NAMES, st.none() | NAMES)
def test_a_label_record_is_read_as_it_was_written(
    label_id: str, event_id: str, fraud: bool, source: str, reverses: str | None
) -> None:
    verdict = "fraud" if fraud else "legitimate"
    wire = encode(LabelRecord(label_id, event_id, verdict, source, "2026-01-01T12:00:00+00:00", reverses))
    assert decoded(wire, "labels") == Label(label_id, event_id, fraud, source, ARRIVED_US, reverses)


# --- dead letters


def test_a_dead_letter_goes_out_with_its_place_and_clock() -> None:
    letter = Codec(PROFILE).decode(record(event(amount="4111 1111 1111 1111x")))
    assert isinstance(letter, DeadLetter)
    assert (letter.key, letter.value) == (record().key, record(event(amount="4111 1111 1111 1111x")).value)
    assert (letter.topic, letter.partition, letter.offset, letter.at_us) == (
        "transactions",
        3,
        17,
        ARRIVED_US,
    )
    assert letter.reason == (
        "the field amount: expected a decimal number in major units, such as 57.16, found '[16 digits]x'"
    )


@pytest.mark.parametrize(
    ("value", "key", "people"),
    [
        (event(amount="x"), b"c1", (("card", "c1"),)),
        (event(amount="x", card="c2"), b"c1", (("card", "c2"),)),
        (event(amount="x", card=4539123456781234), None, (("card", "4539123456781234"),)),
        (event(card=...), b"c1", (("card", "c1"),)),
        (event(card=["c3"]), b"c1", (("card", "c1"),)),
        (event(card=["c3"]), None, ()),
        (b'{"card": "c9", "amount', b"c1", (("card", "c1"),)),
        (b'{"card": "c9", "amount', None, ()),
        (b"", b"", ()),
        (b"", b"\xff\x00", (("card", "\\xff\x00"),)),
    ],
    ids=str,
)
def test_a_dead_letter_names_whom_it_is_about_as_far_as_that_can_be_read(
    value: bytes | dict[str, object], key: bytes | None, people: tuple[tuple[str, str], ...]
) -> None:
    letter = Codec(PROFILE).decode(msgspec.structs.replace(record(value), key=key))
    assert isinstance(letter, DeadLetter)
    assert letter.people == people


def test_a_bad_label_is_about_the_person_in_its_key_where_that_is_one(tmp_path: Path) -> None:
    assert Codec(PROFILE).decode(record(b"{}", "labels")).people == (("card", "c1"),)  # type: ignore[union-attr]
    by_merchant = tmp_path / "other.toml"
    text = (SHIPPED / "payments.toml").read_text()
    by_merchant.write_text(text.replace('partition_by = "card"', 'partition_by = "merchant"'))
    assert Codec(load(by_merchant)).decode(record(b"{}", "labels")).people == ()  # type: ignore[union-attr]


def test_a_conflict_takes_the_same_shape_and_its_reason_is_masked_too() -> None:
    letter = Codec(PROFILE).dead_letter(record(), "the id 4111-1111-1111-1111 was used before")
    assert (letter.topic, letter.partition, letter.offset, letter.key) == ("transactions", 3, 17, b"c1")
    assert letter.reason == "the id [16 digits] was used before"
    assert letter.value == record().value


def test_a_reason_that_is_no_clean_text_still_goes_out() -> None:
    out = LetterOffice(Sealer(bytes(32))).outgoing(
        Codec(PROFILE).dead_letter(record(), "odd \ud800 " + "x" * 10_000)
    )
    assert len(dict(out.headers)["reason"]) < 600


def test_a_personal_value_stays_out_of_the_reason() -> None:
    assert "Ada" not in reason(event(card="Ada\0Lovelace"))
    assert "Ada" not in reason(event(card=["Ada"]))


def profile_with_zone(tmp_path: Path) -> Profile:
    path = tmp_path / "zoned.toml"
    path.write_text(
        (Path(__file__).parents[3] / "features/profiles/payments.toml")
        .read_text()
        .replace('time = "at"', 'time = "at"\ntimezone = "Europe/Berlin"')
    )
    return load(path)


def test_a_naive_time_is_read_where_the_profile_names_its_zone(tmp_path: Path) -> None:
    answer = Codec(profile_with_zone(tmp_path)).decode(record(event(at="2026-01-01T12:59:00")))
    assert isinstance(answer, Transaction)
    assert answer.time_us == ARRIVED_US - 60_000_000
