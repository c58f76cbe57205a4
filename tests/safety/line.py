"""A line that keeps a guarantee, and what shows it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One or a few lines that belong together."""

    file: str
    text: str  # exactly as it stands there, and once
    instead: str
    keeps: str
    test: str = ""  # the test that goes red; "": a schedule of the simulation does
    kinds: tuple[str, ...] = ()  # only schedules that break one of these show it; (): any may
    sql: bool = False  # only schedules with a recorder and a learner do

    @property
    def name(self) -> str:
        """Short, for people."""
        return f"{self.file}: {self.text.strip().splitlines()[0].strip()}"
