"""Long work shows how far it is: a bar on a terminal, a line now and then elsewhere, nothing when a program reads."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_SECONDS = 10.0


class Tracker(Protocol):
    """Told how far the work is."""

    def at(self, done: int, note: str = "") -> None:
        """`done` items are done; `note` says more."""
        ...


class Silent:
    """For programs: says nothing."""

    def at(self, done: int, note: str = "") -> None:
        """Say nothing."""


class Lines:
    """For logs: a line every LINE_SECONDS."""

    def __init__(self, title: str, total: int | None) -> None:
        """Count up to `total`, if it is known."""
        self._title = title
        self._total = f" of {total:,}" if total else ""
        self._next = time.monotonic() + LINE_SECONDS

    def at(self, done: int, note: str = "") -> None:
        """Write a line to stderr if the last is old enough."""
        if time.monotonic() >= self._next:
            sys.stderr.write(f"{self._title}: {done:,}{self._total} {note}\n")
            self._next = time.monotonic() + LINE_SECONDS


class Bar:
    """For people: a bar."""

    def __init__(self, progress: Progress, title: str, total: int | None) -> None:
        """Draw on `progress`."""
        self._progress = progress
        self._task = progress.add_task(title, total=total, note="")

    def at(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=done, note=note)


@contextmanager
def tracking(title: str, total: int | None, *, silent: bool = False) -> Iterator[Tracker]:
    """Show the progress of work of `total` items (None: unknown) while the block runs."""
    if silent:
        yield Silent()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(title, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress, title, total)
