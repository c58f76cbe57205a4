import re
from itertools import islice, pairwise

import pytest

from stream.simulate.generator import LONGEST_DELAY_DAYS, Settings, Simulated, Simulator
from stream.simulate.payment import DAY_MS, FIRST_DAY_US
from stream.simulate.scenarios import DORMANT_DAYS, SCENARIOS

SMALL = Settings(seed=7, cards=300, merchants=60, per_day=400.0, fraud_rate=0.02)
DAY_US = DAY_MS * 1_000


@pytest.fixture(scope="module")
def payments() -> list[Simulated]:
    """Sixty days of a small world."""
    simulator = Simulator(SMALL)
    return [each for day in range(60) for each in simulator.day(day)]


def test_the_same_settings_give_the_same_payments_to_the_byte() -> None:
    assert list(islice(Simulator(SMALL), 3_000)) == list(islice(Simulator(SMALL), 3_000))


def test_another_seed_gives_other_payments() -> None:
    other = Settings(seed=8, cards=300, merchants=60, per_day=400.0)
    assert Simulator(SMALL).day(0)[0].raw["card"] != Simulator(other).day(0)[0].raw["card"]


def test_a_day_does_not_depend_on_which_days_were_asked_for_before(payments: list[Simulated]) -> None:
    expected = [each for each in payments if (each.at_us - FIRST_DAY_US) // DAY_US == 41]
    assert Simulator(SMALL).day(41) == expected


def test_payments_come_in_time_order_under_ids_of_their_own(payments: list[Simulated]) -> None:
    assert all(before.at_us <= after.at_us for before, after in pairwise(payments))
    assert len({each.raw["id"] for each in payments}) == len(payments)


def test_the_fraud_rate_is_near_the_one_that_was_asked_for(payments: list[Simulated]) -> None:
    share = sum(each.fraud for each in payments) / len(payments)
    assert SMALL.fraud_rate * 0.6 < share < SMALL.fraud_rate * 1.6


def test_every_scenario_happens(payments: list[Simulated]) -> None:
    assert {each.scenario for each in payments} == {"", *(scenario.name for scenario in SCENARIOS)}


def test_fraud_is_what_a_scenario_made_and_nothing_in_the_payment_tells_so(
    payments: list[Simulated],
) -> None:
    fields = {"id", "at", "card", "merchant", "device", "country", "channel", "amount", "currency"}
    assert all(each.fraud == bool(each.scenario) and set(each.raw) == fields for each in payments)


def test_labels_arrive_after_their_payment_and_some_frauds_are_never_reported(
    payments: list[Simulated],
) -> None:
    delays = [each.label_arrives_us - each.at_us for each in payments if each.label_arrives_us is not None]
    assert min(delays) > 0
    assert max(delays) <= LONGEST_DELAY_DAYS * DAY_US
    missing = [each for each in payments if each.label_arrives_us is None]
    frauds = sum(each.fraud for each in payments)
    assert all(each.fraud for each in missing)
    assert 0.03 * frauds < len(missing) < 0.2 * frauds


def test_cards_are_tokens_that_nobody_takes_for_a_card_number(payments: list[Simulated]) -> None:
    assert all(re.fullmatch(r"card_\d{6}", str(each.raw["card"])) for each in payments)


def test_an_account_is_silent_for_weeks_before_it_is_taken_over(payments: list[Simulated]) -> None:
    starts: dict[object, int] = {}
    for each in payments:
        if each.scenario == "takeover":
            starts.setdefault(each.raw["card"], each.at_us)
    late = {card: at for card, at in starts.items() if at > FIRST_DAY_US + (DORMANT_DAYS + 1) * DAY_US}
    assert late
    for each in payments:
        start = late.get(each.raw["card"])
        quiet = start is not None and start - (DORMANT_DAYS - 1) * DAY_US < each.at_us < start
        assert not quiet or each.fraud


def test_amounts_are_positive_and_have_two_decimals(payments: list[Simulated]) -> None:
    amounts = [each.raw["amount"] for each in payments]
    assert all(isinstance(amount, float) and amount > 0 and round(amount, 2) == amount for amount in amounts)
