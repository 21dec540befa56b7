"""Many answers at once: as many as the endpoints take, each with the patience that its endpoint needs.

Tasks are bounded, rows are taken when there is room, and answers that were begun go first. What fails for one row is
that row's result; what fails for all of them (a wrong key, an endpoint that is down for good) ends the work with an
error.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Protocol

from nudge_client.answer import Answer
from nudge_client.checkpoint import Checkpoint
from nudge_client.feeding import Feed
from nudge_client.health import Health
from nudge_client.prompts import Prompt
from nudge_client.settings import Settings
from nudge_client.stream import AnswerStream
from nudge_providers.errors import (
    AuthenticationError,
    BudgetError,
    CapabilityError,
    NotFoundError,
    NudgeError,
    RateLimitedError,
    UnavailableError,
)
from nudge_providers.limits import Load, turn
from nudge_providers.retry import RETRIED, persisting
from nudge_providers.types import Capabilities, Provider

MOST = 256
PATIENCE = 600.0
STEP = 8
TICK = 0.05  # seconds between looks at whether there is room for more

NOT_EARLY: Mapping[str, Any] = {"overlap": "none"}

FOR_ALL = (AuthenticationError, NotFoundError, CapabilityError)


@dataclass(frozen=True, slots=True)
class Work:
    """One answer to be written. key: the caller's own name for it. begun: where it was broken off earlier."""

    key: Any
    prompt: Prompt
    options: Mapping[str, Any] = field(default_factory=dict)
    begun: Checkpoint | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a work: an answer or an error. partial: what was written and what it took, in either case."""

    work: Work
    answer: Answer | None
    error: NudgeError | None
    partial: Answer | None = None


class Answering(Protocol):
    """What `Many` needs of a client."""

    @property
    def settings(self) -> Settings: ...

    @property
    def providers(self) -> Mapping[Any, Provider]: ...

    def stream(self, prompt: Prompt, *, begun: Checkpoint | None = None, **options: Any) -> AnswerStream: ...


class Many:
    """Writes the answers to `works`.

    most: answers at once, at most; how many really are, the accounts' windows decide. patience: seconds without any
    success after which endpoints count as down for good. watch: called with a work and its stream at every new round.
    may_begin: whether more works may be taken, beside those under way.
    """

    def __init__(
        self,
        client: Answering,
        works: Iterator[Work] | AsyncIterator[Work],
        *,
        most: int = MOST,
        patience: float = PATIENCE,
        watch: Callable[[Work, AnswerStream], None] | None = None,
        may_begin: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = client
        self._works = Feed(works, lambda: self._over.put_nowait(None)) if isinstance(works, AsyncIterator) else works
        self._waiting = False  # for a work that has not come yet
        self._most = most
        self._watch = watch
        self._may_begin = may_begin
        self.health = Health(patience)
        self.active: dict[int, tuple[Work, AnswerStream]] = {}
        self._tasks: set[asyncio.Task[Outcome | None]] = set()
        self._over: asyncio.Queue[asyncio.Task[Outcome | None] | None] = asyncio.Queue()
        self._begun = 0
        self._dry = False
        self._spent: BudgetError | None = None
        self._common: Mapping[str, Any] = {}  # settings of every answer, unless a work has its own

    def drain(self) -> None:
        """Take no more works; those that were begun are finished."""
        self._dry = True

    def loads(self) -> dict[str, Load]:
        """The state of each account in use, by the endpoint that uses it first."""
        found: dict[int, tuple[str, Load]] = {}
        for provider in self._client.providers.values():
            load = getattr(provider, "load", None)
            if isinstance(load, Load):
                found.setdefault(load.account, (provider.endpoint, load))
        return dict(found.values())

    async def outcomes(self) -> AsyncGenerator[Outcome, None]:
        """The results, as they come.

        Raises what concerns all works: AuthenticationError, NotFoundError, CapabilityError; UnavailableError or
        RateLimitedError after `patience`; BudgetError when every other answer is finished. Left early, it ends
        everything under way; `active` still holds the unfinished streams then, for their checkpoints.
        """
        try:
            await self._look()
            while True:
                await self._begin_more()
                if not self._tasks and (self._dry or not self._waiting):
                    break
                if (task := await self._next()) and (outcome := task.result()):
                    yield outcome
            if self._spent:
                raise self._spent
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if isinstance(self._works, Feed):
                await self._works.aclose()

    async def _look(self) -> None:
        """More answers at once than a server has slots would drive each other out of its prefix caches.

        And where slots are what there is least of, asking early for one answer takes from the others.
        """
        providers = self._client.providers.values()
        found = await asyncio.gather(*(provider.capabilities() for provider in providers), return_exceptions=True)
        for facts in found:  # an endpoint that cannot be asked is met again by the first answer
            if isinstance(facts, Capabilities) and facts.slots and facts.slots <= self._most:
                self._most = facts.slots
                self._common = NOT_EARLY if not {"overlap", "preset"} & self._client.settings.model_fields_set else {}

    async def _next(self) -> asyncio.Task[Outcome | None] | None:
        """The next finished task, or None when it is time to look for room, or a work has come."""
        try:
            async with asyncio.timeout(None if self._dry else TICK):
                task = await self._over.get()
        except TimeoutError:
            return None
        if task:
            self._tasks.discard(task)
        return task

    async def _begin_more(self) -> None:
        # A few at a time: whether they fit shows when they have asked for their places.
        for _ in range(max(STEP, len(self._tasks) // STEP)):
            if self._dry or not self._has_room():
                return
            work = await self._take()
            if work is None:
                return
            self._begun += 1
            task = asyncio.create_task(self._answer(self._begun, work))
            self._tasks.add(task)
            task.add_done_callback(self._over.put_nowait)

    async def _take(self) -> Work | None:
        """The next work; None at the end, and while it is to be waited for: answers that finish meanwhile are told."""
        if isinstance(self._works, Feed):
            found = await self._works.poll()
        else:
            found = [work] if (work := next(self._works, None)) else None
        self._dry, self._waiting = self._dry or found is None, found == []
        return found[0] if found else None

    def _has_room(self) -> bool:
        """Not while begun answers wait for their turn: each of those would wait longer."""
        if len(self._tasks) >= self._most or (self._tasks and (self.health.error or not self._may_begin())):
            return False
        loads = self.loads().values()
        if not loads:
            return True
        return not any(load.waiting for load in loads) and len(self._tasks) < sum(ceil(load.limit) for load in loads)

    async def _answer(self, number: int, work: Work) -> Outcome | None:
        turn.set(number)
        try:
            await self._persist(number, work)
        except FOR_ALL:
            raise
        except BudgetError as error:  # what the others have reserved, they may use
            self._spent, self._dry = error, True
            return None
        except (UnavailableError, RateLimitedError) as error:
            if self.health.seconds_down > self.health.patience:
                raise
            return self._ended(number, work, error)
        except NudgeError as error:
            return self._ended(number, work, error)
        return self._ended(number, work, None)

    async def _persist(self, number: int, work: Work) -> None:
        """Write the answer, from where it broke off each time that its endpoint fails for a while."""
        begun = work.begun
        async for attempt in persisting(self.health.watched()):
            with attempt:
                common = {} if "preset" in work.options else self._common  # a preset has its own
                stream = self._client.stream(work.prompt, begun=begun, **{**common, **work.options})
                self.active[number] = (work, stream)
                try:
                    await self._write(work, stream)
                except RETRIED as error:
                    self.health.failed(error)
                    begun = stream.checkpoint()
                    raise

    async def _write(self, work: Work, stream: AnswerStream) -> None:
        rounds = 0
        async with aclosing(stream):
            async for _ in stream:
                if stream.fresh:
                    self.health.fine()
                if self._watch and stream.rounds > rounds:
                    rounds = stream.rounds
                    self._watch(work, stream)
        if stream.fresh:  # an empty answer has no pieces, and came all the same
            self.health.fine()

    def _ended(self, number: int, work: Work, error: NudgeError | None) -> Outcome:
        _, stream = self.active.pop(number, (work, None))
        partial = stream.partial() if stream else None
        return Outcome(work, None if error else partial, error, partial)
