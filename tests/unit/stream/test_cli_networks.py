"""``weir models`` of networks: what a person trains is signed, published, listed, exported, and looked at as a scorer would."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from features.profile import load as load_profile
from models.artifact import Artifact
from models.batched import Calibration
from models.encoding import Fitted
from models.manifest import ArtifactError
from models.sequence import Network, Shape
from stream import bootstrap, cli_models
from stream.config import load
from stream.embedded.log import Log
from stream.records import Outgoing
from stream.signing import Release, Signer
from tests.unit.models.artifacts import artifact

PROFILE = load_profile("payments")
READS = PROFILE.features.names[:3][::-1]
SHAPE = Shape(width=8)


def trained(**other):
    fitted = Fitted(READS, ((0.0, 1.0),) * 3)
    said = {
        "features": READS,
        "hashes": PROFILE.features.hashes,
        "entity": PROFILE.partition_by,
        "fitted": fitted,
    }
    return artifact(SHAPE, network_=Network(SHAPE, fitted, READS), **said | other)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_DIR", str(tmp_path / "weir"))
    monkeypatch.chdir(tmp_path)
    config = load({})
    bootstrap.prepare(config)
    return config


@pytest.fixture
def folder(tmp_path):
    trained().save(tmp_path / "net")
    return tmp_path / "net"


def weir_models(*arguments, code=0):
    done = CliRunner().invoke(cli_models.models, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def listed():
    return json.loads(weir_models("list", "--json"))


def test_a_network_is_signed_published_listed_exported_and_verified(config, folder, tmp_path):
    assert "signature: refused: the manifest is not signed" in weir_models("verify", folder, code=1)
    assert "published sequence-1" in weir_models("publish", folder)
    assert "published sequence-2" in weir_models("publish", folder)
    key = bootstrap.signing_key(config).signer().public.id
    newest = listed()[0]
    assert (newest["model_version"], newest["signed_by"], newest["refused"]) == ("sequence-2", key, None)
    assert (newest["features"], newest["entity"], newest["metrics"]["ap"]) == (list(READS), "card", 0.75)
    weir_models("export", "sequence", tmp_path / "back")
    assert Artifact.read(tmp_path / "back") == Artifact.read(folder)
    told = weir_models("verify", tmp_path / "back")
    assert "features: reads 3 of the profile's" in told
    assert f"signature: by {key}" in told


def test_the_list_is_for_people_too_and_shows_what_scorers_refuse_and_why(config, folder):
    weir_models("publish", folder)
    stranger = Signer.fresh().sign_release(Release("sequence", 5, "now", trained().pack()))
    key = bootstrap.signing_key(config).signer()
    unfit = key.sign_release(Release("sequence", 6, "now", trained(entity="merchant").pack()))
    broken = key.sign_release(Release("sequence", 7, "now", b"weir"))
    Log(config.dir / "log").append(
        "models", [Outgoing(b"sequence", each) for each in (stranger, unfit, broken)]
    )
    refused = {row["number"]: row["refused"] for row in listed()}
    assert "no network of Weir" in refused[7]
    assert "reads the events of a merchant" in refused[6]
    assert "not among the trusted ones" in refused[None]
    shown = weir_models("list")
    assert "gru" in shown
    assert "sequence-6 is refused: the network" in shown


def test_what_does_not_fit_the_profile_is_not_published(config, folder):
    hashes = PROFILE.features.hashes | {READS[0]: "0"}
    trained(hashes=hashes).save(folder)
    with pytest.raises(ArtifactError, match=f"reads {READS[0]}, which measures something else now"):
        weir_models("publish", folder)
    assert "features: refused: the network" in weir_models("verify", folder, code=1)
    assert listed() == []


def test_a_damaged_folder_is_told(config, folder):
    weir_models("publish", folder)
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    told = weir_models("verify", folder, code=1)
    assert "files: refused: the weights" in told
    with pytest.raises(ArtifactError, match="not those of the manifest"):
        weir_models("publish", folder)


def test_a_network_that_is_not_there_is_not_exported(config, folder, tmp_path):
    weir_models("publish", folder)
    assert "there is no network sequence-9" in weir_models("export", "sequence-9", tmp_path / "x", code=1)


def test_a_calibration_travels_with_its_network(config, tmp_path):
    made = trained(calibration=Calibration(0.5, -3.0))
    made.save(tmp_path / "net")
    weir_models("publish", tmp_path / "net")
    weir_models("export", "sequence-1", tmp_path / "back")
    assert msgspec.structs.replace(Artifact.read(tmp_path / "back"), signature=b"") == made
