"""The one file a user edits: how their fields map to ours, their entities, features and policy (TOML).

``load("handbook")`` reads a profile that ships; ``load("my/own.toml")`` reads the user's. What a profile may
hold is told in the tables below; anything else is refused with its line and the mend.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import msgspec

from features.catalogue import DAY_US, FeatureSet
from features.events import Transaction
from features.grammar import DeclarationError, Scope, duration_us, meant, parse_all
from features.located import Located, ProfileError, Table
from features.mapping import FORMATS, EntitySource, Mapper, Source
from features.money import EXPONENTS
from features.readers import UNITS, Row, fraud_of
from features.sequence_settings import SequenceSettings, sequence_settings
from features.topic_settings import TopicSettings, looks_back_us, topic_settings

__all__ = ["Profile", "ProfileError", "load", "shipped"]

SHIPPED = Path(__file__).parent / "profiles"

TOP = ("name", "source", "entities", "stream", "features", "policy", "topics", "sequence")
SOURCE = (
    "format",
    "event_id",
    "time",
    "unit",
    "timezone",
    "amount",
    "currency",
    "convert_to",
    "label",
    "texts",
    "numbers",
    "max_ahead",
)
STREAM = ("partition_by", "personal")
FEATURES = ("declare", "remember", "records", "label_horizon", "timezone")
POLICY = ("alerts_per_day", "card", "keep_decisions")

ENTITY_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile, checked and compiled."""

    name: str
    source: Source  # how fields map
    features: FeatureSet
    features_version: str  # the short hash of `features`
    words: Mapping[str, str]  # feature name -> its meaning, for people
    partition_by: str | None  # the entity whose events stay in order; None: each event stands for itself
    personal: tuple[str, ...]  # entities that are kept only as keyed hashes
    alerts_per_day: float
    card: str | None  # the entity whose precision at k a day the report counts
    mapper: Mapper
    topics: TopicSettings = TopicSettings()
    keep_decisions_us: int | None = None  # how long SQL remembers a decision and its id; None: for ever
    sequence: SequenceSettings | None = None  # the network beside River; None: there is none

    @property
    def entities(self) -> tuple[str, ...]:
        """The entities' names, in the order of Transaction.entities."""
        return self.features.entities

    @property
    def label(self) -> str | None:
        """The files' field that holds labels; never a feature."""
        return self.source.label

    @property
    def converts(self) -> bool:
        """Whether amounts are converted into one currency."""
        return self.source.convert_to is not None

    @property
    def max_ahead_us(self) -> int:
        """An event further than this beyond its arrival is refused."""
        return self.source.max_ahead_us

    @property
    def timezone(self) -> str | None:
        """The zone of naive times; None: they are refused."""
        return self.source.timezone

    def transaction(self, raw: Row, arrived_us: int | None = None) -> Transaction:
        """The event that a row of the source holds; raises FieldError, naming the field that is wrong.

        Without `arrived_us` the event arrives when it happens: history's own clock.
        """
        return self.mapper.transaction(raw, arrived_us)

    def transactions(
        self, columns: Mapping[str, Sequence[object]], arrived_us: Sequence[int] | None = None
    ) -> list[Transaction]:
        """The same of many rows at once, given by the column; raises FieldError where one cannot be mapped."""
        return self.mapper.transactions(columns, arrived_us)

    def keyed(self, key: bytes) -> Profile:
        """This profile with digests, and ids where they are personal, that only holders of `key` can make."""
        return msgspec.structs.replace(self, mapper=Mapper(self.source, key))

    def known_id(self, text: str) -> str:
        """How an event or a label of this id is known: itself, or a keyed hash where ids are personal."""
        return self.mapper.known_id(text)

    def fraud(self, raw: Row) -> bool | None:
        """What the label field of a file's row says; None where it says nothing. Raises FieldError."""
        return fraud_of(self.source.label, raw) if self.source.label else None

    def key(self, event: Transaction) -> bytes:
        """The key of the event's record: equal keys stay in order."""
        by = self.partition_by
        value = event.entities[self.entities.index(by)] if by else event.event_id
        return value.encode()


def shipped() -> tuple[str, ...]:
    """The names of the profiles that ship."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def load(name_or_path: str | Path) -> Profile:
    """The profile of a shipped name, or of a TOML file; raises ProfileError with the line and the mend."""
    file = Located(_path(name_or_path))
    top = Table(file, "", file.tree)
    top.refuse_unknown(TOP)
    stream, policy = file.table("stream", STREAM), file.table("policy", POLICY)
    source = _source(file, stream)
    names = tuple(entity.name for entity in source.entities)
    partition_by = _entity(stream, "partition_by", names) or (names[0] if names else None)
    _refuse_unplaced(file, source, partition_by)
    features = _features(file, source, names)
    return Profile(
        name=top.text("name"),
        source=source,
        features=features,
        features_version=features.version,
        words={feature.name: feature.words for feature in features.features},
        partition_by=partition_by,
        personal=tuple(entity.name for entity in source.entities if entity.personal),
        alerts_per_day=policy.number("alerts_per_day", 100),
        card=_entity(policy, "card", names) or partition_by,
        mapper=Mapper(source),
        topics=topic_settings(file, features),
        keep_decisions_us=_keep_decisions(policy, features),
        sequence=sequence_settings(file, features.names, names, partition_by),
    )


def _keep_decisions(policy: Table, features: FeatureSet) -> int | None:
    if "keep_decisions" not in policy.values:
        return None
    keep_us, least_us = _duration(policy, "keep_decisions", ""), looks_back_us(features)
    if keep_us < least_us:
        raise policy.error(
            f"keep_decisions must be {math.ceil(least_us / DAY_US)}d or longer: so far back features look, and labels "
            "find their decision",
            "keep_decisions",
        )
    return keep_us


def _path(name_or_path: str | Path) -> Path:
    name = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in name or name.endswith(".toml"):
        return Path(name_or_path)
    if name not in shipped():
        listed = (
            f"shipped are {', '.join(shipped())}; for a file of your own name its path, such as ./{name}.toml"
        )
        raise ProfileError(name, None, f"no such profile{meant(name, shipped())}; {listed}")
    return SHIPPED / f"{name}.toml"


def _source(file: Located, stream: Table) -> Source:
    table = file.table("source", SOURCE)
    currency, currency_field = _currency(table)
    source = Source(
        format=_format(table),
        event_id=_event_id(table),
        time=table.text("time"),
        unit=_unit(table),
        timezone=_zone(table),
        amount=table.text("amount"),
        currency=currency,
        currency_field=currency_field,
        convert_to=_convert_to(table, currency),
        entities=_entities(file, stream),
        texts=table.texts("texts"),
        numbers=table.texts("numbers"),
        label=table.optional_text("label"),
        max_ahead=table.text("max_ahead", "1h"),
        max_ahead_us=_duration(table, "max_ahead", "1h"),
    )
    _refuse_clashes(table, source)
    return source


def _event_id(table: Table) -> tuple[str, ...]:
    if not isinstance(table.values.get("event_id"), list):
        return (table.text("event_id"),)
    fields = table.texts("event_id")
    if not fields:
        raise table.error("event_id must name at least one field", "event_id")
    return fields


def _format(table: Table) -> str:
    name = table.text("format", FORMATS[0])
    if name not in FORMATS:
        raise table.error(f"format {name!r} must be one of {', '.join(FORMATS)}", "format")
    return name


def _unit(table: Table) -> str | None:
    unit = table.optional_text("unit")
    if unit is not None and unit not in UNITS:
        raise table.error(
            f"unit {unit!r} must be one of {', '.join(UNITS)}, or absent for ISO 8601 times", "unit"
        )
    return unit


def _zone(table: Table) -> str | None:
    zone = table.optional_text("timezone")
    if zone is None:
        return None
    try:
        return ZoneInfo(zone).key
    except (ZoneInfoNotFoundError, OSError, ValueError) as error:
        hint = meant(zone, sorted(available_timezones()))
        problem = f"{zone!r} is no time zone{hint}; write one such as Europe/Paris or UTC"
        raise table.error(problem, "timezone") from error


def _currency(table: Table) -> tuple[str, str | None]:
    value = table.values.get("currency")
    if isinstance(value, dict):
        field = value.get("field")
        if set(value) != {"field"} or not isinstance(field, str) or not field:
            raise table.error('currency must be one code, or { field = "..." }', "currency")
        return "", field
    code = table.text("currency")
    if code not in EXPONENTS:
        hint = meant(code.upper(), tuple(EXPONENTS))
        raise table.error(
            f'{code!r} is no ISO 4217 currency{hint}; for a field of theirs: {{ field = "..." }}', "currency"
        )
    return code, None


def _convert_to(table: Table, currency: str) -> str | None:
    code = table.optional_text("convert_to")
    if code is None:
        return None
    if code not in EXPONENTS:
        problem = f"convert_to {code!r} is no ISO 4217 currency{meant(code.upper(), tuple(EXPONENTS))}"
        raise table.error(problem, "convert_to")
    if code == currency:
        raise table.error(f"every amount is in {code} already: take convert_to out", "convert_to")
    return code


def _entities(file: Located, stream: Table) -> tuple[EntitySource, ...]:
    table = file.table("entities", None)
    for name in table.values:
        if not ENTITY_NAME.fullmatch(name):
            raise table.error(f"the entity {name!r} must be named in small letters, digits and _", name)
    personal = stream.texts("personal")
    for name in personal:
        _known_entity(stream, "personal", name, tuple(table.values))
    return tuple(_entity_source(table, name, name in personal) for name in table.values)


def _entity_source(table: Table, name: str, personal: bool) -> EntitySource:
    value = table.values[name]
    field, optional = (
        (value.get("field"), value.get("optional", False)) if isinstance(value, dict) else (value, False)
    )
    odd = isinstance(value, dict) and not set(value) <= {"field", "optional"}
    if odd or not isinstance(field, str) or not field or not isinstance(optional, bool):
        raise table.error(f'{name} must be a field\'s name, or {{ field = "...", optional = true }}', name)
    return EntitySource(name, field, optional=optional, personal=personal)


def _refuse_clashes(table: Table, source: Source) -> None:
    entities = {entity.name for entity in source.entities}
    for key, fields in (("texts", source.texts), ("numbers", source.numbers)):
        for field in fields:
            if field in entities:
                raise table.error(
                    f"{field!r} is an entity and a field of {key}: one name, one meaning", key, field
                )
    both = sorted(set(source.texts) & set(source.numbers))
    if both:
        raise table.error(
            f"{both[0]!r} is named in texts and in numbers: one name, one meaning", "numbers", both[0]
        )
    if source.label in source.fields:
        raise table.error(
            f"the label {source.label!r} is also mapped as input: a model would see the answer", "label"
        )


def _refuse_unplaced(file: Located, source: Source, partition_by: str | None) -> None:
    for entity in source.entities:
        if entity.name == partition_by and entity.optional:
            problem = (
                f"{entity.name} is optional, but partition_by names it: an event without it has no place"
            )
            raise file.error(problem, "entities", entity.name)


def _features(file: Located, source: Source, entities: tuple[str, ...]) -> FeatureSet:
    table = file.table("features", FEATURES)
    zone = _zone(table) or source.timezone or "UTC"
    declared = table.texts("declare")
    try:
        several = source.currency_field is not None and source.convert_to is None
        scope = Scope(entities, source.texts, source.numbers, zone, several)
        features = parse_all(declared, scope)
    except DeclarationError as error:
        raise table.error(str(error), "declare", error.line) from error
    if not features:
        raise table.error('[features] must declare at least one feature, such as "amount"', "declare")
    return FeatureSet(
        features=features,
        entities=entities,
        timezone=zone,
        remember_us=_duration(table, "remember", "7d"),
        records=table.whole("records", 10_000),
        label_horizon_us=_duration(table, "label_horizon", "30d"),
        convert_to=source.convert_to or "",
    )


def _duration(table: Table, key: str, default: str) -> int:
    try:
        return duration_us(table.text(key, default))
    except ValueError as error:
        if isinstance(error, ProfileError):
            raise
        raise table.error(f"{key} {error}", key) from error


def _entity(table: Table, key: str, entities: tuple[str, ...]) -> str | None:
    name = table.optional_text(key)
    return _known_entity(table, key, name, entities) if name is not None else None


def _known_entity(table: Table, key: str, name: str, entities: tuple[str, ...]) -> str:
    if name not in entities:
        listed = f"known are {', '.join(entities)}" if entities else "[entities] has none"
        raise table.error(
            f"{key} names {name!r}, which is no entity{meant(name, entities)}; {listed}", key, name
        )
    return name
