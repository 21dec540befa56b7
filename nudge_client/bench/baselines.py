"""The paper's baselines: one model alone, the token-level ensemble, proxy tuning. Greedy throughout.

The rules are in `choices`; here are the requests. Every function raises UsageError for a limit below 1 or an empty stop
string, and the providers' errors. Where an ensemble's answer has filled a model's window it finishes `length`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from nudge_client.bench.choices import (
    ENSEMBLE_TOP,
    PROXY_TOP,
    Accepted,
    Choose,
    Chunk,
    accept,
    ensemble_choice,
    proxy_choice,
)
from nudge_client.bench.growing import BaselineAnswer, Growing, ModelName, Writer
from nudge_client.sources import Ledger
from nudge_client.sources.chunked import CHARACTER_TOKENS
from nudge_providers.errors import ContextExceededError, UsageError
from nudge_providers.types import Completion, CompletionRequest, Provider, StreamEnd, Token, Usage


async def alone(
    provider: Provider, prompt: str, *, max_tokens: int, stop: Sequence[str] = (), model: ModelName = "base"
) -> BaselineAnswer:
    """One model's own answer, in one streamed request: the paper's base only and nudger only.

    max_tokens: limit of the answer, in the server's tokens. stop: strings that end it, such as the base prompt's next
    "Instruction:"; the stream is closed there and the string dropped. model: the name its figures go under.

    A stream's usage comes with its end, where the server does not tell it earlier. One closed at a stop string counts
    the tokens received, though the server may have generated more before it noticed.
    """
    growing = Growing(max_tokens, stop)
    received: list[Token] = []
    finish, usage = None, Usage()
    async with aclosing(provider.stream(CompletionRequest(prompt, max_tokens))) as items:
        async for item in items:
            if isinstance(item, StreamEnd):
                finish, usage = item.finish, item.usage
                break
            if isinstance(item, Usage):
                usage = item
                continue
            received.append(item)
            growing.append(item.text, (Writer(model, 1),))
            if growing.finish:
                break
    growing.finish = growing.finish or finish
    ledger = Ledger()
    counted = Usage(usage.prompt_tokens, usage.cached_tokens, max(usage.completion_tokens, len(received)))
    ledger.add(Completion("", tuple(received), finish or "stop", counted))
    return growing.answer({model: ledger})


async def ensemble(
    base: Provider,
    nudger: Provider,
    base_prompt: str,
    nudger_prompt: str,
    *,
    chunk: int = 16,
    max_tokens: int,
    stop: Sequence[str] = (),
) -> BaselineAnswer:
    """The paper's ensemble: tokens while both models agree, and at a disagreement the highest summed probability.

    chunk: L, tokens asked of each model at once, with their top-5 lists; after a disagreement both are asked again.
    max_tokens: limit of the answer, in tokens as listed. stop: strings that end the answer, left out of it.
    It ends when the aligned model, the nudger, ends. See `choices.ensemble_choice` and `choices.accept`.
    """
    models = [_Model("base", base, base_prompt, ENSEMBLE_TOP), _Model("nudger", nudger, nudger_prompt, ENSEMBLE_TOP)]
    return await _write(models, ensemble_choice, chunk, Growing(max_tokens, stop))


async def proxy_tuning(
    base: Provider,
    nudger: Provider,
    small_base: Provider,
    base_prompt: str,
    nudger_prompt: str,
    small_base_prompt: str,
    *,
    chunk: int = 16,
    max_tokens: int,
    stop: Sequence[str] = (),
) -> BaselineAnswer:
    """Proxy tuning (Liu et al. 2024) over top-100 lists: each token by p_base · p_aligned / p_small-base.

    small_base: the nudger before its alignment. The lists are as long as the server allows, often 5 to 20, and the
    shorter they are the more often no text is in all three. Other arguments and the end are as for `ensemble`; see
    `choices.proxy_choice`.
    """
    models = [
        _Model("base", base, base_prompt, PROXY_TOP),
        _Model("nudger", nudger, nudger_prompt, PROXY_TOP),
        _Model("small_base", small_base, small_base_prompt, PROXY_TOP),
    ]
    return await _write(models, proxy_choice, chunk, Growing(max_tokens, stop))


@dataclass(slots=True)
class _Model:
    """One model of several that write together. logprobs: length of the lists asked for."""

    name: ModelName
    provider: Provider
    prompt: str
    logprobs: int
    ledger: Ledger = field(default_factory=Ledger)

    async def chunk(self, after: str, size: int) -> Chunk:
        """The model's next tokens. Never without a token unless it has ended, so that a chunk always decides."""
        reply = await self._complete(after, size)
        if not reply.tokens and reply.finish == "length" and size < CHARACTER_TOKENS:
            # The limit fell inside the first character.
            reply = await self._complete(after, CHARACTER_TOKENS)
        tokens = tuple(token for token in reply.tokens if token.text)
        return Chunk(tokens, reply.finish == "stop" or not tokens)

    async def _complete(self, after: str, size: int) -> Completion:
        reply = await self.provider.complete(CompletionRequest(self.prompt + after, size, logprobs=self.logprobs))
        self.ledger.add(reply)
        return reply


async def _write(models: Sequence[_Model], choose: Choose, size: int, growing: Growing) -> BaselineAnswer:
    if size < 1:
        raise UsageError("chunk is below 1")
    while growing.finish is None:
        wanted = min(size, growing.room)
        try:
            chunks = await _all([model.chunk(growing.text, wanted) for model in models])
        except ContextExceededError:
            if not growing.text:
                raise
            growing.finish = "length"
            break
        _append(growing, accept(chunks, choose), models)
    return growing.answer({model.name: model.ledger for model in models})


def _append(growing: Growing, accepted: Accepted, models: Sequence[_Model]) -> None:
    """Add what was accepted, up to the limit or a stop string."""
    choices = accepted.choices[: growing.room]
    for choice in choices:
        wrote = zip(models, choice.own, strict=True)
        growing.append(choice.text, tuple(Writer(model.name, model.ledger.requests) for model, own in wrote if own))
        if growing.finish:
            return
    if accepted.ended and len(choices) == len(accepted.choices):
        growing.finish = "stop"
    elif not growing.room:
        growing.finish = "length"


async def _all(calls: Sequence[Coroutine[Any, Any, Chunk]]) -> list[Chunk]:
    """All results, fetched at once. Where one fails, the others are ended too: none goes on unwatched."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
