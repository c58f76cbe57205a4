"""Training: it learns what order alone tells, twice the same, goes on after a kill, and sees nothing that it may not see."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from models.checkpoint import CheckpointError
from models.lives import UNKNOWN
from models.periods import DAY_US, TrainingError, refuse_one_class, split_of
from models.sequence import Shape
from models.training import Machine, Recipe, Training
from tests.unit.models import dying_training
from tests.unit.models.dying_training import RECIPE, SHAPE
from tests.unit.models.learnable import KINDS, stream

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(network):
    return {name: each.numpy().tobytes() for name, each in network.state_dict().items()}


def trained(rows, shape=SHAPE, recipe=RECIPE, **machine):
    return Training(rows, shape, recipe, Machine(**machine)).run()


def test_a_network_with_a_memory_learns_what_order_alone_tells():
    rows, recipe = stream(6_000), Recipe(epochs=12, rate=1e-2, bins=KINDS, piece=32, cards=8)
    gru = trained(rows, Shape(width=32, dropout=0.0), recipe)
    alone = trained(rows, Shape(architecture="feedforward", width=32, dropout=0.0), recipe)
    share = gru.judged_on.frauds / gru.judged_on.labels
    assert gru.measures.average_precision > 0.9
    assert alone.measures.average_precision < 2 * share
    assert gru.measures.calibration_error < 0.02
    assert gru.judged.scores.mean() == pytest.approx(share, rel=0.1)


def test_two_trainings_end_with_the_same_bytes_and_another_seed_with_others():
    rows = stream(2_000, 60)
    first, second = trained(rows), trained(rows)
    assert weights(first.network) == weights(second.network)
    assert first.calibration == second.calibration
    other = trained(rows, recipe=Recipe(epochs=3, piece=8, cards=8, seed=1))
    assert weights(other.network) != weights(first.network)


def test_a_training_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    trained(stream(600, 20), recipe=Recipe(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_what_is_not_labelled_is_read_and_teaches_nothing():
    """The labels of unknown events may say what they like; the events themselves are part of their cards' lives."""
    rows = stream(2_000, 60, unknown=0.4)
    base = weights(trained(rows).network)
    moved = rows.vectors.copy()
    unknown = np.flatnonzero(rows.labels[: split_of(rows, RECIPE.validation)] == UNKNOWN)
    moved[unknown[:50], 0] += 1.0
    assert weights(trained(rows._replace(vectors=moved)).network) != base


def test_rows_behind_the_last_label_change_nothing():
    rows = stream(2_000, 60)
    labels = rows.labels.copy()
    labels[-300:] = UNKNOWN
    rows = rows._replace(labels=labels)
    other = rows.vectors.copy()
    other[-300:] = 99.0
    cut = type(rows)(rows.names, *(column[:-300] for column in rows[1:]))
    expected = trained(rows)
    for each in (rows._replace(vectors=other), cut):
        found = trained(each)
        assert weights(found.network) == weights(expected.network)
        assert found.calibration == expected.calibration
        assert found.curve[-1].average_precision == expected.curve[-1].average_precision


def test_the_later_period_teaches_nothing_but_when_to_end():
    rows = stream(2_000, 60)
    recipe = Recipe(epochs=1, piece=8)
    base = trained(rows, recipe=recipe)
    vectors, labels = rows.vectors.copy(), rows.labels.copy()
    split = split_of(rows, recipe.validation)
    vectors[split:] += 3.0
    labels[split:] = 1 - labels[split:]
    other = trained(rows._replace(vectors=vectors, labels=labels), recipe=recipe)
    assert weights(other.network) == weights(base.network)
    assert other.judged_on.labels == base.judged_on.labels
    assert other.calibration != base.calibration


def test_training_ends_when_it_gets_no_better_and_keeps_the_best_epoch():
    rows = stream(1_500, 60, seed=5)
    random = np.random.default_rng(2)
    labels = (random.random(len(rows.labels)) < 0.1).astype(np.int8)  # nothing to be learned
    ended = trained(rows._replace(labels=labels), recipe=Recipe(epochs=30, patience=2, piece=8))
    precisions = [each.average_precision for each in ended.curve]
    assert len(precisions) == ended.best + 2 < 30
    assert max(precisions) == precisions[ended.best - 1] == ended.measures.average_precision


def test_a_training_that_was_killed_goes_on_to_the_same_weights(tmp_path):
    killed = _child(tmp_path)
    while int(killed.stdout.readline()) < 2_000:  # until it is in its second epoch
        pass
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "weights").exists()
    assert _child(tmp_path, "resume").wait(60) == 0
    assert (tmp_path / "weights").read_bytes() == save(dying_training.training().run().network.state_dict())


def _child(folder, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.unit.models.dying_training", str(folder), *more],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("architecture", ["gru", "lstm", "tcn", "transformer", "feedforward"])
def test_every_architecture_goes_on_from_a_checkpoint_in_the_middle_of_an_epoch(architecture, tmp_path):
    rows, recipe = stream(1_200, 60), Recipe(epochs=2, piece=8, cards=8)
    shape = Shape(architecture=architecture, width=8, length=4, heads=2)
    expected = trained(rows, shape, recipe)

    def interrupted(done, _):
        if done > 700:
            raise KeyboardInterrupt

    first = Training(rows, shape, recipe, Machine(save_seconds=0.0))
    with pytest.raises(KeyboardInterrupt):
        first.run(interrupted, tmp_path / "checkpoint")
    second = Training(rows, shape, recipe)
    assert second.resume(tmp_path / "checkpoint")
    found = second.run(path=tmp_path / "checkpoint")
    assert weights(found.network) == weights(expected.network)
    assert [each.loss for each in found.curve] == [each.loss for each in expected.curve]


def test_a_training_that_ended_is_not_trained_on(tmp_path):
    rows = stream(1_200, 60)
    ended = Training(rows, SHAPE, RECIPE)
    expected = ended.run(path=tmp_path / "checkpoint")
    again = Training(rows, SHAPE, RECIPE)
    again.resume(tmp_path / "checkpoint")
    found = again.run(lambda *_: pytest.fail("it read on"))
    assert weights(found.network) == weights(expected.network)
    assert found.curve == expected.curve


def test_the_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    rows = stream(1_200, 60)
    assert not Training(rows, SHAPE, RECIPE).resume(path)
    Training(rows, SHAPE, Recipe(epochs=1)).run(path=path)
    for other in (
        Training(rows, SHAPE, Recipe(epochs=2)),
        Training(rows, Shape(width=8), Recipe(epochs=1)),
        Training(stream(1_200, 60, seed=2), SHAPE, Recipe(epochs=1)),
    ):
        with pytest.raises(CheckpointError, match=r"other settings: delete it, or train without --resume"):
            other.resume(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_a_damaged_checkpoint_is_refused(damage, tmp_path):
    path = tmp_path / "checkpoint"
    rows = stream(1_200, 60)
    Training(rows, SHAPE, Recipe(epochs=1)).run(path=path)
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes({"cut": data[:-40], "flipped": data, "foreign": b"{}" * 40, "empty": b""}[damage])
    with pytest.raises(CheckpointError, match=r"checkpoint .* without --resume"):
        Training(rows, SHAPE, Recipe(epochs=1)).resume(path)


def test_numbers_are_laid_in_bins_by_the_earlier_period_alone():
    rows = stream(2_000, 60)
    vectors = rows.vectors.copy()
    vectors[split_of(rows, 0.15) :, 0] = 1e6
    training = Training(rows._replace(vectors=vectors), SHAPE, Recipe(epochs=1))
    assert max(training.fitted.edges[0]) < 100


@pytest.mark.parametrize(("said", "missing"), [(1, "legitimate event"), (0, "fraud")])
@pytest.mark.parametrize("later", [False, True])
def test_a_period_of_one_class_is_refused(said, missing, later):
    rows = stream(1_000, 40)
    labels = rows.labels.copy()
    labels[slice(800, None) if later else slice(800)] = said
    period = "later" if later else "earlier"
    with pytest.raises(TrainingError, match=f"no {missing} is known in the {period} of the two periods"):
        refuse_one_class(rows._replace(labels=labels), 800)


def test_a_stream_without_fraud_is_refused():
    rows = stream(1_000, 40)
    with pytest.raises(TrainingError, match="no fraud is known in the earlier"):
        Training(rows._replace(labels=np.zeros_like(rows.labels)), SHAPE)


def test_without_labels_nothing_is_learned():
    rows = stream(1_000, 40, unknown=1.0)
    with pytest.raises(TrainingError, match="only 0 labels had arrived"):
        Training(rows, SHAPE)


def test_the_later_period_begins_with_a_day_where_there_are_days_enough():
    rows = stream(12_000)  # 250 days
    split = split_of(rows, 0.15)
    assert rows.times[split] % DAY_US == 0
    assert 0.84 * 12_000 - 48 <= split <= 0.85 * 12_000
    short = stream(40, 5)  # 20 hours
    assert split_of(short, 0.25) <= 30


def test_the_later_period_reaches_back_until_it_has_its_share_of_frauds():
    rows = stream(4_800, 60)
    labels = rows.labels.copy()
    labels[3_000:] = np.where(labels[3_000:] == UNKNOWN, UNKNOWN, 0)
    split = split_of(rows._replace(labels=labels), 0.2)
    assert split % 48 == 0
    frauds = np.flatnonzero(labels == 1)
    assert 0.2 * len(frauds) <= np.count_nonzero(frauds >= split) < 0.2 * len(frauds) + 20
    labels[:] = 0
    assert split_of(rows._replace(labels=labels), 0.2) == 3_840  # of labels alone, where there is no fraud


def test_half_precision_and_compilation_train_as_well(tmp_path):
    rows = stream(1_500, 60)
    half = trained(rows, bfloat16=True)
    whole = trained(rows)
    assert math.isclose(half.curve[0].loss, whole.curve[0].loss, rel_tol=0.05)
    assert weights(half.network) != weights(whole.network)
