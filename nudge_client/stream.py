"""The driver: runs a decoder against its sources and tells what it writes."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nudge_client.answer import Answer, segments_of, stats_of, traced, written_by
from nudge_client.checkpoint import Checkpoint, Mark, part_since
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
from nudge_client.sources import Ledger, Plan, Told
from nudge_providers.errors import ContextExceededError, UsageError
from nudge_providers.types import Completion, End, Token


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

    def __init__(self, prepare: Callable[[], Awaitable[Writing]], begun: Checkpoint | None = None) -> None:
        self._prepare = prepare
        self._begun = begun or Checkpoint()
        self._replies = list(self._begun.replies)
        self._past = deque(self._begun.replies)
        self._told: dict[Author, Told] = {"base": Told(), "nudger": Told()}
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
    def rounds(self) -> int:
        """Rounds begun so far."""
        return self._rounds

    @property
    def fresh(self) -> bool:
        """Whether anything has come that no checkpoint told."""
        return len(self._replies) > len(self._begun.replies)

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
            for author, ledger in self._ledgers().items()
            for number, entry in enumerate(ledger.entries, start=1)
            if entry.sent
        ]
        return sorted(found, key=lambda request: float(request["start"]))

    def partial(self) -> Answer:
        """The answer as far as it was written; `finish_reason` is `length` when it was broken off."""
        stats = stats_of(self._parts, self._ledgers(), rounds=self._rounds, seconds=self._elapsed(), first=self._first)
        return Answer(
            text="".join(part.text for part in self._parts),
            finish_reason=self._finish.reason if self._finish else "length",
            plan=self._writing.plan.name if self._writing else "",
            plan_reason=self._writing.plan.why if self._writing else "",
            segments=segments_of(self._parts),
            stats=stats,
            tokens=traced(self._parts),
        )

    def part_since(self, mark: Mark) -> tuple[dict[str, Any], Mark]:
        """What a checkpoint would have beyond `mark`, as JSON values, and the mark that comes next."""
        if self._writing is None:  # it is still as it was broken off
            return part_since(mark, self._begun.replies, self._begun.entries, self._begun.seconds)
        entries = {author: ledger.entries for author, ledger in self._ledgers().items()}
        return part_since(mark, self._replies, entries, self._elapsed())

    def checkpoint(self) -> Checkpoint:
        """Where the answer stands: hand it to `NudgeClient.stream`, in whatever process, to go on from here."""
        return self._begun if self._writing is None else Checkpoint.of([self.part_since(Mark())[0]])

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
        writing.plan.restore(self._begun.entries, self._told)
        reply: Reply = None
        try:
            while self._finish is None:
                event = writing.decoder.send(reply)
                reply = None
                if isinstance(event, Ask | AskChunk):
                    try:
                        reply = await self._reply(event, writing.plan)
                        continue
                    except ContextExceededError:
                        if not self._parts:
                            raise
                        event = writing.decoder.throw(OutOfRoom())
                if isinstance(event, Hint):
                    self._hint(event, writing.plan)
                    continue
                self._record(event)
                for piece in writing.holdback.feed(event):
                    if self._first is None and piece.text:
                        self._first = time.perf_counter() - self._started
                    yield piece
        finally:
            self._seconds = time.perf_counter() - self._started
            writing.decoder.close()
            if self._finish and writing.finished and not self._begun.replies:
                writing.finished(writing.plan.name, self._seconds, sum(part.adds for part in self._parts))
            await writing.plan.aclose()

    async def _reply(self, event: Ask | AskChunk, plan: Plan) -> Reply:
        """The plan's reply, or what another process was told at the same place."""
        if not self._past:
            reply = await plan.reply(event)
            self._replies.append(reply)
            return reply
        reply = self._past.popleft()
        if isinstance(reply, Completion) != isinstance(event, AskChunk):
            raise UsageError("the checkpoint is of an answer with other settings")
        if isinstance(reply, Token | End):
            self._told[event.author].note(event.after, reply)
        return reply

    def _hint(self, hint: Hint, plan: Plan) -> None:
        if not self._past:
            plan.hint(hint)

    def _ledgers(self) -> Mapping[Author, Ledger]:
        return self._writing.plan.ledgers if self._writing else {"base": Ledger(), "nudger": Ledger()}

    def _elapsed(self) -> float:
        """Seconds in this process and in those before."""
        return self._begun.seconds + (self._seconds or time.perf_counter() - self._started)

    def _record(self, event: Event) -> None:
        if isinstance(event, Append):
            self._parts.append(event)
        elif isinstance(event, Retract):
            take_back(self._parts, event.characters)
        elif isinstance(event, Round):
            self._rounds = event.number
        elif isinstance(event, Finish):
            self._finish = event
