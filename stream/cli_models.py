"""Commands for the models that were published, and for the keys under which they travel: ``weir models``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from models.snapshot import Snapshot
from stream import bootstrap, cli_networks, networks
from stream.champion import MODEL
from stream.cli import config_of, config_options, fail
from stream.config import Config
from stream.model_keys import Entry, ModelKeyError
from stream.publishing import signers_on
from stream.review.ledger import Ledger


def register(group: click.Group) -> None:
    """Add these commands to `weir`."""
    group.add_command(models)


def _is_network(version: str) -> bool:
    return version.partition("-")[0] == networks.MODEL


@click.group("models")
def models() -> None:
    """The models that the learner published, networks that somebody trained, and the keys that sign them."""


cli_networks.register(models)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def models_list(as_json: bool, **given: Any) -> None:
    """The snapshots that are kept and the networks on the topic, newest first, with the key that signed them.

    A network that scorers refuse is shown with the reason.
    """
    config = config_of(given)
    ledger = Ledger.open(config.database)
    signers = _signers(config)
    rows = [_row(snapshot, signers) for snapshot in ledger.snapshots()]
    ledger.close()
    found = cli_networks.rows(config)
    if as_json:
        click.echo(msgspec.json.encode([*rows, *found]).decode())
        return
    table = Table("version", "labels", "threshold", "features", "made", "signed by")
    for row in rows:
        learned, threshold = f"{row['learned']:,}", f"{row['threshold']:.4f}"
        made = row["made_at"][:19].replace("T", " ")
        table.add_row(
            row["model_version"], learned, threshold, row["features_version"], made, row["signed_by"]
        )
    console = Console()
    console.print(table)
    cli_networks.tables(found, console)


def _row(snapshot: Snapshot, signers: dict[int, str]) -> dict[str, Any]:
    return {
        "name": MODEL,
        "number": snapshot.number,
        "model_version": snapshot.model_version,
        "learned": snapshot.learned,
        "threshold": snapshot.threshold,
        "features_version": snapshot.features_version,
        "made_at": snapshot.made_at,
        "signed_by": signers.get(snapshot.number),
    }


def _signers(config: Config) -> dict[int, str]:
    return signers_on(bootstrap.models_tail(config), bootstrap.trusted_keys(config))


@models.command("show")
@click.argument("number", type=int)
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def models_show(number: int, as_json: bool, **given: Any) -> None:
    """Snapshot NUMBER: what it learned from, and of an ensemble what each part counts for."""
    config = config_of(given)
    snapshot = Ledger.open(config.database).snapshot(number)
    if snapshot is None:
        fail(f"there is no snapshot {number}; `weir models list` shows those that are kept")
    row = _row(snapshot, _signers(config)) | {"features": snapshot.features, "weights": _weights(snapshot)}
    if as_json:
        click.echo(msgspec.json.encode(row).decode())
        return
    for name, value in row.items():
        if name not in {"features", "weights"}:
            click.echo(f"{name}: {value}")
    click.echo(f"features: {', '.join(snapshot.features)}")
    for case, weights in row["weights"].items():
        told = ", ".join(f"{part} {weight:.3f}" for part, weight in weights.items())
        click.echo(f"weights {case.replace('_', ' ')}: {told}")


def _weights(snapshot: Snapshot) -> dict[str, dict[str, float]]:
    """Of an ensemble's parts, with the network's score and where it is missing; of other scorers none."""
    from models.codec import load_scorer
    from models.ensemble import EnsembleScorer

    scorer = load_scorer(snapshot.scorer, snapshot.features)
    if not isinstance(scorer, EnsembleScorer):
        return {}
    return {"with_the_network": scorer.weights(), "without_it": scorer.weights(network=False)}


@models.command("export")
@click.argument("version")
@click.argument("file", type=click.Path(writable=True, path_type=Path))
@config_options
def models_export(version: str, file: Path, **given: Any) -> None:
    """Write a model to FILE: snapshot 12 by `12` or `river-12`, to pin it with --model; a network by `sequence-3`, into a folder.

    `sequence` alone is the newest network.
    """
    config = config_of(given)
    if _is_network(version):
        cli_networks.export(config, version, file)
        return
    snapshot = _snapshot(config, version)
    file.write_bytes(snapshot.encode())
    click.echo(f"wrote {snapshot.model_version} to {file}")


def _snapshot(config: Config, version: str) -> Snapshot:
    number = version.rpartition("-")[2]
    found = Ledger.open(config.database).snapshot(int(number)) if number.isdecimal() else None
    if found is None or version not in (number, found.model_version):
        fail(f"there is no snapshot {version}; `weir models list` shows those that are kept")
    return found


@models.group("keys")
def keys() -> None:
    """The keys that sign snapshots. Workers see every change within a second; none has to be started again.

    \b
    To change the key on one machine:     weir models keys rotate
    With scorers on other machines:       weir models keys prepare     (prints a line for them)
                                          weir models keys trust LINE  (on each of them)
                                          weir models keys rotate      (then scorers know the new key already)
    Some time later, the old one goes:    weir models keys revoke ID   (everywhere)
    """


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="as JSON")
@config_options
def keys_list(as_json: bool, **given: Any) -> None:
    """The keys that are known on this machine: a line each, as `weir models keys trust` takes it."""
    config = config_of(given)
    uses = _uses(config)
    entries = bootstrap.trusted_keys(config).entries.values()
    if as_json:
        click.echo(msgspec.json.encode([_plain(entry, uses) for entry in entries]).decode())
        return
    for entry in entries:
        click.echo(f"{entry}{uses.get(entry.key.id, '') and '  # ' + uses[entry.key.id]}")
    if not entries:
        click.echo("no keys: the learner makes one at its first start")


def _plain(entry: Entry, uses: dict[str, str]) -> dict[str, str | None]:
    return {
        "id": entry.key.id,
        "state": entry.state,
        "key": entry.key.raw.hex(),
        "since": entry.since,
        "use": uses.get(entry.key.id),
    }


def _uses(config: Config) -> dict[str, str]:
    """By id: what a key is for on this machine."""
    key = bootstrap.signing_key(config)
    signers = {"signs here": key.signer() if key.file.exists() else None, "signs next": key.following()}
    return {signer.public.id: use for use, signer in signers.items() if signer}


@keys.command("prepare")
@config_options
def keys_prepare(**given: Any) -> None:
    """Make the key that will follow, trust it on this machine, and print its line for the scorers on others."""
    config = config_of(given)
    trusted = bootstrap.trusted_keys(config)
    key = bootstrap.signing_key(config).prepare(trusted)
    click.echo(str(trusted.entries[key.id]))


@keys.command("rotate")
@config_options
def keys_rotate(**given: Any) -> None:
    """Let the key that follows sign from now on (made now, if none was prepared)."""
    config = config_of(given)
    key = bootstrap.signing_key(config).rotate(bootstrap.trusted_keys(config))
    click.echo(
        f"{key.id} signs from now on; the learner sends its newest model again under it. Scorers on other machines need "
        "it among their trusted keys: see `weir models keys list`"
    )


@keys.command("trust")
@click.argument("line", nargs=-1, required=True)
@config_options
def keys_trust(line: Sequence[str], **given: Any) -> None:
    """Accept snapshots signed by the key in LINE, as `prepare` or `list` printed it on the learner's machine."""
    try:
        entry = Entry.read(" ".join(line))
    except ValueError as error:
        fail(
            f"this is no key ({error}): expected is `trusted ID KEY SINCE`, as `weir models keys list` prints it"
        )
    trusted = bootstrap.trusted_keys(config_of(given))
    trusted.add(entry.key)
    click.echo(f"{entry.key.id} is trusted by {trusted.file}")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@click.option(
    "--at-once", is_flag=True, help="though scorers that start now find no model: the key is stolen"
)
@config_options
def keys_revoke(key_id: str, at_once: bool, **given: Any) -> None:
    """Accept nothing more that the key ID signed, for ever.

    A scorer that runs keeps the model it has until one comes that is signed by a trusted key.
    """
    config = config_of(given)
    trusted = bootstrap.trusted_keys(config)
    if not at_once:
        _refuse_harm(config, key_id)
    trusted.revoke(key_id)
    click.echo(f"{key_id} is revoked in {trusted.file}")


def _refuse_harm(config: Config, key_id: str) -> None:
    if _uses(config).get(key_id) == "signs here":
        raise ModelKeyError(f"{key_id} is the key that signs here: `weir models keys rotate` first")
    signers = _signers(config)
    if signers and signers[max(signers)] == key_id:
        raise ModelKeyError(
            f"the newest model is signed by {key_id}, so that a scorer that starts now would have none: wait until the "
            "learner has sent it under its new key (`weir models list`), or say --at-once"
        )
