"""A job from its beginning to its end, as the command line sees it."""

from __future__ import annotations

import asyncio
import itertools
import shlex
import signal
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from nudge_client.answer import Answer
from nudge_client.batch.claim import Claim
from nudge_client.batch.estimate import estimate
from nudge_client.batch.files import write_document
from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.job import Job
from nudge_client.batch.journal import Place
from nudge_client.batch.running import Limits, Running
from nudge_client.batch.setup import Input, growth, input_of, keep, setup_of
from nudge_client.batch.standing import Standing, purse_of
from nudge_client.cli.batch_estimate import show
from nudge_client.cli.batch_view import View, summary
from nudge_client.client import NudgeClient
from nudge_client.settings import Settings
from nudge_providers.errors import BudgetError, EndpointError, UsageError

DONE, USAGE, ENDPOINT, PARTIAL, INTERRUPTED, TERMINATED = 0, 2, 3, 4, 130, 143


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command was asked for, beside the settings. Names are those of its flags."""

    source: str
    output: Path
    input_format: str | None = None
    template: str | None = None
    samples: int = 1
    concurrency: int = 256
    patience: float = 600
    max_failures: int | None = None
    max_cost: float | None = None
    max_tokens_total: int | None = None
    estimate: bool = False
    as_json: bool = False
    probe: int | None = None
    retry_failed: bool = False
    restart: bool = False
    allow_changed: bool = False
    quiet: bool = False
    engine: str = "local"
    workers: int | None = None
    ray_address: str | None = None


def check(wishes: Wishes, settings: Settings) -> None:
    """Raises UsageError for wishes that contradict the settings."""
    if wishes.samples > 1 and settings.temperature == 0:
        raise UsageError("--samples: without a --temperature above 0 all samples of a row are the same")
    if wishes.estimate and (wishes.restart or wishes.allow_changed or wishes.retry_failed):
        raise UsageError("--estimate changes nothing: leave out --restart, --allow-changed and --retry-failed")


def run_job(wishes: Wishes, settings: Settings) -> int:
    """Do it in this process; the exit status. Raises UsageError and OSError."""
    check(wishes, settings)
    if wishes.workers or wishes.ray_address:
        raise UsageError("--workers and --ray-address are for --engine ray")
    job = Job(wishes.output)
    try:
        found = begun(job, wishes, settings)
        if job.output.torn:
            click.echo(f"{job.out}: a last line that was not whole was taken off; its row goes on", err=True)
        if wishes.estimate:
            return _estimated(job, found, wishes, settings)
        if (code := finished(job, found, wishes)) is not None:
            return code
        return asyncio.run(Session(job, found, wishes, settings).run(found.rows()))
    finally:
        job.close()


def begun(job: Claim, wishes: Wishes, settings: Settings) -> Input:
    """The input of the job, which is begun. Raises UsageError and OSError."""
    found = input_of(wishes.source, job, wishes.input_format, wishes.template)
    try:
        job.begin(
            setup_of(job, found, settings, wishes.samples),
            restart=wishes.restart,
            allow_changed=wishes.allow_changed,
            retry_failed=wishes.retry_failed,
        )
    except UsageError as error:
        if "input." in str(error) and (why := growth(job, found)):
            raise UsageError(f"{error}\n{why}") from None
        raise
    return keep(job, found)


def finished(job: Claim, found: Input, wishes: Wishes) -> int | None:
    """The exit status, if nothing is left to do."""
    if any(True for _ in _left(job, found.rows(), wishes.samples)):
        return None
    click.echo(f"nothing is left to do: {job.done.count} rows are done, {job.done.failed} of them failed", err=True)
    return PARTIAL if job.done.failed else DONE


def _left(job: Claim, rows: Iterable[Row | BadRow], samples: int) -> Iterable[Row | BadRow]:
    """Rows that are not done yet."""
    return (row for row in rows if any(Place(row.number, sample) not in job.done for sample in range(samples)))


def _estimated(job: Job, found: Input, wishes: Wishes, settings: Settings) -> int:
    answers: list[Answer] = []
    if wishes.probe:
        session = Session(job, found, wishes, settings, answers)
        code = asyncio.run(session.run(itertools.islice(_left(job, found.rows(), wishes.samples), wishes.probe)))
        if code not in (DONE, PARTIAL):
            return code
    return show_estimate(job, found, wishes, settings, answers)


def show_estimate(job: Claim, found: Input, wishes: Wishes, settings: Settings, answers: Sequence[Answer] = ()) -> int:
    """Tell what is left of the job will take; the exit status. answers: those of a probe."""
    rows = (row for row in _left(job, found.rows(), wishes.samples) if isinstance(row, Row))
    expected = estimate(rows, settings, samples=wishes.samples, probe=answers, concurrency=wishes.probe)
    show(expected, as_json=wishes.as_json)
    return DONE


class Session:
    """One run of a job. answers: where finished ones are kept, for who needs them whole."""

    def __init__(
        self, job: Job, found: Input, wishes: Wishes, settings: Settings, answers: list[Answer] | None = None
    ) -> None:
        self._job = job
        self._found = found
        self._wishes = wishes
        self._settings = settings
        self._answers = answers
        self._view = View(quiet=wishes.quiet)
        self._code = DONE

    async def run(self, rows: Iterable[Row | BadRow]) -> int:
        """Answer the rows; the exit status."""
        job, wishes = self._job, self._wishes
        purse = purse_of(job.journal.spent, wishes.max_cost, wishes.max_tokens_total)
        total = self._found.total()
        async with NudgeClient(settings=self._settings, purse=purse) as client:
            running = Running(
                client,
                job,
                rows,
                purse,
                samples=wishes.samples,
                total=None if total is None else total * wishes.samples,
                openai=self._found.form == "openai",
                limits=Limits(wishes.concurrency, wishes.patience, wishes.max_failures),
                told=self._tell,
                answers=self._answers,
            )
            with self._view:
                problem = await self._until_over(running)
            complete = not problem and not running.stopped
        self._code = self._code or (PARTIAL if job.done.failed else DONE)
        probed = "" if self._answers is None else "a probe"  # the other rows are left
        why = problem or running.stopped or probed
        snapshot = running.standing.snapshot("stopped" if why else "done", why)
        write_document(job.folder / "status.json", snapshot, durable=False)
        if problem:
            click.echo(f"nudge: {problem}", err=True)
        click.echo(summary(snapshot), err=True)
        if not complete:
            click.echo(f"go on with: {resuming(sys.argv)}", err=True)
        elif job.done.failed:
            click.echo(f"failed rows say why in {job.out}; --retry-failed tries them again", err=True)
        return self._code

    async def _until_over(self, running: Running) -> str:
        """Wait for the end, whatever brings it; what went wrong, if anything."""
        work = asyncio.create_task(running.run())
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            again, self._code = bool(running.stopped or self._code), self._code or INTERRUPTED
            running.drain("interrupted")
            if again:
                work.cancel()
                loop.remove_signal_handler(signal.SIGINT)
                return
            click.echo(
                f"\n{len(running.many.active)} answers under way are being finished; Ctrl-C again ends at once",
                err=True,
            )

        def terminate() -> None:
            self._code = TERMINATED
            running.drain("terminated")
            work.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, terminate)
        try:
            await work
        except asyncio.CancelledError:
            pass
        except EndpointError as error:
            self._code = ENDPOINT
            return str(error)
        except BudgetError as error:
            self._code = PARTIAL
            return str(error)
        if running.stopped and not self._code:
            self._code = PARTIAL
            return running.stopped
        return ""

    def _tell(self, standing: Standing, state: str, why: str) -> None:
        snapshot = standing.snapshot(state, why)
        write_document(self._job.folder / "status.json", snapshot, durable=False)
        self._view.show(snapshot)


def resuming(arguments: list[str]) -> str:
    """The command that goes on with a job: the same, without what is done once only."""
    once = {"--restart", "--retry-failed"}
    return shlex.join(["nudge", *(argument for argument in arguments[1:] if argument not in once)])
