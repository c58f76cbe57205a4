"""A network for other runtimes: one step of it in ONNX, (vectors, state) to (logits, state).

    vectors  [cards, 1, features]  float32, the manifest's features in its order, NaN where not known
    state    [cards, S]            as the step before gave it; zeros for a card without a past
    logits   [cards, 1]            1 / (1 + exp(-(slope * logit + offset))) of the manifest's calibration is the probability
    after    [cards, S]

The manifest and what scorers need of it stand in the file's metadata. A network without state takes and gives one of no width.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from models.artifact import Artifact, network_of

OPSET = 20
NAMES = (("vectors", "state"), ("logits", "after"))


class OnnxMissing(Exception):
    """What writes ONNX is not installed; the text says how to get it."""


def export(artifact: Artifact, file: Path) -> None:
    """Write the network's step; raises OnnxMissing, and ArtifactError for a network that is not sound."""
    data = exported(artifact)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(file)


def exported(artifact: Artifact) -> bytes:
    """The same as bytes."""
    onnx = _onnx()
    network = network_of(artifact)
    manifest, cards = artifact.manifest, torch.export.Dim("cards")
    arguments = (torch.zeros(2, 1, len(manifest.features)), torch.zeros(2, network.state))
    # The kernels of attention differ in how their output lies in memory, which must not be written down.
    with _quiet(), sdpa_kernel(SDPBackend.MATH):
        program = torch.onnx.export(
            network,
            arguments,
            input_names=list(NAMES[0]),
            output_names=list(NAMES[1]),
            dynamic_shapes=({0: cards}, {0: cards}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    model: Any = program.model_proto if program is not None else None
    said = {"network": manifest.network, "manifest": artifact.manifest_bytes.decode()}
    onnx.helper.set_model_props(model, said)
    for node in model.graph.node:
        del node.metadata_props[:]  # traces of our code, with this machine's paths
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter has to say of itself, such as that torchvision is not there."""
    told, level = logging.getLogger("torch.onnx"), logging.getLogger("torch.onnx").level
    told.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.setLevel(level)


def _onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401 - torch writes with it
    except ModuleNotFoundError as error:
        raise OnnxMissing(f"ONNX needs {error.name}, which is not there: pip install 'weir[onnx]'") from error
    return onnx
