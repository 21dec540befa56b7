"""However a job ends, nothing is lost: signals, a full disk, a second process, endpoints that fail for a while."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from nudge_providers.standins import Latency
from tests.batch.jobs import Servers, answers, batch, done, records, servers, write_rows

ROWS = 60
SLOW = Latency(first=0.02, token=0.001)


def until(process: subprocess.Popen[bytes], seen: Any, seconds: float = 30) -> None:
    """Wait for something that the process does."""
    end = time.monotonic() + seconds
    while not seen():
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < end
        time.sleep(0.01)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def pair() -> Iterator[Servers]:
    with servers(ROWS, latency=SLOW) as both:
        yield both


@pytest.fixture(scope="module")
def calm(pair: Servers, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The answers of a job that nothing happens to."""
    folder = tmp_path_factory.mktemp("calm")
    done(write_rows(folder / "in.jsonl", ROWS), *pair.flags, "-o", folder / "out.jsonl", "-q")
    return answers(folder / "out.jsonl")


@pytest.fixture
def job(pair: Servers, tmp_path: Path) -> list[Any]:
    return [write_rows(tmp_path / "in.jsonl", ROWS), *pair.flags, "-o", tmp_path / "out.jsonl", "--concurrency", 8]


def test_one_interrupt_finishes_what_was_begun(job: list[Any], calm: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    process = batch(*job)
    until(process, lambda: lines(out) >= 10)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130, said
    assert "being finished" in said
    assert "go on with: nudge batch" in said
    assert 10 <= len(records(out)) < ROWS
    assert '"part"' not in (tmp_path / "out.jsonl.job" / "journal.jsonl").read_text().splitlines()[-1]
    done(*job)
    assert answers(out) == calm


@pytest.mark.parametrize(("signals", "code"), [([signal.SIGINT, signal.SIGINT], 130), ([signal.SIGTERM], 143)])
def test_at_once_and_still_resumable(
    job: list[Any], calm: list[Any], tmp_path: Path, signals: list[signal.Signals], code: int
) -> None:
    out = tmp_path / "out.jsonl"
    process = batch(*job)
    until(process, lambda: lines(out) >= 10)
    for number in signals:
        process.send_signal(number)
        time.sleep(0.05)
    said = process.communicate(timeout=10)[1].decode()
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "go on with: nudge batch" in said
    done(*job)
    assert answers(out) == calm


def test_a_second_process_is_refused(job: list[Any], calm: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    process = batch(*job)
    until(process, lambda: lines(out) >= 5)
    said = done(*job, code=2)
    assert f"process {process.pid}" in said
    assert "at work" in said
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert answers(out) == calm


def limited(*arguments: Any, size: int) -> subprocess.CompletedProcess[bytes]:
    """The command where no file may grow beyond `size` bytes."""
    return subprocess.run(
        [sys.executable, "-m", "nudge_client.cli.main", "batch", *map(str, arguments)],
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        timeout=60,
        check=False,
    )


def test_no_file_may_grow_any_more(job: list[Any], calm: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for size in (100, 3_000, 20_000, 35_000, 40_000):
        ended = limited(*job, size=size)
        said = ended.stderr.decode()
        assert ended.returncode == 2, said
        assert "File too large" in said
        assert "Traceback" not in said
        assert not out.exists() or out.read_bytes()[-1:] in (b"\n", b"")
    done(*job)
    assert answers(out) == calm


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk(pair: Servers, calm: list[Any], tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", ROWS)
    with small_disk(tmp_path / "disk", 40_960) as disk:
        job = [rows, *pair.flags, "-o", disk / "out.jsonl", "--concurrency", 8, "-q"]
        for _ in range(2):
            said = done(*job, code=2)
            assert "No space left on device" in said
            assert "out.jsonl" in said
        assert 0 < len(records(disk / "out.jsonl")) < ROWS
        subprocess.run(["mount", "-o", "remount,size=10M", disk], check=True)
        done(*job)
        assert answers(disk / "out.jsonl") == calm


@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/null", "."])
def test_an_output_that_is_no_file(pair: Servers, tmp_path: Path, out: str) -> None:
    said = done(write_rows(tmp_path / "in.jsonl", 2), *pair.flags, "-o", out, code=2)
    assert "not a file" in said


def test_an_endpoint_that_is_away_for_a_while(pair: Servers, calm: list[Any], tmp_path: Path) -> None:
    out, began = tmp_path / "out.jsonl", time.monotonic()

    async def away(_request: web.Request, _body: Any) -> web.Response | None:
        return web.Response(status=503) if 0.5 < time.monotonic() - began < 3 else None

    pair.base.fault = away
    try:
        done(write_rows(tmp_path / "in.jsonl", ROWS), *pair.flags, "-o", out, "--timeout", 0.5, "-q")
    finally:
        pair.base.fault = None
    assert answers(out) == calm


def test_an_endpoint_that_is_gone(pair: Servers, calm: list[Any], tmp_path: Path) -> None:
    out, served = tmp_path / "out.jsonl", 0

    async def gone(_request: web.Request, _body: Any) -> web.Response | None:
        nonlocal served
        served += 1
        return web.Response(status=503) if served > 150 else None

    job = [write_rows(tmp_path / "in.jsonl", ROWS), *pair.flags, "-o", out]
    pair.base.fault = gone
    try:
        said = done(*job, "--timeout", 0.5, "--patience", 1, code=3)
    finally:
        pair.base.fault = None
    assert "503" in said
    assert "go on with" in said
    assert len(records(out)) < ROWS
    assert all(record.error is None for record in records(out))
    done(*job, "--patience", 1)
    assert answers(out) == calm


def test_a_wrong_key_ends_the_job_and_fails_no_row(pair: Servers, tmp_path: Path) -> None:
    async def locked(_request: web.Request, _body: Any) -> web.Response:
        return web.json_response({"error": {"message": "no"}}, status=401)

    out = tmp_path / "out.jsonl"
    pair.nudger.fault = locked
    try:
        said = done(write_rows(tmp_path / "in.jsonl", ROWS), *pair.flags, "-o", out, code=3)
    finally:
        pair.nudger.fault = None
    assert "401" in said
    assert lines(out) == 0


def test_failures_are_rows(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 12), tmp_path / "out.jsonl"
    with rows.open("a") as file:
        file.write('not json\n{"prompt": 5}\n\n{"prompt": "row 000013", "id": "last"}\n')

    async def picky(_request: web.Request, body: Any) -> web.Response | None:
        if "row 000007" in body["prompt"]:
            return web.json_response({"error": {"message": "I will not say that"}}, status=400)
        return None

    pair.base.fault = picky
    try:
        said = done(rows, *pair.flags, "-o", out, code=4)
    finally:
        pair.base.fault = None
    assert "13 rows" in said or "12 answered" in said
    failed = {record.row: record.error for record in records(out) if record.error}
    assert failed.keys() == {7, 13, 14}
    assert "I will not say that" in failed[7]["message"]
    assert failed[13]["message"].startswith("line 13: ")
    assert records(out)[-1].id == "last"
    assert records(out)[6].fields["kept"] == 7
    # Nothing is tried again unasked, and of what failed only what can be answered is then.
    pair.forget()
    done(rows, *pair.flags, "-o", out, code=4)
    assert pair.requests == 0
    done(rows, *pair.flags, "-o", out, "--retry-failed", code=4)
    assert {record.row for record in records(out) if record.error} == {13, 14}
    assert len(records(out)) == 15


def test_too_many_failures_stop_it(pair: Servers, tmp_path: Path) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows.write_text("nothing\n" * 50 + '{"prompt": "row 000001"}\n')
    said = done(rows, *pair.flags, "-o", out, "--max-failures", 20, code=4)
    assert "more than 20 rows failed" in said
    assert len(records(out)) < 51


def test_what_was_changed_is_told(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    done(rows, *pair.flags, "-o", out)
    first = out.read_bytes()
    said = done(rows, *pair.flags, "-o", out, "--threshold", 0.5, "--max-tokens", 9, code=2)
    assert "settings.threshold: 0.3 → 0.5" in said
    assert "settings.max_tokens: 512 → 9" in said
    write_rows(rows, 5)
    assert "only got rows added" in done(rows, *pair.flags, "-o", out, code=2)
    assert out.read_bytes() == first
    done(rows, *pair.flags, "-o", out, "--allow-changed")
    assert [record.row for record in records(out)] == [1, 2, 3, 4, 5]
    rows.write_text(rows.read_text().replace("r2", "r9"))
    assert "may be of others" in done(rows, *pair.flags, "-o", out, code=2)
    done(rows, *pair.flags, "-o", out, "--restart")
    assert [record.id for record in records(out)] == ["r1", "r9", "r3", "r4", "r5"]
    assert len(records(tmp_path / "out.jsonl.1")) == 5
    # Plans, prices and timeouts are no part of an answer.
    said = done(rows, *pair.flags, "-o", out, "--plan", "chunked", "--overlap", "none", "--timeout", 9)
    assert "nothing is left" in said


def test_a_file_that_is_of_no_job_is_left_alone(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 3), tmp_path / "out.jsonl"
    out.write_text("my diary\n")
    assert "of no job" in done(rows, *pair.flags, "-o", out, code=2)
    assert out.read_text() == "my diary\n"


def test_standard_input(pair: Servers, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    rows = write_rows(tmp_path / "in.jsonl", 5).read_bytes()

    def piped(data: bytes, *more: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "nudge_client.cli.main", "batch", "-", *pair.flags, "-o", str(out), *more]
        return subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)

    assert piped(rows, "--max-tokens-total", "3000").returncode == 4
    assert len(records(out)) < 5
    assert piped(rows).returncode == 0
    assert len(records(out)) == 5
    assert b"input.digest" in piped(rows + rows).stderr
    # Whoever resumes it without the pipe finds the copy.
    assert b"nothing is left" in piped(b"").stderr


def test_samples_differ_and_are_repeatable(pair: Servers, tmp_path: Path) -> None:
    rows, out = write_rows(tmp_path / "in.jsonl", 4), tmp_path / "out.jsonl"
    said = done(rows, *pair.flags, "-o", out, "--samples", 3, code=2)
    assert "--temperature" in said
    pair.forget()
    done(rows, *pair.flags, "-o", out, "--samples", 3, "--temperature", 0.5, "--seed", 1)
    assert [(record.row, record.sample) for record in records(out)] == [(r, s) for r in range(1, 5) for s in range(3)]
    seeds = {body["seed"] for body in pair.base.bodies}
    assert len(seeds) > 4


def test_the_openai_format_comes_back_as_its_results(pair: Servers, tmp_path: Path) -> None:
    rows, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    body = {"model": "m", "messages": [{"role": "user", "content": "row 000001"}], "max_tokens": 20}
    request = {"custom_id": "one", "method": "POST", "url": "/v1/chat/completions", "body": body}
    rows.write_text(json.dumps(request) + "\n" + json.dumps(request | {"custom_id": "two", "body": {}}) + "\n")
    done(rows, *pair.flags, "-o", out, code=4)
    one, two = (json.loads(line) for line in sorted(out.read_text().splitlines()))
    assert one["custom_id"] == "one"
    assert one["error"] is None
    choice = one["response"]["body"]["choices"][0]
    assert choice["message"]["content"] == one["response"]["body"]["nudge"]["text"]
    assert one["response"]["body"]["usage"]["completion_tokens"] > 0
    assert two["response"] is None
    assert two["error"]["message"].startswith("line 2: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(pair: Servers, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "in.jsonl", 2)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    assert "Permission denied" in done(rows, *pair.flags, "-o", closed / "out.jsonl", code=2)
