"""A source answers a decoder's questions about one model, and keeps the ledger of what they cost."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from nudge_client.decoding.events import Ask, AskChunk
from nudge_client.sources.memory import Memory
from nudge_providers.types import Completion, CompletionRequest, End, Provider, Token

# A character has at most four byte-tokens in any byte-level vocabulary; this many tokens hold a whole one for sure.
CHARACTER_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature 0 is greedy. seed: makes every request's own seed a function of the text it continues."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(slots=True)
class Ledger:
    """Requests sent to one model for one answer; token counts are the server's own. Listed: tokens as it lists them."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    by_request: list[tuple[int, int]] = field(default_factory=list)  # (listed, counted) of each request

    def add(self, completion: Completion) -> None:
        self.requests += 1
        self.prompt_tokens += completion.usage.prompt_tokens
        self.cached_tokens += completion.usage.cached_tokens
        self.completion_tokens += completion.usage.completion_tokens
        listed = len(completion.tokens)
        # Nothing whole before the limit: what was generated is thrown away.
        lost = not listed and completion.finish == "length"
        self.by_request.append((listed, 0 if lost else completion.usage.completion_tokens))

    def discarded(self, kept: dict[int, int]) -> int:
        """Tokens generated and not used. `kept`: listed tokens used of each request, by its ordinal."""
        used = 0
        for ordinal, (listed, counted) in enumerate(self.by_request, start=1):
            # A reply used whole used all its tokens, also those that the server merged or did not list.
            used += counted if kept.get(ordinal, 0) >= listed else kept.get(ordinal, 0)
        return max(0, self.completion_tokens - used)


class Source:
    """One model for one answer, asked in chunks: the `chunked` plan, and the plain chunks of the paper's preset.

    prompt: that model's own prompt, to which the answer is joined. chunk: L, tokens asked for on a miss.
    Raises the provider's errors.
    """

    def __init__(self, provider: Provider, prompt: str, *, chunk: int, sampling: Sampling) -> None:
        self.ledger = Ledger()
        self._provider = provider
        self._prompt = prompt
        self._chunk = chunk
        self._sampling = sampling
        self._memory = Memory()

    async def next_token(self, ask: Ask) -> Token | End:
        """The token after the answer, from what is known or from one more chunk."""
        known = self._memory.recall(ask.after)
        if known is not None:
            return known
        size = min(self._chunk, ask.want)
        completion = await self.complete(AskChunk(ask.author, ask.after, size))
        if not completion.tokens and completion.finish == "length" and size < CHARACTER_TOKENS:
            # The limit fell inside the first character. Nothing whole came, so nothing is known yet.
            completion = await self.complete(AskChunk(ask.author, ask.after, CHARACTER_TOKENS))
        ended = completion.finish == "stop" or not completion.tokens
        self._memory.learn(ask.after, completion.tokens, ended)
        return completion.tokens[0] if completion.tokens else End()

    async def complete(self, ask: AskChunk) -> Completion:
        """One request, entered in the ledger."""
        completion = await self._provider.complete(
            CompletionRequest(
                prompt=self._prompt + ask.after,
                max_tokens=ask.max_tokens,
                temperature=self._sampling.temperature,
                top_p=self._sampling.top_p,
                seed=self._seed(ask),
            )
        )
        self.ledger.add(completion)
        ordinal = self.ledger.requests
        tokens = tuple(token._replace(request=ordinal) for token in completion.tokens if token.text)
        return Completion(
            "".join(token.text for token in tokens), tokens, completion.finish, completion.usage, completion.request_id
        )

    def _seed(self, ask: AskChunk) -> int | None:
        """A function of the text: repeatable, but not the same draw at the start of every request."""
        if self._sampling.seed is None or self._sampling.temperature == 0:
            return None
        return zlib.crc32(f"{self._sampling.seed} {ask.author} {ask.after}".encode()) & 0x7FFFFFFF
