"""Every metric that Weir exports, and how Prometheus reads it: the one file that imports prometheus_client.

What a process knows is kept as plain numbers (stream.watch, the roles' own counts) and becomes metrics when somebody
looks, so that the path pays for no client library. No label has values without bound, and none that may be personal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from stream.watch import Distribution, Reading, RoleWatch

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


class Kind(NamedTuple):
    """What a metric is."""

    type: str  # "counter", "gauge" or "histogram"
    meaning: str
    labels: tuple[str, ...] = ()  # beside `role`, which all have


CATALOGUE: Mapping[str, Kind] = {
    # every worker
    "weir_build_info": Kind("gauge", "1; the version of Weir that runs", ("version",)),
    "weir_ready": Kind(
        "gauge", "1 while the worker has its partitions, is not ending, and its servers answer"
    ),
    "weir_standing_by": Kind("gauge", "1 while it waits to take over from another, as a second learner does"),
    "weir_server_up": Kind("gauge", "1 while a server that the role cannot do without answers", ("server",)),
    "weir_records": Kind("counter", "records taken in and done with", ("topic",)),
    "weir_chunks": Kind("counter", "chunks taken in and done with", ("topic",)),
    "weir_stage_seconds": Kind("histogram", "what a stage took for a batch", ("stage",)),
    "weir_latency_seconds": Kind(
        "histogram", "from the log's time of a record to the durable end of its handling", ("topic",)
    ),
    "weir_server_seconds": Kind("histogram", "what calls to a server took, retries included", ("server",)),
    "weir_lag_records": Kind("gauge", "records that lie on the log, not done with", ("topic", "partition")),
    "weir_rebalances": Kind("counter", "times that partitions were handed out anew"),
    # score
    "weir_decisions": Kind("counter", "decisions made, by what the store said of the event", ("status",)),
    "weir_decisions_by_rung": Kind(
        "counter", "decisions made, by the rung of the ladder that decided", ("rung",)
    ),
    "weir_alerts_sent": Kind("counter", "alerts sent"),
    "weir_labels_applied": Kind("counter", "labels that reached the feature store"),
    "weir_dead_letters": Kind(
        "counter", "records that could not be used, by the kind of reason", ("reason",)
    ),
    "weir_unknown_fields": Kind("counter", "fields that the profile does not know, ignored"),
    "weir_model_info": Kind("gauge", "1; the model that decides now", ("version",)),
    "weir_rates": Kind("gauge", "rates of exchange that the scorer knows"),
    "weir_rates_refused": Kind("counter", "rates of exchange that could not be used; those before stayed"),
    "weir_snapshots_refused": Kind("counter", "snapshots that could not be used; the champion stayed"),
    "weir_network_info": Kind("gauge", "1; the newest network that can be used", ("version", "network")),
    "weir_networks_refused": Kind(
        "counter", "networks that were published and could not be used; the one before stayed"
    ),
    "weir_network_carried_info": Kind("gauge", "1; the network that reads along now", ("network",)),
    "weir_network_filling": Kind("gauge", "1 while the states of a newer network are filled"),
    "weir_network_missed": Kind("counter", "events that the network did not answer in time", ("reason",)),
    "weir_states_refused": Kind("counter", "states that another worker had written, or that were forgotten"),
    "weir_redis_memory_used_bytes": Kind("gauge", "memory that the Redis uses"),
    "weir_redis_memory_limit_bytes": Kind("gauge", "memory that it may use; 0: no limit"),
    # learn
    "weir_labels_learned": Kind("counter", "labels learned from"),
    "weir_labels_waiting": Kind("gauge", "labels whose decision is not recorded yet"),
    "weir_labels_given_up": Kind("counter", "labels whose decision never came"),
    "weir_unreadable": Kind("counter", "records of Weir's own topics that could not be read", ("what",)),
    "weir_checkpoints": Kind("counter", "checkpoints that made learned labels durable"),
    "weir_snapshot_number": Kind(
        "gauge", "the number of the newest snapshot that this learner made or resumed from"
    ),
    "weir_ensemble_weight": Kind(
        "gauge", "what the log-odds of a part count for in the ensemble's, with all parts there", ("part",)
    ),
    # record
    "weir_recorded_rows": Kind("counter", "what was written to SQL", ("kind",)),
    # review, from SQL: the same whichever process tells it
    "weir_events": Kind("counter", "events decided"),
    "weir_alerts": Kind("counter", "events that a person should look at"),
    "weir_repeated": Kind("counter", "decisions that came again and changed nothing"),
    "weir_conflicts": Kind("counter", "decisions of a known event with another content"),
    "weir_labelled": Kind("gauge", "events with a label"),
    "weir_labelled_fraud": Kind("gauge", "events whose newest label says fraud"),
    "weir_alerts_labelled": Kind("gauge", "alerts whose event has a label"),
    "weir_alerts_fraud": Kind("gauge", "alerts whose event's newest label says fraud"),
    "weir_alerts_open": Kind("gauge", "alerts that wait for a person"),
    "weir_verdicts_unsent": Kind("gauge", "verdicts that are not on the log yet"),
    "weir_dead_letters_kept": Kind("gauge", "records that could not be used and are kept in SQL"),
    "weir_outbox_failures": Kind("counter", "times that verdicts could not be sent; they are tried again"),
    # `weir up`
    "weir_part_up": Kind("gauge", "1 while a part of this `weir up` answers", ("part",)),
}
"""Every metric of Weir's own, by its name without the suffixes that Prometheus gives counters and histograms."""


class _All(Collector):
    """Families that were made already."""

    def __init__(self, made: Iterable[Metric]) -> None:
        self._made = list(made)

    def collect(self) -> Iterable[Metric]:
        return self._made


def families(watch: RoleWatch, readings: Iterable[Reading]) -> list[Metric]:
    """All that is known of a role, each name once; raises KeyError for a reading that the catalogue lacks."""
    made = [*_plain(watch, readings)]
    made += _histograms("weir_stage_seconds", "stage", watch.stages, watch.role)
    made += _histograms("weir_latency_seconds", "topic", watch.latency, watch.role)
    made += _histograms("weir_server_seconds", "server", watch.servers, watch.role)
    return made


def _plain(watch: RoleWatch, readings: Iterable[Reading]) -> Iterator[Metric]:
    own = [
        Reading("weir_build_info", 1, {"version": _version()}),
        *(Reading("weir_records", count, {"topic": topic}) for topic, count in dict(watch.records).items()),
        *(Reading("weir_chunks", count, {"topic": topic}) for topic, count in dict(watch.chunks).items()),
    ]
    by_name: dict[str, list[Reading]] = {}
    for reading in (*own, *readings):
        by_name.setdefault(reading.name, []).append(reading)
    for name, group in by_name.items():
        yield _family(name, group, watch.role)


@cache
def _version() -> str:
    """Looked up once: it is read from files, and a scrape would cost a fifth more."""
    return version("weir")


def _family(name: str, readings: Sequence[Reading], role: str) -> Metric:
    kind = CATALOGUE[name]
    made = CounterMetricFamily if kind.type == "counter" else GaugeMetricFamily
    family = made(name, kind.meaning, labels=["role", *kind.labels])
    for reading in readings:
        family.add_metric([role, *(reading.labels[label] for label in kind.labels)], reading.value)
    return family


def _histograms(name: str, label: str, kept: Mapping[str, Distribution], role: str) -> list[Metric]:
    family = HistogramMetricFamily(name, CATALOGUE[name].meaning, labels=["role", label])
    for value, distribution in dict(kept).items():
        counts, total = distribution.read()
        family.add_metric([role, value], _buckets(distribution.bounds, counts), total)
    return [family] if kept else []


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Prometheus' buckets hold all that is at or below their end."""
    ends, below, buckets = [*(f"{bound:g}" for bound in bounds), "+Inf"], 0, []
    for end, count in zip(ends, counts, strict=True):
        below += count
        buckets.append((end, float(below)))
    return buckets


def process(role: str) -> list[Metric]:
    """This process's memory, processor time and start, under its role."""
    return [_named(family, role) for family in ProcessCollector(registry=None).collect()]


def parsed(text: str) -> list[Metric]:
    """What another process exported; raises ValueError for what is no exposition."""
    return list(text_string_to_metric_families(text))


def _named(family: Metric, role: str) -> Metric:
    family.samples = [sample._replace(labels={"role": role, **sample.labels}) for sample in family.samples]
    return family


def joined(made: Iterable[Metric]) -> list[Metric]:
    """Families of several processes, each name once."""
    by_name: dict[str, Metric] = {}
    for family in made:
        known = by_name.setdefault(family.name, family)
        if known is not family:
            known.samples += family.samples
    return list(by_name.values())


def written(made: Iterable[Metric]) -> bytes:
    """Families as text."""
    return generate_latest(_All(made))
