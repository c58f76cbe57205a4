"""From the ledger to the scorers: a learner that dies anywhere around its checkpoint leaves nothing undone or done twice."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stream.champion import Contest
from stream.contest import Published
from stream.embedded.log import Log
from stream.embedded.tail import LogTail
from stream.model_keys import TrustedKeys
from stream.records import TP
from stream.review.ledger import Ledger
from tests.contract import dying_learner
from tests.contract.ledger_records import NAMES, decision, on_log, recorder_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path):
    ledger = Ledger.open(f"sqlite:///{tmp_path}/weir.db")
    recorder_of(ledger).record(on_log("decisions", decision("e1"), decision("e2")))
    ledger.close()
    return tmp_path


def killed(home, when):
    command = [sys.executable, "-m", "tests.contract.dying_learner", str(home), when]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def champion(home):
    """Who decides where a scorer starts now."""
    contest = Contest(TrustedKeys(home / "models.trusted"), "f", dict.fromkeys(NAMES, ""), "null")
    feed = Published(lambda: LogTail(Log(home / "log"), "models"), contest)
    feed.close()
    return feed.newest().version


@pytest.mark.parametrize(
    ("when", "decides", "committed"), [("before", "none", 0), ("between", "none", 1), ("after", "null-1", 1)]
)
def test_a_learner_killed_around_its_checkpoint_is_followed_by_one_that_finishes_it(
    home, when, decides, committed
):
    killed(home, when)
    assert champion(home) == decides
    role, ledger, models = dying_learner.learner_in(home)
    assert role.learner.number == committed
    assert champion(home) == ("null-1" if committed else "none"), "before it learns anything"
    dying_learner.learn(role)  # its labels come again
    assert champion(home) == "null-1"
    assert [each.learned for each in ledger.snapshots()] == [2], "each label taught once"
    assert ledger.positions("learn") == {TP("labels", 0): 2}
    assert len(Log(home / "log").fetch({TP("models", 0): 0})) == 1, "and was published once"
    models.close()
    ledger.close()
