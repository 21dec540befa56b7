"""A job on the disk: its output, and beside it a folder with what it takes to go on.

    answers.jsonl        the output, a line an answer, as they finish
    answers.jsonl.job/   job.json: what the job is · journal.jsonl: answers under way · status.json: where it stands ·
                         input: what came by standard input · lock

An answer is done when its line is in the output. Nothing else counts, so nothing can contradict it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nudge_client.batch.claim import Claim
from nudge_client.batch.done import WRONG, Done, no_answer, told
from nudge_client.batch.files import LineFile, sync_folder
from nudge_client.batch.journal import Journal, Place
from nudge_client.batch.replacing import replacing
from nudge_client.batch.results.output_rows import lines
from nudge_client.settings import Settings

# What changes time, cost or the way there, and no answer.
NO_MATTER = ("plan", "overlap", "timeout", "providers", "prices")


def what_matters(settings: Settings) -> dict[str, Any]:
    """Of settings, what answers depend on."""
    values = settings.model_dump(mode="json", exclude=set(NO_MATTER))
    if settings.preset != "paper":
        del values["chunk"]
    path = Path(settings.chat_template)
    if path.is_file():
        values["chat_template"] = path.read_text("utf-8", "replace")
    return values


class Job(Claim):
    """A job with one output file, that this process works on, and no other. out: the file. See `Claim`."""

    output: LineFile
    journal: Journal

    def __init__(self, out: Path, *, wait: float = 0) -> None:
        super().__init__(out, wait=wait)
        self._files: list[LineFile | Journal] = []

    def begin(
        self,
        setup: Mapping[str, Any],
        *,
        restart: bool = False,
        allow_changed: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """See `Claim`."""
        changed = self.agree(setup, restart=restart, allow_changed=allow_changed)
        if retry_failed and self.out.exists():
            self.drop_failures()
        self.output = LineFile(self.out)
        self._files.append(self.output)
        self.done = Done(int(setup["samples"]))
        self.done.read(self.out)
        self.journal = Journal(self.folder / "journal.jsonl", self.done.__contains__)
        self._files.append(self.journal)
        if changed:
            self.journal.clear()
        self.keep(setup)  # last: until then the journal is of what the job was before
        sync_folder(self.out.parent)

    def add(self, place: Place, line: bytes, *, failed: bool) -> None:
        """Write an answer, or the failure of one. Raises OSError; it is not done then."""
        self.output.append(line)
        self.done.add(place, failed=failed)
        self.journal.forget(place)

    def sync(self) -> None:
        """Make everything safe. Raises OSError; UsageError where the output is not there any more."""
        self.output.check_name()
        self.output.sync()
        self.journal.sync()

    def close(self) -> None:
        """Let go of it."""
        for file in self._files:
            file.close()
        super().close()

    def drop_failures(self) -> None:
        """Take the failures out of an output that is not open yet."""
        with replacing(self.out) as file:
            for number, (_, line) in enumerate(lines(self.out), 1):
                try:
                    failed = told(line)[1]
                except WRONG as error:
                    raise no_answer(self.out, number, error) from None
                if not failed:
                    file.write(line)
