from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.events import Label, Transaction, to_us
from features.profile import Profile, load
from stream import files, rows
from stream.decisions import LabelRecord
from stream.files import EventFile, Refused
from stream.rows import FileError
from stream.wire import decode

START = datetime(2018, 4, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load("handbook")


def row(number: int, hours: float, fraud: object = 0, **other: object) -> dict[str, object]:
    when = (START + timedelta(hours=hours)).replace(tzinfo=None).isoformat()
    event = {"TRANSACTION_ID": number, "TX_DATETIME": when, "CUSTOMER_ID": 596, "TERMINAL_ID": 3156}
    return {**event, "TX_AMOUNT": 57.16, "TX_FRAUD": fraud, **other}


def write(path: Path, lines: list[dict[str, object] | bytes]) -> Path:
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else msgspec.json.encode(line) for line in lines)
    )
    return path


def names(file: EventFile) -> list[str]:
    """A file's items in short: an event's id, "L" and the id of a label's event, "R" and a refused row."""
    short = {Transaction: "{0.event_id}", Label: "L{0.event_id}", Refused: "R{0.row}"}
    return [short[type(item)].format(item) for batch in file.events() for item in batch]


def test_a_label_stands_before_the_first_event_after_its_arrival(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, 0), row(2, 1, 1), row(3, 1.5), row(4, 2), row(5, 3.5)])
    file = EventFile(path, profile, label_delay_us=2 * HOUR_US)
    assert names(file) == ["1", "2", "3", "L1", "4", "L2", "L3", "5", "L4", "L5"]


def test_a_label_says_what_the_row_said_and_arrives_after_the_delay(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(7, 1, 1)])
    batches = EventFile(path, profile, label_delay_us=5 * HOUR_US).events()
    event, label = [item for batch in batches for item in batch]
    assert isinstance(event, Transaction)
    assert event.arrived_us == event.time_us == to_us(START) + HOUR_US
    assert label == Label("file-7", "7", True, "file", to_us(START) + 6 * HOUR_US)


def test_a_row_without_a_label_has_none(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, 0, None), row(2, 1, "")])
    assert names(EventFile(path, profile)) == ["1", "2"]


def test_events_of_the_same_moment_stay_in_the_files_order(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(9, 1, None), row(3, 1, None), row(5, 1, None)])
    assert names(EventFile(path, profile)) == ["9", "3", "5"]


def test_rows_a_little_out_of_place_are_put_right(
    tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 2)
    monkeypatch.setattr(files, "OUT_OF_PLACE", 3)
    hours = [2, 0, 1, 5, 3, 4, 6]
    path = write(tmp_path / "a.jsonl", [row(hour, hour, None) for hour in hours])
    assert names(EventFile(path, profile)) == list("0123456")


def test_a_row_far_out_of_place_is_named_with_the_mend(
    tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 2)
    monkeypatch.setattr(files, "OUT_OF_PLACE", 3)
    path = write(tmp_path / "a.jsonl", [row(hour, hour, None) for hour in [1, 2, 3, 4, 5, 6, 7, 0]])
    with pytest.raises(FileError, match=r"row 8 .* Sort the file by TX_DATETIME"):
        names(EventFile(path, profile))


@given(shifts=st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_any_order_within_the_bound_gives_each_event_once_in_time_order(
    tmp_path_factory: pytest.TempPathFactory, shifts: list[int]
) -> None:
    hours = [index // 4 + shift for index, shift in enumerate(shifts)]
    path = write(tmp_path_factory.mktemp("h") / "a.jsonl", [row(i, hour) for i, hour in enumerate(hours)])
    items = [item for batch in EventFile(path, load("handbook")).events() for item in batch]
    events = [item for item in items if isinstance(item, Transaction)]
    assert [int(event.event_id) for event in events] == sorted(range(len(hours)), key=lambda i: (hours[i], i))
    assert len(items) == 2 * len(hours)
    times = [item.arrived_us for item in items if not isinstance(item, Refused)]
    assert times == sorted(times)


def test_a_row_that_is_no_event_stays_in_its_place_with_a_reason(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, 0, None), b"{", row(2, 1, TX_AMOUNT="much"), row(3, 2, None)])
    items = [item for batch in EventFile(path, profile).events() for item in batch]
    assert [type(item) for item in items] == [Transaction, Refused, Refused, Transaction]
    assert items[1] == Refused(2, "not a JSON object")
    assert isinstance(items[2], Refused)
    assert "TX_AMOUNT" in items[2].reason


def test_a_label_that_means_nothing_stops_the_reading_with_its_row(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, 0), row(2, 1, "perhaps")])
    with pytest.raises(FileError, match=r"row 2 .*TX_FRAUD.*'perhaps'"):
        names(EventFile(path, profile))


def test_only_events_of_the_time_asked_for_are_given(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(hour, hour, None) for hour in range(6)])
    start = to_us(START)
    file = EventFile(path, profile, from_us=start + 2 * HOUR_US, until_us=start + 4 * HOUR_US)
    assert names(file) == ["2", "3"]


def test_reading_ends_where_the_time_asked_for_ends(
    tmp_path: Path, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BATCH", 2)
    monkeypatch.setattr(files, "OUT_OF_PLACE", 1)
    path = write(tmp_path / "a.jsonl", [row(hour, hour, None) for hour in range(100)])
    file = EventFile(path, profile, until_us=to_us(START) + 4 * HOUR_US)
    assert names(file) == ["0", "1", "2", "3"]
    assert file.done < 10


def test_records_carry_the_rows_fields_less_the_label_under_their_customers_key(
    tmp_path: Path, profile: Profile
) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, 0, 1, SHOP="x"), b'{"broken'])
    first, _ = EventFile(path, profile, label_delay_us=HOUR_US).records()
    event, broken = first.events
    expected = row(1, 0, SHOP="x")
    del expected["TX_FRAUD"]
    assert msgspec.json.decode(event.value) == expected
    assert (event.key, event.headers) == (b"596", (("arrived", b"%d" % to_us(START)),))
    assert (broken.key, broken.value, broken.headers) == (None, b'{"broken', event.headers)


def test_a_labels_record_has_its_events_key_and_its_own_arrival(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(1, 0, 1)])
    parcels = list(EventFile(path, profile, label_delay_us=HOUR_US).records())
    [record] = [label for parcel in parcels for label in parcel.labels]
    assert (record.key, record.headers) == (b"596", (("arrived", b"%d" % (to_us(START) + HOUR_US)),))
    assert decode(record.value, LabelRecord) == LabelRecord(
        label_id="file-1", event_id="1", label="fraud", source="file", labelled_at="2018-04-01T01:00:00+00:00"
    )


def test_progress_counts_the_rows_that_were_read(tmp_path: Path, profile: Profile) -> None:
    path = write(tmp_path / "a.jsonl", [row(hour, hour) for hour in range(5)])
    file = EventFile(path, profile)
    names(file)
    assert (file.done, file.total) == (5, None)
