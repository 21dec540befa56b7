"""What the client itself costs: its processor time beside raw aiohttp and `json.loads`, on the same servers.

The servers are stand-ins without latency, in a process of their own; what is measured is this process's time alone.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import aiohttp

from nudge_client.bench.simulated import INSIDE, Toys, stand_ins
from nudge_client.client import NudgeClient
from nudge_client.prompts import Prompt
from nudge_providers.endpoint import parse_endpoint
from nudge_providers.registry import make_provider
from nudge_providers.standins import PROMPT_END
from nudge_providers.types import CompletionRequest, Provider

TOKENS = 16
CALLS = 200  # a batch; the figure is the median of the batches
PROMPT = f"Why is the sky blue?{PROMPT_END}"
Call = Callable[[], Awaitable[Any]]


async def overhead(repeats: int, answers: int) -> dict[str, Any]:
    """Milliseconds of processor time for a call and a stream of 16 tokens, and what `answers` answers at once take."""
    toys = {**asdict(Toys()), "inside": INSIDE, "length": 400}
    none: dict[str, float] = {}
    pair = {"dialect": "vllm", "base": none, "nudger": none, "toys": toys, "topics": []}
    async with stand_ins(pair) as urls:
        calls = await _calls(urls["base"], repeats)
        crowd = await _crowd(urls, answers)
    return {"milliseconds": calls, "crowd": crowd}


async def _calls(url: str, repeats: int) -> dict[str, dict[str, float]]:
    from openai import AsyncOpenAI

    from nudge_providers.openai_client import OpenAIClientProvider

    ours = make_provider(parse_endpoint(f"vllm@{url}"))
    client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none")
    theirs = OpenAIClientProvider(client, "toy", profile="sglang")
    body = {"model": "toy", "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "logprobs": 1}
    async with aiohttp.ClientSession() as session, client:
        timed = {
            "raw call": lambda: _raw(session, url, body),
            "call": lambda: _complete(ours),
            "openai client's call": lambda: _complete(theirs),
            "raw stream": lambda: _raw(session, url, body | {"stream": True}),
            "stream": lambda: _stream(ours),
            "openai client's stream": lambda: _stream(theirs),
        }
        figures: dict[str, list[float]] = {name: [] for name in timed}
        for repeat in range(repeats + 1):
            for name, call in timed.items():
                spent = await _processor_time(call)
                if repeat:  # the first only warms up
                    figures[name].append(spent)
    await ours.aclose()
    return {name: {"median": median(f), "low": min(f), "high": max(f)} for name, f in figures.items()}


async def _processor_time(call: Call) -> float:
    """Milliseconds a call."""
    before = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - before) / CALLS * 1000


async def _raw(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> list[Any]:
    headers = {"content-type": "application/json"}
    async with session.post(f"{url}/v1/completions", data=json.dumps(body).encode(), headers=headers) as response:
        whole = await response.read()
    if not body.get("stream"):
        return [json.loads(whole)]
    events = whole.split(b"\n\n")
    return [json.loads(event[6:]) for event in events if event.startswith(b"data: {")]


async def _complete(provider: Provider) -> None:
    await provider.complete(CompletionRequest(PROMPT, TOKENS))


async def _stream(provider: Provider) -> None:
    async for _ in provider.stream(CompletionRequest(PROMPT, TOKENS)):
        pass


async def _crowd(urls: dict[str, str], answers: int) -> dict[str, float]:
    """Answers at once in one process: seconds, requests and tokens of all, peak memory of this process in MB."""
    endpoints: Any = {author: f"vllm@{url}" for author, url in urls.items()}
    prompt: Prompt = "Why is the sky blue?"
    settings: Any = {"form": "plain", "answer_start": PROMPT_END, "max_tokens": 64, "plan": "streaming", "timeout": 600}
    async with NudgeClient(**endpoints, **settings) as nudge:
        before, began = time.process_time(), time.perf_counter()
        done = await asyncio.gather(*(nudge.generate(prompt) for _ in range(answers)))
        spent, seconds = time.process_time() - before, time.perf_counter() - began
    requests = sum(one.stats.base.requests + one.stats.nudger.requests for one in done)
    streamed = sum(one.stats.base.completion_tokens + one.stats.nudger.completion_tokens for one in done)
    return {
        "answers": answers,
        "seconds": seconds,
        "requests_per_second": requests / seconds,
        "milliseconds_per_request": spent / requests * 1000,
        "milliseconds_per_streamed_token": spent / streamed * 1000,
        "peak_megabytes": _peak_megabytes(),
    }


def _peak_megabytes() -> float:
    """Of this process, since it began. The system tells kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
