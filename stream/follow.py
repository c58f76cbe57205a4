"""Following the topic `models` beside a role's work: a thread that reads it, so that no chunk waits for a snapshot."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from stream.records import Record, Tail

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
"""After a read that failed."""

STOP_SECONDS = 5.0


class Audience(Protocol):
    """Takes in what stands on the topic. Called by one thread at a time."""

    def begin(self) -> None:
        """The topic is read from its beginning now."""
        ...

    def take(self, records: Sequence[Record]) -> None:
        """The next records, in order."""
        ...

    def again(self) -> bool:
        """Whether the topic has to be read from its beginning, since what was refused before may count now."""
        ...


class Follower:
    """Reads a topic to its end, and then follows it in a thread until it is closed."""

    def __init__(self, open_tail: Callable[[], Tail], audience: Audience) -> None:
        """`start` begins; `open_tail` is called once, and raises what keeps the topic from being read."""
        self._open_tail = open_tail
        self._audience = audience
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="models", daemon=True)

    def start(self) -> None:
        """Read all that is there, then return and go on in the thread; raises what the log raises."""
        self._tail = self._open_tail()
        self._to_the_end()
        self._thread.start()

    def read_all(self) -> None:
        """Read all that is there, and no more; raises what the log raises."""
        self._tail = self._open_tail()
        try:
            self._to_the_end()
        finally:
            self._tail.close()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _to_the_end(self) -> None:
        """All of it at once: of many snapshots only the newest is to be loaded."""
        self._audience.begin()
        found: list[Record] = []
        while not self._tail.at_end() and not self._stopping.is_set():
            found += self._tail.read()
        self._audience.take(found)

    def _follow(self) -> None:
        """Whatever goes wrong, what was taken stays, and it is tried again: a model can't take the stream down."""
        failed = False
        while not self._stopping.is_set():
            try:
                if failed or self._audience.again():
                    self._tail.rewind()
                    self._to_the_end()
                    failed = False
                if records := self._tail.read():
                    self._audience.take(records)
            except Exception as error:  # noqa: BLE001 - told, and tried again
                if not failed:
                    logger.warning(
                        "the topic of models cannot be followed now, the champion stays: %s", error
                    )
                failed = True
                self._stopping.wait(RETRY_SECONDS)
        self._tail.close()
