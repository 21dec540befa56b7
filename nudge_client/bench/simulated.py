"""Pairs that nobody has to rent: stand-in servers with stated latencies, for what a setting would cost in time."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

from nudge_providers.errors import UnavailableError, UsageError
from nudge_providers.standins import PROMPT_END, Latency

INSIDE = 0.4  # share of tokens that go on a word


@dataclass(frozen=True, slots=True)
class Toys:
    """How alike the toys are. uncertainty: share of the words that the base model is unsure of. agreement: share of its
    sure tokens that the nudger's drafts foretell.

    As they stand, the toys show what the embedded pair shows over the bench's prompts: 0.29 of the tokens nudged, 0.17
    rounds a token, 0.68 foretold. Large models of one family are more alike.
    """

    uncertainty: float = 0.3
    agreement: float = 0.68


@dataclass(frozen=True, slots=True)
class Profile:
    """dialect: of both servers; llama.cpp's scores no prompts. Latencies in seconds."""

    dialect: str
    base: Latency
    nudger: Latency


def _profile(dialect: str, trip: float, base: tuple[float, float], nudger: tuple[float, float], read: float) -> Profile:
    """Milliseconds: round trip, then to the first and to each further token, and a prompt token that is scored."""
    first, second = (Latency(trip / 1000, each[0] / 1000, each[1] / 1000, read / 1000) for each in (base, nudger))
    return Profile(dialect, first, second)


PROFILES = {
    "home": _profile("llamacpp", 1, (40, 20), (15, 6), 0),
    "datacenter": _profile("vllm", 2, (30, 12), (12, 4), 0.05),
    "hosted-70b": _profile("vllm", 40, (60, 20), (25, 5), 0.1),
    "far": _profile("vllm", 150, (60, 20), (25, 5), 0.1),
}


def profile_named(name: str) -> Profile:
    """Raises UsageError for an unknown name."""
    if name not in PROFILES:
        raise UsageError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]


def told(name: str, nudge_ratio: float | None, toys: Toys) -> dict[str, Any]:
    """What a result says of the simulation. nudge_ratio: as it came out."""
    profile = profile_named(name)
    latencies = {
        "round_trip_ms": profile.base.round_trip,
        "base_first_ms": profile.base.first,
        "base_token_ms": profile.base.token,
        "nudger_first_ms": profile.nudger.first,
        "nudger_token_ms": profile.nudger.token,
        "prompt_token_ms": profile.base.prompt_token,
    }
    return {
        "profile": name,
        "latencies": {name: round(seconds * 1000, 3) for name, seconds in latencies.items()},
        "nudge_ratio": None if nudge_ratio is None else round(nudge_ratio, 3),
        "draft_agreement": toys.agreement,
    }


@asynccontextmanager
async def simulated_pair(
    name: str, prompts: Sequence[str], *, length: int, toys: Toys | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Settings that point a client at the stand-ins of a profile, for as long as it lasts.

    prompts: each gets an answer of its own. length: characters after which the nudger ends an answer.
    """
    profile = profile_named(name)
    pair = {
        "dialect": profile.dialect,
        "base": asdict(profile.base),
        "nudger": asdict(profile.nudger),
        "toys": {**asdict(toys or Toys()), "inside": INSIDE, "length": length},
        "topics": list(prompts),
    }
    async with stand_ins(pair) as urls:
        endpoints = {author: f"{profile.dialect}@{urls[author]}" for author in ("base", "nudger")}
        yield {**endpoints, "form": "plain", "answer_start": PROMPT_END, "chat_template": "server"}


@asynccontextmanager
async def stand_ins(pair: Mapping[str, Any]) -> AsyncIterator[dict[str, str]]:
    """Urls of a pair of stand-ins in a process of their own; see `standins.serve` for `pair`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "nudge_providers.standins.serve", json.dumps(pair)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        line = await process.stdout.readline()
        if not line:
            raise UnavailableError("the stand-in servers did not start")
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
