"""A training reads a file as a replay does: amounts of other currencies by the rates that had arrived, or not at all."""

import json

import pytest

from features.profile import load
from features.store import InMemoryFeatureStore
from stream.config import ConfigError
from stream.gather import from_file
from stream.train import settings_of
from stream.training_rows import history

PROFILE = """\
name = "mine"
[source]
event_id = "id"
time = "at"
amount = "amount"
currency = { field = "currency" }
label = "fraud"
CONVERT
[entities]
card = "card"
[stream]
partition_by = "card"
[features]
declare = ["amount", "sum amount by card over 1d"]
[sequence]
"""


def profile_of(folder, convert):
    path = folder / f"{bool(convert)}.toml"
    path.write_text(PROFILE.replace("CONVERT", convert))
    return load(path)


@pytest.fixture
def profile(tmp_path):
    return profile_of(tmp_path, 'convert_to = "EUR"')


@pytest.fixture
def events(tmp_path):
    path = tmp_path / "events.jsonl"
    rows = [("e1", "EUR", "09:00", 10.0), ("e2", "USD", "10:00", 20.0)]
    path.write_text(
        "".join(
            json.dumps(
                {"id": name, "at": f"2026-03-02T{at}:00Z", "amount": amount, "currency": code, "card": "a"}
            )
            + "\n"
            for name, code, at, amount in rows
        )
    )
    return path


@pytest.fixture
def rates(tmp_path):
    path = tmp_path / "rates.jsonl"
    path.write_text('{"currency": "USD", "to": "EUR", "rate": "0.5", "at": "2026-03-01T00:00:00Z"}\n')
    return path


def test_amounts_are_converted_by_the_rates_that_had_arrived(profile, events, rates):
    source = history(events, profile, 0, None, None, rates)
    store = InMemoryFeatureStore(profile.features)
    found = from_file(source, store, profile.features, settings_of(profile))
    assert found.rows.vectors.tolist() == [[10.0, 10.0], [10.0, 20.0]]


def test_without_rates_nothing_is_read_as_if_it_were_in_one_currency(profile, events):
    with pytest.raises(ConfigError, match="name the rates that had arrived with --rates FILE"):
        history(events, profile, 0, None, None)


def test_rates_that_nothing_asks_for_are_refused(tmp_path, events, rates):
    with pytest.raises(ConfigError, match="the profile converts nothing"):
        history(events, profile_of(tmp_path, ""), 0, None, None, rates)
