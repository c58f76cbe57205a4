"""Each line that keeps a guarantee is taken away, and something goes red: a schedule of the simulation, or a named test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.safety import document
from tests.safety.lines import LINES, SCHEDULES, Line
from tests.safety.mutate import ROOT, Moved, changed, fails_in_a_copy, in_this_process
from tests.simulation.run import Simulation
from tests.simulation.schedule import Schedule, schedule_of
from tests.simulation.wiring import wired

SIMULATED = [line for line in LINES if not line.test]
TESTED = [line for line in LINES if line.test]


def shows(line: Line, schedule: Schedule) -> bool:
    kinds = {fault.kind for fault in schedule.faults}
    return (not line.sql or schedule.recorders > 0) and (not line.kinds or bool(kinds & {*line.kinds}))


def first_red(line: Line) -> int | None:
    """The first seed that goes red without the line."""
    chosen = (seed for seed in range(1_000_000) if shows(line, schedule_of(seed)))
    seeds = [seed for seed, _ in zip(chosen, range(SCHEDULES), strict=False)]
    with wired(), in_this_process(line.file, line.text, line.instead):
        found = Simulation().first_red(seeds)
    return None if found is None else found[0].seed


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.name)
def test_a_line_is_where_the_table_says(line):
    assert changed(line.file, line.text, line.instead)


@pytest.mark.slow
@pytest.mark.parametrize("line", SIMULATED, ids=lambda line: line.name)
def test_without_the_line_a_schedule_goes_red(line):
    assert first_red(line) is not None, f"{SCHEDULES} schedules are green without it: {line.text}"


@pytest.mark.slow
@pytest.mark.parametrize("line", TESTED, ids=lambda line: line.name)
def test_without_the_line_its_test_goes_red(line, tmp_path):
    assert fails_in_a_copy(line.file, line.text, line.instead, line.test, tmp_path), line.text


def test_a_line_that_was_moved_is_noticed():
    with pytest.raises(Moved, match="0 times"):
        changed("stream/chunks.py", "no such line", "")
    with pytest.raises(Moved, match="not once"):
        changed("stream/chunks.py", "return", "")


def test_the_change_is_made_and_taken_back():
    from stream.decide import Outcome, decide

    with in_this_process("stream/decide.py", "if score >= threshold", "if score < threshold"):
        assert decide(0.7, 0.5) is Outcome.APPROVE
    assert decide(0.7, 0.5) is Outcome.REVIEW


def test_the_document_tells_of_every_line():
    """Written by python -m tests.safety."""
    assert Path(ROOT, "docs", "safety-lines.md").read_text() == document.text()
