"""Where a job in parts stands: the sum of where its partitions stand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nudge_client.batch.claim import folder_of, read_document
from nudge_client.batch.parts.folder import Counted, part_of
from nudge_providers.errors import UsageError

AT_WORK = ("running", "waiting", "draining")


def snapshots(out: Path, partitions: int) -> list[dict[str, Any] | None]:
    """The latest of each partition, None of one that was never begun."""
    found: list[dict[str, Any] | None] = []
    for index in range(partitions):
        try:
            found.append(read_document(folder_of(part_of(out, index)) / "status.json"))
        except (UsageError, OSError):  # the folder may be far away, and this only shows something
            found.append(None)
    return found


def summed(
    parts: Sequence[Mapping[str, Any] | None],
    counted: Sequence[Counted],
    run: str,
    total: int | None,
    began: float,
    state: str = "",
    why: str = "",
) -> dict[str, Any]:
    """One snapshot (see `Standing.snapshot`) of all partitions.

    counted: by partition, what was in it before this run; a snapshot of an earlier run may be older than its end.
    run: only of this one speeds and accounts count. total: answers in all. began: when it did, by `time.time`.
    state: of the whole; while it is at work, that of its partitions.
    """
    known = [part for part in parts if part]
    lively = [part for part in known if part.get("run") == run and part["state"] in AT_WORK]
    rows = rows_of((_latest(part, count, run) for part, count in zip(parts, counted, strict=True)), total)
    cost = {name: _sum(known, "cost", name) for name in ("likely", "at_most", "answered", "discarded", "failed")}
    speed = sum(part["answers_per_second"] for part in lively)
    if not state:
        waiting = [part["why"] for part in lively if part["state"] == "waiting"]
        state, why = ("waiting", waiting[0]) if waiting and len(waiting) == len(lively) else ("running", "")
    return {
        "pid": os.getpid(),
        "state": state,
        "why": why,
        "updated": time.time(),
        "seconds": round(time.time() - began, 1),
        "rows": {**rows, "under_way": _sum(lively, "rows", "under_way")},
        "answers_per_second": speed,
        "tokens_per_second": sum(part["tokens_per_second"] for part in lively),
        "nudge_ratio": _mean_ratio(known),
        "seconds_left": round(rows["left"] / speed) if rows["left"] is not None and speed else None,
        "cost": {
            **{name: round(value, 6) for name, value in cost.items()},
            "projected": round(cost["likely"] * total / rows["done"], 6) if total and rows["done"] else None,
        },
        "tokens": {
            name: _sum(known, "tokens", name) for name in ("likely", "at_most", "answered", "discarded", "failed")
        },
        "priced": any(part["priced"] for part in known),
        "accounts": _accounts(lively),
    }


def rows_of(parts: Iterable[Counted], total: int | None) -> dict[str, Any]:
    """The rows of a snapshot. total: answers in all."""
    done, failed = (sum(column) for column in zip(*parts, strict=True))
    return {
        "total": total,
        "done": done,
        "safe": done,
        "answered": done - failed,
        "failed": failed,
        "left": None if total is None else max(0, total - done),
    }


def _latest(part: Mapping[str, Any] | None, counted: Counted, run: str) -> Counted:
    return Counted(part["rows"]["done"], part["rows"]["failed"]) if part and part.get("run") == run else counted


def _sum(parts: Iterable[Mapping[str, Any]], group: str, name: str) -> Any:
    return sum(part[group][name] for part in parts)


def _mean_ratio(parts: list[Mapping[str, Any]]) -> float | None:
    """Each partition tells its latest; they weigh as many answers as they have."""
    told = [(part["nudge_ratio"], part["rows"]["done"]) for part in parts if part["nudge_ratio"] is not None]
    weight = sum(done for _, done in told)
    return round(sum(ratio * done for ratio, done in told) / weight, 4) if weight else None


def _accounts(parts: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Numbers of the same account are added up; of words, the first stands."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for endpoint, load in part["accounts"].items():
            one = found.setdefault(endpoint, {})
            for name, value in load.items():
                if isinstance(value, int | float):
                    one[name] = (one.get(name) or 0) + value
                else:
                    one.setdefault(name, value)
    return found
