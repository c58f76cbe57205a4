"""The mapping: whatever a source calls its fields, and however a file types them, the event is the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import Transaction, to_us
from features.faults import FieldError
from features.mapping import EntitySource, Mapper, Source
from features.readers import Row, fraud_of

SOURCE = Source(
    event_id=("id",),
    time="at",
    timezone="UTC",
    amount="sum",
    currency="EUR",
    entities=(EntitySource("card", "card_id", personal=True), EntitySource("shop", "shop_id", optional=True)),
    texts=("country",),
    numbers=("age",),
)
ROW: dict[str, object] = {
    "id": "e1",
    "at": "2018-04-01T00:00:31Z",
    "sum": 57.16,
    "card_id": "c1",
    "shop_id": "s1",
    "country": "DE",
    "age": 41,
}
AT = to_us(datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC))


def with_source(**changes: object) -> Mapper:
    return Mapper(msgspec.structs.replace(SOURCE, **changes))


def mapped(mapper: Mapper | None = None, /, **changes: object) -> Transaction:
    row: Row = {name: value for name, value in (ROW | changes).items() if value is not ...}
    return (mapper or Mapper(SOURCE)).transaction(row, AT + 1_000)


def refused(mapper: Mapper | None = None, /, **changes: object) -> str:
    with pytest.raises(FieldError) as caught:
        mapped(mapper, **changes)
    return str(caught.value)


def test_an_event_has_what_the_profile_maps() -> None:
    event = mapped()
    assert event.event_id == "e1"
    assert event.time_us == AT
    assert event.arrived_us == AT + 1_000
    assert (event.amount, event.currency) == (5716, "EUR")
    assert event.entities == ("c1", "s1")
    assert event.fields == {"country": "DE", "age": 41.0}
    assert len(event.body) == 8


def test_history_arrives_when_it_happens() -> None:
    assert Mapper(SOURCE).transaction(ROW).arrived_us == AT


def test_the_events_of_columns_are_those_of_their_rows() -> None:
    columns = {name: [value, value] for name, value in ROW.items()} | {"sum": [1.0, 2.0]}
    assert Mapper(SOURCE).transactions(columns) == [mapped_at(1.0), mapped_at(2.0)]
    [event] = Mapper(SOURCE).transactions({name: [value] for name, value in ROW.items()}, [AT + 5])
    assert event.arrived_us == AT + 5
    assert Mapper(SOURCE).transactions({}) == []


def test_columns_with_a_row_that_cannot_be_mapped_are_refused() -> None:
    columns = {name: [value, value] for name, value in ROW.items()} | {"sum": [1.0, "x"]}
    with pytest.raises(FieldError, match="found 'x'"):
        Mapper(SOURCE).transactions(columns)


def mapped_at(amount: float) -> Transaction:
    return Mapper(SOURCE).transaction(ROW | {"sum": amount})


# --- the digest of the content


def test_the_same_content_written_otherwise_has_the_same_body() -> None:
    body = mapped().body
    assert mapped(at="2018-04-01 02:00:31.000+02:00", sum="57.160", age=41.0, unmapped="x").body == body
    assert Mapper(SOURCE).transaction(dict(reversed(ROW.items())), AT + 99).body == body


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at", "2018-04-01T00:00:31.000001Z"),
        ("sum", 57.17),
        ("card_id", "c2"),
        ("shop_id", "s2"),
        ("shop_id", None),
        ("country", "FR"),
        ("country", None),
        ("age", 42),
        ("age", None),
    ],
)
def test_another_content_has_another_body(field: str, value: object) -> None:
    assert mapped(**{field: value}).body != mapped().body


def test_another_currency_is_another_content() -> None:
    dollars = with_source(currency="USD")
    assert mapped(dollars).body != mapped().body


def test_values_that_move_from_one_entity_to_the_next_make_another_body() -> None:
    assert mapped(card_id="ab", shop_id="c").body != mapped(card_id="a", shop_id="bc").body


def test_the_body_of_an_event_never_changes() -> None:
    assert mapped().body.hex() == "c489613b83fce9a2"


# --- times

PARIS = with_source(timezone="Europe/Paris")
NO_ZONE = with_source(timezone=None)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2018-03-25T01:59:59", "2018-03-25T00:59:59+00:00"),  # the last second of winter time
        ("2018-03-25T03:00:00", "2018-03-25T01:00:00+00:00"),  # the first of summer time
        ("2018-03-25T02:30:00", "2018-03-25T01:30:00+00:00"),  # never was: as if clocks had gone on
        ("2018-10-28T02:30:00", "2018-10-28T00:30:00+00:00"),  # was twice: the first
        ("2018-10-28T03:00:00", "2018-10-28T02:00:00+00:00"),
        ("2018-10-28T02:30:00+01:00", "2018-10-28T01:30:00+00:00"),  # a zone of its own counts
        ("2018-10-28", "2018-10-27T22:00:00+00:00"),
    ],
)
def test_naive_times_are_in_the_profiles_zone_also_where_clocks_change(text: str, utc: str) -> None:
    arrived_us = to_us(datetime(2019, 1, 1, tzinfo=UTC))
    event = PARIS.transaction(ROW | {"at": text}, arrived_us)
    assert event.time.isoformat() == utc
    naive_or_aware = datetime.fromisoformat(text)
    assert PARIS.transaction(ROW | {"at": naive_or_aware}, arrived_us) == event


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2150, 1, 1)),
    st.sampled_from(["UTC", "Europe/Paris", "Asia/Kolkata"]),
)
def test_a_naive_time_is_what_the_standard_library_says_it_is(when: datetime, zone: str) -> None:
    mapper = with_source(timezone=zone)
    expected = to_us(when.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))
    assert mapper.transaction(ROW | {"at": when.isoformat()}).time_us == expected


@given(st.datetimes(datetime(1970, 1, 2), datetime(2150, 1, 1)), st.integers(-1439, 1439))
def test_a_time_with_a_zone_is_the_same_in_every_profile(when: datetime, minutes: int) -> None:
    aware = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert PARIS.transaction(ROW | {"at": aware.isoformat()}).time_us == to_us(aware)


def test_a_naive_time_without_a_zone_in_the_profile_is_refused_with_the_mend() -> None:
    for naive in ("2018-04-01T00:00:31", datetime(2018, 4, 1), date(2018, 4, 1), np.datetime64("2018-04-01")):
        assert "the profile names it: [source] timezone" in refused(NO_ZONE, at=naive)
    assert mapped(NO_ZONE).time_us == AT


FILE_TIMES = [
    datetime(2018, 4, 1, 0, 0, 31),
    datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC),
    pd.Timestamp("2018-04-01 00:00:31"),
    pd.Timestamp("2018-04-01 02:00:31", tz="Europe/Paris"),
    np.datetime64("2018-04-01T00:00:31"),
    np.datetime64("2018-04-01T00:00:31.000000000", "ns"),
]


@pytest.mark.parametrize("value", FILE_TIMES, ids=repr)
def test_times_from_files_are_the_same_time(value: object) -> None:
    assert mapped(at=value) == mapped()


EPOCHS: list[tuple[str, object]] = [
    ("s", AT // 1_000_000),
    ("s", AT / 1e6),
    ("s", str(AT // 1_000_000)),
    ("s", "1522540831.0"),
    ("s", np.int64(AT // 1_000_000)),
    ("s", Decimal("1522540831")),
    ("ms", AT // 1_000),
    ("ms", float(AT // 1_000)),
    ("us", AT),
    ("us", datetime(2018, 4, 1, 0, 0, 31, tzinfo=UTC)),
]


@pytest.mark.parametrize(("unit", "value"), EPOCHS, ids=repr)
def test_epoch_numbers_count_in_the_profiles_unit(unit: str, value: object) -> None:
    assert mapped(with_source(unit=unit), at=value).time_us == AT


@given(st.integers(0, 4_102_444_800_000_000))
def test_fractions_of_epoch_seconds_keep_their_microseconds(us: int) -> None:
    assert with_source(unit="s").transaction(ROW | {"at": us / 1e6}).time_us == us


@pytest.mark.parametrize(
    "value", ["2018-04-01T00:00:31Z", "abc", "", None, True, [], float("inf"), 1 << 80, -1], ids=repr
)
def test_what_is_no_epoch_number_is_refused(value: object) -> None:
    assert refused(with_source(unit="s"), at=value).startswith(
        "the field at: expected a number of s since 1970"
    )


NO_TIMES = [
    "",
    "yesterday",
    "01.04.2018",
    "2018-13-01",
    "2018-02-30T00:00:00Z",
    "2018-04-01T25:00:00Z",
    "99999-01-01T00:00:00Z",
    "0000-01-01",
    None,
    True,
    1522540831,
    1522540831.0,
    [],
    {},
    pd.NaT,
    np.datetime64("NaT"),
    float("nan"),
]


@pytest.mark.parametrize("value", NO_TIMES, ids=repr)
def test_what_is_no_time_is_refused(value: object) -> None:
    assert refused(at=value).startswith(
        "the field at: expected a time as ISO 8601 text, such as 2018-04-01T00"
    )


def test_times_before_1970_are_refused() -> None:
    assert "expected a time after 1970, found 1969-12-31T23:59:59" in refused(at="1969-12-31T23:59:59Z")
    assert "expected a time after 1970" in refused(at="1970-01-01T00:00:00+00:01")
    assert "expected a time after 1970" in refused(at="0001-01-01T00:00:00+23:59")
    assert mapped(at="1970-01-01T00:00:00Z").time_us == 0


def test_a_time_too_far_ahead_of_its_arrival_is_refused() -> None:
    mapper = Mapper(SOURCE)
    hour = 3_600_000_000
    assert mapper.transaction(ROW, AT - hour).time_us == AT
    too_far = r"at most 1h after the event's arrival \(\[source\] max_ahead\), found one 1.0 hours after"
    with pytest.raises(FieldError, match=too_far):
        mapper.transaction(ROW, AT - hour - 1)


# --- ids and entities


@pytest.mark.parametrize(
    "value", [596, 596.0, "596", np.int16(596), np.float32(596), np.str_("596")], ids=repr
)
def test_a_whole_number_is_the_same_entity_however_a_file_types_it(value: object) -> None:
    assert mapped(card_id=value).entities[0] == "596"
    assert mapped(id=value).event_id == "596"


def test_an_id_may_be_joined_of_several_fields() -> None:
    mapper = with_source(event_id=("id", "line"))
    assert mapped(mapper, line=3).event_id == "e1-3"
    assert "the field line: expected a text or a whole number, found nothing" in refused(mapper)
    assert "the field id+line: expected an id of at most 256 characters, found 301" in refused(
        mapper, id="x" * 150, line="y" * 150
    )


@pytest.mark.parametrize("value", [None, "", float("nan"), np.float64("nan"), ...], ids=repr)
def test_a_missing_required_entity_is_refused_and_an_optional_one_is_empty(value: object) -> None:
    assert refused(card_id=value) == "the field card_id: expected a text or a whole number, found nothing"
    assert mapped(shop_id=value).entities == ("c1", "")


@pytest.mark.parametrize("value", [True, 1.5, float("inf"), [], {}, b"x", 2.0**60], ids=repr)
def test_what_is_neither_text_nor_whole_number_is_no_id(value: object) -> None:
    assert refused(id=value).startswith("the field id: expected a text or a whole number, found ")
    assert refused(shop_id=value).startswith("the field shop_id: expected a text or a whole number, found ")


def test_ids_have_at_most_256_characters() -> None:
    assert mapped(id="x" * 256).event_id == "x" * 256
    assert refused(id="x" * 257) == "the field id: expected at most 256 characters, found 257"
    assert refused(card_id="x" * 257) == "the field card_id: expected at most 256 characters, found 257"
    assert refused(id=10**300) == "the field id: expected at most 256 characters, found 301"


@pytest.mark.parametrize(
    "character", ["\0", "\n", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\ud800"], ids=ascii
)
def test_control_characters_are_refused_in_ids(character: str) -> None:
    assert "without control characters" in refused(id=f"e{character}1")
    assert "without control characters" in refused(card_id=f"e{character}1")


@pytest.mark.parametrize("text", ["Käse & Söhne", "カード", "a b", "a\u00a0b", "👩\u200d🚀", "-"])
def test_any_other_text_is_an_id(text: str) -> None:
    assert mapped(id=text).event_id == text


# --- amounts and currencies


@pytest.mark.parametrize("value", [57.16, "57.16", Decimal("57.16"), np.float64(57.16), "57.160"], ids=repr)
def test_an_amount_is_the_same_however_a_file_types_it(value: object) -> None:
    assert mapped(sum=value).amount == 5716


def test_a_float32_column_means_the_number_that_it_holds() -> None:
    assert mapped(sum=np.float32(57.16)).amount == 5716
    assert mapped(sum=np.int32(57)).amount == 5700


@pytest.mark.parametrize("value", [None, "", "57,16", True, np.bool_(True), [], ...], ids=repr)
def test_what_is_no_amount_is_refused(value: object) -> None:
    assert refused(sum=value).startswith(
        "the field sum: expected a decimal number in major units, such as 57.16, "
    )


@pytest.mark.parametrize(
    "value", [float("nan"), np.float64("nan"), np.float32("inf"), "NaN", Decimal("NaN")], ids=repr
)
def test_an_amount_is_finite(value: object) -> None:
    assert refused(sum=value).startswith("the field sum: expected a finite number, found ")


OWN_CURRENCY = with_source(currency="", currency_field="currency")


def test_an_amount_counts_in_the_minor_units_of_its_own_currency() -> None:
    amounts = {code: mapped(OWN_CURRENCY, currency=code, sum=12.5) for code in ("EUR", "JPY", "KWD")}
    assert {code: event.amount for code, event in amounts.items()} == {"EUR": 1250, "JPY": 12, "KWD": 12500}
    assert [event.currency for event in amounts.values()] == ["EUR", "JPY", "KWD"]


@pytest.mark.parametrize("value", ["EURO", "eur", "XXX", "", None, 978, []], ids=repr)
def test_an_unknown_currency_is_refused(value: object) -> None:
    assert refused(OWN_CURRENCY, currency=value).startswith(
        "the field currency: expected an ISO 4217 currency code, such as EUR, found "
    )


def test_a_currency_in_small_letters_gets_the_hint() -> None:
    assert "did you mean EUR?" in refused(OWN_CURRENCY, currency="eur")


# --- other fields


@pytest.mark.parametrize("value", [None, "", float("nan"), ...], ids=repr)
def test_an_event_that_lacks_an_other_field_is_an_event_without_it(value: object) -> None:
    assert mapped(country=value, age=value).fields == {}


@pytest.mark.parametrize("value", [41, 41.0, "41", "4.1e1", Decimal(41), np.int8(41)], ids=repr)
def test_a_number_is_a_float(value: object) -> None:
    assert mapped(age=value).fields["age"] == 41.0
    assert type(mapped(age=value).fields["age"]) is float


@pytest.mark.parametrize("value", ["old", "NaN", True, [], float("inf"), "1e999", 10**400], ids=repr)
def test_what_is_no_finite_number_is_refused(value: object) -> None:
    assert refused(age=value).startswith("the field age: expected a ")


@pytest.mark.parametrize("value", [True, 1.5, [], {}, "a\0b"], ids=repr)
def test_what_is_no_text_is_refused(value: object) -> None:
    assert refused(country=value).startswith("the field country: expected a text")


def test_a_text_may_have_lines_and_a_number_may_be_one() -> None:
    assert mapped(country="a\nb\tc").fields["country"] == "a\nb\tc"
    assert mapped(country=49).fields["country"] == "49"


# --- what reasons may say


def test_a_reason_never_quotes_a_personal_value() -> None:
    assert refused(card_id="Ada\0Lovelace") == (
        "the field card_id: expected a text or a whole number without control characters, "
        "found a text of 12 characters"
    )
    assert "12.5" not in refused(card_id=12.5)


def test_a_personal_field_that_is_also_the_id_is_not_quoted_either() -> None:
    mapper = with_source(event_id=("card_id",))
    assert "Ada" not in refused(mapper, card_id="Ada\0")


@pytest.mark.parametrize("field", ["id", "at", "sum", "country", "age"])
def test_a_reason_never_quotes_a_card_number(field: str) -> None:
    for number in ("4111111111111111", "4111 1111 1111 1111", "4111-1111-1111-1111"):
        assert "1111" not in refused(**{field: f"{number}\0"})


def test_a_reason_is_short() -> None:
    assert len(refused(sum="x" * 10_000)) < 200


# --- labels of files


@pytest.mark.parametrize(
    "value", [1, True, "1", "true", "True", "fraud", np.int8(1), 1.0, np.bool_(True)], ids=repr
)
def test_a_label_that_says_fraud(value: object) -> None:
    assert fraud_of("label", {"label": value}) is True


@pytest.mark.parametrize("value", [0, False, "0", "false", "legitimate", np.int8(0), 0.0], ids=repr)
def test_a_label_that_says_not_fraud(value: object) -> None:
    assert fraud_of("label", {"label": value}) is False


def test_a_label_that_says_nothing_or_what_nobody_understands() -> None:
    says: Callable[[object], bool | None] = lambda value: fraud_of("label", {"label": value})  # noqa: E731
    assert says(None) is says("") is says(float("nan")) is None
    assert fraud_of("label", {}) is None
    with pytest.raises(FieldError, match="1, true or fraud"):
        says(2)


KEY = bytes(range(32))


def test_the_digest_of_a_personal_content_is_made_only_by_who_has_the_key() -> None:
    plain, keyed = mapped(), mapped(Mapper(SOURCE, KEY))
    assert keyed == mapped(Mapper(SOURCE, KEY))
    assert len({plain.body, keyed.body, mapped(Mapper(SOURCE, b"another")).body}) == 3
    assert msgspec.structs.replace(keyed, body=plain.body) == plain


def test_where_nothing_is_personal_the_key_changes_nothing() -> None:
    source = msgspec.structs.replace(SOURCE, entities=SOURCE.entities[1:])
    assert mapped(Mapper(source, KEY)) == mapped(Mapper(source))
    assert Mapper(source, KEY).known_id("e1") == "e1"


def test_an_id_that_is_made_of_what_is_personal_is_known_by_a_keyed_hash() -> None:
    source = msgspec.structs.replace(SOURCE, event_id=("card_id", "at"))
    mapper = Mapper(source, KEY)
    event_id = mapped(mapper).event_id
    assert event_id == mapper.known_id("c1-2018-04-01T00:00:31Z") == mapper.known_id(event_id)
    assert event_id == "~b627187190ea5b10e2a4f85e9a191bc3", "as it stands in decisions that were written"
    assert event_id != Mapper(source, b"another").known_id("c1-2018-04-01T00:00:31Z")
    assert mapped(Mapper(source)).event_id == "c1-2018-04-01T00:00:31Z"
    assert Mapper(SOURCE, KEY).known_id("e1") == "e1"
