"""``weir doctor``: what is wrong with the set-up, and how to mend it."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stream.cli import config_of, config_options
from stream.config import Config
from stream.doctor import Reader, State

MARKS = {State.OK: "[green]ok[/]", State.NOTE: "[yellow]note[/]", State.WRONG: "[red]wrong[/]"}


def register(group: click.Group) -> None:
    """Add this command to `weir`."""
    group.add_command(doctor)


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def doctor(as_json: bool, **given: Any) -> None:
    """Look at every part of the set-up: who is how far behind, what is wrong, and how to mend it.

    Changes nothing. Exit status 1 if something is wrong.
    """
    from stream.examine import Examination, examine

    config = config_of(given)
    examination: Examination = examine(config)
    if as_json:
        told = {
            "well": examination.well,
            "settings": config.shown(),
            "findings": examination.findings,
            "readers": [_plain(reader) for reader in examination.readers],
        }
        click.echo(msgspec.json.encode(told).decode())
    else:
        _show(config, examination)
    sys.exit(0 if examination.well else 1)


def _plain(reader: Reader) -> dict[str, object]:
    return {
        "group": reader.name,
        "state": reader.state,
        "members": reader.members,
        "expired": reader.expired,
        "waiting": [
            {"topic": topic, "partition": part, "records": count}
            for (topic, part), count in sorted(reader.waiting.items())
        ],
    }


def _show(config: Config, examination: Any) -> None:
    console = Console()
    for name, value in config.shown().items():
        if value:
            console.print(f"{name:<24} {escape(value)}", highlight=False, soft_wrap=True)
    console.print(_lag(examination.readers))
    table = Table("", "check", "found", "mend", show_lines=True)
    for finding in examination.findings:
        found, mend = (escape(text) for text in (finding.found, finding.mend))
        table.add_row(MARKS[finding.state], escape(finding.check), found, mend)
    console.print(table)
    console.print("nothing is wrong" if examination.well else "something is wrong: see the lines marked so")


def _lag(readers: list[Reader]) -> Table:
    """Each partition where something waits, and in one line how many are done."""
    table = Table("group", "state", "members", "topic", "partition", "waiting", title="who is how far behind")
    for reader in readers:
        first = [reader.name, reader.state, ", ".join(reader.members) or "nobody"]
        late = [(topic, str(part), count) for (topic, part), count in sorted(reader.waiting.items()) if count]
        rest = len(reader.waiting) - len(late)
        for topic, part, count in [
            *late,
            *([("", f"{rest} others" if late else f"all {rest}", 0)] if rest else []),
        ]:
            table.add_row(*map(escape, first), escape(topic), part, f"{count:,}")
            first = ["", "", ""]
    return table
