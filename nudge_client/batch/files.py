"""Files that survive whatever ends the process: lines that are whole or not there, documents that are old or new."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nudge_providers.errors import UsageError

BLOCK = 1 << 16


class LineFile:
    """A file that only grows, by whole lines.

    Opening it takes off a torn last line, which a process that was killed left behind. `append` hands lines to the
    system, which keeps them though this process be killed; `sync` makes them safe from the machine, too. Where the disk
    is full, what was written of a line is taken back. Raises UsageError for what is no file, and OSError.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path}: it is not a file; answers are kept in one, so that a job can be resumed")
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        whole = _whole_size(self._file)
        self.torn = os.fstat(self._file).st_size - whole
        if self.torn:
            os.ftruncate(self._file, whole)
        self.size = whole
        self._synced = whole
        os.lseek(self._file, whole, os.SEEK_SET)

    def append(self, line: bytes) -> None:
        """Add a line. Raises OSError; the file is as it was before, then."""
        data = memoryview(line + b"\n")
        written = 0
        try:
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            raise named(error, self.path) from None
        self.size += written

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        if self._synced < self.size:
            size = self.size
            try:
                os.fsync(self._file)
            except OSError as error:
                raise named(error, self.path) from None
            self._synced = size

    def check_name(self) -> None:
        """Raises UsageError where the file was deleted or replaced meanwhile: what is written would be lost."""
        try:
            there = os.path.samestat(self.path.stat(), os.fstat(self._file))
        except FileNotFoundError:
            there = False
        if not there:
            raise UsageError(
                f"{self.path}: it was deleted or replaced while the job was writing to it; the same command goes on"
            )

    def close(self) -> None:
        """Safe to call twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def write_document(path: Path, data: Mapping[str, Any], *, durable: bool = True) -> None:
    """Replace a JSON document: whoever reads it finds the old one or the new one, whole."""
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False, indent=1)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise named(error, path) from None
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were given or taken in a folder last."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # a system that opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # or syncs none
        pass
    finally:
        os.close(handle)


def named(error: OSError, path: Path) -> OSError:
    """The error, with the file it is about."""
    return type(error)(error.errno, error.strerror, str(path))


def _whole_size(file: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(file).st_size
    while end > 0:
        begin = max(0, end - BLOCK)
        found = os.pread(file, end - begin, begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0
