"""Builds every part from one frozen Config. Tests swap their fakes in here; nothing else makes a client.

River (with SciPy), redis, Kafka and Avro take long to import, so only the roles that use them do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from features.compute import Plan
from features.profile import Profile
from features.profile import load as load_profile
from features.store import FeatureStore
from models.base import MEASURES
from models.snapshot import Snapshot
from stream import watching
from stream.broker import ensure_topics, progress_for, publisher_for, tail_for
from stream.champion import ChampionFeed, Contest, Pinned, champion_from_file, resumed
from stream.codec import Codec, keyed_by_person
from stream.config import Config, ConfigError
from stream.contest import Published
from stream.decide import AlertBudget
from stream.decisions import ALERTS, DEAD_LABELS, DEAD_TRANSACTIONS, DECISIONS, LABELS, TRANSACTIONS
from stream.embedded.server import ValkeyServer, running
from stream.emit import Emitter
from stream.forgetting import Forgetting
from stream.keyring import Keyring, opened
from stream.labels import LearnRole
from stream.learn import Learner
from stream.lease import Heart, Place, stand_by, stop_standing_by_on_signals
from stream.letters import AsItCame, LetterOffice, as_it_came
from stream.model_keys import KEY_FILE, TRUSTED_FILE, SigningKey, TrustedKeys
from stream.pipeline import Pipeline
from stream.publishing import Publishing
from stream.rates import Rates, table_for
from stream.readiness import (
    needs,
    refuse_closed_group,
    refuse_forbidden,
    refuse_missing,
    refuse_moved,
)
from stream.record import Recorder
from stream.records import TP, Tail
from stream.review.ledger import DeadLetterRow, Ledger
from stream.review.partitions import remember
from stream.review.people import People, refuse_other_master
from stream.score import ScoreRole
from stream.sealing import Sealer
from stream.start import DATABASE, Start
from stream.topics import KEYED, MODEL_BYTES, MODELS, RATES

if TYPE_CHECKING:
    from stream.registry import SchemaRegistry

logger = logging.getLogger(__name__)

TOPICS = (TRANSACTIONS, LABELS, DECISIONS, ALERTS, DEAD_TRANSACTIONS, DEAD_LABELS, MODELS, RATES)

RECENT = 20_000
"""Decisions from which a starting learner takes its idea of a day."""

Closing = Callable[[], None]
Tending = Callable[[], str | None]


def prepare(config: Config) -> None:
    """What every command that runs something needs: the directory, and the topics."""
    config.dir.mkdir(parents=True, exist_ok=True)
    if config.embedded:
        make_topics(config, 1)


def make_topics(config: Config, partitions: int) -> list[str]:
    """Make Weir's topics where they are missing; gives their names. On Kafka this is `weir topics create`'s to do."""
    names = [config.topic(name) for name in TOPICS]
    ensure_topics(config.broker, dict.fromkeys(names, partitions), config.kafka)
    return names


def group_of(config: Config, role: str) -> str:
    """The consumer group of a role."""
    return f"{config.topic_prefix}weir-{role}"


def check_log(config: Config, role: str) -> None:
    """Raise NotReady, BrokerError or SealError where a worker of this role must not start; on the embedded log it may."""
    if config.embedded:
        return
    from stream.kafka_admin import KafkaAdmin

    pinned, converts = config.model is not None, load_profile(config.profile).converts
    named = dict.fromkeys(name for name, _ in needs(role, pinned=pinned, converts=converts))
    topics = {name: config.topic(name) for name in (*named, *KEYED)}
    needed = [topics[name] for name in named]
    with KafkaAdmin(config.broker, config.kafka) as admin:
        found = admin.partitions(topics.values())
        refuse_missing(needed, found)
        allowed = admin.operations(needed)
        refuse_forbidden(role, topics, allowed, config.kafka.user, pinned=pinned, converts=converts)
        group = group_of(config, role)
        refuse_closed_group(group, admin.group_operations(group), config.kafka.user)
    keyed = {topics[name]: found[topics[name]] for name in KEYED if topics[name] in found}
    ledger = Ledger.open(config.database)
    try:
        refuse_other_master(ledger.engine, sealer(config))
        refuse_moved(remember(ledger.engine, keyed), keyed)
    finally:
        ledger.close()


@contextmanager
def own_redis(config: Config) -> Iterator[tuple[Config, Tending]]:
    """While the block runs: a config whose Redis is up, our own in the directory unless one is named.

    The second is to be called now and then: it starts our own again if it died, and then says so.
    """
    if config.redis:
        yield config, lambda: None
        return
    server = ValkeyServer(redis_directory(config))
    url = server.start()
    try:
        yield msgspec.structs.replace(config, redis=url), server.check
    finally:
        server.stop()


def redis_directory(config: Config) -> Path:
    """Where our own Redis keeps its data."""
    return config.dir / "redis"


def address_file(config: Config) -> Path:
    """Where the review process writes the link to the queue."""
    return config.dir / "review.url"


def sealer(config: Config) -> Sealer:
    """The master key of this Weir; raises SealError where it cannot be used."""
    return Sealer.of_file(Path(config.seal_key_file)) if config.seal_key_file else Sealer.at(config.dir)


def profile_of(config: Config) -> Profile:
    """The profile, with digests that nobody can guess what is personal from."""
    return load_profile(config.profile).keyed(sealer(config).content_key())


def emitter(profile: Profile, keys: Sealer) -> Emitter:
    """Writes decisions as the profile allows them to be kept."""
    return Emitter(
        names=profile.features.names,
        entities=profile.entities,
        personal=profile.personal,
        features_version=profile.features_version,
        pseudonym=keys.pseudonym,
        partition_by=profile.partition_by,
    )


def letter_office(profile: Profile, keys: Sealer) -> LetterOffice:
    """Seals dead letters as the profile asks for."""
    return LetterOffice(keys, keyed_by_person(profile))


def codec_of(config: Config, profile: Profile, rates: Rates | None = None) -> Codec:
    """Reads what the profile says: JSON, or Avro too. Without `rates` every amount stays in its own currency.

    Raises ConfigError where no schema registry is named for Avro.
    """
    if profile.source.format != "avro":
        return Codec(profile, prefix=config.topic_prefix, rates=rates)
    from stream.avro import AvroReader

    return Codec(profile, prefix=config.topic_prefix, avro=AvroReader(schema_registry(config)), rates=rates)


def rates_for(config: Config, profile: Profile) -> Rates | None:
    """The rates on the log; None where the profile converts nothing."""
    table = table_for(profile.source)
    if table is None:
        return None
    return Rates(table, lambda: tail_for(config.broker, config.topic(RATES), config.kafka), profile.timezone)


def event_encoder(config: Config, profile: Profile, written: str) -> Callable[[Mapping[str, object]], bytes]:
    """Makes the bytes of an event's fields: "json" or "avro". Raises ConfigError, FileError."""
    if written == "json":
        return msgspec.json.encode
    from stream.avro_writer import AvroWriter

    return AvroWriter(schema_registry(config), config.topic(TRANSACTIONS), profile.timezone)


def schema_registry(config: Config) -> SchemaRegistry:
    """The registry that is named; raises ConfigError where none is."""
    from stream.registry import SchemaRegistry

    if config.registry is None:
        raise ConfigError("Avro needs a schema registry: name it in WEIR_SCHEMA_REGISTRY")
    return SchemaRegistry(config.registry)


def score_role(config: Config) -> tuple[ScoreRole, Closing]:
    """The live scorer: features in Redis, the champion from the topic `models` or pinned."""
    from stream import reading_along, settling
    from stream.snapshots import Periodic

    profile, keys = profile_of(config), sealer(config)
    store, closing = features(config, profile)
    ledger = Ledger.open(config.database) if profile.personal else None
    feed = champions(config, profile)
    rates = rates_for(config, profile)
    grounds = settling.grounds(config, profile, store, rates)
    taking = Periodic(config, config.snapshot_every_us) if config.snapshot_every_us else None
    network = reading_along.adopting(config, profile, store)
    role = ScoreRole(
        codec_of(config, profile, rates),
        Pipeline(store),
        emitter(profile, keys),
        feed,
        letter_office(profile, keys),
        Keyring(People(ledger.engine, keys), keys) if ledger else None,
        grounds,
        rates,
        network,
    )

    def close() -> None:
        grounds.close()
        if taking:
            taking.stop()
        if network:
            network.close()
        feed.close()
        if rates:
            rates.close()
        if ledger:
            ledger.close()
        closing()

    return role, close


def forgetting(config: Config) -> tuple[Forgetting, Closing]:
    """Forgets people: their keys in SQL, their features in Redis."""
    profile, keys = profile_of(config), sealer(config)
    ledger = Ledger.open(config.database)
    store, closing = features(config, profile)

    def close() -> None:
        closing()
        ledger.close()

    people = People(ledger.engine, keys)
    return Forgetting(keys, people, store, profile.personal, ledger.clock_us), close


def features(config: Config, profile: Profile) -> tuple[FeatureStore, Closing]:
    """The features of a profile in Redis, or on a Redis Cluster, whether they are live or not."""
    from features.redis_cluster import ClusterFeatureStore
    from features.redis_kept import finish
    from features.redis_nodes import is_cluster
    from features.redis_store import RedisFeatureStore

    url, closing = redis_for(config)
    finish(url, store_name(config), profile.features)
    kind = ClusterFeatureStore if is_cluster(url) else RedisFeatureStore
    store = kind(url, profile.features, prefix=store_name(config), hash_key=sealer(config).hash_key())

    def close() -> None:
        store.close()
        closing()

    return store, close


def unsealed(config: Config, letter: DeadLetterRow) -> AsItCame:
    """A dead letter as it came; raises Forgotten where nobody can read it any more, and SealError."""
    keys, ledger = sealer(config), Ledger.open(config.database)
    try:
        opener = opened(People(ledger.engine, keys), keys, [letter.value])
        return as_it_came(opener, letter.value, letter.key, keys.open)
    finally:
        ledger.close()


def store_name(config: Config) -> str:
    """What the feature store's keys are named after: a tenant's own."""
    return f"{config.topic_prefix}weir:"


def score_start(config: Config, role: ScoreRole) -> Start:
    """From where the scorer reads: never behind what its store holds."""
    return Start(
        held=role.positions,
        need_us=Plan(load_profile(config.profile).features).need_us,
        record_at=progress_for(config.broker, config.kafka).record_at,
        accept_gap=config.accept_gap,
    )


def sql_start(config: Config, reader: str) -> Start:
    """From where the recorder or the learner reads: never behind what the database holds of its work."""

    def held() -> Mapping[TP, int]:
        ledger = Ledger.open(config.database)
        try:
            return ledger.positions(reader)
        finally:
            ledger.close()

    return Start(held=held, keeper=DATABASE, accept_gap=config.accept_gap)


def redis_for(config: Config) -> tuple[str, Closing]:
    """The Redis that is named, or runs in the directory already, or one of our own until `Closing`."""
    directory = redis_directory(config)
    url = config.redis or running(directory)
    if url:
        return url, lambda: None
    server = ValkeyServer(directory)
    return server.start(), server.stop


def champions(config: Config, profile: Profile) -> ChampionFeed:
    """The pinned champion, or whatever the learner publishes."""
    version, hashes = profile.features_version, profile.features.hashes
    if config.model:
        return Pinned(champion_from_file(Path(config.model), version, hashes))
    trusted = trusted_keys(config)
    if not trusted.entries:
        logger.warning(
            "no keys are trusted in %s: until there are, every model is refused (the learner makes the first; on another "
            "machine see `weir models keys --help`)",
            trusted.file,
        )
    return Published(models_tail(config), Contest(trusted, version, hashes))


def trusted_keys(config: Config) -> TrustedKeys:
    """Whose snapshots count on this machine."""
    return TrustedKeys(config.model_trusted_keys or config.dir / TRUSTED_FILE)


def signing_key(config: Config) -> SigningKey:
    """What this machine's learner signs with; a key file that is named may be its group's, as clusters mount secrets."""
    if config.model_key_file:
        return SigningKey(config.model_key_file, closed=0o007)
    return SigningKey(config.dir / KEY_FILE)


def models_tail(config: Config) -> Callable[[], Tail]:
    """Opens the topic `models` to be read from its beginning on."""
    return lambda: tail_for(config.broker, config.topic(MODELS), config.kafka)


def publishing(config: Config) -> Publishing:
    """The learner's way to the scorers; its key is made at the first start."""
    key, trusted = signing_key(config), trusted_keys(config)
    key.make(trusted)
    publisher = publisher_for(config.broker, config.kafka, MODEL_BYTES)
    return Publishing(publisher, config.topic(MODELS), key, trusted, models_tail(config))


def learn_role(config: Config) -> tuple[LearnRole, Closing]:
    """The learner, going on from the last checkpoint; waits until no other learner works."""
    profile = profile_of(config)
    ledger = Ledger.open(config.database)
    lease, giving_back = _lease(config, ledger)
    snapshot = ledger.newest_snapshot(0)
    learner = _learner(profile, snapshot)
    names = learner.scorer.features
    models = publishing(config)
    learner.number = models.resume(snapshot)
    clock_us = 0
    for clock_us, vector in ledger.recent(RECENT, names):
        learner.observe(clock_us, vector)
    role = LearnRole(
        codec_of(config, profile),
        learner,
        ledger.decision_log(names, lease),
        models,
        names=names,
        positions=ledger.positions("learn"),
        waiting=ledger.waiting(),
        clock_us=clock_us,
        decisions_topic=config.topic(DECISIONS),
    )

    def close() -> None:
        models.close()
        giving_back()
        ledger.close()

    return role, close


def _lease(config: Config, ledger: Ledger) -> tuple[int, Closing]:
    """The lease of the one learner that works, once it is ours."""
    import models.codec  # noqa: F401 - River takes seconds, which a take-over should not wait for

    stop_standing_by_on_signals()
    place, leases = Place(config.dir), ledger.leases()
    token = stand_by(leases, place)
    heart = Heart(leases, token)

    def give_back() -> None:
        heart.stop()
        place.close()

    return token, give_back


def new_learner(profile: Profile) -> Learner:
    """A learner that knows nothing yet: of an ensemble, where the profile has a network."""
    from models.ensemble import EnsembleScorer
    from models.incremental import RiverScorer
    from stream.thumb import rules_of

    features, network = profile.features, profile.sequence is not None
    return Learner(
        EnsembleScorer(features.names, rules_of(features)) if network else RiverScorer(features.names),
        AlertBudget(profile.alerts_per_day),
        features_version=profile.features_version,
        hashes={**features.hashes, **MEASURES} if network else features.hashes,
    )


def _learner(profile: Profile, newest: Snapshot | None) -> Learner:
    """The learner that goes on from the newest snapshot, as far as it fits the profile's features."""
    learner = new_learner(profile)
    if newest is not None:
        from models.ensemble import taken_over

        scorer = resumed(newest, profile.features_version, profile.features.hashes)
        if scorer is not None:
            learner.resume(taken_over(scorer, learner.scorer), newest.learned)
    return learner


def recorder(config: Config) -> tuple[Recorder, Closing]:
    """Writes what happened into SQL."""
    ledger, keys = Ledger.open(config.database), sealer(config)
    refuse_other_master(ledger.engine, keys)
    profile = profile_of(config)
    role = Recorder(
        ledger,
        codec_of(config, profile),
        keys,
        prefix=config.topic_prefix,
        keep_us=profile.keep_decisions_us,
    )
    return role, ledger.close


def review(config: Config, port: int | None, host: str) -> None:
    """Serve the review queue until a signal ends it."""
    from stream.review.web import serve

    ledger, keys = Ledger.open(config.database), sealer(config)
    with watching.review(config) as probes:
        serve(
            ledger=ledger,
            publisher=publisher_for(config.broker, config.kafka),
            profile=profile_of(config),
            unseal=keys.open,
            opener=partial(opened, People(ledger.engine, keys), keys),
            prefix=config.topic_prefix,
            token_file=config.dir / "keys" / "review.token",
            address_file=address_file(config),
            port=port,
            host=host,
            probes=probes,
        )
