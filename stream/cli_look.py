"""Commands for what could not be used: ``weir dead-letters``."""

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
    """Add this command to `weir`."""
    group.add_command(dead_letters)


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
@click.option(
    "--now", is_flag=True, help="it arrives now: for one that lacked a rate of exchange that has come since"
)
@config_options
def dead_letters_replay(place: str, mended: Path | None, now: bool, **given: Any) -> None:
    """Send the dead letter at PLACE (TOPIC/PARTITION@OFFSET, as listed) into its topic once more, as having arrived when it did."""
    config = config_of(given)
    letter = Ledger.open(config.database).dead_letter(place)
    if letter is None:
        fail(f"there is no dead letter at {place}; `weir dead-letters list` shows where they are")
    came = bootstrap.unsealed(config, letter)
    value = mended.read_bytes() if mended else came.value
    publisher = publisher_for(config.broker, config.kafka)
    try:
        arrived = () if now else ((ARRIVED, b"%d" % letter.at_us),)
        publisher.publish(config.topic(letter.topic), [Outgoing(came.key, value, arrived)])
    finally:
        publisher.close()
    click.echo(f"sent {place} to {letter.topic} again")
