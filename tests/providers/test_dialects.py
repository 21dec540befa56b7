"""One toy pair through every dialect: the same tokens, the same answers, whole or streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openai import AsyncOpenAI

from nudge_client import NudgeClient
from nudge_providers import CapabilityError, CompletionRequest, MalformedReply, UnavailableError
from nudge_providers.completions import CompletionProvider
from nudge_providers.endpoint import parse_endpoint
from nudge_providers.openai_client import OpenAIClientProvider
from nudge_providers.registry import make_provider
from nudge_providers.standins import PROMPT_END, StandIn, TogetherStandIn, VllmStandIn
from nudge_providers.types import Provider, StreamEnd, Token, Usage
from tests.toys import Model, hashed, run

DIALECTS = {
    "llamacpp": (StandIn, "llamacpp@{url}"),
    "vllm": (VllmStandIn, "vllm@{url}/v1"),
    "together": (TogetherStandIn, "together:toy@{url}/v1"),
    # The generic adapter speaks to any of the legacy shape.
    "sglang": (VllmStandIn, "sglang:toy@{url}"),
}


class OnAClient(OpenAIClientProvider):
    """The adapter on a client that is closed with it."""

    def __init__(self, url: str, deadline: float) -> None:
        self.client = AsyncOpenAI(api_key="planted", base_url=f"{url}/v1")
        super().__init__(self.client, "toy", profile="sglang", deadline=deadline)

    async def aclose(self) -> None:
        await super().aclose()
        await self.client.close()


Build = Callable[[str, float], CompletionProvider]
# Adapters with no endpoint of their own, by what builds one from a url and a deadline.
BUILT: dict[str, tuple[type[StandIn], Build]] = {"openai-client": (VllmStandIn, OnAClient)}
ADAPTERS = [*DIALECTS, *BUILT]


def adapter(name: str, url: str, deadline: float) -> CompletionProvider:
    """The adapter of this name for a stand-in's url."""
    if name in BUILT:
        return BUILT[name][1](url, deadline)
    provider = make_provider(parse_endpoint(DIALECTS[name][1].format(url=url)), deadline=deadline)
    assert isinstance(provider, CompletionProvider)
    return provider


def standin_for(name: str, model: Model) -> StandIn:
    """The stand-in that this adapter speaks to."""
    return (DIALECTS.get(name) or BUILT[name])[0](model)


WORDS = [" a", " b", " the", "ly", ".", " 🎉", "\n", " über", " two words"]
BASE, NUDGER = hashed(1, WORDS, 0.01, 0.2), hashed(2, WORDS, 0.002, 0.2)
ASK = CompletionRequest("Hi" + PROMPT_END, 30)


@pytest.fixture(params=ADAPTERS)
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[StandIn, CompletionProvider]]:
    standin = await standin_for(request.param, NUDGER).start()
    provider = adapter(request.param, standin.url, 5)
    yield standin, provider
    await provider.aclose()
    await standin.stop()


async def streamed(provider: CompletionProvider, request: CompletionRequest) -> tuple[list[Token], StreamEnd]:
    *tokens, end = [item async for item in provider.stream(request) if not isinstance(item, Usage)]
    assert isinstance(end, StreamEnd)
    return [token for token in tokens if isinstance(token, Token)], end


async def test_a_stream_says_what_a_completion_says(served: tuple[StandIn, CompletionProvider]) -> None:
    _, provider = served
    for limit in (1, 5, 30, 200):
        request = replace(ASK, max_tokens=limit)
        whole = await provider.complete(request)
        tokens, end = await streamed(provider, request)
        assert tokens == list(whole.tokens)
        assert (end.finish, end.usage) == (whole.finish, whole.usage)


@pytest.mark.parametrize("nudger", ADAPTERS)
@pytest.mark.parametrize("base", ADAPTERS)
async def test_the_same_answer_through_any_two_dialects(base: str, nudger: str, tmp_path: Path) -> None:
    template = tmp_path / "toy.jinja"  # hosted APIs render none
    template.write_text("{{ messages[-1].content }}" + PROMPT_END)
    options = {"answer_start": PROMPT_END, "max_tokens": 60, "chat_template": str(template)}
    async with AsyncExitStack() as stack:
        ends: list[str | Provider] = []
        for name, model in ((base, BASE), (nudger, NUDGER)):
            standin = await standin_for(name, model).start()
            stack.push_async_callback(standin.stop)
            if name in BUILT:
                ends.append(await stack.enter_async_context(aclosing(adapter(name, standin.url, 5))))
            else:
                ends.append(DIALECTS[name][1].format(url=standin.url))
        async with NudgeClient(*ends, **options) as client:
            answers = {plan: await client.generate("Hi", plan=plan) for plan in ("chunked", "streaming", "verified")}
    # Worked out by the toys themselves, without any server.
    known = await asyncio.to_thread(run, BASE, NUDGER, max_tokens=60, base_stop=("\nInstruction:",))
    assert len(known.answer.segments) > 4
    for plan, answer in answers.items():
        assert answer.plan == plan
        assert answer.segments == known.answer.segments
        assert (answer.finish_reason, answer.stats.rounds) == (known.answer.finish_reason, known.answer.stats.rounds)


async def test_a_stream_closed_early_cancels_the_request(served: tuple[StandIn, CompletionProvider]) -> None:
    _, provider = served
    stream = provider.stream(ASK)
    while not isinstance(await anext(stream), Token):
        pass
    await stream.aclose()
    assert (await provider.complete(ASK)).text


async def test_a_stream_that_breaks_off_goes_on_without_a_lost_or_doubled_token(
    served: tuple[StandIn, CompletionProvider],
) -> None:
    standin, provider = served
    whole = await provider.complete(ASK)
    for kept in (0, 1, 7):
        before = len(standin.bodies)

        async def fault(
            request: web.Request, body: dict[str, Any], kept: int = kept, before: int = before
        ) -> web.StreamResponse | None:
            if not body.get("stream") or len(standin.bodies) > before + 1:
                return None
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            for event in standin.events(body)[:kept]:
                await response.write(f"data: {json.dumps(event)}\n\n".encode())
            await response.write(b'data: {"choices": [{"te')
            assert request.transport
            request.transport.close()
            return response

        standin.fault = fault
        tokens, end = await streamed(provider, ASK)
        assert "".join(token.text for token in tokens) == whole.text
        assert end.finish == whole.finish
        assert len(standin.bodies) == before + 2
        assert standin.bodies[-1]["max_tokens"] == ASK.max_tokens - kept


async def test_an_error_inside_a_stream(served: tuple[StandIn, CompletionProvider]) -> None:
    standin, provider = served

    async def fault(request: web.Request, body: dict[str, Any]) -> web.Response:
        error = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
        return web.Response(body=error, headers={"content-type": "text/event-stream"})

    standin.fault = fault
    provider._http.deadline = 0.5
    with pytest.raises(UnavailableError, match="out of memory"):
        await streamed(provider, ASK)


async def test_a_stalled_stream_ends_within_the_deadline(served: tuple[StandIn, CompletionProvider]) -> None:
    standin, provider = served
    hold = asyncio.Event()

    async def fault(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await hold.wait()
        return response

    await provider.capabilities()
    standin.fault = fault
    provider._http.deadline, provider._http._stall_timeout = 0.5, 0.1
    with pytest.raises(UnavailableError, match="no data"):
        await streamed(provider, ASK)
    hold.set()


async def test_a_stream_that_never_begins_ends_at_the_deadline(served: tuple[StandIn, CompletionProvider]) -> None:
    standin, provider = served

    async def fault(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while request.transport and not request.transport.is_closing():
            await asyncio.sleep(0.01)
        return web.Response()

    await provider.capabilities()
    standin.fault = fault
    provider._http.deadline = 0.2
    async with asyncio.timeout(10):
        with pytest.raises(UnavailableError, match=r"no answer within 0.2 s"):
            await streamed(provider, ASK)


async def test_no_logprobs(served: tuple[StandIn, CompletionProvider]) -> None:
    standin, provider = served
    standin.logprobs = False
    with pytest.raises(CapabilityError, match="no log-probabilities"):
        await provider.complete(ASK)


async def test_greedy_requests_send_no_sampling_fields(served: tuple[StandIn, CompletionProvider]) -> None:
    standin, provider = served
    await provider.complete(replace(ASK, top_p=0.5, seed=3))
    assert not {"top_p", "seed", "top_k", "min_p", "stop", "echo"} & standin.bodies[-1].keys()


async def test_no_finish_at_the_end_of_a_stream_is_malformed(served: tuple[StandIn, CompletionProvider]) -> None:
    standin, provider = served

    async def fault(request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.Response(body=b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"})

    standin.fault = fault
    with pytest.raises(MalformedReply, match="finish"):
        await streamed(provider, ASK)


# Together's stand-in beside Together's own package


async def test_togethers_own_types_accept_the_stand_in() -> None:
    from together import AsyncTogether
    from together.types import Completion
    from together.types.completion_chunk import CompletionChunk

    standin = await TogetherStandIn(NUDGER).start()
    body = {"model": "toy", "prompt": ASK.prompt, "max_tokens": 8, "temperature": 0.0, "logprobs": 1}
    Completion.model_validate(standin.reply(body), strict=True)
    for event in standin.events(body):
        CompletionChunk.model_validate(event, strict=True)
    async with AsyncTogether(api_key="planted", base_url=standin.url, max_retries=0) as client:
        done = await client.completions.create(
            model="toy", prompt=ASK.prompt, max_tokens=8, temperature=0.0, logprobs=1
        )
        assert done.choices[0].text == standin.reply(body)["choices"][0]["text"]
        stream = await client.completions.create(
            model="toy", prompt=ASK.prompt, max_tokens=8, temperature=0.0, logprobs=1, stream=True
        )
        texts = [chunk.choices[0].text or "" async for chunk in stream]
    assert "".join(texts) == done.choices[0].text
    await standin.stop()
