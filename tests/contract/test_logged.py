"""What a training reads of the ledger: decisions in the order of recording, labels by their arrival, and what features measured."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from models.baselines import NullScorer
from models.snapshot import Snapshot
from stream.review.ledger import Ledger
from stream.review.logged import Past
from tests.contract.ledger_records import NAMES, NOON, NOON_US, decision, label, on_log, recorder_of, snapshot
from tests.contract.test_ledger import database, ledger, make_database  # noqa: F401 - fixtures


@pytest.fixture
def past(ledger: Ledger) -> Past:  # noqa: F811
    return Past(ledger.engine)


def arrived(records, *times):
    """The same records, arriving then."""
    headers = [((records[0].headers[0][0], b"%d" % at_us),) for at_us in times]
    return [replace(record, headers=each) for record, each in zip(records, headers, strict=True)]


def test_decisions_come_in_the_order_of_recording_up_to_the_time_of_training(ledger, past):  # noqa: F811
    made = [decision(f"e{n}", arrived_us=NOON_US + n, seq=9 - n, late=n == 2) for n in (3, 1, 2, 4)]
    recorder_of(ledger).record(on_log("decisions", *made))
    [found] = past.decisions(NOON_US + 4)
    assert [each.event_id for each in found] == ["e3", "e1", "e2"]
    assert [each.late for each in found] == [False, False, True]
    first = found[0]
    assert (first.arrived_us, first.seq, first.rung, first.features_version) == (NOON_US + 3, 6, "river", "f")
    assert first.features == {"amount": 12.5, "count": None}
    assert first.entities == {"card": "c"}
    assert past.clock_us() == NOON_US + 4
    assert past.count(NOON_US + 4) == 3


def test_an_empty_ledger_has_no_clock(past):
    assert past.clock_us() is None
    assert list(past.decisions(NOON_US)) == []


def test_the_newest_label_counts_that_had_arrived(ledger, past):  # noqa: F811
    said = on_log("labels", label("e1", True, "l1"), label("e2", False, "l2"), label("e1", False, "l3"))
    recorder_of(ledger).record(arrived(said, NOON_US + 1, NOON_US + 2, NOON_US + 5))
    assert past.labels(NOON_US + 1) == {}
    assert past.labels(NOON_US + 2) == {"e1": True}
    assert past.labels(NOON_US + 5) == {"e1": True, "e2": False}
    assert past.labels(NOON_US + 6) == {"e1": False, "e2": False}


def test_models_that_are_kept_tell_what_features_measured(ledger, past):  # noqa: F811
    hashes = {"amount": "h1", "count": "h2"}
    made = {"threshold": 0.5, "learned": 1, "positions": {}, "made_at": NOON}
    known = Snapshot.of(NullScorer(NAMES), number=1, features_version="old", hashes=hashes, **made)
    ledger.decision_log(()).checkpoint(known, {}, [], [])
    assert past.hashes() == {"old": hashes}


def test_models_without_hashes_tell_nothing(ledger, past):  # noqa: F811
    ledger.decision_log(()).checkpoint(snapshot(1), {}, [], [])
    assert past.hashes() == {}
