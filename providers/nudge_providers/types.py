"""What a server says, as plain values: tokens, ends, usage, and the contract that every provider keeps.

A `Token` is what the server lists as one. llama.cpp merges the byte-tokens of one character into one entry,
so a listed token can stand for several of the model's; `Usage.completion_tokens` is the server's own count.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]


class Token(NamedTuple):
    """One token a model wrote.

    text: never empty, always whole characters.
    logprob: natural log of the probability of this token, in nats, <= 0.
    top_logprob: the same for the most probable token at this position; equal to `logprob` under greedy decoding.
    request: ordinal of the request it came from, per source, from 1; 0 when unknown.
    top: the most probable tokens here with their logprobs, best first; empty unless more than one was asked for.
    """

    text: str
    logprob: float
    top_logprob: float
    request: int = 0
    top: tuple[tuple[str, float], ...] = ()

    @property
    def top_probability(self) -> float:
        """Probability in [0, 1] of the most probable token here: what uncertainty is judged on."""
        return math.exp(self.top_logprob)


@dataclass(frozen=True, slots=True)
class End:
    """The model has nothing more to say after a text (it chose its end-of-sequence token)."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request as the server counted them. `cached_tokens` are part of `prompt_tokens`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One call for a continuation of `prompt`, with the log-probability of every token.

    max_tokens: at least 1. temperature 0 is greedy, and then neither top_p nor seed is sent.
    logprobs: how many of the most probable tokens to list at each position, at least 1.
    session: the same number for requests that share a growing prompt and follow one another, so that they may go to the
    same prefix cache; None where they may run side by side.
    """

    prompt: str
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int = 1
    session: int | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A continuation. The tokens joined are the text; a character cut by the limit is in neither."""

    text: str
    tokens: tuple[Token, ...]
    finish: Finish
    usage: Usage
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The last item of a stream. `usage` is all zeros where the server does not tell it."""

    finish: Finish
    usage: Usage
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of a text that was given to the model: what the model thought of it, and what it would have written.

    text: the token as it stands in the text. logprob: its own. next_token: the model's most probable token there.
    """

    text: str
    logprob: float
    next_token: Token


class Scored(NamedTuple):
    """The tokens of a text that was scored, and what that took."""

    tokens: tuple[ScoredToken, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Facts about one endpoint, from the server's documents or by asking it. None: not known.

    streaming: whether streams bring log-probabilities. prompt_logprobs: whether a text can be scored. slots: texts that
    the server works on, and keeps in its prefix cache, at once.
    """

    model: str = ""
    context_length: int | None = None
    bos: str = ""
    server_adds_bos: bool | None = None
    chat_template: bool | None = None
    streaming: bool | None = None
    prompt_logprobs: bool | None = None
    slots: int | None = None


@runtime_checkable
class Provider(Protocol):
    """One model behind one endpoint. Knows its server's dialect, knows nothing of nudging.

    Every method raises the errors of `nudge_providers.errors` and no others.
    """

    @property
    def endpoint(self) -> str:
        """How the endpoint is written, without any secret."""

    async def complete(self, request: CompletionRequest) -> Completion:
        """The model's continuation of a prompt, with log-probabilities."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[Token | Usage | StreamEnd, None]:
        """The same continuation, token by token, then one `StreamEnd`. Closing it cancels the request.

        A server that tells the prompt's size early is passed on once, as a `Usage`: a stream may never reach its end.
        """

    async def score(self, prompt: str, continuation: str) -> Scored:
        """What the model makes of `continuation` after `prompt`, in one call.

        The tokens joined end with the continuation; the first may begin in the prompt, where the tokenizer joins
        both. Raises CapabilityError where the server gives no log-probabilities of a prompt.
        """

    async def render_chat(self, messages: Sequence[Message]) -> str:
        """The prompt that asks this model for the next assistant message, in its own chat template."""

    async def capabilities(self) -> Capabilities:
        """What is known of this endpoint; asked of the server at most once."""

    async def aclose(self) -> None:
        """Release connections. Safe to call twice."""
