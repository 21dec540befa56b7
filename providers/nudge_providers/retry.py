"""The one place that waits. Providers classify a failure; this decides whether and when to try again.

Retried are `RateLimitedError` and `UnavailableError` only, with full jitter, a capped Retry-After, and a total deadline
that covers every attempt and every wait of a call's own. Waiting for its account does not count: that is no slowness of
the server, and with a thousand requests in line it may be long.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from nudge_providers.errors import RateLimitedError, UnavailableError

T = TypeVar("T")

MAX_RETRY_AFTER = 60.0
RETRIED = (RateLimitedError, UnavailableError)
_backoff = wait_random_exponential(multiplier=0.25, max=8.0)

Listener: TypeAlias = Callable[[BaseException], Awaitable[None]]
_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


class Unreachable(UnavailableError):
    """Nothing listens there. Servers come up within seconds or not at all, so it is not waited for long."""

    worth_waiting = 2.0


class Disconnected(UnavailableError):
    """The server closed the connection: often an idle socket it had dropped. The first retry needs no wait."""


class Deadline:
    """When one call, with all its tries, is given up: after `seconds`, without those for which it stands still."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + seconds
        self._timeout: asyncio.Timeout | None = None
        self.seconds = seconds

    def spent(self) -> float:
        """Seconds so far."""
        return self.seconds - (self._until - self._loop.time())

    @contextmanager
    def standing(self) -> Iterator[None]:
        """It stands still for as long as this is open."""
        left = self._until - self._loop.time()
        if self._timeout:
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._until = self._loop.time() + left
            if self._timeout:
                self._timeout.reschedule(self._until)

    def timeout(self) -> asyncio.Timeout:
        """The timeout that ends what runs in it at this deadline."""
        self._timeout = asyncio.timeout_at(self._until)
        return self._timeout


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, RateLimitedError):
        return 0.0  # its account waits, for all of its requests
    if isinstance(error, Disconnected) and state.attempt_number == 1:
        return 0.0
    asked = getattr(error, "retry_after", None)
    # A server's own wish is kept, plus jitter, so that waiting clients do not come back in step.
    return min(asked, MAX_RETRY_AFTER) + _backoff(state) / 4 if asked is not None else _backoff(state)


def _stop_at(deadline: Deadline) -> Callable[[RetryCallState], bool]:
    first: list[float] = []  # when the first try failed

    def stop(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        spent = deadline.spent()
        first.append(spent)
        if isinstance(error, RateLimitedError) and min(error.retry_after or 0.0, MAX_RETRY_AFTER) > deadline.seconds:
            return True  # it does not count, but who gives a call so little does not mean to wait so long
        then, worth_waiting = spent + state.upcoming_sleep, getattr(error, "worth_waiting", math.inf)
        return not worth_waiting or then > min(deadline.seconds, first[0] + worth_waiting)

    return stop


@contextmanager
def telling(listener: Listener) -> Iterator[None]:
    """What is tried again meanwhile is told to `listener`: each failure, before the next try is made.

    A server may bill a try that broke off and the next one, too. What the listener raises ends the call.
    """
    before = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(before)


async def _tell(state: RetryCallState) -> None:
    listener, error = _listener.get(), state.outcome.exception() if state.outcome else None
    if listener and error:
        await listener(error)


def retrying(deadline: Deadline) -> AsyncRetrying:
    """Tries again what may pass, until the deadline; then the last error is raised."""
    return AsyncRetrying(
        retry=retry_if_exception_type(RETRIED),
        wait=_wait,
        stop=_stop_at(deadline),
        before_sleep=_tell,
        reraise=True,
    )


async def call_with_retries(attempt: Callable[[], Awaitable[T]], deadline: Deadline) -> T:
    """Await `attempt()` until it gives a result or a permanent error, until the deadline at most.

    Raises what the last attempt raised; an attempt still running at the deadline raises UnavailableError.
    """
    try:
        async with deadline.timeout():
            try:
                return await attempt()  # nearly always enough, and tenacity's own work would double a call's cost
            except RETRIED as error:
                failed = [error]

            async def again() -> T:
                if failed:
                    raise failed.pop()
                return await attempt()

            return await retrying(deadline)(again)
    except TimeoutError:
        raise UnavailableError(f"no answer within {deadline.seconds:g} s") from None


def persisting(hopeless: Callable[[int], bool]) -> AsyncRetrying:
    """Tries a whole answer again while its endpoint may come back, after longer and longer waits of up to 30 s.

    hopeless: told how many tries have failed, says whether to give up; then the last error is raised.
    """
    return AsyncRetrying(
        retry=retry_if_exception_type(RETRIED),
        wait=wait_random_exponential(multiplier=0.5, max=30.0),
        stop=lambda state: hopeless(state.attempt_number),
        reraise=True,
    )
