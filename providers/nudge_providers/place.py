"""One call's place among the requests of its account."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from types import TracebackType
from typing import Protocol

from nudge_providers.errors import RateLimitedError, UnavailableError
from nudge_providers.limits import turn
from nudge_providers.retry import Deadline


class Keeper(Protocol):
    """What a place needs of its account; see `Account`."""

    retries: int

    def enter(self, place: Place) -> bool: ...

    async def wait(self, place: Place) -> None: ...

    def leave(self, place: Place) -> None: ...

    def answered(self, place: Place, kind: Hashable) -> None: ...

    def refused(
        self, place: Place, error: RateLimitedError | UnavailableError, status: int, headers: Mapping[str, str]
    ) -> None: ...


class Place:
    """One call's place among the requests of its account: `async with` it holds one for each try.

    A try that follows another waits where the first one stood, not behind everyone who came since. tokens: about what a
    request takes of the account's. deadline: stands still while the call waits here.
    """

    __slots__ = (  # many are waiting in a batch
        "_account",
        "_tries",
        "began",
        "deadline",
        "epoch",
        "per_minute",
        "settled",
        "ticket",
        "tokens",
        "turn",
        "width",
    )

    def __init__(self, account: Keeper, deadline: Deadline, ticket: int) -> None:
        self._account, self._tries = account, 0
        self.tokens, self.deadline, self.ticket = 0.0, deadline, ticket
        self.turn = turn.get()
        # Of the latest try: when it was sent, in which window, by which rate, as one of how many, and if it is over.
        self.began, self.epoch, self.per_minute, self.width, self.settled = 0.0, 0, math.inf, 0, False

    async def __aenter__(self) -> Place:
        if self._tries:
            self._account.retries += 1
        self._tries += 1
        if not self._account.enter(self):
            with self.deadline.standing():
                await self._account.wait(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._account.leave(self)

    def answered(self, kind: Hashable) -> None:
        """The server answers. kind: what the time until now may be compared with, None where nothing may."""
        self._account.answered(self, kind)

    def refused(self, error: RateLimitedError | UnavailableError, status: int, headers: Mapping[str, str]) -> None:
        """The server has refused this try, and says perhaps for how long and what it allows."""
        self._account.refused(self, error, status, headers)
