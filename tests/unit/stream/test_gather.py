"""A training's rows: what a replay would decide on, what was logged, and nothing that arrived after the time of training."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from features.catalogue import DAY_US
from features.events import to_us
from features.profile import load
from features.store import InMemoryFeatureStore
from models.lives import FRAUD, LEGITIMATE, UNKNOWN
from stream.files import EventFile
from stream.gather import GatherError, Logged, from_file, from_log
from stream.train import settings_of

PROFILE = """\
name = "mine"
[source]
event_id = "id"
time = "at"
amount = "amount"
currency = "EUR"
label = "fraud"
[entities]
card = "card"
shop = "shop"
[stream]
partition_by = "card"
[features]
remember = "3d"
declare = ["amount", "count by card over 1d", "risk by shop over 10d"]
[sequence]
features = ["amount", "shop_risk_10d"]
"""
NAMES = ("amount", "shop_risk_10d")


@pytest.fixture
def profile(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PROFILE)
    return load(path)


def row(number, day, card="a", fraud=0, amount=5.0, **more):
    at = f"2026-03-{day:02}T{number % 24:02}:00:00+00:00"
    told = {"id": f"e{number}", "at": at, "amount": amount, "card": card, "shop": "s", "fraud": fraud}
    return {**told, **more}


def day_us(day):
    return to_us(datetime(2026, 3, day, tzinfo=UTC))


def gathered(profile, tmp_path, rows, until_us=None, delay_days=2):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    events = EventFile(path, profile, label_delay_us=delay_days * DAY_US, until_us=until_us)
    store = InMemoryFeatureStore(profile.features)
    return from_file(events, store, profile.features, settings_of(profile), until_us)


DAYS = [row(number, 1 + number, card="ab"[number % 2], fraud=int(number % 3 == 0)) for number in range(10)]


def test_rows_are_the_events_in_order_with_the_features_of_their_time(profile, tmp_path):
    rows = gathered(profile, tmp_path, DAYS).rows
    assert rows.names == NAMES
    assert rows.cards.tolist() == [0, 1] * 5
    assert rows.vectors[:, 0].tolist() == [5.0] * 10
    # e0's label, a fraud, is there from its third day on; then that of e1, legitimate
    assert rows.vectors[:4, 1].tolist() == [0.0, 0.0, 1.0, 0.5]
    assert rows.times.tolist() == sorted(rows.times.tolist())


def test_a_label_counts_if_it_has_arrived_by_the_last_event(profile, tmp_path):
    labels = gathered(profile, tmp_path, DAYS).rows.labels.tolist()
    assert labels == [FRAUD if n % 3 == 0 else LEGITIMATE for n in range(8)] + [UNKNOWN] * 2


def test_a_label_counts_whichever_step_it_arrives_in(profile, tmp_path):
    """It may come with the last items of one step, before the event that it arrives ahead of, which is of the next."""
    start_us = day_us(1)
    rows = [
        row(number, 1, at=datetime.fromtimestamp(start_us / 1e6 + number * 173, UTC).isoformat())
        for number in range(1_700)
    ]
    found = gathered(profile, tmp_path, rows).rows
    arrived = found.times + 2 * DAY_US <= found.times[-1]
    assert 300 < arrived.sum() < 1_700
    assert (found.labels != UNKNOWN).tolist() == arrived.tolist()


def test_a_label_counts_if_it_has_arrived_by_the_time_of_training(profile, tmp_path):
    until_us = day_us(8)
    found = gathered(profile, tmp_path, DAYS, until_us)
    assert found.until_us == until_us
    assert len(found.rows.times) == 7  # e7 is of the eighth day
    assert found.rows.labels.tolist()[4:] == [LEGITIMATE, UNKNOWN, UNKNOWN]


def test_what_arrives_after_the_time_of_training_changes_nothing(profile, tmp_path):
    until_us = day_us(8)
    base = gathered(profile, tmp_path, DAYS, until_us).rows
    changed = [dict(each) for each in DAYS]
    for each in changed[5:7]:
        each["fraud"] = 1 - each["fraud"]  # their labels arrive on the eighth day and later
    changed[7:] = [row(50 + n, 9 + n, card="new", fraud=1, amount=77.0) for n in range(6)]
    other = gathered(profile, tmp_path, changed, until_us).rows
    assert other.digest() == base.digest()
    changed[4]["fraud"] = 1  # this one has arrived
    assert gathered(profile, tmp_path, changed, until_us).rows.digest() != base.digest()


def test_rows_that_move_no_state_are_left_out_and_counted(profile, tmp_path):
    rows = [*DAYS[:3], DAYS[2], {**DAYS[2], "amount": 6.0}, {"id": "broken"}, DAYS[3]]
    found = gathered(profile, tmp_path, rows)
    assert len(found.rows.times) == 4
    assert found.left_out == {
        "are repeated": 1,
        "repeat another event's id": 1,
        "are no events by the profile": 1,
    }


def test_a_file_without_events_of_the_time_is_refused(profile, tmp_path):
    with pytest.raises(GatherError, match="no event of the time asked for"):
        gathered(profile, tmp_path, DAYS, until_us=1)


class Past:
    """What was logged, in memory."""

    def __init__(self, decisions, labels=(), hashes=None):
        self._decisions, self._labels, self._hashes = decisions, dict(labels), hashes or {}

    def decisions(self, until_us):
        yield [each for each in self._decisions if each.arrived_us < until_us]

    def labels(self, until_us):
        return self._labels

    def hashes(self):
        return self._hashes


def logged(profile, number, **more):
    fields = {
        "event_id": f"e{number}",
        "arrived_us": number,
        "seq": number,
        "rung": "river",
        "features_version": profile.features_version,
        "features": {"amount": float(number), "card_count_1d": 1.0, "shop_risk_10d": None},
        "entities": {"card": "pseudonym", "shop": "s"},
    }
    return Logged(**{**fields, **more})


def learned(profile, past, until_us=1_000):
    return from_log(past, profile.features, settings_of(profile), until_us)


def test_logged_decisions_are_put_in_the_order_in_which_they_arrived_and_were_applied(profile):
    decisions = [
        logged(profile, 3, arrived_us=30, seq=7),
        logged(profile, 1, arrived_us=10, entities={"card": "other"}),
        logged(profile, 2, arrived_us=30, seq=5),
    ]
    rows = learned(profile, Past(decisions, {"e2": True, "e1": False})).rows
    assert rows.vectors[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(rows.vectors[:, 1]).all()
    assert rows.cards.tolist() == [1, 0, 0]
    assert rows.labels.tolist() == [LEGITIMATE, FRAUD, UNKNOWN]


def test_decisions_that_a_network_would_not_have_read_are_left_out(profile):
    decisions = [
        logged(profile, 1, late=True),
        logged(profile, 2, rung="degraded", features={}),
        logged(profile, 3, features_version="another"),
        logged(profile, 4, entities={"shop": "s"}),
        logged(profile, 5),
    ]
    found = learned(profile, Past(decisions))
    assert found.rows.vectors[:, 0].tolist() == [5.0]
    assert sum(found.left_out.values()) == 4


def test_decisions_of_another_feature_set_count_if_what_is_read_measured_the_same(profile):
    hashes = dict(profile.features.hashes)
    other = {**hashes, "card_count_1d": "changed"}
    changed = {**hashes, "amount": "changed"}
    decisions = [logged(profile, 1, features_version="other"), logged(profile, 2, features_version="changed")]
    past = Past(decisions, hashes={"other": other, "changed": changed})
    assert learned(profile, past).rows.vectors[:, 0].tolist() == [1.0]


def test_a_decision_made_while_a_feature_was_filled_is_read_and_teaches_nothing(profile):
    decisions = [
        logged(profile, 1, warming=("amount",)),
        logged(profile, 2, warming=("card_count_1d",)),  # which the network does not see
    ]
    rows = learned(profile, Past(decisions, {"e1": True, "e2": True})).rows
    assert rows.labels.tolist() == [UNKNOWN, FRAUD]


def test_a_log_without_usable_decisions_is_refused_with_the_reason(profile):
    with pytest.raises(GatherError, match=r"\(1 are late, and move no state\): name a FILE"):
        learned(profile, Past([logged(profile, 1, late=True)]))


def test_a_profile_that_says_nothing_of_a_network_has_one_that_reads_all(tmp_path):
    path = tmp_path / "plain.toml"
    path.write_text(PROFILE.partition("[sequence]")[0])
    settings = settings_of(load(path))
    assert (settings.entity, settings.architecture) == ("card", "gru")
    assert settings.features == ("amount", "card_count_1d", "shop_risk_10d")
