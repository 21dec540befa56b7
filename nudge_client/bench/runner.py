"""Methods side by side: every method on every prompt in every repeat, in turn, so that a slow minute hits all alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from nudge_client.answer import Stats
from nudge_client.bench.methods import BASE, Sample, sample
from nudge_client.client import NudgeClient
from nudge_client.planning import PAPER_CHUNK
from nudge_client.settings import Settings
from nudge_providers.types import Provider

SWEPT = (4, 8, 16, 32, 64)  # chunk sizes at which discarded tokens are counted
Progress = Callable[[str], object]


@dataclass(slots=True)
class Bench:
    """What is run, and what came of it: samples by method and repeat.

    prompts: one answer each. repeats: of everything. at_once: prompts side by side; 1 where servers share a machine.
    progress: told of each step.
    """

    client: NudgeClient
    prompts: Sequence[str]
    methods: Sequence[str]
    repeats: int = 5
    at_once: int = 1
    small_base: Provider | None = None
    progress: Progress = str  # nobody is told
    samples: dict[str, list[list[Sample]]] = field(default_factory=dict)

    async def run(self) -> None:
        """Answer everything once unmeasured, so that both servers are warm, and then `repeats` times."""
        await sample(BASE, self.client, self.prompts[0])
        await sample("streaming", self.client, self.prompts[0])
        self.samples = {name: [[] for _ in range(self.repeats)] for name in self.methods}
        turns = asyncio.Semaphore(self.at_once)
        for repeat in range(self.repeats):
            await asyncio.gather(*(self._answers(repeat, number, turns) for number in range(len(self.prompts))))

    async def _answers(self, repeat: int, number: int, turns: asyncio.Semaphore) -> None:
        """One prompt by every method. Each follows each other one equally often: what the caches hold evens out."""
        prompt = self.prompts[number]
        shift = (number + repeat) % len(self.methods)
        async with turns:
            for name in [*self.methods[shift:], *self.methods[:shift]]:
                self.progress(f"repeat {repeat + 1}/{self.repeats}, prompt {number + 1}/{len(self.prompts)}: {name}")
                self.samples[name][repeat].append(await sample(name, self.client, prompt, self.small_base))

    async def sweep(self) -> list[dict[str, float]]:
        """Discarded base tokens at several L, with the paper's bound (ALGORITHM): L·r / (1 − r + L·r)."""
        turns = asyncio.Semaphore(self.at_once)

        async def in_chunks(prompt: str, chunk: int) -> Stats:
            async with turns:
                return (await self.client.generate(prompt, plan="chunked", chunk=chunk)).stats

        rows = []
        for chunk in SWEPT:
            self.progress(f"chunks of {chunk}")
            done = await asyncio.gather(*(in_chunks(prompt, chunk) for prompt in self.prompts[: max(5, self.at_once)]))
            written = sum(stats.base.completion_tokens for stats in done)
            share = sum(stats.nudged_tokens for stats in done) / max(1, sum(stats.answer_tokens for stats in done))
            lost = sum(stats.base.discarded_tokens for stats in done) / max(1, written)
            rows.append({"chunk": chunk, "discarded_ratio": lost, "bound": bound(chunk, share)})
        return rows

    def figures(self) -> dict[str, dict[str, Any]]:
        """For each method and figure the median, lowest and highest of the repeats."""
        base = [_seconds_per_token(repeat) for repeat in self.samples[BASE]]
        prices = self.client.settings.prices
        found: dict[str, dict[str, Any]] = {}
        for name, repeats in self.samples.items():
            rows = [
                _figures(repeat, alone, {str(author): price for author, price in prices.items()})
                for repeat, alone in zip(repeats, base, strict=True)
            ]
            found[name] = {figure: spread([row[figure] for row in rows]) for figure in rows[0]}
        return found

    def timelines(self) -> dict[str, Any]:
        """The requests of one answer by each method that knows them."""
        first = {name: repeats[-1][0] for name, repeats in self.samples.items()}
        return {name: {"seconds": one.seconds, "requests": one.requests} for name, one in first.items() if one.requests}


def bound(chunk: float, nudge_ratio: float) -> float:
    """The paper's bound of the discarded ratio."""
    return chunk * nudge_ratio / (1 - nudge_ratio + chunk * nudge_ratio)


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """median, low and high; None where no repeat has the figure."""
    known = [value for value in values if value is not None]
    if not known:
        return {"median": None, "low": None, "high": None}
    return {"median": median(known), "low": min(known), "high": max(known)}


def setting(settings: Settings, prompts: int, repeats: int, simulated: Mapping[str, Any] | None) -> dict[str, Any]:
    """What was run, for a result."""
    return {
        "base": settings.base,
        "nudger": settings.nudger,
        "prompts": prompts,
        "repeats": repeats,
        "max_tokens": settings.max_tokens,
        "threshold": settings.threshold,
        "chunk": settings.chunk or PAPER_CHUNK,
        "draft": settings.draft,
        "simulated": simulated,
        "prices": {author: price.model_dump() for author, price in settings.prices.items()} or None,
    }


def _seconds_per_token(samples: Sequence[Sample]) -> float:
    return sum(one.seconds for one in samples) / max(1, sum(one.answer_tokens for one in samples))


def _figures(samples: Sequence[Sample], base_only: float, prices: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures of one repeat, over all prompts."""
    count = len(samples)
    tokens = max(1, sum(one.answer_tokens for one in samples))

    def total(field: str, *authors: str) -> int:
        return sum(
            getattr(stats, field)
            for one in samples
            for name, stats in one.models.items()
            if name in authors or not authors
        )

    written = total("completion_tokens", "base")
    nudged = [one.nudged for one in samples if one.nudged is not None]
    ratio = sum(nudged) / tokens if nudged else None
    verified = [one.verified for one in samples if one.verified is not None]
    firsts = [one.first for one in samples if one.first is not None]
    billed = total("prompt_tokens") + total("completion_tokens")
    return {
        "seconds_per_answer": sum(one.seconds for one in samples) / count,
        "seconds_per_token": sum(one.seconds for one in samples) / tokens,
        "ratio_to_base": sum(one.seconds for one in samples) / tokens / max(base_only, 1e-9),
        "first_token_seconds": median(firsts) if firsts else None,
        "answer_tokens": tokens / count,
        "requests": total("requests") / count,
        "prompt_tokens": total("prompt_tokens") / count,
        "cached_tokens": total("cached_tokens") / count,
        "completion_tokens": total("completion_tokens") / count,
        "billed_per_token": billed / tokens,
        "billed_uncached_per_token": (billed - total("cached_tokens")) / tokens,
        "discarded_tokens": total("discarded_tokens", "base") / count if written else None,
        "discarded_ratio": total("discarded_tokens", "base") / written if written else None,
        "discarded_bound": bound(PAPER_CHUNK, ratio) if ratio is not None else None,
        "nudge_ratio": ratio,
        "verified_ratio": sum(verified) / tokens if verified else None,
        "cost": _cost(samples, prices) / count if prices else None,
    }


def _cost(samples: Sequence[Sample], prices: Mapping[str, Any]) -> float:
    """US dollars."""
    spent = 0.0
    for one in samples:
        for author, stats in one.models.items():
            if price := prices.get(author):
                spent += price.of(stats.prompt_tokens, stats.cached_tokens, stats.completion_tokens)
    return spent
