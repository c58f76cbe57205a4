"""An audit recomputes decisions in the store's order: what was forged is found, what cannot be known is said."""

import random

import msgspec
import pytest

from features.catalogue import DAY_US
from features.grammar import Scope, parse_all
from features.profile import load
from features.store import InMemoryFeatureStore
from stream.audit import Audit, sampled
from stream.cli_features import remarks
from stream.codec import Codec
from stream.emit import Emitter, utc_text
from stream.letters import DeadLetter
from stream.numbered import NumberedLog
from stream.pipeline import Decision, Pipeline
from stream.records import ARRIVED, TP, Record
from stream.sealing import Sealer

SEALER = Sealer(bytes(range(32)))
HOUR_US = DAY_US // 24
PROMPTLY_US = 5_000_000
START_US = 1_767_312_000_000_000
DECLARED = (
    "amount",
    "count by card over 1d",
    "since last by card",
    "risk by merchant over 7d",
    "run of frauds by merchant over 7d",
    "distinct card by merchant over 1d",
)


def profile_of(declared=DECLARED):
    """The profile `payments` with other features; labels count for three days."""
    profile = load("payments")
    parsed = parse_all(declared, Scope(profile.entities, profile.source.texts, currencies=True))
    features = msgspec.structs.replace(profile.features, features=parsed, label_horizon_us=3 * DAY_US)
    return msgspec.structs.replace(profile, features=features, features_version=features.version)


PROFILE = profile_of()


class Live:
    """A log, and a store that applied its records in an order that is told record by record."""

    def __init__(self, profile=PROFILE):
        self.topics = {"transactions": [], "labels": [], "decisions": []}
        self.codec, self.profile = Codec(profile), profile
        self.now_us = 0
        self.pipeline = Pipeline(InMemoryFeatureStore(profile.features))
        self.emitter = Emitter(
            names=profile.features.names,
            entities=profile.entities,
            personal=profile.personal,
            features_version=profile.features.version,
            pseudonym=SEALER.pseudonym,
        )

    def append(self, topic, value, at_us, part=0):
        offset = sum(each.partition == part for each in self.topics[topic])
        data = value if isinstance(value, bytes) else msgspec.json.encode(value)
        record = Record(topic, part, offset, None, data, ((ARRIVED, b"%d" % at_us),), at_us // 1_000)
        self.topics[topic].append(record)
        return record

    def pay(self, event_id, hours=0.0, part=0, card="c", amount=10.0, late=0.0):
        at_us = START_US + int(hours * HOUR_US)
        value = {
            "id": event_id, "at": utc_text(at_us - int(late * HOUR_US)), "card": card, "merchant": "m", "device": "d",
            "country": "FR", "channel": "chip", "amount": amount, "currency": "EUR",
        }  # fmt: skip
        return self.append("transactions", value, at_us, part)

    def say(self, label_id, event_id, hours=0.0, part=0, fraud=True):
        value = {
            "label_id": label_id, "event_id": event_id, "label": "fraud" if fraud else "legitimate",
            "source": "test", "labelled_at": "2026-01-01T00:00:00Z",
        }  # fmt: skip
        return self.append("labels", value, START_US + int(hours * HOUR_US), part)

    def apply(self, *records):
        """Apply records in this order; decisions are logged, at the clock of each."""
        for record in records:
            decoded = self.codec.decode(record)
            if isinstance(decoded, DeadLetter):
                continue
            self.now_us = max(self.now_us, decoded.arrived_us + PROMPTLY_US)
            [answer] = self.pipeline.run([decoded])
            if isinstance(answer, Decision):
                [made] = self.emitter.lines([answer], utc_text(self.now_us))
                self.append("decisions", made, self.now_us, record.partition)

    def forge(self, index, **changes):
        """Change what a decision says; a feature by its name."""
        record = self.topics["decisions"][index]
        row = msgspec.json.decode(record.value)
        row["features"] |= changes.pop("features", {})
        value = msgspec.json.encode(row | changes)
        self.topics["decisions"][index] = msgspec.structs.replace(record, value=value)

    def audit(self, gone=(), **options):
        profile = self.profile
        gone = set(gone) | {
            TP(each.topic, each.partition)
            for records in self.topics.values()
            for each in first_of_each_lane(records)
            if each.offset
        }
        log = NumberedLog(Codec(profile), profile.features, personal=profile.personal, gone=gone, **options)
        log.decisions(self.topics["decisions"])
        log.end_numbers()
        log.transactions(self.topics["transactions"])
        log.labels(self.topics["labels"])
        report = Audit(log, profile.features, profile.max_ahead_us).run()
        dump = "\n".join(log._db.iterdump())
        log.close()
        return report, dump


def first_of_each_lane(records):
    lanes = {}
    for each in records:
        lanes.setdefault(each.partition, each)
    return lanes.values()


def found(report):
    return {each.name: (each.compared, each.differing) for each in report.features}


def clean(report):
    """Whether all that was logged was compared, and is the same."""
    return report.well and {each.compared for each in report.features} == {report.decisions}


def three_payments_and_a_label():
    live = Live()
    a, b, c = (live.pay(name, hours) for name, hours in (("a", 0), ("b", 2), ("c", 3)))
    return live, a, b, c, live.say("l", "a", 1)


@pytest.mark.parametrize("place", range(4))
def test_labels_stand_where_decisions_left_a_number(place):
    """The label's arrival says that `b` and `c` might have known of it; the numbers say whether they did."""
    live, a, b, c, label = three_payments_and_a_label()
    order = [a, b, c]
    order.insert(place, label)
    live.apply(*order)
    report, _ = live.audit()
    assert clean(report), found(report)
    risks = [
        msgspec.json.decode(each.value)["features"]["merchant_risk_7d"] for each in live.topics["decisions"]
    ]
    assert risks == [0.0, float(place < 2), float(place < 3)]


def test_labels_that_took_no_number_fill_none():
    live = Live()
    a, b, c, d = (live.pay(name, hours) for name, hours in (("a", 0), ("b", 2), ("c", 3), ("d", 100)))
    said = live.say("l", "a", 1)
    again, more = live.say("l", "a", 1.1), live.say("m", "b", 2.5)
    too_late, last = live.say("n", "a", 99), live.say("o", "c", 99.5 - 72 + 2)
    live.apply(a, b, said, again, c, more, too_late, d, last)
    report, _ = live.audit()
    assert clean(report), found(report)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_the_order_of_partitions_an_audit_finds_nothing(seed):
    dice, live = random.Random(seed), Live()
    hours = sorted(dice.uniform(0, 100) for _ in range(60))
    lanes = {0: [], 1: [], "labels": []}
    for number, hour in enumerate(hours):
        part = dice.randrange(2)
        lanes[part].append(
            live.pay(f"e{number}", hour, part, card=f"c{dice.randrange(5)}", late=dice.choice([0, 1]))
        )
    for number in range(60):
        lanes["labels"].append(
            live.say(f"l{number}", f"e{dice.randrange(60)}", hours[number], fraud=dice.random() < 0.5)
        )
    queues = [queue for queue in lanes.values() if queue]
    while queues:
        queue = dice.choice(queues)
        live.apply(queue.pop(0))
        queues = [each for each in queues if each]
    report, _ = live.audit()
    assert clean(report), found(report)
    assert report.in_order


def test_a_forged_value_is_found_and_named_to_the_last_bit():
    live, a, b, c, label = three_payments_and_a_label()
    live.apply(a, b, label, c)
    live.forge(1, features={"merchant_risk_7d": 5e-324})
    live.forge(2, features={"card_since_last": None})
    report, _ = live.audit()
    assert not report.well
    assert report.differing == 2
    examples = {
        each.name: msgspec.structs.astuple(each.example) for each in report.features if each.differing
    }
    assert examples == {"merchant_risk_7d": ("b", 5e-324, 0.0), "card_since_last": ("c", None, 3600.0)}
    assert "2 of 3 decisions differ, in card_since_last, merchant_risk_7d" in list(remarks(report))


def test_the_first_decision_of_an_id_counts():
    live, a, b, c, label = three_payments_and_a_label()
    live.apply(a, b, label, c, b)
    live.forge(3, features={"amount": 7.0})
    report, _ = live.audit()
    assert clean(report)
    live.forge(1, features={"amount": 7.0})
    report, _ = live.audit()
    assert found(report)["amount"] == (3, 1)


def test_what_is_not_compared_is_counted():
    live, a, b, c, label = three_payments_and_a_label()
    late = live.pay("late", 4, late=24 * 8)
    broken, again, other = (
        live.append("transactions", b"{}", START_US),
        live.pay("b", 5, late=3),
        live.pay("c", 5, amount=1),
    )
    live.apply(a, b, label, broken, c, late, again, other)
    live.pay("waiting", 6)
    live.append("decisions", b"{}", START_US)
    report, _ = live.audit()
    assert report.well
    counts = (
        report.decisions,
        report.late,
        report.repeated,
        report.dead_letters,
        report.undecided,
        report.unreadable,
    )
    assert counts == (4, 1, 2, 1, 1, 1)
    assert {compared for compared, _ in found(report).values()} == {3}
    told = list(remarks(report))
    assert "1 came late, changed no state, and are not compared" in told
    assert told[-1] == "nothing differs"


def test_decisions_of_other_features_are_told_apart_and_their_events_count_as_they_were_read_again():
    """A new set of features is a new store: it reads all again, and numbers it anew."""
    old = Live(profile_of(("amount",)))
    a, b = old.pay("a", 0), old.pay("b", 2)
    label = old.say("l", "a", 1)
    old.apply(a, b)
    live = Live()
    live.topics = old.topics
    c = live.pay("c", 3)
    live.apply(a, label, b, c)
    report, _ = live.audit()
    assert (report.decisions, report.foreign, report.sampled) == (3, 2, 1)
    assert found(report)["merchant_risk_7d"] == (1, 0)
    assert (report.well, report.since.transactions) == (True, None)


@pytest.fixture
def weeks():
    """Two payments and a label a day for thirty days."""
    live = Live()
    for day in range(30):
        pair = [live.pay(f"d{day}.{hour}", 24 * day + hour) for hour in (0, 1)]
        live.apply(*pair, live.say(f"l{day}", f"d{day}.0", 24 * day + 5, fraud=day % 3 == 0))
    return live


def gone(live, **counts):
    """The oldest records have left."""
    for topic, count in counts.items():
        live.topics[topic] = live.topics[topic][count:]


def test_where_transactions_are_gone_only_what_lies_in_the_rest_is_compared(weeks):
    gone(weeks, transactions=5)
    report, _ = weeks.audit()
    assert (report.well, report.gone, report.in_order) == (True, 5, False)
    assert report.since.transactions == START_US + 49 * HOUR_US
    rest = 60 - 5
    a_day_and_an_hour_later = rest - 3  # an event may be an hour ahead of its arrival
    ten_days_later = rest - 20  # a label may come three days after its event
    assert found(report) == {
        "amount": (rest, 0),
        "card_count_1d": (a_day_and_an_hour_later, 0),
        "card_since_last": (0, 0),
        "merchant_risk_7d": (ten_days_later, 0),
        "merchant_fraud_run_7d": (ten_days_later, 0),
        "merchant_distinct_card_1d": (a_day_and_an_hour_later, 0),
    }
    told = list(remarks(report))
    assert "the oldest transactions are gone: the log is whole from 2026-01-04T01:00:00+00:00 on" in told
    assert "never compared then, since any event before counts: card_since_last" in told
    logged = msgspec.json.decode(weeks.topics["decisions"][5].value)["features"]
    assert logged["card_count_1d"] == 2.0, "a store that knows only the rest would say 1"


def test_where_labels_are_gone_label_features_are_compared_a_window_later(weeks):
    gone(weeks, labels=4)
    report, _ = weeks.audit()
    assert report.well
    assert found(report)["card_count_1d"] == (60, 0)
    assert found(report)["merchant_risk_7d"] == (2 * (30 - 4 - 8), 0)


def test_where_decisions_are_gone_their_events_are_too(weeks):
    gone(weeks, decisions=5)
    report, _ = weeks.audit()
    assert (report.well, report.undecided) == (True, 5)
    assert report.since.transactions == START_US + 49 * HOUR_US
    assert found(report)["card_count_1d"] == (52, 0)


def test_what_is_forged_where_the_log_is_whole_is_found_though_its_beginning_is_gone(weeks):
    gone(weeks, transactions=5)
    weeks.forge(59, features={"card_count_1d": 9.0, "merchant_risk_7d": 0.9})
    report, _ = weeks.audit()
    assert (found(report)["card_count_1d"], found(report)["merchant_risk_7d"]) == ((52, 1), (35, 1))


def test_a_partition_of_which_nothing_is_left_is_believed_from_the_end_on(weeks):
    report, _ = weeks.audit(gone={TP("transactions", 1)})
    assert report.since.transactions == START_US + (29 * 24 + 5) * HOUR_US
    assert found(report)["card_count_1d"] == (0, 0)


def test_the_order_of_two_partitions_of_labels_is_told_where_it_is_not_known():
    """Behind: both labels were there when `c` was decided, and nothing says which of them had been applied."""
    live = Live()
    a, b, c = live.pay("a", 0), live.pay("b", 0.5), live.pay("c", 3)
    one, two = live.say("one", "a", 1, part=0, fraud=True), live.say("two", "b", 2, part=1, fraud=False)
    live.apply(a, b, two, c, one, live.pay("d", 4))
    report, _ = live.audit()
    assert report.well
    assert {each.name: each.unsettled for each in report.features if each.unsettled} == {
        "merchant_risk_7d": 1,
        "merchant_fraud_run_7d": 1,
    }
    assert any("does not tell which labels" in each for each in remarks(report))


def test_of_two_partitions_that_are_read_as_they_come_a_forged_value_is_found():
    live = Live()
    a, b = live.pay("a", 0), live.pay("b", 0.5)
    live.apply(a, b, live.say("one", "a", 1, part=0), live.say("two", "b", 2, part=1), live.pay("c", 3))
    live.say("three", "c", 5)
    live.forge(2, features={"merchant_risk_7d": 0.5})
    report, _ = live.audit()
    assert found(report)["merchant_risk_7d"] == (3, 1)


def test_who_was_forgotten_is_not_compared_but_the_others_are():
    live = Live()
    records = [live.pay(f"e{n}", n, card=f"c{n % 2}") for n in range(6)]
    live.apply(*records[:4])
    live.pipeline.store.forget("card", "c0")
    live.apply(*records[4:])
    report, _ = live.audit()
    assert found(report)["card_count_1d"] == (6, 1), "what was dropped would be taken for a difference"
    report, _ = live.audit(forgotten=[SEALER.pseudonym("card", "c0")])
    assert report.well
    assert found(report)["card_count_1d"] == (3, 0)
    assert found(report)["merchant_distinct_card_1d"] == (6, 0)


def test_a_number_that_was_given_twice_is_told():
    live = Live()
    a, b, c = (live.pay(name, hours) for name, hours in (("a", 0), ("b", 2), ("c", 3)))
    live.apply(a, b, c)
    live.forge(2, seq=2)
    report, _ = live.audit()
    assert (report.shared, report.differing) == (1, 0)


def test_a_number_that_nothing_has_is_told():
    live = Live()
    a, b, c = (live.pay(name, hours) for name, hours in (("a", 0), ("b", 2), ("c", 3)))
    live.apply(a, b, c)
    live.forge(2, seq=5)
    report, _ = live.audit()
    assert report.unclaimed == 2


def test_what_comes_while_an_audit_reads_is_left_out():
    live = Live()
    live.apply(live.pay("a", 0), live.pay("b", 1))
    log = NumberedLog(Codec(PROFILE), PROFILE.features)
    log.decisions(live.topics["decisions"][:1])
    log.end_numbers()
    log.decisions(live.topics["decisions"][1:])
    log.transactions(live.topics["transactions"])
    report = Audit(log, PROFILE.features, PROFILE.max_ahead_us).run()
    log.close()
    assert (report.decisions, report.sampled, report.gone, report.undecided) == (2, 1, 0, 0)


def test_no_personal_value_lies_in_the_temporary_file():
    live = Live()
    live.apply(live.pay("an-event", 0, card="somebody"))
    report, dump = live.audit()
    assert report.well
    for value, there in (("an-event", True), ("somebody", False)):
        assert (value.encode().hex() in dump.lower()) is there
    assert "somebody" not in dump


def test_a_sample_is_the_same_each_time_and_another_for_another_seed():
    names = [f"event-{number}" for number in range(4_000)]
    first, again, other = (set(filter(sampled(0.1, seed), names)) for seed in (1, 1, 2))
    assert first == again != other
    assert 300 < len(first) < 500
    assert all(map(sampled(1.0), names))
    live, a, b, c, label = three_payments_and_a_label()
    live.apply(a, b, label, c)
    report, _ = live.audit(sampled={"b"}.__contains__)
    assert (report.sampled, found(report)["amount"]) == (1, (1, 0))


def test_an_audit_of_nothing_is_not_well():
    report, _ = Live().audit()
    assert not report.well
    assert list(remarks(report))[-1] == "nothing could be compared"
