"""The process that fills a network's states, as the worker sees it: started, started again where it died, and told to finish."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from stream.child import Beside
from stream.filling_states import FINISH, READY

logger = logging.getLogger(__name__)

FINISH_SECONDS = 20.0
"""How long the last decisions may take to be read; beyond it the worker goes on, and asks again later."""


class StatesChild(Beside):
    """Runs ``weir fill-states`` at a lower priority than decisions; it dies with its parent (stream.adopting.Filling)."""

    what = "the network's states"

    def __init__(
        self,
        environment: Mapping[str, str],
        network: str,
        command: Sequence[str] = ("-m", "stream", "fill-states"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it at once for the network of this id, with these variables beside our own."""
        super().__init__(environment, (*command, network), clock, subprocess.PIPE)

    def _begin(self) -> None:
        super()._begin()
        self._at_end = threading.Event()
        threading.Thread(target=_hear, args=(self._process, self._at_end), daemon=True).start()

    def ready(self) -> bool:
        """Whether it has come to the end of the log; starts it again if it died."""
        status = self._process.poll()
        if status is None:
            return self._at_end.is_set()
        self._revive(status)
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


def _hear(process: subprocess.Popen[str], at_end: threading.Event) -> None:
    """Hear what it says, in a thread, until it ends."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == READY:
            at_end.set()
