"""Whole jobs against stand-in servers that count for themselves: what they were asked to do never passes a cap.

A server counts every prompt that it reads and every token that it generates, also of streams that were hung up and of
replies that broke off. RUNS in the environment sets how many random jobs there are; 200 take about a minute.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from aiohttp import web

from nudge_client import Answer, NudgeClient
from nudge_client.settings import Price
from nudge_client.spending import Amount, Purse, Spent
from nudge_providers import BudgetError
from nudge_providers.standins import PROMPT_END, StandIn, ToyServer, VllmStandIn, toy_pair
from nudge_providers.standins.server import Fault, Generated
from tests.providers.faults import partly, silent, status
from tests.providers.faults import reset as reset_connection

RUNS = int(os.environ.get("RUNS", "40"))
AT_ONCE = 64
WORDS = (" a", " the", " water", "ly", ".", " über", " 🎉")
PROMPTS = [f"Question {number}, of many: {'why ' * (number % 9)}?" for number in range(AT_ONCE)]


class Counts(ToyServer):
    """Counts as a server that bills: (prompt tokens, tokens written) of every generation."""

    billed: list[tuple[int, int]]

    def generate(self, body: dict[str, Any]) -> Generated:
        done = super().generate(body)
        self.billed.append((len(body["prompt"]), done.count))
        return done


class CountingStandIn(Counts, StandIn):
    pass


class CountingVllm(Counts, VllmStandIn):
    pass


KINDS: dict[str, type[Counts]] = {"llamacpp": CountingStandIn, "vllm": CountingVllm}


@dataclass
class Job:
    """64 answers at once, and all that is random about them."""

    dialect: str = "vllm"
    plan: str = "streaming"
    overlap: str = "eager"
    max_tokens: int = 12
    draft: int = 4
    prices: dict[str, Price] = field(
        default_factory=lambda: {"base": Price(prompt=0.9, completion=0.9), "nudger": Price(prompt=0.2, completion=0.3)}
    )
    seed: int = 1
    faults: float = 0.0

    @classmethod
    def any(cls, dice: random.Random) -> Job:
        dialect = dice.choice(["llamacpp", "vllm"])
        plans = ["chunked", "streaming", "streaming"] + (["verified", "verified"] if dialect == "vllm" else [])

        def price() -> Price:
            cached = dice.choice([None, 0.0, dice.uniform(0, 3)])
            return Price(prompt=round(dice.uniform(0, 3), 4), cached=cached, completion=dice.uniform(0, 3))

        return cls(
            dialect,
            dice.choice(plans),
            dice.choice(["none", "ahead", "eager"]),
            dice.randint(2, 16),
            dice.choice([1, 4, 16]),
            {"base": price(), "nudger": price()},
            dice.randrange(10_000),
            dice.choice([0.0, 0.0, 0.01]),
        )

    @asynccontextmanager
    async def servers(self) -> AsyncIterator[dict[str, Counts]]:
        models = toy_pair(seed=self.seed, vocabulary=WORDS, uncertainty=0.3, agreement=0.6, length=60)
        found: dict[str, Counts] = {}
        for name, model in zip(("base", "nudger"), models, strict=True):
            server = KINDS[self.dialect](model, by_bytes=self.seed % 2 == 0, topics=PROMPTS, window=10**6)
            server.billed = []
            server.fault = self._fault(server) if self.faults else None
            await server.start()
            found[name] = server
        try:
            yield found
        finally:
            for server in found.values():
                await server.stop()

    def _fault(self, server: Counts) -> Fault:
        dice = random.Random(self.seed)
        responds = [
            status(429, retry_after="0"),
            status(503, retry_after="0"),
            silent(reset_connection),
            partly(lambda sent: sent[: len(sent) // 2]),
        ]

        async def fault(request: web.Request, body: dict[str, Any]) -> web.StreamResponse | None:
            return await dice.choice(responds)(server, request, body) if dice.random() < self.faults else None

        return fault

    async def run(self, servers: dict[str, Counts], purse: Purse) -> list[Answer | BudgetError]:
        """Answers, or why there are none. Raises whatever else went wrong."""
        endpoints = {name: f"{self.dialect}@{server.url}" for name, server in servers.items()}
        options = {"form": "plain", "answer_start": PROMPT_END, "overlap": self.overlap, "plan": self.plan}
        limits = {"max_tokens": self.max_tokens, "draft": self.draft, "prices": self.prices}

        async def answer(client: NudgeClient, prompt: str) -> Answer | BudgetError:
            try:
                return await client.generate(prompt)
            except BudgetError as error:
                return error

        async with NudgeClient(**endpoints, purse=purse, **options, **limits) as client:
            return await asyncio.gather(*(answer(client, prompt) for prompt in PROMPTS))

    def billed(self, servers: dict[str, Counts]) -> Amount:
        """What the servers counted, priced."""
        whole = Amount(Fraction(0), 0)
        for name, server in servers.items():
            prompts, written = (sum(counts) for counts in zip(*server.billed, strict=True)) if server.billed else (0, 0)
            whole += Amount(self.prices[name].exact(prompts, 0, written), prompts + written)
        return whole


async def whole_job(job: Job, purse: Purse) -> tuple[list[Answer | BudgetError], Amount]:
    """All of it, and what the servers counted."""
    async with job.servers() as servers:
        found = await asyncio.wait_for(job.run(servers, purse), 60)
        return found, job.billed(servers)


def check(purse: Purse, found: list[Answer | BudgetError], billed: Amount) -> None:
    assert purse.reserved == Amount()
    if purse.max_cost is not None:
        assert billed.cost <= purse.spent.cost <= purse.max_cost
    if purse.max_tokens_total is not None:
        assert billed.tokens <= purse.spent.tokens <= purse.max_tokens_total
    assert purse.likely.tokens <= purse.spent.tokens
    for each in found:
        if isinstance(each, BudgetError):
            assert "the job's cap is reached" in str(each)
        else:
            assert each.text


@pytest.mark.parametrize("number", range(RUNS))
async def test_the_servers_never_count_more_than_the_cap(number: int) -> None:
    dice = random.Random(number)
    job = Job.any(dice)
    # From caps that end the job at once to ones that it stays under.
    tokens = int(10 ** dice.uniform(3, 5.3))
    dearest = max(max(price.prompt, price.completion) for price in job.prices.values())
    cost = dice.choice([None, tokens * dearest / 1e6 * dice.uniform(0.2, 1.5)])
    purse = Purse(cost, tokens if cost is None or dice.random() < 0.5 else None)
    found, billed = await whole_job(job, purse)
    check(purse, found, billed)


@pytest.mark.parametrize("plan", ["chunked", "streaming", "verified"])
async def test_a_cap_can_be_used(plan: str) -> None:
    """A cap over all that is needed refuses nothing; of half of it, nearly all is spent."""
    job = Job(plan=plan)
    generous = Purse(1000.0, 10**9)
    found, billed = await whole_job(job, generous)
    assert all(isinstance(each, Answer) for each in found)
    check(generous, found, billed)
    totals = Spent()
    for answer in found:
        assert isinstance(answer, Answer)
        totals.add_answer(answer.to_dict()["stats"], job.prices)
    assert totals.discarded.cost > 0
    # Prompts that a server was not heard to count are guessed by the ledger at this server's rate, by the purse at four
    # characters a token.
    assert float((totals.answered + totals.discarded).cost) == pytest.approx(float(generous.likely.cost), rel=0.15)
    half = Purse(float(generous.spent.cost) / 2)
    found, billed = await whole_job(job, half)
    check(half, found, billed)
    assert any(isinstance(each, BudgetError) for each in found)
    assert half.max_cost
    assert half.spent.cost > half.max_cost * Fraction(8, 10)
