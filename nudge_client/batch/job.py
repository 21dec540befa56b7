"""A job on the disk: its output, and beside it a folder with what it takes to go on.

    answers.jsonl        the output, a line an answer, as they finish
    answers.jsonl.job/   job.json: what the job is · journal.jsonl: answers under way · status.json: where it stands ·
                         input: what came by standard input · lock

An answer is done when its line is in the output. Nothing else counts, so nothing can contradict it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nudge_client.batch.done import Done, told
from nudge_client.batch.files import LineFile, sync_folder, write_document
from nudge_client.batch.journal import Journal, Place
from nudge_client.batch.replacing import replacing
from nudge_client.batch.results.output_rows import lines
from nudge_client.settings import Settings
from nudge_providers.errors import UsageError

VERSION = 1
# What changes time, cost or the way there, and no answer.
NO_MATTER = ("plan", "overlap", "timeout", "providers", "prices")


def folder_of(out: Path) -> Path:
    """Where a job keeps its state."""
    return out.with_name(out.name + ".job")


def what_matters(settings: Settings) -> dict[str, Any]:
    """Of settings, what answers depend on."""
    values = settings.model_dump(mode="json", exclude=set(NO_MATTER))
    if settings.preset != "paper":
        del values["chunk"]
    path = Path(settings.chat_template)
    if path.is_file():
        values["chat_template"] = path.read_text("utf-8", "replace")
    return values


class Job:
    """A job that this process works on, and no other. out: the output file.

    Raises UsageError where there cannot be a job, or another process is at work on it; OSError. `close` it.
    """

    output: LineFile
    journal: Journal
    done: Done

    def __init__(self, out: Path) -> None:
        self.out = out
        self.folder = claimed_folder(out)
        self._lock = locked(self.folder)
        self._files: list[LineFile | Journal] = []

    def begin(
        self,
        setup: Mapping[str, Any],
        *,
        restart: bool = False,
        allow_changed: bool = False,
        retry_failed: bool = False,
    ) -> None:
        """Begin the job, or go on with it.

        setup: what it is, as JSON values, with `samples`; a job that is there already must be the same. restart: put
        aside what is there. allow_changed: go on though the setup is another; answers that are done stay.
        retry_failed: take the failures out of the output, so that they are tried again. Raises UsageError, OSError.
        """
        if restart:
            self._put_aside()
        changed = self._check(setup, allow_changed)
        if retry_failed and self.out.exists():
            self._drop_failures()
        self.output = LineFile(self.out)
        self._files.append(self.output)
        self.done = Done(int(setup["samples"]))
        self.done.read(self.out)
        self.journal = Journal(self.folder / "journal.jsonl", self.done.__contains__)
        self._files.append(self.journal)
        if changed:
            self.journal.clear()
        sync_folder(self.out.parent)

    def add(self, place: Place, line: bytes, *, failed: bool) -> None:
        """Write an answer, or the failure of one. Raises OSError; it is not done then."""
        self.output.append(line)
        self.done.add(place, failed=failed)
        self.journal.forget(place)

    def sync(self) -> None:
        """Make everything safe."""
        self.output.sync()
        self.journal.sync()

    def close(self) -> None:
        """Let go of it."""
        for file in self._files:
            file.close()
        self._lock.release()

    def _put_aside(self) -> None:
        if self.out.exists():
            number = 1
            while (aside := self.out.with_name(f"{self.out.name}.{number}")).exists():
                number += 1
            self.out.rename(aside)
        for name in ("job.json", "journal.jsonl", "status.json"):
            (self.folder / name).unlink(missing_ok=True)

    def _check(self, setup: Mapping[str, Any], allow_changed: bool) -> bool:
        """Whether it is a job of another setup, which is allowed."""
        path = self.folder / "job.json"
        plain = {"version": VERSION, **json.loads(json.dumps(setup))}
        known = read_document(path)
        if known is None:
            if self.out.exists() and self.out.stat().st_size:
                raise UsageError(f"{self.out}: it is there already, and of no job; name another, or --restart")
            write_document(path, plain)
            return False
        changes = differences(known, plain)
        if changes and not self._touched():
            write_document(path, plain)
            return False
        if changes and not allow_changed:
            told_changes = "".join(f"\n  {line}" for line in changes)
            raise UsageError(
                f"{self.out}: it was begun differently:{told_changes}\n"
                "--allow-changed goes on with what is new and keeps what is done; --restart puts it aside"
            )
        if changes:
            write_document(path, plain)
        return bool(changes)

    def _touched(self) -> bool:
        """Whether anything has been answered, or paid for."""
        return any(path.exists() and path.stat().st_size for path in (self.out, self.folder / "journal.jsonl"))

    def _drop_failures(self) -> None:
        with replacing(self.out) as file:
            file.writelines(line for _, line in lines(self.out) if not told(line)[1])


def claimed_folder(out: Path) -> Path:
    """The job's folder, made if need be. Raises UsageError for an output that cannot be a job's."""
    if out.exists() and not out.is_file():
        raise UsageError(f"{out}: it is not a file; answers are kept in one, so that a job can be resumed")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent}")
    folder = folder_of(out)
    folder.mkdir(exist_ok=True)
    return folder


def locked(folder: Path) -> FileLock:
    """The job's lock. The system takes it from a process that ends, however it ends."""
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        status = read_document(folder / "status.json") or {}
        who = f" (process {status['pid']})" if "pid" in status else ""
        raise UsageError(f"{folder}: another process{who} is at work on this job") from None
    return lock


def read_document(path: Path) -> dict[str, Any] | None:
    """A JSON object that `write_document` wrote; None when there is none."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        raise UsageError(f"{path}: it is not JSON; --restart begins anew") from None
    return data if isinstance(data, dict) else None


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> list[str]:
    """What is another in `new`, a line each."""
    told_lines: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        one, other = old.get(name), new.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            told_lines += differences(one, other, f"{where}{name}.")
        elif one != other:
            told_lines.append(f"{where}{name}: {_short(one)} → {_short(other)}")
    return told_lines


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
