"""A whole training: rows from a file or from what was logged, the network that they teach, and what is written of it.

The folder that is named holds a checkpoint while it goes on, and in the end the network's artifact and a page that tells how
it went. What is written first is the time of training, so that a run that goes on sees what the first one saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from features.events import to_datetime
from features.profile import Profile
from features.sequence_settings import SequenceSettings
from models.artifact import Artifact, artifact_of
from models.sequence import Shape
from models.training import Machine, Recipe, Told, Trained, Training
from stream.gather import Gathered

CHECKPOINT, BEGUN = "training.checkpoint", "training.json"


class TrainError(Exception):
    """A training that cannot begin; the text says what to do."""


class Begun(msgspec.Struct, frozen=True):
    """What a run that goes on must know of the one that began."""

    until_us: int


class Outcome(msgspec.Struct, frozen=True):
    """What a training found, and where it was written."""

    profile: str
    entity: str
    features: tuple[str, ...]
    shape: Shape
    recipe: Recipe
    until_us: int
    left_out: dict[str, int]
    trained: Trained
    network: str  # its id
    folder: Path
    seconds: float


def settings_of(profile: Profile) -> SequenceSettings:
    """What the profile says of its network; one that says nothing gets a GRU that reads all. Raises TrainError."""
    if profile.sequence is not None:
        return profile.sequence
    if profile.partition_by is None:
        raise TrainError(
            f"the profile {profile.name} has no entity whose events a network could read in order: name one in [entities]"
        )
    return SequenceSettings(entity=profile.partition_by, features=profile.features.names)


def shape_of(settings: SequenceSettings, architecture: str | None) -> Shape:
    """The network of the profile, or one of another architecture."""
    return Shape(
        architecture=architecture or settings.architecture,
        width=settings.width,
        layers=settings.layers,
        length=settings.length,
    )


def begun(folder: Path) -> int | None:
    """The time of the training that began in a folder, in microseconds since 1970; None where none did. Raises TrainError."""
    file = folder / BEGUN
    if not file.exists():
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Begun).until_us
    except msgspec.MsgspecError as error:
        raise TrainError(f"{file} cannot be read ({error}): train without --resume") from error


class Run:
    """One training in a folder of its own. `total` is how many events it reads at most."""

    def __init__(
        self,
        profile: Profile,
        gathered: Gathered,
        shape: Shape,
        recipe: Recipe,
        machine: Machine,
        folder: Path,
        *,
        resume: bool,
    ) -> None:
        """Go on in `folder` if `resume` says so and a training of the same began there, else begin.

        Raises models.periods.TrainingError and models.checkpoint.CheckpointError.
        """
        self._profile, self._settings = profile, settings_of(profile)
        self._gathered, self._folder = gathered, folder
        self._training = Training(gathered.rows, shape, recipe, machine)
        folder.mkdir(parents=True, exist_ok=True)
        self.resumed = resume and self._training.resume(folder / CHECKPOINT)
        if not self.resumed:
            (folder / CHECKPOINT).unlink(missing_ok=True)
            (folder / BEGUN).write_bytes(msgspec.json.encode(Begun(gathered.until_us)))

    @property
    def total(self) -> int:
        """How many events are read at most, over all epochs."""
        return self._training.total

    def run(self, told: Told, write_page: Callable[[Outcome, Path], None]) -> Outcome:
        """Train, and write the artifact and the page."""
        began = time.monotonic()
        trained = self._training.run(told, self._folder / CHECKPOINT)
        artifact = self._artifact(trained)
        artifact.save(self._folder)
        outcome = Outcome(
            profile=self._profile.name,
            entity=self._settings.entity,
            features=self._settings.features,
            shape=self._training.shape,
            recipe=self._training.recipe,
            until_us=self._gathered.until_us,
            left_out=self._gathered.left_out,
            trained=trained,
            network=artifact.manifest.network,
            folder=self._folder,
            seconds=time.monotonic() - began,
        )
        write_page(outcome, self._folder / "report.html")
        for name in (CHECKPOINT, BEGUN):
            (self._folder / name).unlink(missing_ok=True)
        return outcome

    def _artifact(self, trained: Trained) -> Artifact:
        learned = trained.learned_from
        return artifact_of(
            trained.network,
            features=self._settings.features,
            hashes=self._profile.features.hashes,
            entity=self._settings.entity,
            fitted=trained.fitted,
            calibration=trained.calibration,
            period=(to_datetime(learned.from_us).isoformat(), to_datetime(learned.until_us).isoformat()),
            events=learned.events,
            labels=learned.labels,
            frauds=learned.frauds,
            metrics=msgspec.structs.asdict(trained.measures),
            seed=self._training.recipe.seed,
        )
