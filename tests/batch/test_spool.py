"""Standard input kept in a file, and marks of files."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from nudge_client.batch.input.spool import InputMark, has_only_grown, mark_of, spool
from nudge_providers.errors import UsageError


class Breaking(io.RawIOBase):
    """A stream that gives some bytes, and then fails."""

    def __init__(self, error: BaseException) -> None:
        self.left = [b'{"prompt": "a"}\n', b'{"prompt"']
        self.error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        if not self.left:
            raise self.error
        data = self.left.pop(0)
        memoryview(buffer)[: len(data)] = data  # type: ignore[arg-type]
        return len(data)


def test_what_was_read_is_there_whole(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    path = spool(io.BytesIO(data), tmp_path)
    assert path == tmp_path / "input"
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_copy_that_is_broken_off_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises((UsageError, KeyboardInterrupt)):
        spool(Breaking(error), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_copy_has_its_name_only_once_it_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def fsync(number: int) -> None:
        synced.append(Path(f"/proc/self/fd/{number}").readlink().name)
        assert (tmp_path / "input").exists() == (len(synced) > 1)
        if len(synced) == 1:
            assert (tmp_path / "input.part").read_bytes() == b"all"

    monkeypatch.setattr(os, "fsync", fsync)
    (tmp_path / "input.part").write_bytes(b"left by a process that was killed")
    spool(io.BytesIO(b"all"), tmp_path)
    assert synced == ["input.part", tmp_path.name]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        spool(io.BytesIO(b"x"), tmp_path / "no")


def test_marks_tell_files_apart(tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"a\nb\n")
    mark = mark_of(path)
    assert mark.size == 4
    assert mark == mark_of(path, 4) == mark_of(path, 9) == InputMark(4, mark.digest)
    assert mark_of(path, 2) != mark
    assert mark_of(path, 0).size == 0
    path.write_bytes(b"a\nc\n")
    assert mark_of(path) != mark
    path.write_bytes(os.urandom(2_500_000))
    assert mark_of(path, 2_000_000).size == 2_000_000
    assert mark_of(path, 2_000_000) != mark_of(path)
    with pytest.raises(UsageError, match="No such file"):
        mark_of(tmp_path / "no")


@pytest.mark.parametrize(
    ("before", "after", "grown"),
    [
        (b"a\nb\n", b"a\nb\n", True),
        (b"a\nb\n", b"a\nb\nc\n", True),
        (b"a\nb", b"a\nb\n", True),
        (b"a\nb", b"a\nb\nc", True),
        (b"a\nb", b"a\nb\r\nc", True),
        (b"", b"a\n", True),
        (b"a\nb", b"a\nbc\n", False),
        (b"a\nb", b"a\nb\rc\n", False),
        (b"a\nb\n", b"a\nX\nc\n", False),
        (b"a\nb\n", b"a\n", False),
    ],
)
def test_rows_added_at_the_end_are_told_from_a_change(tmp_path: Path, before: bytes, after: bytes, grown: bool) -> None:
    path = tmp_path / "input"
    path.write_bytes(before)
    mark = mark_of(path)
    path.write_bytes(after)
    assert has_only_grown(path, mark) is grown
