"""A learner that is killed: ``python -m tests.contract.dying_learner DIR before|between|after`` commit and publishing."""

import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from models.baselines import NullScorer
from models.packing import unpack
from stream.codec import Codec
from stream.decide import AlertBudget
from stream.embedded.log import Log
from stream.embedded.tail import LogTail
from stream.labels import LearnRole
from stream.learn import Learner
from stream.model_keys import SigningKey, TrustedKeys
from stream.publishing import Publishing
from stream.review.ledger import Ledger
from tests.contract.ledger_records import NAMES, NOON_US, PROFILE, label, on_log


def learner_in(directory):
    """A role as the bootstrap builds it, on one small model; gives its ledger and its way to the scorers, too."""
    ledger = Ledger.open(f"sqlite:///{directory}/weir.db")
    log = Log(directory / "log")
    log.compact("models")
    key, trusted = SigningKey(directory / "models.key"), TrustedKeys(directory / "models.trusted")
    key.make(trusted)
    models = Publishing(log, "models", key, trusted, lambda: LogTail(log, "models"), model=NullScorer.name)
    newest = ledger.newest_snapshot(0)
    learner = Learner(NullScorer(NAMES), AlertBudget(10), features_version="f", number=models.resume(newest))
    if newest:
        learner.resume(NullScorer.load(unpack(newest.scorer)), newest.learned)
    role = LearnRole(
        Codec(PROFILE),
        learner,
        ledger.decision_log(NAMES),
        models,
        names=NAMES,
        positions=ledger.positions("learn"),
        clock_us=NOON_US,
    )
    return role, ledger, models


def learn(role):
    """Take in the labels of two events, and make a checkpoint."""
    role.run(on_log("labels", label("e1"), label("e2", fraud=False)))
    return role.checkpoint()


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def main(directory, when):
    role, ledger, models = learner_in(Path(directory))
    if when == "before":
        event.listen(ledger.engine, "commit", die)
    if when == "between":
        models.publish = die
    learn(role)
    die()


if __name__ == "__main__":
    main(*sys.argv[1:])
