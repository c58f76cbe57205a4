"""On which generation of features a scorer begins: its profile's own, or the live one until its own is filled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from features import redis_generations
from features.absent import Absent
from features.borrowed import Borrowed
from features.generations import Generation
from features.profile import Profile
from features.redis_generations import RedisLive
from features.store import FeatureStore
from stream import bootstrap, snapshots
from stream.broker import progress_for, reader_for
from stream.child import Child
from stream.codec import Codec
from stream.config import Config
from stream.decisions import LABELS, TRANSACTIONS
from stream.grounds import DEGRADED, NO_STATE, Basis, Ground, Grounds, Settled
from stream.rates import Rates
from stream.records import TP, Progress
from stream.warming import Mine, Warming

logger = logging.getLogger(__name__)


def grounds(config: Config, profile: Profile, store: FeatureStore, rates: Rates | None = None) -> Grounds:
    """The profile's own generation, if it is live or nothing better is: else the live one, until its own is filled.

    Where Redis has lost everything the newest snapshot is put back first. Where the log behind it is long all the same
    decisions rest on no store until it is filled, and say so. What is filled is converted by `rates`.
    """
    codec = bootstrap.codec_of(config, profile, rates)
    mine = redis_generations.generation_of(profile)
    url, closing = bootstrap.redis_for(config)
    live = redis_generations.RedisLive(url, bootstrap.store_name(config))
    snapshots.put_back(config, url, live, mine)
    live.claim(mine)
    other = live.read()

    def close() -> None:
        live.close()
        closing()

    if other is not None and other != mine and (other.format, other.mapping) == (mine.format, mine.mapping):
        return _warming(config, profile, store, codec, live, _borrowed(config, profile, other), close)
    live.swap(mine)
    behind = lost(config, store.positions())
    if behind > config.wait_records:
        logger.warning(
            "the feature store lacks %d records of the log that were decided, more than WEIR_WAIT_RECORDS (%d): decisions "
            "are degraded until it is filled again",
            *(behind, config.wait_records),
        )
        return _warming(config, profile, store, codec, live, _without(config, profile), close)
    close()
    return Settled(Ground(store, Basis(mine.version)))


def _borrowed(config: Config, profile: Profile, other: Generation) -> Ground:
    """The live generation, of another profile."""
    held, _ = bootstrap.features(config, msgspec.structs.replace(profile, features=other.features))
    borrowed = Borrowed(held, other.features, profile.features)
    logger.warning(
        "the features %s are live, and those of the profile, %s, are filled meanwhile; until then decisions lack %s",
        *(other, profile.features_version, ", ".join(borrowed.unknown) or "none of them"),
    )
    return Ground(borrowed, Basis(other.version, borrowed.unknown))


def _without(config: Config, profile: Profile) -> Ground:
    """No store at all; what was decided is taken for applied, so that decisions go on behind it."""
    progress = progress_for(config.broker, config.kafka)
    absent = Absent(lambda: {(tp.topic, tp.partition): at for tp, at in committed(config, progress).items()})
    borrowed = Borrowed(absent, Absent.of(profile.features), profile.features)
    return Ground(borrowed, Basis(NO_STATE, borrowed.unknown, DEGRADED))


def _warming(
    config: Config,
    profile: Profile,
    store: FeatureStore,
    codec: Codec,
    live: RedisLive,
    ground: Ground,
    close: Callable[[], None],
) -> Warming:
    def close_all() -> None:
        ground.store.close()
        close()

    read = partial(reader_for, config.broker, security=config.kafka)
    own = Mine(redis_generations.generation_of(profile), store, live, codec, read)
    return Warming(ground, own, Child(config.environment()), close_all)


def committed(config: Config, progress: Progress) -> dict[TP, int]:
    """By partition: up to where the score workers' group has decided."""
    group = bootstrap.group_of(config, "score")
    topics = [config.topic(name) for name in (TRANSACTIONS, LABELS)]
    return {TP(topic, part): at for topic in topics for part, at in progress.committed(group, topic).items()}


def lost(config: Config, held: Mapping[tuple[str, int], int]) -> int:
    """How many records were decided that a store does not hold (any more), which holds each partition up to here."""
    decided = committed(config, progress_for(config.broker, config.kafka))
    return sum(max(0, at - held.get((tp.topic, tp.partition), 0)) for tp, at in decided.items())
