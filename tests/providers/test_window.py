"""The window of an account: how wide it becomes, against servers of every kind, and who goes next."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from nudge_providers import CompletionRequest, RateLimitedError
from nudge_providers.account import GIVE_UP, MOST_PAUSE, Account
from nudge_providers.limits import Limits, turn
from nudge_providers.place import Place
from nudge_providers.retry import Deadline
from nudge_providers.standins import PROMPT_END, VllmStandIn
from nudge_providers.standins.server import Fault
from nudge_providers.vllm import VllmProvider
from nudge_providers.window import BATCH, SHORTEST_QUEUE, START, TRIAL_EVERY, Window
from tests.toys import writes
from tests.virtual import run

ASK = CompletionRequest("Hi" + PROMPT_END, 2)


def succeed(window: Window, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        window.succeeded(window.epoch, math.ceil(window.limit), now)


# The rules, without a server


def test_it_doubles_until_a_refusal_and_then_grows_by_one() -> None:
    window = Window()
    assert window.limit == START
    succeed(window, 10)
    assert window.limit == 20
    succeed(window, 20)
    assert window.limit == 40
    assert window.refused(window.epoch, 429, 0.0)
    assert window.limit == 32
    assert window.why(3.0) == "held at 429s 3 s ago"
    succeed(window, 32)
    assert 33 <= window.limit <= 34, "5 % of it, which is more than one"
    assert window.why(60.0) == "growing"


def test_a_small_window_grows_by_one() -> None:
    window = Window(start=5)
    window.refused(window.epoch, 503, 0.0)
    assert window.limit == 4
    succeed(window, 4)
    assert window.limit == pytest.approx(5, abs=0.2)


def test_refusals_of_what_was_sent_together_count_once() -> None:
    window = Window()
    sent = window.epoch
    assert [window.refused(sent, 429, 0.0) for _ in range(10)] == [True] + [False] * 9
    assert window.limit == 8


def test_it_grows_only_where_it_is_the_limit() -> None:
    window = Window()
    for _ in range(100):
        window.succeeded(window.epoch, 7, 0.0)
    assert window.limit == START
    assert window.why(0.0) == "wide enough"
    window.succeeded(window.epoch, 8, 0.0)
    assert window.limit == 11


def test_its_bounds() -> None:
    window = Window(maximum=16)
    succeed(window, 100)
    assert window.limit == 16
    assert window.why(0.0) == "maximum"
    for second in range(100):
        window.refused(window.epoch, 429, float(second))
        window.succeeded(-1, 0, float(second))  # something sent long ago
    assert window.limit == 1
    succeed(window, 1)
    assert window.limit == 2, "and up it goes again"


def test_after_an_outage_it_is_soon_as_wide_as_it_was() -> None:
    window = Window()
    succeed(window, 90)
    assert window.limit == 100
    for second in range(60):
        window.refused(window.epoch, 429, float(second))
    assert window.outage
    assert 60 <= window.limit <= 70
    succeed(window, 20)
    assert not window.outage
    assert window.limit == pytest.approx(80, abs=5)


def test_a_rate_that_was_not_known_does_not_end_the_doubling() -> None:
    window = Window()
    window.refused(window.epoch, 429, 0.0, by_rate=True)
    assert window.limit == 8
    succeed(window, 8)
    assert window.limit == 16


def timed(window: Window, seconds: Callable[[float], float], now: float, batches: int = 1) -> None:
    """Batches of replies that take `seconds` of the window's width."""
    for _ in range(batches * BATCH):
        window.took("kind", seconds(window.limit), window.epoch, math.ceil(window.limit), now)


def test_a_queue_is_found_out_and_kept_short() -> None:
    window = Window(start=40)
    timed(window, lambda width: 0.1, 0.0)  # before others came
    timed(window, lambda width: width / 40, 1.0)
    assert window.limit == 20, "a trial"
    assert window.why(1.0) == "latency 10.0× its usual"
    timed(window, lambda width: width / 40, 1.0, batches=4)
    assert window.limit <= 5
    succeed(window, 6, 1.0)
    assert 8 <= window.limit <= 11, "where its replies take twice the usual"


def test_a_server_that_is_slower_by_itself_becomes_the_usual() -> None:
    window = Window(start=40)
    timed(window, lambda width: 0.1, 0.0)
    timed(window, lambda width: 0.4, 1.0)
    assert window.limit == 20
    timed(window, lambda width: 0.4, 2.0)
    succeed(window, 20, 2.0)
    assert window.limit == 40
    timed(window, lambda width: 0.4, 3.0, batches=10)
    assert window.limit == 40


def test_between_trials_slow_replies_narrow_it_gently() -> None:
    window = Window(start=40)
    timed(window, lambda width: 0.1, 0.0)
    timed(window, lambda width: 0.4, 1.0, batches=2)
    width = window.limit
    timed(window, lambda width: 2.0, 2.0, batches=5)
    assert window.limit == pytest.approx(0.9 * width), "once a second"
    for second in range(3, 30):
        timed(window, lambda width: 2.0, float(second))
    assert window.limit >= SHORTEST_QUEUE
    timed(window, lambda width: 2.0, 1.0 + TRIAL_EVERY, batches=2)
    timed(window, lambda width: 2.0, 2.0 + TRIAL_EVERY, batches=2)
    before = window.limit
    succeed(window, 10, 2.0 + TRIAL_EVERY)
    assert window.limit > before


# Who goes next


def place(account: Account, number: int = 0, tokens: float = 1.0) -> Place:
    token = turn.set(number)
    made = account.place(Deadline(60))
    turn.reset(token)
    made.tokens = tokens
    return made


def refusal(retry_after: float | None = None) -> RateLimitedError:
    error = RateLimitedError("no")
    error.retry_after = retry_after
    return error


def test_lower_numbers_go_first_and_then_who_came_first() -> None:
    gone: list[tuple[int, int]] = []

    async def one(account: Account, number: int, order: int) -> None:
        async with place(account, number):
            gone.append((number, order))
            await asyncio.sleep(0.1)

    async def main(limits: Limits) -> None:
        account = Account()
        account.wish(limits)
        first = asyncio.create_task(one(account, 99, 0))
        await asyncio.sleep(0)
        numbers = [5, 3, 4, 3, 1, 5, 2, 1]
        await asyncio.gather(first, *(one(account, number, order) for order, number in enumerate(numbers)))

    for limits in (Limits(max_concurrency=1), Limits(requests_per_minute=50)):
        gone.clear()
        run(main(limits))
        assert gone == [(99, 0), *sorted(gone[1:])]
        assert len(gone) == 9


def test_a_retry_keeps_its_turn() -> None:
    async def main() -> list[str]:
        account = Account()
        account.wish(Limits(max_concurrency=1))
        gone: list[str] = []
        first = place(account)
        async with first:
            pass
        async with place(account):
            waits = asyncio.create_task(enter(place(account), "later", gone))
            await asyncio.sleep(0)
            again = asyncio.create_task(enter(first, "retry", gone))
            await asyncio.sleep(0)
        await asyncio.gather(waits, again)
        assert account.load().retries == 1
        return gone

    async def enter(place: Place, name: str, gone: list[str]) -> None:
        async with place:
            gone.append(name)

    assert run(main()) == ["retry", "later"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["go", "go", "go", "cancel", "answered", "answered", "429", "503", "leave", "leave", "wait"]),
        st.integers(0, 30),
    ),
    max_size=80,
)


class Walk:
    """Requests of one account that come and go in any order."""

    def __init__(self, a_minute: float) -> None:
        self.account = Account()
        self.account.wish(Limits(a_minute, start_concurrency=2, max_concurrency=8))
        self.inside: list[tuple[Place, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def one(self, number: int) -> None:
        held, leaves = place(self.account, number), asyncio.Event()
        async with held:
            self.inside.append((held, leaves))
            try:
                await leaves.wait()
            finally:
                self.inside.remove((held, leaves))

    def step(self, step: str, number: int) -> None:
        if step == "go":
            self.tasks.append(asyncio.create_task(self.one(number % 3)))
        elif step == "cancel" and self.tasks:
            self.tasks[number % len(self.tasks)].cancel()
        elif self.inside and step in ("answered", "429", "503", "leave"):
            held, leaves = self.inside[number % len(self.inside)]
            if step == "answered":
                held.answered(None)
            elif step != "leave":
                held.refused(refusal(0.3 if number % 2 else None), int(step), {})
            leaves.set()

    def check(self) -> None:
        account, now = self.account, asyncio.get_running_loop().time()
        alive = sum(not task.done() for task in self.tasks)
        assert account.in_flight == len(self.inside)
        assert account.waiting == alive - len(self.inside)
        waits = [entry[4] for entry in sorted(account._queue) if not entry[3].done()]
        if waits and account._ready_at(waits[0], now) <= now:
            assert account.in_flight >= account._window.limit, "nobody waits while there is room"

    async def finish(self) -> None:
        async with asyncio.timeout(600):
            while not all(task.done() for task in self.tasks):
                for held, leaves in self.inside:
                    held.answered(None)
                    leaves.set()
                await asyncio.sleep(0.01)
        assert (self.account.in_flight, self.account.waiting) == (0, 0)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from([math.inf, 6000.0]))
def test_nobody_waits_while_there_is_room(steps: list[tuple[str, int]], a_minute: float) -> None:
    """Whatever happens in whatever order: no place too many, none left empty, and everyone goes in the end."""

    async def main() -> None:
        walk = Walk(a_minute)
        go = walk.account._go

        def checked(place: Place, now: float) -> None:
            assert walk.account.in_flight + 1 <= math.ceil(walk.account._window.limit)
            go(place, now)

        walk.account._go = checked  # type: ignore[method-assign]
        for step, number in steps:
            walk.step(step, number)
            for _ in range(6):
                await asyncio.sleep(number / 10 if step == "wait" else 0)
            walk.check()
        await walk.finish()

    run(main())


# Against servers


@asynccontextmanager
async def served(fault: Fault, limits: Limits | None = None, deadline: float = 60) -> AsyncIterator[VllmProvider]:
    standin = await VllmStandIn(writes("a b c")).start()
    standin.fault = fault
    provider = VllmProvider(url=standin.url, model="toy", deadline=deadline, limits=limits)
    try:
        yield provider
    finally:
        await provider.aclose()
        await standin.stop()


class Slots:
    """A server with so many slots, which lets others wait; a request takes one for some seconds."""

    def __init__(self, slots: int, seconds: float) -> None:
        self._free = asyncio.Semaphore(slots)
        self.seconds = seconds
        self.served = 0

    async def __call__(self, request: web.Request, body: dict[str, Any]) -> None:
        async with self._free:
            await asyncio.sleep(self.seconds)
            self.served += 1


async def streamed(provider: VllmProvider) -> None:
    async for _ in provider.stream(ASK):
        pass


async def whole(provider: VllmProvider) -> None:
    await provider.complete(ASK)


@asynccontextmanager
async def crowd(ask: Callable[[], Awaitable[None]], size: int) -> AsyncIterator[None]:
    """So many that ask again and again."""

    async def one() -> None:
        while True:
            await ask()

    tasks = [asyncio.create_task(one()) for _ in range(size)]
    yield
    for task in tasks:
        assert not task.done() or task.exception() is None
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def at_slots(limits: Limits | None, ask: Callable[[VllmProvider], Awaitable[None]]) -> tuple[int, list[float]]:
    """Requests that 4 slots served in 30 s, and the window's width in each of these seconds."""

    async def main() -> tuple[int, list[float]]:
        slots = Slots(4, 0.1)
        async with served(slots, limits) as provider, crowd(lambda: ask(provider), 60):
            await asyncio.sleep(15)
            before, widths = slots.served, []
            for _ in range(30):
                await asyncio.sleep(1)
                load = provider.load
                assert load
                widths.append(load.limit)
            return slots.served - before, widths

    return run(main())


@pytest.mark.parametrize("ask", [streamed, whole])
def test_a_server_that_queues_gets_no_more_than_it_can_use(ask: Callable[[VllmProvider], Awaitable[None]]) -> None:
    fixed, _ = at_slots(Limits(max_concurrency=8, start_concurrency=8), ask)
    found, widths = at_slots(None, ask)
    print(f"\n4 slots: {found} requests, {fixed} at a fixed 8; widths {min(widths):.1f} to {max(widths):.1f}")
    assert found >= 0.95 * fixed
    assert min(widths) >= SHORTEST_QUEUE
    assert max(widths) <= 13
    assert 4 <= sum(widths) / len(widths) <= 12


def test_a_server_that_becomes_three_times_slower_keeps_its_window() -> None:
    async def main() -> list[float]:
        slots = Slots(1000, 0.1)
        limits = Limits(max_concurrency=64)
        widths = []
        async with served(slots, limits) as provider, crowd(lambda: streamed(provider), 80):
            await asyncio.sleep(5)
            assert provider.load
            assert provider.load.limit == 64
            slots.seconds = 0.3
            for _ in range(100):
                await asyncio.sleep(0.1)
                widths.append(provider.load.limit)
        return widths

    widths = run(main())
    print("\nthree times slower:", [round(width) for width in widths[::5]])
    assert min(widths) < 64, "it was tried whether fewer at once would be quicker"
    assert widths[-1] == 64


def test_what_is_under_way_is_told() -> None:
    async def main() -> None:
        slots = Slots(1000, 1.0)
        async with served(slots) as provider:
            assert provider.load is None
            async with crowd(lambda: whole(provider), 30):
                await asyncio.sleep(0.5)
                load = provider.load
                assert load
                assert (load.limit, load.in_flight, load.waiting) == (10, 10, 20)
                assert (load.rate_limited, load.retries, load.requests_per_minute) == (0, 0, math.inf)
            await asyncio.sleep(1)
            assert provider.load.in_flight == provider.load.waiting == 0

    run(main())


@pytest.mark.parametrize("streams", [False, True])
def test_waiting_for_the_account_is_not_the_calls_own_time(streams: bool) -> None:
    """A hundred calls of a deadline of 5 s, at one a second: the last one waits for 100 s, and does not fail."""

    async def main() -> float:
        async def pass_on(request: web.Request, body: dict[str, Any]) -> None:
            return None

        limits = Limits(requests_per_minute=60)
        async with served(pass_on, limits, deadline=5) as provider:
            ask = streamed if streams else whole
            await asyncio.gather(*(ask(provider) for _ in range(100)))
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(100, abs=10)


@pytest.mark.parametrize("streams", [False, True])
def test_a_pause_that_the_server_asks_for_is_not_the_calls_own_time(streams: bool) -> None:
    async def main() -> None:
        tries: list[float] = []
        loop = asyncio.get_running_loop()

        async def refuse(request: web.Request, body: dict[str, Any]) -> web.Response | None:
            tries.append(loop.time())
            return web.Response(status=429, headers={"retry-after": "4"}) if loop.time() < 15 else None

        async with served(refuse, deadline=5) as provider:
            await (streamed if streams else whole)(provider)
            assert provider.load
            assert provider.load.retries == len(tries) - 1 == 4
        assert all(later - earlier >= 4 for earlier, later in pairwise(tries))

    run(main())


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("headers", [{}, {"retry-after": "4"}])
def test_an_account_that_lets_nobody_through_is_given_up(headers: dict[str, str], streams: bool) -> None:
    async def main() -> float:
        async def refuse(request: web.Request, body: dict[str, Any]) -> web.Response:
            return web.Response(status=429, headers=headers)

        async with served(refuse, deadline=20) as provider:
            with pytest.raises(RateLimitedError):
                await (streamed if streams else whole)(provider)
        return asyncio.get_running_loop().time()

    deadlines = GIVE_UP if headers else 1
    assert run(main()) == pytest.approx(deadlines * 20, abs=2 * (4 + MOST_PAUSE))
