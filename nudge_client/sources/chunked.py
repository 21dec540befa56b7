"""A model that is asked in chunks of L tokens, as in the paper."""

from __future__ import annotations

import zlib

from nudge_client.decoding.events import Ask, AskChunk
from nudge_client.sources.ledger import Ledger, Sampling
from nudge_client.sources.memory import Memory
from nudge_client.sources.pace import Pace
from nudge_providers.types import Completion, CompletionRequest, End, Provider, Token

# A character has at most four byte-tokens in any byte-level vocabulary; this many tokens hold a whole one for sure.
CHARACTER_TOKENS = 16


class ChunkedSource:
    """One model for one answer: the `chunked` plan, and the plain chunks of the paper's preset.

    prompt: that model's own prompt, to which the answer is joined. chunk: L, tokens asked for on a miss; None follows
    the length of the latest runs. Raises the provider's errors.
    """

    def __init__(
        self, provider: Provider, prompt: str, *, chunk: int | None, sampling: Sampling, pace: Pace | None = None
    ) -> None:
        self.ledger = Ledger()
        self._provider = provider
        self._prompt = prompt
        self._chunk = chunk
        self._sampling = sampling
        self._pace = pace or Pace()
        self._memory = Memory()
        self._used = 0

    async def next_token(self, ask: Ask) -> Token | End:
        """The token after the answer, from what is known or from one more chunk."""
        known = self._memory.recall(ask.after)
        if known is not None:
            self._used += 1
            return known
        if self._used:
            self._pace.saw_run(self._used)
        self._used = 1
        size = min(self._chunk or self._pace.chunk(), ask.want)
        completion = await self.complete(AskChunk(ask.author, ask.after, size))
        if not completion.tokens and completion.finish == "length" and size < CHARACTER_TOKENS:
            # The limit fell inside the first character. Nothing whole came, so nothing is known yet.
            completion = await self.complete(AskChunk(ask.author, ask.after, CHARACTER_TOKENS))
        ended = completion.finish == "stop" or not completion.tokens
        self._memory.learn(ask.after, completion.tokens, ended)
        return completion.tokens[0] if completion.tokens else End()

    async def complete(self, ask: AskChunk) -> Completion:
        """One request, entered in the ledger."""
        request = request_for(self._prompt, ask, self._sampling)
        ordinal, entry = self.ledger.begin("complete", len(request.prompt))
        try:
            completion = await self._provider.complete(request)
        except Exception as error:
            self.ledger.failed(entry, error)
            raise
        self.ledger.fill(entry, completion)
        tokens = tuple(token._replace(request=ordinal) for token in completion.tokens if token.text)
        return Completion(
            "".join(token.text for token in tokens), tokens, completion.finish, completion.usage, completion.request_id
        )


def request_for(prompt: str, ask: AskChunk, sampling: Sampling, session: int | None = None) -> CompletionRequest:
    """The request that continues `prompt` and the answer so far.

    Its seed is a function of the text: repeatable, but not the same draw at the start of every request.
    """
    seed = None
    if sampling.seed is not None and sampling.temperature > 0:
        seed = zlib.crc32(f"{sampling.seed} {ask.author} {ask.after}".encode()) & 0x7FFFFFFF
    return CompletionRequest(
        prompt=prompt + ask.after,
        max_tokens=ask.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        seed=seed,
        session=session,
    )
