"""A base model that is shown what the nudger would write, and says what it makes of it: many questions, one request."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from typing import Any

from nudge_client.sources.memory import Scores
from nudge_client.sources.streaming import StreamSource
from nudge_providers.errors import BudgetError, CapabilityError, EndpointError, MalformedReply
from nudge_providers.types import ScoredToken, Token

# How servers spell tokens that are no text, such as an end of sequence; a score shows them by name only.
SPECIAL = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")


class VerifyingSource(StreamSource):
    """A `StreamSource` that can also score a text: its answers along the text are known then, without being written.

    Where a token boundary of the model does not fall on the question's, or it would have written no plain text, the
    score says nothing, and the model is asked.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.scores = True
        self._scoring: dict[asyncio.Task[None], str] = {}  # and the text up to where each will tell

    def verify(self, after: str, likely: str) -> None:
        """Score what of `likely` after `after` is not known yet. Nothing happens where the endpoint gives no scores."""
        whole = after + likely
        while (known := self.memory.recall(after)) is not None:
            if not isinstance(known, Token) or not whole.startswith(after + known.text):
                return  # the model is known to go another way
            after += known.text
        likely = whole[len(after) :]
        if self.scores and likely and not self._verifying(after):
            task = asyncio.create_task(self._score(after, likely))
            self._scoring[task] = after + likely
            task.add_done_callback(self._scored)

    def expected(self, after: str) -> bool:
        return self._verifying(after) or super().expected(after)

    async def aclose(self) -> None:
        for task in self._scoring:
            task.cancel()
        await asyncio.gather(*self._scoring, return_exceptions=True)
        await super().aclose()

    def _verifying(self, after: str) -> bool:
        return any(text.startswith(after) for text in self._scoring.values())

    def _scored(self, task: asyncio.Task[None]) -> None:
        self._scoring.pop(task, None)
        self.tell()

    async def _score(self, after: str, likely: str) -> None:
        prompt = self._prompt + after
        ordinal, entry = self.ledger.begin("score", len(prompt) + len(likely))
        try:
            found, usage = await self._provider.score(prompt, likely)
        except (CapabilityError, MalformedReply):
            self.scores = False
        except (EndpointError, BudgetError):  # whoever asks is answered by a stream, or told by it what is wrong
            pass
        else:
            entry.usage = usage
            entry.first = entry.ended = time.perf_counter()
            self.memory.add(Scores(after + likely, points(len(after), likely, found, ordinal)))
        finally:
            entry.ended = entry.ended or time.perf_counter()


def points(begin: int, text: str, found: Sequence[ScoredToken], request: int) -> dict[int, Token]:
    """The model's own next token at each place of `text`, which begins at `begin` of the answer.

    A token that begins before the text tells nothing: the model was asked inside it.
    """
    place = begin + len(text) - sum(len(scored.text) for scored in found)
    told: dict[int, Token] = {}
    for scored in found:
        token = scored.next_token
        if place >= begin and token.text and not SPECIAL.fullmatch(token.text.strip()):
            told[place] = token._replace(request=request)
        place += len(scored.text)
    return told
