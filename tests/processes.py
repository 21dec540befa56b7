"""Finding the llama.cpp processes that belong to one test: they inherit its state folder."""

from __future__ import annotations

import time
from pathlib import Path


def servers_of(state: Path) -> list[int]:
    """Process ids of the local servers started with this NUDGE_STATE_DIR."""
    marker = f"NUDGE_STATE_DIR={state}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if b"nudge_client.local.server" in (folder / "cmdline").read_bytes():
                alive = b"State:\tZ" not in (folder / "status").read_bytes()
                if alive and marker in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    return found


def wait_until_gone(state: Path, seconds: float) -> list[int]:
    """The servers that are left after at most `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := servers_of(state)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def wait_until_started(state: Path, count: int, seconds: float = 30) -> None:
    """Return when `count` servers have been started."""
    deadline = time.monotonic() + seconds
    while len(servers_of(state)) < count:
        assert time.monotonic() < deadline, "the servers did not start"
        time.sleep(0.02)
