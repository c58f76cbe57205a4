"""What is to be known of a trained network beside its weights: a manifest, JSON that a person can read.

    {
      "digest": "...",     of every byte behind this line
      "format": 1, "name": ..., "network": ..., ...

Nothing in it is believed before it was checked: sizes that would take gigabytes, borders of bins that do not rise, features
that the profile lacks or that measure something else now are refused, each with its reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Self

import msgspec

from models.batched import Calibration
from models.encoding import Fitted
from models.sequence import BODIES, Shape
from models.snapshot import SnapshotError

FORMAT = 1
"""Of the manifest; a reader refuses a later one by its number."""

HEAD, BEHIND = b'{\n  "digest": "', b'",\n'
DIGEST_BYTES, ID_BYTES = 32, 8
BODY = len(HEAD) + 2 * DIGEST_BYTES + len(BEHIND)

MANIFEST_BYTES = 4_000_000
"""No manifest is larger: one of a hundred features has 30,000."""

MOST = {"width": 4_096, "layers": 16, "length": 4_096, "heads": 256, "kernel": 64}
MOST_FEATURES, MOST_PARTS, MOST_BUCKETS, MOST_STATE = 4_096, 1_000_000, 50_000_000, 1_000_000
"""Features; parts of bins in all; buckets of a category; bytes of state that a card carries."""


class ArtifactError(SnapshotError):
    """A network, or what is said of it, that cannot be used; the text says why."""


class Weights(msgspec.Struct, frozen=True):
    """The file of weights that belongs to a manifest."""

    size: int  # bytes
    digest: str  # BLAKE2b of 32 bytes, hexadecimal


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A trained network: what it is, what it reads, and how it came to be. `check` holds of every one that was decoded."""

    format: int
    name: str  # of the model: decisions name it by this and a number
    network: str  # its id: equal ids carry states that mean the same (see `network_id`)
    shape: Shape
    fitted: Fitted
    features: tuple[str, ...]  # that it reads, in the order of its vectors
    hashes: tuple[str, ...]  # of each of them: what it measured
    entity: str  # whose events it reads in order
    calibration: Calibration
    period: tuple[str, str]  # of the events that it learned from: first and last, ISO 8601
    events: int  # of that period
    labels: int  # that had arrived
    frauds: int  # among these
    metrics: Mapping[str, float | None]  # on a later period; None for what has no value there
    seed: int
    code_version: str
    made_at: str  # ISO 8601
    weights: Weights

    @property
    def reads(self) -> dict[str, str]:
        """By name, in the order of its vectors: what each feature that it reads measured."""
        return dict(zip(self.features, self.hashes, strict=True))

    def encode(self) -> bytes:
        """The manifest as its file: equal manifests give equal bytes.

        Raises ArtifactError for one that `decode` would refuse, so that none such comes into the world.
        """
        self.check()
        body = msgspec.json.format(msgspec.json.encode(self, order="deterministic"), indent=2)[2:] + b"\n"
        return HEAD + _digest(body).encode() + BEHIND + body

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The manifest that `encode` wrote, in this or an earlier Weir; raises ArtifactError for anything else."""
        if len(data) > MANIFEST_BYTES:
            raise ArtifactError(
                f"a manifest has {MANIFEST_BYTES:,} bytes at most, and this one {len(data):,}"
            )
        if not data.startswith(HEAD) or data[BODY - len(BEHIND) : BODY] != BEHIND:
            raise ArtifactError("this is no manifest of a network of Weir")
        if data[len(HEAD) : BODY - len(BEHIND)] != _digest(data[BODY:]).encode():
            raise ArtifactError("the manifest was changed or cut short: it does not match its digest")
        _refuse_other_format(b"{" + data[BODY:])
        try:
            made = msgspec.json.decode(b"{" + data[BODY:], type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"the manifest lacks something, or has it wrong: {error}") from error
        made.check()
        return made

    def check(self) -> None:
        """Raise ArtifactError for what fits nothing, is larger than any network of Weir, or contradicts itself."""
        _refuse_shape(self.shape)
        _refuse_fitted(self.fitted, self.features)
        if len(self.hashes) != len(self.features):
            raise ArtifactError(
                f"it reads {len(self.features)} features, and tells of {len(self.hashes)} what they measure"
            )
        if not all(map(math.isfinite, self.calibration)):
            raise ArtifactError("its calibration is no number")
        known = network_id(
            self.shape, self.fitted, self.features, self.hashes, self.entity, self.weights.digest
        )
        if self.network != known:
            raise ArtifactError(
                f"it calls itself network {self.network!r}, and what it tells is network {known}: it was changed, or a later "
                "Weir made it"
            )

    def refuse_other_features(self, hashes: Mapping[str, str]) -> None:
        """Raise ArtifactError if a feature that the network reads is not among these, or measures something else now."""
        missing = [name for name in self.features if name not in hashes]
        changed = [name for name, known in self.reads.items() if name in hashes and hashes[name] != known]
        if missing or changed:
            told = [f"{name}, which the profile does not declare" for name in missing]
            told += [f"{name}, which measures something else now" for name in changed]
            raise ArtifactError(
                f"the network {self.network} reads {'; '.join(told)}: declare it as it was, or train a new network"
            )


def network_id(
    shape: Shape,
    fitted: Fitted,
    features: Sequence[str],
    hashes: Sequence[str],
    entity: str,
    weights_digest: str,
) -> str:
    """16 hexadecimal digits: of what a network is and reads, and so of all that a card's state depends on.

    What a shape or an encoding leaves at its default is left out, so that an id outlives the next thing that can be chosen.
    """
    parts = [_chosen(shape), _chosen(fitted), list(features), list(hashes), entity, weights_digest]
    return blake2b(msgspec.json.encode(parts, order="deterministic"), digest_size=ID_BYTES).hexdigest()


def _chosen(struct: Shape | Fitted) -> dict[str, Any]:
    fields = msgspec.structs.fields(struct)
    return {each.name: value for each in fields if (value := getattr(struct, each.name)) != each.default}


def _digest(body: bytes) -> str:
    return blake2b(body, digest_size=DIGEST_BYTES).hexdigest()


class _Formatted(msgspec.Struct):
    format: int


def _refuse_other_format(body: bytes) -> None:
    """Before anything else is looked at: another format may name everything otherwise."""
    try:
        found = msgspec.json.decode(body, type=_Formatted).format
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"the manifest says no format: {error}") from error
    if found != FORMAT:
        raise ArtifactError(
            f"the manifest is of format {found}, this Weir reads format {FORMAT}: read it with the Weir that wrote it, or "
            "train a new network"
        )


def _refuse_shape(shape: Shape) -> None:
    if shape.architecture not in BODIES:
        raise ArtifactError(
            f"{shape.architecture!r} is no architecture known here; these are: {', '.join(BODIES)}"
        )
    for name, most in MOST.items():
        if not 1 <= (value := getattr(shape, name)) <= most:
            raise ArtifactError(f"its {name} is {value:,}: 1 to {most:,} is possible")
    if shape.architecture == "transformer" and shape.width % shape.heads:
        raise ArtifactError(f"its width {shape.width} cannot be shared among {shape.heads} heads")
    if shape.architecture == "tcn" and shape.kernel < 2:
        raise ArtifactError("a kernel of one event looks back to none")
    if not 0.0 <= shape.dropout < 1.0:
        raise ArtifactError(f"its dropout is {shape.dropout}: 0 to below 1 is possible")


def _refuse_fitted(fitted: Fitted, features: Sequence[str]) -> None:
    inputs = (*fitted.numbers, *fitted.categories)
    if not 0 < len(features) <= MOST_FEATURES or len(set(features)) < len(features):
        raise ArtifactError(
            f"it reads {len(features):,} features: 1 to {MOST_FEATURES:,} different ones are possible"
        )
    if len(set(inputs)) < len(inputs) or not set(inputs) <= set(features):
        raise ArtifactError("its encoding reads a feature twice, or one that it does not name")
    if len(fitted.edges) != len(fitted.numbers) or len(fitted.sizes) != len(fitted.categories):
        raise ArtifactError(
            "its encoding has not one row of bins for each number, or one size for each category"
        )
    if len(fitted.numbers) * max([1, *map(len, fitted.edges)]) > MOST_PARTS:
        raise ArtifactError(f"its numbers have more than {MOST_PARTS:,} bins")
    if not all(map(_rising, fitted.edges)):
        raise ArtifactError("the borders of its bins do not rise, or are no numbers")
    if not all(1 <= size <= MOST_BUCKETS for size in fitted.sizes):
        raise ArtifactError(f"a category of it has not 1 to {MOST_BUCKETS:,} values")


def _rising(edges: Sequence[float]) -> bool:
    return all(map(math.isfinite, edges)) and all(low < high for low, high in pairwise(edges))
