"""The output of a job in the order of its input, as JSONL, CSV or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nudge_client.batch.records import read_record
from nudge_client.batch.replacing import replacing
from nudge_client.batch.results.columns import Columns, Kind, as_text
from nudge_client.batch.results.input_order import InputOrder
from nudge_client.batch.results.output_rows import line_reader, parts_of, placed_records
from nudge_providers.errors import UsageError

FORMS = ("jsonl", "csv", "parquet")
GROUP = 8 << 20  # bytes of records in a row group of a Parquet file, which is held in memory


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. records: all of them. failed: those with an error in place of an answer."""

    records: int
    failed: int


def export(path: Path, to: Path, *, form: str | None = None, force: bool = False) -> Exported:
    """Write the records of a job's output, by row and sample.

    path: the output of a job; it may be running. form: `jsonl` (the same lines), `csv` or `parquet`; without, by the
    ending of `to`. force: replace a file that is there. What was there stays until the new file is whole.
    Raises UsageError for a form that is not known or not installed, a file that is there, or a line that is no record;
    OSError when a file cannot be read or written.
    """
    form = form or to.suffix.removeprefix(".").lower()
    if form not in FORMS:
        raise UsageError(f"{to}: its ending names no format; --format takes one of: {', '.join(FORMS)}")
    if form == "parquet":
        _pyarrow()
    check_target(path, to, force=force)
    order, columns, counts = _scan(path)
    with line_reader(path) as line_at, replacing(to) as file:
        found = _lines(line_at, order)
        if form == "jsonl":
            file.writelines(found)
        elif form == "csv":
            _write_csv(file, columns, found)
        else:
            _write_parquet(file, columns, found)
    return counts


def check_target(path: Path, to: Path, *, force: bool) -> None:
    """Raises UsageError where writing `to` would destroy the job's output, or, without `force`, another file."""
    if not to.exists():
        return
    if any(to.samefile(part) for part in parts_of(path)):
        raise UsageError(f"{to}: this is the job's own output; write to another file")
    if not to.is_file():
        raise UsageError(f"{to}: it is no file that could be replaced; write to another place")
    if not force:
        raise UsageError(f"{to}: it is there already; --force replaces it")


def _scan(path: Path) -> tuple[InputOrder, Columns, Exported]:
    order, columns, failed = InputOrder(), Columns(), 0
    for place, record in placed_records(path):
        order.add(record.row, record.sample, place)
        columns.see(record)
        failed += record.answer is None
    return order, columns, Exported(len(order), failed)


def _lines(line_at: Callable[[int], bytes], order: InputOrder) -> Iterator[bytes]:
    return map(line_at, order.offsets())


class _Utf8:
    """What a csv writer needs of a file. A wrapper of text would close the file, and it has yet to be synced."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        self._file.write(text.encode())


def _write_csv(file: BinaryIO, columns: Columns, found: Iterator[bytes]) -> None:
    writer = csv.writer(_Utf8(file))
    writer.writerow(columns.kinds)
    for line in found:
        record = read_record(json.loads(line))
        writer.writerow(as_text(cell) if isinstance(cell, bool) else cell for cell in columns.row(record))


def _write_parquet(file: BinaryIO, columns: Columns, found: Iterator[bytes]) -> None:
    pyarrow, parquet = _pyarrow()
    types: dict[Kind, Any] = {
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "truth": pyarrow.bool_(),
        "text": pyarrow.string(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.kinds.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(found):
            rows = [columns.row(read_record(json.loads(line))) for line in group]
            cells = [
                pyarrow.array(values, field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
            ]
            writer.write_table(pyarrow.Table.from_arrays(cells, schema=schema))


def _groups(found: Iterator[bytes]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    size = 0
    for line in found:
        group.append(line)
        size += len(line)
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("Parquet needs a library more: pip install 'nudge-client[parquet]'") from None
    return pyarrow, parquet
