"""Commands for generations of features: which there are, and old ones away: ``weir features generations``."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from features.events import to_datetime
from stream import bootstrap
from stream.cli import config_of, config_options, fail
from stream.progress import tracking


@click.group("generations")
def generations() -> None:
    """The state of features in Redis: the live one, one that is being filled, and old ones."""


@generations.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def generations_list(as_json: bool, **given: Any) -> None:
    """Every generation, with its keys, about what memory it takes, and when it was used and live last.

    Looks at every key: a second for each million or so.
    """
    from features.redis_kept import Kept, kept

    config = config_of(given)
    url, closing = bootstrap.redis_for(config)
    try:
        found: list[Kept] = kept(url, bootstrap.store_name(config))
    finally:
        closing()
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    table = Table(
        Column("generation", no_wrap=True), "", "keys", "memory", "used last", "live last", box=SIMPLE
    )
    for each in found:
        table.add_row(
            each.name, each.state, f"{each.keys:,}", size(each.bytes), _used(each.idle_s), _left(each)
        )
    Console().print(table, highlight=False)


@generations.command("drop")
@click.argument("name")
@config_options
def generations_drop(name: str, **given: Any) -> None:
    """Drop the old generation NAME (FORMAT:VERSION, as listed), in small steps, while everything runs.

    Never the live one, one that is being filled, or one that a worker used a moment ago. A profile that goes back to it
    fills it anew from the log.
    """
    from features.redis_kept import Refused, drop

    config = config_of(given)
    url, closing = bootstrap.redis_for(config)
    try:
        with tracking("drop", None) as tracker:
            gone = 0

            def shown(count: int) -> None:
                nonlocal gone
                gone += count
                tracker.at(gone)

            count = drop(url, bootstrap.store_name(config), name, shown)
    except Refused as error:
        fail(str(error))
    finally:
        closing()
    click.echo(f"dropped {name}: {count:,} keys")


def size(count: int) -> str:
    """Bytes for people.

    >>> size(1_234), size(56_789_012), size(7_100_000_000)
    ('1 kB', '57 MB', '7.1 GB')
    """
    if count >= 10**9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:,.0f} MB" if count >= 10**6 else f"{count / 1e3:,.0f} kB"


def _used(idle_s: int | None) -> str:
    if idle_s is None:
        return "not known"
    return to_datetime((int(time.time()) - idle_s) * 1_000_000).isoformat(timespec="minutes")


def _left(found: Any) -> str:
    if found.state == "live":
        return "now"
    return "not known" if found.left_us is None else to_datetime(found.left_us).isoformat(timespec="minutes")
