"""What `nudge local up` left for other commands to find.

The keeper holds a lock for as long as it lives; the system frees it however the keeper ends. So a state file counts
only while the lock is held, and a killed keeper leaves nothing that could be mistaken for a running one.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_state_path

from nudge_providers.errors import UsageError


@dataclass(frozen=True, slots=True)
class PairState:
    """A kept pair: the keeper's process id, urls by model name, and when it started (seconds since the epoch)."""

    pid: int
    urls: dict[str, str]
    started: float

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return max(0.0, time.time() - self.started)


def state_dir() -> Path:
    """The folder for state, `NUDGE_STATE_DIR` or the user's own. Raises UsageError when it cannot be made."""
    path = Path(os.environ.get("NUDGE_STATE_DIR") or user_state_path("nudge"))
    try:
        path.mkdir(parents=True, exist_ok=True)
        # Tried, not asked: what the permissions say is not all. A lock there would be waited for in vain.
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to the state folder {path}: {error.strerror}; set NUDGE_STATE_DIR") from None
    return path


def keeper_lock() -> FileLock:
    """Held by the keeper for its whole life."""
    return FileLock(state_dir() / "keeper.lock")


def starting_lock() -> FileLock:
    """Held by a command that starts or ends the keeper."""
    return FileLock(state_dir() / "starting.lock", timeout=90)


def keeper_alive() -> bool:
    """Whether some process keeps a pair, ready or not yet."""
    lock = keeper_lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def read_state() -> PairState | None:
    """The kept pair, or None when there is none that lives."""
    try:
        values = json.loads(_file().read_text("utf-8"))
        state = PairState(int(values["pid"]), dict(values["urls"]), float(values["started"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return state if keeper_alive() else None


def write_state(urls: dict[str, str]) -> None:
    """Tell others of the pair that this process keeps."""
    path = _file()
    new = path.with_suffix(".new")
    new.write_text(json.dumps(asdict(PairState(os.getpid(), urls, time.time()))), "utf-8")
    new.replace(path)


def forget_state() -> None:
    """Take the state file away."""
    _file().unlink(missing_ok=True)


def _file() -> Path:
    return state_dir() / "pair.json"
