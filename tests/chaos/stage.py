"""One run: a Weir of real processes on real servers, fed a story, with everything in reach that a fault breaks."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from stream.decisions import ALERTS, DECISIONS, TRANSACTIONS
from tests.acceptance.harness import env
from tests.chaos.logs import EmbeddedLog, Fed
from tests.chaos.oracle import PROFILE, Oracle
from tests.chaos.proxy import Proxy
from tests.chaos.story import Arrival, runs
from tests.chaos.worker import Worker, eventually
from tests.contract.valkey import Valkey
from tests.integration.kafka_server import KafkaServer

LOAD_SECONDS = 5.0
"""How long a story takes to arrive."""


class Stage:
    """A fault gets this, and breaks what it likes while the load goes on."""

    def __init__(
        self,
        place: Path,
        oracle: Oracle,
        arrivals: Sequence[Arrival],
        chance: Random,
        make_log: Callable[[Path], Fed] = EmbeddedLog,
        database: str | None = None,
    ) -> None:
        self.chance, self.oracle, self.arrivals = chance, oracle, list(arrivals)
        self.home, self._place = place / "weir", place
        shutil.copytree(oracle.home / "keys", self.home / "keys")  # so that the pseudonyms are the same
        self.database = database or f"sqlite:///{self.home}/weir.db"
        self.log = make_log(self.home)
        self.link = place / "redis.sock"
        self.servers: list[Valkey] = []
        self.lives: list[Valkey] = []  # what Redis held just before it lost some of it
        self.workers: list[Worker] = []
        self.environment: dict[str, str] = {}
        self.brokers: list[KafkaServer] = []
        self.proxy: Proxy | None = None
        self.poison = ""  # the id of an event that ends whoever decides it
        self.load_seconds = LOAD_SECONDS
        self._feeder = threading.Thread(target=self._feed, daemon=True)
        self._hurry = threading.Event()
        self.use(self.server())

    # --- servers

    def server(self, *settings: str) -> Valkey:
        """A Redis of its own, started; append-only as ours is."""
        directory = self._place / f"r{len(self.servers)}"
        directory.mkdir()
        settings = ("--appendonly", "yes", "--enable-debug-command", "yes", *settings)
        self.servers.append(Valkey(directory, *settings))
        self.servers[-1].start()
        return self.servers[-1]

    def use(self, server: Valkey) -> None:
        """Workers find this one from now on."""
        self.serving = server
        new = self.link.with_suffix(".new")
        new.symlink_to(server.socket)
        new.rename(self.link)

    def rob(self, seconds: float) -> None:
        """Redis is killed, and comes back without what it took in the last so many seconds."""
        before = self.serving.written()
        time.sleep(seconds)
        self.serving.kill()
        self.lives.append(self.serving.copied(self._place / f"life{len(self.lives)}"))
        self.serving.keep(before)
        self.serving.start()

    # --- workers

    def worker(self, role: str, *crashes: str, nursery: bool = True, **more: str) -> Worker:
        """Start a worker of a role; each of its first lives ends at a crash point."""
        output = self._place / f"{role}-{len(self.workers)}.out"
        made = Worker(role, self._environment(**more), output, crashes)
        made.nursery = nursery
        self.workers.append(made)
        return made.start()

    def _environment(self, **more: str) -> Mapping[str, str]:
        return env(
            self.home,
            WEIR_BROKER=self.log.url,
            WEIR_TOPIC_PREFIX=self.log.prefix,
            WEIR_REDIS=f"unix://{self.link}",
            WEIR_DATABASE=self.database,
            WEIR_PROFILE=PROFILE,
            WEIR_MODEL=str(self.oracle.model),
            **{**self.environment, **more},
        )

    def of(self, role: str) -> list[Worker]:
        """The workers of a role."""
        return [worker for worker in self.workers if worker.role == role]

    # --- the load

    def begin(self) -> None:
        """The story begins to arrive."""
        self._feeder.start()

    def _feed(self) -> None:
        appends = list(runs(self.arrivals, 60))
        began = time.monotonic()
        for number, (topic, records) in enumerate(appends):
            self.log.append(topic, records)
            early = began + self.load_seconds * number / len(appends) - time.monotonic()
            if early > 0:
                self._hurry.wait(early)

    def hurry(self) -> None:
        """The rest of the story comes at once."""
        self._hurry.set()

    @property
    def feeding(self) -> bool:
        """Whether the story still arrives."""
        return self._feeder.is_alive()

    def decided(self) -> int:
        """How many decisions are on the log."""
        return self.log.count(DECISIONS)

    def after(self, share: float) -> None:
        """Wait until about this share of the story is decided."""
        wanted = share * sum(arrival.topic == TRANSACTIONS for arrival in self.arrivals)
        eventually(lambda: self.decided() >= wanted, f"{share:.0%} is decided", pause=0.02)

    def moment(self, longest: float = 0.5) -> None:
        """Let some time pass, as chance has it."""
        time.sleep(self.chance.uniform(0, longest))

    # --- the end

    def settle(self, seconds: float = 400.0) -> None:
        """Wait until everything arrived and every role has committed all there is."""
        eventually(lambda: not self.feeding, "all has arrived", seconds)
        for role in dict.fromkeys(worker.role for worker in self.workers):
            eventually(lambda: self.log.settled(role), f"{role} has done all there is", seconds, 0.2)  # noqa: B023

    def stop_workers(self) -> list[str]:
        """End all workers as an operator would; tells which did not end well."""
        statuses = [(worker.role, worker.stop(signal.SIGTERM)) for worker in self.workers]
        return [f"{role} ended with {status} at SIGTERM" for role, status in statuses if status]

    def close(self) -> None:
        """End everything, however the run went."""
        self._hurry.set()
        for worker in self.workers:
            worker.stop(signal.SIGKILL)
        self._feeder.join(30.0)
        for server in self.servers:
            server.kill()

    def alerts(self) -> int:
        """How many alerts are on the log."""
        return self.log.count(ALERTS)
