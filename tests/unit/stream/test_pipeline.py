"""The path: each event of a batch gets its answer, in order, from the champion of that batch."""

from stream.decide import NEVER, Outcome
from stream.pipeline import NOBODY, Champion, Decision, Pipeline, Refused
from tests.unit.stream.fakes import AmountScorer, AmountStore, label, transaction

CHAMPION = Champion(AmountScorer(), "amount-1", 0.5)


def test_events_are_answered_in_order_and_labels_get_no_decision():
    events = [transaction("a", amount=100), label("a"), transaction("b", amount=9000)]
    first, second, third = Pipeline(AmountStore(), CHAMPION).run(events)
    assert second is None
    assert [first.event.event_id, third.event.event_id] == ["a", "b"]
    assert [first.outcome, third.outcome] == [Outcome.APPROVE, Outcome.REVIEW]
    assert [first.score, third.score] == [0.01, 0.9]


def test_a_whole_batch_is_one_call_to_the_store():
    store = AmountStore()
    Pipeline(store, CHAMPION).run([transaction(str(index)) for index in range(50)])
    assert len(store.batches) == 1


def test_only_what_a_person_will_look_at_is_explained():
    approved, alerted = Pipeline(AmountStore(), CHAMPION).run(
        [transaction("a", amount=1), transaction("b", amount=9999)]
    )
    assert approved.reasons == []
    assert [reason.feature for reason in alerted.reasons] == ["amount"]


def test_without_a_model_everything_is_approved_on_the_rung_below_and_says_so():
    (made,) = Pipeline(AmountStore(), NOBODY).run([transaction(amount=9999)])
    assert isinstance(made, Decision)
    assert (made.outcome, made.champion.rung, made.champion.version) == (Outcome.APPROVE, "rules", "none")
    assert made.champion.threshold == NEVER


def test_the_same_id_with_another_content_is_refused_and_the_events_behind_it_keep_their_own_scores():
    pipeline = Pipeline(AmountStore(), CHAMPION)
    pipeline.run([transaction("a", amount=100)])
    refused, good = pipeline.run(
        [transaction("a", amount=7000, body=b"otherbod"), transaction("b", amount=9000)]
    )
    assert isinstance(refused, Refused)
    assert "'a'" in refused.reason
    assert good.score == 0.9


def test_a_champion_assigned_between_batches_decides_the_next_one():
    pipeline = Pipeline(AmountStore(), NOBODY)
    pipeline.run([transaction("a", amount=9000)])
    pipeline.champion = CHAMPION
    (made,) = pipeline.run([transaction("b", amount=9000)])
    assert (made.champion.version, made.outcome) == ("amount-1", Outcome.REVIEW)
