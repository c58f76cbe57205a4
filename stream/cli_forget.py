"""Commands that forget: ``weir forget``, ``weir dead-letters forget``."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from stream import bootstrap
from stream.cli import config_of, config_options, fail
from stream.cli_look import dead_letters
from stream.forgetting import FORGOTTEN_NOT, Done
from stream.review.ledger import Ledger


def register(group: click.Group) -> None:
    """Add these commands to `weir`, behind those of cli_look."""
    group.add_command(forget)
    dead_letters.add_command(dead_letters_forget)


@click.command("forget")
@click.argument("person")
@click.option("--entity", help="whose value PERSON is, where the profile calls several entities personal")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def forget(person: str, entity: str | None, as_json: bool, **given: Any) -> None:
    """Forget PERSON: the value of a personal entity, such as a card's number.

    "-" reads it from the standard input, so that it stands in no shell's history and no list of processes.
    """
    value = sys.stdin.readline().rstrip("\r\n") if person == "-" else person
    if not value:
        fail("nobody is named: give the entity's value, or - and its line on the standard input")
    forgetting, closing = bootstrap.forgetting(config_of(given))
    try:
        done = forgetting.forget(value, entity)
    except ValueError as error:
        fail(str(error))
    finally:
        closing()
    click.echo(msgspec.json.encode(done).decode() if as_json else _told(done))


def _told(done: Done) -> str:
    key = "their key is deleted" if done.key else "they had no key"
    features = "their features are deleted" if done.features else "they had no features"
    lines = [
        f"forgotten: {done.entity} {done.person}: {key}, {features}.",
        "What was sealed for them in decisions, alerts and dead letters can be read by nobody any more.",
        "Not done by this:",
        *(f"- {each}" for each in FORGOTTEN_NOT),
    ]
    return "\n".join(lines)


@click.command("forget")
@click.argument("place")
@config_options
def dead_letters_forget(place: str, **given: Any) -> None:
    """Delete the dead letter at PLACE (TOPIC/PARTITION@OFFSET, as listed) from the database, for good."""
    if not Ledger.open(config_of(given).database).forget_dead_letter(place):
        fail(f"there is no dead letter at {place}; `weir dead-letters list` shows where they are")
    click.echo(
        f"deleted {place}. The topic of dead letters has it, encrypted, until its retention ends, "
        "and the record itself may still stand in the input topic, which is yours"
    )
