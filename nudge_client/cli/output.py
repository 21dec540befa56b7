"""What a person sees of an answer: the text as it is written, and the line that says what it took."""

from __future__ import annotations

import os
import sys

import click

from nudge_client.answer import Answer
from nudge_client.decoding import Piece

ENDINGS = {
    "stop": "",
    "length": "stopped at the token limit",
    "repeated_nudge": "stopped: the nudger kept saying the same",
    "repetition": "stopped: the text repeated itself",
    "rounds": "stopped at the limit of rounds",
}


class LiveText:
    """Writes pieces to standard output; on a terminal, the nudging model's in colour."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._text = ""
        self._retracted = 0

    def show(self, piece: Piece) -> None:
        """Write a piece at once."""
        self._retracted += piece.retracted
        self._text += piece.text
        colour = self._colour and piece.author == "nudger"
        sys.stdout.write(click.style(piece.text, fg="green", bold=True) if colour else piece.text)
        sys.stdout.flush()

    def close(self) -> None:
        """End the last line, and tell of text that was shown and is no part of the answer."""
        if self._text and not self._text.endswith("\n"):
            sys.stdout.write("\n")
        sys.stdout.flush()
        if self._retracted:
            click.echo(
                f"(the last {self._retracted} characters repeat what was said, and are not in the answer)", err=True
            )


def summary(answer: Answer) -> str:
    """One line: tokens, who wrote them, requests, what was thrown away, time."""
    stats = answer.stats
    base = stats.base
    discarded = base.discarded_tokens / base.completion_tokens if base.completion_tokens else 0.0
    parts = [
        f"{stats.answer_tokens} tokens",
        f"{stats.nudge_ratio:.0%} nudged",
        f"{stats.verified_tokens} verified" if stats.verified_tokens else "",
        answer.plan,
        f"{base.requests} base + {stats.nudger.requests} nudger requests",
        f"{discarded:.0%} of base tokens discarded",
        f"{stats.seconds:.1f} s",
        f"{stats.answer_tokens / stats.seconds:.0f} tokens/s" if stats.seconds else "",
        ENDINGS[answer.finish_reason],
    ]
    return " · ".join(filter(None, parts))
