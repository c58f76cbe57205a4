"""Bad input never stops good input: each kind becomes a dead letter with a reason, and the events around it are decided."""

import msgspec
import pytest

from features.profile import SHIPPED
from stream.records import TP
from tests.acceptance.harness import append, eventually, log_of, rows, stop, weir

NOW = 1_767_312_000_000_000  # 2026-01-02T00:00:00Z
ARRIVED = ("arrived", b"%d" % NOW)


def payment(event_id, **changed):
    """A good payment, but for what is changed."""
    fields = {
        "id": event_id,
        "at": "2026-01-01T23:59:00Z",
        "card": "card_1",
        "merchant": "shop_1",
        "device": "device_1",
        "country": "FR",
        "channel": "chip",
        "amount": 12.5,
        "currency": "EUR",
    }
    return {**fields, **changed}


def without(event_id, field):
    """A payment that lacks a field."""
    fields = payment(event_id)
    del fields[field]
    return fields


GOOD = msgspec.json.encode(payment("x"))

BAD = {
    "truncated JSON": (GOOD[:40], "JSON"),
    "no JSON at all": (b"\x00\xff\xfe not json", "JSON"),
    "a list, not an object": (b"[1, 2]", "object"),
    "NaN for an amount": (GOOD.replace(b"12.5", b"NaN"), "amount|JSON"),
    "infinity for an amount": (GOOD.replace(b"12.5", b"1e999"), "amount|JSON|range"),
    "the text Infinity": (payment("b1", amount="Infinity"), "amount"),
    "no amount": (without("b2", "amount"), "amount"),
    "no card": (without("b3", "card"), "card"),
    "no id": (without("b4", "id"), "id"),
    "a list for an amount": (payment("b5", amount=[1]), "amount"),
    "a number for a card": (payment("b6", card={"pan": "x"}), "card"),
    "ten megabytes": (payment("b7", note="x" * 10_000_000), "bytes|large|long"),
    "the year 99999": (payment("b8", at="99999-01-01T00:00:00Z"), "at"),
    "the year 1": (payment("b9", at="0001-01-01T00:00:00Z"), "at"),
    "far in the future": (payment("b10", at="2031-01-01T00:00:00Z"), "at"),
    "a naive time without a zone in the profile": (payment("b11", at="2026-01-01T23:59:00"), "zone|offset"),
    "a currency that nobody knows": (payment("b12", currency="XXQ"), "currency"),
}


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Every bad record between two good ones, through a real worker; gives decisions and dead letters' reasons."""
    from tests.acceptance import harness

    home = tmp_path_factory.mktemp("bad") / "weir"
    weir("topics", "create", directory=home)
    for number, (value, _) in enumerate(BAD.values()):
        append(home, "transactions", (payment(f"good-{number}"), [ARRIVED]), (value, [ARRIVED]))
    append(home, "transactions", (payment("twice"), [ARRIVED]), (payment("twice"), [ARRIVED]))
    append(home, "transactions", (payment("twice", amount=99), [ARRIVED]))
    append(
        home, "transactions", (payment("extra", brand_new_field=1), [ARRIVED]), (payment("last"), [ARRIVED])
    )
    append(home, "labels", (b"{}", [ARRIVED]))
    worker = harness.start("worker", "--role", "score", directory=home)
    try:
        eventually(
            lambda: (
                {"last"} <= {row["event_id"] for row in rows(home, "decisions")}
                and log_of(home).end_offsets("labels.dlq")[0]
            ),
            "everything was decided or buried",
        )
    finally:
        stop(worker)
    return home


def reasons(home):
    """By the offset in `transactions`: the reason."""
    found = log_of(home).fetch({TP("transactions.dlq", 0): 0}, 1000)
    return {int(dict(letter.headers)["offset"]): dict(letter.headers)["reason"].decode() for letter in found}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_record_is_buried_with_a_reason_that_a_person_understands(letters, kind):
    number = list(BAD).index(kind)
    reason = reasons(letters)[2 * number + 1]
    assert any(word in reason for word in BAD[kind][1].split("|")), reason
    assert len(reason) < 500


def test_the_good_events_around_them_are_all_decided_once(letters):
    decided = [row["event_id"] for row in rows(letters, "decisions")]
    assert [event_id for event_id in decided if event_id.startswith("good")] == [
        f"good-{n}" for n in range(len(BAD))
    ]
    assert decided[-1] == "last"


def test_an_unknown_field_is_ignored(letters):
    assert "extra" in {row["event_id"] for row in rows(letters, "decisions")}


def test_a_duplicate_gets_its_first_features_and_another_content_of_the_same_id_is_refused(letters):
    first, again = [row for row in rows(letters, "decisions") if row["event_id"] == "twice"]
    assert first["features"] == again["features"]
    assert first["seq"] == again["seq"]
    assert any("'twice'" in reason for reason in reasons(letters).values())


def test_what_was_buried_is_sealed_and_the_bytes_as_they_came_can_be_had_back(letters):
    from stream.keyring import opened
    from stream.letters import AsItCame, as_it_came
    from stream.review.ledger import Ledger
    from stream.review.people import People
    from stream.sealing import Sealer

    sealer, ledger = Sealer.at(letters), Ledger.open(f"sqlite:///{letters}/weir.db")
    people = People(ledger.engine, sealer)
    for letter in log_of(letters).fetch({TP("transactions.dlq", 0): 0}, 3):
        assert b"card_1" not in letter.value
        came = as_it_came(opened(people, sealer, [letter.value]), letter.value, letter.key, sealer.open)
        number = (int(dict(letter.headers)["offset"]) - 1) // 2
        value = list(BAD.values())[number][0]
        assert came == AsItCame(b"k", value if isinstance(value, bytes) else msgspec.json.encode(value))
    ledger.close()


def test_a_bad_label_is_buried_too(letters):
    (letter,) = log_of(letters).fetch({TP("labels.dlq", 0): 0}, 10)
    assert "label" in dict(letter.headers)["reason"].decode()


def test_the_profile_that_was_used_names_no_zone():
    assert "timezone" not in (SHIPPED / "payments.toml").read_text()
