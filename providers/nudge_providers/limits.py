"""What an account allows: requests and tokens a minute, by the user's settings or by the headers of replies.

They are smoothed: no second gets more than a tenth above its share of the minute, because servers that allow 600 a
minute refuse 600 in the first second. No clock: moments come as arguments, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from nudge_providers.window import MAXIMUM, START

BURST = 0.1  # share of a second's allowance that may go out at once

# Whose requests go first: the lowest number's. Tasks inherit it from whoever started them.
turn: ContextVar[int] = ContextVar("turn", default=0)

# Header, what it limits, and the seconds it counts over: OpenAI's and its followers' by the minute, Together's by the
# second (their API references).
HEADERS = (
    ("x-ratelimit-limit-requests", "requests", 60.0),
    ("x-ratelimit-limit-tokens", "tokens", 60.0),
    ("x-ratelimit-limit", "requests", 1.0),
    ("x-tokenlimit-limit", "tokens", 1.0),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The user's own. Most requests and tokens a minute; most requests at once, and how many to begin with."""

    requests_per_minute: float = math.inf
    tokens_per_minute: float = math.inf
    max_concurrency: int = MAXIMUM
    start_concurrency: int = START


@dataclass(frozen=True, slots=True)
class Load:
    """An account at one moment.

    account: its number in this process; endpoints may share one. limit: requests that may be under way at once. why: it
    is that, in a few words. rate_limited, retries: 429s and repeated requests so far. requests_per_minute: what holds
    now, infinite where nobody has said.
    """

    account: int
    limit: float
    in_flight: int
    waiting: int
    why: str
    rate_limited: int
    retries: int
    requests_per_minute: float


def told(headers: Mapping[str, str]) -> dict[str, float]:
    """What a reply's headers say is allowed a minute, by kind: requests, tokens."""
    found: dict[str, float] = {}
    for name, kind, seconds in HEADERS:
        if (value := headers.get(name)) is not None and value.isdecimal() and int(value) > 0:
            found[kind] = int(value) * 60 / seconds
    return found


class Rate:
    """One allowance, as a leaky bucket. Infinite until somebody says otherwise.

    Not aiolimiter's: that cannot change its rate while somebody waits, and has a queue of its own without priorities.
    """

    def __init__(self) -> None:
        self.per_minute = math.inf
        self._level = 0.0
        self._at = 0.0

    def allow(self, per_minute: float, now: float) -> None:
        """Set the allowance, for everyone who waits too."""
        self._leak(now)
        self.per_minute = per_minute

    def ready_at(self, amount: float, now: float) -> float:
        """The moment at which `amount` may go. More than fits goes when the bucket is empty, and is paid off after."""
        if self.per_minute == math.inf:
            return now
        self._leak(now)
        a_second = self.per_minute / 60
        size = max(1.0, a_second * BURST)
        over = self._level + min(amount, size) - size
        return now + over / a_second if over > 1e-6 else now

    def take(self, amount: float, now: float) -> None:
        """`amount` goes now."""
        if self.per_minute < math.inf:
            self._leak(now)
            self._level += amount

    def give_back(self, amount: float) -> None:
        """`amount` was taken, and did not count."""
        self._level = max(0.0, self._level - amount)

    def _leak(self, now: float) -> None:
        if self.per_minute == math.inf:
            self._level = 0.0
        else:
            self._level = max(0.0, self._level - (now - self._at) * self.per_minute / 60)
        self._at = now
