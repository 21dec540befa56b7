"""The rules of the paper's token-level baselines, on plain values: which token comes next, how much of a chunk holds.

Order of models, everywhere: base, aligned, and for proxy tuning the small base model.

Positions are texts. All chunks begin after the same answer; where every token before had the same text in each of
them, their next tokens begin at the same place. There they agree when their texts are equal, character for character.
Two tokenizers that split the same word in different places ("Par"+"is", "Paris") therefore disagree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from nudge_providers.types import Token

Top: TypeAlias = Sequence[tuple[str, float]]
"""Texts and their logprobs (nats, <= 0) at one position, best first, texts never empty."""

Choose: TypeAlias = Callable[..., str]
"""A rule: one `Top` a model to the text chosen."""

ENSEMBLE_TOP = 5
PROXY_TOP = 100
ALIGNED = 1

REPLACEMENT = "\ufffd"
# How families spell the tokens that end or frame a text. llama.cpp lists them as "", other servers by name.
_SPECIAL = re.compile(r"<(/?s|bos|eos|pad|unk|(start|end)_of_turn|([|｜])[^|｜]+\3)>")


class Chunk(NamedTuple):
    """What one model writes after the answer. ended: whether it has nothing more to say behind the tokens."""

    tokens: tuple[Token, ...]
    ended: bool


class Choice(NamedTuple):
    """One token of the answer. own: for each model, whether its own next token has this text."""

    text: str
    own: tuple[bool, ...]


class Accepted(NamedTuple):
    """What one set of chunks adds. ended: whether the aligned model ends the answer behind it."""

    choices: tuple[Choice, ...]
    ended: bool


def candidates(token: Token | None) -> Top:
    """The texts that may stand here by one model, its own token first; none where the model has ended (None).

    Left out of the list: what is no text (special tokens, pieces of a character). A token that is not in its own list
    is a character joined from bytes, and its list tells of the last byte only; then it is the one candidate.
    """
    if token is None:
        return ()
    listed: dict[str, float] = {}
    for text, logprob in token.top:
        listed.setdefault(text, logprob)  # a text listed twice counts with its best
    if token.text not in listed:
        return ((token.text, token.logprob),)
    own = (token.text, listed.pop(token.text))
    return (own, *(item for item in listed.items() if _is_text(item[0])))


def _is_text(listed: str) -> bool:
    return bool(listed) and REPLACEMENT not in listed and not _SPECIAL.fullmatch(listed)


def ensemble_choice(base_top: Top, aligned_top: Top) -> str:
    """The text with the highest p_base + p_aligned over both lists; one missing from a list has 0 there.

    A tie goes to the first in the base's list, then in the aligned model's. A model that has ended has an empty list,
    so the other's best remains. Raises ValueError when both lists are empty. Paper: the ensemble baseline.
    """
    base, aligned = dict(base_top), dict(aligned_top)
    return max([*base, *aligned], key=lambda text: _probability(base, text) + _probability(aligned, text))


def _probability(listed: dict[str, float], text: str) -> float:
    return math.exp(listed.get(text, -math.inf))


def proxy_choice(base_top: Top, aligned_top: Top, small_base_top: Top) -> str:
    """The text with the highest p_base · p_aligned / p_small-base over the texts in all three lists.

    None shared: the base's own token, or the aligned model's where the base has ended. A tie goes to the first in the
    base's list. Counted in logarithms, so a p_small-base close to 0 is no division by 0: such a text simply wins.
    Raises IndexError when the first two lists are empty. Liu et al. 2024, as the paper's proxy tuning baseline uses it.
    """
    aligned, small = dict(aligned_top), dict(small_base_top)
    scores = {
        text: _proxy_score(logprob, aligned[text], small[text])
        for text, logprob in base_top
        if text in aligned and text in small
    }
    if not scores:
        return (base_top or aligned_top)[0][0]
    return max(scores, key=scores.__getitem__)


def _proxy_score(base: float, aligned: float, small: float) -> float:
    joint = base + aligned
    return joint if joint == -math.inf else joint - small  # 0 / 0 is 0 here


def accept(chunks: Sequence[Chunk], choose: Choose) -> Accepted:
    """The tokens that one chunk of each model gives before all must be asked again.

    A position is chosen while every chunk tells of it, and the next is looked at only if every model's own token there
    is the choice. The aligned model having ended ends the answer, whatever the others say; another model having ended
    has no candidates and agrees with nothing. Chunks with a token or an end each give a choice or the end.
    Paper: the ensemble and proxy tuning baselines, chunks of L tokens.
    """
    choices: list[Choice] = []
    while True:
        index = len(choices)
        if _over(chunks[ALIGNED], index):
            return Accepted(tuple(choices), True)
        if any(index >= len(chunk.tokens) and not chunk.ended for chunk in chunks):
            return Accepted(tuple(choices), False)
        tokens = [None if _over(chunk, index) else chunk.tokens[index] for chunk in chunks]
        text = choose(*map(candidates, tokens))
        choices.append(Choice(text, tuple(token is not None and token.text == text for token in tokens)))
        if not all(choices[-1].own):
            return Accepted(tuple(choices), False)


def _over(chunk: Chunk, index: int) -> bool:
    return chunk.ended and index >= len(chunk.tokens)
