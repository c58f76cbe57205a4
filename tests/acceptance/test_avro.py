"""A worker that meets Avro while the schema registry is away stops, commits nothing, and loses nothing."""

import msgspec
import pytest

from features.profile import SHIPPED
from stream.records import ARRIVED, Outgoing
from tests.acceptance.harness import eventually, log_of, start, stop
from tests.unit.stream.registry import FakeRegistry, record

FIELDS = ("id", "at", "card", "merchant", "device", "amount", "currency", "country", "channel")


@pytest.mark.slow
def test_nothing_is_lost_while_the_schema_registry_is_away(tmp_path):
    registry = FakeRegistry()
    number = registry.register(record(*((name, "string") for name in FIELDS)), "transactions-value")
    registry.close()
    profile = tmp_path / "avro.toml"
    text = (SHIPPED / "payments.toml").read_text()
    profile.write_text(text.replace("[source]", '[source]\nformat = "avro"'))
    environment = {"WEIR_PROFILE": str(profile), "WEIR_SCHEMA_REGISTRY": registry.url, "no_proxy": "*"}

    row = dict.fromkeys(FIELDS, "x") | {"at": "2026-01-01T12:00:00Z", "amount": "5.00", "currency": "EUR"}
    arrived = ((ARRIVED, b"1767268800000000"),)
    plain = [Outgoing(b"x", msgspec.json.encode({**row, "id": f"j{each}"}), arrived) for each in range(20)]
    avro = [Outgoing(b"x", registry.encode(number, {**row, "id": f"a{each}"}), arrived) for each in range(20)]
    log = log_of(tmp_path)
    log.append("transactions", [*plain, *avro])

    away = start("worker", "--role", "score", directory=tmp_path, **environment)
    away.wait(60)
    assert away.returncode == 70
    said = (tmp_path / "worker---role-score.out").read_text()
    assert "nothing is lost" in said.strip().splitlines()[-1]
    assert log.committed("weir-score", "transactions") == {0: 0}

    back = FakeRegistry(port=registry.port)
    back.schemas, back.subjects = registry.schemas, registry.subjects
    worker = start("worker", "--role", "score", directory=tmp_path, **environment)
    eventually(lambda: log.end_offsets("decisions") == {0: 40}, "all are decided, once")
    stop(worker)
    assert log.end_offsets("transactions.dlq") == {0: 0}
    back.close()
