"""The process that fills a network's states, as the worker sees it: started, started again where it died, and told to finish."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

from stream.child import AGAIN_SECONDS
from stream.children import lower
from stream.filling_states import FINISH, READY

logger = logging.getLogger(__name__)

FINISH_SECONDS = 20.0
"""How long the last decisions may take to be read; beyond it the worker goes on, and asks again later."""


class StatesChild:
    """Runs ``weir fill-states`` at a lower priority than decisions; it dies with its parent (stream.adopting.Filling)."""

    def __init__(
        self,
        environment: Mapping[str, str],
        network: str,
        command: tuple[str, ...] = ("-m", "stream", "fill-states"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it at once for the network of this id, with these variables beside our own."""
        self._environment, self._clock = {**os.environ, **environment}, clock
        self._command = [sys.executable, *command, network]
        self._begin()

    def _begin(self) -> None:
        self._started, self._at_end = self._clock(), threading.Event()
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lower,
        )
        threading.Thread(target=_hear, args=(self._process, self._at_end), daemon=True).start()

    def ready(self) -> bool:
        """Whether it has come to the end of the log; starts it again if it died."""
        status = self._process.poll()
        if status is None:
            return self._at_end.is_set()
        if self._clock() - self._started > AGAIN_SECONDS:
            logger.error("who fills the network's states ended with status %d; it is started again", status)
            self._begin()
        return False

    def finish(self) -> bool:
        """Let it take in what was decided by now."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{FINISH}\n")
            self._process.stdin.flush()
            return self._process.wait(FINISH_SECONDS) == 0
        except (OSError, subprocess.TimeoutExpired) as error:
            logger.error("the network's states could not be brought up to the end of the log: %s", error)
            self.stop()
            return False

    def stop(self) -> None:
        """End it; what it has filled stays."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def _hear(process: subprocess.Popen[str], at_end: threading.Event) -> None:
    """Hear what it says, in a thread, until it ends."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == READY:
            at_end.set()
