"""A numbered, immutable snapshot: what a learner published, and what every decision names."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Self

import msgspec

from models.base import Scorer

FORMAT = 2
"""The layout of the bytes; a reader refuses another one rather than guess. Without hashes it is still the first."""

MAGIC = b"weir-snapshot\n"
DIGEST_BYTES = 32


class SnapshotError(Exception):
    """A snapshot, or the scorer in it, that cannot be used; the text says why."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A scorer as it was after so many labels, with all that is needed to decide with it and to learn on."""

    number: int
    model_version: str  # what decisions name: the scorer's name and the number, such as "river-12"
    features: tuple[str, ...]
    features_version: str
    threshold: float  # alerts start here; may be infinite
    learned: int  # labels
    positions: dict[str, int]  # "topic/partition" -> the next offset to learn from
    made_at: str  # ISO 8601
    scorer: bytes  # as Scorer.dump gave it
    digest: bytes  # of all the rest
    hashes: tuple[str, ...] = ()  # of each of `features`: what it measured; none in those of format 1

    @classmethod
    def of(
        cls,
        scorer: Scorer,
        *,
        number: int,
        features_version: str,
        threshold: float,
        learned: int,
        positions: Mapping[str, int],
        made_at: str,
        hashes: Mapping[str, str] | None = None,
    ) -> Self:
        """The snapshot of a scorer as it is now; `hashes` say what each feature measures, all of those it reads at least."""
        unsigned = cls(
            number=number,
            model_version=f"{scorer.name}-{number}",
            features=scorer.features,
            features_version=features_version,
            threshold=threshold,
            learned=learned,
            positions=dict(sorted(positions.items())),
            made_at=made_at,
            scorer=scorer.dump(),
            digest=b"",
            hashes=tuple([hashes[name] for name in scorer.features]) if hashes else (),
        )
        return msgspec.structs.replace(unsigned, digest=_digest(unsigned))

    def encode(self) -> bytes:
        """The snapshot as bytes: equal snapshots give equal bytes."""
        return MAGIC + bytes([FORMAT if self.hashes else 1]) + msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The snapshot that `encode` wrote; raises SnapshotError when anything in it has changed."""
        if not data.startswith(MAGIC) or len(data) <= len(MAGIC):
            raise SnapshotError("these bytes are no snapshot of Weir")
        if not 1 <= data[len(MAGIC)] <= FORMAT:
            raise SnapshotError(
                f"the snapshot is of format {data[len(MAGIC)]}, this Weir reads format {FORMAT} and older: "
                "read it with the Weir that wrote it, or learn anew"
            )
        try:
            snapshot = msgspec.msgpack.decode(memoryview(data)[len(MAGIC) + 1 :], type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SnapshotError(f"the snapshot is cut short or damaged: {error}") from error
        if _digest(snapshot) != snapshot.digest or snapshot.encode() != data:
            raise SnapshotError(
                f"the snapshot says {snapshot.model_version}, but its content does not match its digest"
            )
        return snapshot


def _digest(snapshot: Snapshot) -> bytes:
    rest = msgspec.structs.replace(snapshot, digest=b"")
    return blake2b(msgspec.msgpack.encode(rest), digest_size=DIGEST_BYTES).digest()
