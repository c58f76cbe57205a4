"""A child process that fills the profile's generation while its parent decides: the same as ``weir prime`` by hand.

A process, not a thread: decoding and packing a log takes a processor of its own, and in a thread it would take turns with the
decisions. It is of lower priority than they, and dies with its parent; what it has filled stays.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from stream.children import lower

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0
"""Between two starts: what keeps it from filling may heal, and says so in the log each time."""


class Beside:
    """A process of a lower priority than decisions, which is started again where it died; it dies with its parent."""

    what = ""
    """What it fills, for people."""

    def __init__(
        self,
        environment: Mapping[str, str],
        command: Sequence[str],
        clock: Callable[[], float],
        stream: int = subprocess.DEVNULL,
    ) -> None:
        """Start it at once, with these variables beside our own; it writes to our standard error.

        `stream` is what its standard input and output are.
        """
        self._environment, self._command, self._clock = {**os.environ, **environment}, command, clock
        self._stream = stream
        self._begin()

    def _begin(self) -> None:
        self._started = self._clock()
        self._process = subprocess.Popen(
            [sys.executable, *self._command],
            env=self._environment,
            stdin=self._stream,
            stdout=self._stream,
            text=True,
            preexec_fn=lower,
        )

    def _revive(self, status: int) -> None:
        """Start it again, unless it was started a moment ago; it ended with this status."""
        if self._clock() - self._started > AGAIN_SECONDS:
            logger.error("who fills %s ended with status %d; it is started again", self.what, status)
            self._begin()

    def stop(self) -> None:
        """End it; what it has filled stays."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Child(Beside):
    """Runs ``weir prime --no-swap`` until that has come to the end of the log (stream.grounds.Filling)."""

    what = "the features"

    def __init__(
        self,
        environment: Mapping[str, str],
        command: Sequence[str] = ("-m", "stream", "prime", "--no-swap"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it at once, with these variables beside our own."""
        self._done = False
        super().__init__(environment, command, clock)

    def done(self) -> bool:
        """Whether it has come to the end of the log; starts it again if it died."""
        if self._done:
            return True
        status = self._process.poll()
        if status == 0:
            self._done = True
        elif status is not None:
            self._revive(status)
        return self._done
