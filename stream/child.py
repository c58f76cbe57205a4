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
from collections.abc import Callable, Mapping

from stream.children import lower

logger = logging.getLogger(__name__)

AGAIN_SECONDS = 30.0
"""Between two starts: what keeps it from filling may heal, and says so in the log each time."""


class Child:
    """Runs ``weir prime --no-swap`` until that has come to the end of the log (stream.grounds.Filling)."""

    def __init__(
        self,
        environment: Mapping[str, str],
        command: tuple[str, ...] = ("-m", "stream", "prime", "--no-swap"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it at once, with these variables beside our own; it writes to our standard error."""
        self._environment, self._command, self._clock = {**os.environ, **environment}, command, clock
        self._done = False
        self._process = self._start()
        self._started = clock()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *self._command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=lower,
        )

    def done(self) -> bool:
        """Whether it has come to the end of the log; starts it again if it died."""
        if self._done:
            return True
        status = self._process.poll()
        if status == 0:
            self._done = True
        elif status is not None and self._clock() - self._started > AGAIN_SECONDS:
            logger.error("who fills the features ended with status %d; it is started again", status)
            self._process, self._started = self._start(), self._clock()
        return self._done

    def stop(self) -> None:
        """End it; what it has filled stays."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
