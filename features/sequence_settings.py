"""The table [sequence] of a profile: which network reads whose events in order, and what of them it sees."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from features.grammar import meant
from features.located import Located, Table

SEQUENCE = ("entity", "architecture", "width", "layers", "length", "features")

ARCHITECTURES = ("gru", "lstm", "transformer", "tcn", "feedforward")
"""Those that `models/sequence.py` builds."""

HEADS = 4
"""A transformer's width is shared among so many."""

MOST = {"width": 4_096, "layers": 16, "length": 4_096}


class SequenceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the profile says of its network."""

    entity: str  # whose events are read in order
    features: tuple[str, ...]  # that it sees, in the order of every vector
    architecture: str = "gru"
    width: int = 64
    layers: int = 1
    length: int = 32  # how many events back a transformer's layer looks


def sequence_settings(
    file: Located, names: Sequence[str], entities: Sequence[str], partition_by: str | None
) -> SequenceSettings | None:
    """The table [sequence] of a profile with features of these `names`; None where it is absent. Raises ProfileError."""
    if "sequence" not in file.tree:
        return None
    table = file.table("sequence", SEQUENCE)
    unset = SequenceSettings(entity="", features=())
    sizes = {key: _size(table, key, getattr(unset, key)) for key in MOST}
    settings = SequenceSettings(
        entity=_carrying(table, entities, partition_by),
        features=_seen(table, names),
        architecture=_architecture(table, unset.architecture),
        width=sizes["width"],
        layers=sizes["layers"],
        length=sizes["length"],
    )
    if settings.architecture == "transformer" and settings.width % HEADS:
        raise table.error(f"width must be a multiple of {HEADS} for a transformer", "width")
    return settings


def _carrying(table: Table, entities: Sequence[str], partition_by: str | None) -> str:
    entity = table.text("entity", partition_by)
    if entity not in entities:
        listed = f"known are {', '.join(entities)}" if entities else "[entities] has none"
        raise table.error(
            f"entity names {entity!r}, which is no entity{meant(entity, tuple(entities))}; {listed}", "entity"
        )
    if entity != partition_by:
        raise table.error(
            f"entity is {entity!r}, but [stream] partition_by is {partition_by!r}: only its events come in order. "
            f"Write entity = {partition_by!r}, or change partition_by",
            "entity",
        )
    return entity


def _architecture(table: Table, unset: str) -> str:
    name = table.text("architecture", unset)
    if name not in ARCHITECTURES:
        raise table.error(
            f"{name!r} is no architecture{meant(name, ARCHITECTURES)}; known are {', '.join(ARCHITECTURES)}",
            "architecture",
        )
    return name


def _size(table: Table, key: str, unset: int) -> int:
    size = table.whole(key, unset)
    if size > MOST[key]:
        raise table.error(f"{key} must be at most {MOST[key]:,}", key)
    return size


def _seen(table: Table, names: Sequence[str]) -> tuple[str, ...]:
    """The features that are named, in the order of every vector; all of them where none are."""
    if "features" not in table.values:
        return tuple(names)
    seen = table.texts("features")
    if not seen:
        raise table.error(
            "features must name at least one; leave it out, and the network sees all", "features"
        )
    for name in seen:
        if name not in names:
            raise table.error(
                f"features names {name!r}, which [features] does not declare{meant(name, tuple(names))}; "
                "`weir features list` shows the names",
                "features",
                name,
            )
    return tuple(name for name in names if name in seen)
