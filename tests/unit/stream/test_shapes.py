"""Batches: whatever is in one, each record becomes what it becomes by itself."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.events import Transaction
from stream import codec as codecs
from stream.codec import (
    MAX_UNKNOWN,
    OTHERS,
    PIECE,
    WORTH_COLUMNS,
    Codec,
    DeadLetter,
    RecordError,
    arrival_us,
    arrivals_us,
)
from stream.records import ARRIVED, Record
from stream.shapes import MAX_FIELDS, Odd, Shape, Shapes, names_in
from tests.unit.stream.test_codec import ARRIVED_US, EVENT, HEADERS, JSON, LABEL, PROFILE

TOPICS = {"transactions": EVENT, "labels": LABEL}
MANY = 2 * PIECE + WORTH_COLUMNS


def on_log(value, topic="transactions", headers=HEADERS, timestamp_ms=ARRIVED_US // 1_000):
    return Record(
        topic,
        0,
        5,
        b"c1",
        value if isinstance(value, bytes) else json.dumps(value).encode(),
        headers,
        timestamp_ms,
    )


def singly(records, prefix=""):
    codec = Codec(PROFILE, prefix=prefix)
    return [codec.decode(record) for record in records], codec.unknown


def together(records, codec=None, prefix=""):
    codec = codec or Codec(PROFILE, prefix=prefix)
    return codec.decode_many(records), codec.unknown


def at_once(monkeypatch, codec, records):
    """The batch's answers, none of which was made by itself."""
    monkeypatch.setattr(codec, "decode", lambda record: pytest.fail(f"by itself: {record.value!r}"))
    return codec.decode_many(records)


# --- what may come in the place of an ordinary record

FIELDS = st.sampled_from(sorted({*EVENT, *LABEL, "v", "colour", "more", 'odd"name', "né"}))
TIMES = st.sampled_from(
    ["2026-01-01T11:59:00", "2026-01-01T11:59:00+02:00", "2026-01-01 11:59:00Z", "2126-01-01T00:00:00Z"]
)
TEXTS = st.sampled_from(["", "a : b", 'a":b', "né", "p\0", "x" * 257, "USD", "JPY", "fraud", "card\n"])
FOUND = JSON | TIMES | TEXTS | st.integers(-3, 3) | st.just({"id": {"id": 1}})
CHANGES = st.dictionaries(FIELDS, FOUND | st.just(...), max_size=2)


def changed(row, changes):
    return {name: value for name, value in (row | changes).items() if value is not ...}


def written(row, how):
    match how:
        case "indented":
            return json.dumps(row, indent=1).encode()
        case "tight":
            return json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogatepass")
        case "spaced":
            return json.dumps(row, separators=(", ", " : ")).encode()
        case "twice":
            return json.dumps(row).encode()[:-1] + b', "id": "p9"}'
        case "escaped":
            return json.dumps(row).replace('"id"', '"\\u0069d"').encode()
        case "cut":
            return json.dumps(row).encode()[:-1]
        case "not utf-8":
            return json.dumps(row).encode()[:-1] + b', "x": "\xe9"}'
        case "too large":
            return json.dumps(row).encode()[:-1] + b', "x": 1e999}'
    return json.dumps(row).encode()


WAYS = ("plain", "indented", "tight", "spaced", "twice", "escaped", "cut", "not utf-8", "too large")
ARRIVALS = st.sampled_from(
    [
        HEADERS,
        (),
        (("other", b"x"), *HEADERS),
        (*HEADERS, ("other", b"x")),
        ((ARRIVED, b"soon"),),
        ((ARRIVED, b"0" * 17 + b"12"),),
    ]
)
UNLIKE = st.tuples(
    CHANGES,
    st.just("plain") | st.sampled_from(WAYS),
    st.just(HEADERS) | ARRIVALS,
    st.sampled_from([ARRIVED_US // 1_000, -1]),
)


@st.composite
def batches(draw):
    """Ordinary records of one topic or both, among them some that are not."""
    records = []
    for topic, row in TOPICS.items():
        size = draw(st.sampled_from([0, WORTH_COLUMNS, PIECE + 1, MANY]))
        extra = draw(st.sampled_from([{}, {"colour": 1}, {"v": 1}, {"né": 2}]))
        run = [on_log(row | extra, topic) for _ in range(size)]
        for changes, how, headers, timestamp_ms in draw(st.lists(UNLIKE, max_size=3)):
            value = written(changed(row, changes), how)
            run.insert(draw(st.integers(0, len(run))), on_log(value, topic, headers, timestamp_ms))
        records += run
    return records


@given(batches())
@example([on_log(b"{}")] * WORTH_COLUMNS)
@example([on_log(b"[]")] * WORTH_COLUMNS)
@example([on_log({}), *[on_log(EVENT)] * WORTH_COLUMNS])
def test_a_batch_is_read_as_its_records_are_one_by_one(records):
    assert together(records) == singly(records)


@given(batches(), batches())
def test_what_was_learned_from_one_batch_changes_nothing_about_the_next(first, second):
    codec = Codec(PROFILE)
    codec.decode_many(first)
    codec.unknown.clear()
    assert together(second, codec) == singly(second)


def test_labels_and_transactions_are_told_apart_by_the_tenants_topic():
    records = [on_log(row, "acme." + topic) for topic, row in TOPICS.items() for _ in range(WORTH_COLUMNS)]
    assert together(records, prefix="acme.") == singly(records, prefix="acme.")


HIDDEN = [b'"id"' + space + b': "p9"' for space in (b" ", b"\n", b"\t", b"\r")]
ODD_EVENTS = [EVENT | {"at": "2126-01-01T00:00:00Z"}, EVENT | {"card": ""}, {}, EVENT | {"id": "x" * 300}]
ODD_LABELS = [
    LABEL | {"labelled_at": "2126-01-01T00:00:00Z"},
    LABEL | {"v": 2},
    LABEL | {"v": None},
    LABEL | {"label": []},
]
BY_THEMSELVES = [
    *((json.dumps(EVENT).encode()[:-1] + b", " + each + b"}", "transactions") for each in HIDDEN),
    *((each, "transactions") for each in ODD_EVENTS),
    *((each, "labels") for each in ODD_LABELS),
]


@pytest.mark.parametrize(("value", "topic"), BY_THEMSELVES)
def test_a_record_that_cannot_be_used_is_the_dead_letter_that_it_is_by_itself(value, topic):
    records = [on_log(TOPICS[topic], topic)] * WORTH_COLUMNS + [on_log(value, topic)]
    answers, unknown = together(records)
    assert (answers, unknown) == singly(records)
    assert isinstance(answers[-1], DeadLetter)


def test_a_record_that_is_too_large_is_refused_in_a_batch_too():
    records = [on_log(EVENT)] * WORTH_COLUMNS + [on_log(EVENT | {"id": "a longer one"})]
    codec = Codec(PROFILE, max_bytes=len(records[0].value))
    assert codec.decode_many(records) == [codec.decode(record) for record in records]
    assert isinstance(codec.decode_many(records)[-1], DeadLetter)


ARRIVED_TWICE = (*HEADERS, (ARRIVED, b"12"))
BAD = [
    (ARRIVED, value) for value in (b"soon", b"0" * 17 + b"12", b"9" * 18, b"9" * 5_000, "١٢".encode(), b"-1")
]


@pytest.mark.parametrize(
    "headers", [ARRIVED_TWICE, (), (("other", b"12"),), (("other", b"12"), *HEADERS)], ids=str
)
def test_records_arrive_by_their_headers_in_a_batch_too(headers):
    records = [on_log(EVENT, headers=each) for each in (HEADERS, (), headers, HEADERS)]
    assert arrivals_us(records) == [arrival_us(record) for record in records]


@pytest.mark.parametrize("header", BAD, ids=repr)
def test_a_bad_clock_is_refused_in_a_batch_too(header):
    with pytest.raises(RecordError, match="the header arrived"):
        arrivals_us([on_log(EVENT), on_log(EVENT, headers=(header,))])


# --- what is ordinary is read at once


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"country": ...},
        {"country": None},
        {"amount": 12},
        {"currency": "JPY"},
        {"card": 17},
        {"colour": "red"},
        {"at": "2026-01-01T12:00:00+02:00"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("others", [0, WORTH_COLUMNS])
def test_ordinary_records_are_read_at_once_however_they_are_mixed(monkeypatch, changes, others):
    records = [on_log(EVENT)] * others + [on_log(changed(EVENT, changes))] * WORTH_COLUMNS
    answers, unknown = singly(records)
    codec = Codec(PROFILE)
    assert at_once(monkeypatch, codec, records) == answers
    assert codec.unknown == unknown


@pytest.mark.parametrize(
    "changes", [{}, {"v": 1}, {"reverses": "l0"}, {"reverses": None}, {"label": "legitimate"}], ids=repr
)
def test_ordinary_labels_are_read_at_once(monkeypatch, changes):
    records = [on_log(LABEL | changes, "labels")] * WORTH_COLUMNS
    answers, _ = singly(records)
    assert at_once(monkeypatch, Codec(PROFILE), records) == answers


def test_an_odd_record_costs_only_its_piece_the_way_one_by_one(monkeypatch):
    records = [on_log(EVENT) for _ in range(10 * PIECE)]
    records[3 * PIECE] = on_log(b"?")
    codec, read = Codec(PROFILE), []
    alone = codec.decode
    monkeypatch.setattr(codec, "decode", lambda record: (read.append(record), alone(record))[1])
    assert codec.decode_many(records) == singly(records)[0]
    assert read == records[3 * PIECE : 4 * PIECE]


def test_a_batch_of_many_bytes_is_read_in_pieces(monkeypatch):
    records = [on_log(EVENT)] * MANY
    joined = []
    monkeypatch.setattr(codecs, "MOST_AT_ONCE", len(records[0].value) * PIECE)
    codec = Codec(PROFILE)
    monkeypatch.setattr(codec, "_shapes", (Recording(joined), Recording(joined)))
    assert codec.decode_many(records) == singly(records)[0]
    assert joined == [PIECE, PIECE, WORTH_COLUMNS]
    assert at_once(monkeypatch, codec, records) == singly(records)[0]


class Recording(Shapes):
    """Tells how many records are read at once."""

    def __init__(self, sizes):
        super().__init__()
        self._sizes = sizes

    def read(self, values, *, learn=True):
        self._sizes.append(len(values))
        return super().read(values, learn=learn)


def test_unknown_fields_are_counted_within_bounds_by_the_batch_too():
    codec = Codec(PROFILE)
    for number in range(2 * MAX_UNKNOWN):
        answers = codec.decode_many([on_log(EVENT | {f"x{number}": 1})] * WORTH_COLUMNS)
        assert all(isinstance(each, Transaction) for each in answers)
    assert len(codec.unknown) == MAX_UNKNOWN + 1
    assert codec.unknown[OTHERS] == MAX_UNKNOWN * WORTH_COLUMNS


# --- shapes


def test_a_table_has_none_where_a_record_lacks_a_field_and_counts_those_that_have_it():
    table = Shapes().read([b'{"a": 1, "b": null}', b'{"b": "x"}'])
    assert {name: list(column) for name, column in table.columns.items()} == {
        "a": [1, None],
        "b": [None, "x"],
    }
    assert table.fields == {"a": 1, "b": 2}


def test_nothing_is_learned_where_that_is_not_asked_for():
    shapes = Shapes()
    with pytest.raises(Odd):
        shapes.read([b'{"a": 1}'], learn=False)
    shapes.read([b'{"a": 1}'])
    assert shapes.read([b'{"a": 2}'], learn=False).fields == {"a": 1}


def test_of_too_many_fields_those_of_the_newest_batch_are_remembered():
    shapes = Shapes()
    for number in range(3 * MAX_FIELDS):
        assert shapes.read([b'{"a": 1, "x%d": 2}' % number]).columns[f"x{number}"] == (2,)
    with pytest.raises(Odd):
        shapes.read([json.dumps(dict.fromkeys(map(str, range(MAX_FIELDS + 1)))).encode()])


@pytest.mark.parametrize(
    "value",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": 1, "b": 2}',
        b'{"a": {"b": 1}}',
        b'{"a" : 1}',
        b'{"a"\t: 1}',
        b'{"a": "\\":"}',
        b"[1]",
        b"{",
    ],
)
def test_a_shape_refuses_what_is_not_of_it(value):
    shape = Shape(["a"])
    assert shape.read([b'{"a": 1}', b"{}"]).fields == {"a": 1}
    with pytest.raises(Odd):
        shape.read([b'{"a": 1}', b"{}", value])


@given(st.lists(st.text('":{}, a', max_size=9).map(str.encode), max_size=5))
def test_names_are_counted_as_bytes_count_them(values):
    together = b"".join(values)
    if b" :" in together:
        with pytest.raises(Odd):
            names_in(values)
    else:
        assert names_in(values) == together.count(b'":')
