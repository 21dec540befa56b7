"""An input that stays: standard input copied to a file, and marks that tell whether a file is still the same."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nudge_client.batch.files import sync_folder
from nudge_client.batch.input.lines import opened
from nudge_providers.errors import UsageError

BLOCK = 1 << 20  # bytes held at a time


@dataclass(frozen=True, slots=True)
class InputMark:
    """What a file's first bytes were. size: how many, digest: their BLAKE2b, in hex."""

    size: int
    digest: str


def spool(stream: BinaryIO, folder: Path) -> Path:
    """Copies `stream` to the file `input` in `folder`, and returns its path.

    folder: one that exists. The file has its name only once all of it is on the disk: a copy that is broken off leaves
    none. Raises UsageError when the stream cannot be read or the file not be written.
    """
    target, part = folder / "input", folder / "input.part"
    try:
        with part.open("wb") as file:
            shutil.copyfileobj(stream, file, BLOCK)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        sync_folder(folder)
    except OSError as error:
        raise UsageError(f"standard input cannot be kept as {target}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)
    return target


def mark_of(path: Path, size: int | None = None) -> InputMark:
    """The mark of the file's first `size` bytes, of all of it by default; of fewer, where it has no more.

    A file whose `mark_of(path, mark.size)` is not `mark` was changed. Raises UsageError when it cannot be read.
    """
    digest = hashlib.blake2b(digest_size=32)
    done = 0
    with opened(path) as file:
        while block := file.read(BLOCK if size is None else min(BLOCK, size - done)):
            digest.update(block)
            done += len(block)
    return InputMark(done, digest.hexdigest())


def has_only_grown(path: Path, mark: InputMark) -> bool:
    """Whether the file is the marked one, or that with lines added: its last line may not have been added to."""
    if mark_of(path, mark.size) != mark:
        return False
    with opened(path) as file:
        file.seek(max(mark.size - 1, 0))
        seam = file.read(3 if mark.size else 0)
    return len(seam) < 2 or b"\n" in (seam[:1], seam[1:2]) or seam[1:] == b"\r\n"
