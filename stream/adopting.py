"""Which network reads along: one whose states in the store are whole. A newer one is filled beside it, and adopted between batches.

The states of a network that nobody has carried yet are made from the logged decisions, by a process of its own
(stream.filling_states). When that has come to the end of the log, the worker lets nothing be in hand for a moment, the
filler takes in what was decided last, and from the next batch on the new network answers. Until the first is
filled decisions rest on River. What other workers have in hand in that moment the new network never sees.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from features.store import FeatureStore, Source
from models.base import SequenceModel
from stream.sequence import SequencePart
from stream.timely import Timely
from stream.watch import Reading, counted

logger = logging.getLogger(__name__)

DROPPED_AFTER_SECONDS = 600.0
"""The states of a network that was replaced stay for so long: other workers may carry it still."""

Place = tuple[str, int]


class Offer(NamedTuple):
    """A network that is to read along."""

    network: str  # its id
    model: SequenceModel
    version: str


class Offers(Protocol):
    """Where networks come from."""

    def newest(self) -> Offer | None:
        """The one that is to be used by now."""
        ...

    def readings(self) -> Iterator[Reading]:
        """For metrics."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...


class Filling(Protocol):
    """Somebody who fills a network's states beside this process."""

    def ready(self) -> bool:
        """Whether it has come to the end of the log; starts it again if it died."""
        ...

    def finish(self) -> bool:
        """Take in what was decided by now; whether that is done. It ends then."""
        ...

    def stop(self) -> None:
        """End it; what it has filled stays."""
        ...


Begin = Callable[[Offer, Timely], SequencePart]
Fill = Callable[[Offer], Filling]


class Adopting:
    """The network of a worker's batches."""

    def __init__(
        self,
        offers: Offers,
        store: FeatureStore,
        *,
        entity: str,
        begin: Begin,
        fill: Fill,
        seconds: float,
        most_lag: int,
    ) -> None:
        """Carries the newest network at once if its states are whole, or nothing was ever applied to the store.

        Each step has so many `seconds`. A network that has seen all but `most_lag` records of what was applied reads them again.
        """
        self._offers, self._store, self._entity = offers, store, entity
        self._begin, self._fill = begin, fill
        self._seconds, self._most_lag = seconds, most_lag
        self._part: SequencePart | None = None
        self._timely: Timely | None = None
        self._filling: tuple[Offer, Filling] | None = None
        self._reached: dict[Place, int] = {}  # behind what was given to the store
        self._missed: dict[str, int] = {}  # of networks before this one
        if self.due:
            self.change()

    # --- between two batches

    @property
    def due(self) -> bool:
        """Whether something is to be done that takes nothing in hand: `change`. Costs next to nothing."""
        offer = self._offers.newest()
        if offer is None or (self._part is not None and self._part.network == offer.network):
            return False
        if self._filling is None or self._filling[0].network != offer.network:
            return True
        return self._filling[1].ready()

    def change(self) -> None:
        """Carry the newest network, if its states are whole or can be made so now; else have them filled.

        Nothing may be in hand, and all that was decided must be on the log.
        """
        offer = self._offers.newest()
        if offer is None:
            return
        self._store.carry(self._entity, offer.network)  # what follows is about this entity
        try:
            if self._filling is not None and self._filling[0].network == offer.network:
                self._adopt(offer, self._filling[1])
            elif self._is_whole(offer):
                self._carry(offer)
            else:
                self._begin_filling(offer)
        finally:
            self._store.carry(self._entity, self._part.network if self._part else None)

    def _is_whole(self, offer: Offer) -> bool:
        """Whether a network may go on from what the store has of it."""
        held = self._store.positions()
        if not held:
            self._store.adopt(offer.network)  # so that who dies before any state is stored is gone on with
            return True
        if not self._store.adopted(offer.network):
            return False
        return _lag(held, self._store.written(offer.network)) <= self._most_lag

    def _begin_filling(self, offer: Offer) -> None:
        if self._filling is not None:
            self._filling[1].stop()
        if self._store.adopted(offer.network):
            self._store.drop_states(offer.network)  # it was carried long ago, and has missed too much since
        logger.warning(
            "%s is filled with what the log has of each card; until then decisions rest on %s",
            *(offer.version, f"the network {self._part.network} and River" if self._part else "River"),
        )
        self._filling = offer, self._fill(offer)

    def _adopt(self, offer: Offer, filling: Filling) -> None:
        """What was applied and never decided on is decided first: the new network would never see it."""
        held = self._store.positions()
        if any(held.get(place, 0) > reached for place, reached in self._reached.items()):
            return
        if not filling.finish():
            return
        self._store.adopt(offer.network)
        self._filling = None
        self._carry(offer)

    def _carry(self, offer: Offer) -> None:
        old, self._timely = (self._part, self._timely), Timely(offer.model, self._seconds)
        self._part = self._begin(offer, self._timely)
        logger.warning("%s (network %s) reads along from now on", offer.version, offer.network)
        part, timely = old
        if timely is not None:
            for why, count in timely.missed.items():
                self._missed[why] = self._missed.get(why, 0) + count
            timely.close()
        if part is not None:
            dropping = threading.Timer(DROPPED_AFTER_SECONDS, self._drop, (part.network,))
            dropping.daemon = True
            dropping.start()

    def _drop(self, network: str) -> None:
        if self._part is None or self._part.network != network:
            self._store.drop_states(network)

    # --- a batch

    def under(self, store: FeatureStore, sources: Sequence[Source]) -> SequencePart | None:
        """The network of the next batch, which comes from here and is given to this store; None where there is none."""
        if store is not self._store:
            return None
        self._reached.update(((each.topic, each.partition), each.after) for each in sources)
        return self._part

    def written(self) -> dict[Place, int] | None:
        """How far the network that is carried has seen the log; None without one."""
        return self._store.written(self._part.network) if self._part is not None else None

    def readings(self) -> Iterator[Reading]:
        """What happened since the start, for metrics."""
        yield from self._offers.readings()
        missed = dict(self._missed)
        for why, count in self._timely.missed.items() if self._timely else ():
            missed[why] = missed.get(why, 0) + count
        yield from counted("weir_network_missed", missed, "reason")
        yield Reading("weir_states_refused", self._store.refused)
        yield Reading("weir_network_filling", int(self._filling is not None))
        if self._part is not None:
            yield Reading("weir_network_carried_info", 1, {"network": self._part.network})

    def close(self) -> None:
        """End who fills, and give back what is held."""
        if self._filling is not None:
            self._filling[1].stop()
        if self._timely is not None:
            self._timely.close()
        self._offers.close()


def _lag(held: dict[Place, int], written: dict[Place, int]) -> int:
    """Records that were applied and not seen."""
    return sum(max(0, at - written.get(place, 0)) for place, at in held.items())
