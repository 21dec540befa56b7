"""The real vLLM server, with the embedded pair's models: `make test-vllm` sets it up and runs this."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from nudge_client import NudgeClient
from nudge_client.doctor import examine
from nudge_client.prompts import as_messages, render
from nudge_providers import CompletionRequest, ContextExceededError, NotFoundError, RejectedError
from nudge_providers.types import StreamEnd, Token
from nudge_providers.vllm import VllmProvider

URLS = os.environ.get("NUDGE_TEST_VLLM", "").split()

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not URLS, reason="THE REAL vLLM WAS NOT TESTED: run `make test-vllm`"),
]
EMOJI = "Say only the word hi and an emoji: 🧑‍🚀"


@pytest.fixture
async def base() -> AsyncIterator[VllmProvider]:
    provider = VllmProvider(url=URLS[0] + "/v1")
    yield provider
    await provider.aclose()


@pytest.fixture
async def nudger() -> AsyncIterator[VllmProvider]:
    provider = VllmProvider(url=URLS[1], model="nudger")
    yield provider
    await provider.aclose()


async def test_facts(base: VllmProvider, nudger: VllmProvider) -> None:
    assert (await base.capabilities()).model == "base"
    assert (await nudger.capabilities()).context_length == 2048
    assert (await base.capabilities()).server_adds_bos is False, "Gemma here needs its BOS typed"


async def test_template_is_the_models_own(nudger: VllmProvider) -> None:
    messages = as_messages(EMOJI)
    assert await nudger.render_chat(messages) == render("smollm", messages)


async def test_end_of_sequence_is_listed_and_left_out(nudger: VllmProvider) -> None:
    prompt = await nudger.render_chat(as_messages("Say yes."))
    done = await nudger.complete(CompletionRequest(prompt, 200))
    assert done.finish == "stop"
    assert "<|im_end|>" not in done.text
    assert done.usage.completion_tokens == len(done.tokens) + 1


async def test_byte_tokens_make_characters_whole_and_streamed(nudger: VllmProvider) -> None:
    prompt = await nudger.render_chat(as_messages(EMOJI))
    whole = await nudger.complete(CompletionRequest(prompt, 20))
    assert whole.usage.completion_tokens == 20 > len(whole.tokens)
    for limit in range(1, 9):
        cut = await nudger.complete(CompletionRequest(prompt, limit))
        assert whole.text.startswith(cut.text)
        assert cut.text == "".join(token.text for token in cut.tokens)
    *tokens, end = [item async for item in nudger.stream(CompletionRequest(prompt, 20))]
    assert [token.text for token in tokens if isinstance(token, Token)] == [token.text for token in whole.tokens]
    assert isinstance(end, StreamEnd)
    assert end.usage == whole.usage


async def test_scoring_a_text(base: VllmProvider) -> None:
    scored = (await base.score("<bos>The capital of France is", " Paris, a big")).tokens
    assert "".join(token.text for token in scored) == " Paris, a big"
    after = await base.complete(CompletionRequest("<bos>The capital of France is Paris", 1))
    # Alone or in company, the numbers differ by hundredths.
    assert scored[1].next_token.text == after.tokens[0].text
    assert scored[1].next_token.logprob == pytest.approx(after.tokens[0].logprob, abs=0.2)


async def test_sampling_tells_the_most_probable_token_too(nudger: VllmProvider) -> None:
    prompt = await nudger.render_chat(as_messages("Name an animal."))
    done = await nudger.complete(CompletionRequest(prompt, 12, temperature=1.5, seed=4))
    assert all(token.top_logprob >= token.logprob for token in done.tokens)
    assert any(token.top_logprob > token.logprob for token in done.tokens)


async def test_errors(base: VllmProvider) -> None:
    with pytest.raises(ContextExceededError, match="holds 2048"):
        await base.complete(CompletionRequest("a b c " * 3000, 1))
    with pytest.raises(RejectedError, match="non-empty"):
        await base.complete(CompletionRequest("", 1))
    other = VllmProvider(url=URLS[0], model="bass")
    with pytest.raises(NotFoundError, match="It serves: base"):
        await other.capabilities()
    await other.aclose()


async def test_a_closed_stream_leaves_the_server_ready(nudger: VllmProvider) -> None:
    prompt = await nudger.render_chat(as_messages("Tell me a long story."))
    for _ in range(4):
        stream = nudger.stream(CompletionRequest(prompt, 400))
        while not isinstance(await anext(stream), Token):
            pass
        await stream.aclose()
    assert (await nudger.complete(CompletionRequest(prompt, 2))).text


async def test_doctor(base: VllmProvider, nudger: VllmProvider) -> None:
    one, two = await examine(base), await examine(nudger)
    for report in (one, two):
        found = {name: finding.value for name, finding in report.findings.items()}
        assert (found["logprobs"], found["max_top_logprobs"], found["raw_logprobs"]) == (True, 20, True)
        assert (found["prompt_logprobs"], found["streaming_logprobs"], found["context_length"]) == (True, True, 2048)
    assert "--bos '<bos>'" in one.findings["bos"].advice, "Gemma misses it here"
    assert one.findings["chat_template"].verdict == "degraded"
    assert two.findings["chat_template"].verdict == two.findings["eos"].verdict == "fine"


@pytest.mark.parametrize("sides", ["vllm+vllm", "vllm+llamacpp", "llamacpp+vllm"])
async def test_pairs(sides: str, real_pair: dict[str, str]) -> None:
    one, two = sides.split("+")
    base = f"vllm@{URLS[0]}" if one == "vllm" else f"llamacpp@{real_pair['gemma-3-270m']}"
    nudger = f"vllm@{URLS[1]}" if two == "vllm" else f"llamacpp@{real_pair['smollm2-135m-instruct']}"
    async with NudgeClient(base, nudger, bos="<bos>", max_tokens=40) as client:
        answer = await client.generate("Give me three tips for staying healthy.")
    assert answer.text == "".join(segment.text for segment in answer.segments)
    assert {segment.author for segment in answer.segments} == {"base", "nudger"}
