"""An answer that is broken off anywhere goes on in another process: the same text, and nothing asked twice."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nudge_client import NudgeClient, UsageError
from nudge_client.answer import Answer
from nudge_client.checkpoint import Checkpoint, Mark
from nudge_providers.standins import toy_pair
from tests.toys import ToyProvider


def pair(seed: int) -> dict[str, ToyProvider]:
    base, nudger = toy_pair(seed=seed, uncertainty=0.3, agreement=0.6, length=60)
    return {"base": ToyProvider(base, prompt=""), "nudger": ToyProvider(nudger)}


def client(toys: dict[str, ToyProvider], **options: Any) -> NudgeClient:
    form = "question" if options.get("preset") == "paper" else "plain"
    return NudgeClient(**toys, form=form, max_tokens=50, **options)


def written(answer: Answer) -> tuple[object, ...]:
    stats = answer.stats
    return answer.text, answer.segments, answer.finish_reason, stats.rounds, stats.answer_tokens, stats.nudge_ratio


OPTIONS = [
    {"plan": plan, "overlap": overlap}
    for plan in ("chunked", "streaming", "verified")
    for overlap in ("none", "ahead", "eager")
] + [{"preset": "paper"}]


async def whole(seed: int, options: dict[str, Any]) -> Answer:
    toys = pair(seed)
    async with client(toys, **options) as nudge:
        toys["base"].prompt = (await nudge.rendered("Hi")).base
        return await nudge.generate("Hi")


async def broken_off(seed: int, options: dict[str, Any], cuts: list[int]) -> tuple[Answer, list[int], list[int]]:
    """The answer written in pieces of `cuts` pieces, each in a client of its own, through JSON journals; and at each
    cut the requests of the nudger so far as the checkpoint counts them, and those that were really made."""
    parts: list[str] = []
    counted: list[int] = []
    made: list[int] = []
    for cut in [*cuts, 10**9]:
        toys = pair(seed)
        async with client(toys, **options) as nudge:
            toys["base"].prompt = (await nudge.rendered("Hi")).base
            begun = Checkpoint.of(json.loads(part) for part in parts)
            stream = nudge.stream("Hi", begun=begun)
            mark = Mark.of(begun)
            left = cut
            async for _ in stream:
                left -= 1
                if not left:
                    break
            part, mark = stream.part_since(mark)
            parts.append(json.dumps(part))
            # A second look adds nothing but requests that were still under way.
            assert stream.part_since(mark)[0]["replies"] == []
            await stream.aclose()
            if left > 0:
                return stream.answer, counted, made
        counted.append(len(Checkpoint.of(json.loads(part) for part in parts).entries["nudger"]))
        made.append(len(toys["nudger"].requests))
    raise AssertionError("it never ended")


@settings(max_examples=60)
@given(
    st.integers(0, 10_000),
    st.sampled_from(OPTIONS),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
)
async def test_an_answer_goes_on_where_it_was_broken_off(seed: int, options: dict[str, Any], cuts: list[int]) -> None:
    answer, _, _ = await broken_off(seed, options, cuts)
    assert written(answer) == written(await whole(seed, options))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 30))
async def test_nothing_that_was_told_is_asked_again(seed: int, cut: int) -> None:
    toys = pair(seed)
    async with client(toys, plan="chunked") as nudge:
        toys["base"].prompt = (await nudge.rendered("Hi")).base
        stream = nudge.stream("Hi")
        async for _ in stream:
            cut -= 1
            if not cut:
                break
        checkpoint = stream.checkpoint()
        before = {name: len(toy.requests) for name, toy in toys.items()}
        await stream.aclose()
        again = nudge.stream("Hi", begun=checkpoint)
        async for _ in again:
            pass
        # What was known but not asked of the broken-off chunk is requested anew: one request of each model at most.
        straight = await nudge.generate("Hi")
        for author in ("base", "nudger"):
            requests = getattr(again.answer.stats, author).requests
            assert requests <= getattr(straight.stats, author).requests + 1
            assert requests >= before[author]


def test_what_is_no_checkpoint_is_refused() -> None:
    whole_part = {"replies": [[" a", -0.1, -0.1, 1], None], "base": [0, []], "nudger": [0, []], "seconds": 1.0}
    assert len(Checkpoint.of([whole_part]).replies) == 2
    for name in whole_part:
        for value in (None, "x", [1], {"a": 1}):
            with pytest.raises(UsageError, match="no checkpoint"):
                Checkpoint.of([whole_part | {name: value}])


async def test_a_checkpoint_of_other_settings_is_refused() -> None:
    begun = Checkpoint.of([{"replies": [None], "base": [0, []], "nudger": [0, []], "seconds": 0.0}])
    toys = pair(1)
    async with client(toys, preset="paper") as nudge:
        stream = nudge.stream("Hi", begun=begun)
        with pytest.raises(UsageError, match="other settings"):
            async for _ in stream:
                pass


async def test_seconds_and_requests_of_every_process_count() -> None:
    async def first() -> Checkpoint:
        toys = pair(7)
        async with client(toys, plan="chunked") as nudge:
            toys["base"].prompt = (await nudge.rendered("Hi")).base
            stream = nudge.stream("Hi")
            async for _ in stream:
                if stream.rounds == 3:
                    break
            await stream.aclose()
            return replace(stream.checkpoint(), seconds=100.0)

    toys = pair(7)
    async with client(toys, plan="chunked") as nudge:
        toys["base"].prompt = (await nudge.rendered("Hi")).base
        begun = await first()
        stream = nudge.stream("Hi", begun=begun)
        async for _ in stream:
            pass
    stats = stream.answer.stats
    assert stats.seconds >= 100
    assert stats.nudger.requests == len(begun.entries["nudger"]) + len(toys["nudger"].requests)
    assert stats.base.requests == len(begun.entries["base"]) + len(toys["base"].requests)


async def test_an_answer_that_is_not_gone_on_with_yet_keeps_its_requests() -> None:
    """A journal that is written anew just then holds them nowhere else."""
    toys = pair(1)
    async with client(toys, plan="chunked", overlap="none") as nudge:
        toys["base"].prompt = (await nudge.rendered("Hi")).base
        stream = nudge.stream("Hi")
        await anext(aiter(stream))
        begun = stream.checkpoint()
        await stream.aclose()
        again = nudge.stream("Hi", begun=begun)
        assert again.part_since(Mark())[0] == begun.part()
    assert any(begun.entries.values())
