"""The rules of thumb are found in what a profile declares."""

from features.profile import load
from stream.thumb import rules_of


def test_each_kind_about_each_entity_has_one_rule_of_the_first_feature_that_is_declared():
    rules = rules_of(load("handbook").features)
    assert [(rule.feature, rule.least) for rule in rules] == [
        ("customer_ratio_amount_90d", 4.0),
        ("terminal_risk_10d", 0.3),
    ]


def test_every_shipped_profile_has_rules_for_features_that_it_has():
    features = load("payments").features
    assert {rule.feature for rule in rules_of(features)} <= set(features.names)
