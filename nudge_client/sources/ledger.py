"""What one model was asked for one answer, and what that took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nudge_providers.errors import (
    AuthenticationError,
    ContextExceededError,
    NotFoundError,
    RateLimitedError,
    RejectedError,
)
from nudge_providers.types import Completion, Usage

Kind = Literal["complete", "stream", "score"]
# The server read nothing of it, and nobody pays for that.
TURNED_AWAY = (AuthenticationError, ContextExceededError, NotFoundError, RateLimitedError, RejectedError)
CHARACTERS_A_TOKEN = 4.0  # of a prompt, when no request of the answer told


@dataclass(frozen=True, slots=True)
class Sampling:
    """temperature 0 is greedy. seed: makes every request's own seed a function of the text it continues."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


@dataclass(slots=True)
class Entry:
    """One request.

    prompt_characters: of its prompt. listed: tokens as the server listed them. usage: as it counted them; of a stream
    that was hung up, what it had told by then. lost: nothing whole came before the limit. sent: False when it was given
    up before anything was sent. refused: the server turned it away, and read nothing. speculative: nobody had asked
    yet. Times are those of `time.perf_counter`, in seconds; 0 while unknown.
    """

    kind: Kind
    prompt_characters: int
    speculative: bool = False
    listed: int = 0
    usage: Usage = field(default_factory=Usage)
    lost: bool = False
    sent: bool = True
    refused: bool = False
    begun: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    ended: float = 0.0

    @property
    def completion_tokens(self) -> int:
        """At least what arrived: a hung-up stream may have been told no count."""
        return max(self.usage.completion_tokens, self.listed)


class Ledger:
    """Requests sent to one model for one answer, in order; token counts are the server's own where it tells them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def begin(
        self, kind: Kind, prompt_characters: int, *, speculative: bool = False, sent: bool = True
    ) -> tuple[int, Entry]:
        """A request, sent now or soon: its ordinal, from 1, and its entry, to be filled in."""
        self.entries.append(Entry(kind, prompt_characters, speculative, sent=sent))
        return len(self.entries), self.entries[-1]

    def add(self, completion: Completion, prompt_characters: int = 0) -> None:
        """Enter a reply that came whole."""
        self.fill(self.begin("complete", prompt_characters)[1], completion)

    def fill(self, entry: Entry, completion: Completion) -> None:
        """Enter the reply to a request that was begun."""
        entry.listed, entry.usage = len(completion.tokens), completion.usage
        entry.lost = not completion.tokens and completion.finish == "length"
        entry.first = entry.ended = time.perf_counter()

    def failed(self, entry: Entry, error: Exception) -> None:
        """Enter how a request ended that brought an error."""
        entry.refused = isinstance(error, TURNED_AWAY) and not entry.listed and not entry.usage.prompt_tokens
        entry.ended = time.perf_counter()

    @property
    def requests(self) -> int:
        return sum(entry.sent for entry in self.entries)

    @property
    def prompt_tokens(self) -> int:
        """Where a hung-up stream told none, as many as its prompt's size makes likely."""
        sent = [entry for entry in self.entries if entry.sent and not entry.refused]
        told = [entry for entry in sent if entry.usage.prompt_tokens]
        characters = sum(entry.prompt_characters for entry in told)
        tokens = sum(entry.usage.prompt_tokens for entry in told)
        rate = characters / tokens if characters and tokens else CHARACTERS_A_TOKEN
        return tokens + sum(round(entry.prompt_characters / rate) for entry in sent if not entry.usage.prompt_tokens)

    @property
    def cached_tokens(self) -> int:
        return sum(entry.usage.cached_tokens for entry in self.entries)

    @property
    def completion_tokens(self) -> int:
        return sum(entry.completion_tokens for entry in self.entries)

    def discarded(self, kept: Mapping[int, int]) -> int:
        """Tokens generated and not used. `kept`: listed tokens used of each request, by its ordinal."""
        used = 0
        for ordinal, entry in enumerate(self.entries, start=1):
            if entry.kind == "score":
                continue  # its one generated token only made the server answer
            whole = kept.get(ordinal, 0) >= entry.listed and not entry.lost
            # A reply used whole used all its tokens, also those that the server merged or did not list.
            used += entry.completion_tokens if whole else kept.get(ordinal, 0)
        return max(0, self.completion_tokens - used)

    def verified(self, kept: Mapping[int, int]) -> int:
        """Tokens of the answer that were scored instead of written."""
        return sum(kept.get(number, 0) for number, entry in enumerate(self.entries, start=1) if entry.kind == "score")
