"""A job's place on the disk: held by one process, and of one setup.

answers.jsonl        the output
answers.jsonl.job/   job.json: what the job is · status.json: where it stands · lock, and what else it needs
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nudge_client.batch.done import Done
from nudge_client.batch.files import write_document
from nudge_providers.errors import UsageError

VERSION = 1


def folder_of(out: Path) -> Path:
    """Where a job keeps its state."""
    return out.with_name(out.name + ".job")


class Claim(ABC):
    """A job's output and folder, held by this process and no other. wait: seconds for another process to let go.

    done: what is, once it is begun. Raises UsageError where there cannot be a job, or another process is at work on it;
    OSError. `close` it.
    """

    done: Done

    def __init__(self, out: Path, *, wait: float = 0) -> None:
        self.out = out
        self.check_output()
        if not out.parent.is_dir():
            raise UsageError(f"{out}: there is no folder {out.parent}")
        self.folder = folder_of(out)
        self.folder.mkdir(exist_ok=True)
        self._lock = locked(self.folder, wait)

    def check_output(self) -> None:
        """Raises UsageError where the output is of a kind that no such job writes."""
        if self.out.exists() and not self.out.is_file():
            raise UsageError(f"{self.out}: it is not a file; answers are kept in one, so that a job can be resumed")

    def has_output(self) -> bool:
        """Whether there is any."""
        return self.out.exists() and self.out.stat().st_size > 0

    def touched(self) -> bool:
        """Whether anything has been answered, or paid for."""
        journal = self.folder / "journal.jsonl"
        return self.has_output() or (journal.exists() and journal.stat().st_size > 0)

    @abstractmethod
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

    def agree(self, setup: Mapping[str, Any], *, restart: bool = False, allow_changed: bool = False) -> bool:
        """Whether the job was begun as something else, which `allow_changed` allows. `keep` notes what it is now.

        setup: JSON values. restart: put aside what is there. Raises UsageError with the differences.
        """
        if restart:
            self._put_aside()
        known = read_document(self.folder / "job.json")
        if known is None:
            if self.has_output():
                raise UsageError(f"{self.out}: it is there already, and of no job; name another, or --restart")
            return False
        changes = differences(known, _plain(setup))
        if not changes or not self.touched():
            return False
        if not allow_changed:
            told_changes = "".join(f"\n  {line}" for line in changes)
            raise UsageError(
                f"{self.out}: it was begun differently:{told_changes}\n"
                "--allow-changed goes on with what is new and keeps what is done; --restart puts it aside"
            )
        return True

    def keep(self, setup: Mapping[str, Any]) -> None:
        """Note what the job is from now on."""
        path = self.folder / "job.json"
        if read_document(path) != (plain := _plain(setup)):
            write_document(path, plain)

    def close(self) -> None:
        """Let go of it."""
        self._lock.release()

    def _put_aside(self) -> None:
        if self.out.exists():
            number = 1
            while (aside := self.out.with_name(f"{self.out.name}.{number}")).exists():
                number += 1
            self.out.rename(aside)
        for name in ("job.json", "journal.jsonl", "status.json"):
            (self.folder / name).unlink(missing_ok=True)


def _plain(setup: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, **json.loads(json.dumps(setup))}


def locked(folder: Path, wait: float) -> FileLock:
    """The job's lock. The system takes it from a process that ends, however it ends."""
    lock = FileLock(folder / "lock", timeout=wait)
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
