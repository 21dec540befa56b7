"""A job that is killed at any instant, again and again, ends with every row once and the answers of one left alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from nudge_client.batch.claim import folder_of
from nudge_providers.standins import Latency
from tests.batch.jobs import Servers, answers, batch, done, records, servers, write_rows
from tests.spending.test_jobs import CountingStandIn

ROWS = 300
KILLS = int(os.environ.get("NUDGE_KILLS", "12"))  # the hundred of a thorough run take minutes
AT_ONCE = 16
# Requests of one round: a draft, the looks after its words, and what was asked early of either model.
REQUESTS_A_ROUND = 12


def requests_of(path: Path) -> int:
    """Requests that the answers of an output account for."""
    return sum(
        r.answer["stats"][author]["requests"] for r in records(path) if r.answer for author in ("base", "nudger")
    )


def killed_after(process: subprocess.Popen[bytes], seconds: float, how: int = signal.SIGKILL) -> bool:
    """Whether it was still at work then."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(how)
    process.communicate(timeout=60)
    return process.returncode == -how


@pytest.mark.timeout(900)
@pytest.mark.parametrize("plan", ["chunked", "streaming"])
def test_sigkill_at_any_instant(tmp_path: Path, plan: str) -> None:
    dice = random.Random(5)
    rows = write_rows(tmp_path / "in.jsonl", ROWS)
    out, calm = tmp_path / "out.jsonl", tmp_path / "calm.jsonl"
    latency = Latency(first=0.01, token=0.0005)
    with servers(ROWS, latency=latency) as pair:
        job = [rows, *pair.flags, "--plan", plan, "--concurrency", AT_ONCE, "-q"]
        began = time.monotonic()
        done(*job, "-o", calm)
        whole = time.monotonic() - began
        pair.forget()
        kills = 0
        while kills < KILLS:
            # From the first import to beyond where the work begins; what is left gets less with each.
            kills += killed_after(batch(*job, "-o", out), dice.uniform(0, 0.9 + 2 * whole / KILLS))
            if len(out.read_bytes().splitlines() if out.exists() else []) >= ROWS:
                out.unlink()  # it was finished sooner than it was killed often enough
                shutil.rmtree(folder_of(out))  # which knows enough to write it again without a request
                pair.forget()
        killed_export(out, tmp_path, dice)
        done(*job, "-o", out)
        paid_twice(pair, out, kills)
    assert answers(out) == answers(calm)
    assert len(records(out)) == ROWS


def killed_export(out: Path, folder: Path, dice: random.Random) -> None:
    """An export that is killed leaves the whole file or none."""
    for _ in range(3):
        target = folder / "export.csv"
        if out.exists():
            killed_after(batch("export", out, target), dice.uniform(0.1, 0.8))
            assert not target.exists() or target.read_bytes().endswith(b"\n")
            target.unlink(missing_ok=True)


@pytest.mark.timeout(300)
def test_a_cap_holds_over_kills(tmp_path: Path) -> None:
    """What was sent and never accounted for counts, too: the servers never count more than the cap."""
    dice, cap = random.Random(9), 60_000
    rows, out = write_rows(tmp_path / "in.jsonl", ROWS), tmp_path / "out.jsonl"
    with servers(ROWS, latency=Latency(first=0.01, token=0.0005), kind=CountingStandIn) as pair:
        for server in (pair.base, pair.nudger):
            server.billed = []  # type: ignore[attr-defined]
        job = [rows, *pair.flags, "--concurrency", AT_ONCE, "-q", "-o", out, "--max-tokens-total", cap]
        for _ in range(8):
            killed_after(batch(*job), dice.uniform(0.7, 1.5))
        done(*job, code=4)
        billed = sum(sum(counts) for server in (pair.base, pair.nudger) for counts in server.billed)  # type: ignore[attr-defined]
    print(f"{billed} of {cap} tokens, {len(records(out))} rows")
    assert len(records(out)) < ROWS
    assert 0.5 * cap < billed <= cap


def paid_twice(pair: Servers, out: Path, kills: int) -> None:
    """Requests that no answer accounts for: those of the rounds that were under way at a kill."""
    twice = pair.requests - requests_of(out)
    print(f"{twice} requests of {pair.requests} paid twice in {kills} kills with {AT_ONCE} answers at once")
    assert 0 <= twice <= kills * AT_ONCE * REQUESTS_A_ROUND
