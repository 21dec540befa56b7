"""Reading the output of a job, one line at a time: it may still be written to, or have been left by a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from nudge_client.answer import ModelStats
from nudge_client.batch.records import Record, read_record
from nudge_providers.errors import UsageError

LARGEST = 2**63 - 1  # row and sample are sorted as integers of 64 bits
COUNTS = ("rounds", "answer_tokens", "nudged_tokens", "verified_tokens")
MODEL_STATS = tuple(field.name for field in fields(ModelStats))


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
    """Every record, in the order of the file. Raises UsageError naming file and line where one is none."""
    for number, (_, line) in enumerate(lines(path), 1):
        yield parsed(path, number, line)


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
