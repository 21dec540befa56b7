from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import pytest

import nudge_client
from nudge_client import NudgeClient, Settings, UsageError
from nudge_providers import ContextExceededError, MalformedReply, UnavailableError
from nudge_providers.types import Completion, CompletionRequest, Token, Usage
from tests.toys import ToyProvider, hashed, script, writes

LONG = "Yes we can do a lot of things here if only we all try to do them at once today"


class Anything(ToyProvider):
    """A toy that does not mind which prompt it is given: the answer begins after the last line."""

    async def complete(self, request: CompletionRequest) -> Completion:
        self.requests.append(request)
        from dataclasses import replace

        inner = ToyProvider(self.model)
        return await inner.complete(replace(request, prompt=">" + request.prompt.rpartition("\n")[2]))


def pair() -> tuple[Anything, Anything]:
    base = script(("Yes", " we", 0.9), ("Yes we", " do", 0.9), ("Yes we do", ".", 0.2), ("Yes we do.", " So", 0.1))
    return Anything(base, "\n"), Anything(lambda text: writes(LONG)(text) if text != "Yes we do." else None, "\n")


async def test_generate() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, draft=4) as client:
        answer = await client.generate("Can we?")
    assert answer.text == "Yes we do."
    assert [(s.author, s.text) for s in answer.segments] == [("nudger", "Yes"), ("base", " we do.")]
    assert base.requests[0].prompt == "You are a helpful assistant.\nInstruction: Can we?\nYes"
    assert base.closed is False, "a provider that was handed in is its owner's to close"


async def test_the_answer_object() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, draft=4) as client:
        answer = await client.generate("Can we?")
    whole = json.loads(answer.to_json())
    assert list(whole) == ["text", "finish_reason", "plan", "segments", "stats", "plan_reason"]
    assert whole["segments"][0] == {"author": "nudger", "text": "Yes"}
    stats = whole["stats"]
    assert (stats["rounds"], stats["answer_tokens"], stats["nudged_tokens"], stats["nudge_ratio"]) == (2, 4, 1, 0.25)
    model = {"requests", "prompt_tokens", "cached_tokens", "completion_tokens", "discarded_tokens"}
    assert set(stats["base"]) == set(stats["nudger"]) == model
    assert stats["base"]["requests"] == 1
    assert stats["base"]["discarded_tokens"] == stats["base"]["completion_tokens"] - 3
    assert stats["seconds"] >= stats["first_token_seconds"] >= 0


async def test_stream() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, draft=4) as client:
        stream = client.stream("Can we?")
        with pytest.raises(UsageError, match="not finished"):
            _ = stream.answer
        pieces = [piece async for piece in stream]
    assert "".join(piece.text for piece in pieces) == stream.answer.text == "Yes we do."
    assert {(piece.author, piece.reason) for piece in pieces} >= {("nudger", "nudge"), ("base", "confident")}


async def test_trace() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, draft=4) as client:
        answer = await client.generate("Can we?")
    rows = [json.loads(line) for line in answer.trace_lines()]
    assert rows[0] == {
        "author": "nudger",
        "text": "Yes",
        "top_probability": 0.9,
        "reason": "nudge",
        "request": "nudger-1",
    }
    assert rows[3] == {
        "author": "base",
        "text": ".",
        "top_probability": 0.2,
        "reason": "inside_word",
        "request": "base-1",
    }


async def test_settings_of_one_answer() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, draft=4) as client:
        assert (await client.generate("Can we?", max_tokens=1)).text == "Yes"
        assert (await client.generate("Can we?")).text == "Yes we do."
        with pytest.raises(UsageError, match="max_tokens"):
            await client.generate("Can we?", max_tokens=0)
        with pytest.raises(UsageError, match="belong to the client"):
            await client.generate("Can we?", base="llamacpp@http://h:1")


async def test_the_paper_preset() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, preset="paper", draft=4) as client:
        answer = await client.generate("Can we?")
    assert answer.plan == "paper"
    assert (
        base.requests[0].prompt == "Answer the question by walking through the reasoning steps.\nQuestion: Can we?\nYes"
    )
    assert answer.text == "Yes we do"


async def test_temperatures_and_seed_reach_the_requests() -> None:
    base, nudger = pair()
    async with NudgeClient(
        base=base, nudger=nudger, temperature=0.8, nudger_temperature=0.0, seed=5, top_p=0.9
    ) as client:
        await client.generate("Can we?")
    assert {(r.temperature, r.top_p) for r in base.requests} == {(0.8, 0.9)}
    assert all(r.seed is not None for r in base.requests)
    assert {(r.temperature, r.seed) for r in nudger.requests} == {(0.0, None)}


async def test_uncertainty_is_judged_on_the_top_token_not_the_sampled_one() -> None:
    class Sampled(Anything):
        async def complete(self, request: CompletionRequest) -> Completion:
            unlikely = Token(" rare", math.log(0.01), math.log(0.9))
            return Completion(" rare", (unlikely,), "stop", Usage(completion_tokens=1))

    _, nudger = pair()
    async with NudgeClient(base=Sampled(writes("")), nudger=nudger, draft=4, max_tokens=2, temperature=1.0) as client:
        answer = await client.generate("Can we?")
    assert answer.segments[1].text == " rare"


async def test_an_answer_that_fills_the_window_keeps_what_it_has() -> None:
    class Full(Anything):
        async def complete(self, request: CompletionRequest) -> Completion:
            if len(self.requests) > 1:
                raise ContextExceededError("too long")
            return await super().complete(request)

    async with NudgeClient(
        base=Full(hashed(1, [" a", " b"], 0, 0)), nudger=Anything(writes(LONG), "\n"), chunk=3
    ) as client:
        answer = await client.generate("Can we?")
    assert answer.finish_reason == "length"
    assert answer.stats.answer_tokens > 3


async def test_a_prompt_that_does_not_fit_is_an_error() -> None:
    class Full(Anything):
        async def complete(self, request: CompletionRequest) -> Completion:
            raise ContextExceededError("too long")

    async with NudgeClient(base=Full(writes("")), nudger=Full(writes(""))) as client:
        with pytest.raises(ContextExceededError):
            await client.generate("Can we?")


@pytest.mark.parametrize("error", [UnavailableError("down"), MalformedReply("toy", "text", "is odd")])
async def test_what_was_written_before_a_failure_is_not_lost(error: Exception) -> None:
    class Failing(Anything):
        async def complete(self, request: CompletionRequest) -> Completion:
            if len(self.requests) > 1:
                raise error
            return await super().complete(request)

    async with NudgeClient(
        base=Failing(hashed(1, [" a", " b"], 0, 0)), nudger=Anything(writes(LONG), "\n"), chunk=3, plan="chunked"
    ) as client:
        stream = client.stream("Can we?")
        with pytest.raises(type(error)):
            async for _ in stream:
                pass
    assert stream.partial().text.startswith("Yes ")
    assert stream.partial().stats.base.requests == 3, "the one that failed was made, too"


async def test_closing_a_stream_early() -> None:
    base, nudger = pair()
    async with NudgeClient(base=base, nudger=nudger, draft=4) as client:
        stream = client.stream("Can we?")
        async for _ in stream:
            break
        await stream.aclose()
    assert stream.partial().text.startswith("Yes")


async def test_must_be_open() -> None:
    base, nudger = pair()
    with pytest.raises(UsageError, match="async with"):
        await NudgeClient(base=base, nudger=nudger).generate("Can we?")


def test_generate_for_scripts() -> None:
    base, nudger = pair()
    assert nudge_client.generate("Can we?", base=base, nudger=nudger, draft=4).text == "Yes we do."


async def test_generate_for_scripts_inside_a_loop() -> None:
    with pytest.raises(UsageError, match="await"):
        nudge_client.generate("Can we?")


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 2},
        {"nonsense": 1},
        {"chat_template": "nowhere"},
        {"base": "local:none"},
        {"base": 7},
        {"nudger": object()},
    ],
)
async def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        async with NudgeClient(**options):
            pass


def test_settings_object() -> None:
    assert NudgeClient(settings=Settings(threshold=0.5), chunk=3).settings.model_dump(
        include={"threshold", "chunk"}
    ) == {
        "threshold": 0.5,
        "chunk": 3,
    }


def test_public_names() -> None:
    for name in nudge_client.__all__:
        assert getattr(nudge_client, name) is not None
    assert set(nudge_client.__all__) <= set(dir(nudge_client))
    with pytest.raises(AttributeError):
        _ = nudge_client.nothing


async def test_a_stream_cannot_be_closed_by_another_task() -> None:
    waiting, hold = asyncio.Event(), asyncio.Event()

    class Slow(Anything):
        async def complete(self, request: CompletionRequest) -> Completion:
            waiting.set()
            await hold.wait()
            return await super().complete(request)

    base, _ = pair()
    async with NudgeClient(base=base, nudger=Slow(writes("Yes."), "\n")) as client:
        stream = client.stream("Can we?")

        async def follow() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(follow())
        await waiting.wait()
        with pytest.raises(UsageError, match="cancel that task"):
            await stream.aclose()
        hold.set()
        await task


async def test_a_paper_answer_that_fills_the_window_is_cleaned_like_any_other() -> None:
    class Full(Anything):
        async def complete(self, request: CompletionRequest) -> Completion:
            if self.requests:
                raise ContextExceededError("too long")
            return await super().complete(request)

    base = Anything(script(("Hi", " you \t", 0.9)))
    async with NudgeClient(base=base, nudger=Full(writes("Hi there x y z"), "\n"), preset="paper", draft=2) as client:
        answer = await client.generate("Can we?")
    assert (answer.text, answer.finish_reason) == ("Hi you", "length")
