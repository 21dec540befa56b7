"""Where a job stands, as another process sees it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nudge_client.batch.claim import folder_of, read_document
from nudge_providers.errors import UsageError


def status_of(out: Path) -> dict[str, Any]:
    """The latest snapshot (see `Standing.snapshot`) of the job with this output.

    `state` is `killed` when its process ended without a word. Raises UsageError when there is no job.
    """
    snapshot = read_document(folder_of(out) / "status.json")
    if snapshot is None:
        raise UsageError(f"{out}: no job with this output has begun its work")
    if snapshot["state"] not in ("done", "stopped") and not _lives(snapshot["pid"]):
        snapshot |= {"state": "killed", "why": "the same command goes on", "accounts": {}}
        snapshot["rows"]["under_way"] = 0
        snapshot["answers_per_second"] = snapshot["tokens_per_second"] = 0.0
        snapshot["seconds_left"] = None
    return snapshot


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True
