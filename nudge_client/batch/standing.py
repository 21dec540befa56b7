"""Where a job stands: for the live view, for `nudge batch status` in another shell, and for the last line."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from nudge_client.answer import Answer
from nudge_client.decoding import Author
from nudge_client.settings import Price
from nudge_client.spending import Amount, Purse, Spent
from nudge_providers.limits import Load

if TYPE_CHECKING:
    from nudge_client.batch.job import Job
    from nudge_client.many import Many

SPAN = 60.0  # seconds over which speeds are measured


class Standing:
    """Counts of one job, in this run and before. total: answers in all, None while not known."""

    def __init__(self, job: Job, many: Many, purse: Purse, prices: Mapping[Author, Price], total: int | None) -> None:
        self._job = job
        self._many = many
        self._purse = purse
        self._prices = prices
        self.total = total
        self.spent = spent_so_far(job.journal.spent)
        self.failed_now = 0
        self.answered_now = 0
        self.safe = job.done.count  # answers that are on the disk for sure
        self._tokens = self._nudged = 0
        self._begun = time.time()
        self._past: deque[tuple[float, int, int]] = deque([(time.monotonic(), 0, 0)])

    def count(self, answer: Answer) -> float | None:
        """Enter a finished answer; what it cost, in dollars, where prices are known."""
        stats = asdict(answer.stats)
        before = self.spent.answered.cost + self.spent.discarded.cost
        self.spent.add_answer(stats, self._prices)
        self._tokens += answer.stats.answer_tokens
        self._nudged += answer.stats.nudged_tokens
        cost = self.spent.answered.cost + self.spent.discarded.cost - before
        return float(cost) if self._prices else None

    def fail(self, partial: Answer) -> None:
        """Enter what an answer took that failed."""
        self.spent.add_failure(asdict(partial.stats), self._prices)

    def added(self, *, failed: bool) -> None:
        """One more row of output."""
        self.failed_now += failed
        self.answered_now += not failed

    def synced(self, safe: int) -> None:
        """So many answers are on the disk for sure."""
        self.safe = safe
        now = time.monotonic()
        if now - self._past[-1][0] >= 1:
            self._past.append((now, self.answered_now + self.failed_now, self._tokens))
            while len(self._past) > 2 and now - self._past[0][0] > SPAN:
                self._past.popleft()

    @property
    def has_spent(self) -> bool:
        """Whether anything was asked of anybody, in this run or before."""
        return bool(self._purse.spent.tokens or self._purse.reserved.tokens)

    def spending(self) -> dict[str, Any]:
        """What the journal keeps: to be read by `spent_so_far` and `purse_of`.

        A process that is killed cannot say how its last requests ended, and the caps must hold all the same.
        """
        purse = self._purse
        return {
            "purse": _plain(purse.to_note()),
            "likely": _plain(purse.likely),
            **{name: _plain(getattr(self.spent, name)) for name in ("answered", "discarded", "failed")},
        }

    def snapshot(self, state: str, why: str = "") -> dict[str, Any]:
        """All of it as JSON values. state: running, draining, waiting, stopped or done."""
        done, failed = self._job.done.count, self._job.done.failed
        answers, tokens = self._speeds()
        left = None if self.total is None else max(0, self.total - done)
        likely = float(self._purse.likely.cost)
        began = self.answered_now + self.failed_now
        return {
            "pid": os.getpid(),
            "state": state,
            "why": why,
            "updated": time.time(),
            "seconds": round(time.time() - self._begun, 1),
            "rows": {
                "total": self.total,
                "done": done,
                "safe": self.safe,
                "answered": done - failed,
                "failed": failed,
                "left": left,
                "under_way": 0 if state in ("stopped", "done") else len(self._many.active),
            },
            "answers_per_second": round(answers, 3),
            "tokens_per_second": round(tokens, 1),
            "nudge_ratio": round(self._nudged / self._tokens, 4) if self._tokens else None,
            "seconds_left": round(left / answers) if left is not None and answers else None,
            "cost": {
                "likely": round(likely, 6),
                "at_most": round(float(self._purse.spent.cost), 6),
                "projected": round(likely * self.total / done, 6) if self.total and done and began else None,
                **{
                    name: round(float(getattr(self.spent, name).cost), 6)
                    for name in ("answered", "discarded", "failed")
                },
            },
            "tokens": {
                "likely": self._purse.likely.tokens,
                "at_most": self._purse.spent.tokens,
                **{name: getattr(self.spent, name).tokens for name in ("answered", "discarded", "failed")},
            },
            "priced": bool(self._prices),
            "accounts": {endpoint: _told(load) for endpoint, load in self._many.loads().items()},
        }

    def _speeds(self) -> tuple[float, float]:
        """Answers and tokens a second, lately."""
        began, answers, tokens = self._past[0]
        seconds = max(time.monotonic() - began, 1e-3)
        return (self.answered_now + self.failed_now - answers) / seconds, (self._tokens - tokens) / seconds


def _told(load: Load) -> dict[str, Any]:
    """JSON has no infinity: an account without a limit has None."""
    return {name: None if value == math.inf else value for name, value in asdict(load).items()}


def _plain(amount: Amount) -> list[Any]:
    return [str(amount.cost), amount.tokens]


def _amount(plain: Any) -> Amount:
    return Amount(Fraction(plain[0]), int(plain[1]))


def spent_so_far(totals: Mapping[str, Any]) -> Spent:
    """What earlier runs spent, by purpose."""
    if not totals:
        return Spent()
    return Spent(*(_amount(totals[name]) for name in ("answered", "discarded", "failed")))


def purse_of(totals: Mapping[str, Any], max_cost: float | None, max_tokens_total: int | None) -> Purse:
    """A purse that knows what earlier runs spent. Raises UsageError for a cap that is none."""
    spent, likely = (_amount(totals[name]) if totals else Amount() for name in ("purse", "likely"))
    return Purse(max_cost, max_tokens_total, spent=spent, likely=likely)
