"""What a decoder says and hears.

A decoder is a generator. It yields `Ask` (or, in the paper's preset, `AskChunk`) and is sent the reply; a `Hint` tells
what it may ask soon; everything else it yields is news of the answer, and is sent nothing. The news replayed in order
is the answer:

    Append   adds text at the end          Retract  takes characters off the end
    Round    one draft begins to be used   Finish   the last event, always exactly one
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal, NamedTuple, TypeAlias, TypeVar

from nudge_providers.types import Completion, End, Token

Author = Literal["base", "nudger"]
FinishReason = Literal["stop", "length", "repeated_nudge", "repetition", "rounds"]

Reason = Literal[
    "nudge",  # first word of a draft
    "carry",  # a later word of a draft: the base model was still unsure
    "ending",  # the draft ended the answer, and is used whole
    "completed",  # the base model's last word, which the nudger made longer: a word has one author
    "confident",  # top-1 probability at or above the threshold
    "agreement",  # below it, but the draft's next word starts with this token
    "inside_word",  # below it, inside a word that the base model had begun
    "first",  # paper preset: the hand-back call's first token is accepted as it is
]


class OutOfRoom(Exception):
    """Thrown into a decoder in place of a reply when the answer has filled a model's window: it finishes `length`."""


class Ask(NamedTuple):
    """What is `author`'s next token after the answer `after`? At most `want` tokens from here on can be of use."""

    author: Author
    after: str
    want: int


class AskChunk(NamedTuple):
    """The paper's question: up to `max_tokens` tokens by `author` after the answer `after`, in one call."""

    author: Author
    after: str
    max_tokens: int


class Hint(NamedTuple):
    """What the decoder will probably ask next, so that a plan may fetch it early. Changes cost and time, no answer.

    likely: what the nudger would write after that: a base model can be shown it, and say what it makes of it.
    """

    author: Author
    after: str
    likely: str = ""


class Round(NamedTuple):
    """Round `number`, from 1: one draft used, with the base text that follows it."""

    number: int


class Append(NamedTuple):
    """`text`, all or part of `token`, joins the answer. `adds`: answer tokens it adds, 0 or 1."""

    author: Author
    text: str
    reason: Reason
    token: Token
    adds: int


class Retract(NamedTuple):
    """The last `characters` of the answer are taken back."""

    characters: int
    reason: str


class Finish(NamedTuple):
    """The answer is over."""

    reason: FinishReason


Event: TypeAlias = Ask | AskChunk | Hint | Round | Append | Retract | Finish
Reply: TypeAlias = Token | End | Completion | None

R = TypeVar("R")
Steps: TypeAlias = Generator[Event, Reply, R]


def take_back(parts: list[Append], characters: int) -> list[Append]:
    """Shorten `parts` by the last `characters` characters, in place; gives back what was taken, in order.

    A part cut in two stays counted where its token begins. Fewer characters are taken if there are no more.
    """
    taken: list[Append] = []
    while characters > 0 and parts:
        part = parts.pop()
        keep = len(part.text) - characters
        if keep > 0:
            parts.append(part._replace(text=part.text[:keep]))
            part = part._replace(text=part.text[keep:], adds=0)
        characters -= len(part.text)
        taken.append(part)
    return taken[::-1]
