"""What an answer is assumed to take, where nothing is known but its row: each assumption can be told.

How many requests and tokens an answer takes is measured on the simulated `hosted-70b`, with a pair that nudges 28 % of
the tokens (as the embedded pair) and one that nudges 13 % (as the paper's large ones: `--uncertainty 0.12 --agreement
0.88`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from nudge_client.batch.input.rows import Row
from nudge_client.client import with_options
from nudge_client.counting import count_cl100k
from nudge_client.decoding import Author
from nudge_client.method import asked
from nudge_client.prompts import as_messages
from nudge_client.prompts.chat import SERVER, render
from nudge_client.settings import Settings
from nudge_providers.errors import UsageError

TURN_TOKENS = 8  # that a chat template puts around a message, where only the server knows the template
AUTHORS: tuple[Author, ...] = ("base", "nudger")


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one model: requests, prompt tokens, those of them that were cached, tokens written."""

    requests: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0
    written: float = 0.0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.requests + other.requests,
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.written + other.written,
        )


Pair = Mapping[Author, Figures]


class Need(NamedTuple):
    """What one token of an answer takes: requests of each model, and tokens written by it."""

    base_requests: float
    base_written: float
    nudger_requests: float
    nudger_written: float


# Method: with a pair that nudges 13 % of the tokens, and with one that nudges 28 %.
NEEDS: Mapping[str, tuple[Need, Need]] = {
    "paper": (Need(0.101, 1.62, 0.069, 1.10), Need(0.177, 2.84, 0.136, 2.17)),
    "chunked": (Need(0.090, 1.46, 0.071, 0.94), Need(0.177, 1.49, 0.143, 1.80)),
    "streaming": (Need(0.079, 0.94, 0.071, 0.94), Need(0.175, 0.89, 0.143, 1.80)),
    "streaming, eager": (Need(0.055, 1.04, 0.071, 0.94), Need(0.125, 1.11, 0.143, 1.80)),
    "verified": (Need(0.130, 0.87, 0.071, 0.94), Need(0.243, 0.89, 0.143, 1.80)),
    "verified, eager": (Need(0.102, 1.06, 0.071, 0.94), Need(0.193, 1.21, 0.143, 1.80)),
}


class Level(NamedTuple):
    """One of low, likely and high. length: of an answer, as a share of `max_tokens`.

    tokenizer: tokens of a prompt, for one of cl100k_base. sure: share of the way from 28 % nudged to 13 %.
    more: what it takes beyond that; the embedded pair took up to 1.65 times the requests that its simulation took.
    cached: whether a prefix cache holds all that was read before.
    """

    length: float
    tokenizer: float
    sure: float
    more: float
    cached: bool


LEVELS = (Level(0.25, 0.9, 1.0, 1.0, True), Level(0.5, 1.0, 0.5, 1.0, False), Level(1.0, 1.25, 0.0, 1.65, False))


class Sized(NamedTuple):
    """A row that was counted. prompts: tokens of each model's, by cl100k_base. length: its `max_tokens`."""

    prompts: Mapping[Author, int]
    length: int
    method: str


def sized(rows: Iterable[Row], settings: Settings) -> list[Sized]:
    """The rows that a prompt can be made of; the others will take nothing."""
    found: list[Sized] = []
    for row in rows:
        with suppress(UsageError):
            own = with_options(settings, row.options)
            found.append(Sized(_prompt_tokens(row, own), own.max_tokens, _method(own)))
    return found


def expected(rows: Iterable[Sized], level: Level) -> Pair:
    """What one answer to each row would take."""
    whole: dict[Author, Figures] = {author: Figures() for author in AUTHORS}
    for row in rows:
        length = level.length * row.length
        sure, unsure = NEEDS[row.method]
        need = [(level.sure * a + (1 - level.sure) * b) * level.more for a, b in zip(sure, unsure, strict=True)]
        for author, (asks, writes) in zip(AUTHORS, (need[:2], need[2:]), strict=True):
            prompt, requests = row.prompts[author] * level.tokenizer, asks * length
            # Each request reads the prompt and the answer so far: half of it, in the middle.
            read = requests * (prompt + length / 2)
            cached = max(0.0, read - prompt - length) if level.cached else 0.0
            whole[author] += Figures(requests, read, cached, writes * length)
    return whole


def _method(settings: Settings) -> str:
    """The name in NEEDS. `auto` is `streaming` or as good."""
    if settings.preset == "paper":
        return "paper"
    name = "streaming" if settings.plan == "auto" else settings.plan
    return f"{name}, eager" if settings.overlap == "eager" and name != "chunked" else name


def _prompt_tokens(row: Row, settings: Settings) -> Mapping[Author, int]:
    """Tokens of both prompts of a row, by cl100k_base. Raises UsageError where it has none."""
    messages, base = asked(as_messages(row.prompt, settings.system), settings)
    if settings.chat_template == SERVER:
        turns = sum(count_cl100k(message.content) + TURN_TOKENS for message in messages) + TURN_TOKENS
    else:
        turns = count_cl100k(render(settings.chat_template, messages))
    return {"base": count_cl100k(settings.bos + base.text), "nudger": turns}


def assumed(settings: Settings) -> tuple[str, ...]:
    """All of this in sentences."""
    low, likely, high = LEVELS
    shares = " / ".join(f"{level.length:.0%}" for level in LEVELS)
    return (
        f"Low / likely / high: an answer has {shares} of max_tokens ({settings.max_tokens}, or its row's own).",
        f"Plan: {_method(settings)}, as measured on simulated pairs that nudge 13 % (low) and 28 % of their tokens; "
        f"likely is in between, high {high.more:g} times the second.",
        f"Prompts have {low.tokenizer:g} / {likely.tokenizer:g} / {high.tokenizer:g} times the tokens of cl100k_base, "
        f"and a server's own chat template {TURN_TOKENS} for each message.",
        "Low: all that was read before is cached. Likely and high: nothing is.",
        "A probe replaces all of this by answers to a few rows.",
    )
