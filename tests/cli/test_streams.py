"""Standard streams and signals: closed early, full, a terminal, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.cli.command import Pair, fails, nudge, shell


def test_output_closed_early(pair: Pair, here: Path) -> None:
    """`nudge run … | head -c 1`: the reader has enough, and nobody complains."""
    ready, slow = threading.Event(), threading.Event()

    async def fault(request: web.Request, body: dict[str, Any]) -> None:
        if len(pair.base.bodies) > 0:
            import asyncio

            ready.set()
            await asyncio.to_thread(slow.wait, 20)

    pair.base.fault = fault
    process = subprocess.Popen(
        [sys.executable, "-m", "nudge_client.cli.main", "run", "Hi", *pair.flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.read(1) == b"Y"
    process.stdout.close()
    assert ready.wait(20)
    slow.set()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_keeps_what_was_written(pair: Pair, here: Path, times: int) -> None:
    hold = threading.Event()

    async def fault(request: web.Request, body: dict[str, Any]) -> None:
        import asyncio

        await asyncio.to_thread(hold.wait, 20)

    pair.base.fault = fault
    process = subprocess.Popen(
        [sys.executable, "-m", "nudge_client.cli.main", "run", "Hi", *pair.flags, "--trace", "trace.jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.read(3) == b"Yes"
    for _ in range(times):
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    hold.set()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"interrupted" in err
    if times == 1:
        assert out == b"\n"
        assert json.loads(Path("trace.jsonl").read_text())["text"] == "Yes"


def test_no_colour_in_a_pipe_and_colour_on_a_terminal(pair: Pair, here: Path) -> None:
    import pty

    assert b"\x1b" not in nudge("run", "Hi", *pair.flags, "-q").stdout

    def on_terminal(**env: str) -> bytes:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "nudge_client.cli.main", "run", "Hi", *pair.flags, "-q"],
            stdout=theirs,
            env=os.environ | {"TERM": "xterm"} | env,
        )
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        process.wait(20)
        return shown

    assert b"\x1b[32m\x1b[1mYes\x1b[0m we" in on_terminal()
    assert b"\x1b" not in on_terminal(NO_COLOR="1")


@pytest.mark.parametrize("what", ["run Can-we", "run Can-we --json", "config show", "--version", "--help"])
def test_full_disk(pair: Pair, here: Path, what: str) -> None:
    flags = pair.flags if what.startswith("run") else []
    done = shell(f'nudge {what} "$@" > /dev/full', *flags)
    assert done.returncode == 2
    assert b"No space left" in done.stderr
    assert b"defect" not in done.stderr


@pytest.mark.parametrize("what", ["run Can-we", "run Can-we --json", "config show", "local status", "--version"])
def test_closed_output(pair: Pair, here: Path, what: str) -> None:
    flags = pair.flags if what.startswith("run") else []
    done = shell(f'nudge {what} "$@" >&-', *flags)
    assert (done.returncode, b"defect" in done.stderr) == (0, False), done.stderr


def test_closed_input(here: Path) -> None:
    fails(shell("nudge run - <&-"), 2, "standard input is closed")


@pytest.mark.parametrize("what", ["config show", "--help", "run --help"])
def test_help_into_a_closed_pipe(here: Path, what: str) -> None:
    done = shell(f"set -o pipefail; nudge {what} | true")
    assert (done.returncode in (0, 141), done.stderr) == (True, b"")
