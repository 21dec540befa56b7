"""A baseline's answer: while it grows, token by token, and when it is finished."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from nudge_client.answer import ModelStats
from nudge_client.decoding.text import find_stop
from nudge_client.sources import Ledger
from nudge_providers.errors import UsageError
from nudge_providers.types import Finish

ModelName: TypeAlias = Literal["base", "nudger", "small_base"]


@dataclass(frozen=True, slots=True)
class BaselineAnswer:
    """A baseline's answer.

    finish_reason: `stop` when the deciding model ended or a stop string came, `length` at a limit.
    answer_tokens: as the servers list them; one cut by a stop string counts where it begins.
    seconds, first_token_seconds: from the call; the latter None when there is no text.
    models: what each was asked for and gave. discarded_tokens were generated and are not in the answer; a token that
    several models wrote alike is used of each of them, and one they were overruled on is discarded.
    """

    text: str
    finish_reason: Finish
    answer_tokens: int
    seconds: float
    first_token_seconds: float | None
    models: Mapping[ModelName, ModelStats]


class Writer(NamedTuple):
    """A model that wrote a token, and the ordinal of its request, from 1."""

    model: ModelName
    request: int


@dataclass(slots=True)
class Growing:
    """The answer while it grows; `finish` is set when it is over.

    max_tokens: limit in tokens as listed, at least 1. stop: strings that end the answer, left out of it.
    tokens: where each begins in the text, and who wrote it. Raises UsageError for a bad limit or stop string.
    """

    max_tokens: int
    stop: Sequence[str]
    text: str = ""
    tokens: list[tuple[int, tuple[Writer, ...]]] = field(default_factory=list)
    finish: Finish | None = None
    _begun: float = field(default_factory=time.perf_counter)
    _first: float | None = None

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError("max_tokens is below 1")
        if isinstance(self.stop, str) or not all(self.stop):
            raise UsageError("stop is not a list of strings with something in them")

    @property
    def room(self) -> int:
        """Tokens that still fit."""
        return self.max_tokens - len(self.tokens)

    def append(self, token: str, writers: tuple[Writer, ...]) -> None:
        """Add a token, or what of it stands before a stop string, which may have begun in earlier ones."""
        if self._first is None:
            self._first = time.perf_counter() - self._begun
        longest = max(map(len, self.stop), default=0)
        found = find_stop(self.text + token, self.stop, max(0, len(self.text) - longest + 1))
        self.tokens.append((len(self.text), writers))
        self.text += token
        if found:
            self.text = self.text[: found[0]]
            self.tokens = [token for token in self.tokens if token[0] < found[0]]
            self.finish = "stop"

    def answer(self, ledgers: Mapping[ModelName, Ledger]) -> BaselineAnswer:
        """The answer as it stands; broken off, it finished `length`."""
        return BaselineAnswer(
            text=self.text,
            finish_reason=self.finish or "length",
            answer_tokens=len(self.tokens),
            seconds=round(time.perf_counter() - self._begun, 6),
            first_token_seconds=round(self._first, 3) if self._first is not None and self.text else None,
            models={model: self._stats(model, ledger) for model, ledger in ledgers.items()},
        )

    def _stats(self, model: ModelName, ledger: Ledger) -> ModelStats:
        used = Counter(writer.request for _, writers in self.tokens for writer in writers if writer.model == model)
        return ModelStats(
            ledger.requests,
            ledger.prompt_tokens,
            ledger.cached_tokens,
            ledger.completion_tokens,
            ledger.discarded(used),
        )
