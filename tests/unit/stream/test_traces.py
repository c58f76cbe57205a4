"""Traces: a span a chunk, a child a stage, links to those who sent the records, and nothing unless asked for."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stream import watching
from stream.config import ConfigError, load
from stream.records import Record
from stream.traces import LINKS, Tracing
from stream.watch import RoleWatch

SENDER = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def record(offset=7, *headers):
    return Record("transactions", 3, offset, b"card-1234", b'{"card": "1234"}', headers, 0)


def chunk_of(watch, *records):
    passing = watch.passage(records)
    for stage in ("decode", "store"):
        with passing.stage(stage):
            time.sleep(0.001)
    passing.done()


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def watch(exporter):
    watch = RoleWatch("score")
    watch.then = Tracing("score", 1.0, SimpleSpanProcessor(exporter)).passed
    return watch


def test_a_chunk_is_a_span_and_its_stages_are_its_children_in_order(watch, exporter):
    chunk_of(watch, record(), record(8))
    decode, store, chunk = exporter.get_finished_spans()
    assert (chunk.name, decode.name, store.name) == ("score transactions", "decode", "store")
    assert chunk.parent is None
    assert {decode.parent.span_id, store.parent.span_id} == {chunk.context.span_id}
    assert chunk.start_time <= decode.start_time < decode.end_time <= store.start_time < store.end_time
    assert store.end_time <= chunk.end_time
    assert abs(chunk.end_time / 1e9 - time.time()) < 60
    assert chunk.attributes["messaging.batch.message_count"] == 2
    assert chunk.attributes["messaging.destination.partition.id"] == "3"
    assert chunk.resource.attributes["service.name"] == "weir-score"


def test_a_span_tells_nothing_of_what_a_record_holds(watch, exporter):
    chunk_of(watch, record())
    assert "1234" not in "".join(span.to_json() for span in exporter.get_finished_spans())


def test_whoever_sent_a_record_with_a_trace_finds_the_chunk_by_a_link(watch, exporter):
    chunk_of(watch, record(7, ("traceparent", SENDER)), record(8, ("traceparent", SENDER)), record(9))
    (link,) = exporter.get_finished_spans()[-1].links
    assert f"{link.context.trace_id:032x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert f"{link.context.span_id:016x}" == "00f067aa0ba902b7"


def test_headers_that_are_no_trace_link_to_nothing_and_links_are_bounded(watch, exporter):
    chunk_of(watch, record(7, ("traceparent", b"\xff\x00")), record(8, ("traceparent", b"")))
    assert exporter.get_finished_spans()[-1].links == ()
    many = [record(at, ("traceparent", SENDER[:-5] + b"%02x-01" % at)) for at in range(2 * LINKS)]
    chunk_of(watch, *many)
    assert len(exporter.get_finished_spans()[-1].links) == LINKS


def test_only_the_share_that_was_asked_for_is_traced(exporter):
    watch = RoleWatch("score")
    drawn = iter([0.09, 0.1, 0.5])
    watch.then = Tracing("score", 0.1, SimpleSpanProcessor(exporter), lambda: next(drawn)).passed
    for _ in range(3):
        chunk_of(watch, record())
    assert len(exporter.get_finished_spans()) == 3, "one chunk: itself and two stages"


def config(tmp_path, environ, **flags):
    return load({"dir": str(tmp_path), **flags}, environ, tmp_path / "no.toml")


def test_traces_are_off_unless_a_share_or_an_address_is_named(tmp_path):
    assert config(tmp_path, {}).traces == 0
    assert config(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}).traces == 0.01
    assert config(tmp_path, {"WEIR_TRACES": "0.5"}).traces == 0.5
    off = {"WEIR_TRACES": "0", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    assert config(tmp_path, off).traces == 0


@pytest.mark.parametrize("share", ["often", "2", "-1", "nan"])
def test_a_share_that_is_none_is_refused(tmp_path, share):
    with pytest.raises(ConfigError, match="WEIR_TRACES"):
        config(tmp_path, {"WEIR_TRACES": share})


def test_spans_reach_a_collector_before_the_process_ends(tmp_path, monkeypatch):
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    with watching.role("record", config(tmp_path, {"WEIR_TRACES": "1"})) as watch:
        chunk_of(watch, record())
    server.shutdown()
    server.server_close()
    ((path, body),) = received
    assert path == "/v1/traces"
    spans = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    assert {span.name for span in spans} == {"record transactions", "decode", "store"}
