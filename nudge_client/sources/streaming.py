"""A model that is listened to while it writes, and hung up on when it has said enough."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from itertools import count

from nudge_client.decoding.events import Ask, AskChunk, Author
from nudge_client.sources.chunked import CHARACTER_TOKENS, request_for
from nudge_client.sources.ledger import Entry, Ledger, Sampling
from nudge_client.sources.memory import Memory, Run
from nudge_client.sources.pace import Pace
from nudge_providers.errors import CapabilityError
from nudge_providers.types import CompletionRequest, End, Provider, StreamEnd, Token, Usage

_sessions = count()


class Live:
    """A stream that is being read: its run grows until it ends, fails or is hung up."""

    def __init__(self, run: Run, ordinal: int, entry: Entry) -> None:
        self.run = run
        self.ordinal = ordinal
        self.entry = entry
        self.open = True
        self.settled = False
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None


class StreamSource:
    """One model for one answer, asked by streams that grow what is known of it.

    prompt: that model's own prompt, to which the answer is joined. pace: of this model, shared by a client's answers.
    An endpoint that cannot stream log-probabilities is asked in chunks instead. A scout and a decoder may ask at once.
    Raises the provider's errors.
    """

    def __init__(self, provider: Provider, prompt: str, *, author: Author, sampling: Sampling, pace: Pace) -> None:
        self.ledger = Ledger()
        self.memory = Memory()
        self.pace = pace
        self.streams = True
        self._session = next(_sessions)
        self._provider = provider
        self._prompt = prompt
        self._author = author
        self._sampling = sampling
        self._lives: list[Live] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._asked = 0  # length of the answer at the latest question
        self.news = asyncio.Event()  # set by whatever arrives, and then replaced

    async def next_token(self, ask: Ask, *, speculative: bool = False) -> Token | End:
        """The token after the answer: known, on its way, or asked for now. speculative: by a scout."""
        want, cut = ask.want, False
        self._asked = len(ask.after)
        while True:
            news = self.news
            known = self.memory.recall(ask.after)
            if known is not None:
                return known
            if self.expected(ask.after):
                await news.wait()
                continue
            self._raise_failure(ask.after)
            if any(live.entry.lost and live.run.before == ask.after for live in self._lives):
                if cut:  # twice the limit fell inside a character: there is no whole one
                    return End()
                want, cut = max(CHARACTER_TOKENS, ask.want), True
            if self._author == "base":
                self.hang_up(unless=ask.after)
            self.open(ask.after, want, speculative=speculative)

    def expected(self, after: str) -> bool:
        """Whether something under way will soon tell the token after `after`."""
        for live in self._lives:
            if live.open and live.run.agrees(after):
                missing = live.run.missing(after)
                if not missing or self.pace.worth_waiting(missing):
                    return True
        return False

    def open(self, after: str, want: int, *, speculative: bool = False) -> None:
        """Ask for what follows `after`."""
        self._settle()
        limit = self.pace.bound(want) if want > CHARACTER_TOKENS else want
        # The base model's streams follow one another; drafts may be read side by side.
        session = self._session if self._author == "base" else None
        request = request_for(self._prompt, AskChunk(self._author, after, limit), self._sampling, session)
        ordinal, entry = self.ledger.begin("stream", len(request.prompt), speculative=speculative, sent=False)
        live = Live(Run(after, growing=True), ordinal, entry)
        self.memory.add(live.run)
        read = self._read if self.streams else self._fetch
        live.task = asyncio.create_task(read(live, request))
        self._lives = [other for other in self._lives if other.open] + [live]

    def hang_up(self, *, unless: str | None = None) -> None:
        """Stop listening: to everything, or to what does not lead to `unless`."""
        for live in self._lives:
            if live.open and (unless is None or not live.run.agrees(unless)):
                self._close(live)
        self._settle()

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    async def aclose(self) -> None:
        """Hang up, and see every request to its end."""
        self.hang_up()
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _read(self, live: Live, request: CompletionRequest) -> None:
        live.entry.sent = True
        try:
            async with aclosing(self._provider.stream(request)) as items:
                async for item in items:
                    self._hear(live, item)
        except CapabilityError as error:
            self.streams = False
            if live.run.tokens:
                live.error = error
            else:
                await self._fetch(live, request)
        except Exception as error:  # raised where somebody asks
            live.error = error
            self.ledger.failed(live.entry, error)
        finally:
            self._ended(live)

    def _hear(self, live: Live, item: Token | Usage | StreamEnd) -> None:
        entry = live.entry
        if isinstance(item, Token):
            if item.text:
                entry.first = entry.first or time.perf_counter()
                entry.listed += 1
                live.run.grow(item._replace(request=live.ordinal))
        elif isinstance(item, Usage):
            entry.usage = item
        else:
            entry.usage = item.usage if item.usage.prompt_tokens else entry.usage
            entry.lost = not live.run.tokens and item.finish == "length"
            live.run.ended = item.finish == "stop"
        self.tell()

    async def _fetch(self, live: Live, request: CompletionRequest) -> None:
        """The same in one reply, from an endpoint that does not stream what is needed."""
        live.entry.sent = True
        size = min(request.max_tokens, self.pace.chunk())
        try:
            completion = await self._provider.complete(replace(request, max_tokens=size))
        except Exception as error:
            live.error = error
            self.ledger.failed(live.entry, error)
        else:
            self.ledger.fill(live.entry, completion)
            live.entry.kind = "complete"
            for token in completion.tokens:
                live.run.grow(token._replace(request=live.ordinal))
            live.run.ended = completion.finish == "stop"
        finally:
            self._ended(live)

    def _ended(self, live: Live) -> None:
        entry, tokens = live.entry, len(live.run.tokens)
        live.open = live.run.growing = False
        entry.ended = entry.ended or time.perf_counter()
        if entry.first and entry.kind == "stream":
            self.pace.saw_first(entry.first - entry.begun)
            self.pace.saw_tokens(entry.ended - entry.first, tokens - 1)
        self.tell()

    def _settle(self) -> None:
        """Learn from what is over how long the runs are that are of use."""
        for live in self._lives:
            if not live.open and not live.settled:
                live.settled = True
                if used := sum(start < self._asked for start in live.run.starts[:-1]):
                    self.pace.saw_run(used)

    def _close(self, live: Live) -> None:
        live.open = live.run.growing = False
        if live.task and not live.task.done():
            live.task.cancel()
            self._closing.add(live.task)
            live.task.add_done_callback(self._closing.discard)

    def _raise_failure(self, after: str) -> None:
        """What went wrong with the stream that was to tell the token after `after`, to everyone who asks for it."""
        for live in self._lives:
            if live.error and live.run.agrees(after) and not live.run.missing(after):
                raise live.error
