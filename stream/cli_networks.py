"""Commands for networks that somebody trained: ``weir models publish|verify|onnx``, and their part of ``list`` and ``export``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from features.profile import Profile, load
from models.snapshot import SnapshotError
from stream import bootstrap, networks
from stream.broker import publisher_for
from stream.cli import config_of, config_options, fail
from stream.config import Config
from stream.signing import Release
from stream.topics import MODEL_BYTES, MODELS

if TYPE_CHECKING:
    from models.artifact import Artifact

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


def register(group: click.Group) -> None:
    """Add these commands to `weir models`."""
    for command in (publish, verify, onnx):
        group.add_command(command)


@click.command("publish")
@click.argument("folder", type=FOLDER)
@config_options
def publish(folder: Path, **given: Any) -> None:
    """Sign the network in FOLDER with this machine's key, and send it to the scorers.

    It must fit the profile. Scorers take it once its states are filled; `weir models list` shows it.
    """
    config = config_of(given)
    artifact = _read(folder)
    _fit(artifact, load(config.profile))
    bootstrap.prepare(config)
    key, trusted = bootstrap.signing_key(config), bootstrap.trusted_keys(config)
    key.make(trusted)
    artifact = networks.signed(artifact, key.signer())
    publisher = publisher_for(config.broker, config.kafka, MODEL_BYTES)
    try:
        made = networks.release(
            artifact,
            key.signer(),
            publisher,
            config.topic(MODELS),
            bootstrap.models_tail(config),
            trusted,
        )
    finally:
        publisher.close()
    artifact.save(folder)
    click.echo(
        f"published {made.model_version}, the network {artifact.manifest.network}, signed by {key.signer().public.id}"
    )


@click.command("verify")
@click.argument("folder", type=FOLDER)
@config_options
def verify(folder: Path, **given: Any) -> None:
    """Look at the network in FOLDER as a scorer would: its files, its features, and who signed it.

    Exit status 1 if a scorer would refuse it.
    """
    config = config_of(given)
    looks: dict[str, Callable[[], str]] = {
        "files": lambda: _sound(_read(folder)),
        "features": lambda: _fit(_read(folder), load(config.profile)),
        "signature": lambda: _signed_by(folder, config),
    }
    refused = 0
    for what, look in looks.items():
        try:
            click.echo(f"{what}: {look()}")
        except SnapshotError as error:
            refused += 1
            click.echo(f"{what}: refused: {error}")
    if refused:
        fail(f"a scorer would refuse {folder}")


@click.command("onnx")
@click.argument("folder", type=FOLDER)
@click.argument("file", type=click.Path(dir_okay=False, writable=True, path_type=Path))
def onnx(folder: Path, file: Path) -> None:
    """Write the network in FOLDER as FILE in ONNX: one step, (vectors, state) to (logits, state). Needs weir[onnx]."""
    from models.onnx_export import export

    artifact = _read(folder)
    export(artifact, file)
    click.echo(f"wrote the network {artifact.manifest.network} to {file}")


def rows(config: Config) -> list[dict[str, Any]]:
    """The networks on the topic, newest first: for people and for programs; `refused` says why a scorer would not take one."""
    found = networks.standing(bootstrap.models_tail(config), bootstrap.trusted_keys(config))
    profile = load(config.profile) if found else None
    made = [_row(each, profile) for each in found if profile is not None]
    return sorted(made, key=lambda row: row["number"] or 0, reverse=True)


def _row(standing: networks.Standing, profile: Profile) -> dict[str, Any]:
    row: dict[str, Any] = {"name": networks.MODEL, "number": None, "model_version": standing.place}
    if standing.signed is None:
        return row | {"signed_by": None, "refused": standing.refusal}
    release = standing.signed.snapshot
    row |= {"number": release.number, "model_version": release.model_version, "made_at": release.made_at}
    row |= {"signed_by": standing.signed.key_id, "refused": None}
    try:
        artifact = _unpacked(release)
        row |= _told(artifact)
        _fit(artifact, profile)
    except SnapshotError as error:
        row["refused"] = str(error)
    return row


def _told(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    names = ("network", "entity", "features", "period", "events", "metrics", "seed", "code_version")
    told = {name: msgspec.to_builtins(getattr(manifest, name)) for name in names}
    return told | {
        "architecture": manifest.shape.architecture,
        "learned": manifest.labels,
        "frauds": manifest.frauds,
        "trained_at": manifest.made_at,
    }


def tables(found: list[dict[str, Any]], console: Console) -> None:
    """Print networks for people; nothing where there are none."""
    if not found:
        return
    table = Table(
        "version", "network", "reads", "on a later period", "learned from", "published", "signed by"
    )
    for row in found:
        table.add_row(row["model_version"], *_cells(row), row["signed_by"] or "nobody who is trusted")
    console.print(table)
    for row in found:
        if row["refused"]:
            console.print(
                f"{row['model_version']} is refused: {row['refused']}", markup=False, soft_wrap=True
            )


def _cells(row: dict[str, Any]) -> Iterator[str]:
    if "network" not in row:
        yield from ("", "", "", "", row.get("made_at", "")[:19].replace("T", " "))
        return
    yield f"{row['architecture']} {row['network']}"
    yield f"{len(row['features'])} features by {row['entity']}"
    yield ", ".join(f"{name} {value:.4g}" for name, value in row["metrics"].items() if value is not None)
    first, last = (each[:10] for each in row["period"])
    yield f"{first} to {last}, {row['learned']:,} labels, {row['frauds']:,} frauds"
    yield row["made_at"][:19].replace("T", " ")


def export(config: Config, version: str, folder: Path) -> None:
    """Write a network on the topic to a folder: the newest, or that of a version. Ends with what there is if it is not there."""
    found = networks.standing(bootstrap.models_tail(config), bootstrap.trusted_keys(config))
    trusted = [each.signed.snapshot for each in found if each.signed is not None]
    wanted = [each for each in trusted if version in (networks.MODEL, each.model_version)]
    if not wanted:
        told = (
            "; ".join(each.refusal for each in found if each.refusal)
            or "`weir models list` shows those there are"
        )
        fail(f"there is no network {version} on the topic that can be trusted: {told}")
    newest = max(wanted, key=lambda each: each.number)
    _unpacked(newest).save(folder)
    click.echo(f"wrote {newest.model_version} to {folder}")


def _read(folder: Path) -> Artifact:
    from models.artifact import Artifact

    return Artifact.read(folder)


def _unpacked(release: Release) -> Artifact:
    from models.artifact import Artifact

    return Artifact.unpack(release.artifact)


def _sound(artifact: Artifact) -> str:
    from models.artifact import network_of

    network_of(artifact)
    manifest = artifact.manifest
    return f"the network {manifest.network}, {manifest.shape.architecture}, made {manifest.made_at[:19]}"


def _fit(artifact: Artifact, profile: Profile) -> str:
    """What it reads of a profile; raises SnapshotError if it does not fit."""
    networks.fitting(artifact, profile.features.hashes, profile.partition_by)
    return f"reads {len(artifact.manifest.features)} of the profile's {len(profile.features.names)}"


def _signed_by(folder: Path, config: Config) -> str:
    _, key_id = networks.trusted_folder(folder, bootstrap.trusted_keys(config))
    return f"by {key_id}, which is trusted"
