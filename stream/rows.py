"""Rows of a file as the JSON of the same event would decode: parquet, csv and jsonl, by the batch."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

BATCH = 10_000
"""Rows that are in memory at a time."""

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")

Row = dict[str, Any] | bytes
"""A row's fields by name; the line itself where it is no JSON object."""


class FileError(Exception):
    """A file that cannot be read as events: which, where in it, and what to do."""


def read(path: Path) -> Iterator[list[Row]]:
    """A file's rows in batches; raises FileError for a file that is absent, of no known format, or broken."""
    reader = {"parquet": _parquet, "csv": _csv}.get(kind(path), _lines)
    try:
        yield from reader(path)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def count(path: Path) -> int | None:
    """How many rows there are, where the format tells without reading it all."""
    if kind(path) != "parquet":
        return None
    try:
        return int(pa.parquet.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def kind(path: Path) -> str:
    """ "parquet", "csv" or "jsonl", by the name's ending; raises FileError for another."""
    for suffix in SUFFIXES:
        if path.name.endswith(suffix):
            return suffix.split(".")[1].replace("ndjson", "jsonl")
    raise FileError(f"{path} ends in none of {', '.join(SUFFIXES)}: these are the formats that can be read")


def _parquet(path: Path) -> Iterator[list[Row]]:
    with pa.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH):
            yield rows_of(batch)


def _csv(path: Path) -> Iterator[list[Row]]:
    """Every value stays the text that it is: what a column means is the profile's to say."""
    with pa.input_stream(path, compression="detect") as file:
        names = _header(path)
        reader = pa.csv.open_csv(
            file,
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
        for batch in reader:
            yield rows_of(batch)


def _header(path: Path) -> list[str]:
    with pa.input_stream(path, compression="detect") as file:
        return list(pa.csv.open_csv(file).schema.names)


def _lines(path: Path) -> Iterator[list[Row]]:
    rows: list[Row] = []
    with _open(path) as file:
        for line in file:
            if not line.strip():
                continue
            rows.append(_decoded(line))
            if len(rows) == BATCH:
                yield rows
                rows = []
    yield rows


def _open(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _decoded(line: bytes) -> Row:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return line.rstrip(b"\r\n")
    return row if isinstance(row, dict) else line.rstrip(b"\r\n")


def rows_of(batch: pa.RecordBatch) -> list[Row]:
    """An Arrow batch as dicts of what JSON knows: times as ISO 8601 text, decimals as text, NaN as null."""
    columns = [_plain(column).to_pylist() for column in batch.columns]
    names = batch.schema.names
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return _iso(column)
    if pa.types.is_decimal(column.type) or pa.types.is_date(column.type) or pa.types.is_time(column.type):
        return column.cast(pa.string())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    return column


def _iso(column: pa.Array) -> pa.Array:
    """Times as text: naive ones as they stand, others in UTC with a Z."""
    naive = column.cast(pa.timestamp("us", column.type.tz), safe=False).cast(pa.timestamp("us"))
    text = pc.replace_substring(naive.cast(pa.string()), " ", "T")
    return text if column.type.tz is None else pc.binary_join_element_wise(text, "Z", "")
