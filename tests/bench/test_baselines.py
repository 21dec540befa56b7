"""The baselines on toy models that list their next tokens, and on the real pair."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_client.answer import ModelStats
from nudge_client.bench.baselines import BaselineAnswer, alone, ensemble, proxy_tuning
from nudge_client.prompts import as_messages, base_prompt
from nudge_providers import ContextExceededError, UnavailableError, UsageError
from nudge_providers.llamacpp import LlamaCppProvider
from nudge_providers.types import Completion, CompletionRequest, StreamEnd, Token
from tests.toys import ToyProvider, hashed

# Text so far -> the next tokens with their probabilities, best first; None is the end of sequence.
Ranked = Callable[[str], Mapping[str, float] | None]


@dataclass
class TopToy(ToyProvider):
    """A toy that lists as many next tokens as it is asked for. streams: whether each stream was read to its end."""

    ranked: Ranked = field(kw_only=True)
    streams: list[bool] = field(default_factory=list)

    async def complete(self, request: CompletionRequest) -> Completion:
        done = await super().complete(request)
        if request.logprobs == 1:
            return done
        text = request.prompt[len(self.prompt) :]
        tokens = []
        for token in done.tokens:
            listed = list((self.ranked(text) or {}).items())[: request.logprobs]
            tokens.append(token._replace(top=tuple((name, math.log(p)) for name, p in listed)))
            text += token.text
        return replace(done, tokens=tuple(tokens))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | StreamEnd, None]:
        self.streams.append(False)
        async for item in super().stream(request):
            self.streams[-1] = isinstance(item, StreamEnd)
            yield item


def toy(ranked: Ranked, prompt: str = ">") -> TopToy:
    def best(text: str) -> tuple[str, float] | None:
        following = ranked(text)
        return next(iter(following.items())) if following else None

    return TopToy(best, prompt, ranked=ranked)


def says(*tokens: str, **others: Mapping[str, float]) -> TopToy:
    """A toy that writes these tokens, sure of each, and ends; after any other text it ends too."""
    table: dict[str, Mapping[str, float]] = {}
    text = ""
    for token in tokens:
        table[text] = {token: 0.9}
        text += token
    return toy((table | others).get)


async def run(base: TopToy, nudger: TopToy, small: TopToy | None = None, **options: Any) -> BaselineAnswer:
    options = {"max_tokens": 100} | options
    if small:
        return await proxy_tuning(base, nudger, small, ">", ">", ">", **options)
    return await ensemble(base, nudger, ">", ">", **options)


def sizes(provider: ToyProvider) -> list[int]:
    return [request.max_tokens for request in provider.requests]


# One model alone


async def test_alone_until_it_ends() -> None:
    model = says("a", " b", " c")
    answer = await alone(model, ">", max_tokens=10)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("a b c", "stop", 3)
    assert answer.models == {"base": ModelStats(1, 1, 0, 4, 0)}, "the end of sequence is one of the server's four"
    assert answer.first_token_seconds is not None
    assert answer.first_token_seconds <= answer.seconds
    assert model.streams == [True]


async def test_alone_to_the_limit() -> None:
    answer = await alone(says("a", " b", " c"), ">", max_tokens=2, model="nudger")
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("a b", "length", 2)
    assert answer.models == {"nudger": ModelStats(1, 1, 0, 2, 0)}


async def test_alone_without_a_word() -> None:
    answer = await alone(says(), ">", max_tokens=2)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("", "stop", 0)
    assert answer.first_token_seconds is None


@pytest.mark.parametrize(
    ("tokens", "text", "kept", "discarded"),
    [
        pytest.param(["Hi", ".", "\nInstruction:", " More"], "Hi.", 2, 1, id="one token"),
        pytest.param(["Hi", ".", "\n", "Instruct", "ion", ":", " More"], "Hi.", 2, 4, id="over several tokens"),
        pytest.param(["Hi", ".\nInst", "ruction: More"], "Hi.", 2, 1, id="it begins inside a token"),
        pytest.param(["\nInstruction:", " More"], "", 0, 1, id="at once"),
    ],
)
async def test_alone_to_a_stop_string(tokens: list[str], text: str, kept: int, discarded: int) -> None:
    model = says(*tokens)
    answer = await alone(model, ">", max_tokens=100, stop=["\nInstruction:"])
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == (text, "stop", kept)
    # A stream that was closed tells no usage: what came is counted.
    assert answer.models == {"base": ModelStats(1, 0, 0, kept + discarded, discarded)}
    assert model.streams == [False]
    assert (answer.first_token_seconds is None) == (not text)


async def test_a_stop_string_that_does_not_come() -> None:
    answer = await alone(says("Hi", "\nInstruct", "s"), ">", max_tokens=100, stop=["\nInstruction:"])
    assert (answer.text, answer.finish_reason) == ("Hi\nInstructs", "stop")


# The ensemble


async def test_agreement_goes_through_chunks() -> None:
    base, nudger = says(*"abcde"), says(*"abcde")
    answer = await run(base, nudger, chunk=2)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("abcde", "stop", 5)
    assert [request.prompt for request in base.requests] == [">", ">ab", ">abcd"]
    assert all(request.logprobs == 5 for request in base.requests + nudger.requests)
    assert answer.models == {name: ModelStats(3, 3 + 2 + 4, 0, 6, 0) for name in ("base", "nudger")}


async def test_a_disagreement_is_decided_and_both_are_asked_again() -> None:
    base = says("x", "y", "z", a={"b": 0.9}, ab={"c": 0.9})
    nudger = says("a", "b", "c")
    base.ranked = {"": {"x": 0.5, "a": 0.4}, "x": {"y": 0.9}, "a": {"b": 0.9}, "ab": {"c": 0.9}}.get
    answer = await run(base, nudger)
    assert (answer.text, answer.finish_reason) == ("abc", "stop")
    assert [request.prompt for request in base.requests] == [">", ">a"]
    # The base wrote "xyz" and an end in vain; the nudger "bc" and an end.
    assert answer.models["base"] == ModelStats(2, 3, 0, 7, 4)
    assert answer.models["nudger"] == ModelStats(2, 3, 0, 7, 3)


async def test_the_base_ends_first() -> None:
    """What the aligned model says remains, one token a request."""
    base, nudger = says("a"), says("a", "b", "c")
    answer = await run(base, nudger)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("abc", "stop", 3)
    assert [request.prompt for request in base.requests] == [">", ">ab", ">abc"]


async def test_the_aligned_model_ends_first() -> None:
    answer = await run(says("a", "b", "c"), says("a"))
    assert (answer.text, answer.finish_reason) == ("a", "stop")
    answer = await run(says("a"), says())
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("", "stop", 0)
    assert answer.first_token_seconds is None


@pytest.mark.parametrize(
    ("limit", "chunk", "text", "asked"),
    [
        (1, 16, "a", [1]),
        (2, 16, "ab", [2]),
        (3, 2, "abc", [2, 1]),
        (4, 2, "abcd", [2, 2]),
        (5, 3, "abcde", [3, 2]),
        (6, 3, "abcde", [3, 3]),
    ],
)
async def test_limits(limit: int, chunk: int, text: str, asked: list[int]) -> None:
    base, nudger = says(*"abcde"), says(*"abcde")
    answer = await run(base, nudger, max_tokens=limit, chunk=chunk)
    assert (answer.text, answer.answer_tokens) == (text, len(text))
    assert answer.finish_reason == ("stop" if limit > 5 else "length")
    assert sizes(base) == sizes(nudger) == asked


async def test_tokens_that_disagree_count_towards_the_limit() -> None:
    base, nudger = toy(lambda text: {"x": 0.4}), toy(lambda text: {"yy": 0.6})
    answer = await run(base, nudger, max_tokens=3)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("yyyyyy", "length", 3)
    assert sizes(base) == [3, 2, 1]
    assert answer.models["base"].discarded_tokens == 6
    assert answer.models["nudger"].discarded_tokens == 3


@pytest.mark.parametrize("chunk", [1, 2, 3, 16])
async def test_a_stop_string_over_two_tokens(chunk: int) -> None:
    tokens = ["a", " b\n", "\nQ", ":", " more"]
    answer = await run(says(*tokens), says(*tokens), chunk=chunk, stop=["\nQ:", "never"])
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("a b\n", "stop", 2)
    for stats in answer.models.values():
        assert stats.completion_tokens - stats.discarded_tokens == 2


async def test_what_is_no_text_is_never_chosen() -> None:
    """Both lists hold an end of sequence and a piece of a character whose sums are the highest."""
    ranked: Ranked = {
        "": {"a": 0.3, "</s>": 0.29, "\ufffd": 0.29, "": 0.29},
    }.get
    other: Ranked = {"": {"b": 0.35, "</s>": 0.3, "\ufffd": 0.3, "": 0.3}}.get
    answer = await run(toy(ranked), toy(other))
    assert (answer.text, answer.finish_reason) == ("b", "stop")


async def test_a_limit_inside_a_character() -> None:
    """Nothing whole came: more is asked for once, and then the model counts as ended."""

    @dataclass
    class Cut(TopToy):
        needs: int = 2

        async def complete(self, request: CompletionRequest) -> Completion:
            done = await super().complete(request)
            return done if request.max_tokens >= self.needs else replace(done, text="", tokens=(), finish="length")

    plain = says("é")
    answer = await run(says("é"), Cut(plain.model, ranked=plain.ranked), chunk=1)
    assert (answer.text, answer.finish_reason) == ("é", "stop")
    assert answer.models["nudger"].requests == 2, "the second holds the end too"
    assert answer.models["nudger"].discarded_tokens == 1, "the piece of a character that was asked for again"
    two = says("é", "f")
    both = [Cut(two.model, ranked=two.ranked) for _ in range(2)]
    answer = await run(*both, max_tokens=1)
    assert (answer.text, answer.finish_reason) == ("é", "length"), "what was asked for beyond the limit is not used"
    assert [stats.discarded_tokens for stats in answer.models.values()] == [3, 3]
    answer = await run(says("é"), Cut(plain.model, ranked=plain.ranked, needs=1000), chunk=1)
    assert (answer.text, answer.finish_reason) == ("", "stop")


async def test_empty_tokens_are_an_end() -> None:
    """A server that breaks the contract does not make it go round for ever."""
    empty = toy(lambda text: {"": 0.9})
    answer = await run(says("a"), empty)
    assert (answer.text, answer.finish_reason) == ("", "stop")
    answer = await run(empty, says("a", "b"))
    assert (answer.text, answer.finish_reason) == ("ab", "stop")


async def test_all_models_are_asked_at_once() -> None:
    barrier = asyncio.Barrier(3)

    @dataclass
    class Waits(TopToy):
        async def complete(self, request: CompletionRequest) -> Completion:
            async with asyncio.timeout(10):
                await barrier.wait()
            return await super().complete(request)

    plain = says("a", "b")
    models = [Waits(plain.model, ranked=plain.ranked) for _ in range(3)]
    assert (await run(*models, chunk=1)).text == "ab"


async def test_a_failure_ends_the_other_request() -> None:
    waiting: list[str] = []

    @dataclass
    class Hangs(TopToy):
        async def complete(self, request: CompletionRequest) -> Completion:
            waiting.append("asked")
            try:
                await asyncio.Event().wait()
            finally:
                waiting.append("ended")
            raise AssertionError

    @dataclass
    class Fails(TopToy):
        async def complete(self, request: CompletionRequest) -> Completion:
            raise UnavailableError("gone")

    plain = says("a")
    with pytest.raises(UnavailableError, match="gone"):
        await run(Hangs(plain.model, ranked=plain.ranked), Fails(plain.model, ranked=plain.ranked))
    assert waiting == ["asked", "ended"]


async def test_a_full_window() -> None:
    @dataclass
    class Small(TopToy):
        window: int = 3

        async def complete(self, request: CompletionRequest) -> Completion:
            if len(request.prompt) > self.window:
                raise ContextExceededError("full")
            return await super().complete(request)

    plain = says(*"abcde")
    answer = await run(plain, Small(plain.model, ranked=plain.ranked), chunk=1)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("abc", "length", 3)
    with pytest.raises(ContextExceededError):
        await run(plain, Small(plain.model, ranked=plain.ranked, window=0))


@pytest.mark.parametrize(
    "options",
    [{"max_tokens": 0}, {"chunk": 0}, {"stop": "\nQ:"}, {"stop": [""]}],
    ids=["limit", "chunk", "one", "none"],
)
async def test_bad_settings(options: dict[str, Any]) -> None:
    model = says("a")
    with pytest.raises(UsageError):
        await run(model, model, **options)
    assert not model.requests


# Proxy tuning


async def test_proxy_tuning_moves_the_base() -> None:
    """a: 0.5 · 0.2 / 0.4 = 0.25; b: 0.3 · 0.6 / 0.1 = 1.8; then all three agree on c."""
    base = toy({"": {"a": 0.5, "b": 0.3}, "b": {"c": 0.9}}.get)
    nudger = toy({"": {"b": 0.6, "a": 0.2}, "b": {"c": 0.9}}.get)
    small = toy({"": {"a": 0.4, "b": 0.1}, "b": {"c": 0.9}}.get)
    answer = await run(base, nudger, small)
    assert (answer.text, answer.finish_reason, answer.answer_tokens) == ("bc", "stop", 2)
    assert list(answer.models) == ["base", "nudger", "small_base"]
    assert [request.prompt for request in small.requests] == [">", ">b"]
    assert all(request.logprobs == 100 for request in base.requests)
    assert answer.models["base"].discarded_tokens == 2, "a, and the end after it"
    assert answer.models["nudger"].discarded_tokens == 2, "c, and the end after it"


async def test_proxy_tuning_with_nothing_shared() -> None:
    base, nudger, small = says("a"), toy({"": {"b": 0.9}, "a": {"c": 0.9}}.get), says("s")
    answer = await run(base, nudger, small)
    assert (answer.text, answer.finish_reason) == ("ac", "stop"), "a by the base, c when the base has ended"


# Any models


def noise(seed: int) -> Ranked:
    """Three next tokens, always the same after the same text."""
    models = [hashed(seed * 3 + index, ["a", " b", " c", " cc", "\n"], 0.1, 0.5) for index in range(3)]

    def ranked(text: str) -> Mapping[str, float] | None:
        first = models[0](text)
        others = (model(text) for model in models[1:])
        if first is None:
            return None
        return {first[0]: 0.4} | {other[0]: 0.3 for other in others if other and other[0] != first[0]}

    return ranked


@given(
    seeds=st.tuples(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999)),
    chunk=st.integers(2, 20),
    stop=st.sampled_from([(), (" c\n",), ("aa", " b b")]),
    three=st.booleans(),
)
def test_chunks_change_no_answer(seeds: tuple[int, int, int], chunk: int, stop: tuple[str, ...], three: bool) -> None:
    def answer(size: int) -> tuple[BaselineAnswer, list[TopToy]]:
        models = [toy(noise(seed)) for seed in seeds[: 2 + three]]
        return asyncio.run(run(*models, chunk=size, stop=stop, max_tokens=24)), models

    one, _ = answer(1)
    many, models = answer(chunk)
    assert (many.text, many.finish_reason, many.answer_tokens) == (one.text, one.finish_reason, one.answer_tokens)
    assert many.answer_tokens <= 24
    assert not any(string in many.text for string in stop)
    for stats, model in zip(many.models.values(), models, strict=True):
        assert stats.requests == len(model.requests)
        assert 0 <= stats.discarded_tokens <= stats.completion_tokens


# The real pair


@pytest.fixture
async def real(real_pair: dict[str, str]) -> AsyncIterator[tuple[LlamaCppProvider, LlamaCppProvider]]:
    base, nudger = (LlamaCppProvider(url=real_pair[name]) for name in ("gemma-3-270m", "smollm2-135m-instruct"))
    yield base, nudger
    await base.aclose()
    await nudger.aclose()


@pytest.mark.real
async def test_on_llama_cpp(real: tuple[LlamaCppProvider, LlamaCppProvider]) -> None:
    base, nudger = real
    messages = as_messages("Give me three tips for staying healthy.")
    plain, chat = base_prompt(messages, "instruction"), await nudger.render_chat(messages)
    answers = [
        await alone(base, plain.text, max_tokens=24),
        await alone(nudger, chat, max_tokens=24, model="nudger"),
        await ensemble(base, nudger, plain.text, chat, max_tokens=24, stop=plain.stop),
        # There is no small base model here; the aligned one with the base's prompt stands in for it.
        await proxy_tuning(base, nudger, nudger, plain.text, chat, plain.text, max_tokens=24, stop=plain.stop),
    ]
    for answer in answers:
        assert answer.text.strip()
        assert 0 < answer.answer_tokens <= 24
        assert "\ufffd" not in answer.text
        for stats in answer.models.values():
            assert stats.prompt_tokens > 10 * stats.requests
            assert stats.cached_tokens < stats.prompt_tokens
            assert 0 <= stats.discarded_tokens < stats.completion_tokens
    for answer in answers[:2]:
        (stats,) = answer.models.values()
        assert (stats.requests, stats.discarded_tokens) == (1, 0)
        assert answer.answer_tokens <= stats.completion_tokens <= 24
    for answer in answers[2:]:
        assert len({stats.requests for stats in answer.models.values()}) == 1, "all are asked every time"
        for stats in answer.models.values():
            # 24 tokens are more than a chunk. What was used is in the answer, but for one end of sequence.
            assert 2 <= stats.requests <= 24
            assert stats.completion_tokens <= 16 * stats.requests
            assert stats.completion_tokens - stats.discarded_tokens <= answer.answer_tokens + 1


@pytest.mark.real
async def test_a_stop_string_on_llama_cpp(real: tuple[LlamaCppProvider, LlamaCppProvider]) -> None:
    """The stream is closed at the stop string: the answer is the unstopped one up to there."""
    base, _ = real
    whole = await alone(base, "Count: one, two, three,", max_tokens=12)
    stop = whole.text[6:9]
    cut = await alone(base, "Count: one, two, three,", max_tokens=12, stop=[stop])
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")
    assert cut.models["base"].prompt_tokens == whole.models["base"].prompt_tokens, "llama.cpp tells it early"
    assert cut.answer_tokens <= cut.models["base"].completion_tokens <= 12
