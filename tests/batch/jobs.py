"""Jobs on stand-ins: the servers in a thread of their own, the command in a process that may be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nudge_client.batch.records import Record, read_record
from nudge_providers.standins import PROMPT_END, Latency, StandIn, served, toy_pair

Command = list[str]


@dataclass
class Servers:
    """A pair of stand-ins, each row with an answer of its own."""

    base: StandIn
    nudger: StandIn

    @property
    def flags(self) -> Command:
        pair = ["--base", f"llamacpp@{self.base.url}", "--nudger", f"llamacpp@{self.nudger.url}"]
        return [*pair, "--form", "plain", "--answer-start", PROMPT_END]

    @property
    def requests(self) -> int:
        return len(self.base.bodies) + len(self.nudger.bodies)

    def forget(self) -> None:
        self.base.bodies.clear()
        self.nudger.bodies.clear()


def prompt(row: int) -> str:
    return f"row {row:06d}"


def write_rows(path: Path, count: int) -> Path:
    path.write_text(
        "".join(json.dumps({"id": f"r{row}", "prompt": prompt(row), "kept": row}) + "\n" for row in range(1, count + 1))
    )
    return path


@contextmanager
def servers(
    rows: int, *, length: int = 120, latency: Latency | None = None, kind: type[StandIn] = StandIn
) -> Iterator[Servers]:
    base, nudger = toy_pair(uncertainty=0.3, agreement=0.6, length=length)
    topics = [prompt(row) for row in range(1, rows + 1)]
    pair = Servers(*(kind(model, topics=topics, latency=latency, window=10**6) for model in (base, nudger)))
    pair.base.slots = pair.nudger.slots = 64
    with served(pair.base, pair.nudger):
        yield pair


def batch(*arguments: Any, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nudge_client.cli.main", "batch", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | env,
    )


def done(*arguments: Any, code: int = 0, **env: str) -> str:
    """The command run to its end; what it said on standard error."""
    process = batch(*arguments, **env)
    out, said = process.communicate(timeout=120)
    assert process.returncode == code, said.decode()
    assert out == b""
    assert b"Traceback" not in said
    return said.decode()


def records(path: Path) -> list[Record]:
    """All rows of an output, in the order of the input; each must be there once."""
    found = sorted(
        (read_record(json.loads(line)) for line in path.read_text().splitlines()), key=lambda r: (r.row, r.sample)
    )
    assert max(Counter((record.row, record.sample) for record in found).values(), default=1) == 1
    return found


def answers(path: Path) -> list[tuple[Any, ...]]:
    """Of each row what no circumstance may change."""
    return [
        (
            record.row,
            record.id,
            record.answer["text"],
            record.answer["segments"],
            record.answer["finish_reason"],
            record.answer["stats"]["rounds"],
        )
        for record in records(path)
        if record.answer
    ]
