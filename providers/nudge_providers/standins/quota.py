"""What an account may do at a server: so many requests a minute, changing by a timetable. A fault for a stand-in."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from nudge_providers.standins.server import EXTRA_HEADERS


@dataclass(frozen=True, slots=True)
class Phase:
    """For `seconds`, `per_minute` requests a minute are allowed; none at 0."""

    seconds: float
    per_minute: float


class Quota:
    """Refuses with a 429 what goes beyond the phases, which begin with the first request; the last one stays.

    headers: whether replies tell the limit. retry_after: whether refusals tell how long to wait. over: seconds over
    which the server counts: with 1, a second gets its share of the minute, with 60, all of it may come at once.
    speed: a clock that runs so many times as fast, with what the replies tell to match: a minute's policy in seconds.
    allowed, refused: the moments of requests, in seconds of that clock since the first.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        *,
        headers: bool = True,
        retry_after: bool = False,
        over: float = 1.0,
        speed: float = 1.0,
    ) -> None:
        self.phases = phases
        self.allowed: list[float] = []
        self.refused: list[float] = []
        self._headers, self._retry_after = headers, retry_after
        self._over, self._speed = over, speed
        self._began: float | None = None

    async def __call__(self, request: web.Request, _body: dict[str, Any]) -> web.Response | None:
        """The fault: a refusal, or None."""
        now = asyncio.get_running_loop().time() * self._speed
        self._began = now if self._began is None else self._began
        now -= self._began
        phase, ends = self._phase(now)
        headers = {}
        if self._headers and phase.per_minute:
            headers["x-ratelimit-limit-requests"] = str(round(phase.per_minute * self._speed))
        wait = self._wait(phase, ends, now)
        if wait <= 0:
            self.allowed.append(now)
            request[EXTRA_HEADERS] = headers
            return None
        self.refused.append(now)
        if self._retry_after:
            headers["retry-after-ms"] = str(math.ceil(wait / self._speed * 1000))
        return web.json_response({"error": {"message": "too many requests"}}, status=429, headers=headers)

    def _phase(self, now: float) -> tuple[Phase, float]:
        """The phase at a moment, and when it ends."""
        ends = 0.0
        for phase in self.phases:
            ends += phase.seconds
            if now < ends:
                return phase, ends
        return self.phases[-1], math.inf

    def _wait(self, phase: Phase, ends: float, now: float) -> float:
        """Seconds until a request would be allowed."""
        if not phase.per_minute:
            return ends - now
        count = max(1, int(phase.per_minute / 60 * self._over))
        if len(self.allowed) < count:
            return 0.0
        return self.allowed[-count] + count * 60 / phase.per_minute - now
