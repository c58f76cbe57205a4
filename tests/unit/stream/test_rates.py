"""Rates on the log: which of them an event is converted by, live, in a replay and in an audit."""

from __future__ import annotations

import random

import msgspec
import pytest

from features.events import Converted, Transaction
from features.profile import SHIPPED, load
from features.rates import SETTLES_US
from features.store import InMemoryFeatureStore
from stream.codec import Codec
from stream.embedded.log import Log
from stream.embedded.tail import LogTail
from stream.files import EventFile, Refused
from stream.letters import RATE, DeadLetter
from stream.pipeline import Decision, Pipeline
from stream.rates import Rates, known_from, outgoing, rates_of, table_for
from stream.records import TP, Outgoing, Record
from stream.rows import FileError
from tests.unit.stream.test_audit import HOUR_US, START_US, Live, clean, utc_text

ROW = {"currency": "USD", "to": "EUR", "rate": "0.9", "at": "2026-01-02T00:00:00Z"}


@pytest.fixture
def profile(tmp_path):
    """The profile `payments`, all of it in euros, with sums that need one currency."""
    path = tmp_path / "euros.toml"
    text = (SHIPPED / "payments.toml").read_text()
    path.write_text(text.replace("[source]\n", '[source]\nconvert_to = "EUR"\n'))
    return load(path)


@pytest.fixture
def log(tmp_path):
    opened = Log(tmp_path / "log")
    opened.ensure_topic("rates", 1)
    opened.compact("rates")
    yield opened
    opened.close()


@pytest.fixture
def rates(profile, log):
    made = Rates(table_for(profile.source), lambda: LogTail(log, "rates"), profile.timezone)
    yield made
    made.close()


def rate(rate, hours=0.0, currency="USD", arrived_hours=None, **more):
    """A rate for the log, that arrives when it is unless it is told otherwise."""
    at_us = START_US + int(hours * HOUR_US)
    arrived_us = at_us if arrived_hours is None else START_US + int(arrived_hours * HOUR_US)
    row = {"currency": currency, "to": "EUR", "rate": rate, "at": utc_text(at_us), **more}
    return Outgoing(b"k", msgspec.json.encode(row), (("arrived", b"%d" % arrived_us),))


def payment(event_id="e", hours=1.0, currency="USD", amount=10, offset=0, late=0.0):
    at_us = START_US + int(hours * HOUR_US)
    row = {
        "id": event_id, "at": utc_text(at_us - int(late * HOUR_US)), "card": "c", "merchant": "m", "device": "d",
        "country": "FR", "channel": "chip", "amount": amount, "currency": currency,
    }  # fmt: skip
    return Record("transactions", 0, offset, None, msgspec.json.encode(row), (("arrived", b"%d" % at_us),), 0)


def decoded(profile, rates, *records):
    return Codec(profile, rates=rates).decode_many(records)


def test_an_event_counts_by_the_rate_that_had_arrived_and_says_what_it_was(profile, log, rates):
    log.append("rates", [rate("0.9"), rate("0.8", 2), rate("0.7", 1, arrived_hours=3)])
    [a, b, c, euro] = decoded(
        profile, rates, payment("a", 1), payment("b", 2.5), payment("c", 4, late=2.5), payment("d", 1, "EUR")
    )
    assert [(each.amount, each.currency) for each in (a, b, c, euro)] == [
        (900, "EUR"), (800, "EUR"), (700, "EUR"), (1_000, "EUR"),
    ]  # fmt: skip
    assert a.converted == Converted(1_000, "USD", "0.9", START_US)
    assert euro.converted is None


def test_what_comes_later_is_known_for_the_next_batch_and_changes_nothing_of_what_was_there(
    profile, log, rates
):
    codec = Codec(profile, rates=rates)
    log.append("rates", [rate("0.9")])
    first = codec.decode_many([payment("a", 1)])
    log.append("rates", [rate("0.8", 2), rate("0.85", 0, arrived_hours=2)])
    assert codec.decode_many([payment("a", 1)]) == first, "an event that is read again has the same amount"
    assert codec.decode_many([payment("b", 3)])[0].amount == 800
    assert len(rates) == 3


def test_a_converted_event_has_the_digest_of_what_came(profile, log, rates):
    log.append("rates", [rate("0.9"), rate("0.8", 2)])
    [early] = decoded(profile, rates, payment("a", 1))
    [again] = decoded(profile, rates, payment("a", 1))
    [plain] = Codec(profile).decode_many([payment("a", 1)])
    other_amount = decoded(profile, rates, payment("a", 1, amount=10.01))[0]
    assert early.body == again.body == plain.body != other_amount.body
    [later] = decoded(
        profile, rates, msgspec.structs.replace(payment("a", 1), headers=payment("a", 3).headers)
    )
    assert (later.amount, later.body) == (900, early.body), "its own time decides, and what had arrived"


def test_an_event_without_a_rate_is_a_dead_letter_of_its_own_kind_and_stops_no_other(profile, log, rates):
    log.append("rates", [rate("0.9")])
    many = [payment(f"e{n}", 1, offset=n) for n in range(20)]
    many[7] = payment("e7", 1, "GBP", offset=7)
    many[9] = payment("e9", 0, offset=9)  # the rate has arrived, but not settled
    out = decoded(profile, rates, *many)
    letters = {each.offset: each for each in out if isinstance(each, DeadLetter)}
    assert set(letters) == {7, 9}
    assert {each.kind for each in letters.values()} == {RATE}
    assert letters[7].reason == (
        "the field currency: expected a currency of which a rate to EUR had arrived, from 2026-01-02T01:00:00+00:00 or "
        "before, found GBP"
    )
    assert all(each.amount == 900 for each in out if isinstance(each, Transaction))
    assert letters[7].people == (("card", "c"),)
    log.append("rates", [rate("1.2", currency="GBP", arrived_hours=5)])
    [mended] = decoded(profile, rates, payment("e7", 6, "GBP", late=5))
    assert mended.amount == 1_200, "sent again when a rate has come"


@pytest.mark.parametrize("count", [1, 7, 8, 60])
def test_one_by_one_and_by_the_column_are_the_same(profile, log, rates, count):
    dice = random.Random(count)
    log.append("rates", [rate(f"0.{n + 1}", n, dice.choice(["USD", "JPY"])) for n in range(9)])
    records = [
        payment(f"e{n}", dice.uniform(0, 9), dice.choice(["USD", "JPY", "EUR"]), dice.randrange(9), n)
        for n in range(count)
    ]
    codec = Codec(profile, rates=rates)
    assert codec.decode_many(records) == [codec.decode(each) for each in records]


def test_a_rate_that_cannot_be_used_is_refused_and_those_before_stay(profile, log, rates, caplog):
    bad = [b"\xff", b"[1]", b'{"v": 2}', msgspec.json.encode({**ROW, "rate": -1})]
    log.append("rates", [rate("0.9"), *(Outgoing(b"k", value, (("arrived", b"0"),)) for value in bad)])
    log.append(
        "rates", [Outgoing(b"k", msgspec.json.encode(ROW), (("arrived", b"soon"),)), rate("2", to="GBP")]
    )
    assert decoded(profile, rates, payment())[0].amount == 900
    assert (len(rates), rates.refused) == (1, 5)
    assert (
        "the rate at rates[0]@4 is refused: the field rate: expected a decimal number above 0" in caplog.text
    )


def test_without_a_header_a_rate_arrives_when_the_log_takes_it(profile, log, rates):
    log.append("rates", [Outgoing(b"k", msgspec.json.encode(ROW))])
    [before] = decoded(profile, rates, payment("a", 1))
    assert isinstance(before, DeadLetter), "that of the test's story is long past"
    now_us = log.fetch({TP("rates", 0): 0}, 1)[0].timestamp_ms * 1_000
    row = msgspec.json.decode(payment().value)
    after = Record(
        "transactions", 0, 0, None, msgspec.json.encode(row), (("arrived", b"%d" % (now_us + SETTLES_US)),), 0
    )
    assert decoded(profile, rates, after)[0].amount == 900


def test_a_profile_that_converts_has_features_of_its_own_without_currencies(profile):
    apart = load("payments")
    assert apart.features.hashes["amount"] != profile.features.hashes["amount"]
    assert apart.features.hashes["card_count_1d"] == profile.features.hashes["card_count_1d"]
    assert all("@currency" not in each.same for each in profile.features.features)
    dollars = msgspec.structs.replace(profile.features, convert_to="USD")
    assert dollars.version != profile.features.version


# --- files


def file_of(tmp_path, name, *rows):
    path = tmp_path / name
    if name.endswith(".csv"):
        path.write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    else:
        path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    return path


@pytest.mark.parametrize("name", ["rates.csv", "rates.jsonl"])
def test_a_files_rates_arrive_when_they_are_unless_they_say_otherwise(tmp_path, name):
    late = {**ROW, "arrived": "2026-01-02T06:00:00Z"}
    [first, second] = rates_of(file_of(tmp_path, name, {**ROW, "arrived": ""}, late))
    assert (first[0].arrived_us, first[1]) == (START_US, False)
    assert (second[0].arrived_us, second[1]) == (START_US + 6 * HOUR_US, True)
    assert outgoing(first[0], on_its_own_clock=False) == Outgoing(
        b"USD/EUR@2026-01-02T00:00:00+00:00",
        b'{"currency":"USD","to":"EUR","rate":"0.9","at":"2026-01-02T00:00:00+00:00","v":1}',
    )
    assert outgoing(*second[:1], on_its_own_clock=True).headers == (
        ("arrived", b"%d" % (START_US + 6 * HOUR_US)),
    )


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({**ROW, "rate": "x"}, "row 2 of .*rates.jsonl, the field rate: expected a decimal number above 0"),
        ({**ROW, "arrived": "soon"}, "row 2 of .*rates.jsonl, the field arrived"),
        ([1], "row 2 of .*rates.jsonl is not a JSON object"),
    ],
)
def test_a_file_with_a_bad_rate_is_refused_as_a_whole(tmp_path, row, problem):
    with pytest.raises(FileError, match=problem):
        list(rates_of(file_of(tmp_path, "rates.jsonl", ROW, row)))


def test_a_file_of_events_is_converted_row_by_row_and_one_without_a_rate_is_refused_in_its_place(
    tmp_path, profile
):
    rows = [
        msgspec.json.decode(payment(f"e{n}", n + 1, code).value)
        for n, code in enumerate(["USD", "GBP", "EUR"])
    ]
    table = known_from(file_of(tmp_path, "rates.jsonl", ROW), table_for(profile.source))
    file = EventFile(file_of(tmp_path, "events.jsonl", *rows), profile, converted=table.converted)
    [first, second, third] = [each for batch in file.events() for each in batch]
    assert (first.amount, third.amount) == (900, 1_000)
    assert isinstance(second, Refused)
    assert "a rate to EUR had arrived" in second.reason


# --- live, replay, audit


class Euros(Live):
    """A log with rates beside it, and a scorer that has read them."""

    def __init__(self, profile, rates):
        super().__init__(profile)
        self.codec = Codec(profile, rates=rates)

    def decide(self, *records):
        for record in records:
            [event] = self.codec.decode_many([record])
            if isinstance(event, DeadLetter):
                continue
            [answer] = self.pipeline.run([event])
            if isinstance(answer, Decision):
                self.now_us = max(self.now_us, event.arrived_us)
                [made] = self.emitter.lines([answer], utc_text(self.now_us))
                self.append("decisions", made, self.now_us)


def story(live, log, seed=0, count=80):
    """Payments in three currencies, and rates that come between them, some late and some corrected."""
    dice = random.Random(seed)
    for number in range(count):
        hours = number / 4
        if number % 5 == 0:
            log.append(
                "rates",
                [rate(f"0.{dice.randrange(1, 99):02}", hours - dice.choice([0, 0, 4]), arrived_hours=hours)],
            )
        currency = dice.choice(["USD", "USD", "EUR", "GBP"])
        record = live.append(
            "transactions",
            msgspec.json.decode(payment(f"e{number}", hours + 0.1, currency, dice.randrange(100) / 8).value),
            START_US + int((hours + 0.1) * HOUR_US),
        )
        live.decide(record)


def made_of(live):
    return [msgspec.json.decode(each.value) for each in live.topics["decisions"]]


@pytest.mark.parametrize("seed", range(5))
def test_live_and_replay_and_audit_give_the_same_bits(tmp_path, profile, log, rates, seed):
    live = Euros(profile, rates)
    story(live, log, seed)
    decided = made_of(live)
    assert {each["currency"] for each in decided} == {"EUR"}
    assert 20 < sum("converted_from" in each for each in decided) < len(decided) < 80

    report, _ = live.audit()
    assert clean(report), "an audit takes the rate from the decision"

    # A scorer that begins anew, and knows all rates from the start: those that came later count for nothing.
    again = Rates(table_for(profile.source), lambda: LogTail(log, "rates"))
    replayed = Euros(profile, again)
    replayed.topics["transactions"] = live.topics["transactions"]
    replayed.decide(*live.topics["transactions"])
    assert made_of(replayed) == decided
    again.close()

    told = [
        (msgspec.json.decode(each.value), dict(each.headers))
        for each in log.fetch({TP("rates", 0): 0}, 1_000)
    ]
    rows = [{**row, "arrived": utc_text(int(headers["arrived"]))} for row, headers in told]
    table = known_from(file_of(tmp_path, "rates.jsonl", *rows), table_for(profile.source))
    events = [msgspec.json.decode(each.value) for each in live.topics["transactions"]]
    file = EventFile(file_of(tmp_path, "events.jsonl", *events), profile, converted=table.converted)
    found = [each for batch in file.events() for each in batch if isinstance(each, Transaction)]
    assert [(each.event_id, each.amount) for each in found] == [
        (each["event_id"], each["amount"]) for each in decided
    ]


def test_an_audit_sees_a_rate_that_is_not_the_one_that_was_used(profile, log, rates):
    live = Euros(profile, rates)
    story(live, log)
    number = next(n for n, each in enumerate(made_of(live)) if "converted_from" in each and each["amount"])
    live.forge(number, converted_from={**made_of(live)[number]["converted_from"], "rate": "7"})
    report, _ = live.audit()
    assert report.differing


def test_a_redelivered_event_is_answered_as_at_first_and_is_no_conflict(profile, log, rates):
    store, codec = InMemoryFeatureStore(profile.features), Codec(profile, rates=rates)
    log.append("rates", [rate("0.9")])
    [first] = Pipeline(store).run(codec.decode_many([payment("a", 1)]))
    # Somebody says of a rate that it had arrived long ago: the event is read with another amount now, and counts as it did.
    log.append("rates", [rate("0.1", 0.5)])
    [event] = codec.decode_many([payment("a", 1)])
    assert event.amount == 100
    [again] = Pipeline(store).run([event])
    assert isinstance(again, Decision)
    assert again.applied.status.value == "duplicate"
    sums = profile.features.names.index("card_sum_amount_1d")
    assert again.applied.vector[sums] == first.applied.vector[sums] == 9.0


def test_emitted_decisions_and_alerts_say_what_was_paid(profile, log, rates):
    live = Euros(profile, rates)
    log.append("rates", [rate("0.9213")])
    live.decide(live.append("transactions", msgspec.json.decode(payment("a", 1).value), START_US + HOUR_US))
    [made] = made_of(live)
    assert (made["amount"], made["currency"]) == (921, "EUR")
    assert made["converted_from"] == {
        "amount": 1_000, "currency": "USD", "rate": "0.9213", "at": "2026-01-02T00:00:00+00:00",
    }  # fmt: skip
    assert made["features"]["amount"] == 9.21
