"""Which answers of a job are in its output: a bit for each, so that millions fit in memory."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nudge_client.batch.journal import Place
from nudge_client.batch.records import read_record
from nudge_client.batch.results.output_rows import lines
from nudge_providers.errors import UsageError

# How this project writes a row begins; anything else is read whole.
OWN = re.compile(rb'\{"row": (\d+)(?:, "sample": (\d+))?, "(id|error)": ')
OPENAI = re.compile(rb'\{"id": "batch_req_(\d+)(?:_(\d+))?", "custom_id": [^{}]{0,200}?, "response": (null|\{)')

WRONG = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # what data of another kind raises
MOST_ROWS = 1 << 32  # there is a bit for each up to the last


class Done:
    """Answers by row, from 1, and sample, from 0. failed: how many of them are failures."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._bits = bytearray()
        self.count = 0
        self.failed = 0

    def __contains__(self, place: Place) -> bool:
        index = self._index(place)
        return index >> 3 < len(self._bits) and bool(self._bits[index >> 3] & (1 << (index & 7)))

    def add(self, place: Place, *, failed: bool) -> None:
        """Note an answer. Raises ValueError when it is there already."""
        if place in self:
            raise ValueError("it is there twice")
        index = self._index(place)
        if index >> 3 >= len(self._bits):
            self._bits.extend(bytes((index >> 3) + 1 - len(self._bits) + len(self._bits) // 8))
        self._bits[index >> 3] |= 1 << (index & 7)
        self.count += 1
        self.failed += failed

    def read(self, path: Path) -> None:
        """Note what an output file holds. Raises UsageError for a line that this job cannot have written."""
        for number, (_, line) in enumerate(lines(path), 1):
            try:
                place, failed = told(line)
                if not 0 <= place.sample < self._samples:
                    raise ValueError("it is of a job with more samples")
                if not 1 <= place.row <= MOST_ROWS:
                    raise ValueError("no input has such a row")
                self.add(place, failed=failed)
            except WRONG as error:
                raise no_answer(path, number, error) from None

    def _index(self, place: Place) -> int:
        return (place.row - 1) * self._samples + place.sample


def no_answer(path: Path, number: int, error: Exception) -> UsageError:
    """What is said of a line that `told` raised one of WRONG for. number: the line's, from 1."""
    return UsageError(
        f"{path}, line {number}: it is no answer of this job ({error}); name another output, "
        "or --restart to put this one aside"
    )


def told(line: bytes) -> tuple[Place, bool]:
    """Which answer a line of output is, and whether it failed. Raises one of WRONG."""
    if found := OWN.match(line):
        return Place(int(found[1]), int(found[2] or 0)), found[3] == b"error"
    if found := OPENAI.match(line):
        return Place(int(found[1]), int(found[2] or 0)), found[3] == b"null"
    record = read_record(json.loads(line))
    return Place(record.row, record.sample), record.answer is None
