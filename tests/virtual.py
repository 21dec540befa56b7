"""An event loop in which nobody really waits: when nothing is left to do, the time jumps to the next timer.

Servers and clients of one such loop talk over real sockets, and what takes minutes of its time is over in a second.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
ON_ITS_WAY = 0.001  # real seconds in which what was written to a socket of this machine has arrived


class Clock(asyncio.SelectorEventLoop):
    """Its time begins at 0 and moves by jumps only."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            self._forget_cancelled()
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            events = self._selector.select(ON_ITS_WAY)  # type: ignore[attr-defined]
            self._process_events(events)  # type: ignore[attr-defined]
            if not events:
                self.now = max(self.now, self._scheduled[0]._when) + 1e-6  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]

    def _forget_cancelled(self) -> None:
        """Their moments are no reason to jump."""
        scheduled = self._scheduled  # type: ignore[attr-defined]
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heapq.heappop(scheduled)._scheduled = False


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it gives, in a loop of its own."""
    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(coroutine)
