"""The purse alone: never past a cap at any instant, whoever asks, waits, gives up or settles in whatever order."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nudge_client import UsageError
from nudge_client.settings import Price
from nudge_client.spending import Amount, Purse, Spent
from nudge_providers import BudgetError


def dollars(cost: str, tokens: int = 0) -> Amount:
    return Amount(Fraction(cost), tokens)


class Watched(Purse):
    """A purse that looks at its own sums whenever they change."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name in ("reserved", "spent") and hasattr(self, "_queue"):
            self.check()

    def check(self) -> None:
        whole = self.spent + self.reserved
        # `spent` and `reserved` change one after the other when a request is settled: reserved first, downwards.
        assert self.max_cost is None or whole.cost <= self.max_cost
        assert self.max_tokens_total is None or whole.tokens <= self.max_tokens_total
        assert min(self.reserved.cost, self.reserved.tokens) >= 0


NANO = Fraction(1, 10**9)


@dataclass(frozen=True)
class Request:
    """cost: in nano-dollars. used: share of it that is spent. turns: of the event loop, until it is over."""

    cost: int
    tokens: int
    used: Fraction
    turns: int
    gives_up: bool

    @property
    def amount(self) -> Amount:
        return Amount(self.cost * NANO, self.tokens)

    async def made(self, purse: Purse) -> Amount:
        reservation = await purse.reserve(self.amount)
        used = Amount()
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            used = Amount(self.amount.cost * self.used, int(self.tokens * self.used))
        finally:
            reservation.settle(used)
        return used


REQUESTS = st.lists(
    st.builds(
        Request,
        st.integers(0, 40),
        st.integers(0, 40),
        st.fractions(0, 1),
        st.integers(0, 6),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=30,
)
CAPS = st.one_of(st.none(), st.integers(0, 200))


@settings(deadline=None)
@given(REQUESTS, CAPS, CAPS, st.integers(0, 30), st.integers(0, 10_000))
def test_a_cap_is_never_passed_and_everything_is_settled(
    requests: list[Request], cost_cap: int | None, token_cap: int | None, before: int, seed: int
) -> None:
    resumed = Amount(min(before, 200 if cost_cap is None else cost_cap) * NANO, before if token_cap is None else 0)
    purse = Watched(None if cost_cap is None else cost_cap / 1e9, token_cap, spent=resumed)
    done = asyncio.run(job(purse, requests, random.Random(seed)))
    assert purse.reserved == Amount()
    assert not purse._queue
    used = resumed
    for found, request in zip(done, requests, strict=True):
        if isinstance(found, Amount):
            used += found
        elif isinstance(found, BudgetError):
            # Spending only grows: what was refused then does not fit at the end either.
            assert purse._refusal(request.amount)
        else:
            assert isinstance(found, asyncio.CancelledError)
    assert purse.spent == purse.likely == used


async def job(purse: Purse, requests: list[Request], dice: random.Random) -> list[Amount | BaseException]:
    """All of them at once, or nearly; some are given up, wherever they are."""
    tasks: list[asyncio.Task[Amount]] = []
    for request in requests:
        tasks.append(asyncio.create_task(request.made(purse)))
        for _ in range(dice.randrange(3)):
            await asyncio.sleep(0)
        if request.gives_up:
            dice.choice(tasks).cancel()
    return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)


async def test_waits_for_others_and_is_refused_only_when_nothing_could_help() -> None:
    purse = Purse(1.0)
    first = await purse.reserve(dollars("0.7"))
    second = asyncio.create_task(purse.reserve(dollars("0.6")))
    third = asyncio.create_task(purse.reserve(dollars("0.7")))
    await asyncio.sleep(0)
    assert not second.done()
    with pytest.raises(BudgetError, match=r"\$1 allowed, up to \$0 spent.*\$1\.1.*max_cost"):
        await purse.reserve(dollars("1.1"))
    first.settle(dollars("0.3"))
    reservation = await second
    assert not third.done()
    reservation.settle(dollars("0.1"))
    with pytest.raises(BudgetError, match=r"up to \$0.4 spent"):  # refused as soon as it can never fit
        await asyncio.wait_for(third, 5)
    assert purse.reserved == Amount()


async def test_first_come_first_served() -> None:
    """A small request does not overtake a large one again and again."""
    purse = Purse(max_tokens_total=100)
    under_way = await purse.reserve(Amount(tokens=60))
    large = asyncio.create_task(purse.reserve(Amount(tokens=90)))
    await asyncio.sleep(0)
    small = asyncio.create_task(purse.reserve(Amount(tokens=10)))
    await asyncio.sleep(0)
    assert not small.done()
    under_way.settle(Amount())
    await large
    await small


async def test_giving_up_lets_the_next_one_in() -> None:
    purse = Purse(max_tokens_total=100)
    under_way = await purse.reserve(Amount(tokens=60))
    large = asyncio.create_task(purse.reserve(Amount(tokens=90)))
    small = asyncio.create_task(purse.reserve(Amount(tokens=10)))
    await asyncio.sleep(0)
    large.cancel()
    await asyncio.wait([small], timeout=5)
    assert small.done()
    # Granted and given up in the same turn of the loop: what was set aside comes back.
    waiting = asyncio.create_task(purse.reserve(Amount(tokens=90)))
    await asyncio.sleep(0)
    under_way.settle(Amount())
    (await small).settle(Amount())
    assert purse.reserved == Amount(tokens=90)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert purse.reserved == Amount()


async def test_no_rounding_passes_a_cap() -> None:
    """0.1 ten times is not 1.0 in binary fractions: with floats the last one fits, or one more does."""
    price = Price(prompt=0.1, completion=0.3)
    purse = Purse(0.3)
    for _ in range(3):
        (await purse.reserve(Amount(price.exact(10**6, 0, 0)))).settle(Amount(price.exact(10**6, 0, 0)))
    assert purse.spent.cost == Fraction(3, 10)
    with pytest.raises(BudgetError):
        await purse.reserve(Amount(price.exact(1, 0, 0)))
    resumed = Purse(0.3, spent=Amount(Fraction(str(purse.spent.cost))))
    with pytest.raises(BudgetError):
        await resumed.reserve(Amount(price.exact(1, 0, 0)))


async def test_what_was_billed_beyond_the_bound_counts() -> None:
    purse = Purse(max_tokens_total=10)
    (await purse.reserve(Amount(tokens=5))).settle(Amount(tokens=12), Amount(tokens=3))
    assert (purse.spent.tokens, purse.likely.tokens) == (12, 3)
    with pytest.raises(BudgetError, match="10 tokens allowed, up to 12 tokens spent.*max_tokens_total"):
        await purse.reserve(Amount())


@pytest.mark.parametrize("caps", [{"max_cost": -1}, {"max_cost": float("nan")}, {"max_tokens_total": -5}])
def test_a_cap_is_a_number(caps: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="a cap is a number from 0 up"):
        Purse(**caps)  # type: ignore[arg-type]


def test_spent_by_purpose() -> None:
    def model(prompt: int, cached: int, written: int, discarded: int) -> dict[str, int]:
        names = ("prompt_tokens", "cached_tokens", "completion_tokens", "discarded_tokens")
        return dict(zip(names, (prompt, cached, written, discarded), strict=True))

    stats = {"base": model(100, 60, 50, 30), "nudger": model(10, 0, 5, 1)}
    prices = {"base": Price(prompt=1, cached=0.5, completion=2)}
    spent = Spent()
    spent.add_answer(stats, prices)  # type: ignore[arg-type]
    spent.add_failure(stats, prices)  # type: ignore[arg-type]
    assert spent.to_dict() == {
        "answered": {"cost": pytest.approx(110e-6), "tokens": 134},
        "discarded": {"cost": pytest.approx(60e-6), "tokens": 31},
        "failed": {"cost": pytest.approx(170e-6), "tokens": 165},
    }


async def test_what_is_noted_before_a_request_is_sent_holds_though_the_process_be_killed() -> None:
    """At every instant the latest note is at least what the requests sent so far can have cost."""
    purse = Purse(1.0, 100_000)
    noted: list[Amount] = []
    purse.written_down(lambda: noted.append(purse.to_note()))
    dice = random.Random(3)

    def holds() -> bool:
        whole = purse.spent + purse.reserved
        return noted[-1].cost >= whole.cost and noted[-1].tokens >= whole.tokens

    open_ones = []
    for _ in range(400):
        if open_ones and dice.random() < 0.5:
            open_ones.pop(dice.randrange(len(open_ones))).settle(dollars("0.0005", 50))
        else:
            open_ones.append(await purse.reserve(dollars("0.001", 100)))
        assert holds()
    assert len(noted) < 120  # a hundred steps of each cap, at most
    for reservation in open_ones:
        reservation.settle(dollars("0.002", 200))  # more than was set aside: it is noted, too
        assert holds()
    assert purse.to_note() == purse.spent
    await purse.reserve(dollars("0.001", 100))
    assert holds()


def test_without_caps_nothing_has_to_be_noted_first() -> None:
    async def reserved() -> None:
        purse = Purse()
        purse.written_down(lambda: pytest.fail("there is no cap to hold"))
        await purse.reserve(dollars("5", 5))
        assert purse.to_note() == dollars("5", 5)

    asyncio.run(reserved())
