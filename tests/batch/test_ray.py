"""Jobs on a cluster of Ray: whoever is killed, and whenever, every row is answered once, and by nobody twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nudge_providers.standins import Latency
from tests.batch.jobs import Servers, answers, batch, done, records, servers, write_rows

pytest.importorskip("ray.data", reason="the extra `ray` is not installed")
pytestmark = pytest.mark.timeout(240)

ROWS = 60
AT_ONCE = 4
REQUESTS_A_ROUND = 12  # a draft, the looks after its words, and what was asked early of either model


@pytest.fixture(scope="module")
def pair() -> Iterator[Servers]:
    with servers(ROWS, latency=Latency(first=0.03, token=0.004)) as both:
        yield both


@pytest.fixture(scope="module")
def calm(pair: Servers, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """The answers of one process that nothing happens to."""
    folder = tmp_path_factory.mktemp("calm")
    done(write_rows(folder / "in.jsonl", ROWS), *pair.flags, "-o", folder / "out.jsonl", "-q")
    return answers(folder / "out.jsonl")


@pytest.fixture
def job(pair: Servers, tmp_path: Path) -> list[Any]:
    rows = write_rows(tmp_path / "in.jsonl", ROWS)
    flags = ["--engine", "ray", "--workers", 2, "--concurrency", AT_ONCE]
    return [rows, *pair.flags, "-o", tmp_path / "out", *flags]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def of_session(session: int) -> list[str]:
    """Living processes of a session: a cluster of the command's own has one, whatever its processes are called."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            name, _, rest = (folder / "stat").read_text().rpartition(")") if folder.name.isdigit() else ("", "", "")
        except OSError:  # ended meanwhile
            continue
        if rest and rest.split()[0] != "Z" and int(rest.split()[3]) == session:
            found.append(name)
    return found


def wait(seen: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.02)


def begun(job: list[Any], out: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The command at work on some of its rows, and the session of its cluster."""
    before = lines(out)
    process = batch(*job)

    def at_work() -> bool:
        assert process.poll() is None, process.communicate()[1].decode()
        return lines(out) >= before + 8

    try:
        wait(at_work)
    except BaseException:
        process.terminate()
        raise
    return process, children(process.pid)[0]


def lines(out: Path) -> int:
    return sum(part.read_bytes().count(b"\n") for part in out.glob("part-*.jsonl"))


def whole(out: Path) -> Path:
    """The parts in one file, in the order of the input."""
    to = out.with_name("all.jsonl")
    done("export", out, to, "--force")
    return to


def requests_of(path: Path) -> int:
    """Requests that the answers of an output account for."""
    return sum(
        r.answer["stats"][author]["requests"] for r in records(path) if r.answer for author in ("base", "nudger")
    )


def test_whoever_is_killed(job: list[Any], pair: Servers, calm: list[Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    pair.forget()
    process, session = begun(job, out)
    process.kill()
    process.communicate(timeout=30)
    wait(lambda: not of_session(session), 30)
    assert 8 <= len(records(whole(out))) < ROWS
    assert batch("status", out, "--json").communicate(timeout=30)[0].count(b'"killed"') == 1
    # The same command goes on, and one of its workers is killed.
    process, session = begun(job, out)
    os.kill(worker(out), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=120)
    said = stderr.decode()
    assert process.returncode == 0, said
    assert stdout == b""
    assert "Traceback" not in said
    assert "raylet" not in said
    assert f"{ROWS} answered" in said
    assert of_session(session) == []
    assert answers(whole(out)) == calm
    assert [json.loads(path.read_text())["tries"] for path in out.glob("*.job/tries.json")].count(2) == 1
    # Of the head that was killed and of the worker, what was under way.
    assert pair.requests - requests_of(whole(out)) <= (AT_ONCE + AT_ONCE // 2) * REQUESTS_A_ROUND
    assert "nothing is left" in done(*job)


def worker(out: Path) -> int:
    """A process that is at work on a part in this run."""
    states = [json.loads(path.read_text()) for path in out.glob("*.job/status.json")]
    latest = max(state["run"] for state in states)
    return int(next(state["pid"] for state in states if state["state"] == "running" and state["run"] == latest))
