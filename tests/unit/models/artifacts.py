"""Small networks and their artifacts, for tests."""

from __future__ import annotations

import numpy as np
import torch

from models.artifact import Artifact, artifact_of
from models.batched import Calibration
from models.encoding import fit
from models.sequence import Network, Shape

NAMES = ("amount", "gap", "channel")
HASHES = {"amount": "a1", "gap": "g1", "channel": "c1"}
SHAPES = [
    Shape(architecture="gru", width=8, layers=2),
    Shape(architecture="lstm", width=8, layers=2),
    Shape(architecture="tcn", width=8, layers=3),
    Shape(architecture="feedforward", width=8),
    Shape(architecture="transformer", width=8, layers=2, length=5),
    Shape(architecture="transformer", width=8, layers=2, length=5, cached=False),
]


def fitted():
    drawn = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
    drawn[:, 2] = np.arange(200) % 5
    return fit(NAMES, drawn, {"channel": 5}, bins=4)


def network(shape: Shape = SHAPES[0], seed: int = 3) -> Network:
    """One in which everything counts, as in a trained one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = Network(shape, fitted(), NAMES)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made


def artifact(
    shape: Shape = SHAPES[0], seed: int = 3, network_: Network | None = None, **other: object
) -> Artifact:
    said = {
        "features": NAMES,
        "hashes": HASHES,
        "entity": "card",
        "fitted": fitted(),
        "calibration": Calibration(1.3, -0.2),
        "period": ("2026-01-01T00:00:00+00:00", "2026-03-01T00:00:00+00:00"),
        "events": 900,
        "labels": 800,
        "frauds": 9,
        "metrics": {"ap": 0.75, "auc": float("nan")},
        "seed": seed,
        "code_version": "0.1.0",
        "made_at": "2026-03-02T00:00:00+00:00",
    }
    return artifact_of(network_ or network(shape, seed), **said | other)
