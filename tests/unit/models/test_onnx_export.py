"""A network in ONNX gives what it gives in torch, step after step, for any number of cards."""

import builtins
from pathlib import Path

import numpy as np
import pytest
import torch

from models.onnx_export import OnnxMissing, export, exported
from models.sequence import Shape
from tests.unit.models.artifacts import SHAPES, artifact, network


def test_where_onnx_is_not_installed_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "onnxscript":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return known(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        OnnxMissing, match=r"needs onnxscript, which is not there: pip install 'weir\[onnx\]'"
    ):
        exported(artifact())


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.architecture}-{shape.cached}")
def test_onnx_gives_what_torch_gives_over_steps_with_carried_state(shape: Shape, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = artifact(shape)
    export(made, tmp_path / "it.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "it.onnx")
    said = session.get_modelmeta().custom_metadata_map
    assert said == {"network": made.manifest.network, "manifest": made.manifest_bytes.decode()}
    assert str(Path(__file__).parents[3]).encode() not in (tmp_path / "it.onnx").read_bytes(), "no paths"
    known = network(shape).eval()
    for cards in (1, 2, 7):
        draw = np.random.default_rng(cards)
        state = known.begin(cards)
        carried = state.numpy()
        for _ in range(12):
            vectors = draw.normal(scale=3, size=(cards, 1, 3)).astype(np.float32)
            vectors[..., 2] = draw.integers(0, 5, (cards, 1))
            vectors[draw.random(vectors.shape) < 0.1] = np.nan
            vectors[draw.random(vectors.shape) < 0.05] = np.inf
            logits, carried = session.run(None, {"vectors": vectors, "state": carried})
            with torch.inference_mode():
                expected, state = known(torch.from_numpy(vectors), state)
            assert np.allclose(logits, expected.numpy(), rtol=0, atol=1e-5)
            assert np.allclose(carried, state.numpy(), rtol=0, atol=1e-5)
