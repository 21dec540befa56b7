"""The `paper` preset: the reference method, chunk for chunk (ALGORITHM: the `paper` preset).

It is kept apart from the default decoder because its answer depends on its chunks: the same endpoints give the same
answer as the published code. Odd corners are the method's own, and each has a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nudge_client.decoding.events import (
    Append,
    AskChunk,
    Author,
    Finish,
    FinishReason,
    OutOfRoom,
    Reason,
    Retract,
    Round,
    Steps,
)
from nudge_client.decoding.growing import Draft
from nudge_client.decoding.text import drop_repeated_suffixes
from nudge_providers.types import Completion, Token

REPEATS = 3  # the same nudge as in the round before, for the third time running
PIECE_WORDS = 5  # a longer piece that already occurs in the answer ends the round


@dataclass(frozen=True, slots=True)
class PaperRules:
    """Settings of the published method. `count`: tokens of a text by tiktoken's cl100k_base."""

    count: Callable[[str], int]
    threshold: float = 0.3
    chunk: int = 16
    draft_tokens: int = 16
    max_tokens: int = 512
    max_rounds: int = 150


@dataclass(slots=True)
class _Output:
    """The answer as the models see it (`text`), and the news of it, which leaves out whitespace at its start."""

    rules: PaperRules
    text: str = ""
    last_nudge: str = ""
    repeats: int = 0
    shown: list[str] = field(default_factory=list)

    def append(self, author: Author, text: str, reason: Reason, token: Token, count: int) -> Steps[None]:
        self.text += text
        visible = text if self.shown else text.lstrip()
        if visible:
            self.shown.append(visible)
            yield Append(author, visible, reason, token, count)

    def append_draft(self, tokens: tuple[Token, ...], length: int, reason: Reason) -> Steps[None]:
        for token, part, count in Draft("", list(tokens)).fragments(0, length):
            yield from self.append("nudger", part, reason, token, count)

    def is_repeated(self, nudge: str) -> bool:
        """Whether this nudge is the same as the last for the third time running."""
        if nudge != self.last_nudge:
            self.last_nudge, self.repeats = nudge, 0
            return False
        self.repeats += 1
        return self.repeats >= REPEATS


def decode_paper(rules: PaperRules) -> Steps[None]:
    """Write one answer by the published method. Yields events; is sent a `Completion` for each `AskChunk`."""
    output = _Output(rules)
    finish: FinishReason | None = None
    number = 0
    while finish is None:
        if number >= rules.max_rounds:
            finish = "rounds"
        elif rules.count(output.text) >= rules.max_tokens:
            finish = "length"
        else:
            number += 1
            yield Round(number)
            try:
                finish = yield from _round(output)
            except OutOfRoom:
                finish = "length"
    shown = "".join(output.shown)
    surplus = len(shown) - len(drop_repeated_suffixes(shown.rstrip()))
    if surplus:
        yield Retract(surplus, "repetition")
    yield Finish(finish)


def _round(output: _Output) -> Steps[FinishReason | None]:
    draft = yield AskChunk("nudger", output.text, output.rules.draft_tokens)
    assert isinstance(draft, Completion)
    if draft.finish == "stop":
        yield from output.append_draft(draft.tokens, len(draft.text), "ending")
        return "stop"
    nudge, chunk = yield from _hand_back(output, draft.text)
    if output.is_repeated(nudge):
        return "repeated_nudge"
    yield from output.append_draft(draft.tokens, len(nudge), "nudge")
    if chunk is not None and chunk.tokens:
        yield from _base_writes(output, chunk)
    return None


def _hand_back(output: _Output, draft: str) -> Steps[tuple[str, Completion | None]]:
    """How much of the draft is used, and the base chunk that took over after it, if one did.

    A chunk without tokens is a base model that ended there: it takes over, and has nothing to write.
    """
    rules = output.rules
    body = draft.lstrip(" ")
    prefix = draft[: len(draft) - len(body)]
    words = body.split(" ")
    for used in range(1, len(words)):
        if not words[used]:
            continue  # from a double space: kept in the text, not looked at
        nudge = prefix + " ".join(words[:used])
        chunk = yield AskChunk("base", output.text + nudge, rules.chunk)
        assert isinstance(chunk, Completion)
        if not chunk.tokens:
            return nudge, chunk
        first = chunk.tokens[0]
        if f" {words[used]}".startswith(first.text) or first.top_probability >= rules.threshold:
            return nudge, chunk
    # One word is always used whole; of several, the last may have been cut short by the draft's limit.
    return prefix + " ".join(words[: max(1, len(words) - 1)]), None


def _base_writes(output: _Output, chunk: Completion) -> Steps[None]:
    rules = output.rules
    limit = rules.max_tokens - rules.count(output.text)
    begin = len(output.text)
    yield from output.append("base", chunk.tokens[0].text, "first", chunk.tokens[0], 1)
    tokens: tuple[Token, ...] | None = chunk.tokens[1:]
    over = False  # the hand-back chunk's own finish does not count
    while rules.count(output.text[begin:]) < limit:
        if tokens is None:
            reply = yield AskChunk("base", output.text, rules.chunk)
            assert isinstance(reply, Completion)
            tokens, over = reply.tokens, reply.finish == "stop"
        if "".join(token.text for token in tokens) in output.text[begin:]:
            return
        sure = _sure(tokens, rules.threshold)
        piece = "".join(token.text for token in sure)
        if len(piece.split(" ")) > PIECE_WORDS and piece in output.text:
            return
        for token in sure:
            yield from output.append("base", token.text, "confident", token, 1)
        if over or len(sure) < len(tokens):
            return
        tokens = None


def _sure(tokens: tuple[Token, ...], threshold: float) -> tuple[Token, ...]:
    """The tokens before the first whose top-1 probability is below the threshold."""
    for index, token in enumerate(tokens):
        if token.top_probability < threshold:
            return tokens[:index]
    return tokens
