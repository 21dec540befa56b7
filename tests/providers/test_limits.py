"""One limiter an account: smoothed, learned from headers, shared, and paused by a 429."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web
from pydantic import SecretStr

from nudge_providers.http_transport import HttpTransport
from nudge_providers.limits import Account, Limits, Rate, account
from nudge_providers.standins import StandIn
from tests.toys import writes


class Clock(asyncio.SelectorEventLoop):
    """An event loop in which nobody really waits: the time jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now = max(self.now, self._scheduled[0]._when) + 1e-6  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def moments(rate: Rate, count: int, amount: float = 1) -> list[float]:
    """When each of `count` takers, all there at once, was let through; seconds."""

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        times: list[float] = []

        async def one() -> None:
            await rate.take(amount)
            times.append(loop.time())

        await asyncio.gather(*(one() for _ in range(count)))
        return sorted(times)

    with asyncio.Runner(loop_factory=Clock) as runner:
        return runner.run(run())


@pytest.mark.parametrize(("per_minute", "count"), [(50, 40), (600, 300), (6000, 2000)])
def test_no_second_gets_more_than_its_share_and_a_tenth(per_minute: int, count: int) -> None:
    rate = Rate()
    rate.allow(per_minute)
    times = moments(rate, count)
    share = per_minute / 60
    for begin in times:
        in_a_second = sum(begin <= time < begin + 1 for time in times)
        assert in_a_second <= max(1.1 * share, share + 1) + 1e-9
    assert count / (times[-1] + 1 / share) >= 0.85 * share, "and the allowance is used"


def test_more_than_goes_out_at_once_is_taken_in_parts() -> None:
    rate = Rate()
    rate.allow(60_000)  # 1000 tokens a second
    times = moments(rate, 3, amount=4000)
    assert times[-1] == pytest.approx(12, abs=0.5)


def test_no_limit_costs_no_wait() -> None:
    assert moments(Rate(), 100) == [0.0] * 100


async def test_headers_and_wishes() -> None:
    known = Account()
    known.learn({"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "90000"})
    assert (known.requests.per_minute, known.tokens.per_minute) == (500, 90_000)
    known.learn({"x-ratelimit-limit": "10", "x-tokenlimit-limit": "nonsense"})
    assert (known.requests.per_minute, known.tokens.per_minute) == (600, 90_000)
    known.wish(Limits(requests_per_minute=100))
    known.learn({"x-ratelimit-limit-requests": "500"})
    assert known.requests.per_minute == 100, "never more than the user wants"
    for strange in ("0", "-5", "1e9", "", "٣"):
        Account().learn({"x-ratelimit-limit-requests": strange})


async def test_one_account_is_one_url_and_key() -> None:
    first = account("http://h", SecretStr("a"))
    assert account("http://h", SecretStr("a")) is first
    assert account("http://h", SecretStr("b")) is not first
    assert account("http://other", SecretStr("a")) is not first
    assert "planted" not in repr(account("http://h", SecretStr("planted")))


async def test_a_429_pauses_everything_of_its_account() -> None:
    standin = await StandIn(writes("a b c")).start()
    loop = asyncio.get_running_loop()
    arrivals: list[float] = []

    async def refuse_once(request: web.Request, body: dict[str, object]) -> web.Response | None:
        arrivals.append(loop.time())
        headers = {"retry-after-ms": "400", "x-ratelimit-limit-requests": "60000"}
        return web.Response(status=429, headers=headers) if len(arrivals) == 1 else None

    standin.fault = refuse_once
    one, other = HttpTransport("one", standin.url), HttpTransport("other", standin.url)
    body = {"prompt": "", "max_tokens": 1}

    async def later() -> None:
        while not arrivals:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await other.post("/v1/completions", body)

    await asyncio.gather(one.post("/v1/completions", body), later())
    assert len(arrivals) == 3
    assert min(arrivals[1:]) - arrivals[0] >= 0.39, "also the request that had not been refused"
    assert one._limiter() is other._limiter()
    assert one._limiter().requests.per_minute == 60_000
    for transport in (one, other):
        await transport.aclose()
    await standin.stop()
