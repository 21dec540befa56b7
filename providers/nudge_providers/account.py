"""What an account allows: requests at once, requests and tokens a minute, shared by all of this process that uses it.

An account is a base URL and a key. Its rates come from the settings, from the headers of its replies, or, where a
server refuses without a word, from what gets through. How many requests may be under way at once is found out: see
`window`. Who has to wait waits in one queue: for the server's pause, for the rates, and for a place, and takes all of
them in the moment it goes. So nobody holds a place while waiting for a rate, and the queue's order holds for all.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Hashable, Mapping
from heapq import heappop, heappush
from itertools import count
from weakref import WeakKeyDictionary, WeakValueDictionary

from pydantic import SecretStr

from nudge_providers.errors import RateLimitedError, UnavailableError
from nudge_providers.limits import Limits, Load, Rate, told
from nudge_providers.pace import Pace
from nudge_providers.place import Place
from nudge_providers.retry import Deadline
from nudge_providers.window import Window

MAX_PAUSE = 60.0
PAUSE, MOST_PAUSE = 0.05, 2.0  # seconds after a refusal that counts, doubled by each one until somebody gets through
TRIES_EVERY = 5.0  # seconds for which one that tries may be silent, where nobody gets through, until another one may
OVERLOADED = (429, 503)
GIVE_UP = 5  # deadlines of a call for which one that says how long to wait may let nobody through; any other, for one
JITTER = 0.1  # of a pause, added at most, so that the processes of an account do not come back in step
PACE_LOOKED_AT = 0.5  # seconds after which a learnt pace, which grows, may let the next request go sooner

_numbers = count()


class Account:
    """The limits of one account, and who may go next. It belongs to the event loop that it is made in."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._number = next(_numbers)
        self.requests, self.tokens = Rate(), Rate()
        self.in_flight = self.waiting = self.rate_limited = self.retries = 0
        self._window, self._pace = Window(), Pace()
        self._wished = Limits()
        self._told: dict[str, float] = {}  # a minute, by kind
        self._paused_until = 0.0
        self._refused_since: float | None = None
        self._last: Place | None = None  # that went
        self._tickets, self._entries = count(), count()
        self._queue: list[tuple[int, int, int, asyncio.Future[None], Place]] = []
        self._timer: asyncio.TimerHandle | None = None

    def place(self, deadline: Deadline) -> Place:
        """A place for one call, with all its tries."""
        return Place(self, deadline, next(self._tickets))

    def load(self) -> Load:
        """How things stand."""
        now = self._loop.time()
        if self._paused_until > now:
            why = f"paused for {self._paused_until - now:.0f} s"
        elif self._queue and self.in_flight < self._window.limit:
            why = f"at {self.requests.per_minute:.0f} requests a minute"
            if self.tokens.ready_at(self._queue[0][4].tokens, now) > self.requests.ready_at(1, now):
                why = f"at {self.tokens.per_minute:.0f} tokens a minute"
        else:
            why = self._window.why(now)
        counts = self.in_flight, self.waiting, why, self.rate_limited, self.retries
        return Load(self._number, self._window.limit, *counts, self.requests.per_minute)

    def wish(self, limits: Limits) -> None:
        """The user's own limits: never more than these, whatever the server allows."""
        self._wished = limits
        self._window.resize(limits.start_concurrency, limits.max_concurrency)
        self._allow()

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what a reply's headers tell of the account."""
        allowed = told(headers)
        if allowed and not allowed.items() <= self._told.items():
            self._told |= allowed
            self._allow()

    def pause(self, seconds: float) -> None:
        """Let nobody go for `seconds`: the server has told one request so, and means all of them."""
        wait = min(seconds, MAX_PAUSE) * random.uniform(1.0, 1.0 + JITTER)  # noqa: S311 - no secret hangs on it
        self._paused_until = max(self._paused_until, self._loop.time() + wait)

    # What a place does

    def enter(self, place: Place) -> bool:
        """Let it go now, if nothing speaks against it."""
        now = self._loop.time()
        if self.waiting or self.in_flight >= self._window.limit or self._ready_at(place, now) > now:
            return False
        self._go(place, now)
        return True

    async def wait(self, place: Place) -> None:
        """Wait in the queue until it may go."""
        future = self._loop.create_future()
        heappush(self._queue, (place.turn, place.ticket, next(self._entries), future, place))
        self.waiting += 1
        self._next()
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                self.waiting -= 1
                self._next()
            else:  # it had just been let go
                self.leave(place)
            raise

    def leave(self, place: Place) -> None:
        """A request is over."""
        self.in_flight -= 1
        self._settle(place)
        self._next()

    def answered(self, place: Place, kind: Hashable) -> None:
        """See `Place.answered`."""
        now = self._loop.time()
        self._settle(place, failed=False)
        self._refused_since = None
        self._pace.succeeded()
        self._window.succeeded(place.epoch, self.in_flight, now)
        if kind is not None:
            self._window.took(kind, now - place.began, place.epoch, place.width, now)
        self._next()

    def refused(
        self, place: Place, error: RateLimitedError | UnavailableError, status: int, headers: Mapping[str, str]
    ) -> None:
        """See `Place.refused`. An error that is not worth waiting for any more is told so."""
        now = self._loop.time()
        if isinstance(error, RateLimitedError):
            self.rate_limited += 1
            if self._refused_since is None:
                self._refused_since = now
            elif now - self._refused_since > (GIVE_UP if error.retry_after else 1) * place.deadline.seconds:
                error.worth_waiting = 0.0
            self.pause(error.retry_after or 0.0)
        self._settle(place)
        if status in OVERLOADED and (pause := self._narrow(place, status, headers, now)):
            self.pause(min(PAUSE * 2 ** min(pause, 10), MOST_PAUSE))
        self._allow()

    def _narrow(self, place: Place, status: int, headers: Mapping[str, str], now: float) -> int:
        """Let a refusal count, against the pace or the window. How often in a row it has, 0 where it says nothing new.

        Where the rate is what is being found out, it tells little of how many may be under way at once.
        """
        unexplained = status == 429 and "requests" not in self._told and not told(headers)
        if unexplained and self._pace.explains(place.began):
            fresh, times = self._pace.refused(place.began, now), 1
        else:
            by_rate = unexplained or place.per_minute > self.requests.per_minute
            fresh = self._window.refused(place.epoch, status, now, by_rate=by_rate)
            times = self._window.fruitless
            if unexplained and times <= 1:
                self._pace.refused(place.began, now)
        if fresh:
            self.requests.give_back(1)  # it did not count there; the next one need not wait for it
        return times if fresh else 0

    def _settle(self, place: Place, *, failed: bool = True) -> None:
        """It is known what comes of a request."""
        if not place.settled:
            place.settled = True
            if failed:
                self._pace.failed(place.began)

    def _go(self, place: Place, now: float) -> None:
        self.in_flight += 1
        self.requests.take(1, now)
        self.tokens.take(place.tokens, now)
        self._pace.sent(now)
        place.began, place.epoch, place.settled = now, self._window.epoch, False
        place.per_minute, place.width = self.requests.per_minute, self.in_flight
        self._last = place

    def _next(self) -> None:
        """Let go who may, and see to it that the next one is looked at when that may change."""
        now = self._loop.time()
        while self._queue and self.in_flight < self._window.limit:
            future, place = self._queue[0][3:]
            if not future.done():
                ready_at = self._ready_at(place, now)
                if ready_at > now:
                    self._look_again(ready_at, now)
                    return
                self._go(place, now)
                self.waiting -= 1
                future.set_result(None)
            heappop(self._queue)

    def _ready_at(self, place: Place, now: float) -> float:
        """When the pause and the rates let it go; where nobody gets through, one after the other."""
        if self._paused_until > now:
            return self._paused_until
        if self._window.outage and self._last and not self._last.settled and self._last.began + TRIES_EVERY > now:
            return self._last.began + TRIES_EVERY
        if self._pace.per_minute < math.inf:
            self._pace.grow(now, waiting=bool(self.waiting))
            self._hold()
        by_requests = self.requests.ready_at(1, now)
        self._pace.holds = by_requests > now
        ready_at = max(by_requests, self.tokens.ready_at(place.tokens, now))
        return min(ready_at, now + PACE_LOOKED_AT) if self._pace.per_minute < math.inf else ready_at

    def _look_again(self, moment: float, now: float) -> None:
        if self._timer:
            if now < self._timer.when() <= moment:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(moment, self._look)

    def _look(self) -> None:
        self._timer = None
        self._next()

    def _allow(self) -> None:
        self._hold()
        self._next()  # what has changed holds for those who wait, too

    def _hold(self) -> None:
        now, wished = self._loop.time(), self._wished
        # What the server tells goes before what is only concluded.
        requests = self._told.get("requests", self._pace.per_minute)
        self.requests.allow(min(wished.requests_per_minute, requests), now)
        self.tokens.allow(min(wished.tokens_per_minute, self._told.get("tokens", math.inf)), now)


# Accounts belong to their event loop, and live as long as somebody uses them there.
_accounts: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[tuple[str, SecretStr | None], Account]] = (
    WeakKeyDictionary()
)


def account(base_url: str, api_key: SecretStr | None) -> Account:
    """The account of a base URL and a key, one for the whole event loop that runs here."""
    accounts = _accounts.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found = accounts.get((base_url, api_key))
    if found is None:
        accounts[base_url, api_key] = found = Account()
    return found
