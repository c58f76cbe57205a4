"""A training in a process of its own, which writes a checkpoint after every group of lives; FOLDER/weights says where it ends.

python -m tests.unit.models.dying_training FOLDER [resume]
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from models.sequence import Shape
from models.training import Machine, Recipe, Training
from tests.unit.models.learnable import stream

SHAPE, RECIPE = Shape(width=16), Recipe(epochs=3, piece=8, cards=8)


def training():
    return Training(stream(2_000, 100), SHAPE, RECIPE, Machine(save_seconds=0.0))


def main(folder, resume):
    torch.set_num_threads(1)
    begun = training()
    if resume and not begun.resume(folder / "checkpoint"):
        sys.exit("there is no checkpoint")
    trained = begun.run(lambda done, _: print(done, flush=True), folder / "checkpoint")  # noqa: T201
    save_file(trained.network.state_dict(), folder / "weights")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "resume" in sys.argv)
