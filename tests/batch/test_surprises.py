"""What users do to a job that nobody asked them to do."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from nudge_client.batch.status import status_of
from nudge_providers.standins import Latency
from tests.batch.jobs import Servers, batch, done, records, servers, write_rows
from tests.batch.test_endings import lines, until

ROWS = 40


@pytest.fixture(scope="module")
def pair() -> Iterator[Servers]:
    with servers(ROWS, latency=Latency(first=0.02, token=0.001)) as both:
        yield both


def test_blank_lines_are_not_left(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    rows.write_text("\n" + rows.read_text().replace("\n", "\n \r\n") + "\n\n")
    assert "left" not in done(rows, *pair.flags, "-o", out)
    assert status_of(out)["rows"]["left"] == 0


def test_a_probe_is_not_the_job(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 5), tmp_path / "out.jsonl"
    process = batch(rows, *pair.flags, "-o", out, "--estimate", "--probe", 2)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert status_of(out)["state"] == "stopped"
    done(rows, *pair.flags, "-o", out)
    assert status_of(out)["state"] == "done"


def test_the_input_is_not_the_output(pair: Servers, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", 3)
    before = rows.read_bytes()
    assert "it is the output, too" in done(rows, *pair.flags, "-o", rows, "--restart", code=2)
    assert rows.read_bytes() == before
    assert not rows.with_name("in.jsonl.1").exists()


def test_the_same_input_by_another_name(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    done(rows, *pair.flags, "-o", out)
    rows = rows.rename(tmp_path / "moved.jsonl")
    assert "nothing is left" in done(rows, *pair.flags, "-o", out)
    job = json.loads((tmp_path / "out.jsonl.job" / "job.json").read_text())
    assert job["input"]["name"].endswith("in.jsonl")


@pytest.mark.parametrize("replaced", [False, True])
def test_an_output_that_is_deleted_meanwhile(pair: Servers, tmp_path: Path, replaced: bool) -> None:
    """Or the job would end well, with its answers in a file that has no name."""
    rows, out = write_rows(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    process = batch(rows, *pair.flags, "-o", out, "--concurrency", 4)
    until(process, lambda: lines(out) >= 5)
    if replaced:  # as editors do
        copy = tmp_path / "copy"
        copy.write_bytes(out.read_bytes())
        copy.replace(out)
    else:
        out.unlink()
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 2, said
    assert "deleted or replaced" in said
    done(rows, *pair.flags, "-o", out)
    assert len(records(out)) == ROWS


def test_a_second_interrupt_says_nothing_of_another(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    process = batch(rows, *pair.flags, "-o", out, "--concurrency", 4, "-q")
    until(process, lambda: lines(out) >= 2)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    said = b""
    while b"Ctrl-C again ends at once" not in said:
        said += process.stderr.read1()  # type: ignore[attr-defined]
    process.send_signal(signal.SIGINT)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.count(b"Ctrl-C") == 1
    assert status_of(out)["rows"]["under_way"] == 0
