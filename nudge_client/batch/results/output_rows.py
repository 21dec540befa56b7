"""Reading the output of a job, one line at a time: it may still be written to, or have been left by a kill.

The output is a file, or a folder of parts, each a file of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from nudge_client.answer import ModelStats
from nudge_client.batch.records import Record, read_record
from nudge_providers.errors import UsageError

LARGEST = 2**63 - 1  # row and sample are sorted as integers of 64 bits
COUNTS = ("rounds", "answer_tokens", "nudged_tokens", "verified_tokens")
MODEL_STATS = tuple(field.name for field in fields(ModelStats))
PARTS = "part-*.jsonl"
PART_BITS = 40  # a place is the number of the part, and the offset in it, which has that many bits


def parts_of(path: Path) -> list[Path]:
    """The files of an output: itself, or the parts in it. Raises UsageError for a folder without parts."""
    if not path.is_dir():
        return [path]
    if parts := sorted(path.glob(PARTS)):
        return parts
    raise UsageError(f"{path}: no parts of a job's output are in this folder")


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Every whole line and its offset in bytes. A last line without its end is still being written, and left out.

    Raises OSError when the file cannot be read.
    """
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield offset, line
            offset += len(line)


def records(path: Path) -> Iterator[Record]:
    """Every record, in the order of the files. Raises UsageError naming file and line where one is none."""
    return (record for _, record in placed_records(path))


def placed_records(path: Path) -> Iterator[tuple[int, Record]]:
    """The same, each with its place, by which `line_reader` finds its line again."""
    for index, part in enumerate(parts_of(path)):
        for number, (offset, line) in enumerate(lines(part), 1):
            yield index << PART_BITS | offset, parsed(part, number, line)


@contextmanager
def line_reader(path: Path) -> Iterator[Callable[[int], bytes]]:
    """Reads the line at a place. Raises OSError."""
    with ExitStack() as stack:
        files = [stack.enter_context(part.open("rb")) for part in parts_of(path)]

        def read(place: int) -> bytes:
            file = files[place >> PART_BITS]
            file.seek(place & (1 << PART_BITS) - 1)
            return file.readline()

        yield read


def parsed(path: Path, number: int, line: bytes) -> Record:
    """The record in a line; number: the line's, from 1. Raises UsageError naming file and line when it is none."""
    try:
        record = read_record(_object(line))
        _check(record)
    except KeyError as error:
        raise UsageError(f"{path}, line {number}: it is no record of a batch job: it has no {error}") from None
    # A wrong shape, such as a text where an object should be, shows itself as one of these.
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = str(error) if type(error) is ValueError else "it is not of that shape"
        raise UsageError(f"{path}, line {number}: it is no record of a batch job: {problem}") from None
    return record


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def _check(record: Record) -> None:
    """Raises when anything is missing or of another kind that readers of records use."""
    if not (0 <= record.row <= LARGEST and 0 <= record.sample <= LARGEST):
        raise ValueError("its row and sample are no such numbers")
    if record.answer is None:
        if not isinstance(record.error, Mapping):
            raise ValueError("it has neither an answer nor an error")
        return
    stats = record.answer["stats"]
    counts = [stats[name] for name in COUNTS] + [stats[a][name] for a in ("base", "nudger") for name in MODEL_STATS]
    figures = [stats["nudge_ratio"], stats["seconds"], stats.get("first_token_seconds") or 0, record.cost or 0, *counts]
    # NaN is not below anything.
    if not all(isinstance(n, int) for n in counts) or not all(0 <= n <= LARGEST for n in figures):
        raise ValueError("one of its figures is none")
    pieces = [(segment["author"], segment["text"]) for segment in record.answer["segments"]]
    texts = [record.answer[name] for name in ("text", "finish_reason", "plan")] + [text for _, text in pieces]
    if not all(isinstance(text, str) for text in texts) or {author for author, _ in pieces} - {"base", "nudger"}:
        raise ValueError("its text or a segment of it is none")
