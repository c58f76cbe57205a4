"""Commands that look: ``weir models``, ``weir dead-letters``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from stream import bootstrap
from stream.broker import publisher_for
from stream.cli import config_of, config_options, fail
from stream.records import ARRIVED, Outgoing
from stream.review.ledger import Ledger


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    for command in (models, dead_letters):
        group.add_command(command)


@click.group("models")
def models() -> None:
    """The models that the learner published."""


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def models_list(as_json: bool, **given: Any) -> None:
    """The snapshots, newest first."""
    ledger = Ledger.open(config_of(given).database)
    rows = [
        {
            "model_version": snapshot.model_version,
            "learned": snapshot.learned,
            "threshold": snapshot.threshold,
            "features_version": snapshot.features_version,
            "made_at": snapshot.made_at,
        }
        for snapshot in ledger.snapshots()
    ]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
        return
    for row in rows:
        click.echo(
            f"{row['model_version']:<14} {row['learned']:>9,} labels  threshold {row['threshold']:.4f}  "
            f"features {row['features_version']}  {row['made_at']}"
        )


@models.command("export")
@click.argument("number", type=int)
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
@config_options
def models_export(number: int, file: Path, **given: Any) -> None:
    """Write snapshot NUMBER to FILE, to pin it with --model."""
    snapshot = Ledger.open(config_of(given).database).snapshot(number)
    if snapshot is None:
        fail(f"there is no snapshot {number}; `weir models list` shows those that are kept")
    file.write_bytes(snapshot.encode())
    click.echo(f"wrote {snapshot.model_version} to {file}")


@click.group("dead-letters")
def dead_letters() -> None:
    """Records that could not be used, and why."""


@dead_letters.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@click.option("--limit", type=int, default=100, show_default=True, help="the newest so many")
@config_options
def dead_letters_list(as_json: bool, limit: int, **given: Any) -> None:
    """The newest dead letters, with their reasons."""
    letters = Ledger.open(config_of(given).database).dead_letters(limit)
    if as_json:
        rows = [
            {"topic": each.topic, "partition": each.partition, "offset": each.offset, "reason": each.reason}
            for each in letters
        ]
        click.echo(msgspec.json.encode(rows).decode())
        return
    for each in letters:
        click.echo(f"{each.topic}/{each.partition}@{each.offset}  {each.reason}")
    if not letters:
        click.echo("no dead letters")


@dead_letters.command("replay")
@click.argument("place")
@click.option(
    "--mended",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="send this file's bytes instead",
)
@config_options
def dead_letters_replay(place: str, mended: Path | None, **given: Any) -> None:
    """Send the dead letter at PLACE (TOPIC/PARTITION@OFFSET, as listed) into its topic once more."""
    config = config_of(given)
    letter = Ledger.open(config.database).dead_letter(place)
    if letter is None:
        fail(f"there is no dead letter at {place}; `weir dead-letters list` shows where they are")
    keys = bootstrap.sealer(config)
    value = mended.read_bytes() if mended else keys.open(letter.value)
    key = None if letter.key is None else keys.open(letter.key)
    publisher = publisher_for(config.broker, config.kafka)
    try:
        record = Outgoing(key, value, ((ARRIVED, b"%d" % letter.at_us),))
        publisher.publish(config.topic(letter.topic), [record])
    finally:
        publisher.close()
    click.echo(f"sent {place} to {letter.topic} again")
