"""The llama.cpp adapter: its dialect, its traps (PROVIDERS), and what it refuses to believe."""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from nudge_providers import (
    CapabilityError,
    CompletionRequest,
    ContextExceededError,
    MalformedReply,
    Message,
    NotFoundError,
    UsageError,
)
from nudge_providers.llamacpp import LlamaCppProvider
from nudge_providers.standins import PROMPT_END, StandIn
from nudge_providers.standins.llamacpp import entry
from tests.toys import writes

ASK = CompletionRequest("question" + PROMPT_END, 4)


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    server = await StandIn(writes("one two three")).start()
    yield server
    await server.stop()


@pytest.fixture
async def provider(standin: StandIn) -> AsyncIterator[LlamaCppProvider]:
    made = LlamaCppProvider(url=standin.url, deadline=5)
    yield made
    await made.aclose()


def answer_with(standin: StandIn, **choice: Any) -> None:
    """Make the stand-in send this choice instead of its own."""

    async def fault(request: web.Request, body: dict[str, Any]) -> web.Response:
        reply = standin.reply(body)
        reply["choices"][0] |= choice
        return web.json_response(reply)

    standin.fault = fault


async def test_a_completion(provider: LlamaCppProvider) -> None:
    done = await provider.complete(ASK)
    assert done.text == "one two three"
    assert [token.text for token in done.tokens] == ["one", " two", " three"]
    assert done.finish == "stop"
    assert done.tokens[0].top_probability == pytest.approx(0.9)
    assert (done.usage.completion_tokens, done.usage.prompt_tokens) == (4, len(ASK.prompt))
    assert done.request_id == "chatcmpl-standin"


async def test_greedy_sends_no_sampling_settings_and_never_echo(standin: StandIn, provider: LlamaCppProvider) -> None:
    await provider.complete(CompletionRequest(ASK.prompt, 4, temperature=0, top_p=0.5, seed=3))
    assert standin.bodies[-1] == {
        "prompt": ASK.prompt,
        "max_tokens": 4,
        "temperature": 0,
        "logprobs": 1,
        "cache_prompt": True,
    }


async def test_sampling_switches_the_default_samplers_off(standin: StandIn, provider: LlamaCppProvider) -> None:
    await provider.complete(CompletionRequest(ASK.prompt, 4, temperature=0.7, top_p=0.5, seed=3))
    sent = standin.bodies[-1]
    assert (sent["temperature"], sent["top_p"], sent["top_k"], sent["min_p"], sent["seed"]) == (0.7, 0.5, 0, 0.0, 3)


async def test_trap_1_echo_is_never_inferred(standin: StandIn, provider: LlamaCppProvider) -> None:
    """The reply holds generated tokens only, whatever the server was asked for."""
    assert (await provider.complete(ASK)).text == "one two three"
    assert "echo" not in standin.bodies[-1]


async def test_trap_2_merged_characters(standin: StandIn, provider: LlamaCppProvider) -> None:
    content = [entry("🧑‍🚀", 0.9), entry("x", 0.8)]
    answer_with(standin, text="🧑‍🚀x", logprobs={"content": content})
    assert [token.text for token in (await provider.complete(ASK)).tokens] == ["🧑‍🚀", "x"]


async def test_trap_2_a_character_cut_by_the_limit_is_dropped(standin: StandIn, provider: LlamaCppProvider) -> None:
    answer_with(standin, text="x\ufffd", logprobs={"content": [entry("x", 0.8)]}, finish_reason="length")
    assert (await provider.complete(ASK)).text == "x"
    answer_with(standin, text="\ufffd", logprobs=None, finish_reason="length")
    done = await provider.complete(ASK)
    assert (done.text, done.tokens, done.finish) == ("", (), "length")


async def test_trap_4_end_of_sequence_is_an_empty_token(standin: StandIn, provider: LlamaCppProvider) -> None:
    answer_with(standin, text="x", logprobs={"content": [entry("x", 0.8), entry("", 0.9)]}, finish_reason="stop")
    assert [token.text for token in (await provider.complete(ASK)).tokens] == ["x"]


@pytest.mark.parametrize(("adds", "sent"), [(True, "Hi"), (False, "<bos>Hi")])
async def test_trap_6_bos_is_not_doubled(adds: bool, sent: str) -> None:
    server = await StandIn(writes("x"), adds_bos=adds).start()
    provider = LlamaCppProvider(url=server.url)
    await provider.complete(CompletionRequest("<bos>Hi", 1))
    assert server.bodies[-1]["prompt"] == sent
    await provider.aclose()
    await server.stop()


async def test_sampled_token_below_the_top(standin: StandIn, provider: LlamaCppProvider) -> None:
    content = [entry("x", 0.1, top_logprobs=[{"token": "y", "logprob": math.log(0.6)}])]
    answer_with(standin, text="x", logprobs={"content": content})
    token = (await provider.complete(ASK)).tokens[0]
    assert (token.text, token.top_probability) == ("x", pytest.approx(0.6))
    assert token.logprob == pytest.approx(math.log(0.1))


async def test_no_logprobs(standin: StandIn, provider: LlamaCppProvider) -> None:
    standin.logprobs = False
    with pytest.raises(CapabilityError, match="no log-probabilities"):
        await provider.complete(ASK)


async def test_prompt_over_the_context_names_both_numbers(standin: StandIn, provider: LlamaCppProvider) -> None:
    standin.window = 10
    with pytest.raises(ContextExceededError, match="18 tokens.*holds 10") as caught:
        await provider.complete(ASK)
    assert (caught.value.prompt_tokens, caught.value.context_length) == (18, 10)


async def test_loading_is_waited_for(standin: StandIn, provider: LlamaCppProvider) -> None:
    left = [503, 503]

    async def loading(request: web.Request, body: dict[str, Any]) -> web.Response | None:
        error = {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
        return web.json_response(error, status=left.pop()) if left else None

    standin.fault = loading
    assert (await provider.complete(ASK)).text == "one two three"


@pytest.mark.parametrize("model", ["models/toy-7b.gguf", "toy-7b.gguf", "toy-7b"])
async def test_known_model(standin: StandIn, model: str) -> None:
    provider = LlamaCppProvider(url=standin.url + "/v1/", model=model)
    await provider.complete(ASK)
    assert standin.bodies[-1]["model"] == model
    await provider.aclose()


async def test_unknown_model_offers_the_nearest(standin: StandIn) -> None:
    provider = LlamaCppProvider(url=standin.url, model="toy-8b")
    with pytest.raises(NotFoundError, match=r"no model 'toy-8b'.*toy-7b"):
        await provider.complete(ASK)
    await provider.aclose()


async def test_needs_a_url() -> None:
    with pytest.raises(UsageError, match="needs a url"):
        LlamaCppProvider(url="")


async def test_render_chat(provider: LlamaCppProvider) -> None:
    assert await provider.render_chat([Message("user", "Hi")]) == "<|user|>Hi" + PROMPT_END


async def test_capabilities_are_asked_once(provider: LlamaCppProvider) -> None:
    facts = await provider.capabilities()
    assert (facts.context_length, facts.bos, facts.server_adds_bos) == (4096, "<bos>", False)
    assert await provider.capabilities() is facts


GOOD = {"text": "one two", "logprobs": {"content": [entry("one", 0.9), entry(" two", 0.8)]}, "finish_reason": "length"}


def broken(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    choice = copy.deepcopy(GOOD)
    *way, last = path
    place: Any = choice
    for step in way:
        place = place[step]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return choice


FIRST = ("logprobs", "content", 0)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        (("text",), 7, "text"),
        (("finish_reason",), "tired", "finish_reason"),
        (("text",), "one two three", "logprobs do not spell"),
        (("text",), "one tw", "logprobs do not spell"),
        (("text",), "one", "logprobs do not spell"),
        (("logprobs", "content"), {}, "content"),
        (FIRST, "one", "content\\[0\\]"),
        ((*FIRST, "token"), None, "token"),
        ((*FIRST, "logprob"), None, "logprob"),
        ((*FIRST, "logprob"), KeyError, "logprob"),
        ((*FIRST, "logprob"), "-0.5", "logprob"),
        ((*FIRST, "logprob"), True, "logprob"),
        ((*FIRST, "logprob"), 0.5, "logprob"),
        ((*FIRST, "logprob"), float("nan"), "logprob"),
        ((*FIRST, "top_logprobs"), [], "top_logprobs"),
        ((*FIRST, "top_logprobs"), None, "top_logprobs"),
        ((*FIRST, "top_logprobs", 0), 3, "top_logprobs"),
        ((*FIRST, "top_logprobs", 0, "logprob"), 2.0, "top_logprobs"),
    ],
)
async def test_malformed_replies_name_server_field_and_value(
    standin: StandIn, provider: LlamaCppProvider, path: tuple[Any, ...], value: Any, field: str
) -> None:
    answer_with(standin, **broken(path, value))
    with pytest.raises(MalformedReply, match=field) as caught:
        await provider.complete(ASK)
    assert standin.url in str(caught.value)
    assert len(standin.bodies) == 1, "a malformed reply is not tried again"


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": -1, "completion_tokens": 1}, {"prompt_tokens": "3"}])
async def test_malformed_usage(standin: StandIn, provider: LlamaCppProvider, usage: Any) -> None:
    async def fault(request: web.Request, body: dict[str, Any]) -> web.Response:
        return web.json_response(standin.reply(body) | {"usage": usage})

    standin.fault = fault
    with pytest.raises(MalformedReply, match="usage"):
        await provider.complete(ASK)


async def test_half_a_surrogate_pair_is_not_text(standin: StandIn, provider: LlamaCppProvider) -> None:
    async def fault(request: web.Request, body: dict[str, Any]) -> web.Response:
        reply = standin.reply(body)
        reply["choices"][0] |= {"text": "\ud83d", "logprobs": {"content": [{**entry("x", 0.5), "token": "\ud83d"}]}}
        return web.json_response(reply)

    standin.fault = fault
    with pytest.raises(MalformedReply, match="text"):
        await provider.complete(ASK)


async def test_closing_does_not_wait_for_a_server_that_is_loading(standin: StandIn, provider: LlamaCppProvider) -> None:
    await standin.stop()
    loading = await asyncio.start_server(answer_503, "127.0.0.1", 0)
    host, port = loading.sockets[0].getsockname()
    slow = LlamaCppProvider(url=f"http://{host}:{port}", deadline=60)
    call = asyncio.create_task(slow.capabilities())
    while not CALLS:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await slow.aclose()
        with pytest.raises(UsageError, match="closed"):
            await call
    loading.close()
    await loading.wait_closed()


CALLS: list[bytes] = []


async def answer_503(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    CALLS.append(await reader.readuntil(b"\r\n\r\n"))
    writer.write(b"HTTP/1.1 503 X\r\nretry-after: 30\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_session_keeps_its_slot_and_a_new_one_gets_that_of_one_long_over(
    standin: StandIn, provider: LlamaCppProvider
) -> None:
    facts = await provider.capabilities()
    assert facts.slots == 4

    def slot(session: int) -> int:
        found: int = provider.payload(replace(ASK, session=session), facts)["id_slot"]
        return found

    assert [slot(session) for session in (10, 11, 12, 13)] == [0, 1, 2, 3]
    assert [slot(session) for session in (12, 10, 13, 10)] == [2, 0, 3, 0]
    assert slot(14) == 1  # 11's, who has not been heard of since
    assert [slot(session) for session in (10, 12, 13, 14)] == [0, 2, 3, 1]
    assert "id_slot" not in provider.payload(ASK, facts)
