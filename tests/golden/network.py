"""Writes the golden networks: ``python -m tests.golden.network FOLDER``. What it wrote for a format is never written again.

It is drawn, not trained, signed by a key that everybody knows, and scored by the Weir that wrote it.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

from models.artifact import Artifact, scorer_of
from models.base import Vector
from models.batched import Series
from stream.networks import signed
from stream.signing import Signer
from tests.unit.models.artifacts import HASHES, SHAPES, artifact

SIGNER = Signer(bytes(range(32)))
LIFE: list[Vector] = [
    (12.5, math.nan, 0.0),
    (0.1, 2.0, 4.0),
    (-3.0, 0.25, 1.0),
    (math.inf, -1.0, 2.0),
    (1.0, 1.0, math.nan),
]


def scores(made: Artifact) -> list[float]:
    """Of a card's life, an event at a time."""
    scorer, state, told = scorer_of(made, HASHES), b"", []
    for vector in LIFE:
        [(state, new)] = scorer.advance([Series(state, [vector])])
        told += new
    return told


def write(folder: Path) -> None:
    """Of all architectures, for the shape of each stands in its manifest."""
    for shape in SHAPES:
        name = f"{shape.architecture}{'' if shape.cached else '-anew'}"
        made = signed(artifact(shape), SIGNER)
        made.save(folder / name)
        (folder / name / "scores.json").write_text(json.dumps(scores(made)) + "\n")
    made = signed(artifact(), SIGNER)
    (folder / "gru.packed").write_bytes(made.pack())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
