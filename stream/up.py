"""The supervisor behind ``weir up``: starts every part, restarts what dies, and stops all of it within seconds."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from stream.children import die_with_parent

STOP_SECONDS = 7.0
"""How long a part may take to end by itself before it is killed: within the ten seconds that we promise."""

BACKOFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before the restarts of a part that keeps dying."""

STEADY_SECONDS = 60.0
"""A part that lived so long is well: its next death starts the backoff anew."""


class AlreadyUp(Exception):
    """Another ``weir up`` runs in the same directory."""


class Part:
    """One child process, restarted when it dies unasked."""

    def __init__(
        self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Describe the part; `start` starts it. Its output goes to the end of the file `log`."""
        self.name = name
        self._arguments = [sys.executable, "-m", "stream", *arguments]
        self._environment = {**os.environ, **environment}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._deaths = 0
        self._restart_at = 0.0

    def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._arguments,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self._started = time.monotonic()

    def check(self) -> str | None:
        """Restart the part if it died and its pause is over; a line for people when something happened."""
        if self._process is None:
            return self._restart_if_due()
        status = self._process.poll()
        if status is None:
            return None
        self._process = None
        return self._schedule_restart(status)

    def _schedule_restart(self, status: int) -> str:
        now = time.monotonic()
        self._deaths = 1 if now - self._started > STEADY_SECONDS else self._deaths + 1
        pause = BACKOFF_SECONDS[min(self._deaths, len(BACKOFF_SECONDS)) - 1]
        self._restart_at = now + pause
        return f"{self.name} ended {_how(status)}; starting it again in {pause:g} s. {self._last_words()}"

    def _restart_if_due(self) -> str | None:
        if time.monotonic() < self._restart_at:
            return None
        self.start()
        return f"{self.name} is started again"

    def _last_words(self) -> str:
        lines = [line for line in _tail(self._log) if line.strip()]
        return f"Its last line: {lines[-1].strip()[:300]} (all of it: {self._log})" if lines else ""

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process else None

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait until `deadline` on the monotonic clock, then kill."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class Supervisor:
    """Keeps parts running until it is told to stop."""

    def __init__(self, parts: Sequence[Part], say: Callable[[str], None]) -> None:
        """Supervise `parts`; they start in this order and stop in the reverse one."""
        self.parts = parts
        self._say = say
        self._stopping = False

    def stop_on_signals(self) -> None:
        """SIGINT and SIGTERM end `run`."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def start(self) -> None:
        """Start every part."""
        for part in self.parts:
            part.start()

    def run(self, tick: Callable[[], None] | None = None, seconds: float = 0.2) -> None:
        """Watch the parts, calling `tick` in between, until a signal asks for the end; then stop them all."""
        try:
            while not self._stopping:
                for part in self.parts:
                    if line := part.check():
                        self._say(line)
                if tick:
                    tick()
                time.sleep(seconds)
        finally:
            self.stop()

    @property
    def stopping(self) -> bool:
        """Whether the end was asked for."""
        return self._stopping

    def stop(self) -> None:
        """End every part, all at once, within STOP_SECONDS."""
        for part in reversed(self.parts):
            part.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for part in reversed(self.parts):
            part.wait(deadline)


def hold_directory(directory: Path) -> IO[str]:
    """Take the lock of `directory`, which dies with this process; raises AlreadyUp with the holder's pid."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = (directory / "up.lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise AlreadyUp(
            f"another `weir up` (pid {holder}) runs in {directory}; stop it, or choose another --dir"
        ) from None
    lock.seek(0)
    lock.truncate()
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _how(status: int) -> str:
    if status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"


def _tail(path: Path, size: int = 4096) -> list[str]:
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode(errors="replace").splitlines()
