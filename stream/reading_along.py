"""Builds what a network needs to read along: live (stream.adopting), in a replay, and where its states are filled.

Torch takes seconds to import: only where there is a network is it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from features.events import Transaction
from features.profile import Profile
from features.store import FeatureStore, InMemoryFeatureStore
from stream import bootstrap
from stream.adopting import Adopting, Offer
from stream.broker import tail_for
from stream.champion import champion_from_file
from stream.child_states import StatesChild
from stream.config import NO_NETWORK, Config, ConfigError
from stream.decisions import DECISIONS, TRANSACTIONS
from stream.filling_states import Logged, Reveal, StateFiller, run
from stream.history import History
from stream.networks import Networks, SequenceFeed, fitting
from stream.review.ledger import Ledger
from stream.review.people import People
from stream.sequence import SequencePart, Step
from stream.timely import Timely
from stream.watch import Reading


class Folder:
    """One network for ever: that of a folder (stream.adopting.Offers)."""

    def __init__(self, offer: Offer) -> None:
        """This one."""
        self._offer = offer

    def newest(self) -> Offer | None:
        """The same, each time."""
        return self._offer

    def readings(self) -> Iterator[Reading]:
        """For metrics."""
        yield Reading(
            "weir_network_info", 1, {"version": self._offer.version, "network": self._offer.network}
        )

    def close(self) -> None:
        """Nothing is held."""


class Topic:
    """The newest usable network on the topic `models` (stream.adopting.Offers)."""

    def __init__(self, feed: SequenceFeed) -> None:
        """Whatever `feed` says."""
        self._feed = feed
        self.readings, self.close = feed.readings, feed.close

    def newest(self) -> Offer | None:
        """The one that reigns."""
        found = self._feed.newest()
        return Offer(found.manifest.network, found.scorer, found.version) if found else None


def adopting(config: Config, profile: Profile, store: FeatureStore) -> Adopting | None:
    """What reads along in a worker; None where the profile has no network, and none is named. Raises ArtifactError."""
    if config.network == NO_NETWORK or (config.network is None and profile.sequence is None):
        return None
    writing = threading.Lock()

    def begin(offer: Offer, timely: Timely) -> SequencePart:
        from models.batched import on_one_thread

        on_one_thread()
        timely.warm()
        return _part(profile, store, offer, writing, timely.advance)

    return Adopting(
        offers(config, profile),
        store,
        entity=_entity(profile),
        begin=begin,
        fill=lambda offer: StatesChild(config.environment(), offer.network),
        seconds=config.network_deadline_ms / 1000,
        most_lag=config.wait_records,
    )


def offers(config: Config, profile: Profile) -> Folder | Topic:
    """The network that is named, or those that are published."""
    if config.network:
        return Folder(_of_folder(config, profile))
    networks = Networks(
        bootstrap.trusted_keys(config),
        profile.features.hashes,
        _entity(profile),
        device=config.network_device,
    )
    return Topic(SequenceFeed(bootstrap.models_tail(config), networks))


def _of_folder(config: Config, profile: Profile) -> Offer:
    from models.artifact import Artifact

    artifact = Artifact.read(Path(str(config.network)))
    scorer = fitting(artifact, profile.features.hashes, _entity(profile), device=config.network_device)
    return Offer(artifact.manifest.network, scorer, f"{artifact.manifest.name} in {config.network}")


def _entity(profile: Profile) -> str:
    """Whose events come in order: the entity that the stream is partitioned by. Raises ConfigError where there is none."""
    if profile.partition_by is None:
        raise ConfigError(
            f"a network reads each card's events in order, and the profile {profile.name} has no [stream] partition_by"
        )
    return profile.partition_by


def _part(
    profile: Profile,
    store: FeatureStore,
    offer: Offer,
    writing: AbstractContextManager[object],
    step: Step | None = None,
) -> SequencePart:
    name = _entity(profile)
    return SequencePart(
        offer.network,
        offer.model,
        store,
        entity=(profile.entities.index(name), name),
        names=profile.features.names,
        writing=writing,
        step=step,
    )


def replayed(config: Config, profile: Profile, *, scores: Path | None, decisions: Path | None) -> History:
    """A replay of history: the same pipeline over the store in memory, pinned or learning, with the network that is named."""
    keys = bootstrap.sealer(config)
    pinned = None
    if config.model:
        pinned = champion_from_file(Path(config.model), profile.features_version, profile.features.hashes)
    store = InMemoryFeatureStore(profile.features, hash_key=keys.hash_key())
    network = None
    if config.network not in (None, NO_NETWORK):
        network = _part(profile, store, _of_folder(config, profile), nullcontext())
    return History(
        profile,
        store,
        None if pinned else bootstrap.new_learner(profile),
        pinned,
        bootstrap.emitter(profile, keys),
        network,
        scores=scores,
        decisions=decisions,
    )


# --- filling


def fill_states(config: Config, network: str) -> None:
    """Fill the states of the network of this id until that is to be finished. Raises ConfigError where another is newest."""
    profile = bootstrap.profile_of(config)
    source = offers(config, profile)
    offer = source.newest()
    source.close()
    if offer is None or offer.network != network:
        raise ConfigError(f"the network {network} is not the newest one any more")
    store, closing = bootstrap.features(config, profile)
    store.carry(_entity(profile), network)
    tail = tail_for(config.broker, config.topic(DECISIONS), config.kafka)
    reveal, done = _reveal(config, profile)
    try:
        run(StateFiller(store, network, offer.model, reveal), tail)
    finally:
        done()
        tail.close()
        closing()


def _reveal(config: Config, profile: Profile) -> tuple[Reveal, bootstrap.Closing]:
    entity = _entity(profile)
    if entity not in profile.personal:
        return lambda some: [each.entities.get(entity, "") for each in some], lambda: None
    people = Values(config, profile, entity)
    return people.reveal, people.close


class Values:
    """The values of a personal entity, by the keyed hashes that decisions have: from the events, which come before them."""

    def __init__(self, config: Config, profile: Profile, entity: str) -> None:
        """Reads the topic `transactions` as far as is needed."""
        self._place, self._entity = profile.entities.index(entity), entity
        self._rates = bootstrap.rates_for(config, profile)
        self._codec = bootstrap.codec_of(config, profile, self._rates)
        self._tail = tail_for(config.broker, config.topic(TRANSACTIONS), config.kafka)
        self._pseudonym = bootstrap.sealer(config).pseudonym
        self._known: dict[str, str] = {}
        self._forgotten = _forgotten(config, profile)

    def reveal(self, some: Sequence[Logged]) -> Sequence[str]:
        """The values of decisions; "" for one whose events have left the log, or who was forgotten."""
        hashes = [each.entities.get(self._entity, "") for each in some]
        if any(each and each not in self._known for each in hashes):
            self._read_on()
        return ["" if each in self._forgotten else self._known.get(each, "") for each in hashes]

    def _read_on(self) -> None:
        while records := self._tail.catch_up():
            for event in self._codec.decode_many(records):
                if isinstance(event, Transaction) and (value := event.entities[self._place]):
                    self._known.setdefault(self._pseudonym(self._entity, value), value)

    def close(self) -> None:
        """Give back what is held."""
        self._tail.close()
        if self._rates:
            self._rates.close()


def _forgotten(config: Config, profile: Profile) -> frozenset[str]:
    """The keyed hashes of those whom nothing is to be known of any more."""
    ledger = Ledger.open(config.database)
    try:
        return frozenset(People(ledger.engine, bootstrap.sealer(config)).forgotten(0)[1])
    finally:
        ledger.close()
