"""The pace at which a server lets requests through that refuses without telling its limit. No clock: moments come as
arguments, in seconds.
"""

from __future__ import annotations

import math
from collections import deque

# Requests by which the rate in use is measured: those of the last 1.5 s, or 10 where those are more, but none older.
SECONDS, ENOUGH, OLDEST = 1.5, 10, 10.0
REFUSED = 0.9  # what a refusal leaves of the rate in use
ADDED = 0.03  # of the level that a refusal left, a second
RISEN = 1.15  # times that level without a refusal: the limit is another, and is looked for in doubles
DOUBLES_IN = 1.5  # seconds
SLOWEST = 6.0  # requests a minute: nobody waits longer than 10 s for what is only concluded


class Pace:
    """Requests a minute that a server seems to allow, where it refuses without telling its limit.

    Additive increase, multiplicative decrease: nine tenths of what got through at a refusal, then a little more every
    second. Infinite before the first refusal, and again when it is twice what is used.
    """

    def __init__(self) -> None:
        self.per_minute = math.inf
        self.holds = False  # somebody waits for it, and for nothing else
        self._sent: deque[float] = deque(maxlen=512)  # and not refused, as far as is known
        self._before = math.inf  # pace when the requests were sent whose refusals come now
        self._level = math.inf
        self._proven = True  # something has succeeded since the last decrease
        self._refused_at = -math.inf
        self._at = 0.0

    def sent(self, now: float) -> None:
        """A request goes out."""
        self._sent.append(now)

    def failed(self, sent: float) -> None:
        """The request that went out at `sent` was not answered, for whatever reason."""
        if sent in self._sent:
            self._sent.remove(sent)

    def succeeded(self) -> None:
        """A request was answered."""
        self._proven = True

    def explains(self, sent: float) -> bool:
        """Whether the refusal of a request that went out at `sent` is this pace's doing, and not an outage's."""
        return self.per_minute < math.inf and (self._proven or sent < self._refused_at)

    def refused(self, sent: float, now: float) -> bool:
        """A request was refused. Whether it went out after the last decrease, so that this is a new one."""
        fresh = sent >= self._refused_at
        if fresh:
            self._before, self._refused_at, self._proven = self.per_minute, now, False
        through = REFUSED * self._used(now)
        if self._before == math.inf:
            self.per_minute = max(through, SLOWEST) if through else math.inf  # an outage tells nothing of a rate
        else:
            slower = min(REFUSED * self._before, max(through, self._before / 2))
            self.per_minute = max(min(self.per_minute, slower), SLOWEST)
        self._level, self._at = self.per_minute, now
        return fresh

    def grow(self, now: float, *, waiting: bool) -> None:
        """Let the time since the last call count, if the pace has held somebody back since. waiting: somebody waits."""
        seconds, self._at = now - self._at, now
        if not self._proven:
            return
        if not self.holds:
            seconds = 0.0
        if self.per_minute < RISEN * self._level:
            self.per_minute += ADDED * self._level * seconds
        else:
            self.per_minute *= 2 ** (seconds / DOUBLES_IN)
        if not waiting and self.per_minute > 2 * self._used(now):
            self.per_minute = self._before = math.inf

    def _used(self, now: float) -> float:
        """Requests a minute that got through lately."""
        lately = sum(now - sent <= SECONDS for sent in self._sent)
        usable = sum(now - sent <= OLDEST for sent in self._sent)
        count = max(lately, min(usable, ENOUGH))
        if not count:
            return 0.0
        last = now if count == 1 else self._sent[-1]
        return 60 * max(count - 1, 1) / max(last - self._sent[-count], 1.0)
