"""Who watches a process: nobody, unless a port for metrics or a share of traces is asked for. Put together here.

What Prometheus' and OpenTelemetry's libraries need is imported only then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING

from stream.config import LOOPBACK, Config, ConfigError
from stream.probes import Probes, ProbeServer, addresses, fetched, reachable, write_address
from stream.sockets import socket_path
from stream.watch import Reading, RoleWatch, Source

if TYPE_CHECKING:
    from stream.score import ScoreRole

logger = logging.getLogger(__name__)

METRICS = "metrics"
"""The folder, in the state's directory, of the addresses that the parts of a `weir up` answer at."""


@contextmanager
def role(name: str, config: Config) -> Iterator[RoleWatch | None]:
    """While the block runs: a worker's watch, read by whoever asks at its port; None where nobody does."""
    if not (_asked(config) or config.traces):
        yield None
        return
    watch = RoleWatch(name)
    with serving(Probes(watch), config), _traced(watch, config):
        yield watch


@contextmanager
def review(config: Config) -> Iterator[Probes]:
    """While the block runs: what the review process is known by; its page shows the other parts of a `weir up` too."""
    watch = RoleWatch("review")
    watch.assigned = True
    probes = Probes(watch, config.dir / METRICS)
    with serving(probes, config):
        yield probes


@contextmanager
def serving(probes: Probes, config: Config) -> Iterator[None]:
    """While the block runs: answer where the configuration says, if it does; raises PortTaken."""
    if not _asked(config):
        yield
        return
    from stream import metrics

    name, folder = probes.watch.role, config.dir / METRICS
    server = ProbeServer(probes, lambda: exposition(probes), metrics.CONTENT_TYPE)
    with ExitStack() as last:
        last.callback(server.stop)
        if config.metrics_port is not None:
            address = server.listen(config.metrics_host, config.metrics_port)
        else:
            address = server.listen_at(socket_path(folder, f"{name}.sock"))
        if config.metrics_socket or config.metrics_host == LOOPBACK:  # another address is for others to find
            last.callback(write_address(folder, name, address).unlink, missing_ok=True)
        yield


def _asked(config: Config) -> bool:
    return config.metrics_port is not None or config.metrics_socket


def exposition(probes: Probes) -> bytes:
    """What a scrape gets: all that is known of a role and its process, and what other parts tell, if there are any."""
    from stream import metrics

    told = dict(_parts(probes))
    parts = [Reading("weir_part_up", int(text is not None), {"part": part}) for part, text in told.items()]
    made = metrics.families(probes.watch, [*probes.readings(), *parts])
    made += metrics.process(probes.watch.role)
    for text in filter(None, told.values()):
        made += metrics.parsed(text)
    return metrics.written(metrics.joined(made))


def _parts(probes: Probes) -> Iterator[tuple[str, str | None]]:
    """What the other parts of this Weir tell; None of one that does not answer."""
    for part, address in addresses(probes.parts).items():
        if part == probes.watch.role:
            continue
        try:
            yield part, fetched(address, "/metrics").decode()
        except (OSError, HTTPException) as error:
            logger.debug("%s does not tell its metrics: %s", part, error)
            yield part, None


@contextmanager
def _traced(watch: RoleWatch, config: Config) -> Iterator[None]:
    if not config.traces:
        yield
        return
    try:
        from stream.traces import Tracing, exporting
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"traces are asked for (WEIR_TRACES), and {error.name} is not there: pip install 'weir[otel]'"
        ) from error
    tracing = Tracing(watch.role, config.traces, exporting())
    watch.then = tracing.passed
    try:
        yield
    finally:
        tracing.stop()


def score(watch: RoleWatch | None, role: ScoreRole, config: Config) -> None:
    """What is to be known of a scorer."""
    if watch is None:
        return
    from features.redis_cluster import ClusterFeatureStore
    from features.redis_store import RedisFeatureStore

    watch.tell(role.readings)
    if isinstance(role.store, RedisFeatureStore | ClusterFeatureStore):
        role.store.took = watch.server_took("redis")
        watch.ask("redis", _redis(role.store.url))
    _ask_broker(watch, config)


@contextmanager
def standing_by(watch: RoleWatch | None) -> Iterator[None]:
    """While the block runs the process waits to take over from another: that is what it is there for."""
    if watch is not None:
        watch.standing_by = True
    yield
    if watch is not None:
        watch.standing_by = False


def on_sql(watch: RoleWatch | None, readings: Source, config: Config) -> None:
    """What is to be known of a role whose state is in SQL."""
    if watch is None:
        return
    from stream.review.timing import Asking, time_statements

    watch.tell(readings)
    time_statements(watch.server_took("sql"))
    watch.ask("sql", Asking(config.database))
    _ask_broker(watch, config)


def _ask_broker(watch: RoleWatch, config: Config) -> None:
    """The embedded log is a file of ours: nobody has to answer."""
    if config.embedded:
        return
    from stream.kafka import servers_of

    servers = servers_of(config.broker)
    watch.ask("kafka", lambda: reachable(servers))


def _redis(url: str) -> Source:
    from features.redis_server import redis_facts

    def ask() -> Iterator[Reading]:
        facts = redis_facts(url).values()
        limits = [each.limit for each in facts]
        yield Reading("weir_redis_memory_used_bytes", sum(each.used for each in facts))
        yield Reading("weir_redis_memory_limit_bytes", sum(limits) if all(limits) else 0)

    return ask
