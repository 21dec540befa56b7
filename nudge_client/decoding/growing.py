"""The answer while it grows: the limits and guards that hold whoever writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nudge_client.decoding.events import Append, Author, FinishReason, Reason, Retract, Steps, take_back
from nudge_client.decoding.rules import Rules
from nudge_client.decoding.text import (
    find_stop,
    last_word_start,
    repeated_tail,
    starts_word,
    without_trailing_spaces,
)
from nudge_providers.types import Token


@dataclass(slots=True)
class Draft:
    """Tokens by the nudger after the answer `before`, and whether the model ended there."""

    before: str
    tokens: list[Token] = field(default_factory=list)
    ended: bool = False

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    def fragments(self, start: int, end: int) -> list[tuple[Token, str, int]]:
        """The parts of the tokens that lie in `text[start:end]`: token, its part, 1 if the part begins the token."""
        parts = []
        offset = 0
        for token in self.tokens:
            after = offset + len(token.text)
            if after > start and offset < end:
                part = token.text[max(start - offset, 0) : end - offset]
                parts.append((token, part, int(offset >= start)))
            offset = after
        return parts


@dataclass(slots=True)
class Growing:
    """Text written so far, and the appended parts that make it up. Each step yields the events that tell of it."""

    rules: Rules
    text: str = ""
    tokens: int = 0
    parts: list[Append] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return self.tokens >= self.rules.max_tokens

    def append(self, author: Author, text: str, reason: Reason, token: Token, adds: int) -> Steps[FinishReason | None]:
        """Add text; a finish reason when a stop string or the repetition guard ends the answer with it."""
        stop = self._user_stop(text)
        if stop:
            yield from self._add_up_to(stop[0], Append(author, text, reason, token, adds), "stop")
            return "stop"
        yield from self._add(Append(author, text, reason, token, adds))
        if extra := repeated_tail(self.text):
            yield from self.retract_to(len(self.text) - extra, "repetition")
            return "repetition"
        return None

    def append_base(
        self, token: Token, reason: Reason, begin: int
    ) -> Steps[FinishReason | Literal["base_stop"] | None]:
        """Add a token of the base model, whose run began at `begin`; `base_stop` when it has run on."""
        run_on = find_stop(self.text + token.text, self.rules.base_stop, begin)
        stop = self._user_stop(token.text)
        if not run_on or (stop and stop[1] <= run_on[1]):
            return (yield from self.append("base", token.text, reason, token, 1))
        yield from self._add_up_to(run_on[0], Append("base", token.text, reason, token, 1), "base_stop")
        return "base_stop"

    def _user_stop(self, more: str) -> tuple[int, int] | None:
        # It may have begun in what was there before.
        longest = max(map(len, self.rules.stop), default=0)
        return find_stop(self.text + more, self.rules.stop, max(0, len(self.text) - longest + 1))

    def append_nudge(self, draft: Draft, start: int, end: int, reason: Reason) -> Steps[FinishReason | None]:
        """Add `draft.text[start:end]`. At the token limit the text ends with the last token that fits."""
        for token, part, count in draft.fragments(start, end):
            if count and self.full:
                return "length"
            finish = yield from self.append("nudger", part, reason, token, count)
            if finish:
                return finish
        return None

    def claim_last_word(self, draft_text: str) -> Steps[int]:
        """Under `boundary = "word"`, a draft that begins inside the base model's last word makes that word its own.

        The nudger made the word longer ("Paris" + ".", "Sure" + "ly"), so the word is no longer the base model's; the
        text stays, its author changes, and authors still change only where a word starts. Gives back how many
        characters were claimed.
        """
        rules = self.rules
        if rules.boundary != "word" or not self.parts or self.parts[-1].author != "base" or not draft_text:
            return 0
        if starts_word(self.text, draft_text, rules.segmentation):
            return 0
        since = len(self.text) - self._run_length("base")
        start = last_word_start(self.text, since, rules.segmentation)
        claimed = yield from self.retract_to(start, "completed")
        for part in claimed:
            yield from self._add(part._replace(author="nudger", reason="completed"))
        return len(self.text) - start

    def trim_spaces(self, since: int) -> Steps[None]:
        """Take back spaces and tabs at the end, down to `since`: they belong to the word that follows."""
        yield from self.retract_to(without_trailing_spaces(self.text, since), "space")

    def retract_to(self, length: int, reason: str) -> Steps[list[Append]]:
        """Shorten the text to `length` characters; gives back what was taken, in order."""
        surplus = len(self.text) - length
        if surplus <= 0:
            return []
        self.text = self.text[:length]
        taken = take_back(self.parts, surplus)
        self.tokens -= sum(part.adds for part in taken)
        yield Retract(surplus, reason)
        return taken

    def _add_up_to(self, length: int, part: Append, reason: str) -> Steps[None]:
        """Add what of `part` lies before `length`, or take back what is already there behind it."""
        keep = length - len(self.text)
        if keep > 0:
            yield from self._add(part._replace(text=part.text[:keep]))
        yield from self.retract_to(length, reason)

    def _add(self, part: Append) -> Steps[None]:
        self.text += part.text
        self.tokens += part.adds
        self.parts.append(part)
        yield part

    def _run_length(self, author: Author) -> int:
        """Characters at the end that `author` wrote without a break."""
        length = 0
        for part in reversed(self.parts):
            if part.author != author:
                break
            length += len(part.text)
        return length
