"""Reading the input of a batch job: each row of a file, good or bad, one at a time.

JSONL: an object a line, with `prompt` (a string) or `messages`; `system` and `id` (a string or an integer) where there
are any; every other field is carried through. Blank lines count, but are no rows. A request of the OpenAI Batch format
is an object with `custom_id`, `url` and `body`. Of tables, `tables` tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from nudge_client.batch.input.formats import OPENAI, Shape, bad_row, make_row, plain
from nudge_client.batch.input.lines import BLANK, LONGEST, json_in, lines_of, opened
from nudge_client.batch.input.rows import BadRow, Format, Row
from nudge_client.batch.input.tables import csv_rows, need_pyarrow, parquet_rows
from nudge_client.batch.input.templates import read_template
from nudge_providers.errors import UsageError

FORMATS: tuple[Format, ...] = get_args(Format)
# What standard input was copied to has no suffix.
SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    "": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


def read_rows(path: Path, form: Format, *, template: str | None = None) -> Iterator[Row | BadRow]:
    """Every row of the file, in its order: what is wrong with one is told by a `BadRow`, and reading goes on.

    template: makes each row's prompt of its fields, in place of `prompt` or `messages`; see `templates`.
    Raises UsageError for a template that is none and a missing library; and while reading, for a file that cannot be
    read or has no usable header.
    """
    if template is not None and form == "openai":
        raise UsageError("requests of the OpenAI Batch format hold their prompts: leave the template out")
    filled = None if template is None else read_template(template)
    shape = OPENAI if form == "openai" else plain(filled)
    if form == "csv":
        return csv_rows(path, shape, filled)
    if form == "parquet":
        need_pyarrow(path)
        return parquet_rows(path, shape, filled)
    return _json_rows(path, shape)


def format_of(path: Path, wanted: str | None) -> Format:
    """The format of the file: the one wanted, or with None or `auto` that of its suffix.

    JSONL is `openai` if its first line that can be read has `custom_id` and `body`. Raises UsageError for an unknown
    format or suffix, and for a file that cannot be read.
    """
    known = ", ".join(FORMATS)
    if wanted not in (None, "auto"):
        for form in FORMATS:
            if form == wanted:
                return form
        raise UsageError(f"unknown format {wanted!r}; a format is one of: auto, {known}")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"input {path}: its name does not tell its format; give a --format: {known}")
    form = SUFFIXES[path.suffix.lower()]
    return "openai" if form == "jsonl" and _holds_requests(path) else form


def _holds_requests(path: Path) -> bool:
    with opened(path) as file:
        for line in lines_of(file):
            try:
                value = json_in(line or b"")
            except UsageError:
                continue
            if isinstance(value, dict):
                return "custom_id" in value and "body" in value
    return False


def _json_rows(path: Path, shape: Shape) -> Iterator[Row | BadRow]:
    with opened(path) as file:
        for number, line in enumerate(lines_of(file), 1):
            if line is None:
                yield bad_row(number, f"line {number}", f"it is longer than {LONGEST >> 20} MiB")
            elif line := line.rstrip(BLANK):
                yield _json_row(shape, number, line)


def _json_row(shape: Shape, number: int, line: bytes) -> Row | BadRow:
    where = f"line {number}"
    try:
        fields = json_in(line)
    except UsageError as error:
        return bad_row(number, where, str(error))
    return make_row(shape, number, where, fields)
