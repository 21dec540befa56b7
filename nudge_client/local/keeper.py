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
    async with own_servers(list(MODELS)) as urls:
        write_state(urls)
        print(READY, flush=True)
        await stopped.wait()
        forget_state()


def main() -> int:
    """Keep the pair. Prints `ready`, or what went wrong."""
    try:
        with keeper_lock().acquire(timeout=0):
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
