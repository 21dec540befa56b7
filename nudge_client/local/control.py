"""`nudge local up | down`: starting and ending the keeper."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

from filelock import Timeout

from nudge_client.local import keeper
from nudge_client.local.models import MODELS, model_file
from nudge_client.local.state import PairState, keeper_alive, read_state, starting_lock
from nudge_providers.errors import UnavailableError

DOWN_SECONDS = 10.0
BUSY = "another command has been starting or ending the local pair for too long"


def up() -> tuple[PairState, bool]:
    """The kept pair, and whether this call started it. Raises UsageError or UnavailableError."""
    for name in MODELS:
        model_file(name)  # says what is missing, and names the terms, where a person reads it
    try:
        with starting_lock():
            state = read_state()
            return (state, False) if state else (_start(), True)
    except Timeout:
        raise UnavailableError(BUSY) from None


def down() -> bool:
    """End the kept pair. False when there was none."""
    try:
        with starting_lock():
            return _end()
    except Timeout:
        raise UnavailableError(BUSY) from None


def _end() -> bool:
    state = read_state()
    if state is None:
        return False
    for number, seconds in ((signal.SIGTERM, DOWN_SECONDS), (signal.SIGKILL, 2.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(state.pid, number)
        if _gone(seconds):
            return True
    raise UnavailableError(f"the keeper of the local pair, process {state.pid}, does not end")


def _start() -> PairState:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "nudge_client.local.keeper"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert process.stdout
    try:
        with process.stdout:
            said = process.stdout.readline().strip()
    except BaseException:
        process.kill()
        raise
    state = read_state() if said == keeper.READY else None
    if state is None:
        process.kill()
        process.wait()
        raise UnavailableError(f"the local pair did not start: {said or 'its keeper ended'}")
    process.returncode = 0  # it lives on by itself; it is not ours to wait for
    return state


def _gone(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while keeper_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
