"""The command in another process, and the stand-ins that its tests talk to."""

from __future__ import annotations

import os
import subprocess
import sys

from nudge_providers.standins import StandIn
from tests.toys import writes

TEXT = "Yes we can do it all"


class Pair:
    """Two stand-ins and the flags that name them."""

    def __init__(self) -> None:
        # The base model's prompt has no mark of its end, so the answer start is one.
        self.base = StandIn(writes(TEXT, doubts={" can": 0.1}))
        self.nudger = StandIn(writes(TEXT + " of the time and so on and on and on for ever and ever after"))

    @property
    def flags(self) -> list[str]:
        start = ["--answer-start", "<|answer|>"]
        return ["--base", f"llamacpp@{self.base.url}", "--nudger", f"llamacpp@{self.nudger.url}", *start]


def nudge(*args: str, stdin: bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "nudge_client.cli.main", *args],
        input=stdin,
        capture_output=True,
        env=os.environ | env,
        timeout=60,
        check=False,
    )


def fails(done: subprocess.CompletedProcess[bytes], code: int, *words: str) -> None:
    """One clear error: the status, one message, no traceback, nothing on standard output."""
    said = done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert "defect" not in said
    assert done.stdout == b""
    for word in words:
        assert word in said, said


def shell(command: str, *args: str) -> subprocess.CompletedProcess[bytes]:
    """The command in bash as `nudge`, with its arguments as "$@"."""
    script = f'nudge() {{ "{sys.executable}" -m nudge_client.cli.main "$@"; }}; {command}'
    return subprocess.run(["bash", "-c", script, "bash", *args], capture_output=True, timeout=60, check=False)
