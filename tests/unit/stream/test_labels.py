"""The learn role: a label teaches once, with the features logged at decision time, whatever is delivered twice."""

import math

import msgspec
import pytest

from features.profile import load
from models.base import SEQUENCE
from models.ensemble import EnsembleScorer
from stream.codec import Codec
from stream.decide import AlertBudget
from stream.labels import LearnRole, vector_of
from stream.learn import Learner
from stream.records import TP, Outgoing, Record
from stream.signing import TooLarge
from tests.unit.stream.fakes import AmountScorer

NAMES = ("amount", "seen")


class FakeLog:
    """A decision log in memory that can be made to fail."""

    def __init__(self, decided=()):
        self.vectors = {event_id: (float(at), 0.0) for at, event_id in enumerate(decided)}
        self.positions, self.held, self.waits, self.snapshots = {}, set(), [], []
        self.failing = False

    def logged(self, event_ids):
        return {event_id: self.vectors[event_id] for event_id in event_ids if event_id in self.vectors}

    def learned(self, label_ids):
        return self.held & set(label_ids)

    def checkpoint(self, snapshot, positions, learned, waiting):
        if self.failing:
            raise OSError("disk full")
        self.positions, self.waits = dict(positions), list(waiting)
        self.held |= {label.label_id for label in learned}
        self.snapshots += [snapshot] if snapshot else []


class FakeModels:
    """A way to the scorers that keeps what goes out, in order with what the ledger took; it can be made to fail."""

    def __init__(self, log):
        self.log, self.sent, self.failing = log, [], False

    def signed(self, snapshot):
        if self.failing:
            raise TooLarge("the topic takes less")
        return Outgoing(b"amount", b"signed")

    def publish(self, snapshot, record):
        assert self.log.snapshots[-1] is snapshot, "published before it was committed"
        self.sent.append(snapshot.number)

    def tend(self):
        pass


ARRIVED_US = 1_767_312_000_000_000


def role_on(log, clock_us=ARRIVED_US, models=None, names=NAMES):
    learner = Learner(AmountScorer(), AlertBudget(10), features_version="f", every=8)
    return LearnRole(
        Codec(load("payments")),
        learner,
        log,
        models or FakeModels(log),
        names=names,
        positions=log.positions,
        waiting=log.waits,
        clock_us=clock_us,
    )


def labels(*event_ids, first=0, label_ids=None, arrives_us=ARRIVED_US, verdicts=None):
    made = []
    for at, event_id in enumerate(event_ids):
        value = {
            "label_id": label_ids[at] if label_ids else f"l-{event_id}",
            "event_id": event_id,
            "label": verdicts[at] if verdicts else "fraud",
            "source": "test",
            "labelled_at": "2026-01-01T00:00:00+00:00",
            "v": 1,
        }
        headers = (("arrived", b"%d" % arrives_us),)
        made.append(Record("labels", 0, first + at, b"k", msgspec.json.encode(value), headers, 0))
    return made


def learned(role):
    return [vector[0] for vector, _ in role.learner.scorer.learned]


def test_a_label_teaches_the_features_that_were_logged_with_its_decision():
    role = role_on(FakeLog(["a", "b"]))
    role.run(labels("b", "a"))
    assert role.learner.scorer.learned == [((1.0, 0.0), True), ((0.0, 0.0), True)]


def test_a_label_before_its_decision_waits_and_teaches_when_the_decision_is_there():
    log = FakeLog(["a"])
    role = role_on(log)
    role.run(labels("late", "a"))
    assert (learned(role), role.waiting) == ([0.0], 1)
    log.vectors["late"] = (7.0, 0.0)
    role.retry()
    assert (learned(role), role.waiting) == ([0.0, 7.0], 0)


def test_a_label_that_comes_twice_teaches_once_in_a_chunk_across_chunks_and_across_restarts():
    log = FakeLog(["a"])
    role = role_on(log)
    role.run(labels("a", "a"))
    role.run(labels("a", first=2))
    role.checkpoint()
    again = role_on(log)
    again.run(labels("a", first=3))
    assert (learned(role), learned(again)) == ([0.0], [])


@pytest.mark.parametrize("chunks", [1, 2])
def test_of_two_labels_of_one_id_the_first_teaches_however_they_are_delivered(chunks):
    role = role_on(FakeLog(["a"]))
    records = labels("a", "a", verdicts=["fraud", "legitimate"])
    for chunk in [records] if chunks == 1 else [records[:1], records[1:]]:
        role.run(chunk)
    assert role.learner.scorer.learned == [((0.0, 0.0), True)]


def test_records_below_the_checkpoint_are_passed_over():
    log = FakeLog(["a", "b", "c"])
    role = role_on(log)
    role.run(labels("a", "b"))
    role.checkpoint()
    again = role_on(log)
    again.run(labels("a", "b", "c"))
    assert learned(again) == [2.0]
    assert log.positions == {TP("labels", 0): 2}


def test_what_waits_is_kept_by_the_checkpoint():
    log = FakeLog()
    role = role_on(log)
    role.run(labels("unknown"))
    assert role.checkpoint()
    again = role_on(log)
    log.vectors["unknown"] = (3.0, 0.0)
    again.retry()
    assert learned(again) == [3.0]


def test_a_checkpoint_that_fails_keeps_nothing_and_the_next_one_keeps_all():
    log = FakeLog(["a"])
    role = role_on(log)
    role.run(labels("a"))
    log.failing = True
    with pytest.raises(OSError, match="disk full"):
        role.checkpoint()
    log.failing = False
    assert role.checkpoint()
    assert log.held == {"l-a"}
    assert not role.checkpoint()


def test_a_snapshot_is_published_once_the_ledger_holds_it_and_not_where_it_does_not():
    log = FakeLog(["a", "b"])
    models = FakeModels(log)
    role = role_on(log, models=models)
    role.run(labels("a"))
    role.checkpoint()
    assert models.sent == [1]
    role.run(labels("b", first=1))
    log.failing = True
    with pytest.raises(OSError, match="disk full"):
        role.checkpoint()
    assert models.sent == [1]


def test_a_snapshot_that_cannot_travel_is_not_kept_either():
    log = FakeLog(["a"])
    models = FakeModels(log)
    role = role_on(log, models=models)
    role.run(labels("a"))
    models.failing = True
    with pytest.raises(TooLarge):
        role.checkpoint()
    assert (log.positions, log.snapshots) == ({}, [])


def decision(offset, arrived_us):
    value = {"arrived_us": arrived_us, "features": {"amount": 1.0, "seen": None}}
    return Record("decisions", 0, offset, b"k", msgspec.json.encode(value), (), 0)


def test_no_label_teaches_before_the_streams_clock_has_reached_it():
    role = role_on(FakeLog(["a", "b"]), clock_us=0)
    role.run(labels("b", arrives_us=ARRIVED_US + 9))
    role.run(labels("a", first=1, arrives_us=ARRIVED_US + 5))
    assert learned(role) == []
    role.run([decision(0, ARRIVED_US + 5)])
    assert learned(role) == [0.0]
    role.run([decision(1, ARRIVED_US + 20)])
    assert learned(role) == [0.0, 1.0]


def test_too_many_early_labels_are_enough_until_half_of_them_are_due(monkeypatch):
    monkeypatch.setattr("stream.labels.EARLY", 4)
    role = role_on(FakeLog(list("abcd")), clock_us=0)
    crowded = []
    for at, event_id in enumerate("abcd"):
        role.run(labels(event_id, first=at, arrives_us=ARRIVED_US + at))
        crowded.append(role.crowded)
    for at in range(4):
        role.run([decision(at, ARRIVED_US + at)])
        crowded.append(role.crowded)
    assert crowded == [False, False, False, True, True, True, False, False]
    assert learned(role) == [0.0, 1.0, 2.0, 3.0]


def test_a_checkpoint_stays_before_the_first_early_label_and_the_next_learner_reads_it_again():
    log = FakeLog(["a", "b", "c"])
    role = role_on(log)
    role.run([*labels("a"), *labels("b", first=1, arrives_us=ARRIVED_US + 9), *labels("c", first=2)])
    assert learned(role) == [0.0, 2.0]
    role.checkpoint()
    assert log.positions == {TP("labels", 0): 1}
    assert role.settled(TP("labels", 0), 0)
    assert not role.settled(TP("labels", 0), 2)
    again = role_on(log, clock_us=ARRIVED_US + 9)
    again.run([*labels("b", first=1, arrives_us=ARRIVED_US + 9), *labels("c", first=2)])
    assert learned(again) == [1.0]
    again.checkpoint()
    assert log.positions == {TP("labels", 0): 3}


def test_snapshots_are_numbered_and_say_from_where_a_learner_resumes():
    log = FakeLog(["a", "b"])
    role = role_on(log)
    role.run(labels("a"))
    role.checkpoint()
    role.run(labels("b", first=1))
    role.checkpoint()
    assert [(s.number, s.model_version, s.positions) for s in log.snapshots] == [
        (1, "amount-1", {"labels/0": 1}),
        (2, "amount-2", {"labels/0": 2}),
    ]


def test_decisions_count_for_the_alert_budget_and_what_cannot_be_read_is_counted():
    role = role_on(FakeLog())
    decision = {"arrived_us": 5, "features": {"amount": 1.0, "seen": None}}
    role.run(
        [
            Record("decisions", 0, 0, b"k", msgspec.json.encode(decision), (), 0),
            Record("decisions", 0, 1, b"k", b"{broken", (), 0),
        ]
    )
    assert role.counts["unreadable_decisions"] == 1
    assert role.learner.budget.threshold(lambda vectors: [vector[0] for vector in vectors]) < 2


def test_what_was_not_known_is_nan_in_the_vector():
    first, second = vector_of({"amount": None, "seen": 2.0}, NAMES)
    assert first != first
    assert second == 2.0


def test_the_networks_score_stands_behind_the_features_and_is_nan_where_it_said_nothing():
    names = (*NAMES, SEQUENCE)
    assert vector_of({"amount": 1.0, "seen": 2.0}, names, {"river": 0.5, "sequence": 0.25}) == (
        1.0,
        2.0,
        0.25,
    )
    assert math.isnan(vector_of({"amount": 1.0, "seen": 2.0}, names, {"river": 0.5})[2])
    assert vector_of({"amount": 1.0, "seen": 2.0}, NAMES, {"sequence": 0.25}) == (1.0, 2.0)


def test_decisions_with_a_networks_score_count_with_it_for_the_alert_budget():
    role = role_on(FakeLog(), names=(*NAMES, SEQUENCE))
    for offset, scores in enumerate([{"scores": {"sequence": 0.75}}, {}]):
        decision = {"arrived_us": 5, "features": {"amount": 1.0, "seen": None}, **scores}
        role.run([Record("decisions", 0, offset, b"k", msgspec.json.encode(decision), (), 0)])
    seen = []
    role.learner.budget.threshold(lambda vectors: seen.extend(vectors) or [0.0] * len(vectors))
    assert seen[0][2] == 0.75
    assert math.isnan(seen[1][2])


def test_the_weights_of_an_ensemble_are_among_the_readings_and_a_river_has_none():
    role = role_on(FakeLog())
    assert not [each for each in role.readings() if each.name == "weir_ensemble_weight"]
    role.learner.scorer = EnsembleScorer(("amount", "seen"))
    told = {
        each.labels["part"]: each.value for each in role.readings() if each.name == "weir_ensemble_weight"
    }
    assert told == {"river": 0.5, "rules": 0.0, "sequence": 0.5}


def test_what_is_condemned_teaches_nothing_and_is_passed_over():
    log = FakeLog(["a", "b"])
    role = role_on(log)
    role.run(labels("a"), "it ends workers")
    role.run(labels("b", first=1))
    role.checkpoint()
    assert log.held == {"l-b"}
    assert list(log.positions.values()) == [2]
