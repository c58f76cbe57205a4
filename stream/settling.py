"""On which generation of features a scorer begins: its profile's own, or the live one until its own is filled."""

from __future__ import annotations

import logging
from functools import partial

import msgspec

from features import redis_generations
from features.borrowed import Borrowed
from features.profile import Profile
from features.store import FeatureStore
from stream import bootstrap, snapshots
from stream.broker import reader_for
from stream.child import Child
from stream.config import Config
from stream.grounds import Basis, Ground, Grounds, Settled
from stream.warming import Mine, Warming

logger = logging.getLogger(__name__)


def grounds(config: Config, profile: Profile, store: FeatureStore) -> Grounds:
    """The profile's own generation, if it is live or nothing better is: else the live one, until its own is filled."""
    mine = redis_generations.generation_of(profile)
    url, closing = bootstrap.redis_for(config)
    live = redis_generations.RedisLive(url, bootstrap.store_name(config))
    snapshots.put_back(config, url, live, mine)
    live.claim(mine)
    other = live.read()
    if other == mine or other is None or (other.format, other.mapping) != (mine.format, mine.mapping):
        live.swap(mine)
        live.close()
        closing()
        return Settled(Ground(store, Basis(mine.version)))
    held, close = bootstrap.features(config, msgspec.structs.replace(profile, features=other.features))
    borrowed = Borrowed(held, other.features, profile.features)
    logger.warning(
        "the features %s are live, and those of the profile, %s, are filled meanwhile; until then decisions lack %s",
        *(other, mine, ", ".join(borrowed.unknown) or "none of them"),
    )

    def close_all() -> None:
        close()
        live.close()
        closing()

    return Warming(
        Ground(borrowed, Basis(other.version, borrowed.unknown)),
        Mine(
            mine,
            store,
            live,
            bootstrap.codec_of(config, profile),
            partial(reader_for, config.broker, security=config.kafka),
        ),
        Child(config.environment()),
        close_all,
    )
