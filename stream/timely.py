"""A network's step in time, or none at all: late, out of memory or broken, it holds no decision up and ends no process.

The step runs in a thread of its own. Where its time is over the batch is decided without it, and so is every batch behind
it until the thread is free: what it makes then is thrown away, since the states have gone on without it. A network that failed
is tried again after a pause. It comes back by itself, and reads first what it has missed (`SequenceModel.missing`). That takes
longer than what is new alone: where it is late again it gets fewer cards of a batch, and more again when it was in time.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future

from models.base import Advanced, DeviceFull, SequenceModel, Series

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 10.0
"""Until a network that failed is tried again, and until one that had to be given fewer cards is given all of them."""

WARM_SECONDS = 20.0
"""A device that is asked for the first time may take so long."""

SAID_EVERY_SECONDS = 60.0

LATE, BUSY, FAILED, PAUSED = "late", "busy", "failed", "paused"
REASONS = (LATE, BUSY, FAILED, PAUSED)

MENDS = {
    LATE: "give it more time (WEIR_NETWORK_DEADLINE_MS), this process more of the processor, or train a smaller network",
    FAILED: "see the error; one that fails with every batch is replaced by publishing another",
}


class Timely:
    """Stands before a network's `advance`."""

    def __init__(
        self, model: SequenceModel, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Give each step so many seconds."""
        self.missed: Counter[str] = Counter(dict.fromkeys(REASONS, 0))  # events, by why; for metrics
        self._model, self._seconds, self._clock = model, seconds, clock
        self._hand = Hand()
        self._running: Future[list[Advanced]] | None = None
        self._again_at = self._said_at = float("-inf")
        self._most, self._all_again_at = 0, 0.0  # cards that the device has memory for; 0: any number
        self._lates, self._fewer = 0, 0  # in a row; cards that it is asked for since then, 0: all of them
        self._away = 0  # events that were missed since it last answered

    def warm(self, seconds: float = WARM_SECONDS) -> None:
        """Let the network read one event of nobody: its first step takes longer than all others. Whatever comes of it."""
        nothing = [Series(b"", [(0.0,) * len(self._model.features)])]
        self._running = self._hand.ask(lambda: self._model.advance(nothing))
        futures.wait([self._running], seconds)

    def advance(self, cards: Sequence[Series]) -> list[Advanced | None]:
        """`SequenceModel.advance`, but None for each card for which there is nothing in time."""
        if self._running is not None and not self._running.done():
            return self._without(BUSY, cards)
        self._running = None
        if self._clock() < self._again_at:
            return self._without(PAUSED, cards)
        asked = cards[: self._fewer or len(cards)]
        return [*self._asked(asked), *self._without(LATE, cards[len(asked) :])]

    def _asked(self, cards: Sequence[Series]) -> Sequence[Advanced | None]:
        running = self._hand.ask(lambda: self._in_pieces(cards))
        try:
            made = running.result(self._seconds)
        except (
            TimeoutError
        ):  # of the wait; what the network itself raises is no different: it was not there in time
            self._running = running
            self._lates += 1
            if self._lates > 1:
                self._fewer = max(1, len(cards) // 2)
            self._say(LATE, f"took more than {1000 * self._seconds:g} ms for {len(cards)} cards")
            return self._without(LATE, cards)
        except Exception as error:  # noqa: BLE001 - whatever a network or its device raises, decisions go on
            self._again_at = self._clock() + PAUSE_SECONDS
            self._say(
                FAILED, f"failed ({type(error).__name__}: {error}), and rests for {PAUSE_SECONDS:g} s", error
            )
            return self._without(FAILED, cards)
        self._in_time(len(cards))
        return made

    def _in_time(self, cards: int) -> None:
        self._lates = 0
        self._fewer = 2 * self._fewer if self._fewer == cards else 0
        if self._away and not self._fewer:
            logger.warning("the network answers again; %d events were decided without it", self._away)
            self._away = 0

    def _in_pieces(self, cards: Sequence[Series]) -> list[Advanced]:
        """All cards at once, or half of them where the device has no memory for more, and so on."""
        if self._most and self._clock() >= self._all_again_at:
            self._most = 0
        made: list[Advanced] = []
        while len(made) < len(cards):
            piece = cards[len(made) : len(made) + (self._most or len(cards))]
            try:
                made += self._model.advance(piece)
            except DeviceFull:
                if len(piece) == 1:
                    raise
                self._most, self._all_again_at = len(piece) // 2, self._clock() + PAUSE_SECONDS
        return made

    def _without(self, why: str, cards: Sequence[Series]) -> list[Advanced | None]:
        events = sum(len(card.vectors) for card in cards)
        self.missed[why] += events
        self._away += events
        return [None] * len(cards)

    def _say(self, why: str, what: str, error: Exception | None = None) -> None:
        """Once a minute at most: a network that is away would fill the log with each batch."""
        now = self._clock()
        if now - self._said_at >= SAID_EVERY_SECONDS:
            self._said_at = now
            told = (
                "the network %s: decisions rest on River until it answers again (%d so far). What to do: %s"
            )
            logger.error(told, what, self._away, MENDS[why], exc_info=error)

    def close(self) -> None:
        """Let the thread end; one that hangs in a device ends with the process."""
        self._hand.close()


class Hand:
    """A thread that does one thing after the other. The process does not wait for it at its end, unlike for an executor's."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[tuple[Future[list[Advanced]], Callable[[], list[Advanced]]] | None]
        self._asked = queue.SimpleQueue()
        threading.Thread(target=self._work, name="network", daemon=True).start()

    def ask(self, call: Callable[[], list[Advanced]]) -> Future[list[Advanced]]:
        """What comes of a call."""
        future: Future[list[Advanced]] = Future()
        self._asked.put((future, call))
        return future

    def close(self) -> None:
        """Do nothing more after what was asked."""
        self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            future, call = asked
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)
            del asked, future, call
