"""A trained network as files and as bytes: what it weighs in safetensors, what is to be known of it in a manifest.

    FOLDER/weights.safetensors   the weights, float32
    FOLDER/manifest.json         models.manifest, with the digest of the weights in it
    FOLDER/manifest.sig          a signature of the manifest, where somebody signed (stream.signing)

Or all three behind one another, to travel. Nothing is unpickled, and what the files say is checked before any of it counts:
equal networks are equal bytes, and a file that was changed, cut short, or made up is refused with the reason.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from models.batched import Calibration, SequenceScorer
from models.encoding import Fitted
from models.manifest import (
    DIGEST_BYTES,
    FORMAT,
    MANIFEST_BYTES,
    MOST_STATE,
    ArtifactError,
    Manifest,
    Weights,
    network_id,
)
from models.sequence import Network

__all__ = [
    "Artifact",
    "ArtifactError",
    "Manifest",
    "artifact_of",
    "load",
    "network_of",
    "parts_of",
    "scorer_of",
]

NAME = "sequence"
"""How a network is called where nobody chose another name: decisions, metrics and the topic's key."""

WEIGHTS_FILE, MANIFEST_FILE, SIGNATURE_FILE = "weights.safetensors", "manifest.json", "manifest.sig"

HEADER_BYTES = 1_000_000
"""What safetensors tells of the tensors, at most."""

SIGNATURE_BYTES = 1_000
"""No signature file is larger."""

PACKED, MAGIC = 1, b"weir-network\n"
"""The format of packed bytes, and how they begin."""


class _Parts(msgspec.Struct, frozen=True, array_like=True):
    manifest: bytes
    weights: bytes
    signature: bytes


class Artifact(msgspec.Struct, frozen=True):
    """A network that can be kept and sent: `save` and `pack` write it; `read` and `unpack` check all that they read."""

    manifest: Manifest
    manifest_bytes: bytes  # as they were written, perhaps by another Weir: what a signature is of
    weights: bytes  # safetensors
    signature: bytes = b""  # of the manifest's bytes; whose, and whether it holds, is looked at elsewhere

    def save(self, folder: Path) -> None:
        """Write the files; whoever dies on the way leaves a folder that is refused, or one that is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SIGNATURE_FILE).unlink(missing_ok=True)
        _write(folder / WEIGHTS_FILE, self.weights)
        _write(folder / MANIFEST_FILE, self.manifest_bytes)
        if self.signature:
            _write(folder / SIGNATURE_FILE, self.signature)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The network in a folder; raises ArtifactError for one that is not whole and sound. No signature is checked."""
        written, signature = parts_of(folder)
        manifest = Manifest.decode(written)
        weights = _read(folder / WEIGHTS_FILE, _most(manifest))
        return cls(manifest, written, weights, signature)._checked()

    def pack(self) -> bytes:
        """The artifact as bytes: equal ones give equal bytes."""
        parts = _Parts(self.manifest_bytes, self.weights, self.signature)
        body = MAGIC + bytes([PACKED]) + msgspec.msgpack.encode(parts)
        return body + blake2b(body, digest_size=DIGEST_BYTES).digest()

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """What was packed; raises ArtifactError for bytes that are not whole and sound. No signature is checked."""
        head = len(MAGIC) + 1
        if not data.startswith(MAGIC) or len(data) < head + DIGEST_BYTES:
            raise ArtifactError("these bytes are no network of Weir")
        if data[head - 1] != PACKED:
            raise ArtifactError(
                f"the network is packed in format {data[head - 1]}, this Weir reads format {PACKED}"
            )
        body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
        if blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
            raise ArtifactError("the network was changed or cut short: it does not match its digest")
        try:
            parts = msgspec.msgpack.decode(memoryview(body)[head:], type=_Parts)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"these bytes hold no network: {error}") from error
        manifest = Manifest.decode(parts.manifest)
        return cls(manifest, parts.manifest, parts.weights, parts.signature)._checked()

    def _checked(self) -> Self:
        """Itself, if the weights are those that the manifest tells of."""
        told, found = self.manifest.weights, len(self.weights)
        if found != told.size or _digest(self.weights) != told.digest:
            raise ArtifactError(
                f"the weights ({found:,} bytes) are not those of the manifest ({told.size:,}): they were changed, cut short, "
                "or belong to another network"
            )
        return self


def parts_of(folder: Path) -> tuple[bytes, bytes]:
    """A manifest's bytes and what signs them, b"" for nothing, before any of it is looked at. Raises ArtifactError."""
    signature = folder / SIGNATURE_FILE
    written = _read(folder / MANIFEST_FILE, MANIFEST_BYTES)
    return written, _read(signature, SIGNATURE_BYTES) if signature.exists() else b""


def artifact_of(
    network: Network,
    *,
    features: Sequence[str],
    hashes: Mapping[str, str],
    entity: str,
    fitted: Fitted,
    calibration: Calibration,
    period: tuple[str, str],
    events: int,
    labels: int,
    frauds: int,
    metrics: Mapping[str, float | None],
    seed: int,
    name: str = NAME,
    code_version: str = "",
    made_at: str = "",
) -> Artifact:
    """The artifact of a network as it is now, for vectors of these `features`; the fields are those of Manifest.

    `hashes` say what each feature measures, all that it reads at least. Raises ArtifactError for a network that no reader
    would take, such as one with weights that are no numbers.
    """
    weights = safetensors.torch.save(_plain(network))
    digest, names = _digest(weights), tuple(features)
    reads = tuple([hashes[each] for each in names])
    manifest = Manifest(
        format=FORMAT,
        name=name,
        network=network_id(network.shape, fitted, names, reads, entity, digest),
        shape=network.shape,
        fitted=fitted,
        features=names,
        hashes=reads,
        entity=entity,
        calibration=Calibration(*map(float, calibration)),
        period=period,
        events=events,
        labels=labels,
        frauds=frauds,
        metrics={key: _told(value) for key, value in metrics.items()},
        seed=seed,
        code_version=code_version or version("weir"),
        made_at=made_at or datetime.now(UTC).isoformat(timespec="seconds"),
        weights=Weights(len(weights), digest),
    )
    made = Artifact(manifest, manifest.encode(), weights)
    _tensors(made)
    return made


def load(folder: Path, hashes: Mapping[str, str], *, device: str = "cpu") -> SequenceScorer:
    """The scorer in a folder, for a profile whose features measure this, by name.

    Raises ArtifactError if it cannot be used. Whether it is signed is for those to ask who do not trust the folder.
    """
    return scorer_of(Artifact.read(folder), hashes, device=device)


def scorer_of(artifact: Artifact, hashes: Mapping[str, str], *, device: str = "cpu") -> SequenceScorer:
    """The scorer of an artifact, for vectors of the features that its manifest names, in that order.

    The profile, whose features measure `hashes`, may have more of them, in another order. Raises ArtifactError if one
    that the network reads is missing or measures something else, or the weights do not fit.
    """
    manifest = artifact.manifest
    manifest.refuse_other_features(hashes)
    return SequenceScorer(network_of(artifact), manifest.features, manifest.calibration, device)


def network_of(artifact: Artifact) -> Network:
    """The network itself, out of training; raises ArtifactError if the weights do not fit its shape."""
    manifest, state = artifact.manifest, _tensors(artifact)
    with torch.random.fork_rng(devices=[]):  # what it begins with is replaced, and disturbs no training
        network = Network(manifest.shape, manifest.fitted, manifest.features)
    network.load_state_dict(state)
    return network.eval()


def _tensors(artifact: Artifact) -> dict[str, Tensor]:
    """The weights, each as the manifest's shape asks for it; raises ArtifactError."""
    expected = _expected(artifact.manifest)
    try:
        found = dict(safetensors.deserialize(artifact.weights))  # type: ignore[no-untyped-call] # its stubs lack it
    except safetensors.SafetensorError as error:
        raise ArtifactError(f"the weights are no safetensors: {error}") from error
    if found.keys() != expected.keys():
        odd = ", ".join(sorted(found.keys() ^ expected.keys())[:5])
        raise ArtifactError(f"the weights are not those of its shape: {odd} is missing, or too much")
    return {name: _tensor(name, found[name], shape) for name, shape in expected.items()}


def _expected(manifest: Manifest) -> dict[str, tuple[int, ...]]:
    """By name: the shapes of the tensors that such a network has. Nothing is allocated for them."""
    try:
        with torch.device("meta"):
            network = Network(manifest.shape, manifest.fitted, manifest.features)
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"there is no such network: {error}") from error
    if 4 * network.state > MOST_STATE:
        raise ArtifactError(
            f"a card would carry {4 * network.state:,} bytes of state, {MOST_STATE:,} are possible: take a smaller width, "
            "length or number of layers"
        )
    return {name: tuple(each.shape) for name, each in network.state_dict().items()}


def _most(manifest: Manifest) -> int:
    """Bytes that the weights of such a network have at most: whatever lies in their file, no more of it is read."""
    return sum(4 * prod(shape) for shape in _expected(manifest).values()) + HEADER_BYTES


def _tensor(name: str, found: Mapping[str, Any], shape: tuple[int, ...]) -> Tensor:
    kind, size = found["dtype"], tuple(found["shape"])
    if kind != "F32" or size != shape:
        raise ArtifactError(
            f"the weights {name} are {kind} {list(size)}, and its shape asks for F32 {list(shape)}"
        )
    values = np.frombuffer(found["data"], "<f4").reshape(shape)
    if not np.isfinite(values).all():
        raise ArtifactError(f"the weights {name} are not all numbers")
    return torch.from_numpy(values.astype(np.float32))


def _plain(network: Network) -> dict[str, Tensor]:
    return {
        name: value.detach().to("cpu", torch.float32).contiguous()
        for name, value in network.state_dict().items()
    }


def _told(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=DIGEST_BYTES).hexdigest()


def _read(file: Path, most: int) -> bytes:
    """A file's bytes; raises ArtifactError for one that is not there, or larger than it may be."""
    try:
        if (size := file.stat().st_size) > most:
            raise ArtifactError(f"{file} has {size:,} bytes, and {most:,} are expected at most")
        return file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file} cannot be read: {error.strerror or error}") from error


def _write(file: Path, data: bytes) -> None:
    """A file that is there whole, or as it was before."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    with fresh.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(file)
