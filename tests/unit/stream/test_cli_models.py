"""``weir models``: what was published under which key, and a change of keys in which no scorer is left without a model."""

import json

import pytest
from click.testing import CliRunner

from models.base import MEASURES
from models.ensemble import EnsembleScorer
from models.snapshot import Snapshot
from stream import bootstrap, cli_models
from stream.champion import MODEL
from stream.config import load
from stream.embedded.log import Log
from stream.model_keys import ModelKeyError
from stream.records import Outgoing
from stream.review.ledger import Ledger
from tests.unit.stream.models_fakes import snapshot


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIR_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = load({})
    bootstrap.prepare(config)
    return config


def weir_models(*arguments):
    done = CliRunner().invoke(cli_models.models, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def publish(config, *numbers):
    """As the learner does: into the ledger, then signed onto the topic."""
    key = bootstrap.signing_key(config)
    key.make(bootstrap.trusted_keys(config))
    ledger = Ledger.open(config.database)
    for number in numbers:
        made = snapshot(number)
        ledger.decision_log(()).checkpoint(made, {}, [], [])
        record = Outgoing(MODEL.encode(), key.signer().sign(MODEL, made))
        Log(config.dir / "log").append("models", [record])
    ledger.close()
    return key.signer().public.id


def listed(what="keys"):
    return json.loads(weir_models(*(("keys", "list") if what == "keys" else ("list",)), "--json"))


def test_the_snapshots_are_listed_with_the_key_that_signed_them(config):
    key = publish(config, 1, 2)
    assert [(row["number"], row["learned"], row["signed_by"]) for row in listed("models")] == [
        (2, 20, key),
        (1, 10, key),
    ]
    shown = weir_models("list")
    assert "null-2" in shown
    assert key[:8] in shown


def test_a_snapshot_is_shown_and_of_an_ensemble_what_its_parts_count_for(config):
    publish(config, 1)
    assert json.loads(weir_models("show", "1", "--json"))["weights"] == {}
    ledger = Ledger.open(config.database)
    scorer = EnsembleScorer(("a", "b"))
    made = Snapshot.of(
        scorer,
        number=2,
        features_version="f",
        threshold=0.5,
        learned=20,
        positions={},
        made_at="2026-01-01T00:00:00+00:00",
        hashes={"a": "a1", "b": "b1", **MEASURES},
    )
    ledger.decision_log(()).checkpoint(made, {}, [], [])
    ledger.close()
    shown = json.loads(weir_models("show", "2", "--json"))
    assert shown["weights"]["with_the_network"] == {"river": 0.5, "rules": 0.0, "sequence": 0.5}
    assert "weights without it: river 1.000, rules 0.000" in weir_models("show", "2")


def test_a_snapshot_that_is_not_there_is_not_shown(config):
    done = CliRunner().invoke(cli_models.models, ["show", "7"])
    assert done.exit_code != 0
    assert "there is no snapshot 7" in done.output


def test_before_the_learner_there_are_neither_keys_nor_models(config):
    assert listed() == []
    assert listed("models") == []
    assert "makes one at its first start" in weir_models("keys", "list")


def test_a_key_is_prepared_told_to_another_machine_rotated_and_the_old_one_revoked(
    config, tmp_path, monkeypatch
):
    old = publish(config, 1)
    line = weir_models("keys", "prepare")
    new = line.split()[1]
    assert [(each["id"], each["use"]) for each in listed()] == [(old, "signs here"), (new, "signs next")]

    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("WEIR_DIR", str(tmp_path / "scorer"))
        weir_models("keys", "trust", *line.split())
        assert [(each["id"], each["state"], each["use"]) for each in listed()] == [(new, "trusted", None)]

    weir_models("keys", "rotate")
    assert [(each["id"], each["use"]) for each in listed()] == [(old, None), (new, "signs here")]
    with pytest.raises(ModelKeyError, match=r"is signed by .* would have none"):
        weir_models("keys", "revoke", old)
    publish(config, 2)
    weir_models("keys", "revoke", old)
    assert [each["state"] for each in listed()] == ["revoked", "trusted"]


def test_the_key_that_signs_is_not_revoked_before_another_does(config):
    key = publish(config, 1)
    with pytest.raises(ModelKeyError, match="`weir models keys rotate` first"):
        weir_models("keys", "revoke", key)
    weir_models("keys", "revoke", key, "--at-once")
    assert listed()[0]["state"] == "revoked"


def test_a_line_that_is_no_key_is_refused(config):
    done = CliRunner().invoke(cli_models.models, ["keys", "trust", "trusted", "abc", "def", "now"])
    assert done.exit_code == 1
    assert "expected is `trusted ID KEY SINCE`" in done.output


def test_no_private_key_is_ever_shown(config):
    publish(config, 1)
    said = weir_models("keys", "list") + weir_models("keys", "prepare") + weir_models("keys", "rotate")
    said += weir_models("keys", "list", "--json")
    for file in (config.dir / "keys").glob("models.key*"):
        assert file.read_text().strip() not in said
