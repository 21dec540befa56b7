"""A job on the workers of a Ray cluster, as the command line sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from nudge_client.batch.files import write_document
from nudge_client.batch.parts.folder import PartsJob
from nudge_client.batch.parts.partition import Plan
from nudge_client.batch.parts.ray_data import LOCAL, Order
from nudge_client.batch.parts.ray_program import distributed, need_ray
from nudge_client.batch.parts.standing import rows_of, snapshots, summed
from nudge_client.batch.setup import Input, setup_of
from nudge_client.cli import batch_run
from nudge_client.cli.batch_run import DONE, ENDPOINT, INTERRUPTED, PARTIAL, TERMINATED, USAGE, Wishes
from nudge_client.cli.batch_view import View, summary
from nudge_client.client import NudgeClient
from nudge_client.endpoints import LOCAL as EMBEDDED
from nudge_client.settings import Settings
from nudge_client.spending import Purse
from nudge_providers.endpoint import parse_endpoint
from nudge_providers.errors import EndpointError, UsageError

A_WORKER = 4  # partitions: little is lost while the last answers of one are waited for
FEWEST, UNKNOWN = 8, 64  # partitions, at least, and where it is not known how many workers there will be
TELL_SECONDS = 1.0
CODES = {"budget": PARTIAL, "usage": USAGE, "endpoint": ENDPOINT}


def run_on_ray(wishes: Wishes, settings: Settings) -> int:
    """Do it; the exit status. Raises UsageError and OSError."""
    batch_run.check(wishes, settings)
    need_ray()
    _check(wishes, settings)
    address = wishes.ray_address or LOCAL
    workers = wishes.workers or (os.cpu_count() or 1 if address == LOCAL else 0)
    job = PartsJob(wishes.output, max(FEWEST, A_WORKER * workers) if workers else UNKNOWN)
    try:
        found = batch_run.begun(job, wishes, settings)
        if wishes.estimate:
            return batch_run.show_estimate(job, found, wishes, settings)
        if (code := batch_run.finished(job, found, wishes)) is not None:
            return code
        order = Order(address, workers, asdict(plan_of(job, found, wishes, settings)))
        return asyncio.run(RaySession(job, found, wishes, order).run())
    finally:
        job.close()


def _check(wishes: Wishes, settings: Settings) -> None:
    """Find what a worker would find missing, before there are any. Raises UsageError."""
    if wishes.probe:
        raise UsageError("--probe answers rows in this process: leave it out, or --engine ray")
    if any(parse_endpoint(endpoint).provider == EMBEDDED for endpoint in (settings.base, settings.nudger)):
        raise UsageError(
            "--engine ray: the embedded pair is of one machine; name endpoints that every worker reaches, with --base "
            "and --nudger"
        )
    asyncio.run(_open(NudgeClient(settings=settings, purse=Purse(wishes.max_cost, wishes.max_tokens_total))))


async def _open(client: NudgeClient) -> None:
    async with client:
        pass


def plan_of(job: PartsJob, found: Input, wishes: Wishes, settings: Settings) -> Plan:
    """What the workers are told."""
    return Plan(
        run=f"{time.time_ns()}-{os.getpid()}",
        out=str(job.out.resolve()),
        partitions=job.partitions,
        workers=wishes.workers or 0,
        source=str(found.path.resolve()),
        form=found.form,
        template=found.template,
        setup=setup_of(job, found, settings, wishes.samples),
        settings=_without_relative_paths(settings),
        samples=wishes.samples,
        concurrency=wishes.concurrency,
        patience=wishes.patience,
        max_cost=wishes.max_cost,
        max_tokens_total=wishes.max_tokens_total,
    )


def _without_relative_paths(settings: Settings) -> dict[str, Any]:
    """The settings that were given, as JSON values. Workers are elsewhere; `~` is each machine's own."""
    values = settings.model_dump(mode="json", exclude_unset=True)
    if (template := Path(settings.chat_template)).is_file():
        values["chat_template"] = str(template.resolve())
    for account in values.get("providers", {}).values():
        if (name := account.get("key_file")) and not name.startswith("~"):
            account["key_file"] = str(Path(name).resolve())
    return values


class RaySession:
    """One run of a job in parts."""

    def __init__(self, job: PartsJob, found: Input, wishes: Wishes, order: Order) -> None:
        self._job = job
        self._order = order
        total = found.total()
        self._total = None if total is None else total * wishes.samples
        self._max_failures = wishes.max_failures
        self._failed_before = job.done.failed
        self._view = View(quiet=wishes.quiet)
        self._began = time.time()
        self._code = DONE
        self._why = ""  # the job ends before its end, if so
        self._ready = self._ending = self._over = False

    async def run(self) -> int:
        """Have all partitions worked on; the exit status."""
        working = asyncio.create_task(self._work())
        telling = asyncio.create_task(self._tell())
        self._catch_signals(working)
        with self._view:
            await asyncio.wait({working, telling}, return_when=asyncio.FIRST_COMPLETED)
            for task in (telling, working):
                task.cancel()
            await asyncio.gather(working, telling, return_exceptions=True)
        for task in (working, telling):
            if not task.cancelled():
                task.result()
        return self._ended()

    async def _work(self) -> None:
        try:
            async with distributed(self._order, self._job.folder / "ray.log") as items:
                async for item in items:
                    self._ready = True
                    if result := item.get("result"):
                        self._hear(result["kind"], result["problem"])
            self._over = True
        except EndpointError as error:
            self._stop(ENDPOINT, str(error))

    def _hear(self, kind: str, problem: str) -> None:
        """What came of a partition. One that has used its share of a cap leaves the others theirs."""
        if kind == "budget":
            self._code, self._why = self._code or PARTIAL, self._why or problem
        elif kind:
            self._stop(CODES[kind], problem)

    def _stop(self, code: int, why: str) -> None:
        self._code, self._why, self._ending = self._code or code, self._why or why, True
        self._job.stop(why)

    def _catch_signals(self, working: asyncio.Task[None]) -> None:
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            if self._ending:
                working.cancel()
                loop.remove_signal_handler(signal.SIGINT)
                return
            self._stop(INTERRUPTED, "interrupted")
            click.echo("\nanswers under way are being finished; Ctrl-C again ends at once", err=True)

        def terminate() -> None:
            self._stop(TERMINATED, "terminated")
            working.cancel()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        loop.add_signal_handler(signal.SIGTERM, terminate)

    async def _tell(self) -> None:
        """Say where the job stands, until it is cancelled."""
        while True:
            snapshot = await asyncio.to_thread(self._snapshot, *self._state())
            write_document(self._job.folder / "status.json", snapshot, durable=False)
            self._view.show(snapshot)
            most = self._max_failures
            if most is not None and snapshot["rows"]["failed"] - self._failed_before > most and not self._ending:
                self._stop(PARTIAL, f"more than {most} rows failed (--max-failures)")
            await asyncio.sleep(TELL_SECONDS)

    def _state(self) -> tuple[str, str]:
        """Where that is not the state of the partitions."""
        if self._ending:
            return "draining", self._why
        return ("", "") if self._ready else ("starting", "Ray")

    def _snapshot(self, state: str, why: str) -> dict[str, Any]:
        job = self._job
        parts = snapshots(job.out, job.partitions)
        return summed(parts, job.counted, self._order.plan["run"], self._total, self._began, state, why)

    def _ended(self) -> int:
        snapshot = self._snapshot("stopped" if self._why else "done", self._why)
        if not self._over:  # workers that were ended at once did not tell the latest
            self._job.count()
            snapshot["rows"] |= rows_of(self._job.counted, self._total)
        failed = snapshot["rows"]["failed"]
        self._code = self._code or (PARTIAL if failed else DONE)
        write_document(self._job.folder / "status.json", snapshot, durable=False)
        if self._why:
            click.echo(f"nudge: {self._why}", err=True)
        click.echo(summary(snapshot), err=True)
        if self._why:
            click.echo(f"go on with: {batch_run.resuming(sys.argv)}", err=True)
        elif failed:
            click.echo(f"failed rows say why in {self._job.out}; --retry-failed tries them again", err=True)
        return self._code
