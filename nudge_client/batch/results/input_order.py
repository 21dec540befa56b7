"""Records in the order of the input, by 24 bytes of memory each: row, sample, and where the line is."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterator

# Sorted at once, as objects; what is sorted already is merged from the arrays themselves.
RUN = 4096


class InputOrder:
    """Offsets of lines, to be read by row and sample."""

    def __init__(self) -> None:
        self._columns = (array("q"), array("q"), array("q"))

    def __len__(self) -> int:
        return len(self._columns[0])

    def add(self, row: int, sample: int, offset: int) -> None:
        """Note a line; offset: its place in the file, in bytes."""
        for column, value in zip(self._columns, (row, sample, offset), strict=True):
            column.append(value)

    def offsets(self) -> Iterator[int]:
        """The places, ordered by row, then sample, then as they were added."""
        starts = range(0, len(self), RUN)
        for start in starts:
            self._sort(start)
        views = [memoryview(column) for column in self._columns]
        runs = (zip(*(view[start : start + RUN] for view in views), strict=True) for start in starts)
        return (offset for _, _, offset in heapq.merge(*runs))

    def _sort(self, start: int) -> None:
        run = slice(start, start + RUN)
        entries = sorted(zip(*(column[run] for column in self._columns), strict=True))
        for column, values in zip(self._columns, zip(*entries, strict=True), strict=True):
            column[run] = array("q", values)
