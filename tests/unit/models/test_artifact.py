"""A network's artifact: what is written comes back, equal networks are equal bytes, and nothing else is let in."""

import json
import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artifact import MANIFEST_FILE, WEIGHTS_FILE, Artifact, load, network_of, parts_of, scorer_of
from models.batched import Calibration, SequenceScorer, Series
from models.encoding import Fitted
from models.manifest import BEHIND, BODY, HEAD, ArtifactError, Manifest, Weights, network_id
from models.manifest import _digest as digest_of
from models.sequence import BODIES, Shape
from tests.golden.network import scores
from tests.unit.models.artifacts import HASHES, NAMES, SHAPES, artifact, network

GOLDEN = Path(__file__).parents[2] / "golden" / "models" / "network.v1"
LIFE = [[math.nan, 2.0, 1.0], [3.0, -1.0, 4.0], [0.5, 0.1, 0.0]]
MADE = artifact()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.architecture}-{shape.cached}")
class TestEveryArchitecture:
    def test_what_was_saved_or_packed_scores_as_the_network_did(self, shape: Shape, tmp_path: Path) -> None:
        made = artifact(shape)
        made.save(tmp_path / "it")
        alone = SequenceScorer(network(shape), NAMES, Calibration(1.3, -0.2))
        expected = alone.advance([Series(b"", LIFE)])
        assert load(tmp_path / "it", HASHES).advance([Series(b"", LIFE)]) == expected
        assert scorer_of(Artifact.unpack(made.pack()), HASHES).advance([Series(b"", LIFE)]) == expected

    def test_equal_networks_are_equal_bytes_and_have_one_id(self, shape: Shape) -> None:
        assert artifact(shape).pack() == artifact(shape).pack()
        other = artifact(shape, seed=4)
        assert other.pack() != artifact(shape).pack()
        assert other.manifest.network != artifact(shape).manifest.network

    def test_a_golden_network_is_read_for_ever(self, shape: Shape) -> None:
        folder = GOLDEN / f"{shape.architecture}{'' if shape.cached else '-anew'}"
        read = Artifact.read(folder)
        expected = json.loads((folder / "scores.json").read_text())
        assert np.allclose(scores(read), expected, rtol=0, atol=1e-6)
        assert read.manifest.shape == shape
        assert artifact(shape).pack() == msgspec.structs.replace(read, signature=b"").pack(), (
            "written the same"
        )


def test_every_architecture_has_an_artifact_and_a_golden_one() -> None:
    assert {shape.architecture for shape in SHAPES} == set(BODIES)


def test_a_golden_network_that_was_packed_is_read_for_ever() -> None:
    packed = (GOLDEN / "gru.packed").read_bytes()
    assert Artifact.unpack(packed) == Artifact.read(GOLDEN / "gru")
    assert Artifact.unpack(packed).pack() == packed


def test_the_manifest_is_for_people_too_and_leaves_out_what_has_no_value(tmp_path: Path) -> None:
    MADE.save(tmp_path)
    said = json.loads((tmp_path / MANIFEST_FILE).read_text())
    assert (said["shape"]["architecture"], said["metrics"]) == ("gru", {"ap": 0.75, "auc": None})
    assert said["features"] == list(NAMES)
    assert Artifact.read(tmp_path).manifest.reads == HASHES


def test_an_id_stays_while_nothing_that_a_state_depends_on_changes() -> None:
    assert (
        artifact(calibration=Calibration(2.0, 0.0), made_at="later").manifest.network == MADE.manifest.network
    )
    assert artifact(hashes=HASHES | {"gap": "g2"}).manifest.network != MADE.manifest.network
    assert artifact(entity="merchant").manifest.network != MADE.manifest.network


def test_loading_a_network_draws_no_random_numbers() -> None:
    torch.manual_seed(1)
    network_of(MADE)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)


# --- features


def test_a_profile_with_more_features_in_another_order_will_do() -> None:
    scorer = scorer_of(MADE, {"new": "n1", "gap": "g1", "amount": "a1", "channel": "c1"})
    assert scorer.features == NAMES


@pytest.mark.parametrize(
    ("hashes", "why"),
    [
        (
            {"amount": "a1", "gap": "g1"},
            "reads channel, which the profile does not declare: declare it as it was",
        ),
        (
            HASHES | {"gap": "g2"},
            "reads gap, which measures something else now: declare it as it was, or train",
        ),
        ({"gap": "g2", "channel": "c1"}, "reads amount, which the .* declare; gap, which measures"),
    ],
)
def test_a_feature_that_is_missing_or_changed_is_told_by_name(hashes: dict[str, str], why: str) -> None:
    with pytest.raises(ArtifactError, match=why):
        scorer_of(MADE, hashes)


# --- damage


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_changed_byte_anywhere_in_the_packed_is_refused(data: st.DataObject) -> None:
    packed = bytearray(MADE.pack())
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ArtifactError):
        Artifact.unpack(bytes(packed))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 3))
def test_whatever_is_unpacked_is_refused_and_breaks_nothing(data: bytes, begins_well: int) -> None:
    packed = MADE.pack()
    with pytest.raises(ArtifactError):
        Artifact.unpack(packed[: [0, 14, 40, 2000][begins_well]] + data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("network")
    MADE.save(made)
    return made


@pytest.mark.parametrize("name", [MANIFEST_FILE, WEIGHTS_FILE])
class TestFiles:
    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_a_changed_byte_is_refused(self, folder: Path, name: str, data: st.DataObject) -> None:
        content = bytearray((folder / name).read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        self.refused(folder, name, bytes(content))

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_a_file_cut_short_or_with_more_behind_it_is_refused(
        self, folder: Path, name: str, data: st.DataObject
    ) -> None:
        content = (folder / name).read_bytes()
        self.refused(folder, name, content[: data.draw(st.integers(0, len(content) - 1))])
        self.refused(folder, name, content + data.draw(st.binary(min_size=1, max_size=20)))

    def test_a_file_that_is_not_there_is_told(self, folder: Path, name: str) -> None:
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        try:
            with pytest.raises(ArtifactError, match=f"{name} cannot be read: No such file"):
                load(folder, HASHES)
        finally:
            (folder / name).write_bytes(kept)

    @staticmethod
    def refused(folder: Path, name: str, content: bytes) -> None:
        kept = (folder / name).read_bytes()
        (folder / name).write_bytes(content)
        try:
            with pytest.raises(ArtifactError):
                load(folder, HASHES)
        finally:
            (folder / name).write_bytes(kept)


def test_a_save_that_was_cut_off_leaves_what_is_refused_or_whole(tmp_path: Path, monkeypatch) -> None:
    MADE.save(tmp_path)

    with monkeypatch.context() as dying:
        dying.setattr("models.artifact.MANIFEST_FILE", "no/such/folder")
        with pytest.raises(OSError, match="No such file"):
            artifact(seed=4).save(tmp_path)
    with pytest.raises(ArtifactError, match="are not those of the manifest"):
        Artifact.read(tmp_path)


# --- what is whole and yet must not be believed: somebody wrote it so


def told(weights: bytes, **other: object) -> Artifact:
    """An artifact whose digests all hold, whatever it says."""
    said = {"weights": Weights(len(weights), digest_of(weights)), **other}
    manifest = msgspec.structs.replace(MADE.manifest, **said)
    known = network_id(
        manifest.shape,
        manifest.fitted,
        manifest.features,
        manifest.hashes,
        manifest.entity,
        manifest.weights.digest,
    )
    manifest = msgspec.structs.replace(manifest, network=known)
    body = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2)[2:]
    return Artifact(manifest, HEAD + digest_of(body).encode() + BEHIND + body, weights)


def test_what_is_told_here_is_otherwise_let_in() -> None:
    """Or all that follows would be refused for a reason of its own."""
    scorer_of(Artifact.unpack(told(MADE.weights).pack()), HASHES)


GIANT = {"width": 4_096, "layers": 16, "length": 4_096}
FITTED = MADE.manifest.fitted


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"shape": Shape(architecture="rnn", width=8)}, "'rnn' is no architecture known here"),
        ({"shape": Shape(width=10**9)}, "its width is 1,000,000,000: 1 to 4,096"),
        ({"shape": Shape(width=0)}, "its width is 0"),
        ({"shape": Shape(layers=10**9)}, "its layers is"),
        ({"shape": Shape(layers=-1)}, "its layers is -1"),
        ({"shape": Shape(architecture="transformer", **GIANT)}, "a card would carry"),
        ({"shape": Shape(architecture="transformer", width=8, heads=3)}, "cannot be shared among 3 heads"),
        ({"shape": Shape(architecture="tcn", width=8, kernel=1)}, "looks back to none"),
        ({"shape": Shape(dropout=math.inf)}, None),
        ({"shape": Shape(width=8, layers=1)}, "cells.*is missing, or too much"),
        ({"shape": Shape(width=16, layers=2)}, r"its shape asks for F32 \["),
        ({"fitted": Fitted(("amount",), ((1.0, 1.0),))}, "do not rise"),
        ({"fitted": Fitted(("amount",), ())}, "one row of bins"),
        ({"fitted": Fitted(("other",), ((1.0, 2.0),))}, "one that it does not name"),
        ({"fitted": msgspec.structs.replace(FITTED, sizes=(10**12,))}, "has not 1 to"),
        ({"fitted": msgspec.structs.replace(FITTED, sizes=(0,))}, "has not 1 to"),
        ({"fitted": msgspec.structs.replace(FITTED, sizes=(40_000_000,))}, "its shape asks for"),
        ({"fitted": Fitted(("amount", "gap"), (tuple(map(float, range(600_000))), ()))}, "cannot|bins|bytes"),
        ({"features": ("amount", "amount", "channel")}, "3 features: 1 to"),
        ({"hashes": ("a1",)}, "reads 3 features, and tells of 1"),
        ({"calibration": Calibration(math.nan, 0.0)}, None),
    ],
)
def test_a_manifest_that_asks_for_what_is_not_there_is_refused_before_it_is_made(
    other: dict[str, object], why: str | None, tmp_path: Path
) -> None:
    made = told(MADE.weights, **other)
    with pytest.raises(ArtifactError, match=why):
        scorer_of(Artifact.unpack(made.pack()), HASHES)
    made.save(tmp_path)
    with pytest.raises(ArtifactError, match=why):
        load(tmp_path, HASHES)


def saved(**other: torch.Tensor) -> bytes:
    state = {name: each.clone() for name, each in network().state_dict().items()}
    return safetensors.torch.save(state | other)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        (saved(more=torch.zeros(2)), "more is missing, or too much"),
        (
            saved(**{"head.2.bias": torch.zeros(2)}),
            r"head.2.bias are F32 \[2\], and its shape asks for F32 \[1\]",
        ),
        (saved(**{"head.2.bias": torch.zeros(1).double()}), r"head.2.bias are F64 \[1\]"),
        (saved(**{"head.2.bias": torch.zeros(1).to(torch.bfloat16)}), r"head.2.bias are BF16"),
        (saved(**{"head.2.bias": torch.tensor([math.nan])}), "head.2.bias are not all numbers"),
        (saved(**{"head.2.bias": torch.tensor([math.inf])}), "head.2.bias are not all numbers"),
        (b"", "no safetensors"),
        (b"\xff" * 8 + b"{}", "no safetensors"),
        ((10**15).to_bytes(8, "little") + b"{}", "no safetensors"),
        ((2).to_bytes(8, "little") + b"{}", "is missing, or too much"),
    ],
)
def test_weights_that_are_not_those_of_the_shape_are_refused_by_name(weights: bytes, why: str) -> None:
    with pytest.raises(ArtifactError, match=why):
        scorer_of(Artifact.unpack(told(weights).pack()), HASHES)


def test_a_header_that_tells_of_more_than_is_there_makes_nobody_allocate_it() -> None:
    header = b'{"head.2.bias":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'
    weights = len(header).to_bytes(8, "little") + header + bytes(64)
    with pytest.raises(ArtifactError, match="no safetensors"):
        scorer_of(told(weights), HASHES)


def test_a_file_of_weights_that_is_far_too_large_is_not_read(tmp_path: Path) -> None:
    MADE.save(tmp_path)
    with (tmp_path / WEIGHTS_FILE).open("r+b") as file:
        file.truncate(10**8)
    with pytest.raises(ArtifactError, match=r"has 100,000,000 bytes, and .* are expected at most"):
        Artifact.read(tmp_path)


def test_a_network_whose_weights_ran_away_is_not_written() -> None:
    made = network()
    with torch.no_grad():
        made.head[2].bias.fill_(math.nan)
    with pytest.raises(ArtifactError, match=r"head.2.bias are not all numbers"):
        artifact(network_=made)


def rewritten(**changed: object) -> bytes:
    """The manifest with other fields, or without those that are None."""
    said = json.loads(MADE.manifest_bytes) | changed
    said.pop("digest")
    kept = {name: value for name, value in said.items() if value is not None}
    body = json.dumps(kept, indent=2).encode()[2:]
    return HEAD + digest_of(body).encode() + BEHIND + body


def test_another_format_is_refused_by_its_number() -> None:
    with pytest.raises(
        ArtifactError, match="is of format 2, this Weir reads format 1: read it with the Weir"
    ):
        Manifest.decode(rewritten(format=2, shape="else"))


@pytest.mark.parametrize(
    "name",
    [each for each in json.loads(MADE.manifest_bytes) if each != "digest"],
)
def test_a_manifest_that_lacks_anything_is_refused(name: str) -> None:
    with pytest.raises(ArtifactError, match=r"lacks something|says no format"):
        Manifest.decode(rewritten(**{name: None}))


def test_a_choice_that_this_weir_does_not_know_is_not_passed_over() -> None:
    """A later Weir's network would be read as another one."""
    shape = json.loads(MADE.manifest_bytes)["shape"]
    assert (
        Manifest.decode(rewritten(note="nothing that a network depends on")).network == MADE.manifest.network
    )
    with pytest.raises(ArtifactError, match="or a later Weir made it"):
        Manifest.decode(rewritten(shape=shape | {"width": 9}))


def test_a_signature_file_is_as_small_as_a_signature(tmp_path: Path) -> None:
    MADE.save(tmp_path)
    (tmp_path / "manifest.sig").write_bytes(bytes(5_000))
    with pytest.raises(ArtifactError, match="has 5,000 bytes"):
        parts_of(tmp_path)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_whatever_a_manifest_holds_behind_a_digest_that_fits_it_is_refused_and_breaks_nothing(
    body: bytes,
) -> None:
    with pytest.raises(ArtifactError):
        Manifest.decode(HEAD + digest_of(body).encode() + BEHIND + body)
    assert len(HEAD + digest_of(body).encode() + BEHIND) == BODY
