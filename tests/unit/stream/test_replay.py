"""A replay judges every decision when its label arrives, with the model that decided, and learns only after."""

from msgspec import structs

from models.base import MEASURES
from stream.decide import AlertBudget
from stream.files import Refused
from stream.learn import Learner
from stream.pipeline import Champion, Pipeline
from stream.replay import Replay
from tests.unit.stream.fakes import AmountScorer, AmountStore, label, transaction

NAMES = ("amount", "seen")
DAY = 86_400_000_000


class Sink:
    """Keeps the ids of what it is given."""

    def __init__(self):
        self.seen = []

    def write(self, decisions):
        self.seen += [made.event.event_id for made in decisions]


def replay_of(learner=None, horizon_us=30 * DAY):
    pipeline = Pipeline(AmountStore(), Champion(AmountScorer(), "amount-1", 0.5))
    return Replay(pipeline, names=NAMES, card=0, learner=learner, horizon_us=horizon_us)


def test_a_decision_is_judged_by_its_label_when_that_arrives():
    replay = replay_of()
    assert replay.run([transaction("a", at=3 * DAY, amount=9_000)]) == []
    (judged,) = replay.run([label("a", fraud=True, at=5 * DAY)])
    assert (judged.score, judged.alerted, judged.fraud, judged.day, judged.card) == (0.9, True, True, 3, "c1")
    assert (replay.decided, replay.alerts, replay.labels) == (1, 1, 1)


def test_a_label_judges_once():
    replay = replay_of()
    replay.run([transaction("a")])
    assert len(replay.run([label("a"), label("a", label_id="again")])) == 1


def test_the_learner_learns_the_features_logged_at_decision_time():
    learner = Learner(AmountScorer(), AlertBudget(10), features_version="f", every=8_000)
    replay = replay_of(learner)
    replay.run([transaction("a", amount=5), transaction("b", amount=7)])
    replay.run([label("b", fraud=False), label("a", fraud=True)])
    assert learner.scorer.learned == [((7.0, 2.0), False), ((5.0, 1.0), True)]


def test_a_learner_with_a_network_learns_its_score_behind_the_features_and_nan_without_one():
    learner = Learner(
        AmountScorer(),
        AlertBudget(10),
        features_version="f",
        every=8_000,
        hashes={"a": "1", "s": "2", **MEASURES},
    )
    replay = replay_of(learner)
    inner = replay._pipeline.run
    told = {"a": {"river": 0.5, "sequence": 0.25}, "b": {"river": 0.5}}
    replay._pipeline.run = lambda events: [
        each and structs.replace(each, parts=told[each.event.event_id]) for each in inner(events)
    ]
    replay.run([transaction("a", amount=5), transaction("b", amount=7)])
    replay.run([label("a", fraud=True), label("b", fraud=False)])
    (one, _), (other, _) = learner.scorer.learned
    assert one == (5.0, 1.0, 0.25)
    assert other[2] != other[2]


def test_decisions_whose_label_never_comes_are_forgotten_after_the_horizon():
    replay = replay_of(horizon_us=2 * DAY)
    replay.run([transaction("a", at=DAY)])
    replay.run([transaction("b", at=4 * DAY)])
    assert replay.run([label("a", at=4 * DAY), label("b", at=4 * DAY)]) != []
    assert replay.labels == 1


def test_refused_rows_are_counted_by_their_reason_and_stop_nothing():
    replay = replay_of()
    replay.run([Refused(1, "no amount"), transaction("a"), Refused(3, "no amount")])
    assert (replay.decided, replay.refused, replay.refusals) == (1, 2, {"no amount": 2})


def test_a_sink_gets_the_decisions_in_order_and_no_labels():
    sink = Sink()
    replay_of().run([transaction("a"), label("a"), transaction("b")], sink)
    assert sink.seen == ["a", "b"]
