"""What a job is: its input and what its answers depend on, so that a changed one is noticed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nudge_client.batch.claim import Claim, read_document
from nudge_client.batch.input.lines import BLANK, lines_of, opened
from nudge_client.batch.input.reading import format_of, read_rows
from nudge_client.batch.input.rows import BadRow, Format, Row
from nudge_client.batch.input.spool import InputMark, has_only_grown, mark_of, spool
from nudge_client.batch.job import what_matters
from nudge_client.settings import Settings
from nudge_providers.errors import UsageError


@dataclass(frozen=True, slots=True)
class Input:
    """A file of rows. name: as the user gave it. total: rows, None where only reading them would tell."""

    name: str
    path: Path
    form: Format
    template: str | None

    def rows(self) -> Iterator[Row | BadRow]:
        """Every row, in order. Raises UsageError."""
        return read_rows(self.path, self.form, template=self.template)

    def total(self) -> int | None:
        """Rows, where that is cheap to know. Rows of CSV may have several lines."""
        if self.form == "parquet":
            import pyarrow.parquet

            return int(pyarrow.parquet.ParquetFile(self.path).metadata.num_rows)
        return None if self.form == "csv" else lines_in(self.path)


def input_of(source: str, job: Claim, form: str | None, template: str | None) -> Input:
    """The input of a job: a file, or standard input, of which the job keeps a copy to be resumed from.

    Raises UsageError.
    """
    path = Path(source)
    if source == "-":
        path = kept(job)
    elif not path.is_file():
        raise UsageError(f"input {source}: {'it is not a file' if path.exists() else 'no such file'}")
    elif job.out.exists() and path.samefile(job.out):
        raise UsageError(f"input {source}: it is the output, too; name another output")
    return Input(source, path, format_of(path, form), template)


def kept(job: Claim) -> Path:
    """Standard input as a file. Where nothing comes by it, what came when the job was begun."""
    before = job.folder / "input"
    if sys.stdin is None or sys.stdin.isatty():
        if before.is_file():
            return before
        raise UsageError("the rows are to come by standard input, and nothing does")
    incoming = job.folder / "incoming"
    incoming.mkdir(exist_ok=True)
    fresh = spool(sys.stdin.buffer, incoming)
    if before.is_file() and (not fresh.stat().st_size or mark_of(fresh) == mark_of(before)):
        fresh.unlink()
        return before
    return fresh


def keep(job: Claim, found: Input) -> Input:
    """Keep a copy of standard input for good, once the job is known to be of it."""
    before = job.folder / "input"
    if found.name != "-" or found.path == before:
        return found
    found.path.replace(before)
    return Input(found.name, before, found.form, found.template)


def setup_of(job: Claim, found: Input, settings: Settings, samples: int) -> dict[str, Any]:
    """What makes the job this one. The same input may be called something else from another folder."""
    mark = asdict(mark_of(found.path))
    known = (read_document(job.folder / "job.json") or {}).get("input", {})
    same = all(known.get(name) == value for name, value in mark.items())
    return {
        "input": {"name": known["name"] if same else found.name, **mark},
        "format": found.form,
        "template": found.template,
        "samples": samples,
        "settings": what_matters(settings),
    }


def growth(job: Claim, found: Input) -> str:
    """A word on an input that is not what it was."""
    known = read_document(job.folder / "job.json") or {}
    mark = known.get("input", {})
    if "digest" not in mark:
        return ""
    if has_only_grown(found.path, InputMark(mark["size"], mark["digest"])):
        return "the input only got rows added at its end"
    return "the input was changed: rows are known by their place, so those done may be of others"


def lines_in(path: Path) -> int:
    """Lines of a file that are not blank: those are no rows."""
    with opened(path) as file:
        return sum(line is None or bool(line.strip(BLANK)) for line in lines_of(file))
