"""A test may end a worker at a named point; nothing else happens there."""

import re
import signal
import subprocess
import sys
from pathlib import Path

from stream import crash_points

ROOT = Path(crash_points.__file__).parents[1]


def passes(plan, points):
    code = f"from stream.crash_points import reached\nfor point in {points!r}: reached(point); print(point, flush=True)"
    environment = {"PYTHONPATH": str(ROOT), crash_points.VARIABLE: plan}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )


def test_a_process_ends_at_its_point_and_pass():
    ended = passes("score.sent:2:KILL", ["score.sent", "score.taken", "score.sent", "score.taken"])
    assert (ended.returncode, ended.stdout.split()) == (-signal.SIGKILL, ["score.sent", "score.taken"])


def test_without_a_plan_a_point_is_passed(monkeypatch):
    monkeypatch.setattr(crash_points, "_plan", str)
    monkeypatch.setattr(crash_points.os, "kill", None)
    for point in crash_points.POINTS:
        crash_points.reached(point)


def test_every_point_is_in_the_code_and_every_one_in_the_code_is_named():
    sources = "".join(path.read_text() for path in (ROOT / "stream").rglob("*.py"))
    assert sorted(re.findall(r'\breached\("([a-z.]+)"\)', sources)) == sorted(crash_points.POINTS)
