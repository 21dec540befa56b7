from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_client import Answer, NudgeClient, Settings
from nudge_client.answer import ModelStats
from nudge_client.batch import estimate as module
from nudge_client.batch.assumptions import LEVELS, NEEDS
from nudge_client.batch.estimate import Estimate, Range, estimate, evenly
from nudge_client.batch.input.rows import Row
from nudge_client.counting import count_cl100k
from nudge_client.settings import Price
from nudge_providers.standins import toy_pair
from tests.test_client import Anything
from tests.toys import run

PRICES = {"base": Price(prompt=1, cached=0.5, completion=2), "nudger": Price(prompt=0.1, completion=0.2)}


def rows(number: int, prompt: str = "Why is the sky blue?", **options: object) -> list[Row]:
    return [Row(n, n, prompt, {}, options) for n in range(1, number + 1)]


def ranges(found: Estimate) -> list[Range]:
    models = [
        getattr(model, name) for model in (found.base, found.nudger) for name in ("requests", "completion_tokens")
    ]
    return [*models, found.base.prompt_tokens, found.tokens, *filter(None, [found.cost, found.seconds])]


@given(st.integers(0, 300), st.integers(1, 20))
def test_evenly(count: int, most: int) -> None:
    kept, found = evenly(iter(range(count)), most)
    assert found == count
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    if count > most:
        gaps = [b - a for a, b in pairwise([-kept[0], *kept, 2 * (count - 1) - kept[-1]])]
        assert max(gaps) <= 2.5 * count / most + 1


@pytest.mark.parametrize("plan", ["auto", "chunked", "streaming", "verified"])
@pytest.mark.parametrize("overlap", ["none", "ahead", "eager"])
def test_from_the_rows_alone(plan: str, overlap: str) -> None:
    settings = Settings(plan=plan, overlap=overlap, prices=PRICES, max_tokens=100)  # type: ignore[arg-type]
    found = estimate(rows(10), settings, samples=3)
    assert (found.rows, found.answers, found.counted, found.probed, found.seconds) == (10, 30, 10, 0, None)
    for each in ranges(found):
        assert 0 < each.low < each.likely < each.high
    # 2.9 tokens are written for each of the answer at most (by README: 3.5 by the embedded pair, 5 by the paper's way).
    assert found.nudger.completion_tokens.low + found.base.completion_tokens.low > 0.2 * 3000
    assert found.nudger.completion_tokens.high + found.base.completion_tokens.high < 6 * 3000
    assert any("100" in line for line in found.assumptions)
    assert json.loads(json.dumps(found.to_dict()))["rows"] == 10


def test_the_paper_takes_more_and_prompts_count_each_time() -> None:
    plain, paper = (estimate(rows(1), Settings(preset=preset)) for preset in ("default", "paper"))  # type: ignore[arg-type]
    assert paper.tokens.likely > plain.tokens.likely
    assert plain.cost is None
    long = estimate(rows(1, "Why is the sky blue? " * 100), Settings())
    grown = long.base.prompt_tokens.likely - plain.base.prompt_tokens.likely
    extra = count_cl100k("Why is the sky blue? " * 100) - count_cl100k("Why is the sky blue?")
    assert grown == pytest.approx(plain.base.requests.likely * extra, rel=0.01)
    assert long.base.completion_tokens == plain.base.completion_tokens


def test_a_row_has_options_of_its_own() -> None:
    mixed = estimate([*rows(1), *rows(1, max_tokens=1024)], Settings(max_tokens=512))
    alone = estimate(rows(1), Settings(max_tokens=512))
    assert mixed.base.completion_tokens.high == pytest.approx(3 * alone.base.completion_tokens.high)
    refused = estimate([*rows(1), *rows(1, prompt=""), *rows(1, max_tokens=-1)], Settings())
    assert (refused.rows, refused.tokens) == (3, estimate(rows(1), Settings()).tokens)


def test_templates_are_counted() -> None:
    server, qwen = (estimate(rows(1), Settings(chat_template=template)) for template in ("server", "qwen"))
    assert 0.5 < qwen.nudger.prompt_tokens.likely / server.nudger.prompt_tokens.likely < 2


def test_of_many_rows_some_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    monkeypatch.setattr(module, "MOST_COUNTED", 50)
    monkeypatch.setattr("nudge_client.batch.assumptions.count_cl100k", lambda text: counted.append(text) or 10)
    found = estimate((row for row in rows(1000)), Settings())
    assert (found.rows, found.counted) == (1000, 50)
    assert len(counted) == 2 * found.counted
    assert f"{found.counted} of the 1000 rows" in found.assumptions[-1]
    one = estimate(rows(1), Settings())
    assert found.tokens.likely == pytest.approx(1000 * one.tokens.likely)


def test_no_rows() -> None:
    assert estimate([], Settings(prices=PRICES)).cost == Range(0, 0, 0)


def simulated(number: int, tokens: int = 60, **options: object) -> list[Answer]:
    """Answers of pairs that are alike, but not the same."""
    found = []
    for seed in range(number):
        pair = toy_pair(seed=seed, agreement=0.7, uncertainty=0.25, length=3 * tokens + 7 * (seed % 13))
        found.append(run(*pair, plan="streaming", overlap="eager", pauses=lambda: 2, **options).answer)
    return found


def test_a_probe_foretells_the_job() -> None:
    answers = simulated(64)
    probe, _ = evenly(answers, 8)
    found = estimate(rows(64), Settings(prices=PRICES), probe=probe, concurrency=16)
    whole = {"base": ModelStats(), "nudger": ModelStats()}
    for answer in answers:
        for name in ("base", "nudger"):
            stats = getattr(answer.stats, name)
            so_far = whole[name]
            whole[name] = replace(
                so_far,
                prompt_tokens=so_far.prompt_tokens + stats.prompt_tokens,
                completion_tokens=so_far.completion_tokens + stats.completion_tokens,
            )
    cost = sum(PRICES[name].of(stats.prompt_tokens, 0, stats.completion_tokens) for name, stats in whole.items())
    assert found.cost
    assert found.cost.low <= cost <= found.cost.high < 2 * found.cost.low
    assert found.probed == len(probe) == 8
    mean = sum(answer.stats.seconds for answer in probe) / 8
    assert found.seconds
    assert found.seconds.likely == pytest.approx(4 * mean)
    assert "16 answers at once" in found.assumptions[-1]


def test_one_answer_tells_little() -> None:
    answer = simulated(1)[0]
    found = estimate(rows(10), Settings(), probe=[answer], concurrency=100)
    likely = 10 * answer.stats.base.prompt_tokens
    assert found.base.prompt_tokens == Range(likely / 2, likely, 2 * likely)
    assert found.seconds
    assert found.seconds.likely == pytest.approx(answer.stats.seconds), "no job is shorter than an answer"
    assert estimate(rows(10), Settings(), probe=[answer]).seconds is None


@pytest.mark.parametrize("plan", ["chunked", "streaming", "verified"])
async def test_the_assumptions_hold_for_what_they_were_measured_on(plan: str) -> None:
    """Requests and tokens for one of the answer, by a pair as the bench simulates it."""
    options = {"plan": plan, "overlap": "ahead", "max_tokens": 128}
    sure, unsure = NEEDS[plan]
    for need, uncertainty, agreement in ((sure, 0.12, 0.88), (unsure, 0.3, 0.68)):
        answers = []
        for seed in range(12):
            pair = toy_pair(seed=seed, uncertainty=uncertainty, agreement=agreement, inside=0.4, length=10**6)
            base, nudger = (Anything(model, "\n", scores=True, pauses=lambda: 2) for model in pair)
            async with NudgeClient(base, nudger, **options) as client:
                answers.append(await asyncio.wait_for(client.generate("Hi"), 20))
        tokens = sum(answer.stats.answer_tokens for answer in answers)
        requests = sum(answer.stats.base.requests for answer in answers) / tokens
        drafts = sum(answer.stats.nudger.requests for answer in answers) / tokens
        assert requests == pytest.approx(need.base_requests, rel=0.35)
        assert drafts == pytest.approx(need.nudger_requests, rel=0.25)
    assert LEVELS[0].length < LEVELS[1].length < LEVELS[2].length == 1
