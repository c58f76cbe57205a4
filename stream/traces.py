"""A trace of some chunks, stage by stage, for OpenTelemetry: the one file that imports it, and only where traces are asked for.

A chunk is one span, each of its stages a child of it. A record that carries a `traceparent` header (W3C Trace Context) is
linked, so that whoever sent it finds what became of it.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import chain

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stream.records import Record
from stream.watch import Passage

TRACEPARENT = "traceparent"

LINKS = 32
"""Senders that one chunk is linked to, at most."""

EXPORT_WITHIN_S = 2.0
"""A collector that does not answer must not hold up a worker's end."""


class Tracing:
    """Turns chunks that are through into spans."""

    def __init__(
        self,
        role: str,
        share: float,
        processor: SpanProcessor,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Trace this `share` of the batches (0 to 1) of a role; `draw` gives a number below 1 for each."""
        name = os.environ.get("OTEL_SERVICE_NAME", f"weir-{role}")
        resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: version("weir")})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("weir")
        self._role = role
        self._share = share
        self._draw = draw

    def passed(self, passage: Passage, ended_ns: int) -> None:
        """A batch is through: trace it if it is one of those that are."""
        if self._draw() < self._share:
            self._trace(passage, ended_ns)

    def _trace(self, passage: Passage, ended_ns: int) -> None:
        first = passage.runs[0][0]  # where a batch is of many partitions, it is found by this one
        batch = self._tracer.start_span(
            f"{self._role} {first.topic}",
            kind=SpanKind.CONSUMER,
            start_time=passage.began_ns,
            links=list(links(chain.from_iterable(passage.runs))),
            attributes={
                "messaging.operation.type": "process",
                "messaging.destination.name": first.topic,
                "messaging.destination.partition.id": str(first.partition),
                "messaging.kafka.offset": first.offset,
                "messaging.batch.message_count": sum(map(len, passage.runs)),
                "weir.batch.runs": len(passage.runs),
            },
        )
        context = set_span_in_context(batch)
        for stage, began_ns, stage_ended_ns in passage.spans:
            self._tracer.start_span(stage, context, start_time=began_ns).end(stage_ended_ns)
        batch.end(ended_ns)

    def stop(self) -> None:
        """Send what waits, and end."""
        self._provider.shutdown()


def links(records: Iterable[Record]) -> Iterator[Link]:
    """To the spans that these records' senders named, each once, LINKS at most."""
    named = (value for record in records for name, value in record.headers if name == TRACEPARENT)
    seen: set[bytes] = set()
    for value in named:
        if value in seen:
            continue
        seen.add(value)
        carrier = {TRACEPARENT: value.decode("ascii", "replace")}
        context = get_current_span(TraceContextTextMapPropagator().extract(carrier)).get_span_context()
        if context.is_valid:
            yield Link(context)
        if len(seen) >= LINKS:
            return


def exporting() -> SpanProcessor:
    """Sends spans in batches to where OTEL_EXPORTER_OTLP_ENDPOINT says (by default a collector on this machine)."""
    return BatchSpanProcessor(OTLPSpanExporter(timeout=EXPORT_WITHIN_S))
