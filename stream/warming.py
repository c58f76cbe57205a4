"""From the generation that is live to the profile's own, which is filled meanwhile: decisions go on, and say what is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from features.generations import Generation, Live
from features.store import FeatureStore, Source
from stream.codec import Codec
from stream.filling import Filler, Open, fill_from_log, held_of
from stream.grounds import Basis, Ground
from stream.records import TP

logger = logging.getLogger(__name__)


class Filling(Protocol):
    """Somebody who fills a generation beside this process."""

    def done(self) -> bool:
        """Whether it has come to the end of the log; starts it again if it died."""
        ...

    def stop(self) -> None:
        """End it; what it has filled stays."""
        ...


class Mine(NamedTuple):
    """The profile's own generation while it is not live, and what is needed to bring it up."""

    generation: Generation
    store: FeatureStore
    live: Live
    codec: Codec
    open_log: Open


class Warming:
    """Decides on the generation that is live while the profile's own is filled, then on its own, which is live from then on.

    The change is between two batches. All that this worker decided before is applied to its own generation first: nothing
    is missing in it, and what it knows already counts no second time.
    """

    def __init__(self, borrowed: Ground, mine: Mine, filling: Filling, close: Callable[[], None]) -> None:
        """Begin on `borrowed` ground; `close` gives that back."""
        self.now = borrowed
        self._mine, self._filling, self._close = mine, filling, close
        self._settled = False
        self._reached: dict[
            TP, int
        ] = {}  # behind what was decided of each partition; none once it is brought up
        self._brought: set[TP] = set()

    def under(self, sources: Sequence[Source]) -> Ground:
        """The ground of the next batch; brings up the own generation where that is to be it."""
        if not self._settled and not self._filling.done():
            self._reached.update((TP(each.topic, each.partition), each.after) for each in sources)
            return self.now
        self._bring_up(sources)
        if not self._settled:
            self._settle()
        return self.now

    def _bring_up(self, sources: Sequence[Source]) -> None:
        """Apply what lies before a batch, and what was decided of other partitions, as far as it is missing."""
        firsts: dict[TP, int] = {}
        for each in sources:
            firsts.setdefault(TP(each.topic, each.partition), each.before)
        until = self._reached | firsts
        missing = {tp: end for tp, end in until.items() if tp not in self._brought}
        if not missing:
            return
        self._apply_up_to(missing)
        self._brought.update(missing)
        self._reached.clear()

    def _apply_up_to(self, ends: Mapping[TP, int]) -> None:
        mine = self._mine
        held = held_of(mine.store, ends)
        behind = {tp: end for tp, end in ends.items() if held[tp] < end}
        if not behind:
            return
        starts = {tp: held[tp] for tp in behind}
        with Filler(mine.store) as filler:
            fill_from_log(filler, mine.codec, mine.open_log, starts, held, behind)
        logger.info(
            "applied %d records that were decided on other features",
            sum(behind.values()) - sum(starts.values()),
        )

    def _settle(self) -> None:
        """From here on the own generation is live: a worker that starts now begins on it."""
        self._settled = True
        warming = self.now.basis.warming
        self._mine.live.swap(self._mine.generation)
        self.now = Ground(self._mine.store, Basis(self._mine.generation.version))
        logger.warning(
            "the features %s are filled, and live from now on: %s",
            *(self._mine.generation, ", ".join(warming) or "none of them was missing"),
        )

    def close(self) -> None:
        """End who fills it, and give back what was borrowed."""
        self._filling.stop()
        self._close()
