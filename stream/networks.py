"""Networks on the topic `models`: which one is in use, what stands there, and how one gets there.

Torch takes seconds to import, so only what opens a network brings it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from models.snapshot import SnapshotError
from stream.contest import NewestUsable, Published, opened_under_its_name
from stream.follow import Follower
from stream.model_keys import TrustedKeys
from stream.records import Outgoing, Publisher, Record, Tail
from stream.signing import Release, Signed, Signer, opened_release, signer_of_manifest
from stream.watch import Reading

if TYPE_CHECKING:
    from models.artifact import Artifact
    from models.batched import SequenceScorer
    from models.manifest import Manifest

logger = logging.getLogger(__name__)

MODEL = "sequence"
"""The name of the networks: the key of their records."""

VERSION = b"1"


class Reigning(NamedTuple):
    """The network that is to be used."""

    scorer: SequenceScorer
    version: str  # such as "sequence-3": what decisions name
    manifest: Manifest


class Networks(NewestUsable[Release, Reigning | None]):
    """Which of the networks on the topic is in use: the one of the highest number that can be used.

    One that is not signed by a trusted key, damaged, not of the profile's features or entity, or older than what was there
    before is refused, and the one in use stays.
    """

    def __init__(
        self, trusted: TrustedKeys, hashes: Mapping[str, str], entity: str | None, *, device: str = "cpu"
    ) -> None:
        """Networks count that read events by this entity, and features that are among these and measure the same."""
        super().__init__(trusted, MODEL, opened_release, None)
        self._hashes, self._entity, self._device = hashes, entity, device

    def use(self, held: Release) -> Reigning:
        """The network of a release, ready to score; raises SnapshotError."""
        from models.artifact import Artifact

        artifact = Artifact.unpack(held.artifact)
        scorer = fitting(artifact, self._hashes, self._entity, device=self._device)
        return Reigning(scorer, held.model_version, artifact.manifest)


class SequenceFeed(Published[Reigning | None]):
    """The newest usable network, followed in a thread; None before the first. Who asks swaps when its states are filled."""

    def __init__(self, open_tail: Callable[[], Tail], networks: Networks) -> None:
        """Read all that stands on the topic; raises what keeps it from being read."""
        super().__init__(open_tail, networks)

    def readings(self) -> Iterator[Reading]:
        """For metrics."""
        yield Reading("weir_networks_refused", self.refused)
        if (newest := self.newest()) is not None:
            yield Reading(
                "weir_network_info", 1, {"version": newest.version, "network": newest.manifest.network}
            )


def fitting(
    artifact: Artifact, hashes: Mapping[str, str], entity: str | None, *, device: str = "cpu"
) -> SequenceScorer:
    """The scorer of a network for a profile whose features measure `hashes`, and whose events are in order by `entity`.

    Raises ArtifactError if it was trained for another entity or on other features, or cannot be used at all.
    """
    from models.artifact import ArtifactError, scorer_of

    manifest = artifact.manifest
    if manifest.entity != entity:
        raise ArtifactError(
            f"the network {manifest.network} reads the events of a {manifest.entity}, and the profile keeps those of a "
            f"{entity} in order: train a new network, or go back to the profile it was trained with"
        )
    return scorer_of(artifact, hashes, device=device)


def trusted_folder(folder: Path, trusted: TrustedKeys) -> tuple[Artifact, str]:
    """The network in a folder, and the trusted key that signed it; raises SnapshotError for any other.

    The signature is looked at before anything of the manifest is believed.
    """
    from models.artifact import Artifact, parts_of

    manifest, signature = parts_of(folder)
    key_id = signer_of_manifest(signature, manifest, trusted.key)
    artifact = Artifact.read(folder)
    if artifact.manifest_bytes != manifest:
        raise SnapshotError(f"the manifest in {folder} was changed while it was read")
    return artifact, key_id


class Standing(NamedTuple):
    """A record of a network on the topic, as a person looks at it."""

    place: str
    signed: Signed[Release] | None
    refusal: str  # why it cannot be trusted; "" where it can


def standing(open_tail: Callable[[], Tail], trusted: TrustedKeys) -> list[Standing]:
    """The networks that stand on the topic, in order; raises what keeps it from being read."""
    seen = _Seen(trusted)
    Follower(open_tail, seen).read_all()
    return seen.found


def release(
    artifact: Artifact,
    signer: Signer,
    publisher: Publisher,
    topic: str,
    open_tail: Callable[[], Tail],
    trusted: TrustedKeys,
) -> Release:
    """Sign and publish a network under the next number; gives what stands on the topic then.

    Raises TooLarge, SnapshotError where somebody else published under that number, and what the log raises.
    """
    number = 1 + max(_numbers(standing(open_tail, trusted)), default=0)
    made = Release(MODEL, number, datetime.now(UTC).isoformat(timespec="seconds"), artifact.pack())
    value = signer.sign_release(made)
    headers = (("v", VERSION), ("model_version", made.model_version.encode()))
    publisher.publish(topic, [Outgoing(MODEL.encode(), value, headers)])
    _refuse_another(made, standing(open_tail, trusted))
    return made


def _numbers(found: Sequence[Standing]) -> Iterator[int]:
    return (each.signed.snapshot.number for each in found if each.signed is not None)


def _refuse_another(made: Release, found: Sequence[Standing]) -> None:
    """Two who publish at once take the same number: scorers keep to the first."""
    numbered = [each.signed.snapshot for each in found if each.signed is not None]
    first = next((each for each in numbered if each.number == made.number), None)
    if first != made:
        raise SnapshotError(
            f"somebody else published {made.model_version} at the same time, and scorers refuse this one: publish it again"
        )


class _Seen:
    """What stands on the topic of networks (stream.follow.Audience)."""

    def __init__(self, trusted: TrustedKeys) -> None:
        self.found: list[Standing] = []
        self._trusted = trusted

    def begin(self) -> None:
        self.found = []

    def again(self) -> bool:
        return False

    def take(self, records: Sequence[Record]) -> None:
        self.found += [self._standing(record) for record in records if record.key == MODEL.encode()]

    def _standing(self, record: Record) -> Standing:
        place = f"{record.topic}[{record.partition}]@{record.offset}"
        try:
            return Standing(place, opened_under_its_name(record, self._trusted, opened_release), "")
        except SnapshotError as error:
            return Standing(place, None, str(error))


def signed(artifact: Artifact, signer: Signer) -> Artifact:
    """The same, its manifest signed."""
    return msgspec.structs.replace(artifact, signature=signer.sign_manifest(artifact.manifest_bytes))
