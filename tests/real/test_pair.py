"""The real pair on the real server: Gemma 3 270M nudged by SmolLM2 135M Instruct, on llama.cpp."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest

from nudge_client import NudgeClient
from nudge_client.prompts import as_messages
from nudge_providers import CompletionRequest, ContextExceededError
from nudge_providers.llamacpp import LlamaCppProvider

pytestmark = pytest.mark.real

PROMPTS = [
    "Give me three tips for staying healthy.",
    "What is the capital of France?",
    "Why is the sky blue?",
    "Who wrote Romeo and Juliet?",
    "How do birds fly?",
    "Explain photosynthesis in one paragraph.",
    "What is the largest ocean on Earth?",
    "Describe a sunset.",
    "List five fruits.",
    "List three colours, one a line.",
    "Give me a numbered list of the planets.",
    "What is 12 + 30?",
    "A shop sells pens at 3 dollars each. How much do 7 pens cost?",
    "If x = 4, what is 3x + 2?",
    "Count from 1 to 10.",
    "Write a short poem about the sea.",
    "Write a haiku.\nUse the word autumn.",
    "What are the\n\nmain differences\n\nbetween cats and dogs?",
    "First line.\n- one\n- two\n\nNow summarise the list above.",
    "Translate 'good morning' into French.",
    "¿Cuál es la capital de España?",
    "Wie heißt die Hauptstadt von Österreich?",
    "Quelle est la couleur du ciel ?",
    "你好,请介绍一下北京。",
    "日本の首都はどこですか?",
    "Какая столица России?",
    "Tell me a joke 😀",
    "Answer with emojis only: how do you feel? 🎉🥳",
    "What does 👩‍🚀 mean?",
    "Write a Python function that adds two numbers.",
    "What does this do?\n```python\nfor i in range(3):\n    print(i)\n```",
    "Write an SQL query that counts users.",
    "Hello!",
]


@pytest.fixture
async def client(real_pair: dict[str, str]) -> AsyncIterator[NudgeClient]:
    base, nudger = (f"llamacpp@{real_pair[name]}" for name in ("gemma-3-270m", "smollm2-135m-instruct"))
    async with NudgeClient(base=base, nudger=nudger, max_tokens=48) as made:
        yield made


@pytest.mark.timeout(900)
async def test_many_prompts(client: NudgeClient) -> None:
    """Whatever is asked: segments spell the text, a word has one author, and a second run ends sensibly too."""
    both = 0
    for prompt in PROMPTS:
        stream = client.stream(prompt)
        shown = ""
        async for piece in stream:
            shown = shown[: len(shown) - piece.retracted] + piece.text
        answer = stream.answer
        assert answer.text
        assert shown == answer.text == "".join(segment.text for segment in answer.segments)
        assert "\ufffd" not in answer.text
        for one, two in zip(answer.segments, answer.segments[1:], strict=False):
            assert one.text[-1].isspace() or two.text[0].isspace(), (prompt, one, two)
        assert answer.stats.answer_tokens <= 48
        assert 0 <= answer.stats.base.discarded_tokens <= answer.stats.base.completion_tokens
        both += len({segment.author for segment in answer.segments}) == 2
    assert both >= 0.8 * len(PROMPTS), "both models write, in nearly every answer"
    for prompt in PROMPTS[::4]:
        again = await client.generate(prompt)
        assert again.text
        assert again.finish_reason in ("stop", "length", "repetition", "repeated_nudge")


@pytest.mark.parametrize(
    "options", [{"preset": "paper"}, {"boundary": "token"}, {"boundary": "rollback"}, {"ending": "word"}]
)
async def test_other_rules(client: NudgeClient, options: dict[str, str]) -> None:
    answer = await client.generate(PROMPTS[0], **options)
    assert answer.text == "".join(segment.text for segment in answer.segments)
    assert {segment.author for segment in answer.segments} == {"base", "nudger"}


async def test_unicode_segmentation(client: NudgeClient) -> None:
    answer = await client.generate("你好,请介绍一下北京。", segmentation="unicode")
    assert answer.text == "".join(segment.text for segment in answer.segments)


async def test_sampling_repeats_with_a_seed(client: NudgeClient) -> None:
    async def sample(seed: int) -> str:
        return (await client.generate(PROMPTS[0], temperature=0.9, top_p=0.95, seed=seed, max_tokens=24)).text

    texts = {await sample(seed) for seed in range(4)}
    assert len(texts) > 1, "a temperature above 0 samples"


async def test_several_turns(client: NudgeClient) -> None:
    turns = [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "Name a fruit."},
        {"role": "assistant", "content": "Apple."},
        {"role": "user", "content": "And a vegetable?"},
    ]
    answer = await client.generate(turns, max_tokens=24)
    assert answer.text
    assert "\nUser:" not in answer.text


async def test_answers_side_by_side(client: NudgeClient) -> None:
    import asyncio

    answers = await asyncio.gather(*(client.generate(prompt, max_tokens=12) for prompt in PROMPTS[:4]))
    assert all(answer.text for answer in answers)


# The traps of PROVIDERS, on the server itself


@pytest.fixture
async def base(real_pair: dict[str, str]) -> AsyncIterator[LlamaCppProvider]:
    provider = LlamaCppProvider(url=real_pair["gemma-3-270m"])
    yield provider
    await provider.aclose()


@pytest.fixture
async def nudger(real_pair: dict[str, str]) -> AsyncIterator[LlamaCppProvider]:
    provider = LlamaCppProvider(url=real_pair["smollm2-135m-instruct"])
    yield provider
    await provider.aclose()


async def test_trap_1_the_server_ignores_echo(real_pair: dict[str, str]) -> None:
    body = {"prompt": "The capital of France is", "max_tokens": 2, "temperature": 0, "logprobs": 1, "echo": True}
    async with (
        aiohttp.ClientSession() as session,
        session.post(real_pair["gemma-3-270m"] + "/v1/completions", json=body) as r,
    ):
        choice = (await r.json())["choices"][0]
    assert not choice["text"].startswith("The")
    assert len(choice["logprobs"]["content"]) == 2


async def test_trap_2_merged_characters_and_cut_ones(nudger: LlamaCppProvider) -> None:
    prompt = await nudger.render_chat(as_messages("Say only the word hi and an emoji: 🧑‍🚀"))
    whole = await nudger.complete(CompletionRequest(prompt, 20))
    assert whole.usage.completion_tokens > len(whole.tokens), "a listed token can be several of the model's"
    for limit in range(1, 12):
        cut = await nudger.complete(CompletionRequest(prompt, limit))
        assert whole.text.startswith(cut.text)
        assert cut.text == "".join(token.text for token in cut.tokens)


async def test_trap_4_an_end_leaves_no_text(nudger: LlamaCppProvider) -> None:
    prompt = await nudger.render_chat(as_messages("Say yes."))
    done = await nudger.complete(CompletionRequest(prompt, 200))
    assert done.finish == "stop"
    assert "<|im_end|>" not in done.text
    assert all(token.text for token in done.tokens)


async def test_trap_6_bos_is_not_doubled(base: LlamaCppProvider, nudger: LlamaCppProvider) -> None:
    assert (await base.capabilities()).server_adds_bos is True
    plain = await base.complete(CompletionRequest("The capital of France is", 4))
    typed = await base.complete(CompletionRequest("<bos>The capital of France is", 4))
    assert typed.usage.prompt_tokens == plain.usage.prompt_tokens
    # SmolLM's "BOS" is the first token of its template, and the server does not add it.
    assert (await nudger.capabilities()).server_adds_bos is False
    prompt = await nudger.render_chat(as_messages("Hi"))
    assert prompt.startswith((await nudger.capabilities()).bos)
    sent = await nudger.complete(CompletionRequest(prompt, 1))
    assert sent.usage.prompt_tokens > 10


async def test_trap_7_a_space_at_the_end_changes_what_comes(base: LlamaCppProvider) -> None:
    word = await base.complete(CompletionRequest("The capital of France, a country in Europe, is", 1))
    space = await base.complete(CompletionRequest("The capital of France, a country in Europe, is ", 1))
    assert word.text != space.text


async def test_trap_9_an_idle_connection_is_not_used_again(base: LlamaCppProvider, real_pair: dict[str, str]) -> None:
    """The server closes idle sockets after about five seconds; this waits for just that."""
    import asyncio

    await base.complete(CompletionRequest("One", 1))
    await asyncio.sleep(6)
    assert (await base.complete(CompletionRequest("One", 1))).usage.completion_tokens == 1


async def test_context_exceeded_names_both_numbers(base: LlamaCppProvider) -> None:
    with pytest.raises(ContextExceededError, match=r"has \d+ tokens.*holds 4096") as caught:
        await base.complete(CompletionRequest("a b c " * 3000, 1))
    assert caught.value.prompt_tokens
    assert caught.value.prompt_tokens > 4096
