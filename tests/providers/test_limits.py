"""One limiter an account: smoothed, learned from headers, shared, and paused by a 429."""

from __future__ import annotations

import asyncio
import random

import pytest
from aiohttp import web
from pydantic import SecretStr

from nudge_providers import CompletionRequest
from nudge_providers.account import Account, account
from nudge_providers.http_transport import HttpTransport
from nudge_providers.limits import Limits
from nudge_providers.retry import Deadline
from nudge_providers.standins import PROMPT_END, Phase, Quota, StandIn, VllmStandIn
from nudge_providers.standins.server import Latency
from nudge_providers.vllm import VllmProvider
from tests.toys import writes
from tests.virtual import run


def moments(limits: Limits, count: int, tokens: float = 1) -> list[float]:
    """When each of `count` requests, all there at once, was let through; seconds."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        known = Account()
        known.wish(limits)
        times: list[float] = []

        async def one() -> None:
            place = known.place(Deadline(60))
            place.tokens = tokens
            async with place:
                times.append(loop.time())

        await asyncio.gather(*(one() for _ in range(count)))
        return times

    return run(main())


@pytest.mark.parametrize(("per_minute", "count"), [(50, 40), (600, 300), (6000, 2000)])
def test_no_second_gets_more_than_its_share_and_a_tenth(per_minute: int, count: int) -> None:
    times = moments(Limits(requests_per_minute=per_minute), count)
    share = per_minute / 60
    for begin in times:
        in_a_second = sum(begin <= time < begin + 1 for time in times)
        assert in_a_second <= max(1.1 * share, share + 1) + 1e-9
    assert count / (times[-1] + 1 / share) >= 0.85 * share, "and the allowance is used"


def test_more_than_goes_out_at_once_is_paid_off_after() -> None:
    times = moments(Limits(tokens_per_minute=60_000), 4, tokens=4000)  # 1000 tokens a second
    assert times == pytest.approx([0, 4, 8, 12], abs=0.2)


def test_no_limit_costs_no_wait() -> None:
    assert moments(Limits(start_concurrency=1, max_concurrency=1), 100) == [0.0] * 100


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


def test_a_limit_that_rises_holds_at_once() -> None:
    """For those who wait, too, and for what they wait to pay off."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        known = Account()
        known.learn({"x-ratelimit-limit-requests": "50", "x-ratelimit-limit-tokens": "60"})
        times: list[float] = []

        async def one() -> None:
            place = known.place(Deadline(60))
            place.tokens = 100
            async with place:
                times.append(loop.time())

        waiting = asyncio.gather(*(one() for _ in range(20)))
        await asyncio.sleep(10)
        known.learn({"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "6000000"})
        await waiting
        return times

    times = run(main())
    assert times[0] == 0
    assert times[1] == pytest.approx(10, abs=0.1)
    assert times[-1] == pytest.approx(10 + 19 * 60 / 500, abs=0.3)


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


# A server whose limit changes: 50 requests a minute, then 500, then nothing for 20 s, then 500 again

PHASES = (Phase(60, 50), Phase(60, 500), Phase(20, 0), Phase(60, 500))


def used(quota: Quota, speed: float = 1.0, seconds: float = 0.1) -> dict[float, float]:
    """What 1300 calls at once make of it: the share of each phase that was used, by when it begins.

    speed: of the server's clock. seconds: that a reply takes.
    """

    random.seed(0)  # the jitter of pauses

    async def main() -> None:
        standin = await VllmStandIn(writes("a b c"), latency=Latency(first=seconds / speed)).start()
        standin.fault = quota
        provider = VllmProvider(url=standin.url, model="toy", deadline=120)
        calls = [asyncio.create_task(provider.complete(CompletionRequest("Hi" + PROMPT_END, 2))) for _ in range(1300)]
        await asyncio.sleep(sum(phase.seconds for phase in quota.phases) / speed)
        failed = [call for call in calls if call.done() and call.exception()]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert not failed
        await provider.aclose()
        await standin.stop()

    (run if speed == 1 else asyncio.run)(main())
    begin, shares = 0.0, {}
    for phase in quota.phases:
        end = begin + phase.seconds
        if phase.per_minute:
            allowed = phase.seconds * phase.per_minute / 60
            shares[begin] = sum(begin <= time < end for time in quota.allowed) / allowed
        begin = end
    print(f"\nused { ({at: round(share, 2) for at, share in shares.items()}) }, refused {len(quota.refused)}")
    return shares


@pytest.mark.parametrize("retry_after", [False, True])
def test_limits_that_replies_tell_are_used_and_kept(retry_after: bool) -> None:
    quota = Quota(PHASES, retry_after=retry_after)
    assert min(used(quota).values()) >= 0.85
    # The first second is over before anybody knows of a limit; whoever tries in the outage is refused.
    sent = sorted(time for time in quota.allowed + quota.refused if time >= 1 and not 120 <= time < 140)
    for begin in sent:
        share = (50 if begin < 60 else 500) / 60
        in_a_second = sum(begin <= time < begin + 1 for time in sent)
        if not 59 <= begin < 60:
            assert in_a_second <= 1.1 * share + 1
    assert len(quota.refused) < 50


@pytest.mark.parametrize("retry_after", [False, True])
def test_limits_that_nobody_tells_are_found_out(retry_after: bool) -> None:
    quota = Quota(PHASES, headers=False, retry_after=retry_after)
    shares = used(quota)
    total = sum(share * phase for share, phase in zip(shares.values(), (50, 500, 500), strict=True)) / 1050
    print(f"overall {total:.2f}")
    assert total >= 0.85
    assert min(shares.values()) >= 0.7
    assert len(quota.refused) < 0.15 * len(quota.allowed)


def test_a_limit_that_is_counted_by_the_minute_is_found_out() -> None:
    quota = Quota((Phase(240, 60),), headers=False, over=60)
    assert used(quota)[0.0] >= 0.8


def test_slow_replies_are_no_reason_to_use_less() -> None:
    """42 of them are under way at once."""
    assert min(used(Quota(PHASES, retry_after=True), seconds=5).values()) >= 0.75


def test_the_clock_of_a_quota_can_run_faster() -> None:
    """In real time: what is told is scaled with it."""
    shares = used(Quota((Phase(20, 500),), speed=5), speed=5)
    assert shares[0.0] >= 0.7
