"""One learner works, and a second stands by: a lease with a number that grows with every take-over.

No clock is compared with another. Who works beats: it counts up. Who stands by takes over once the count has stood still
for SILENT_SECONDS of its own time. Whoever was thought dead and wakes up finds another number than its own, in its next
beat and in the transaction of its next checkpoint, which is refused; then it ends.

Learners of one WEIR_DIR wait for a file lock first, which dies with its process: so one that was killed there is followed
at once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, NoReturn, Protocol

import msgspec

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
SILENT_SECONDS = 4.5
"""Some beats may come late: a database that restarts is back within this."""

LOOK_SECONDS = 0.5

LOCK_FILE = "learner.lock"
"""In WEIR_DIR; it holds the name of the place."""

LOST = 70
"""Exit status of a learner that lost its lease: that of any fault, so that it is started again, and stands by then."""


class LeaseLost(RuntimeError):
    """Another learner took over: this one keeps nothing more, and has to end."""


class Held(msgspec.Struct, frozen=True):
    """A lease as it was seen."""

    token: int
    beat: int
    holder: str | None  # None: given back


class Leases(Protocol):
    """Where the lease is kept (stream.review.leases)."""

    def look(self) -> Held | None:
        """The lease as it is; None before the first."""
        ...

    def take(self, seen: Held | None, holder: str) -> int | None:
        """Take the lease if it still is as it was seen; gives the new token, or None."""
        ...

    def beat(self, token: int) -> bool:
        """Count up; False if the lease is another's now."""
        ...

    def give_back(self, token: int) -> None:
        """Let the next one take over at once, if the lease still is ours."""
        ...


class Place:
    """Where a learner runs: learners of one directory come one after the other."""

    def __init__(self, directory: Path) -> None:
        """Wait until no other learner of this directory lives."""
        directory.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = (directory / LOCK_FILE).open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("standing by: another learner of %s works", directory)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._lock.seek(0)
        name = self._lock.read().strip()
        if not name:
            name = f"{socket.gethostname()}/{secrets.token_hex(8)}"
            self._lock.write(name + "\n")
            self._lock.flush()
        self.name = name
        self.holder = f"{name} pid {os.getpid()}"

    def held(self, lease: Held) -> bool:
        """Whether the lease was taken from here: by one that is dead, since we live."""
        return lease.holder is not None and lease.holder.partition(" ")[0] == self.name

    def close(self) -> None:
        """Let the next one in."""
        self._lock.close()


def stand_by(
    leases: Leases,
    place: Place,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Wait until the lease is ours; gives its token."""
    seen, since = leases.look(), clock()
    told = False
    while True:
        free = seen is None or seen.holder is None or place.held(seen)
        if free or clock() - since >= SILENT_SECONDS:
            token = leases.take(seen, place.holder)
            if token is not None:
                return token
        elif not told:
            logger.warning("standing by: the learner %s works", seen.holder if seen else "")
            told = True
        sleep(LOOK_SECONDS)
        now = leases.look()
        if now != seen:
            seen, since = now, clock()


class Heart:
    """Beats in a thread until it is stopped; when the lease is another's the process ends at once."""

    def __init__(self, leases: Leases, token: int, lost: Callable[[], None] | None = None) -> None:
        """`lost` is called when the lease is another's; without it the process ends."""
        self._leases, self._token = leases, token
        self._lost = lost or _end
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        failed = False
        while not self._stopping.wait(BEAT_SECONDS):
            try:
                if not self._leases.beat(self._token):
                    self._lost()
                    return
                failed = False
            except Exception as error:  # noqa: BLE001 - the lease is ours until another has taken it
                if not failed:
                    logger.warning("the lease cannot be kept up now: %s", error)
                failed = True

    def stop(self) -> None:
        """Give the lease back: the next one may take over at once."""
        self._stopping.set()
        self._thread.join(BEAT_SECONDS)
        try:
            self._leases.give_back(self._token)
        except Exception as error:  # noqa: BLE001 - it is taken over after SILENT_SECONDS, too
            logger.warning("the lease was not given back: %s", error)


def stop_standing_by_on_signals() -> None:
    """Let SIGTERM and SIGINT end a learner that only stands by: it has nothing in hand."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(0)


def _end() -> NoReturn:
    logger.error(
        "another learner took over while this one did not answer: it ends; what it had not kept is learned there"
    )
    logging.shutdown()
    os._exit(LOST)
