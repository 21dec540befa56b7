"""The stand-ins themselves: byte-tokens, latencies, and a toy pair that is what was asked for."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nudge_providers.completions import CompletionProvider
from nudge_providers.standins import PROMPT_END, Latency, StandIn, TogetherStandIn, ToyServer, VllmStandIn, toy_pair
from nudge_providers.standins import server as server_module
from nudge_providers.types import CompletionRequest, StreamEnd, Token
from tests.providers.test_dialects import adapter

KINDS: dict[str, type[ToyServer]] = {"llamacpp": StandIn, "vllm": VllmStandIn, "together": TogetherStandIn}
# One character of two, three and four bytes each, two in one token, and one at either end of a token.
WRITES = [" über", "🎉🎉", " the", " 中", "ñ", " of", "€!"]
TEXT = "".join(WRITES)


def model(text: str) -> tuple[str, float] | None:
    """Writes TEXT, whatever part of a token is there already."""
    rest = TEXT[len(text) :]
    token = next((each for each in WRITES if rest.startswith(each)), rest[:1])
    return (token, 0.8) if rest and TEXT.startswith(text) else None


@asynccontextmanager
async def provided(dialect: str, **options: Any) -> Any:
    standin = await KINDS[dialect](model, **options).start()
    provider = adapter(dialect, standin.url, 5)
    yield standin, provider
    await provider.aclose()
    await standin.stop()


async def streamed(provider: CompletionProvider, request: CompletionRequest) -> tuple[list[Token], StreamEnd]:
    *tokens, end = [item async for item in provider.stream(request)]
    assert isinstance(end, StreamEnd)
    return [token for token in tokens if isinstance(token, Token)], end


def bytes_of(text: str) -> int:
    """Tokens of a text whose characters beyond ASCII are written byte by byte, by the toy's own tokens."""
    return sum(1 if token.isascii() else sum(len(c.encode()) for c in token) for token in WRITES if token in text)


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
async def test_byte_tokens_spell_the_same_text_whole_and_streamed(dialect: str) -> None:
    request = CompletionRequest("Hi" + PROMPT_END, 100)
    async with provided(dialect, by_bytes=True) as (_, provider):
        whole = await provider.complete(request)
        tokens, end = await streamed(provider, request)
    async with provided(dialect) as (_, provider):
        plain = await provider.complete(request)
    assert whole.text == plain.text == "".join(token.text for token in tokens) == TEXT
    assert tokens == list(whole.tokens)
    assert end.usage.completion_tokens == whole.usage.completion_tokens == bytes_of(TEXT) + 1
    assert plain.usage.completion_tokens == len(WRITES) + 1
    sure = {token.text: token.logprob for token in whole.tokens}
    # vLLM lists each byte, and all of them must be right; llama.cpp tells the last one's logprob alone.
    assert sure["€"] == pytest.approx(math.log(0.8) * (3 if dialect == "vllm" else 1))
    assert sure[" the"] == pytest.approx(math.log(0.8))


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
async def test_a_limit_inside_a_character_leaves_it_out(dialect: str) -> None:
    texts = []
    async with provided(dialect, by_bytes=True) as (_, provider):
        for limit in range(1, bytes_of(TEXT) + 1):
            request = CompletionRequest("Hi" + PROMPT_END, limit)
            whole = await provider.complete(request)
            tokens, end = await streamed(provider, request)
            assert whole.text == "".join(token.text for token in tokens)
            assert (whole.finish, whole.usage.completion_tokens) == ("length", limit)
            assert (end.finish, end.usage.completion_tokens) == ("length", limit)
            assert TEXT.startswith(whole.text)
            texts.append(whole.text)
    assert texts == sorted(texts, key=len)
    assert texts[-1] == TEXT
    assert len(set(texts)) < len(texts), "some limits end inside a character"


@pytest.mark.parametrize("dialect", KINDS)
async def test_latencies_are_kept(dialect: str) -> None:
    """Never less than what was asked for, by the loop's own clock; and no more is waited for than that."""
    latency = Latency(round_trip=0.03, first=0.02, token=0.01)
    loop = asyncio.get_running_loop()
    request = CompletionRequest("Hi" + PROMPT_END, 5)
    async with provided(dialect, latency=latency) as (_, provider):
        await provider.capabilities()
        began = loop.time()
        await provider.complete(request)
        assert loop.time() - began >= 0.03 + 0.02 + 4 * 0.01
        began, arrived = loop.time(), []
        async for item in provider.stream(request):
            if isinstance(item, Token):
                arrived.append(loop.time() - began)
    assert len(arrived) == 5
    assert all(moment >= 0.05 + 0.01 * number for number, moment in enumerate(arrived))


@pytest.mark.parametrize("dialect", KINDS)
async def test_what_is_waited_for(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a clock that stands still: the waits are what was asked for, and no more."""
    waits: list[float] = []
    loop = asyncio.get_running_loop()

    async def until(moment: float) -> None:
        waits.append(moment - now)

    now = loop.time()
    monkeypatch.setattr(server_module, "_until", until)
    async with provided(dialect, latency=Latency(round_trip=3, first=2, token=1, prompt_token=0.5)) as (
        standin,
        provider,
    ):
        await provider.capabilities()
        monkeypatch.setattr(loop, "time", lambda: now)
        await provider.complete(CompletionRequest("Hi" + PROMPT_END, 5))
        assert waits == [3 + 2 + 4]
        waits.clear()
        await streamed(provider, CompletionRequest("Hi" + PROMPT_END, 5))
        assert waits[:5] == [5, 6, 7, 8, 9]
        assert set(waits[5:]) <= {9}, "what ends a stream comes with its last token"
        assert standin._reading({"prompt": "x" * 40, "echo": True}) == 2 + 10 * 0.5
        monkeypatch.undo()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("uncertainty", "agreement"), [(0.1, 0.8), (0.3, 0.5), (0.0, 1.0), (0.05, 0.0)])
def test_a_toy_pair_is_as_unsure_and_as_alike_as_asked(seed: int, uncertainty: float, agreement: float) -> None:
    base, nudger = toy_pair(seed=seed, uncertainty=uncertainty, agreement=agreement, length=10**9)
    counts = {True: [0, 0], False: [0, 0]}  # sure or not: tokens, of them the nudger's too
    text = ""
    for _ in range(4000):
        following, other = base(text), nudger(text)
        assert following
        assert other
        token, probability = following
        seen = counts[probability > 0.5]
        seen[0] += 1
        seen[1] += other[0] == token
        text += token
    sure, unsure = counts[True], counts[False]
    assert unsure[0] / 4000 == pytest.approx(uncertainty, abs=0.025)
    # Where they differ by the dice, the nudger's own word is always another.
    assert sure[1] / sure[0] == pytest.approx(agreement, abs=0.03)
    if unsure[0]:
        assert unsure[1] / unsure[0] == pytest.approx(agreement / 2, abs=0.08)
    assert len(set(text.split())) > 30, "no short circle"


def test_a_toy_pair_is_always_the_same_and_the_nudger_ends() -> None:
    one, two = toy_pair(seed=5, length=50), toy_pair(seed=5, length=50)
    for text in ("", " the", " the food is", "x" * 49):
        assert [model(text) for model in one] == [model(text) for model in two]
    assert one[1]("x" * 50) is None
    assert one[0]("x" * 50) is not None
    assert any(toy_pair(seed=6)[0](text) != one[0](text) for text in ("", "a", "b"))


@pytest.mark.parametrize("dialect", ["llamacpp", "vllm"])
async def test_the_official_openai_package_reads_the_stand_ins(dialect: str) -> None:
    from openai import AsyncOpenAI
    from openai.types import Completion

    asked: Any = {"model": "toy", "prompt": "Hi" + PROMPT_END, "max_tokens": 100, "temperature": 0, "logprobs": 1}
    async with provided(dialect) as (standin, _):
        if dialect == "vllm":  # llama.cpp's log-probabilities are of the chat kind
            Completion.model_validate(standin.reply(asked), strict=True)
            for event in standin.events(asked):
                for choice in event["choices"]:
                    choice["finish_reason"] = (
                        choice["finish_reason"] or "stop"
                    )  # its types know no event before the end
                Completion.model_validate(event, strict=True)
        async with AsyncOpenAI(api_key="none", base_url=f"{standin.url}/v1", max_retries=0) as client:
            done = await client.completions.create(**asked)
            stream: Any = await client.completions.create(**asked, stream=True)
            parts = [event.choices[0].text async for event in stream if event.choices]
    assert done.choices[0].text == "".join(parts) == TEXT
    assert done.choices[0].finish_reason == "stop"
