"""The one place that waits. Providers classify a failure; this decides whether and when to try again.

Retried are `RateLimitedError` and `UnavailableError` only, with full jitter, a capped Retry-After, and a total deadline
that covers every attempt and every wait together.
"""

from __future__ import annotations

import asyncio
import math
import time
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


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, Disconnected) and state.attempt_number == 1:
        return 0.0
    asked = getattr(error, "retry_after", None)
    # A server's own wish is kept, plus jitter, so that waiting clients do not come back in step.
    return min(asked, MAX_RETRY_AFTER) + _backoff(state) / 4 if asked is not None else _backoff(state)


def _stop_at(deadline: float) -> Callable[[RetryCallState], bool]:
    def stop(state: RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        patience = min(deadline, getattr(error, "worth_waiting", math.inf))
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep > patience

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


def retrying(deadline: float) -> AsyncRetrying:
    """Tries again what may pass, until `deadline` seconds after the first try; then the last error is raised."""
    return AsyncRetrying(
        retry=retry_if_exception_type(RETRIED),
        wait=_wait,
        stop=_stop_at(deadline),
        before_sleep=_tell,
        reraise=True,
    )


async def call_with_retries(attempt: Callable[[], Awaitable[T]], *, deadline: float) -> T:
    """Await `attempt()` until it gives a result or a permanent error, for at most `deadline` seconds in all.

    Raises what the last attempt raised; an attempt still running at the deadline raises UnavailableError.
    """

    began = time.monotonic()
    try:
        async with asyncio.timeout(deadline):
            try:
                return await attempt()  # nearly always enough, and tenacity's own work would double a call's cost
            except RETRIED as error:
                failed = [error]

            async def again() -> T:
                if failed:
                    raise failed.pop()
                return await attempt()

            return await retrying(deadline - (time.monotonic() - began))(again)
    except TimeoutError:
        raise UnavailableError(f"no answer within {deadline:g} s") from None


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
