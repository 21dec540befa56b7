"""What a worker does: answers the rows of a partition into its part, which any worker may do again at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Any, Literal

from nudge_client.batch.claim import read_document
from nudge_client.batch.files import write_document
from nudge_client.batch.input.rows import Format
from nudge_client.batch.job import Job
from nudge_client.batch.parts.folder import WAIT, part_of, stop_file
from nudge_client.batch.running import Limits, Running
from nudge_client.batch.setup import Input
from nudge_client.batch.standing import Standing, purse_of
from nudge_client.client import NudgeClient
from nudge_client.config import check_settings
from nudge_client.settings import Settings
from nudge_providers.errors import BudgetError, EndpointError, UsageError

MOST_TRIES = 5

Kind = Literal["", "usage", "budget", "endpoint"]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that workers are told, as JSON values; no key is among them. Paths must be the same on every machine.

    run: another for each run of the command. setup: of the whole job. concurrency: answers at once, of all workers.
    max_cost, max_tokens_total: of the whole job.
    """

    run: str
    out: str
    partitions: int
    workers: int
    source: str
    form: Format
    template: str | None
    setup: Mapping[str, Any]
    settings: Mapping[str, Any]
    samples: int
    concurrency: int
    patience: float
    max_cost: float | None
    max_tokens_total: int | None


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a partition. done, failed: answers in its part. problem: why it is not finished, of some kind."""

    partition: int
    done: int = 0
    failed: int = 0
    problem: str = ""
    kind: Kind = ""


def shared(settings: Settings, workers: int) -> Settings:
    """The settings of one of several workers: of what an account allows a minute, each has an equal share."""
    accounts = {}
    for name, account in settings.providers.items():
        rates = {"requests_per_minute": account.requests_per_minute, "tokens_per_minute": account.tokens_per_minute}
        accounts[name] = account.model_copy(
            update={rate: limit / workers for rate, limit in rates.items() if limit is not None}
        )
    return settings.model_copy(update={"providers": accounts})


def work_on(plan: Plan, index: int) -> Result:
    """Answer what is left of the partition, unless the job is to stop; what came of it."""
    out = Path(plan.out)
    if stop_file(out).exists():
        return Result(index, problem="stopped")
    part = part_of(out, index)
    done = failed = 0
    try:
        job = Job(part, wait=WAIT)
        try:
            _count_try(job, plan.run)
            # The whole job was agreed on by its head, before anybody was sent here.
            job.begin({**plan.setup, "partition": [index, plan.partitions]}, allow_changed=True)
            done, failed = job.done.count, job.done.failed
            problem = asyncio.run(_answer(plan, index, job))
            done, failed = job.done.count, job.done.failed
        finally:
            job.close()
    except (UsageError, OSError) as error:
        return Result(index, done, failed, str(error), "usage")
    except BudgetError as error:
        return Result(index, done, failed, str(error), "budget")
    except EndpointError as error:
        return Result(index, done, failed, str(error), "endpoint")
    return Result(index, done, failed, problem)


def _count_try(job: Job, run: str) -> None:
    """Note that the partition is begun. Raises UsageError where that kills one worker after the other."""
    path = job.folder / "tries.json"
    known = read_document(path) or {}
    tries = known["tries"] if known.get("run") == run else 0
    if tries >= MOST_TRIES:
        raise UsageError(f"{job.out}: its worker was killed {tries} times; is there too little memory?")
    write_document(path, {"run": run, "tries": tries + 1}, durable=False)


async def _answer(plan: Plan, index: int, job: Job) -> str:
    """Work until the partition is answered, or the job is to stop; why it stopped."""
    found = Input(plan.source, Path(plan.source), plan.form, plan.template)
    # Caps hold over all runs of the job, and what each partition has spent is known in its part alone.
    max_cost = None if plan.max_cost is None else floor(plan.max_cost / plan.partitions * 1e9) / 1e9
    max_tokens = None if plan.max_tokens_total is None else plan.max_tokens_total // plan.partitions
    purse = purse_of(job.journal.spent, max_cost, max_tokens)
    settings = shared(check_settings(plan.settings), plan.workers)

    def tell(standing: Standing, state: str, why: str) -> None:
        write_document(job.folder / "status.json", standing.snapshot(state, why) | {"run": plan.run}, durable=False)
        if (wish := stop_file(Path(plan.out))).exists():
            running.drain(wish.read_text("utf-8") or "stopped")

    async with NudgeClient(settings=settings, purse=purse) as client:
        running = Running(
            client,
            job,
            (row for row in found.rows() if (row.number - 1) % plan.partitions == index),
            purse,
            samples=plan.samples,
            openai=plan.form == "openai",
            limits=Limits(max(1, plan.concurrency // plan.workers), plan.patience),
            told=tell,
        )
        state = "stopped"
        try:
            await running.run()
            state = "stopped" if running.stopped else "done"
        finally:
            tell(running.standing, state, running.stopped)
    return running.stopped
