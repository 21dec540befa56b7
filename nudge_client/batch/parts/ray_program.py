"""The program that distributes partitions (see `ray_data`), as the process that runs it sees it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nudge_client.batch.parts.ray_data import Order
from nudge_providers.errors import EndpointError, UsageError

END_SECONDS = 15.0  # for Ray to end when asked to


def need_ray() -> None:
    """Raises UsageError where Ray Data is not installed."""
    if any(find_spec(name) is None for name in ("ray", "pandas", "pyarrow")):
        raise UsageError("--engine ray needs a library more: pip install 'nudge-client[ray]'")


@asynccontextmanager
async def distributed(order: Order, log: Path) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """What the program tells, item by item; on leaving, it and a cluster of its own are ended.

    log: where all that Ray writes goes. The items raise EndpointError when Ray fails.
    """
    with log.open("wb") as file:
        # A group of its own: an interrupt from the terminal is for this process, which tells the workers.
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nudge_client.batch.parts.ray_data"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield _told(process, order, log)
    finally:
        await _end(process)


async def _told(process: Process, order: Order, log: Path) -> AsyncIterator[dict[str, Any]]:
    assert process.stdin
    assert process.stdout
    with suppress(ConnectionError):  # it has ended, and its output says so, too
        process.stdin.write(json.dumps(asdict(order)).encode() + b"\n")
        await process.stdin.drain()
    while line := await process.stdout.readline():
        item = json.loads(line)
        if "over" in item:
            return
        if "problem" in item:
            raise EndpointError(item["problem"], endpoint="Ray", advice=f"More is in {log}")
        yield item
    raise EndpointError("it ended without a word", endpoint="Ray", advice=f"More may be in {log}")


async def _end(process: Process) -> None:
    assert process.stdin
    process.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    with suppress(ProcessLookupError):  # whatever is left of its group
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
