"""The grammar of declarations: each form gives the feature it should, all else is refused with the mend."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.catalogue import CURRENCY, DAY_US, HOUR_OF_DAY, WEEKDAY, Feature, Kind, feature_hash
from features.grammar import (
    UNITS,
    DeclarationError,
    Scope,
    duration_us,
    duration_words,
    parse,
    parse_all,
)

SCOPE = Scope(("customer", "terminal"), ("country",), ("age",), "Europe/Paris")


def only(line: str) -> Feature:
    [feature] = parse(line, SCOPE)
    return feature


@pytest.mark.parametrize("kind", [Kind.AMOUNT, Kind.WEEKEND, Kind.NIGHT, Kind.HOUR])
def test_a_feature_of_the_event_alone_is_one_word(kind: Kind) -> None:
    feature = only(kind.value)
    assert (feature.name, feature.kind, feature.entity, feature.window_us) == (kind.value, kind, "", 0)


@pytest.mark.parametrize(
    ("line", "name", "kind", "field"),
    [
        ("count by customer over 7d", "customer_count_7d", Kind.COUNT, ""),
        ("sum amount by customer over 7d", "customer_sum_amount_7d", Kind.SUM, ""),
        ("mean amount by customer over 7d", "customer_mean_amount_7d", Kind.MEAN, ""),
        ("min amount by customer over 7d", "customer_min_amount_7d", Kind.MIN, ""),
        ("max of amount by customer over 7d", "customer_max_amount_7d", Kind.MAX, ""),
        ("ratio of amount by customer over 7d", "customer_ratio_amount_7d", Kind.RATIO, ""),
        ("distinct terminal by customer over 7d", "customer_distinct_terminal_7d", Kind.DISTINCT, "terminal"),
        ("distinct country by customer over 7d", "customer_distinct_country_7d", Kind.DISTINCT, "country"),
        ("std amount by customer over 7d", "customer_std_amount_7d", Kind.STD, ""),
        ("zscore of amount by customer over 7d", "customer_zscore_amount_7d", Kind.ZSCORE, ""),
        ("entropy country by customer over 7d", "customer_entropy_country_7d", Kind.ENTROPY, "country"),
        ("share terminal by customer over 7d", "customer_share_terminal_7d", Kind.SHARE, "terminal"),
        ("share hour by customer over 7d", "customer_share_hour_7d", Kind.SHARE, HOUR_OF_DAY),
        ("new weekday by customer over 7d", "customer_new_weekday_7d", Kind.NEW, WEEKDAY),
        ("gap by customer over 7d", "customer_gap_7d", Kind.GAP, ""),
        ("velocity by customer over 7d against 30d", "customer_velocity_7d_30d", Kind.VELOCITY, ""),
        ("risk by customer over 7d prior 1/50", "customer_risk_7d", Kind.RISK, ""),
        ("labels by customer over 7d", "customer_labels_7d", Kind.LABELS, ""),
        ("run of frauds by customer over 7d", "customer_fraud_run_7d", Kind.FRAUD_RUN, ""),
        ("run of legitimate by customer over 7d", "customer_legitimate_run_7d", Kind.LEGITIMATE_RUN, ""),
        ("run age by customer over 7d", "customer_run_age_7d", Kind.RUN_AGE, ""),
        ("since fraud by customer over 7d", "customer_since_fraud_7d", Kind.SINCE_FRAUD, ""),
        ("since legitimate by customer over 7d", "customer_since_legitimate_7d", Kind.SINCE_LEGITIMATE, ""),
        ("frauds by customer over 7d", "customer_frauds_7d", Kind.FRAUDS, ""),
        ("risk by customer over 7d", "customer_risk_7d", Kind.RISK, ""),
    ],
)
def test_a_windowed_feature_is_named_by_entity_measure_and_window(
    line: str, name: str, kind: Kind, field: str
) -> None:
    feature = only(line)
    assert (feature.name, feature.kind, feature.field) == (name, kind, field)
    assert (feature.entity, feature.window_us) == ("customer", 7 * DAY_US)
    assert "{" not in feature.words
    assert "7 days" in feature.words


def test_what_a_feature_needs_beyond_its_window_is_kept_in_it_and_in_its_words() -> None:
    velocity, risk = (
        only("velocity by terminal over 1h against 30d"),
        only("risk by terminal over 1d prior 1/50"),
    )
    assert (velocity.against_us, risk.prior) == (30 * DAY_US, (1, 50))
    assert "30 days" in velocity.words
    assert "1 of 50" in risk.words


@pytest.mark.parametrize(
    ("line", "name", "kind", "last", "half_life_us"),
    [
        ("rank of amount by customer over last 20", "customer_rank_amount_20", Kind.RANK, 20, 0),
        ("typical amount by customer over last 9", "customer_typical_amount_9", Kind.TYPICAL, 9, 0),
        ("gap spread by customer over last 9", "customer_gap_spread_9", Kind.GAP_STD, 9, 0),
        (
            "cusum amount by customer over last 9 halving 7d",
            "customer_cusum_amount_9_7d",
            Kind.CUSUM,
            9,
            7 * DAY_US,
        ),
        (
            "peak amount by customer over last 9 halving 7d",
            "customer_peak_amount_9_7d",
            Kind.PEAK,
            9,
            7 * DAY_US,
        ),
        (
            "decayed count by terminal over last 9 halving 1d",
            "terminal_decayed_count_9_1d",
            Kind.DECAYED_COUNT,
            9,
            DAY_US,
        ),
        (
            "decayed sum by terminal over last 9 halving 1d",
            "terminal_decayed_sum_9_1d",
            Kind.DECAYED_SUM,
            9,
            DAY_US,
        ),
    ],
)
def test_a_feature_of_the_last_events_says_of_how_many(
    line: str, name: str, kind: Kind, last: int, half_life_us: int
) -> None:
    feature = only(line)
    assert (feature.name, feature.kind, feature.last, feature.half_life_us) == (
        name,
        kind,
        last,
        half_life_us,
    )
    assert f"last {last} events" in feature.words


def test_which_events_are_meant_stands_behind_the_entity() -> None:
    feature = only("count by customer where country is FR same terminal over 7d")
    assert feature.name == "customer_country_FR_same_terminal_count_7d"
    assert (feature.where, feature.same) == (("country", "FR"), ("terminal",))
    assert feature.words.endswith("this one included, where country is FR, of the same terminal")
    assert only("since last by customer same hour").same == (HOUR_OF_DAY,)


def test_amounts_of_several_currencies_are_of_this_events_own() -> None:
    scope = Scope(("card",), currencies=True)
    [total], [count] = (parse(f"{each} by card over 1d", scope) for each in ("sum amount", "count"))
    assert (total.name, total.same, count.same) == ("card_sum_amount_1d", (CURRENCY,), ())
    assert "of this currency" in total.words
    [abroad] = parse("sum amount by card same card over 1d", scope)
    assert abroad.same == ("card", CURRENCY)


def test_a_text_of_the_source_that_is_called_hour_is_meant_by_its_name() -> None:
    [feature] = parse("share hour by card over 1d", Scope(("card",), ("hour",)))
    assert feature.field == "hour"


def test_since_last_has_an_entity_and_no_window() -> None:
    feature = only("since last by terminal")
    assert (feature.name, feature.kind, feature.entity) == (
        "terminal_since_last",
        Kind.SINCE_LAST,
        "terminal",
    )
    assert feature.window_us == 0


def test_a_number_is_a_mapped_field() -> None:
    assert (only("number age").name, only("number age").kind, only("number age").field) == (
        "age",
        Kind.NUMBER,
        "age",
    )


def test_several_windows_make_several_features_in_order() -> None:
    names = [feature.name for feature in parse("  risk by terminal  over 1h 1d\t30d ", SCOPE)]
    assert names == ["terminal_risk_1h", "terminal_risk_1d", "terminal_risk_30d"]


def test_the_words_name_the_zone_of_night() -> None:
    assert "Europe/Paris" in only("night").words


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "'' is not a feature"),
        ("amont", "(did you mean amount?)"),
        ("conut by customer over 1d", "(did you mean count?)"),
        ("amount by customer over 1d", "'amount' stands alone; take out 'by customer over 1d'"),
        ("number", 'write "number FIELD"'),
        ("number country", "'country' is not a field of [source] numbers"),
        ("mean by customer over 1d", 'write "mean amount by ENTITY over WINDOW"'),
        ("mean age by customer over 1d", 'write "mean amount by ENTITY over WINDOW"'),
        ("count by customer", '"by ENTITY over WINDOW"'),
        ("count over 1d by customer", '"by ENTITY over WINDOW"'),
        ("count by customer over", '"by ENTITY over WINDOW"'),
        ("count customer over 1d", '"by ENTITY over WINDOW"'),
        ("count by custmer over 1d", "'custmer' is not an entity (did you mean customer?)"),
        ("count by amount over 1d", "'amount' is not an entity; known are customer, terminal"),
        ("distinct by customer over 1d", 'write "distinct FIELD by ENTITY over WINDOW"'),
        (
            "distinct age by customer over 1d",
            "'age' is not an entity, a field of [source] texts, hour or weekday",
        ),
        ("since by customer", 'write "since last by ENTITY"'),
        ("since last by customer over 1d", 'write "since last by ENTITY"'),
        ("since 1d by customer", 'write "since last by ENTITY"'),
        ("share by customer over 1d", 'write "share FIELD by ENTITY over WINDOW"'),
        ("history by customer over 7d", 'it ends with "over last N"'),
        ("category country", 'write "category FIELD into N"'),
        ("category customer into 1", "1 is not between 2 and 1048576"),
        ("category city into 9", "'city' is not an entity"),
        ("rank by customer over last 5", "write one of rank amount, typical amount"),
        ("rank amount by customer over 5d", 'it goes on with "over last N"'),
        ("rank amount by customer over last 5 halving 1d", "take out 'halving 1d'"),
        ("cusum amount by customer over last 5", 'it ends with "halving DURATION"'),
        ("count by customer where country over 1d", 'write "where FIELD is VALUE"'),
        ("count by customer where city is Paris over 1d", "'city' is not an entity"),
        ("count by customer same over 1d", "'over' is not an entity, a field"),
        ("count by customer with over 1d", "'with' is not understood here"),
        ("since last by customer same country over 1d", "it has no window; take out 'over 1d'"),
        ("run by customer over 1d", 'write "run of frauds"'),
        ("velocity by customer over 1d", 'it ends with "against WINDOW"'),
        ("velocity by customer over 1d against 1d", "1d, must be longer than those before it"),
        ("risk by customer over 1d prior 2/1", "'2/1' is not a prior"),
        ("risk by customer over 1d prior 1%", 'write frauds/labels, such as "prior 1/50"'),
        ("count by customer over 1d and 7d", "'and' is not a duration"),
        ("count by customer over 101y", "'101y' is longer than 100 years"),
    ],
)
def test_what_means_nothing_is_refused_with_the_mend(line: str, problem: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(line, SCOPE)
    assert problem in str(caught.value)
    assert caught.value.line == line


def test_where_there_are_no_entities_the_refusal_says_so() -> None:
    with pytest.raises(DeclarationError, match="there are none"):
        parse("count by customer over 1d", Scope(()))


def test_a_feature_declared_twice_is_refused() -> None:
    with pytest.raises(DeclarationError, match="customer_count_1d is declared twice"):
        parse_all(["count by customer over 7d 1d", "count by customer over 1d"], SCOPE)


@given(st.integers(1, 999), st.sampled_from(sorted(UNITS)))
def test_a_duration_is_its_number_of_its_unit(number: int, unit: str) -> None:
    if number * UNITS[unit] <= 100 * UNITS["y"]:
        assert duration_us(f"{number}{unit}") == number * UNITS[unit] * 1_000_000
    else:
        with pytest.raises(ValueError, match="longer than 100 years"):
            duration_us(f"{number}{unit}")


@pytest.mark.parametrize(
    "text", ["", "7", "d", "0d", "07d", "-1d", "1.5h", "7 d", "7D", "7days", "1M", "٣d", "1d\n"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match='write a whole number and one of s m h d w y, such as "7d"'):
        duration_us(text)


def test_a_duration_for_people_has_no_one() -> None:
    assert [duration_words(text) for text in ("1d", "24h", "1y", "30m")] == [
        "day",
        "24 hours",
        "year",
        "30 minutes",
    ]


def test_since_first_fraud_has_no_window():
    feature = only("since first fraud by terminal")
    assert (feature.name, feature.kind) == ("terminal_since_first_fraud", Kind.SINCE_FIRST_FRAUD)
    assert (feature.window_us, feature.words) == (0, "seconds since this terminal's first fraud was labelled")


def test_history_tells_the_age_and_the_amount_of_each_of_the_last_events() -> None:
    features = parse("history by terminal over last 2", SCOPE)
    assert [(each.name, each.kind, each.last) for each in features] == [
        ("terminal_past_age_1", Kind.PAST_AGE, 1),
        ("terminal_past_amount_1", Kind.PAST_AMOUNT, 1),
        ("terminal_past_age_2", Kind.PAST_AGE, 2),
        ("terminal_past_amount_2", Kind.PAST_AMOUNT, 2),
    ]
    assert features[3].words == "amount of this terminal's 2nd event before this one"


def test_a_category_is_of_the_event_alone() -> None:
    feature = only("category customer into 64")
    assert (feature.name, feature.kind, feature.entity) == ("category_customer", Kind.CATEGORY, "")
    assert (feature.field, feature.size) == ("customer", 64)
    assert feature_hash(feature) != feature_hash(only("category customer into 65"))
