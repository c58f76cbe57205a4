"""``weir train``: what it writes and tells, what it goes on with, what it refuses, and that it sees nothing too early."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from features.events import to_datetime
from features.profile import load
from models.artifact import load as load_network
from models.batched import Series
from models.checkpoint import CheckpointError
from models.periods import DAY_US, TrainingError
from models.training import Training
from stream import cli_train
from stream.gather import GatherError
from stream.train import BEGUN, CHECKPOINT, TrainError
from tests.unit.models.learnable import stream

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
[stream]
partition_by = "card"
personal = ["card"]
[features]
declare = ["amount", "count by card over 1d"]
[sequence]
width = 16
"""
EVENTS = 2_000


class Ended(Exception):
    """As if the process had ended."""


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_DIR", str(tmp_path / "weir"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(PROFILE)
    torch.set_num_threads(1)


def written(tmp_path, name="history.jsonl", change=lambda number, row: row):
    rows = stream(EVENTS, 40)
    with (tmp_path / name).open("w") as file:
        for number, (card, amount, at_us, label) in enumerate(
            zip(rows.cards, rows.vectors[:, 0], rows.times, rows.labels, strict=True)
        ):
            at = to_datetime(int(at_us)).isoformat()
            row = {"id": f"e{number}", "at": at, "card": f"c{card}", "amount": float(amount) + 1.0}
            file.write(json.dumps(change(number, {**row, "fraud": int(label)})) + "\n")
    return name


def train(*arguments, profile="./mine.toml"):
    given = ["--profile", profile, "--out", "net", "--label-delay", "1d", *arguments]
    done = CliRunner().invoke(cli_train.train, given, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_training_writes_a_network_that_can_be_used_and_a_page(tmp_path):
    told = json.loads(train(written(tmp_path), "--epochs", "2", "--json"))
    assert told["profile"] == "mine"
    assert len(told["epochs"]) == 2
    assert told["features"] == ["amount", "card_count_1d"]
    assert set(told["metrics"]) >= {"auc_roc", "average_precision", "card_precision", "calibration_error"}
    learned, judged = told["learned_from"], told["judged_on"]
    assert learned["events"] + judged["events"] == EVENTS
    assert learned["until"] <= judged["from"]
    assert judged["labels"] == judged["events"] - 48  # a day's labels had not arrived
    scorer = load_network(tmp_path / "net", load(tmp_path / "mine.toml").features.hashes)
    [advanced] = scorer.advance([Series(b"", [(3.0, 1.0), (3.0, 2.0)])])
    assert all(0.0 < score < 1.0 for score in advanced.scores)
    manifest = json.loads((tmp_path / "net" / "manifest.json").read_text())
    assert manifest["network"] == told["network"]
    assert manifest["entity"] == "card"
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == [
        "manifest.json",
        "report.html",
        "weights.safetensors",
    ]
    page = (tmp_path / "net" / "report.html").read_text()
    assert "Training of a gru network, profile mine" in page
    assert page.count("<svg") == 1
    assert "http-equiv" not in page
    assert 'src="' not in page
    assert f"{told['metrics']['average_precision']:.3f}" in page


def test_people_are_told_how_well_it_does_and_where_it_lies(tmp_path):
    told = train(written(tmp_path), "--epochs", "1", "--architecture", "feedforward")
    assert "which it had not learned from" in told
    assert "average precision" in told
    assert "to net; how it went is told in net/report.html" in told


def test_what_arrives_after_until_changes_no_byte(tmp_path):
    until = to_datetime(20_000 * DAY_US) + timedelta(days=35)
    arguments = ("--epochs", "1", "--until", until.strftime("%Y-%m-%d"), "--json")
    day = np.asarray(stream(EVENTS, 40).times) // DAY_US - 20_000

    def later(number, row):
        if day[number] >= 35:
            return {**row, "card": "other", "amount": 900.0, "fraud": 1}
        return (
            {**row, "fraud": 1 - row["fraud"]} if day[number] == 34 else row
        )  # its labels arrive from until on

    first = json.loads(train(written(tmp_path), *arguments))
    weights = (tmp_path / "net" / "weights.safetensors").read_bytes()
    second = json.loads(train(written(tmp_path, "other.jsonl", later), *arguments))
    assert (tmp_path / "net" / "weights.safetensors").read_bytes() == weights
    for told in ("network", "learned_from", "judged_on", "metrics", "calibration"):
        assert first[told] == second[told]


def test_a_training_that_was_ended_goes_on(tmp_path, monkeypatch):
    file = written(tmp_path)
    whole = json.loads(train(file, "--epochs", "2", "--json"))["network"]
    real, groups = Training._group, 0

    def tired(self, *arguments):
        nonlocal groups
        groups += 1
        if groups == 8:
            raise Ended
        return real(self, *arguments)

    monkeypatch.setattr(Training, "_group", tired)
    with pytest.raises(Ended):
        train(file, "--epochs", "2")
    assert {path.name for path in (tmp_path / "net").iterdir()} >= {BEGUN, CHECKPOINT}
    with pytest.raises(CheckpointError, match="with other settings"):
        train(file, "--epochs", "3", "--resume")
    told = json.loads(train(file, "--epochs", "2", "--resume", "--json"))
    assert told["network"] == whole
    assert groups == 8 + 5  # the second epoch alone was read again


def test_going_on_where_nothing_began_begins(tmp_path):
    assert json.loads(train(written(tmp_path), "--epochs", "1", "--resume", "--json"))["best"] == 1


def test_without_decisions_a_file_is_asked_for():
    with pytest.raises(GatherError, match="no decision is recorded here yet: name a FILE"):
        train()


def test_without_fraud_nothing_is_learned(tmp_path):
    file = written(tmp_path, change=lambda _, row: {**row, "fraud": 0})
    with pytest.raises(TrainingError, match="no fraud is known in the earlier of the two periods"):
        train(file)


def test_from_is_for_files(tmp_path):
    done = CliRunner().invoke(
        cli_train.train, ["--profile", "./mine.toml", "--out", "net", "--from", "2026-01-01"]
    )
    assert done.exit_code == 2
    assert "--from is for a FILE" in done.output


def test_a_profile_without_entities_has_nothing_to_be_read_in_order(tmp_path):
    text = PROFILE.partition("[entities]")[0] + '[features]\ndeclare = ["amount"]\n'
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TrainError, match="no entity whose events a network could read in order"):
        train(written(tmp_path))


def test_what_a_run_that_goes_on_must_know_may_be_damaged(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / BEGUN).write_bytes(msgspec.json.encode({"until": 1}))
    with pytest.raises(TrainError, match="train without --resume"):
        train(written(tmp_path), "--resume")
