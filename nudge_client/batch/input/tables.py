"""Tables: a column is a field of the rows. CSV, and Parquet by pyarrow, which is an extra.

A cell of a CSV file is a string. A Parquet value becomes what JSON can say: times and dates ISO 8601, to the
microsecond; decimals, UUIDs and durations their text; bytes their UTF-8 text, or else base64; NaN and infinities null.
"""

from __future__ import annotations

import base64
import csv
import math
from collections.abc import Iterator, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from nudge_client.batch.input.formats import Shape, bad_row, make_row
from nudge_client.batch.input.lines import LONGEST, lines_of, opened
from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.input.templates import Template
from nudge_providers.errors import UsageError, printable

LONGEST_CELL = 16 << 20  # characters of a CSV cell: as much as a quote that nobody closes can swallow
BATCH = 256  # rows of a Parquet file held at a time
STREAMED = {"pre_buffer": False, "buffer_size": 1 << 16}  # by default pyarrow holds whole row groups


class _Text:
    """Lines of a CSV file as text. done: how many. undecodable: whether one was not UTF-8, until it is reset."""

    def __init__(self, lines: Iterator[bytes | None]) -> None:
        self._lines = lines
        self.done = 0
        self.undecodable = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.done += 1
        if line is None:
            raise csv.Error(f"a line is longer than {LONGEST >> 20} MiB")
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.undecodable = True
            return line.decode(errors="replace")


def csv_rows(path: Path, shape: Shape, template: Template | None) -> Iterator[Row | BadRow]:
    """Rows of a CSV file with a header, `.tsv` with tabs. A row's number is its record's, from 1 after the header.

    Blank lines are no records. Raises UsageError for a header that cannot be used.
    """
    csv.field_size_limit(max(LONGEST_CELL, csv.field_size_limit()))
    with opened(path) as file:
        text = _Text(lines_of(file))
        records = csv.reader(text, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        header = _csv_header(path, records, text)
        _check_columns(path, header, template, ("prompt",))
        number = 0
        while True:
            text.undecodable = False
            where = f"row {number + 1} (line {text.done + 1})"
            try:
                record = next(records)
            except StopIteration:
                return
            except csv.Error as error:  # the reader goes on at the next line
                number += 1
                yield bad_row(number, where, f"it is not CSV: {error}; is a quote left open, or not doubled?")
                continue
            if record:
                number += 1
                yield _csv_row(shape, number, where, header, record, text.undecodable)


def _csv_header(path: Path, records: Iterator[list[str]], text: _Text) -> list[str]:
    try:
        header = next((record for record in records if record), None)
    except csv.Error as error:
        raise UsageError(f"input {path}: its header is not CSV: {error}") from None
    if header is None:
        raise UsageError(f"input {path}: it is empty; a CSV file begins with the names of its columns")
    if text.undecodable:
        raise UsageError(f"input {path}: its header is not UTF-8 text; save it as UTF-8")
    return header


def _csv_row(
    shape: Shape, number: int, where: str, header: Sequence[str], record: Sequence[str], undecodable: bool
) -> Row | BadRow:
    if undecodable:
        return bad_row(number, where, "it is not UTF-8 text")
    if len(record) != len(header):
        return bad_row(number, where, f"the header has {len(header)} columns, and this record {len(record)}")
    return make_row(shape, number, where, dict(zip(header, record, strict=True)))


def _check_columns(path: Path, names: Sequence[str], template: Template | None, asked: Sequence[str]) -> None:
    """A table without the columns that every row needs has no row that can be answered. asked: one of these."""
    shown = printable(", ".join(names)[:2000], 300)
    if not all(name.strip() for name in names):
        raise UsageError(f"input {path}: a column has no name; its columns: {shown}")
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"input {path}: two columns are called {printable(repeated, 60)!r}; rename one")
    lacking = [name for name in template.names if name not in names] if template else []
    if lacking:
        lack = printable(lacking[0], 60)
        raise UsageError(f"input {path}: it has no column {lack!r}, which the template names; its columns: {shown}")
    if not template and not set(asked) & set(names):
        raise UsageError(f"input {path}: it has no column `prompt`; name its columns in a --template: {shown}")


def need_pyarrow(path: Path) -> Any:
    """The module that reads Parquet. Raises UsageError when it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UsageError(f"input {path}: Parquet needs pyarrow: pip install 'nudge-client[parquet]'") from None
    return pyarrow.parquet


def parquet_rows(path: Path, shape: Shape, template: Template | None) -> Iterator[Row | BadRow]:
    """Rows of a Parquet file, numbered from 1. Raises UsageError when it is none, or broken at some place."""
    parquet = need_pyarrow(path)
    from pyarrow import ArrowException

    used = ("id", "system", *(template.names if template else ("prompt", "messages")))
    number = 0
    with opened(path) as file:
        try:
            table = parquet.ParquetFile(file, **STREAMED, coerce_int96_timestamp_unit="us")
            _check_columns(path, table.schema_arrow.names, template, ("prompt", "messages"))
            for batch in table.iter_batches(batch_size=BATCH):
                for values in _values(_to_microseconds(batch)):
                    number += 1
                    yield _parquet_row(shape, number, values, used)
        except (ArrowException, OSError, UnicodeDecodeError) as error:
            after = f", after row {number}" if number else ""
            raise UsageError(f"input {path}: it is not a whole Parquet file{after}: {printable(str(error))}") from None


def _parquet_row(shape: Shape, number: int, values: dict[str, Any] | str, used: Sequence[str]) -> Row | BadRow:
    where = f"row {number}"
    if isinstance(values, str):
        return bad_row(number, where, values)
    fields = {name: _plain(value) for name, value in values.items()}
    for name in used:
        if isinstance(values.get(name), bytes) and not _is_utf8(values[name]):
            return bad_row(number, where, f"`{name}` is bytes that are not UTF-8 text", fields=fields)
    return make_row(shape, number, where, fields)


def _to_microseconds(batch: Any) -> Any:
    """Python's times have no nanoseconds, which are what pandas writes."""
    import pyarrow as pa

    for index, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            column = batch.column(index).cast(pa.timestamp("us", field.type.tz), safe=False)
            batch = batch.set_column(index, field.name, column)
    return batch


def _values(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Each row's values, or what is wrong with them: Arrow can hold times and strings that Python cannot."""
    from pyarrow import ArrowException

    try:
        rows: list[dict[str, Any] | str] = batch.to_pylist()
    except (ArrowException, ValueError, OverflowError) as error:
        if batch.num_rows == 1:
            yield f"a value in it cannot be read: {printable(str(error))}"
            return
        rows = []
    yield from rows
    if not rows:
        for index in range(batch.num_rows):
            yield from _values(batch.slice(index, 1))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode() if _is_utf8(value) else base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
