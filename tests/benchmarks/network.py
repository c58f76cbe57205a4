"""What a network costs the live path, in one run: batches of 500 simulated payments with a network and without, in turns.

usage: python -m tests.benchmarks.network [--events N] [--width W] [--threads 1 2]

The score role in this process, on a Valkey of its own, with a pinned River model: decode, features, network, River, decide, encode.
Counted are processor seconds of this process and of the server, which other work on the machine disturbs less than the clock, and
by stage the wall's. The network is a GRU that nobody trained and reads ten of the profile's features.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec
import psutil
import torch

from features.catalogue import FeatureSet, Kind
from features.profile import SHIPPED
from features.profile import load as load_profile
from models.artifact import artifact_of
from models.batched import Calibration
from models.encoding import Fitted
from models.sequence import Network, Shape
from stream.bootstrap import score_role
from stream.config import Config, load
from stream.decisions import DECISIONS
from stream.embedded.server import ValkeyServer
from stream.records import ARRIVED, Record
from stream.runs import Taken
from stream.score import ScoreRole
from stream.simulate.generator import Settings, Simulator
from tests.benchmarks import handbook
from tests.benchmarks.handbook import say
from tests.benchmarks.live import Clock

BATCH = 500
READS = 10
BINS = 24


def main() -> None:
    """Print what an event costs with a network and without."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-") as name:
        bench = Bench(Path(name), options.events, options.width)
        plain = bench.run(None)
        say(f"without a network: {plain}")
        for threads in options.threads:
            found = bench.run(threads)
            say(f"with one, on {threads} thread{'s' if threads > 1 else ''}: {found}")
            more = found.cpu_us - plain.cpu_us
            say(
                f"  the network: {more:.1f} us of processor an event, {more / found.cpu_us:.0%} of the path's"
            )
            stages = ", ".join(f"{stage} {us:.1f}" for stage, us in found.stages.items())
            scoring = found.stages["network"] + found.stages["score"]
            say(f"  by stage, us an event: {stages}; scoring {scoring / sum(found.stages.values()):.0%}")


class Cost(msgspec.Struct):
    """What an event costs."""

    cpu_us: float
    server_us: float  # of it, the server's
    stages: dict[str, float]

    def __str__(self) -> str:
        return f"{self.cpu_us:.1f} us of processor an event (the server {self.server_us:.1f})"


class Bench:
    """Simulated payments, and a role that decides them."""

    def __init__(self, directory: Path, events: int, width: int) -> None:
        self.directory, self.profile, self.runs = directory, load_profile("payments"), 0
        simulated = islice(Simulator(Settings(seed=7, cards=5_000, merchants=500, per_day=5_000)), events)
        self.records = [
            Record(
                "transactions",
                0,
                at,
                str(each.raw["card"]).encode(),
                msgspec.json.encode(each.raw),
                ((ARRIVED, str(each.at_us).encode()),),
                0,
            )
            for at, each in enumerate(simulated)
        ]
        self.network = network_in(directory / "network", self.profile.features, width)
        self.model = self._model()

    def _model(self) -> Path:
        """River, after the first payments."""
        file = self.directory / "payments.jsonl"
        simulated = islice(Simulator(Settings(seed=7, cards=300, merchants=60, per_day=300)), 6_000)
        rows = [msgspec.json.encode({**each.raw, "fraud": each.fraud}) for each in simulated]
        file.write_bytes(b"\n".join(rows))
        mine = self.directory / "mine.toml"
        text = (SHIPPED / "payments.toml").read_text()
        mine.write_text(text.replace("[source]\n", '[source]\nlabel = "fraud"\n'))
        return handbook.model(self.directory / "model.weir", file, mine)

    def run(self, threads: int | None) -> Cost:
        """All payments, in a store that knows nothing of them."""
        self.runs += 1
        home = self.directory / f"run-{self.runs}"
        server = ValkeyServer(home / "redis")
        try:
            network = str(self.network) if threads else "none"
            flags: dict[str, str | None] = {
                "dir": str(home),
                "redis": server.start(),
                "model": str(self.model),
                "network": network,
            }
            config: Config = load(flags, {"WEIR_NETWORK_DEADLINE_MS": "60000"}, Path("no.toml"))
            config.dir.mkdir(parents=True, exist_ok=True)
            role, closing = score_role(config)
            if threads:
                torch.set_num_threads(threads)
            found = self._measured(role, server_of(home))
            closing()
            return found
        finally:
            server.stop()

    def _measured(self, role: ScoreRole, server: psutil.Process) -> Cost:
        spent: dict[str, list[float]] = defaultdict(list)
        worker, costs = psutil.Process(), list[tuple[float, float]]()
        for number, records in enumerate(self._batches()):
            clock, before = Clock(), (cpu_s(worker), cpu_s(server))
            work = role.prepare(Taken(records), seen=clock)
            work.seal()
            work.apply()
            decided = len(role.answer(work)[DECISIONS])
            work.settle()
            assert decided == len(records)
            if number >= 10:  # those before warm everything up
                costs.append((cpu_s(worker) - before[0], cpu_s(server) - before[1]))
                for name, seconds in clock.spent.items():
                    spent[name].append(seconds / len(records) * 1e6)
        events = len(costs) * BATCH
        mine, its = (sum(each) / events * 1e6 for each in zip(*costs, strict=True))
        stages = {name: statistics.median(each) for name, each in spent.items()}
        return Cost(mine + its, its, stages)

    def _batches(self) -> Iterator[list[Record]]:
        for at in range(0, len(self.records), BATCH):
            yield self.records[at : at + BATCH]


def network_in(folder: Path, features: FeatureSet, width: int) -> Path:
    """A GRU over ten features, in a folder."""
    chosen = [each for each in features.features if each.kind is not Kind.RISK][:READS]
    names = tuple([each.name for each in chosen])
    edges = tuple(float(2 ** (number / 2)) for number in range(BINS + 1))
    fitted = Fitted(names, (edges,) * READS)
    made = Network(Shape(architecture="gru", width=width), fitted, names)
    artifact_of(
        made,
        features=names,
        hashes=features.hashes,
        entity="card",
        fitted=fitted,
        calibration=Calibration(),
        period=("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"),
        events=1,
        labels=1,
        frauds=0,
        metrics={},
        seed=1,
    ).save(folder)
    return folder


def server_of(home: Path) -> psutil.Process:
    """The server's process."""
    children = psutil.Process().children(recursive=True)
    (server,) = [each for each in children if str(home) in " ".join(each.cmdline())]
    return server


def cpu_s(process: psutil.Process) -> float:
    """Processor seconds that a process has had."""
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    main()
