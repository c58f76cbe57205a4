"""``weir train`` as a process: it learns from what was decided what it would from the file, and a kill costs nothing."""

from __future__ import annotations

import json
import signal

from stream.bootstrap import profile_of
from stream.config import load
from stream.review.ledger import Ledger
from stream.train import settings_of
from stream.training_rows import history, rows_of_file, rows_of_ledger
from tests.acceptance.harness import eventually, log_of, stop, weir

TWO_DAYS_US = 2 * 86_400_000_000


def test_what_was_decided_teaches_what_the_file_teaches(home, started, payments, profile, model):
    worker = started("worker", "--role", "score", "--profile", profile, "--model", model, directory=home)
    recorder = started("worker", "--role", "record", "--profile", profile, directory=home)
    weir("send", payments, "--profile", profile, "--label-delay", "2d", directory=home)
    eventually(lambda: _recorded(home), "all is decided and recorded", 120)
    stop(worker)
    stop(recorder)
    config = load({"dir": str(home), "profile": str(profile)})
    mine = profile_of(config)
    settings = settings_of(mine)
    decided = rows_of_ledger(config, mine, settings, None, lambda _: None)
    told = rows_of_file(
        config, mine, settings, history(payments, mine, TWO_DAYS_US, None, None), None, lambda _: None
    )
    assert len(decided.rows.times) == 6_000
    assert decided.rows.digest() == told.rows.digest()
    options = ("--profile", profile, "--epochs", "1", "--json")
    found = json.loads(weir("train", *options, "--out", home / "net", directory=home))
    assert found["learned_from"]["events"] + found["judged_on"]["events"] == 6_000


def _recorded(home):
    log, ledger = log_of(home), Ledger.open(f"sqlite:///{home}/weir.db")
    try:
        counted = ledger.counters()
    finally:
        ledger.close()
    return counted.get("events") == 6_000 and counted.get("labelled") == log.end_offsets("labels").get(0)


def test_a_training_that_is_killed_goes_on_to_the_same_network(home, started, payments, profile):
    options = ("train", payments, "--profile", profile, "--label-delay", "2d", "--epochs", "3")
    whole = json.loads(weir(*options, "--out", home / "whole", "--json", directory=home))
    killed = started(*options, "--out", home / "killed", directory=home)
    eventually((home / "killed" / "training.checkpoint").exists, "an epoch is done", pause=0.01)
    assert stop(killed, signal.SIGKILL) < 10
    assert not (home / "killed" / "manifest.json").exists()
    told = json.loads(weir(*options, "--out", home / "killed", "--resume", "--json", directory=home))
    assert told["network"] == whole["network"]
    assert [each["loss"] for each in told["epochs"]] == [each["loss"] for each in whole["epochs"]]
