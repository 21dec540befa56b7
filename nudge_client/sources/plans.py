"""Plans: what to request when a decoder asks what is not known, and what to request before it asks.

A plan changes requests, seconds and money, never the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from nudge_client.decoding.events import Ask, AskChunk, Author, Hint, Reply, Steps
from nudge_client.sources.chunked import ChunkedSource
from nudge_client.sources.ledger import Entry, Ledger
from nudge_client.sources.memory import Told
from nudge_client.sources.streaming import StreamSource
from nudge_client.sources.verified import VerifyingSource
from nudge_providers.errors import BudgetError, EndpointError

PlanName = Literal["auto", "chunked", "streaming", "verified"]
Overlap = Literal["none", "ahead", "eager"]


class Plan(Protocol):
    """name: as answers tell it. why: why it was chosen. ledgers: what each model was asked."""

    name: str
    why: str

    @property
    def ledgers(self) -> Mapping[Author, Ledger]: ...

    async def reply(self, ask: Ask | AskChunk) -> Reply:
        """The answer to the decoder's question. Raises the providers' errors."""

    def hint(self, hint: Hint) -> None:
        """Take note of what the decoder may ask soon."""

    def restore(self, entries: Mapping[Author, Sequence[Entry]], told: Mapping[Author, Told]) -> None:
        """Go on with an answer that another process began: its requests, and what their replies told."""

    async def aclose(self) -> None:
        """End every request under way."""


class Chunked:
    """The paper's way: L base tokens a call, L_n nudger tokens a draft. Nothing is asked early."""

    def __init__(self, sources: Mapping[Author, ChunkedSource], *, name: str = "chunked", why: str = "") -> None:
        self.name, self.why = name, why
        self._sources = sources

    @property
    def ledgers(self) -> Mapping[Author, Ledger]:
        return {author: source.ledger for author, source in self._sources.items()}

    async def reply(self, ask: Ask | AskChunk) -> Reply:
        source = self._sources[ask.author]
        return await (source.next_token(ask) if isinstance(ask, Ask) else source.complete(ask))

    def hint(self, hint: Hint) -> None:
        """No use for it."""

    def restore(self, entries: Mapping[Author, Sequence[Entry]], told: Mapping[Author, Told]) -> None:  # noqa: ARG002
        for author, source in self._sources.items():
            source.ledger.entries[:] = entries[author]

    async def aclose(self) -> None:
        """Nothing is ever under way between questions."""


class Streaming:
    """Both models are streamed: the base model is hung up at the cut, the nudger's first word is used once it is whole.

    overlap: `none`; `ahead`: a scout goes before the decoder, which has to wait for the end of each draft; `eager`: and
    the base model is not hung up before the nudger's word is known, which it may well go on with. scout: a hasty
    decoder of the same rules, for all but `none`.
    """

    name = "streaming"

    def __init__(
        self,
        base: StreamSource,
        nudger: StreamSource,
        *,
        overlap: Overlap = "none",
        scout: Steps[None] | None = None,
        why: str = "",
    ) -> None:
        self.why = why
        self.base, self.nudger = base, nudger
        self._overlap = overlap
        self._scout = scout if overlap != "none" else None
        self._scouting: asyncio.Task[None] | None = None
        self._reached = ""  # the scout's latest question

    @property
    def ledgers(self) -> Mapping[Author, Ledger]:
        return {"base": self.base.ledger, "nudger": self.nudger.ledger}

    async def reply(self, ask: Ask | AskChunk) -> Reply:
        assert isinstance(ask, Ask), "the paper's preset asks in chunks"
        if self._scout and self._scouting is None:
            self._scouting = asyncio.create_task(self._go_ahead(self._scout))
        if ask.author == "nudger":
            return await self.nudger.next_token(ask)
        # What the scout has not come to yet, it will ask for: two askers would hang up on each other's streams.
        while self._is_behind(ask.after):
            await self.base.news.wait()
        return await self.base.next_token(ask)

    def hint(self, hint: Hint) -> None:
        if hint.author == "nudger" and not self._scout:
            self.base.hang_up()  # it was cut

    def restore(self, entries: Mapping[Author, Sequence[Entry]], told: Mapping[Author, Told]) -> None:
        sources: dict[Author, StreamSource] = {"base": self.base, "nudger": self.nudger}
        for author, source in sources.items():
            source.ledger.entries[:] = entries[author]
            source.memory.told = told[author]  # the scout begins at the beginning

    async def aclose(self) -> None:
        if self._scouting:
            self._scouting.cancel()
            await asyncio.gather(self._scouting, return_exceptions=True)
        await self.base.aclose()
        await self.nudger.aclose()

    async def _go_ahead(self, scout: Steps[None]) -> None:
        """Run the scout. Where it fails, the decoder will, and tells of it."""
        reply: Reply = None
        try:
            while True:
                event = scout.send(reply)
                reply = None
                if isinstance(event, Ask):
                    self._reached = event.after
                    source = self.base if event.author == "base" else self.nudger
                    reply = await source.next_token(event, speculative=True)
                elif isinstance(event, Hint) and event.author == "nudger" and self._overlap != "eager":
                    self.base.hang_up()  # it was cut
        except (EndpointError, BudgetError, StopIteration):
            pass
        finally:
            self.base.tell()  # the decoder goes on alone

    def _is_behind(self, after: str) -> bool:
        """Whether the scout is still on its way to where the decoder is."""
        running = self._scouting is not None and not self._scouting.done()
        return running and after.startswith(self._reached) and self.base.memory.recall(after) is None


class Verified(Streaming):
    """As `streaming`, but a draft goes to the base model whole, to be scored: agreeing text need not be written."""

    name = "verified"
    base: VerifyingSource

    def hint(self, hint: Hint) -> None:
        if hint.author == "base" and hint.likely and self.base.scores:
            self.base.verify(hint.after, hint.likely)
        super().hint(hint)
