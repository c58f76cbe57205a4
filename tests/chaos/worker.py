"""A worker that is started again whenever it ends unasked, as a supervisor would, and that can be broken meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from stream.children import die_with_parent
from stream.crash_points import VARIABLE

NURSERY = multiprocessing.get_context("forkserver")
"""Workers are forked from a process that has imported what they need and done nothing: a life begins in .2 s, not in 3."""

NEW = multiprocessing.get_context("spawn")

NURSERY.set_forkserver_preload(
    [
        "stream.cli",
        "stream.cli_run",
        "stream.app",
        "stream.kafka",
        "models.incremental",
        "features.redis_store",
    ]
)

POISON = "WEIR_CHAOS_POISON"
"""In a worker's environment: "raise:EVENT" or "kill:EVENT"."""

PAUSE_SECONDS = 0.3
STOP_SECONDS = 30.0


class Worker:
    """One role's process after the other, with one output."""

    nursery = True
    """Whether lives are forked, or begin as a user's do, with a new interpreter."""

    def __init__(
        self, role: str, environment: Mapping[str, str], output: Path, crashes: Sequence[str] = ()
    ) -> None:
        """Each of the first lives ends at its crash point ("score.sent:2:KILL"), if it gets there."""
        self.role, self.output, self.ends = role, output, list[int]()
        self._environment, self._crashes = dict(environment), list(crashes)
        self._process: multiprocessing.process.BaseProcess | None = None
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> Worker:
        """Start the first life."""
        self._spawn()
        self._keeper.start()
        return self

    def _spawn(self) -> None:
        environment = dict(self._environment)
        if self._crashes:
            environment[VARIABLE] = self._crashes.pop(0)
        kind = NURSERY.Process if self.nursery else NEW.Process
        process = kind(target=live, args=(self.role, environment, self.output))
        process.start()
        self._process = process

    def _keep(self) -> None:
        while not self._stopping.wait(0.02):
            status = self._process.exitcode
            if status is not None:
                self.ends.append(status)
                if not self._stopping.wait(PAUSE_SECONDS):
                    self._spawn()

    @property
    def pid(self) -> int:
        """The process of the life that goes on, or of the last one."""
        return self._process.pid

    @property
    def crashes_left(self) -> int:
        """Lives still to come that are to end at a point."""
        return len(self._crashes)

    def send(self, number: signal.Signals) -> None:
        """Send the life that goes on a signal; nothing if it has just ended."""
        process = self._process
        if process is not None and process.exitcode is None:
            os.kill(process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it for good; gives its exit status."""
        self._stopping.set()
        self._keeper.join()
        self.send(signal.SIGCONT)
        self.send(number)
        self._process.join(STOP_SECONDS)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        return self._process.exitcode

    def text(self) -> str:
        """All that it said."""
        return self.output.read_text(errors="replace") if self.output.exists() else ""


def live(role: str, environment: Mapping[str, str], output: Path) -> None:
    """A worker's life, in a process of its own: as ``python -m stream worker --role ROLE``."""
    die_with_parent()  # which is the nursery, and ends with the run
    os.environ.clear()
    os.environ.update(environment)
    with output.open("ab", buffering=0) as file:
        for number in (sys.stdout.fileno(), sys.stderr.fileno()):
            os.dup2(file.fileno(), number)
    if event := environment.get(POISON):
        poisoned(*event.split(":", 1))
    from stream.cli import main

    main(["worker", "--role", role])


def poisoned(how: str, event_id: str) -> None:
    """An event at which this process raises what nobody expected, or ends, once the store has applied it."""
    from stream.pipeline import Pipeline

    answer = Pipeline.answer

    def answering(pipeline, events, *more):
        if any(event.event_id == event_id and not hasattr(event, "label_id") for event in events):
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("nobody expected this event")
        return answer(pipeline, events, *more)

    Pipeline.answer = answering


def eventually(condition, what: str, seconds: float = 300.0, pause: float = 0.05):
    """Wait for a condition, and give its value; raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not happen in {seconds:g} s: {what}")
        time.sleep(pause)
    return value
