"""Opens where a training's rows come from: the file that is named, or else the decisions in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from features.profile import Profile
from features.sequence_settings import SequenceSettings
from features.store import InMemoryFeatureStore
from stream import bootstrap
from stream.config import Config
from stream.files import EventFile
from stream.gather import Gathered, GatherError, from_file, from_log
from stream.rates import converter
from stream.review.ledger import Ledger
from stream.review.logged import Past

Told = Callable[[int], None]
"""Called with how many rows or decisions were read."""


def rows_of_file(
    config: Config,
    profile: Profile,
    settings: SequenceSettings,
    events: EventFile,
    until_us: int | None,
    told: Told,
) -> Gathered:
    """The rows of a file of history, with the features that a replay of it gives. Raises FileError and GatherError."""
    store = InMemoryFeatureStore(profile.features, hash_key=bootstrap.sealer(config).hash_key())
    return from_file(events, store, profile.features, settings, until_us, told)


def rows_of_ledger(
    config: Config, profile: Profile, settings: SequenceSettings, until_us: int | None, told: Told
) -> Gathered:
    """The rows of the decisions that were recorded, all of them or those before `until_us`. Raises LedgerError and GatherError."""
    ledger = Ledger.open(config.database)
    try:
        past = Past(ledger.engine)
        newest_us = past.clock_us()
        if newest_us is None:
            raise GatherError("no decision is recorded here yet: name a FILE of history, or wait for some")
        return from_log(
            past, profile.features, settings, newest_us + 1 if until_us is None else until_us, told
        )
    finally:
        ledger.close()


def history(
    file: Path,
    profile: Profile,
    label_delay_us: int,
    from_us: int | None,
    until_us: int | None,
    rates: Path | None = None,
) -> EventFile:
    """The events of a file before `until_us`, and their labels, as a replay with these `rates` reads them.

    Raises FileError, and ConfigError where the profile converts and no rates are named, or the other way round.
    """
    return EventFile(
        file,
        profile,
        label_delay_us=label_delay_us,
        from_us=from_us,
        until_us=until_us,
        converted=converter(profile, rates),
    )
