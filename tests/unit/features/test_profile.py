"""The profile: what ships loads, and what is wrong with a user's own is told by line, with the mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from features.catalogue import DAY_US
from features.profile import Profile, ProfileError, load, shipped

GOOD = """\
name = "mine"
[source]
event_id = "id"
time = "at"
timezone = "Europe/Paris"
amount = "sum"
currency = "EUR"
label = "fraud"
texts = ["country"]
numbers = ["age"]

[entities]
card = "card_id"
shop = { field = "shop_id", optional = true }

[stream]
partition_by = "card"
personal = ["card"]

[features]
remember = "3d"
records = 500
declare = [
  "amount",
  "number age",
  "distinct country by card over 7d",
  "risk by shop over 1d",
]

[policy]
alerts_per_day = 12.5
card = "card"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert GOOD.count(old) == 1, "the text to change must be there once"
    return written(tmp_path, GOOD.replace(old, new))


def loaded(tmp_path: Path, old: str, new: str) -> Profile:
    return load(changed(tmp_path, old, new))


def test_a_profile_says_all_that_its_file_says(tmp_path: Path) -> None:
    profile = load(written(tmp_path, GOOD))
    assert profile.name == "mine"
    assert profile.entities == ("card", "shop")
    assert profile.partition_by == "card"
    assert profile.personal == ("card",)
    assert profile.alerts_per_day == 12.5
    assert profile.card == "card"
    assert profile.timezone == profile.features.timezone == "Europe/Paris"
    assert profile.label == "fraud"
    assert profile.max_ahead_us == 3_600_000_000
    assert profile.features.remember_us == 3 * DAY_US
    assert profile.features.records == 500
    assert profile.features.label_horizon_us == 30 * DAY_US
    assert profile.features.names == ("amount", "age", "card_distinct_country_7d", "shop_risk_1d")
    assert profile.features_version == profile.features.version


def test_every_feature_has_words_for_people(tmp_path: Path) -> None:
    words = load(written(tmp_path, GOOD)).words
    assert words["shop_risk_1d"] == (
        "share of frauds among the labels of this shop's events that arrived in the last day"
    )
    for name in shipped():
        profile = load(name)
        assert set(profile.words) == set(profile.features.names)
        assert all(profile.words.values())


def test_the_handbook_holds_amounts_against_the_customers_own_and_counts_the_terminals_labels() -> None:
    names = load("handbook").features.names
    assert {"customer_ratio_amount_90d", "terminal_risk_10d", "terminal_run_age_60d"} <= set(names)


def test_the_profile_payments_maps_what_the_simulator_sends() -> None:
    from stream.simulate.generator import Settings, Simulator

    profile = load("payments")
    simulated = Simulator(Settings(cards=50, merchants=20, per_day=100)).day(0)
    assert len(simulated) > 20
    for each in simulated:
        event = profile.transaction(each.raw, each.at_us)
        assert event.time_us == each.at_us
        assert event.amount == round(float(str(each.raw["amount"])) * 100)
        assert profile.key(event) == str(each.raw["card"]).encode()
        assert set(each.raw) <= profile.source.known


def test_the_version_is_the_same_in_another_process() -> None:
    code = "from features.profile import load; print(load('payments').features_version)"
    runs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert runs == {load("payments").features_version}


def test_a_file_name_without_a_folder_is_a_path_if_it_ends_in_toml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert load("mine.toml").name == "mine"


def test_without_a_policy_and_a_stream_the_first_entity_counts(tmp_path: Path) -> None:
    text = GOOD.split("[stream]")[0] + '[features]\ndeclare = ["amount"]\n'
    profile = load(written(tmp_path, text))
    assert (profile.partition_by, profile.card, profile.personal) == ("card", "card", ())
    assert profile.alerts_per_day == 100


def test_decisions_are_kept_for_ever_unless_the_policy_says_how_long(tmp_path: Path) -> None:
    assert load(written(tmp_path, GOOD)).keep_decisions_us is None
    kept = loaded(tmp_path, "= 12.5", '= 12.5\nkeep_decisions = "400d"').keep_decisions_us
    assert kept == 400 * DAY_US


def test_without_entities_each_event_stands_for_itself(tmp_path: Path) -> None:
    text = (
        GOOD.split("[entities]")[0].replace('texts = ["country"]', "") + '[features]\ndeclare = ["amount"]\n'
    )
    profile = load(written(tmp_path, text))
    event = profile.transaction({"id": "e1", "at": "2026-01-01T00:00:00Z", "sum": 1})
    assert profile.key(event) == b"e1"
    assert event.entities == ()


def test_the_features_may_look_at_another_zone_than_the_times_are_written_in(tmp_path: Path) -> None:
    profile = loaded(tmp_path, 'remember = "3d"', 'remember = "3d"\ntimezone = "America/New_York"')
    assert profile.timezone == "Europe/Paris"
    assert profile.features.timezone == "America/New_York"


FAULTS = [
    ('name = "mine"', "nam = 1", 1, "'nam' is no key of the top of a profile (did you mean name?)"),
    ('time = "at"', 'tyme = "at"', 4, "'tyme' is no key of [source] (did you mean time?)"),
    ("records = 500", "record = 500", 22, "'record' is no key of [features] (did you mean records?)"),
    ("alerts_per_day = 12.5", "alerts = 12.5", 31, "'alerts' is no key of [policy]"),
    ("partition_by", "partition", 17, "'partition' is no key of [stream] (did you mean partition_by?)"),
    ('time = "at"', "", 2, "[source] must have time"),
    ('amount = "sum"', "amount = 3", 6, "amount must be a text"),
    ('event_id = "id"', "event_id = []", 3, "event_id must name at least one field"),
    ('event_id = "id"', 'event_id = ["a", "a"]', 3, "event_id names 'a' twice"),
    ('"Europe/Paris"', '"Europe/Pariss"', 5, "is no time zone (did you mean Europe/Paris?)"),
    ('"Europe/Paris"', '"../etc/passwd"', 5, "is no time zone"),
    ('time = "at"', 'time = "at"\nunit = "min"', 5, "unit 'min' must be one of s, ms, us"),
    ('currency = "EUR"', 'currency = "EURO"', 7, "'EURO' is no ISO 4217 currency (did you mean EUR?)"),
    ('currency = "EUR"', "currency = { column = 'c' }", 7, "currency must be one code, or { field"),
    (
        'currency = "EUR"',
        'currency = "EUR"\nconvert_to = "EUR"',
        8,
        "every amount is in EUR already: take convert_to",
    ),
    (
        'currency = "EUR"',
        'currency = "EUR"\nconvert_to = "usd"',
        8,
        "'usd' is no ISO 4217 currency (did you mean USD?)",
    ),
    ('numbers = ["age"]', 'numbers = ["age", "age"]', 10, "numbers names 'age' twice"),
    ('numbers = ["age"]', 'numbers = ["country"]', 10, "'country' is named in texts and in numbers"),
    ('texts = ["country"]', 'texts = ["country", "fraud"]', 8, "the label 'fraud' is also mapped as input"),
    ('texts = ["country"]', 'texts = ["country", "card"]', 9, "'card' is an entity and a field of texts"),
    ('card = "card_id"', 'Card = "card_id"', 13, "must be named in small letters"),
    ('card = "card_id"', "card = 7", 13, "card must be a field's name"),
    ("optional = true", 'optional = "yes"', 14, "shop must be a field's name, or {"),
    ('partition_by = "card"', 'partition_by = "crad"', 17, "'crad', which is no entity (did you mean card?)"),
    ('partition_by = "card"', 'partition_by = "shop"', 14, "shop is optional, but partition_by names it"),
    ('personal = ["card"]', 'personal = ["cart"]', 18, "'cart', which is no entity (did you mean card?)"),
    ("= 12.5", '= 12.5\nkeep_decisions = "29d"', 32, "keep_decisions must be 30d or longer: so far back"),
    ("= 12.5", '= 12.5\nkeep_decisions = "forever"', 32, "keep_decisions 'forever' is not a duration"),
    ('card = "card"\n', 'card = "shp"\n', 32, "'shp', which is no entity (did you mean shop?)"),
    ("12.5", "0", 31, "alerts_per_day must be a number above 0"),
    ("12.5", "inf", 31, "alerts_per_day must be a number above 0"),
    ("records = 500", "records = 1.5", 22, "records must be a whole number above 0"),
    ('remember = "3d"', 'remember = "3 days"', 21, "remember '3 days' is not a duration"),
    ('remember = "3d"', "remember = 3", 21, "remember must be a text"),
    ("declare = [", "declare = [1,", 23, "declare must be a list of texts"),
    ('"number age"', '"number aeg"', 25, "'aeg' is not a field of [source] numbers (did you mean age?)"),
    ("distinct country by card", "distinct countri by card", 26, "(did you mean country?)"),
    ("risk by shop over 1d", "risk by shopp over 1d", 27, "(did you mean shop?)"),
    ("risk by shop over 1d", "risk by shop over 1day", 27, "'1day' is not a duration"),
    ("risk by shop over 1d", "risk by shop over 1d 1d", 27, "shop_risk_1d is declared twice"),
    ('"amount",\n', '"amount", "amount",\n', 24, "declare names 'amount' twice"),
    ("[policy]", "[policy", 30, "is not TOML"),
    ("[policy]", "[[policy]]", 30, "policy must be a table"),
]


@pytest.mark.parametrize(("old", "new", "line", "problem"), FAULTS, ids=[fault[3][:40] for fault in FAULTS])
def test_a_fault_is_told_with_its_line_and_the_mend(
    tmp_path: Path, old: str, new: str, line: int, problem: str
) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(ProfileError) as caught:
        load(path)
    assert problem in str(caught.value)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert caught.value.line == line


def test_a_key_of_the_same_name_in_another_table_is_not_the_one_meant(tmp_path: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        loaded(tmp_path, 'card = "card"\n', "card = 3\n")
    assert caught.value.line == 32  # not 13, where the entity stands


def test_a_profile_without_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="must declare at least one feature"):
        load(written(tmp_path, GOOD.split("[features]")[0]))


def test_an_unknown_name_is_refused_with_the_names_that_ship() -> None:
    with pytest.raises(ProfileError, match=r"did you mean handbook\?.*shipped are .*payments"):
        load("handbok")


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be read: No such file"):
        load(tmp_path / "none.toml")
    with pytest.raises(ProfileError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(ProfileError, match="not UTF-8"):
        load(tmp_path / "latin.toml")
