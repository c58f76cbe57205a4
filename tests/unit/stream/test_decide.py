"""The threshold keeps to the alert budget, and an outcome follows from score and threshold alone."""

import math

from hypothesis import given
from hypothesis import strategies as st

from stream.decide import DAY_US, NEVER, AlertBudget, Outcome, decide


def first_value(vectors):
    return [vector[0] for vector in vectors]


def test_before_anything_is_seen_no_score_reaches_the_threshold():
    assert AlertBudget(10).threshold(first_value) == NEVER
    assert decide(1.0, NEVER) is Outcome.APPROVE


def test_a_score_at_the_threshold_is_reviewed():
    assert decide(0.5, 0.5) is Outcome.REVIEW


@given(
    scores=st.lists(st.floats(0, 1), min_size=50, max_size=400),
    budget=st.integers(1, 60),
)
def test_a_day_of_events_gives_no_more_alerts_than_the_budget_affords(scores, budget):
    alerts = AlertBudget(budget)
    for index, score in enumerate(scores):
        alerts.observe(index * DAY_US // len(scores), [score])
    threshold = alerts.threshold(first_value)
    given_alerts = sum(decide(score, threshold) is Outcome.REVIEW for score in scores)
    assert given_alerts <= budget
    # and it is not stingier than ties force it to be: one step lower would break the budget
    lower = [score for score in scores if score < threshold]
    if lower and given_alerts < budget * (1 - 1 / len(scores)) - 1:
        assert sum(score >= max(lower) for score in scores) > budget * (1 - 1 / len(scores)) - 1


def test_old_events_leave_and_a_long_stream_is_thinned_evenly():
    alerts = AlertBudget(20, sample=500, days=2)
    per_day = 2000
    for index in range(per_day * 6):
        alerts.observe(index * DAY_US // per_day, [(index * 7919 % 10_007) / 10_007])
    assert len(alerts._vectors) <= 1000
    threshold = alerts.threshold(first_value)
    expected = sum((index * 7919 % 10_007) / 10_007 >= threshold for index in range(per_day * 6)) / 6
    assert math.isclose(expected, 20, rel_tol=0.3)


def test_a_model_is_judged_by_its_own_scores_of_the_same_events():
    alerts = AlertBudget(1)
    for index in range(100):
        alerts.observe(index * DAY_US // 99, [index / 100])
    assert alerts.threshold(lambda vectors: [1 - vector[0] for vector in vectors]) > 0.98
