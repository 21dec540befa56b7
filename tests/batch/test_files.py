"""What is on the disk is whole: lines, documents, the journal, and which answers are done."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_client import UsageError
from nudge_client.batch.claim import differences, read_document
from nudge_client.batch.done import Done, told
from nudge_client.batch.files import LineFile, write_document
from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.job import Job
from nudge_client.batch.journal import SMALL, Journal, Place
from nudge_client.batch.records import openai_record, own_record, read_record
from tests.batch.made import answered, own, written


@given(st.lists(st.binary(max_size=300).filter(lambda line: b"\n" not in line), max_size=8), st.integers(0, 4000))
def test_a_torn_last_line_is_taken_off(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "file"
    whole = b"".join(line + b"\n" for line in lines)
    path.write_bytes(whole[:cut])
    file = LineFile(path)
    kept = path.read_bytes()
    assert whole.startswith(kept)
    assert kept == b"" or kept.endswith(b"\n")
    assert b"\n" not in whole[len(kept) : cut]
    assert file.torn == len(whole[:cut]) - len(kept)
    file.append(b"more")
    file.sync()
    file.close()
    assert path.read_bytes() == kept + b"more\n"


def test_a_very_long_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one\n" + b"x" * 300_000)
    LineFile(path).close()
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("room", [0, 1, 7])
def test_a_line_that_does_not_fit_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    file = LineFile(tmp_path / "file")
    file.append(b"first")
    write, left = os.write, room

    def full(handle: int, data: Any) -> int:
        nonlocal left
        if not left:
            raise OSError(28, "No space left on device")
        written = write(handle, bytes(data)[:left])
        left -= written
        return written

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left") as error:
        file.append(b"a longer line")
    assert error.value.filename == str(tmp_path / "file")
    monkeypatch.undo()
    assert (tmp_path / "file").read_bytes() == b"first\n"
    file.append(b"second")
    assert (tmp_path / "file").read_bytes() == b"first\nsecond\n"


def test_a_document_is_old_or_new(tmp_path: Path) -> None:
    path = tmp_path / "document"
    write_document(path, {"n": 1})
    write_document(path, {"n": 2}, durable=False)
    assert read_document(path) == {"n": 2}
    path.write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        read_document(path)


@given(st.sets(st.tuples(st.integers(1, 3000), st.integers(0, 2)), max_size=60))
def test_a_bit_for_each_answer(places: set[tuple[int, int]]) -> None:
    done = Done(3)
    for row, sample in places:
        done.add(Place(row, sample), failed=row % 2 == 0)
    assert done.count == len(places)
    assert done.failed == sum(row % 2 == 0 for row, _ in places)
    for row in range(1, 3001, 7):
        for sample in range(3):
            assert (Place(row, sample) in done) == ((row, sample) in places)


@pytest.mark.parametrize("make", [own_record, openai_record])
@pytest.mark.parametrize("sample", [None, 2])
@pytest.mark.parametrize("name", ["q", 'quo"ted', "", 7, "é" * 300, '", "response": null', "{}"])
def test_a_row_of_output_tells_which_it_is(make: Any, sample: int | None, name: Any) -> None:
    row = Row(12, name, "Hi", {"id": name, "prompt": "Hi", "error": 1, "row": 3, "sample": 9, "text": "own"})
    for answer, error in ((answered(("base", "some words")), None), (None, {"kind": "UsageError", "message": "no"})):
        record = make(row, sample, answer, error, 0.5)
        line = json.dumps(record, ensure_ascii=False).encode()
        assert told(line) == (Place(12, sample or 0), answer is None)
        read = read_record(json.loads(line))
        assert (read.row, read.sample, read.id) == (12, sample or 0, name)
        assert (read.answer is None) == (answer is None)
        assert (read.error is None) == (error is None)
    assert told(json.dumps(make(BadRow(4, None, "no"), None, None, {"kind": "x"}, None)).encode()) == (
        Place(4, 0),
        True,
    )


def test_fields_that_the_output_needs_are_renamed() -> None:
    row = Row(1, "a", "Hi", {"text": "mine", "error": 1, "colour": "red", "id": "a"})
    record = own_record(row, None, answered(("base", "theirs")), None, None)
    assert record["text"] == "theirs"
    assert (record["input_text"], record["input_error"], record["colour"]) == ("mine", 1, "red")


def test_an_output_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for text in ('{"a": 1}\n', "diary\n", '{"row": 0, "id": 1}\n', '{"row": 1, "sample": 5, "id": 1}\n', "[]\n", "5\n"):
        path.write_text(text)
        with pytest.raises(UsageError, match="line 1"):
            Done(2).read(path)
    path.write_text('{"row": 1, "id": 1}\n{"row": 1, "id": 1}\n')
    with pytest.raises(UsageError, match="line 2.*twice"):
        Done(2).read(path)


def part(word: str) -> dict[str, Any]:
    return {"replies": [[word, -0.1, -0.1, 1]], "base": [0, []], "nudger": [0, []], "seconds": 1.0}


def test_a_journal_is_read_back_and_what_is_done_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, lambda place: False)
    for row in (1, 2, 1):
        journal._append({"at": [row, 0], "part": part(f" {row}")})
    journal.note_spent({"x": 1})
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"at": [2, 0], "part": {"repl')
    again = Journal(path, lambda place: place.row == 2)
    assert again.begun.keys() == {Place(1, 0)}
    taken = again.take(Place(1, 0))
    assert taken
    assert [reply.text for reply in taken.replies] == [" 1", " 1"]  # type: ignore[union-attr]
    assert again.take(Place(1, 0)) is None
    assert again.spent == {"x": 1}
    again.close()


def test_a_journal_is_written_anew_when_most_of_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, lambda place: False)
    journal._append({"at": [1, 0], "part": part(" kept")})
    journal._append({"at": [2, 0], "part": part("x" * SMALL)})
    journal.note_spent({"x": 2})
    journal.close()
    again = Journal(path, lambda place: place.row == 2)
    again.compact({})
    assert path.stat().st_size < 1000
    again.note_spent({"x": 3})
    again.close()
    third = Journal(path, lambda place: False)
    assert third.begun.keys() == {Place(1, 0)}
    assert third.spent == {"x": 3}


def test_a_journal_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text('{"at": [1, 0], "part": 5}\n')
    with pytest.raises(UsageError, match="line 1"):
        Journal(path, lambda place: False)


def test_differences_are_told_by_name() -> None:
    old, new = {"a": 1, "b": {"c": 2, "d": "x" * 99}}, {"a": 1, "b": {"c": 3, "d": "x" * 99}, "e": None, "f": [1]}
    assert differences(old, new) == ["b.c: 2 → 3", "f: null → [1]"]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    job = Job(tmp_path / "out")
    with pytest.raises(UsageError, match="at work"):
        Job(tmp_path / "out")
    job.close()
    Job(tmp_path / "out").close()
    with pytest.raises(UsageError, match="no folder"):
        Job(tmp_path / "nowhere" / "out")


def test_a_change_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    """Or the journal, which is of the old settings, would be gone on with by the new ones."""
    out = written(tmp_path / "out.jsonl", [])
    job = Job(out)
    job.begin({"samples": 1, "threshold": 0.3})
    job.journal.note_spent({"likely": 1})
    job.close()
    whole = (tmp_path / "out.jsonl.job" / "job.json").read_bytes()
    out.write_text("something else\n")
    job = Job(out)
    with pytest.raises(UsageError, match="no answer of this job"):
        job.begin({"samples": 1, "threshold": 0.4}, allow_changed=True)
    job.close()
    assert (tmp_path / "out.jsonl.job" / "job.json").read_bytes() == whole


@pytest.mark.parametrize("line", ["something else", "[1]", '{"row": 1000000000000, "id": 1}'])
@pytest.mark.parametrize("retry_failed", [False, True])
def test_a_line_that_was_added_is_named(tmp_path: Path, line: str, retry_failed: bool) -> None:
    out = tmp_path / "out.jsonl"
    job = Job(out)
    job.begin({"samples": 1})
    job.close()
    written(out, [own(1)], line + "\n")
    job = Job(out)
    with pytest.raises(UsageError, match="line 2: it is no answer of this job"):
        job.begin({"samples": 1}, retry_failed=retry_failed)
    job.close()
    assert out.read_text().endswith(line + "\n")
