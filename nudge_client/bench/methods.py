"""One answer by one method, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nudge_client.answer import ModelStats
from nudge_client.bench.baselines import alone, ensemble, proxy_tuning
from nudge_client.bench.growing import BaselineAnswer
from nudge_client.client import NudgeClient
from nudge_client.prompts import PAPER
from nudge_providers.errors import UsageError
from nudge_providers.types import Provider

BASE = "base only"
PLANS = ("chunked", "streaming", "verified", "auto")
METHODS = (BASE, "nudger only", "paper", *PLANS, "ensemble", "proxy tuning")
DEFAULT = (BASE, "nudger only", "paper", "chunked", "streaming", "auto")


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer. nudged, verified: tokens of the answer, None where the method has none. requests: for a timeline."""

    text: str
    seconds: float
    first: float | None
    answer_tokens: int
    models: Mapping[str, ModelStats]
    nudged: int | None = None
    verified: int | None = None
    plan: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)


def checked_methods(names: Sequence[str]) -> list[str]:
    """The methods named, in their usual order and always with the base model alone. Raises UsageError."""
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(f"unknown method {unknown[0]!r}; known: {', '.join(METHODS)}")
    return [name for name in METHODS if name in names or name == BASE]


async def sample(name: str, client: NudgeClient, prompt: str, small_base: Provider | None = None) -> Sample:
    """An answer to `prompt` by a method. Raises what the endpoints raise, UsageError without what the method needs."""
    if name == "paper":
        form = client.settings.form if client.settings.form in PAPER else "auto"
        return await _nudged(client, prompt, {"preset": "paper", "form": form})
    if name in PLANS:
        return await _nudged(client, prompt, {"plan": name})
    settings = client.settings
    prompts = await client.rendered(prompt)
    base, nudger = client.providers["base"], client.providers["nudger"]
    limits: Any = {"max_tokens": settings.max_tokens, "stop": (*prompts.base_stop, *settings.stop)}
    if name == BASE:
        return _plain(await alone(base, prompts.base, **limits))
    if name == "nudger only":
        return _plain(await alone(nudger, prompts.nudger, model="nudger", **limits))
    if name == "ensemble":
        return _plain(await ensemble(base, nudger, prompts.base, prompts.nudger, **limits))
    if small_base is None:
        raise UsageError("proxy tuning needs a third model: --small-base ENDPOINT")
    texts = (prompts.base, prompts.nudger, prompts.base)
    return _plain(await proxy_tuning(base, nudger, small_base, *texts, **limits))


async def _nudged(client: NudgeClient, prompt: str, options: dict[str, Any]) -> Sample:
    stream = client.stream(prompt, **options)
    async for _ in stream:
        pass
    answer, stats = stream.answer, stream.answer.stats
    return Sample(
        answer.text,
        stats.seconds,
        stats.first_token_seconds,
        stats.answer_tokens,
        {"base": stats.base, "nudger": stats.nudger},
        stats.nudged_tokens,
        stats.verified_tokens,
        answer.plan,
        stream.requests(),
    )


def _plain(answer: BaselineAnswer) -> Sample:
    return Sample(
        answer.text,
        answer.seconds,
        answer.first_token_seconds,
        answer.answer_tokens,
        {str(name): stats for name, stats in answer.models.items()},
    )
