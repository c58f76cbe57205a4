"""How far a training has come, on disk: one file in the format of safetensors, with what is no tensor as JSON in its head.

It is written beside the old one and takes its place in one step, so a process that is killed at any moment leaves a whole one.
Nothing in it runs when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

FORMAT = "weir-training-1"

T = TypeVar("T")


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the text says why, and what to do."""


def write(path: Path, tensors: dict[str, Tensor], state: msgspec.Struct) -> None:
    """Put tensors and state in the place of what `path` held; durable when it returns."""
    written = path.with_name(f"{path.name}.new")
    kept = {name: each.detach().cpu().contiguous().clone() for name, each in tensors.items()}
    text = msgspec.json.encode(state).decode()
    save_file(kept, written, {"format": FORMAT, "state": text, "digest": _digest(kept, text)})
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read(path: Path, kind: type[T]) -> tuple[dict[str, Tensor], T]:
    """The tensors and the state of a checkpoint; raises CheckpointError where it is none, or damaged."""
    try:
        with safe_open(path, "pt") as file:
            head = file.metadata() or {}
            if head.get("format") != FORMAT:
                raise CheckpointError(
                    f"the checkpoint {path} is of the format {head.get('format')!r}, this Weir reads {FORMAT}: delete it, "
                    "or train without --resume"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if head["digest"] != _digest(tensors, head["state"]):
                raise CheckpointError(
                    f"the checkpoint {path} is damaged: delete it, or train without --resume"
                )
            return tensors, msgspec.json.decode(head["state"], type=kind)
    except (SafetensorError, msgspec.MsgspecError, OSError, KeyError) as error:
        raise CheckpointError(
            f"the checkpoint {path} cannot be read ({error}): delete it, or train without --resume"
        ) from error


def _digest(tensors: Mapping[str, Tensor], state: str) -> str:
    found = blake2b(state.encode(), digest_size=16)
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()
