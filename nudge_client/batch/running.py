"""A job at work: rows in, answers out, and where it stands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

from nudge_client.answer import Answer
from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.job import Job
from nudge_client.batch.journal import Place
from nudge_client.batch.records import openai_record, own_record
from nudge_client.batch.standing import Standing
from nudge_client.client import NudgeClient
from nudge_client.many import MOST, PATIENCE, Many, Outcome, Work
from nudge_client.settings import Settings
from nudge_client.spending import Purse
from nudge_client.stream import AnswerStream
from nudge_providers.errors import NudgeError

SYNC_SECONDS = 0.25
STATUS_TICKS = 4  # syncs to a status
BREATH = 200  # rows passed over before the event loop may do something else


@dataclass(frozen=True, slots=True)
class Limits:
    """most: answers at once. patience: seconds that endpoints may be down. max_failures: rows that may fail."""

    most: int = MOST
    patience: float = PATIENCE
    max_failures: int | None = None


class Running:
    """The work on a job by one client. rows: of the whole input; those that are done are passed over.

    samples: answers to each row. total: answers in all, None while not known. purse: the client's own. told: is called
    about once a second with where the job stands, in what state, and why. answers: where those that finish are kept.
    """

    def __init__(
        self,
        client: NudgeClient,
        job: Job,
        rows: Iterable[Row | BadRow],
        purse: Purse,
        *,
        samples: int = 1,
        total: int | None = None,
        openai: bool = False,
        limits: Limits | None = None,
        told: Callable[[Standing, str, str], None] = lambda _standing, _state, _why: None,
        answers: list[Answer] | None = None,
    ) -> None:
        self._client = client
        self._job = job
        self._rows = rows
        self._samples = samples
        self._limits = limits or Limits()
        self._record = openai_record if openai else own_record
        self._told = told
        self._answers = answers
        self.many = Many(
            client, self._works(), most=self._limits.most, patience=self._limits.patience, watch=self._watch
        )
        self.standing = Standing(job, self.many, purse, client.settings.prices, total)
        purse.written_down(self._note_spent)
        self._over = asyncio.Event()
        self.stopped = ""  # why no more rows are taken, if so

    def drain(self, why: str) -> None:
        """Take no more rows, and finish the answers under way."""
        self.stopped = self.stopped or why
        self.many.drain()

    async def run(self) -> None:
        """Write until there is nothing left, or it was drained. Cancelled or failed, it saves what there is first.

        Raises what `Many.outcomes` raises, and OSError when the output cannot be written.
        """
        ticking = asyncio.create_task(self._tick())
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.wait({ticking, writing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            self._over.set()
            await asyncio.gather(writing, ticking, return_exceptions=True)
        for task in (ticking, writing):
            if not task.cancelled():
                task.result()

    async def _write(self) -> None:
        try:
            async with aclosing(self.many.outcomes()) as outcomes:
                async for outcome in outcomes:
                    self._finish(outcome)
        finally:
            for work, stream in self.many.active.values():
                self._watch(work, stream)
            self._note()

    async def _tick(self) -> None:
        """Make safe what was written, and say where the job stands."""
        ticks = 0
        while not self._over.is_set():
            before = self._job.done.count  # more may be written meanwhile
            await asyncio.to_thread(self._job.sync)
            self.standing.synced(before)
            if ticks % STATUS_TICKS == 0:
                self._note()
                self._job.journal.compact({work.key[1]: stream for work, stream in self.many.active.values()})
            ticks += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(SYNC_SECONDS):
                    await self._over.wait()

    def _note_spent(self) -> None:
        self._job.journal.note_spent(self.standing.spending())

    def _note(self) -> None:
        if self.standing.has_spent:
            self._note_spent()
        self._job.sync()
        self.standing.synced(self._job.done.count)
        self._told(self.standing, *self._state())

    def _state(self) -> tuple[str, str]:
        if self.stopped:
            return "draining", self.stopped
        if error := self.many.health.error:
            return "waiting", f"{self.many.health.seconds_down:.0f} s: {error}"
        return "running", ""

    async def _works(self) -> AsyncGenerator[Work, None]:
        passed = 0
        for row in self._rows:
            for sample in range(self._samples):
                place = Place(row.number, sample)
                if place not in self._job.done:
                    if isinstance(row, Row):
                        options = options_of(row, sample, self._client.settings)
                        yield Work((row, place), row.prompt, options, self._job.journal.take(place))
                        continue
                    self._add(row, place, {"kind": "UsageError", "message": row.problem})
                if self.stopped:
                    return
                passed += 1
                if passed % BREATH == 0:
                    await asyncio.sleep(0)

    def _watch(self, work: Work, stream: AnswerStream) -> None:
        self._job.journal.note(work.key[1], stream)

    def _finish(self, outcome: Outcome) -> None:
        row, place = outcome.work.key
        if outcome.error is not None:
            if outcome.partial:
                self.standing.fail(outcome.partial)
            self._add(row, place, described(outcome.error))
            return
        assert outcome.answer
        answer = outcome.answer
        if self._answers is not None:
            self._answers.append(answer)
        cost = self.standing.count(answer)
        self._put(place, self._record(row, self._sample(place), answer, None, cost), failed=False)

    def _add(self, row: Row | BadRow, place: Place, error: Mapping[str, Any]) -> None:
        self._put(place, self._record(row, self._sample(place), None, error, None), failed=True)
        most = self._limits.max_failures
        if most is not None and self.standing.failed_now > most:
            self.drain(f"more than {most} rows failed (--max-failures)")

    def _put(self, place: Place, record: Mapping[str, Any], *, failed: bool) -> None:
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
        self._job.add(place, line, failed=failed)
        self.standing.added(failed=failed)

    def _sample(self, place: Place) -> int | None:
        return place.sample if self._samples > 1 else None


def options_of(row: Row, sample: int, settings: Settings) -> dict[str, Any]:
    """A row's own settings. Its samples differ by their seeds."""
    options = dict(row.options)
    seed = options.get("seed", settings.seed)
    if seed is not None and sample:
        options["seed"] = seed + sample
    return options


def described(error: NudgeError) -> dict[str, str]:
    """A failure as the output tells it."""
    return {"kind": type(error).__name__, "message": str(error)}
