"""``weir fill-states``: what a worker starts for itself when a new network is to read along."""

from __future__ import annotations

from typing import Any

import click

from stream.cli import config_of, config_options


def register(group: click.Group) -> None:
    """Add this command to `weir`."""
    group.add_command(fill_states)


@click.command("fill-states", hidden=True)
@click.argument("network")
@config_options
def fill_states(network: str, **given: Any) -> None:
    """Fill the states of NETWORK from the logged decisions until told to finish, on standard input."""
    from stream import reading_along

    reading_along.fill_states(config_of(given), network)
