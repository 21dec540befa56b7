"""One request through the purse: what is set aside, and what it is settled at, however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from nudge_client import NudgeClient, UsageError
from nudge_client.counting import count_cl100k
from nudge_client.settings import Price
from nudge_client.spending import Amount, Metered, Purse
from nudge_client.spending.metered import MARGIN, most_tokens
from nudge_providers import (
    BudgetError,
    CapabilityError,
    ContextExceededError,
    EndpointError,
    MalformedReply,
    RateLimitedError,
    UnavailableError,
)
from nudge_providers.retry import Disconnected, Unreachable
from nudge_providers.standins import PROMPT_END, StandIn, toy_pair
from nudge_providers.types import Capabilities, Completion, CompletionRequest, Provider, StreamEnd, Token, Usage
from tests.providers.faults import partly, silent, status
from tests.providers.faults import reset as reset_connection
from tests.providers.test_dialects import adapter
from tests.test_client import Anything
from tests.toys import ToyProvider, writes

PRICE = Price(prompt=4, cached=1, completion=8)
ASK = CompletionRequest("x" * 92, 50)  # 100 tokens at most
BOUND = Amount(PRICE.exact(100, 0, 50), 150)
WORD = Token(" word", -0.1, -0.1)


def amount(prompt: int, cached: int, written: int) -> Amount:
    return Amount(PRICE.exact(prompt, cached, written), prompt + written)


@dataclass
class Scripted(ToyProvider):
    """Streams what it is told to. closed_streams: how many were closed or ended."""

    model: Any = None
    items: tuple[Token | Usage | StreamEnd | Exception, ...] = ()
    closed_streams: int = 0
    told: bool | None = None

    async def complete(self, request: CompletionRequest) -> Completion:
        self.requests.append(request)
        for item in self.items:
            if isinstance(item, Exception):
                raise item
        return Completion(" word", (WORD,), "stop", Usage(30, 20, 2))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        self.requests.append(request)
        try:
            for item in self.items:
                await asyncio.sleep(0)
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed_streams += 1

    async def capabilities(self) -> Capabilities:
        return Capabilities(prompt_logprobs=self.told)


def metered(*items: Token | Usage | StreamEnd | Exception, told: bool | None = None) -> tuple[Metered, Purse, Scripted]:
    purse, inner = Purse(), Scripted(items=items, told=told)
    return Metered(inner, purse, PRICE), purse, inner


async def hear(provider: Provider, count: int) -> list[Token | Usage | StreamEnd]:
    """`count` items of a stream, then hang up."""
    found: list[Token | Usage | StreamEnd] = []
    async with aclosing(provider.stream(ASK)) as items:
        while len(found) < count:
            found.append(await anext(items))
    return found


@given(st.text())
def test_no_prompt_has_more_tokens_than_are_set_aside(text: str) -> None:
    assert count_cl100k(text) <= most_tokens(text) - MARGIN


def test_a_normalised_prompt_may_be_longer() -> None:
    assert most_tokens("\ufb2c") == 6 + MARGIN  # three bytes, and six in NFC


async def test_a_whole_reply_is_settled_by_its_usage() -> None:
    provider, purse, _ = metered()
    await provider.complete(ASK)
    assert purse.spent == purse.likely == amount(30, 20, 2)
    assert purse.reserved == Amount()


async def test_a_stream_is_set_aside_whole_and_settled_by_its_usage() -> None:
    provider, purse, inner = metered(Usage(30, 20), WORD, StreamEnd("stop", Usage(30, 20, 2)))
    seen = []
    async for item in provider.stream(ASK):
        seen.append(item)
        assert purse.reserved == BOUND
    assert tuple(seen) == inner.items
    assert purse.spent == purse.likely == amount(30, 20, 2)


async def test_a_stream_that_is_hung_up_may_be_billed_to_its_limit() -> None:
    provider, purse, inner = metered(Usage(30, 20), WORD, WORD, WORD)
    await hear(provider, 3)
    assert inner.closed_streams == 1, "closed at once, not by the garbage collector"
    assert purse.spent == amount(30, 20, 50)
    assert purse.likely == amount(30, 20, 2)
    assert purse.reserved == Amount()


async def test_of_a_prompt_that_nobody_counted_the_most_is_taken() -> None:
    provider, purse, _ = metered(WORD, WORD)
    await hear(provider, 1)
    assert purse.spent == BOUND
    assert purse.likely == amount(23, 0, 1)  # four characters a token, as the ledger has it
    # The end of a stream that tells nothing is no better.
    provider, purse, _ = metered(WORD, StreamEnd("stop", Usage()))
    await hear(provider, 2)
    assert purse.spent == BOUND


async def test_the_dearer_price_is_set_aside() -> None:
    purse = Purse()
    provider = Metered(Scripted(items=(WORD, WORD)), purse, Price(prompt=1, cached=3))
    async with aclosing(provider.stream(ASK)) as items:
        await anext(items)
        assert purse.reserved.cost == Price(prompt=3).exact(100, 0, 0)


STATUS_503 = UnavailableError("busy", status=503)


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (RateLimitedError("slow down"), False),
        (ContextExceededError("too long"), False),
        (UsageError("closed"), False),
        (Unreachable("refused"), False),
        (STATUS_503, False),
        (UnavailableError("gateway", status=504), True),
        (UnavailableError("no answer within 120 s"), True),
        (Disconnected("broke off"), True),
        (MalformedReply("toy", "text", "is null"), True),
        (CapabilityError("no log-probabilities"), True),
    ],
)
async def test_what_a_failure_costs(error: EndpointError, billed: bool) -> None:
    """One that the server turned away costs nothing; one that it may have worked on counts whole."""
    for ask in (lambda p: p.complete(ASK), lambda p: hear(p, 1)):
        provider, purse, _ = metered(error)
        with pytest.raises(type(error)):
            await ask(provider)
        assert purse.spent == (BOUND if billed else Amount())
        assert purse.reserved == Amount()
    # Once something came, it has been worked on.
    provider, purse, _ = metered(WORD, error)
    with pytest.raises(type(error)):
        await hear(provider, 2)
    assert purse.spent == BOUND


async def test_a_call_that_is_cancelled_counts_whole_and_one_that_only_waits_nothing() -> None:
    purse = Purse(max_tokens_total=200)
    hanging = asyncio.Event()

    class Slow(Scripted):
        async def complete(self, request: CompletionRequest) -> Completion:
            self.requests.append(request)
            await hanging.wait()
            raise AssertionError

    inner = Slow()
    provider = Metered(inner, purse, PRICE)
    first, second = (asyncio.create_task(provider.complete(ASK)) for _ in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(inner.requests) == 1
    second.cancel()
    await asyncio.wait([second])
    assert (purse.spent, purse.reserved) == (Amount(), BOUND)
    first.cancel()
    await asyncio.wait([first])
    assert (purse.spent, purse.reserved) == (BOUND, Amount())


async def test_what_does_not_fit_is_not_sent() -> None:
    inner = Scripted()
    provider = Metered(inner, Purse(max_tokens_total=149), PRICE)
    for ask in (provider.complete(ASK), hear(provider, 1), provider.score(ASK.prompt[:60], ASK.prompt * 2)):
        with pytest.raises(BudgetError):
            await ask
    assert inner.requests == []


async def test_an_endpoint_that_is_known_to_score_nothing_is_not_paid_for_it() -> None:
    provider, purse, _ = metered(told=False)
    with pytest.raises(CapabilityError):
        await provider.score("a", "b")
    assert purse.spent == Amount()


async def test_a_score_is_its_text_and_one_token() -> None:
    purse, inner = Purse(), ToyProvider(writes("one two"), scores=True)
    await Metered(inner, purse, PRICE).score(">", "one two")
    assert purse.spent == amount(8, 0, 1)


async def test_the_rest_is_the_providers() -> None:
    inner = ToyProvider(writes("x"))
    provider: Provider = Metered(inner, Purse(), PRICE)
    assert isinstance(provider, Provider)
    assert (provider.endpoint, await provider.render_chat([])) == ("toy", ">")
    assert (await provider.capabilities()).model == "toy"
    await provider.aclose()
    assert inner.closed


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("respond", "billed"),
    [
        (status(429, retry_after="0"), 0),
        (silent(reset_connection), 1),
        (partly(lambda sent: sent[: len(sent) // 2]), 1),
    ],
)
async def test_each_try_is_paid_for(stream: bool, respond: Callable[..., Any], billed: int) -> None:
    """A server may bill the try that broke off, and the next one: together never more than was counted."""
    async with AsyncExitStack() as stack:
        server = await StandIn(writes("one two three four five six")).start()
        stack.push_async_callback(server.stop)
        inner = adapter("llamacpp", server.url, 5)
        stack.push_async_callback(inner.aclose)

        async def once(request: web.Request, body: dict[str, Any]) -> web.StreamResponse | None:
            return await respond(server, request, body) if len(server.bodies) == 1 else None

        server.fault = once
        ask = CompletionRequest("Hi" + PROMPT_END, 20)
        bound = most_tokens(ask.prompt) + 20
        purse = Purse(max_tokens_total=2 * bound + 40)
        assert await text_of(Metered(inner, purse, PRICE), ask, stream) == "one two three four five six"
        told = [server.reply(body | {"stream": False})["usage"]["total_tokens"] for body in server.bodies]
        assert len(told) == 2
        assert purse.spent.tokens >= sum(told[1 - billed :])
        # The one that broke off at its bound, or at its prompt as told and the limit; the last as it was told.
        assert purse.spent.tokens in {told[1] + billed * bound, told[1] + billed * (len(ask.prompt) + 20)}
        assert purse.reserved == Amount()

        # With room for one try only, the second is not made where the first may be billed.
        server.bodies.clear()
        tight = Metered(inner, Purse(max_tokens_total=bound), PRICE)
        if billed:
            with pytest.raises(BudgetError):
                await text_of(tight, ask, stream)
        else:
            await text_of(tight, ask, stream)
        assert len(server.bodies) == 2 - billed


async def text_of(provider: Provider, ask: CompletionRequest, stream: bool) -> str:
    if not stream:
        return (await provider.complete(ask)).text
    return "".join([item.text async for item in provider.stream(ask) if isinstance(item, Token)])


class Queued(Purse):
    """Counts who had to wait."""

    waits = 0

    async def _turn(self, amount: Amount) -> None:
        self.waits += 1
        await super()._turn(amount)


async def test_an_answer_waits_for_its_own_stream_that_nobody_has_closed() -> None:
    """The only budget left is held by a speculative stream of the same answer: that one ends by itself."""
    base, nudger = toy_pair(seed=3, agreement=0.5, uncertainty=0.3, length=100)
    longest = 90 + 120 + MARGIN + 64  # a prompt of the settings' own form, the answer, and a stream's limit
    finished_after_waiting = 0
    for cap in range(longest, 12 * longest, longest):
        for overlap in ("none", "ahead", "eager"):
            purse = Queued(max_tokens_total=cap)
            pair = [Anything(model, "\n", pauses=lambda: 3) for model in (base, nudger)]
            async with NudgeClient(*pair, purse=purse, plan="streaming", overlap=overlap) as client:
                try:
                    await asyncio.wait_for(client.generate("Hi"), 10)
                    finished_after_waiting += purse.waits > 0
                except BudgetError:
                    assert purse.spent.tokens > cap - longest
            assert purse.reserved == Amount()
            assert purse.spent.tokens <= cap
    assert finished_after_waiting


async def test_a_client_pays_from_its_purse() -> None:
    base, nudger = (Anything(model, "\n") for model in toy_pair(length=100))
    prices = {"base": PRICE, "nudger": Price(prompt=1, completion=2)}
    purse = Purse(1.0)
    async with NudgeClient(base, nudger, purse=purse, prices=prices, plan="chunked") as client:
        stats = (await client.generate("Hi")).stats
    assert float(purse.spent.cost) == pytest.approx(
        sum(
            price.of(model.prompt_tokens, model.cached_tokens, model.completion_tokens)
            for price, model in ((prices["base"], stats.base), (prices["nudger"], stats.nudger))
        )
    )
    assert purse.spent.cost > 0
    assert not base.closed, "a provider that was handed in is its owner's to close"


@pytest.mark.parametrize("missing", ["base", "nudger"])
def test_a_cap_in_dollars_needs_prices(missing: str) -> None:
    prices = {"base": PRICE, "nudger": PRICE}
    del prices[missing]
    with pytest.raises(UsageError, match=rf"max_cost needs prices: put \[prices.{missing}\]"):
        NudgeClient(purse=Purse(1.0), prices=prices)
    NudgeClient(purse=Purse(max_tokens_total=1))
