"""Plans: what to request when a decoder asks what is not known, and what to request before it asks.

A plan changes requests, seconds and money, never the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from nudge_client.decoding.events import Ask, AskChunk, Author, Hint, Reply
from nudge_client.sources.chunked import ChunkedSource
from nudge_client.sources.ledger import Ledger
from nudge_client.sources.memory import Run
from nudge_client.sources.streaming import StreamSource
from nudge_client.sources.verified import VerifyingSource

PlanName = Literal["auto", "chunked", "streaming", "verified"]
Overlap = Literal["none", "draft", "ahead"]

AHEAD_TOKENS = 24  # of a draft that nobody has asked for yet


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

    async def aclose(self) -> None:
        """Nothing is ever under way between questions."""


class Streaming:
    """Both models are streamed: the base model is hung up at the cut, the nudger's first word is used once it is whole.

    overlap: `none`; `draft` opens the base stream on the draft's first word, while the rest of the draft arrives;
    `ahead` also drafts along while the base model writes, and keeps its stream while the nudger agrees with it.
    """

    name = "streaming"

    def __init__(self, base: StreamSource, nudger: StreamSource, *, overlap: Overlap, why: str = "") -> None:
        self.why = why
        self.overlap = overlap
        self.base, self.nudger = base, nudger
        if overlap == "ahead":
            base.watch = self._follow

    @property
    def ledgers(self) -> Mapping[Author, Ledger]:
        return {"base": self.base.ledger, "nudger": self.nudger.ledger}

    async def reply(self, ask: Ask | AskChunk) -> Reply:
        assert isinstance(ask, Ask), "the paper's preset asks in chunks"
        return await (self.base if ask.author == "base" else self.nudger).next_token(ask)

    def hint(self, hint: Hint) -> None:
        if hint.author == "nudger":  # the base model was cut
            if self.overlap != "ahead":
                self.base.hang_up()
        elif self.overlap != "none":
            self.base.foresee(hint.after, hint.want)

    async def aclose(self) -> None:
        await self.base.aclose()
        await self.nudger.aclose()

    def _follow(self, run: Run) -> None:
        """Keep a draft at hand that agrees with what the base model is writing."""
        text = run.before + run.text
        if self.nudger.needed or self.nudger.memory.reaches(text) or self.nudger.expected(text):
            return
        self.nudger.hang_up()
        self.nudger.open(text, AHEAD_TOKENS, speculative=True)


class Verified(Streaming):
    """As `streaming`, but a draft goes to the base model whole, to be scored: agreeing text need not be written."""

    name = "verified"
    base: VerifyingSource

    def hint(self, hint: Hint) -> None:
        if hint.author == "base" and hint.likely and self.base.scores:
            self.base.verify(hint.after, hint.likely)
        if hint.author == "nudger" or self.overlap == "ahead" or not self.base.scores:
            super().hint(hint)
