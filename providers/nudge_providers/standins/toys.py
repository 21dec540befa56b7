"""Models as plain functions from text to next token: deterministic, so that an answer can be worked out by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Text so far -> next token and the top-1 probability there; None is the end of sequence.
Model = Callable[[str], tuple[str, float] | None]

WORDS = tuple(
    " the, of a to and in is it for on as with that by this from at be are or an was not water light sleep food body "
    "sky air day time sun heat cold move walk eat drink".replace(",", "")
    .replace(" ", "\0 ")
    .split("\0")[1:]
)
PIECES = ("ing", "er", "ly", "s", "ed")  # of words that take more than one token
SURE, UNSURE = 0.9, 0.2
LOOKED_BACK = 32  # characters of the text that decide what follows: a text's whole past would cost too much to hash


class Written(NamedTuple):
    """One token as a server generates it.

    text: "" for all but the last byte-token of a character that has several. probability: in (0, 1].
    """

    text: str
    probability: float


def hashed(seed: int, vocabulary: Sequence[str], end: float, low: float) -> Model:
    """A model that is noise, but always the same noise: vocabulary, share of ends, share of doubtful tokens."""

    def model(text: str) -> tuple[str, float] | None:
        a, b, c, _ = _dice(seed, text)
        if a < end:
            return None
        return vocabulary[int(b * len(vocabulary))], (0.1 if c < low else 0.8)

    return model


def toy_pair(
    *,
    seed: int = 0,
    vocabulary: Sequence[str] = WORDS,
    uncertainty: float = 0.1,
    agreement: float = 0.8,
    inside: float = 0.0,
    length: int = 600,
) -> tuple[Model, Model]:
    """A base model and its nudger, alike as a real pair is.

    uncertainty: share of the words that the base model is unsure of. inside: share of its tokens that go on a word; of
    these it is always sure. agreement: share of the base model's sure tokens
    that the nudger would write too; of its unsure ones, half as many. length: characters after which the nudger ends.
    The base model never ends: that is what a nudger is for.
    """

    def choices(text: str) -> Sequence[str]:
        goes_on = text[-1:].isalpha() and _dice(seed + 1, text[-LOOKED_BACK:])[0] < inside
        return PIECES if goes_on else vocabulary

    def base(text: str) -> tuple[str, float]:
        which, doubt, _, _ = _dice(seed, text[-LOOKED_BACK:])
        tokens = choices(text)
        unsure = doubt < uncertainty and tokens is vocabulary
        return tokens[int(which * len(tokens))], (UNSURE if unsure else SURE)

    def nudger(text: str) -> tuple[str, float] | None:
        if len(text) >= length:
            return None
        token, probability = base(text)
        _, _, agrees, other = _dice(seed, text[-LOOKED_BACK:])
        share = agreement if probability == SURE else agreement / 2
        if agrees >= share:
            tokens = choices(text)
            token = tokens[(tokens.index(token) + 1 + int(other * (len(tokens) - 1))) % len(tokens)]
        return token, SURE

    return base, nudger


def spelled(token: str, probability: float, *, by_bytes: bool) -> list[Written]:
    """A toy model's token as a server's: by_bytes, each byte of a character beyond ASCII is a token of its own."""
    if not by_bytes or token.isascii():
        return [Written(token, probability)]
    found: list[Written] = []
    for character in token:
        size = 1 if character.isascii() else len(character.encode())
        found += [Written("", probability)] * (size - 1) + [Written(character, probability)]
    return found


def ranked(token: str, probability: float, number: int) -> list[tuple[str, float]]:
    """The `number` most probable tokens where a toy model writes `token`, best first: made-up ones behind it."""
    return [(token, probability), *((f" ~{rank}", probability / 2**rank) for rank in range(1, number))][:number]


def _dice(seed: int, text: str) -> tuple[float, float, float, float]:
    """Four numbers in [0, 1), always the same for a seed and a text."""
    digest = hashlib.blake2b(f"{seed}|{text}".encode(), digest_size=16).digest()
    a, b, c, d = (int.from_bytes(digest[i : i + 4], "big") / 2**32 for i in (0, 4, 8, 12))
    return a, b, c, d
