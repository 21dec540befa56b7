"""What a job gave, in figures: counts, how they are spread, totals, and a few answers to read."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

from nudge_client.batch.records import Record, read_record
from nudge_client.batch.results.distributions import distribution
from nudge_client.batch.results.output_rows import MODEL_STATS, line_reader, placed_records
from nudge_client.batch.results.worth_reading import WorthReading, told
from nudge_client.pages.numbers import Unit

# What is spread: what it is called, and its unit.
SPREAD: dict[str, tuple[str, Unit]] = {
    "nudge_ratio": ("nudged share", "share"),
    "answer_tokens": ("answer tokens", "count"),
    "seconds": ("seconds per answer", "seconds"),
    "requests": ("requests per answer", "count"),
    "cost": ("cost of an answer, USD", "dollars"),
}
TOTALS = ("answer_tokens", "nudged_tokens", "verified_tokens")


def summarize(path: Path) -> dict[str, Any]:
    """The figures of a job's output; it may still be running. All of it could be JSON.

    Memory: 40 bytes an answer, for exact quantiles; the texts of the few answers that are shown.
    Raises UsageError naming file and line where a line is no record, OSError when the file cannot be read.
    """
    tally, worth = _Tally(), WorthReading()
    for place, record in placed_records(path):
        tally.see(record)
        worth.see(record, place)
    with line_reader(path) as line_at:
        shown = [told(read_record(json.loads(line_at(pick.offset))), pick) for pick in worth.picks()]
    return {"file": path.name} | tally.figures() | {"worth_reading": shown}


class _Tally:
    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()
        self._finish_reasons: Counter[str] = Counter()
        self._plans: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._models: dict[str, Counter[str]] = {"base": Counter(), "nudger": Counter()}
        self._cost: float | None = None
        self._values = {name: array("d") for name in SPREAD}

    def see(self, record: Record) -> None:
        if record.cost is not None:  # a failure can have one, too
            self._cost = (self._cost or 0.0) + record.cost
        if record.answer is None:
            self._failures[str((record.error or {}).get("kind"))] += 1
            return
        stats = record.answer["stats"]
        self._finish_reasons[record.answer["finish_reason"]] += 1
        self._plans[record.answer["plan"]] += 1
        self._totals.update({name: stats[name] for name in TOTALS})
        for author, total in self._models.items():
            total.update({name: stats[author][name] for name in MODEL_STATS})
        requests = sum(stats[author]["requests"] for author in self._models)
        values = {name: stats.get(name) for name in SPREAD} | {"requests": requests, "cost": record.cost}
        for name, value in values.items():
            if value is not None:
                self._values[name].append(value)

    def figures(self) -> dict[str, Any]:
        answered, failed = self._finish_reasons.total(), self._failures.total()
        return {
            "records": answered + failed,
            "answered": answered,
            "failed": failed,
            "failures": dict(self._failures.most_common()),
            "finish_reasons": dict(self._finish_reasons.most_common()),
            "plans": dict(self._plans.most_common()),
            "totals": {name: self._totals[name] for name in TOTALS}
            | {author: {name: total[name] for name in MODEL_STATS} for author, total in self._models.items()}
            | {"cost": None if self._cost is None else round(self._cost, 9)},
            "distributions": {
                name: distribution(self._values[name], whole=unit == "count") for name, (_, unit) in SPREAD.items()
            },
        }
