"""A job in parts on the disk: its output is a folder, with a job of its own for each partition of the rows.

    answers/         part-00000.jsonl and its state part-00000.jsonl.job/, part-00001.jsonl …
    answers.job/     job.json: what the job is · status.json: where it stands, in sum · stop: why no more rows are to be
                     taken · input: what came by standard input · ray.log · lock

A row belongs to the partition that is its place modulo their number, which never changes. So whoever works on a
partition, and however often, finds in its part what is done of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nudge_client.batch.claim import Claim, folder_of, read_document
from nudge_client.batch.done import Done
from nudge_client.batch.files import sync_folder
from nudge_client.batch.job import Job
from nudge_client.batch.results.output_rows import PARTS
from nudge_providers.errors import UsageError

# An orphan that works on a part ends within a minute of the machine, cluster or command that it belonged to.
WAIT = 60.0
MOST_PARTITIONS = 500  # the readers of an output have all of its parts open


def part_of(out: Path, index: int) -> Path:
    """The output of a partition."""
    return out / f"part-{index:05d}.jsonl"


def stop_file(out: Path) -> Path:
    """Where workers find why they are to stop. They share the folder with whoever says so, and maybe nothing else."""
    return folder_of(out) / "stop"


class Counted(NamedTuple):
    """Answers in a part, and how many of them are failures."""

    done: int
    failed: int


class PartsJob(Claim):
    """A job in parts, of which this process is the head, and no other. See `Claim`.

    partitions: how many a new job has; once it is begun, how many this one has. counted: what is in each part, by the
    latest look at them.
    """

    def __init__(self, out: Path, partitions: int) -> None:
        super().__init__(out)
        self.partitions = min(partitions, MOST_PARTITIONS)
        self.counted: list[Counted] = []

    def check_output(self) -> None:
        """See `Claim`."""
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out}: it is not a folder; a job on several workers writes a folder of parts")

    def has_output(self) -> bool:
        """See `Claim`."""
        return self.out.is_dir() and any(self.out.iterdir())

    def touched(self) -> bool:
        """See `Claim`."""
        files = [*self.out.glob(PARTS), *self.out.glob(f"{PARTS}.job/journal.jsonl")]
        return any(path.stat().st_size for path in files)

    def begin(
        self,
        setup: Mapping[str, Any],
        *,
        restart: bool = False,
        allow_changed: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """See `Claim`."""
        known = None if restart else read_document(self.folder / "job.json")
        self.partitions = (known or {}).get("partitions", self.partitions)
        whole = {**setup, "partitions": self.partitions}
        self.agree(whole, restart=restart, allow_changed=allow_changed)
        self.keep(whole)
        stop_file(self.out).unlink(missing_ok=True)
        self.out.mkdir(exist_ok=True)
        self._samples = int(setup["samples"])
        for index in range(self.partitions):
            self._prepare(part_of(self.out, index), retry_failed)
        sync_folder(self.out)
        self.count()

    def count(self) -> None:
        """Look at what is done. Raises UsageError where a part holds what is no answer of this job."""
        self.done = Done(self._samples)
        self.counted = []
        for index in range(self.partitions):
            done, failed = self.done.count, self.done.failed
            self.done.read(part_of(self.out, index))
            self.counted.append(Counted(self.done.count - done, self.done.failed - failed))

    def stop(self, why: str) -> None:
        """Let the workers take no more rows."""
        if not stop_file(self.out).exists():
            stop_file(self.out).write_text(why, "utf-8")

    def _prepare(self, part: Path, retry_failed: bool) -> None:
        """Make the part if need be, so that readers know all of them from the first; nobody works on it any more."""
        job = Job(part, wait=WAIT)
        try:
            part.touch()
            if retry_failed:
                job.drop_failures()
        finally:
            job.close()
