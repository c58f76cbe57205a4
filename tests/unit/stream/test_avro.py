"""Avro on the input topics: the same events as their JSON, old and new schemas side by side, and nothing lost."""

import datetime as dt
import json
from decimal import Decimal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from features.profile import SHIPPED, ProfileError, load
from stream import cli
from stream.avro import AvroReader
from stream.avro_writer import AvroWriter
from stream.bootstrap import codec_of
from stream.codec import Codec, DeadLetter
from stream.config import Config, ConfigError, Registry
from stream.embedded.log import Log
from stream.files import EventFile
from stream.record import Recorder
from stream.records import ARRIVED, TP, Record
from stream.registry import PATIENCE_S, UNKNOWN_S, RegistryUnavailable, SchemaRegistry
from stream.review import tables
from stream.review.ledger import Ledger
from stream.rows import FileError
from stream.sealing import Sealer
from stream.secret import Secret
from tests.unit.stream.registry import FakeRegistry, record

PROFILE = load("payments")
ARRIVED_US = 1_767_268_800_000_000
TEXTS = ("id", "card", "merchant", "device", "currency", "country", "channel")
TIME = {"type": "long", "logicalType": "timestamp-micros"}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 2}
OLD = record(*((name, "string") for name in TEXTS), ("at", TIME), ("amount", MONEY))
AT = dt.datetime(2026, 1, 1, 11, 59, tzinfo=dt.UTC)
ROW = {
    **dict.fromkeys(TEXTS, "x"),
    "id": "p1",
    "card": "c1",
    "currency": "EUR",
    "at": AT,
    "amount": Decimal("57.16"),
}
JSON = {**ROW, "at": AT.isoformat(), "amount": "57.16"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def registry():
    fake = FakeRegistry()
    yield fake
    fake.close()


def asking(fake, **more):
    return SchemaRegistry(Registry(url=fake.url, **more), sleep=lambda _: None)


def codec_for(fake, profile=PROFILE):
    return Codec(profile, avro=AvroReader(asking(fake)))


def on_log(value, topic="transactions"):
    headers = ((ARRIVED, b"%d" % ARRIVED_US),)
    return Record(topic, 0, 1, b"c1", value, headers, 0)


def decoded(codec, value):
    return codec.decode(on_log(value))


def without(schema, *names):
    return record(*(field for field in schema["fields"] if field["name"] not in names))


def test_an_avro_record_is_the_same_event_as_its_json(registry):
    number = registry.register(OLD, "transactions-value")
    assert decoded(codec_for(registry), registry.encode(number, ROW)) == PROFILE.transaction(JSON, ARRIVED_US)


def test_json_and_avro_lie_in_one_topic_while_its_senders_move(registry):
    codec, number = codec_for(registry), registry.register(OLD, "transactions-value")
    values = [json.dumps(JSON).encode(), registry.encode(number, ROW)] * 2
    first, *others = [decoded(codec, value) for value in values]
    assert others == [first] * 3


def test_labels_may_be_avro_too(registry):
    fields = ("label_id", "event_id", "label", "source")
    number = registry.register(
        record(*((name, "string") for name in fields), ("labelled_at", TIME)), "labels-value"
    )
    said = {"label_id": "l1", "event_id": "p1", "label": "fraud", "source": "x", "labelled_at": AT}
    plain = json.dumps({**said, "labelled_at": AT.isoformat()}).encode()
    codec = codec_for(registry)
    records = [on_log(value, "labels") for value in (registry.encode(number, said), plain)]
    label, other = map(codec.decode, records)
    assert label == other
    assert list(map(codec.labelled_at, records)) == [AT.isoformat()] * 2


def test_an_avro_label_becomes_a_row_like_any_other(registry, tmp_path):
    """It was buried as "not a record that Weir writes": the recorder read the time of a label as JSON alone."""
    fields = ("label_id", "event_id", "label", "source", "labelled_at")
    number = registry.register(record(*((name, "string") for name in fields)), "labels-value")
    said = dict.fromkeys(fields, "l1") | {"label": "fraud", "labelled_at": AT.isoformat()}
    ledger = Ledger.open(f"sqlite:///{tmp_path}/weir.db")
    recorder = Recorder(ledger, codec_for(registry), Sealer(bytes(32)))
    recorder.record([on_log(registry.encode(number, said), "labels")])
    assert not ledger.dead_letter_count()
    with ledger.engine.connect() as connection:
        assert connection.execute(select(tables.labels.c.label_id, tables.labels.c.labelled_at)).all() == [
            ("l1", AT.isoformat())
        ]
    ledger.close()


NEW = {
    "a field added with a default": (
        record(*OLD["fields"], ("terminal", "string", "none")),
        {**ROW, "terminal": "t9"},
        OLD,
        ROW,
    ),
    "a field removed": (OLD, ROW, record(*OLD["fields"], ("gone", "string")), {**ROW, "gone": "g"}),
    "a field renamed by an alias": (
        record(*without(OLD, "card")["fields"], {"name": "card", "type": "string", "aliases": ["pan_hash"]}),
        ROW,
        record(*without(OLD, "card")["fields"], ("pan_hash", "string")),
        {**{name: value for name, value in ROW.items() if name != "card"}, "pan_hash": "c1"},
    ),
    "a type widened": (
        record(*without(OLD, "amount")["fields"], ("amount", "double")),
        {**ROW, "amount": 57.0},
        record(*without(OLD, "amount")["fields"], ("amount", "int")),
        {**ROW, "amount": 57},
    ),
    "a field made optional": (
        record(*without(OLD, "device")["fields"], ("device", ["null", "string"])),
        ROW,
        OLD,
        ROW,
    ),
}


@pytest.mark.parametrize("change", NEW)
def test_old_and_new_schemas_lie_in_one_topic(registry, change):
    new, new_row, old, old_row = NEW[change]
    first = registry.register(old, "transactions-value")
    before = registry.encode(first, old_row)
    codec = codec_for(registry)
    alone = decoded(codec, before)
    second = registry.register(new, "transactions-value")
    after = registry.encode(second, new_row)
    met = decoded(codec, after)
    assert met == decoded(codec, before), "the number that is new makes the newest schema known"
    assert isinstance(alone, DeadLetter) == ("alias" in change)
    fresh = codec_for(registry)
    assert [decoded(fresh, value) for value in (before, after, before)] == [met] * 3
    assert not isinstance(met, DeadLetter)


def test_a_default_of_the_newest_schema_fills_old_records(registry):
    old = registry.register(without(OLD, "channel"), "transactions-value")
    row = {name: value for name, value in ROW.items() if name != "channel"}
    value = registry.encode(old, row)
    registry.register(
        record(*without(OLD, "channel")["fields"], ("channel", "string", "chip")), "transactions-value"
    )
    assert decoded(codec_for(registry), value).fields["channel"] == "chip"


def test_logical_types_become_what_the_mapper_reads(registry):
    schema = record(
        ("uuid", {"type": "string", "logicalType": "uuid"}),
        ("ms", {"type": "long", "logicalType": "timestamp-millis"}),
        ("local", {"type": "long", "logicalType": "local-timestamp-micros"}),
        ("day", {"type": "int", "logicalType": "date"}),
        ("hour", {"type": "int", "logicalType": "time-millis"}),
        ("money", ["null", MONEY]),
        ("nothing", ["null", "string"]),
        (
            "tiny",
            {"type": "fixed", "name": "f", "size": 8, "logicalType": "decimal", "precision": 18, "scale": 8},
        ),
    )
    row = {
        "uuid": UUID(int=1),
        "ms": AT,
        "local": AT.replace(tzinfo=None),
        "day": AT.date(),
        "hour": dt.time(3, 4),
        "money": Decimal("-12345678901234567.10"),
        "nothing": None,
        "tiny": Decimal("0.00000001"),
    }
    value = registry.encode(registry.register(schema), row)
    assert AvroReader(asking(registry)).row("t", value) == {
        **row,
        "uuid": str(UUID(int=1)),
        "hour": "03:04:00",
        "money": "-12345678901234567.10",
        "tiny": "0.00000001",
    }


def test_no_event_costs_a_call_of_its_own(registry):
    codec, number = codec_for(registry), registry.register(OLD, "transactions-value")
    values = [registry.encode(number, {**ROW, "id": f"p{each}"}) for each in range(500)]
    assert not any(isinstance(decoded(codec, value), DeadLetter) for value in values)
    assert registry.asked == [f"/schemas/ids/{number}", "/subjects/transactions-value/versions/latest"]


def test_a_number_that_the_registry_does_not_know_is_a_dead_letter_and_asked_for_once_in_a_while(registry):
    now = [0.0]
    schemas = SchemaRegistry(Registry(url=registry.url), clock=lambda: now[0])
    codec = Codec(PROFILE, avro=AvroReader(schemas))
    for _ in range(3):
        assert decoded(codec, b"\0\0\0\0\x07abc").reason == "the schema registry knows no schema 7"
    assert registry.asked == ["/schemas/ids/7"]
    now[0] = UNKNOWN_S
    decoded(codec, b"\0\0\0\0\x07abc")
    assert len(registry.asked) == 2


def test_a_registry_that_is_away_for_a_moment_is_asked_again(registry):
    number = registry.register(OLD)
    registry.failing = [(503, {}), (500, {}), (429, {})]
    assert not isinstance(decoded(codec_for(registry), registry.encode(number, ROW)), DeadLetter)


def test_a_registry_that_stays_away_stops_the_worker_and_makes_no_dead_letter(registry):
    value = registry.encode(registry.register(OLD), ROW)
    codec = codec_for(registry)
    registry.close()
    with pytest.raises(RegistryUnavailable, match="nothing is lost"):
        codec.decode_many([on_log(value)])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {}), "WEIR_SCHEMA_REGISTRY_PASSWORD_FILE"),
        ((404, {}), "is WEIR_SCHEMA_REGISTRY a schema registry's address"),
        (
            (302, {"to": "http://127.0.0.1:1/elsewhere"}),
            "is WEIR_SCHEMA_REGISTRY a schema registry's address",
        ),
    ],
)
def test_another_servers_answer_is_no_unknown_schema(registry, answer, said):
    registry.failing = [answer]
    with pytest.raises(RegistryUnavailable, match=said):
        decoded(codec_for(registry), b"\0\0\0\0\1")


def test_the_registry_may_ask_for_a_login():
    fake = FakeRegistry(login="weir:pass:word")
    number = fake.register(OLD)
    login = SchemaRegistry(Registry(url=fake.url, user="weir", password=Secret("pass:word")))
    assert login.by_number(number).number == number
    with pytest.raises(RegistryUnavailable, match="401"):
        SchemaRegistry(Registry(url=fake.url, user="weir", password=Secret("wrong"))).by_number(number)
    fake.close()


def test_a_schema_may_use_names_of_another(registry):
    card = {"type": "enum", "name": "Kind", "symbols": ["chip", "web"]}
    registry.register(card, "kind")
    number = registry.register(
        record(*without(OLD, "channel")["fields"], ("channel", "Kind")),
        references=[{"name": "Kind", "subject": "kind", "version": 1}],
    )
    inline = registry.register(record(*without(OLD, "channel")["fields"], ("channel", card)))
    body = registry.encode(inline, {**ROW, "channel": "web"})[5:]
    event = decoded(codec_for(registry), b"\0" + number.to_bytes(4, "big") + body)
    assert event.fields["channel"] == "web"


@pytest.mark.parametrize(
    ("schema", "more", "said"),
    [
        (record(("x", "nonsense")), {}, "the schema 1 is no Avro that can be read"),
        ("string", {}, "the Avro schema 1 is no record"),
        ({"type": "object"}, {"schemaType": "JSON"}, "the schema 1 is JSON, not Avro"),
        (record(("x", {"type": "array", "items": "null"})), {}, "a list of what takes no bytes"),
        (
            record(("x", ["null", {"type": "array", "items": record(name="e")}])),
            {},
            "a list of what takes no bytes",
        ),
    ],
)
def test_a_schema_that_cannot_be_used_is_a_reason(registry, schema, more, said):
    registry.register(schema, **more)
    assert said in decoded(codec_for(registry), b"\0\0\0\0\1\0").reason


def test_what_does_not_fit_is_told_without_the_records_values(registry):
    number = registry.register(OLD, "transactions-value")
    value = registry.encode(number, {**ROW, "card": "4111111111111111"})
    codec = codec_for(registry)
    assert "3 bytes follow the record" in decoded(codec, value + b"abc").reason
    for broken in (value[:-1], value[:20], value[:4]):
        reason = decoded(codec, broken).reason
        assert "4111" not in reason
        assert "Avro schema" in reason


def test_a_number_that_is_none_is_refused_by_the_fields_name(registry):
    number = registry.register(record(*without(OLD, "amount")["fields"], ("amount", "double")))
    value = registry.encode(number, {**ROW, "amount": float("nan")})
    assert (
        decoded(codec_for(registry), value).reason == "the field amount: expected a finite number, found NaN"
    )


FUZZED = FakeRegistry()
FUZZED.register(
    record(
        *OLD["fields"],
        ("more", {"type": "array", "items": "string"}),
        ("map", {"type": "map", "values": "long"}),
    )
)
SAMPLE = FUZZED.encode(1, {**ROW, "more": ["a", "b"], "map": {"k": 1}})
FUZZED_READER = AvroReader(SchemaRegistry(Registry(url=FUZZED.url)))


@given(at=st.integers(5, len(SAMPLE) - 1), new=st.binary(max_size=12), gone=st.integers(0, 12))
def test_no_bytes_do_more_than_make_a_dead_letter(at, new, gone):
    broken = SAMPLE[:at] + new + SAMPLE[at + gone :]
    assert Codec(PROFILE, avro=FUZZED_READER).decode(on_log(broken)) is not None


def test_avro_in_a_profile_of_json_is_told_with_the_mend():
    reason = Codec(PROFILE).decode(on_log(SAMPLE)).reason
    assert reason == 'the record is not JSON; if it is Avro, the profile must say [source] format = "avro"'


def test_a_files_rows_are_the_same_events_written_as_avro_or_json(registry, tmp_path):
    optional = record(
        *without(OLD, "device")["fields"], ("device", ["null", "string"]), ("more", "string", "x")
    )
    registry.register(optional, "transactions-value")
    rows = [{**JSON, "id": f"p{n}", "amount": 1.25 * n, "ignored": 1} for n in range(3)]
    rows.append({**JSON, "at": "2026-01-01T11:59:00", "id": "p4"})
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    paris = load(zoned_profile(tmp_path))
    writer = AvroWriter(asking(registry), "transactions", paris.timezone)
    events = {}
    for name, encode in (("json", msgspec.json.encode), ("avro", writer)):
        codec = codec_for(registry, paris)
        parcels = EventFile(file, paris, encode=encode).records()
        events[name] = [decoded(codec, each.value) for parcel in parcels for each in parcel.events]
    assert events["avro"] == events["json"]
    assert [type(each).__name__ for each in events["avro"]] == ["Transaction"] * 4


def test_a_row_that_does_not_fit_the_schema_is_refused_and_so_is_a_topic_without_one(registry):
    with pytest.raises(FileError, match="no subject transactions-value"):
        AvroWriter(asking(registry), "transactions")
    registry.register(OLD, "transactions-value")
    writer = AvroWriter(asking(registry), "transactions")
    with pytest.raises(FileError, match="does not fit the Avro schema 1"):
        writer({**JSON, "amount": "much"})


def zoned_profile(tmp_path):
    file = tmp_path / "zoned.toml"
    text = (SHIPPED / "payments.toml").read_text()
    file.write_text(text.replace("[source]", '[source]\ntimezone = "Europe/Paris"'))
    return file


def avro_profile(tmp_path, name="avro"):
    file = tmp_path / "avro.toml"
    text = (SHIPPED / "payments.toml").read_text()
    file.write_text(text.replace("[source]", f'[source]\nformat = "{name}"'))
    return file


def test_a_profile_of_avro_needs_a_registry(tmp_path):
    profile = load(avro_profile(tmp_path))
    config = Config(dir=tmp_path, broker="embedded://x", redis=None, database="sqlite:///x", profile="x")
    with pytest.raises(ConfigError, match="WEIR_SCHEMA_REGISTRY"):
        codec_of(config, profile)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ProfileError, match="format 'protobuf' must be one of json, avro"):
        load(avro_profile(tmp_path, "protobuf"))


def test_the_waits_for_a_registry_are_seconds_not_minutes():
    assert 5 < sum(PATIENCE_S) < 10


def test_weir_send_writes_avro_when_it_is_told_to(registry, tmp_path, capsys, monkeypatch):
    registry.register(OLD, "transactions-value")
    monkeypatch.setenv("WEIR_SCHEMA_REGISTRY", registry.url)
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(JSON))
    with pytest.raises(SystemExit) as ended:
        cli.main(["send", str(file), "--format", "avro", "--dir", str(tmp_path)])
    assert ended.value.code == 0
    (sent,) = Log(tmp_path / "log").fetch({TP("transactions", 0): 0})
    assert decoded(codec_for(registry), sent.value) == PROFILE.transaction(JSON, ARRIVED_US)
