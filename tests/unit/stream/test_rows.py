import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream import rows
from stream.rows import FileError, count, read


def everything(path: Path) -> list[rows.Row]:
    return [row for batch in read(path) for row in batch]


def test_a_parquet_file_gives_what_json_knows(tmp_path: Path) -> None:
    when = datetime(2018, 4, 1, 0, 0, 31, 500, tzinfo=UTC)
    table = pa.table(
        {
            "id": pa.array([1], pa.int16()),
            "naive": pa.array([when.replace(tzinfo=None)], pa.timestamp("ns")),
            "zoned": pa.array([when], pa.timestamp("ms", "Europe/Berlin")),
            "day": pa.array([date(2018, 4, 1)]),
            "exact": pa.array([Decimal("57.10")]),
            "amount": pa.array([57.16]),
            "gap": pa.array([None], pa.int8()),
            "text": pa.array(["é"]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert everything(tmp_path / "a.parquet") == [
        {
            "id": 1,
            "naive": "2018-04-01T00:00:31.000500",
            "zoned": "2018-04-01T00:00:31.000000Z",
            "day": "2018-04-01",
            "exact": "57.10",
            "amount": 57.16,
            "gap": None,
            "text": "é",
        }
    ]


def test_what_json_cannot_say_of_a_number_is_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.5, float("nan"), float("inf")]}), tmp_path / "a.parquet")
    assert [row["x"] for row in everything(tmp_path / "a.parquet") if isinstance(row, dict)] == [
        1.5,
        None,
        None,
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_csv_file_keeps_every_text_as_it_stands(tmp_path: Path, name: str) -> None:
    text = b'id,amount,note\n007,57.10,"two\nlines"\n008,,\n'
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert everything(tmp_path / name) == [
        {"id": "007", "amount": "57.10", "note": "two\nlines"},
        {"id": "008", "amount": "", "note": ""},
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson"])
def test_a_line_that_is_no_json_object_is_given_as_it_stands(tmp_path: Path, name: str) -> None:
    text = b'{"id":1,"x":1.0}\n\n{"id":2\n[3]\n{"id":NaN}\n{"id":4}'
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    assert everything(tmp_path / name) == [{"id": 1, "x": 1.0}, b'{"id":2', b"[3]", b'{"id":NaN}', {"id": 4}]


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_no_more_than_a_batch_of_rows_is_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(rows, "BATCH", 10)
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({"id": list(range(25))}), path)
    else:
        line = "{}\n" if suffix == "csv" else '{{"id": {}}}\n'
        path.write_text("id\n" * (suffix == "csv") + "".join(line.format(number) for number in range(25)))
    sizes = [len(batch) for batch in read(path)]
    assert sum(sizes) == 25
    assert suffix == "csv" or max(sizes) == 10  # csv comes in blocks of a megabyte, by bytes


def test_the_length_is_known_where_the_format_tells(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2, 3]}), tmp_path / "a.parquet")
    assert count(tmp_path / "a.parquet") == 3
    assert count(tmp_path / "a.jsonl") is None


@pytest.mark.parametrize("name", ["absent.parquet", "absent.csv", "absent.jsonl.gz"])
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=name):
        everything(tmp_path / name)


@pytest.mark.parametrize("name", ["broken.parquet", "broken.csv.gz", "broken.jsonl.gz"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(FileError, match=name):
        everything(tmp_path / name)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(b'{"id": 1}\n' * 1_000)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-10])
    with pytest.raises(FileError, match=r"cut\.jsonl\.gz"):
        everything(tmp_path / "cut.jsonl.gz")


def test_a_file_with_a_broken_middle_is_named(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b"".join(b'{"id": %d}\n' % number for number in range(1_000))))
    whole[20:60] = b"\xff" * 40
    (tmp_path / "rot.jsonl.gz").write_bytes(whole)
    with pytest.raises(FileError, match=r"rot\.jsonl\.gz"):
        everything(tmp_path / "rot.jsonl.gz")


def test_a_format_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(FileError, match=r"\.parquet, \.csv"):
        list(read(Path("a.xlsx")))
