"""The text of an answer in parts, those of the nudging model marked: for terminals and pages alike."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# Marks that turn the direction of all that follows, the page's own words included.
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Part(NamedTuple):
    """A stretch of text; nudged ones neither begin nor end with white space."""

    text: str
    nudged: bool


def marked(segments: Iterable[Mapping[str, Any]]) -> list[Part]:
    """The parts of an answer's segments, fit to print."""
    parts = []
    for segment in segments:
        text = readable(segment["text"])
        words = text.strip() if segment["author"] == "nudger" else ""
        start = text.index(words) if words else len(text)
        parts += [Part(text[:start], False), Part(words, True), Part(text[start + len(words) :], False)]
    return [part for part in parts if part.text]


def readable(text: str) -> str:
    """The text without what would steer a terminal or turn a page around; its lines stay."""
    return "".join(_shown(mark) for mark in text)


def _shown(mark: str) -> str:
    if mark in "\n\t":
        return mark
    return "\ufffd" if mark in _TURNING or unicodedata.category(mark) in ("Cc", "Cs") else mark
