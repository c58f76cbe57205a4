"""The outbox: verdicts go to the log, in order, at least once; a crash in between sends the same label again."""

from __future__ import annotations

import logging
import threading

from stream.records import Publisher
from stream.review.queue import ReviewQueue

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often unsent verdicts are looked for, besides after each verdict: another process may have died on one."""


class Outbox:
    """Publishes unsent verdicts from a thread of its own."""

    def __init__(self, queue: ReviewQueue, publisher: Publisher, topic: str) -> None:
        """Send to `topic`."""
        self._queue = queue
        self._publisher = publisher
        self._topic = topic
        self._wake = threading.Event()
        self._stopping = False
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def poke(self) -> None:
        """A verdict was given."""
        self._wake.set()

    def stop(self) -> None:
        """Send what there is and end."""
        self._stopping = True
        self._wake.set()
        self._thread.join()

    def flush(self) -> int:
        """Send all unsent verdicts; gives how many. Raises what the publisher raises, and then marks nothing."""
        total = 0
        while unsent := self._queue.unsent():
            self._publisher.publish(self._topic, [record for _, record in unsent])
            self._queue.sent([number for number, _ in unsent])
            total += len(unsent)
        return total

    def _run(self) -> None:
        while True:
            self._wake.wait(LOOK_SECONDS)
            self._wake.clear()
            try:
                self.flush()
            except Exception:
                self.failures += 1
                logger.exception("verdicts could not be sent; they stay in the outbox and are tried again")
            if self._stopping:
                return
