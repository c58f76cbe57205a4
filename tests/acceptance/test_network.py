"""A network in the real path: killed, late, published to a running Weir; each event counts once, and scores as in a replay."""

import signal
from pathlib import Path

import msgspec
import pytest
import torch

from features.profile import load
from models.artifact import artifact_of
from models.batched import Calibration
from models.encoding import Fitted
from models.sequence import Network, Shape
from tests.acceptance.harness import eventually, first_by_id, log_of, rows, stop, weir

OPTIONS = ("--label-delay", "2d")
READS = ("amount", "hour", "card_since_last", "card_count_1d", "merchant_count_1h")
EDGES = ((0, 2, 10, 50, 200), (0, 6, 12, 18), (0, 600, 3600, 86400), (1, 2, 5), (1, 3, 9))
ALL = 6_000


def profile_with(path, text):
    path.write_text(text + '\n[sequence]\nentity = "card"\nwidth = 8\n')
    return path


@pytest.fixture(scope="module")
def reading(profile, tmp_path_factory):
    """The profile with a network."""
    return profile_with(tmp_path_factory.mktemp("reading") / "mine.toml", Path(profile).read_text())


def network_in(folder, profile, seed=1):
    """A network that nobody trained; everything counts in it."""
    features = load(str(profile)).features
    reads = tuple(name for name in READS if name in features.names)
    assert len(reads) == len(READS), features.names
    fitted = Fitted(reads, tuple(tuple(map(float, each)) for each in EDGES))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(Shape(architecture="gru", width=8), fitted, reads)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    artifact_of(
        network,
        features=reads,
        hashes=features.hashes,
        entity="card",
        fitted=fitted,
        calibration=Calibration(1.0, -1.0),
        period=("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"),
        events=1,
        labels=1,
        frauds=0,
        metrics={},
        seed=seed,
    ).save(folder)
    return folder


@pytest.fixture(scope="module")
def network(reading, tmp_path_factory):
    return network_in(tmp_path_factory.mktemp("network"), reading)


@pytest.fixture(scope="module")
def replayed(payments, reading, network, model, tmp_path_factory):
    """By event: the decision of a replay with the network."""
    made = tmp_path_factory.mktemp("replayed")
    options = ("--profile", reading, *OPTIONS, "--model", model, "--network", network, "--json")
    weir("replay", payments, *options, "--decisions", made / "decisions.jsonl", directory=made / "weir")
    lines = (made / "decisions.jsonl").read_bytes().splitlines()
    return {row["event_id"]: row for row in map(msgspec.json.decode, lines)}


def said(row):
    return row.get("scores", {}).get("sequence")


def test_a_replay_asks_the_network_of_every_event(replayed):
    assert len(replayed) == ALL
    assert len({said(row) for row in replayed.values()}) > 1_000
    assert {row["rung"] for row in replayed.values()} == {"river"}, (
        "the model does not read it: it is logged alone"
    )
    assert all(row["scores"]["river"] == row["score"] for row in replayed.values())


def decided(home):
    return first_by_id(rows(home, "decisions"))


def same(found, expected):
    """What is the same to the bit, and the network's probabilities to 1e-6."""
    assert found.keys() == expected.keys()
    for event_id, row in expected.items():
        assert found[event_id]["features"] == row["features"]
        assert said(found[event_id]) == pytest.approx(said(row), abs=1e-6), event_id


POINTS = ("score.applied:2", "score.answered:3", "score.sent:2", "score.kept:3")


def test_killed_at_any_point_the_live_path_gives_the_scores_of_the_replay(
    home, started, payments, reading, network, model, replayed
):
    worker = ("worker", "--role", "score", "--profile", reading, "--model", model, "--network", network)
    weir("send", payments, "--profile", reading, *OPTIONS, directory=home)
    for point in POINTS:
        dying = started(
            *worker, directory=home, WEIR_CRASH_AT=f"{point}:KILL", WEIR_NETWORK_DEADLINE_MS="20000"
        )
        assert dying.wait(60) == -signal.SIGKILL
    living = started(*worker, directory=home, WEIR_NETWORK_DEADLINE_MS="20000")
    eventually(lambda: len(decided(home)) >= ALL, "every event was decided")
    stop(living)
    same(decided(home), replayed)


def committed(home):
    return log_of(home).committed("weir-score", "transactions").get(0, 0)


def test_late_for_a_while_it_misses_nothing_for_good(
    home, started, payments, reading, network, model, replayed
):
    worker = ("worker", "--role", "score", "--profile", reading, "--model", model, "--network", network)
    weir("send", payments, "--profile", reading, *OPTIONS, "--until", "2026-01-06", directory=home)
    late = started(*worker, directory=home, WEIR_NETWORK_DEADLINE_MS="0")
    end = log_of(home).end_offsets("transactions")[0]
    assert 0 < end < ALL
    eventually(lambda: committed(home) >= end, "the first part was decided in time")
    stop(late)
    assert {(row["rung"], said(row)) for row in decided(home).values()} == {("river", None)}
    weir("send", payments, "--profile", reading, *OPTIONS, "--from", "2026-01-06", directory=home)
    back = started(*worker, directory=home, WEIR_NETWORK_DEADLINE_MS="20000")
    eventually(lambda: len(decided(home)) >= ALL, "every event was decided")
    stop(back)
    later = {key: row for key, row in decided(home).items() if said(row) is not None}
    assert len(later) == ALL - end
    same(later, {key: replayed[key] for key in later})


@pytest.mark.slow
def test_one_that_is_published_to_a_running_weir_is_filled_beside_and_takes_over_between_two_batches(
    home, started, payments, reading, network, model, replayed
):
    up = started(
        "up", "--profile", reading, "--model", model, directory=home, WEIR_NETWORK_DEADLINE_MS="20000"
    )
    weir("send", payments, "--profile", reading, *OPTIONS, "--until", "2026-01-06", directory=home)
    first = log_of(home).end_offsets("transactions")[0]
    eventually(lambda: committed(home) >= first, "the first part was decided")
    assert all(said(row) is None for row in decided(home).values())
    weir("models", "publish", network, "--profile", reading, directory=home)
    rest = ("send", payments, "--profile", reading, *OPTIONS, "--from", "2026-01-06", "--rate", "150")
    started(*rest, directory=home)
    eventually(lambda: any(map(said, rows(home, "decisions"))), "the network reads along")
    next(each for each in up.children() if "score" in each.cmdline()).send_signal(signal.SIGKILL)
    eventually(lambda: len(decided(home)) >= ALL, "every event was decided")
    found = decided(home)
    later = {key: row for key, row in found.items() if said(row) is not None}
    assert 500 < len(later) < ALL - first + 1
    spoken = [said(row) is not None for row in found.values()]
    assert spoken.index(True) == spoken.count(False), "from one batch on it speaks of all"
    for event_id, row in later.items():
        assert said(row) == pytest.approx(said(replayed[event_id]), abs=1e-6), event_id
    stop(up, seconds=20)
