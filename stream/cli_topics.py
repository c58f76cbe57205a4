"""Commands for the log's topics: ``weir topics``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from features.profile import load as load_profile
from stream import bootstrap
from stream.cli import config_of, config_options, fail
from stream.config import Config
from stream.lag import waiting
from stream.readiness import READS, NotReady
from stream.review.ledger import Ledger
from stream.review.partitions import accept
from stream.topics import KEYED, Difference, Topic, changes, differences, missing, wanted

if TYPE_CHECKING:
    from stream.kafka_admin import Group, KafkaAdmin


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    group.add_command(topics)


@click.group("topics")
def topics() -> None:
    """The log's topics."""


@topics.command("create")
@click.option("--partitions", type=click.IntRange(1), help="of the keyed topics (default: the profile's)")
@click.option(
    "--apply", is_flag=True, help="give topics that exist the profile's settings, retention among them"
)
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def topics_create(partitions: int | None, apply: bool, as_json: bool, **given: Any) -> None:
    """Make the topics that are missing, as the profile's [topics] says, and show in what the others differ.

    A topic that exists keeps its settings unless --apply is given, and always its number of partitions.
    """
    config = config_of(given)
    if config.embedded:
        _create_embedded(config, partitions, as_json)
        return
    from stream.kafka_admin import KafkaAdmin

    want = _wanted(config, partitions)
    names = [topic.name for topic in want]
    with KafkaAdmin(config.broker, config.kafka) as admin:
        before = admin.topics(names)
        made = missing(want, before)
        admin.create(made)
        differing = differences(want, before)
        if apply:
            admin.change(changes(differing))
        found = admin.topics(names)
        left = differences(want, found)
    _show(
        as_json, found, [topic.name for topic in made], [each for each in differing if each not in left], left
    )
    moved = [each for each in left if each.what == "partitions"]
    if moved:
        fail(
            f"{'; '.join(map(str, moved))}. A number of partitions is never changed on the way: write what is there into "
            "the profile ([topics] partitions), or see `weir topics grow --help`"
        )


def _create_embedded(config: Config, partitions: int | None, as_json: bool) -> None:
    if partitions not in (None, 1):
        fail("the embedded log gives a group one worker: more than one partition is for Kafka")
    names = bootstrap.make_topics(config, 1)
    click.echo(msgspec.json.encode({"topics": names}).decode() if as_json else "\n".join(names))


def _wanted(config: Config, partitions: int | None) -> list[Topic]:
    profile = load_profile(config.profile)
    settings = profile.topics
    if partitions:
        settings = msgspec.structs.replace(settings, partitions=partitions)
    return wanted(settings, config.topic_prefix, converts=profile.converts)


def _show(
    as_json: bool,
    found: Mapping[str, Topic],
    made: Sequence[str],
    changed: Sequence[Difference],
    left: Sequence[Difference],
) -> None:
    if as_json:
        told = {
            "topics": [_plain(each) for each in found.values()],
            "made": made,
            "changed": changed,
            "differs": left,
        }
        click.echo(msgspec.json.encode(told).decode())
        return
    table = Table("topic", "partitions", "copies", "kept for", "largest", "")
    for topic in sorted(found.values(), key=lambda each: each.name):
        state = (
            "made" if topic.name in made else "differs" if any(d.topic == topic.name for d in left) else ""
        )
        table.add_row(
            topic.name, str(topic.partitions), str(topic.replication), _kept(topic), _largest(topic), state
        )
    Console().print(table)
    for each in changed:
        click.echo(f"changed {each.topic}: {each.what} was {each.found} and is {each.wanted}")
    for each in left:
        click.echo(f"{each}")
    if changes(left):
        click.echo("`weir topics create --apply` changes these settings; a shorter retention deletes records")


def _plain(topic: Topic) -> dict[str, object]:
    shown = ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes", "min.insync.replicas")
    settings = {name: topic.settings[name] for name in shown if name in topic.settings}
    return {
        "topic": topic.name,
        "partitions": topic.partitions,
        "replication": topic.replication,
        "settings": settings,
    }


def _kept(topic: Topic) -> str:
    if topic.settings.get("cleanup.policy") == "compact":
        return "newest of each key"
    kept_ms = int(topic.settings.get("retention.ms", "-1"))
    return "ever" if kept_ms < 0 else f"{kept_ms / 86_400_000:g} days"


def _largest(topic: Topic) -> str:
    return f"{int(topic.settings.get('max.message.bytes', '0')) / 1e6:.2g} MB"


@topics.command("grow")
@click.argument("partitions", type=click.IntRange(1))
@click.option("--anyway", is_flag=True, help="though records wait: those of one key may come out of order")
@config_options
def topics_grow(partitions: int, anyway: bool, **given: Any) -> None:
    """Give the keyed topics so many PARTITIONS, and note that this was meant; or accept that they have so many.

    Keys move to other partitions then. So first stop what sends, let the workers read what waits, and stop them.
    """
    config = config_of(given)
    if config.embedded:
        fail("the embedded log has one partition a topic: more are for Kafka")
    from stream.kafka_admin import KafkaAdmin

    names = [config.topic(name) for name in KEYED]
    with KafkaAdmin(config.broker, config.kafka) as admin:
        found = admin.partitions(names)
        _refuse_missing_or_larger(names, found, partitions)
        groups = admin.groups([f"{config.topic_prefix}weir-{role}" for role in READS])
        _refuse_running([group.name for group in groups.values() if group.members])
        if not anyway:
            _refuse_waiting(_waiting(config, admin, found, groups))
        admin.grow({name: partitions for name, count in found.items() if count < partitions})
    ledger = Ledger.open(config.database)
    accept(ledger.engine, dict.fromkeys(names, partitions))
    ledger.close()
    click.echo(
        f"{', '.join(names)} have {partitions} partitions; write that into the profile ([topics] partitions)"
    )


def _refuse_missing_or_larger(names: Sequence[str], found: Mapping[str, int], partitions: int) -> None:
    absent = sorted(set(names) - set(found))
    if absent:
        raise NotReady(f"there is no topic {', '.join(absent)}: `weir topics create` makes it")
    larger = {name: count for name, count in found.items() if count > partitions}
    if larger:
        raise NotReady(
            f"Kafka takes no partition away, and {', '.join(f'{n} has {c}' for n, c in larger.items())}: "
            f"say `weir topics grow {max(larger.values())}`"
        )


def _refuse_running(groups: Sequence[str]) -> None:
    if groups:
        raise NotReady(f"workers of {', '.join(groups)} still run: stop them first, or keys move under them")


def _waiting(
    config: Config, admin: KafkaAdmin, found: Mapping[str, int], groups: Mapping[str, Group]
) -> dict[str, int]:
    """By group: records of the keyed topics that it has still to read."""
    ends, starts = admin.ends(found), admin.starts(found)
    return {
        group.name: sum(
            count
            for (topic, _), count in waiting(ends, starts, group.committed).items()
            if topic in {config.topic(name) for name in READS[role]}
        )
        for role in READS
        for group in (groups[f"{config.topic_prefix}weir-{role}"],)
    }


def _refuse_waiting(waiting: Mapping[str, int]) -> None:
    late = {group: count for group, count in waiting.items() if count > 0}
    if late:
        told = ", ".join(f"{count:,} for {group}" for group, count in late.items())
        raise NotReady(
            f"records wait: {told}. Run the workers until nothing waits (`weir doctor` shows it), or say --anyway: "
            "then a key's records may come out of order"
        )
