"""A recorder that is killed: ``python -m tests.contract.dying_recorder URL before|after`` the commit of its SQL."""

import os
import signal
import sys

from sqlalchemy import event

from stream.review.ledger import Ledger
from tests.contract.ledger_records import alert, decision, label, of_alerts, on_log, recorder_of


def chunk():
    return [
        *on_log("decisions", decision("e2")),
        *of_alerts(alert("e1")),
        *on_log("labels", label("e1")),
    ]


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def main(url, when):
    ledger = Ledger.open(url)
    recorder = recorder_of(ledger)
    if when == "before":
        event.listen(ledger.engine, "commit", die)
    recorder.record(chunk())
    die()


if __name__ == "__main__":
    main(*sys.argv[1:])
