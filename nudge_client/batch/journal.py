"""What a job must remember besides its answers: those that are under way, and what has been spent.

A file of JSON lines, in the order in which things happened. `{"at": [row, sample], "part": …}` adds to an answer's
checkpoint, `{"spent": …}` replaces the totals. It is rewritten when most of it is about answers that are finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nudge_client.batch.files import LineFile, sync_folder
from nudge_client.checkpoint import Checkpoint, Mark
from nudge_client.stream import AnswerStream
from nudge_providers.errors import UsageError

SMALL = 8 << 20  # bytes under which it is not worth rewriting
GROWN = 4  # times what it was after the latest rewriting


class Place(NamedTuple):
    """One answer of a job: the row's number, and which of its samples, from 0."""

    row: int
    sample: int


class Journal:
    """The journal at `path`, read and then written on. Raises OSError."""

    def __init__(self, path: Path, is_done: Callable[[Place], bool]) -> None:
        self.path = path
        self._file = LineFile(path)
        self._marks: dict[Place, Mark] = {}
        self.begun: dict[Place, Checkpoint] = {}
        self.spent: dict[str, Any] = {}
        self._read(is_done)
        self._compact_at = SMALL

    def note(self, place: Place, stream: AnswerStream) -> None:
        """Put down what came of an answer since the last time."""
        part, mark = stream.part_since(self._marks.get(place, Mark()))
        self._marks[place] = mark
        self._append({"at": place, "part": part})

    def note_spent(self, totals: Mapping[str, Any]) -> None:
        """Put down what has been spent so far."""
        self.spent = dict(totals)
        self._append({"spent": self.spent})

    def take(self, place: Place) -> Checkpoint | None:
        """Where an answer was broken off, if it was begun."""
        return self.begun.pop(place, None)

    def forget(self, place: Place) -> None:
        """An answer is finished and on the disk."""
        self._marks.pop(place, None)

    def compact(self, active: Mapping[Place, AnswerStream]) -> None:
        """Write anew what is still of use, once it is a small part of the file."""
        if self._file.size >= self._compact_at:
            self._write_anew(active)

    def _write_anew(self, active: Mapping[Place, AnswerStream]) -> None:
        fresh = self.path.with_name(self.path.name + ".new")
        fresh.unlink(missing_ok=True)
        old, self._file, self._marks = self._file, LineFile(fresh), {}
        for place, checkpoint in self.begun.items():
            self._append({"at": place, "part": checkpoint.part()})
            self._marks[place] = Mark.of(checkpoint)
        for place, stream in active.items():
            self.note(place, stream)
        if self.spent:
            self._append({"spent": self.spent})
        self._file.sync()
        fresh.replace(self.path)
        sync_folder(self.path.parent)
        old.close()
        self._compact_at = max(SMALL, GROWN * self._file.size)

    def sync(self) -> None:
        """Wait until it is on the disk."""
        self._file.sync()

    def clear(self) -> None:
        """Forget everything but what has been spent: the answers under way are of other settings."""
        self.begun.clear()
        self._write_anew({})

    def close(self) -> None:
        """Safe to call twice."""
        self._file.close()

    def _append(self, item: Mapping[str, Any]) -> None:
        self._file.append(json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode())

    def _read(self, is_done: Callable[[Place], bool]) -> None:
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    item = json.loads(line)
                    if "spent" in item:
                        self.spent = item["spent"]
                        continue
                    place = Place(*item["at"])
                    if not is_done(place):
                        self.begun.setdefault(place, Checkpoint()).add(item["part"])
                except (ValueError, TypeError, KeyError, UsageError):
                    raise UsageError(
                        f"{self.path}, line {number}: it cannot be read; without the file, answers under way begin anew"
                    ) from None
        self._marks = {place: Mark.of(checkpoint) for place, checkpoint in self.begun.items()}
