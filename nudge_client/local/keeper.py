"""The process behind `nudge local up`: it owns the pair until it is told to end, or is killed."""

from __future__ import annotations

import asyncio
import signal
import sys

from filelock import Timeout

from nudge_client.local.models import MODELS
from nudge_client.local.processes import own_servers
from nudge_client.local.state import forget_state, keeper_lock, write_state
from nudge_providers.errors import NudgeError

READY = "ready"


async def _keep() -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopped.set)
    async with own_servers(list(MODELS)) as servers:
        write_state({server.name: server.url for server in servers})
        print(READY, flush=True)
        # Half a pair is of no use: when one server is gone, the other goes, and commands start their own again.
        ends = [asyncio.create_task(wait) for wait in (stopped.wait(), *(server.ended() for server in servers))]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        forget_state()
        for end in ends:
            end.cancel()


def main() -> int:
    """Keep the pair. Prints `ready`, or what went wrong."""
    try:
        with keeper_lock().acquire(timeout=0):
            forget_state()  # of a keeper that was killed
            asyncio.run(_keep())
    except Timeout:
        print("another process keeps the pair already", flush=True)
        return 1
    except NudgeError as error:
        print(error, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
