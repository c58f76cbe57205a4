"""How far the profile's features are filled, where they are not live yet: for people who ask."""

from __future__ import annotations

from typing import NamedTuple

from features.borrowed import unknown_to
from features.profile import Profile
from features.redis_generations import RedisLive, generation_of
from stream import bootstrap
from stream.config import Config
from stream.decisions import LABELS, TRANSACTIONS
from stream.embedded.server import running
from stream.extents import extents


class Filled(NamedTuple):
    """A generation that is not live, and how much of the log it holds."""

    generation: str  # FORMAT:VERSION
    live: str  # that of the one that is
    lacking: tuple[str, ...]  # features that decisions lack until it is live
    held: int  # records of the log
    log: int  # ... of so many

    def __str__(self) -> str:
        """For people."""
        return (
            f"the features {self.generation} are filled beside the live ones, {self.live}: "
            f"{self.held:,} of {self.log:,} records of the log ({self.held / max(self.log, 1):.0%}). Until then decisions "
            f"lack {', '.join(self.lacking) or 'none of them'}"
        )


def lacking(config: Config, profile: Profile) -> int:
    """How many records that were decided the profile's generation lacks, where it is live. Changes nothing.

    Raises what Redis and the log raise.
    """
    from stream.settling import lost

    url = config.redis or running(bootstrap.redis_directory(config))
    if url is None:
        return 0
    mine, live = generation_of(profile), RedisLive(url, bootstrap.store_name(config))
    try:
        return lost(config, live.held(mine)) if live.read() == mine else 0
    finally:
        live.close()


def filled(config: Config, profile: Profile) -> Filled | None:
    """How far the profile's generation is; None where it is live, or nothing is. Changes nothing.

    Raises what Redis and the log raise.
    """
    url = config.redis or running(bootstrap.redis_directory(config))
    if url is None:
        return None
    mine, live = generation_of(profile), RedisLive(url, bootstrap.store_name(config))
    try:
        other = live.read()
        if other is None or other == mine:
            return None
        held = live.held(mine)
    finally:
        live.close()
    found = extents(config, (TRANSACTIONS, LABELS))
    return Filled(
        str(mine),
        str(other),
        unknown_to(other.features, profile.features),
        sum(max(0, min(held.get(tp, 0), end) - first) for tp, (first, end) in found.items()),
        sum(end - first for first, end in found.values()),
    )
