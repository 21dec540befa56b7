"""The driver: runs a decoder against its sources and tells what it writes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from nudge_client.answer import Answer, segments_of, stats_of, traced, written_by
from nudge_client.decoding import (
    Append,
    Ask,
    AskChunk,
    Author,
    Event,
    Finish,
    Hint,
    Holdback,
    Piece,
    Retract,
    Round,
    Steps,
)
from nudge_client.decoding.events import OutOfRoom, Reply, take_back
from nudge_client.sources import Ledger, Plan
from nudge_providers.errors import ContextExceededError, UsageError


@dataclass(frozen=True, slots=True)
class Writing:
    """All that one answer is written with."""

    decoder: Steps[None]
    holdback: Holdback
    plan: Plan
    finished: Callable[[str, float, int], None] | None = None  # plan, seconds, tokens


class AnswerStream:
    """One answer while it is written: iterate over its pieces, then read `answer`. To be iterated once.

    Raises UsageError and the providers' errors while iterating. `partial()` is what was written so far, whatever
    happened.
    """

    def __init__(self, prepare: Callable[[], Awaitable[Writing]]) -> None:
        self._prepare = prepare
        self._writing: Writing | None = None
        self._parts: list[Append] = []
        self._rounds = 0
        self._finish: Finish | None = None
        self._started = time.perf_counter()
        self._first: float | None = None
        self._seconds = 0.0
        self._pieces = self._run()

    def __aiter__(self) -> AsyncIterator[Piece]:
        return self._pieces

    @property
    def answer(self) -> Answer:
        """The finished answer. Raises UsageError while pieces are still to come."""
        if self._finish is None:
            raise UsageError("the answer is not finished; iterate over the stream first")
        return self.partial()

    def requests(self) -> list[dict[str, Any]]:
        """Every request so far, in order: author, kind, start, first and end in seconds from the beginning, tokens as
        listed, how many of them the answer uses, and whether it was speculative.
        """
        kept = Counter((written_by(part), part.token.request) for part in self._parts if part.adds)
        ledgers = self._writing.plan.ledgers if self._writing else {}
        found = [
            {
                "author": author,
                "kind": entry.kind,
                "start": entry.begun - self._started,
                "first": entry.first - self._started if entry.first else None,
                "end": (entry.ended or self._started + self._seconds) - self._started,
                "tokens": entry.listed,
                "used": kept[author, number],
                "speculative": entry.speculative,
            }
            for author, ledger in ledgers.items()
            for number, entry in enumerate(ledger.entries, start=1)
            if entry.sent
        ]
        return sorted(found, key=lambda request: float(request["start"]))

    def partial(self) -> Answer:
        """The answer as far as it was written; `finish_reason` is `length` when it was broken off."""
        ledgers: dict[Author, Ledger] = {"base": Ledger(), "nudger": Ledger()}
        if self._writing:
            ledgers |= self._writing.plan.ledgers
        seconds = self._seconds or time.perf_counter() - self._started
        return Answer(
            text="".join(part.text for part in self._parts),
            finish_reason=self._finish.reason if self._finish else "length",
            plan=self._writing.plan.name if self._writing else "",
            plan_reason=self._writing.plan.why if self._writing else "",
            segments=segments_of(self._parts),
            stats=stats_of(self._parts, ledgers, rounds=self._rounds, seconds=seconds, first=self._first),
            tokens=traced(self._parts),
        )

    async def aclose(self) -> None:
        """Stop writing. What was written stays in `partial()`.

        For the task that iterates; another one cancels that task. Raises UsageError when it is iterating elsewhere.
        """
        try:
            await self._pieces.aclose()
        except RuntimeError:
            raise UsageError("the stream is being iterated over in another task; cancel that task instead") from None

    async def _run(self) -> AsyncGenerator[Piece, None]:
        self._started = time.perf_counter()
        self._writing = writing = await self._prepare()
        reply: Reply = None
        try:
            while self._finish is None:
                event = writing.decoder.send(reply)
                reply = None
                if isinstance(event, Ask | AskChunk):
                    try:
                        reply = await writing.plan.reply(event)
                        continue
                    except ContextExceededError:
                        if not self._parts:
                            raise
                        event = writing.decoder.throw(OutOfRoom())
                if isinstance(event, Hint):
                    writing.plan.hint(event)
                    continue
                self._record(event)
                for piece in writing.holdback.feed(event):
                    if self._first is None and piece.text:
                        self._first = time.perf_counter() - self._started
                    yield piece
        finally:
            self._seconds = time.perf_counter() - self._started
            writing.decoder.close()
            if self._finish and writing.finished:
                writing.finished(writing.plan.name, self._seconds, sum(part.adds for part in self._parts))
            await writing.plan.aclose()

    def _record(self, event: Event) -> None:
        if isinstance(event, Append):
            self._parts.append(event)
        elif isinstance(event, Retract):
            take_back(self._parts, event.characters)
        elif isinstance(event, Round):
            self._rounds = event.number
        elif isinstance(event, Finish):
            self._finish = event
