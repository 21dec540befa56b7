"""Which plan an answer is written by: what the user says, else what the endpoints can do and what was measured."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import NamedTuple

from nudge_client.decoding import Author, Steps
from nudge_client.settings import Settings
from nudge_client.sources import (
    Chunked,
    ChunkedSource,
    Pace,
    Plan,
    Sampling,
    Streaming,
    StreamSource,
    Verified,
    VerifyingSource,
)
from nudge_providers.types import Capabilities, Provider

PAPER_CHUNK = 16
TRIALS = 2  # answers by each plan before their speeds are compared
TRY_AGAIN = 20  # answers after which the slower plan gets another chance: loads and prompts change


class Voice(NamedTuple):
    """One model for one answer: where it is, its own prompt, how it samples."""

    provider: Provider
    prompt: str
    sampling: Sampling


class Planner:
    """Chooses plans for the answers of one client, and remembers how fast each was."""

    def __init__(self) -> None:
        self._paces: dict[Author, Pace] = {"base": Pace(), "nudger": Pace()}
        self._seconds: dict[str, deque[float]] = {}
        self._begun: dict[str, int] = {}

    def plan(
        self, settings: Settings, facts: Capabilities, base: Voice, nudger: Voice, scout: Steps[None] | None
    ) -> Plan:
        """The plan for an answer. facts: of the base model's endpoint. scout: see `Streaming`."""
        if settings.preset == "paper":
            return self._chunked(settings, base, nudger, "paper", "the preset asks for it")
        name: str = settings.plan
        why = "the settings ask for it"
        if name == "auto":
            name, why = self._choose(facts)
        self._begun[name] = self._begun.get(name, 0) + 1
        if name == "chunked":
            return self._chunked(settings, base, nudger, name, why)
        listener = StreamSource(
            nudger.provider, nudger.prompt, author="nudger", sampling=nudger.sampling, pace=self._paces["nudger"]
        )
        kind, source = (Verified, VerifyingSource) if name == "verified" else (Streaming, StreamSource)
        writer = source(base.provider, base.prompt, author="base", sampling=base.sampling, pace=self._paces["base"])
        return kind(writer, listener, overlap=settings.overlap, scout=scout, why=why)

    def finished(self, name: str, seconds: float, tokens: int) -> None:
        """An answer of `tokens` tokens took `seconds`."""
        if tokens:
            self._seconds.setdefault(name, deque(maxlen=8)).append(seconds / tokens)

    def _choose(self, facts: Capabilities) -> tuple[str, str]:
        if facts.streaming is False:
            return "chunked", "the base model's endpoint streams no log-probabilities"
        if not facts.prompt_logprobs:
            return "streaming", "the base model's endpoint scores no prompts"
        plans = ("streaming", "verified")
        if untried := [name for name in plans if self._begun.get(name, 0) < TRIALS]:
            return untried[0], "it has not been measured on this pair yet"
        speeds = {name: median(self._seconds[name]) for name in plans if self._seconds.get(name)}
        if len(speeds) < len(plans):
            return "streaming", "the others have not been measured on this pair yet"
        fast, slow = sorted(speeds, key=lambda name: speeds[name])
        told = f"{speeds[fast] * 1000:.0f} ms a token on this pair, {slow} {speeds[slow] * 1000:.0f} ms"
        if sum(self._begun.values()) % TRY_AGAIN == 0:
            return slow, f"measured again; {fast} took {told}"
        return fast, told

    def _chunked(self, settings: Settings, base: Voice, nudger: Voice, name: str, why: str) -> Plan:
        chunk = settings.chunk or (PAPER_CHUNK if name == "paper" else None)
        sources: dict[Author, ChunkedSource] = {
            "base": ChunkedSource(
                base.provider, base.prompt, chunk=chunk, sampling=base.sampling, pace=self._paces["base"]
            ),
            "nudger": ChunkedSource(nudger.provider, nudger.prompt, chunk=settings.draft, sampling=nudger.sampling),
        }
        return Chunked(sources, name=name, why=why)
