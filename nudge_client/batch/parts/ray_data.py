"""The partitions of a job on the workers of a Ray cluster, by Ray Data.

It is a program of its own, so that whatever Ray writes goes into a file, and a terminal's signals go to who knows what
they mean. It is told an `Order` in a line on its standard input, and tells what comes of it in lines on its standard
output. When its standard input is closed, it ends the cluster that it started, and itself.

Ray starts a worker that was killed anew and gives it its partition again (actors of Ray Data have `max_restarts` and
`max_task_retries` of -1; `MOST_TRIES` bounds that here). Sources: docs.ray.io, `Dataset.map`, `ActorPoolStrategy`,
"Fault tolerance".
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from nudge_client.batch.parts.partition import Plan, work_on
from nudge_providers.errors import printable

LOCAL = "local"
SHUTDOWN_SECONDS = 10.0  # for Ray to end its cluster in an orderly way
JOIN_SECONDS = 60.0  # Ray itself tries for minutes, at the address of a cluster that is gone, too
OBJECT_STORE = 100 << 20  # bytes; what goes through it are numbers of partitions
# Of a cluster of our own. Under `uv run`, Ray would pack up the current folder, whatever is in it.
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


@dataclass(frozen=True, slots=True)
class Order:
    """address: of a cluster, or `local` for one of our own. workers: 0 for as many as the cluster has processors."""

    address: str
    workers: int
    plan: Mapping[str, Any]


class Worker:
    """One of Ray's actors, which does one partition after the other. plan: see `Plan`."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        self._plan = Plan(**plan)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """row: a partition's number, as `item`."""
        return asdict(work_on(self._plan, int(row["item"])))


def connect(address: str, workers: int) -> int:
    """Start or join the cluster; how many workers it is to have. Raises ConnectionError, ValueError and others."""
    import ray

    if address == LOCAL:
        workers = workers or os.cpu_count() or 1
        ray.init(LOCAL, num_cpus=workers, include_dashboard=False, object_store_memory=OBJECT_STORE)
    else:
        ray.init(address)
    return workers or int(ray.cluster_resources().get("CPU", 1))


def distribute(order: Order, tell: TextIO) -> None:
    """Have the partitions worked on, and tell each `Result` as it comes."""
    import ray.data

    plan = Plan(**order.plan)
    joining = threading.Timer(JOIN_SECONDS, give_up, [tell])
    if order.address != LOCAL:
        joining.start()
    workers = min(connect(order.address, order.workers), plan.partitions)
    joining.cancel()
    say(tell, {"workers": workers})
    ray.data.DataContext.get_current().enable_progress_bars = False
    results = ray.data.from_items(list(range(plan.partitions)), override_num_blocks=plan.partitions).map(
        Worker,
        fn_constructor_args=[asdict(replace(plan, workers=workers))],
        # A partition that waited behind another one would keep a free worker from it.
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
    )
    for result in results.iter_rows():
        say(tell, {"result": result})


def give_up(tell: TextIO) -> None:
    """End, while Ray still tries."""
    say(tell, {"problem": f"no cluster answered within {JOIN_SECONDS:.0f} s"})
    os._exit(1)


def say(tell: TextIO, item: Mapping[str, Any]) -> None:
    """A line of JSON."""
    tell.write(json.dumps(item) + "\n")
    tell.flush()


def reason(error: BaseException) -> str:
    """What was at the bottom of an error of Ray's, in a line: its own texts are whole tracebacks."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {printable(lines[-1], 600) if lines else 'no reason told'}"


def _end_with_parent() -> None:
    sys.stdin.read()
    _end(1)


def _end(code: int) -> None:
    """End the cluster, in an orderly way if it lets itself be ended, and the process."""
    import ray

    late = threading.Timer(SHUTDOWN_SECONDS, _end_session, [code])
    late.daemon = True
    late.start()
    try:
        ray.shutdown()
    finally:
        _end_session(code)


def _end_session(code: int) -> None:
    """End at once, with all of a session of our own: agents of Ray's may outlive their cluster by minutes."""
    session = os.getsid(0)
    left = {1} if session == os.getpid() else set()
    while left:  # one that was not ended yet may have begun another
        left = set()
        for folder in Path("/proc").glob("[0-9]*"):
            pid = int(folder.name)
            with suppress(OSError):  # it has ended meanwhile
                if pid != session and os.getsid(pid) == session and b") Z " not in (folder / "stat").read_bytes():
                    left.add(pid)
                    os.kill(pid, signal.SIGKILL)
    os._exit(code)


def main() -> None:
    """See above."""
    tell = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = Order(**json.loads(sys.stdin.readline()))
    if order.address == LOCAL:
        os.environ.update(ENVIRONMENT)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = 1
    try:
        distribute(order, tell)
        say(tell, {"over": True})
        code = 0
    except Exception as error:
        traceback.print_exc()  # into the log
        with suppress(OSError):  # nobody may be there to be told
            say(tell, {"problem": reason(error)})
    _end(code)


if __name__ == "__main__":
    # Workers import the class by its module's name, which is not `__main__`.
    from nudge_client.batch.parts import ray_data

    ray_data.main()
