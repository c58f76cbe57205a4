"""Puts the simulated log, Redis, SQL and clockwork where Weir's own code looks for the real ones.

Everything between those edges is Weir's: stream.app, bootstrap, chunks, start, score, record, labels, the ledger's SQL.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from features import redis_generations, redis_kept, redis_store
from features.profile import load
from models import codec as model_codec
from stream import agents, bootstrap, chunks, conveyor, labels, publishing, records, settling, snapshots
from stream import app as apps
from stream.config import Config
from stream.decide import AlertBudget
from stream.follow import Follower
from stream.learn import Learner
from stream.review import learning, ledger
from stream.sealing import Sealer
from tests.simulation.faust import SimApp
from tests.simulation.models import SimPublisher, SimTail
from tests.simulation.redis import SimLive, SimStore
from tests.simulation.scorers import Swapped, Tally

SEALER = Sealer(bytes(32))
PROFILE = load(Path(__file__).with_name("profile.toml")).keyed(SEALER.content_key())

config: Config
"""Of all processes; made anew whenever worlds can run."""

running: Any = None
"""The world whose processes are turned at the moment."""


def run_in(world: Any) -> None:
    """From now on the edges are this world's."""
    global running
    running = world


def _make_app(name: str, *_: Any) -> SimApp:
    return SimApp(name, running.current)


def _new_learner(profile: Any) -> Learner:
    scorer = Tally(profile.features.names)
    return Learner(scorer, AlertBudget(profile.alerts_per_day), features_version=profile.features_version)


def _lease(config: Config, ledger: Any) -> tuple[int, Any]:
    """The lease, taken at once: who stands by is the world's to say (Process.stands_by)."""
    leases = ledger.leases()
    token = leases.take(leases.look(), "simulated")
    return token, lambda: None


def _reached(place: str) -> None:
    running.point(place)


class Reader(Follower):
    """Follows the topic of models once, at its start: what comes later its owner has sent itself."""

    def start(self) -> None:
        self._tail = self._open_tail()
        self._to_the_end()


def _told(error: BaseException) -> list[str]:
    if isinstance(error, Exception):
        running.current.fault = error
    return [repr(error)]


@contextmanager
def wired() -> Iterator[None]:
    """While the block runs, worlds can run."""
    global config
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-simulation-")))
        urls = {"broker": "kafka://simulated", "redis": "redis://simulated", "database": ""}
        config = Config(dir=directory, profile="simulation", **urls)
        stack.enter_context(mock.patch("time.sleep"))  # who waits for a server waits no longer than a step
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)  # processes complain of what was done to them
        for where, names in {
            apps: {
                "make_app": _make_app,
                "reached": _reached,
                "Attempts": lambda *_: (
                    None
                ),  # that a record ends its workers has tests of its own; here kills are random
                "keep_attempts": lambda *_: None,
            },
            agents: {
                "os": SimpleNamespace(_exit=lambda status: running.current.ends("crashed")),
                "sys": SimpleNamespace(stderr=mock.MagicMock()),
                "traceback": SimpleNamespace(format_exception=_told),
            },
            bootstrap: {
                "load_profile": lambda name: PROFILE,
                "profile_of": lambda config: PROFILE,
                "sealer": lambda config: SEALER,
                "Ledger": SimpleNamespace(open=lambda url: running.ledger),
                "champions": lambda *_: Swapped(running),
                "progress_for": lambda *_: running.log,
                "publisher_for": lambda *_: SimPublisher(running),
                "tail_for": lambda *_: SimTail(running),
                "new_learner": _new_learner,
                "_lease": _lease,
            },
            chunks: {"reached": _reached},
            conveyor: {"reached": _reached, "FEW": 3},  # batches of either kind, one behind the other
            records: {"MUCH": 8},
            labels: {"EARLY": 3},
            ledger: {"reached": _reached},
            learning: {"reached": _reached},
            publishing: {"Follower": Reader},
            settling: {"lost": lambda *_: 0},
            snapshots: {"put_back": lambda *_: False},
            redis_generations: {"RedisLive": SimLive},
            redis_kept: {"finish": lambda *_: 0},  # no drop of a generation broke off here
            redis_store: {"RedisFeatureStore": lambda *_, **__: SimStore(running)},
        }.items():
            for name, value in names.items():
                stack.enter_context(mock.patch.object(where, name, value))
        stack.enter_context(mock.patch.dict(model_codec.LOADERS, {Tally.name: Tally.load}))
        yield
