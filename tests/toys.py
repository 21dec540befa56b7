"""Models as plain functions from text to next token, and the shortest ways to run a decoder on a pair of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nudge_client.answer import Answer
from nudge_client.decoding import Holdback, Piece, Rules, Steps, decode
from nudge_client.sources import (
    Chunked,
    ChunkedSource,
    Pace,
    Plan,
    Sampling,
    Streaming,
    StreamSource,
    Verified,
    VerifyingSource,
)
from nudge_client.stream import AnswerStream, Writing
from nudge_providers import CapabilityError
from nudge_providers.standins import Model, hashed
from nudge_providers.types import (
    Capabilities,
    Completion,
    CompletionRequest,
    Message,
    Scored,
    ScoredToken,
    StreamEnd,
    Token,
    Usage,
)

__all__ = ["Model", "Run", "ToyProvider", "hashed", "run", "script", "writes"]


def script(*lines: tuple[str, str, float]) -> Model:
    """A model that knows what follows some texts: (text, token, probability). Anything else ends."""
    table = {text: (token, probability) for text, token, probability in lines}
    return table.get


def writes(text: str, *, split: str = " ", p: float = 0.9, doubts: Mapping[str, float] | None = None) -> Model:
    """A model that wants to write `text`, token by token (`split` in front of each), whatever the author so far.

    doubts: probability at the tokens named. After a text that is no prefix of its own it ends.
    """
    tokens = [t for t in text.replace(split, f"\0{split}").split("\0") if t]
    starts: dict[str, tuple[str, float]] = {}
    so_far = ""
    for token in tokens:
        starts[so_far] = (token, (doubts or {}).get(token, p))
        so_far += token
    return starts.get


@dataclass
class ToyProvider:
    """A `Provider` around a model. `requests` keeps what was asked."""

    model: Model
    prompt: str = ">"
    endpoint: str = "toy"
    requests: list[CompletionRequest] = field(default_factory=list)
    closed: bool = False
    scores: bool = False
    pauses: Callable[[], int] = lambda: 0  # times the event loop turns before each token of a stream

    async def complete(self, request: CompletionRequest) -> Completion:
        self.requests.append(request)
        assert request.prompt.startswith(self.prompt)
        text = request.prompt[len(self.prompt) :]
        tokens: list[Token] = []
        finish = "length"
        for _ in range(request.max_tokens):
            following = self.model(text)
            if following is None:
                finish = "stop"
                break
            token, probability = following
            tokens.append(Token(token, math.log(probability), math.log(probability)))
            text += token
        usage = Usage(prompt_tokens=len(request.prompt), completion_tokens=len(tokens) + (finish == "stop"))
        return Completion("".join(t.text for t in tokens), tuple(tokens), finish, usage)  # type: ignore[arg-type]

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        done = await self.complete(request)
        for token in done.tokens:
            for _ in range(self.pauses()):
                await asyncio.sleep(0)
            yield token
        yield StreamEnd(done.finish, done.usage)

    async def score(self, prompt: str, continuation: str) -> Scored:
        """By the model's own tokens where it would write them, else by words."""
        if not self.scores:
            raise CapabilityError("a toy scores nothing")
        self.requests.append(CompletionRequest(prompt + continuation, 1))
        text, left = prompt[len(self.prompt) :], continuation
        tokens: list[ScoredToken] = []
        while left:
            following = self.model(text)
            name, probability = following or ("<eos>", 0.9)
            token = name if left.startswith(name) else left[: left.find(" ", 1)] if " " in left[1:] else left
            logprob = math.log(probability)
            tokens.append(ScoredToken(token, logprob if token == name else -5.0, Token(name, logprob, logprob)))
            text, left = text + token, left[len(token) :]
            for _ in range(self.pauses()):
                await asyncio.sleep(0)
        return Scored(tuple(tokens), Usage(len(prompt) + len(continuation), 0, 1))

    async def render_chat(self, messages: Sequence[Message]) -> str:
        return self.prompt

    async def capabilities(self) -> Capabilities:
        return Capabilities(model="toy")

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Run:
    """What came of an answer: the answer, its pieces, and the requests made."""

    answer: Answer
    pieces: list[Piece]
    base: ToyProvider
    nudger: ToyProvider

    @property
    def segments(self) -> list[tuple[str, str]]:
        return [(segment.author, segment.text) for segment in self.answer.segments]

    @property
    def shown(self) -> str:
        """What someone saw who followed the pieces."""
        text = ""
        for piece in self.pieces:
            text = text[: len(text) - piece.retracted] + piece.text
        return text


def run(
    base: Model,
    nudger: Model,
    *,
    chunk: int = 16,
    decoder: Steps[None] | None = None,
    draft_chunk: int | None = None,
    plan: str = "chunked",
    overlap: str = "ahead",
    pauses: Callable[[], int] = lambda: 0,
    **rules: object,
) -> Run:
    """One answer by the pair through real sources, with the default decoder or the one given."""
    settings = Rules(**rules)  # type: ignore[arg-type]
    providers = [ToyProvider(model, scores=plan == "verified", pauses=pauses) for model in (base, nudger)]
    scout = decode(settings, hasty=True)
    fetched = _plan(plan, overlap, scout, providers, chunk, draft_chunk or settings.draft_tokens)
    held = Holdback(settings.stop, settings.base_stop, settings.segmentation, hold_words=decoder is None)

    async def prepare() -> Writing:
        return Writing(decoder or decode(settings), held, fetched)

    async def follow() -> Run:
        stream = AnswerStream(prepare)
        pieces = [piece async for piece in stream]
        return Run(stream.answer, pieces, *providers)

    return asyncio.run(follow())


def _plan(
    name: str, overlap: str, scout: Steps[None], providers: Sequence[ToyProvider], chunk: int, draft: int
) -> Plan:
    base, nudger = providers
    options = {"sampling": Sampling()}
    if name == "chunked":
        return Chunked(
            {
                "base": ChunkedSource(base, ">", chunk=chunk, **options),
                "nudger": ChunkedSource(nudger, ">", chunk=draft, **options),
            }
        )
    kind, source = (Verified, VerifyingSource) if name == "verified" else (Streaming, StreamSource)
    writer = source(base, ">", author="base", pace=Pace(), **options)
    return kind(
        writer, StreamSource(nudger, ">", author="nudger", pace=Pace(), **options), overlap=overlap, scout=scout
    )  # type: ignore[arg-type]
