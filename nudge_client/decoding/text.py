"""Questions about text: where words start, which words a draft holds, where a stop string begins, what repeats."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from nudge_client.decoding.rules import Segmentation

# A nudging word: leading whitespace, then non-whitespace. `\s` and str.isspace agree in `re`.
_WORD = re.compile(r"\s*\S+")
# Enough text before a position to decide whether it is a boundary (emoji sequences and flags are the longest).
_CONTEXT = 256
# Nothing, a letter, a digit: what UAX #29 looks ahead for (its rules WB6, WB7, WB11 and WB12).
_CONTINUATIONS = ("", "a", "0")

REPEAT_CHARS = 30  # ALGORITHM, guards: a suffix of at least 30 characters
REPEAT_TIMES = 3


@cache
def _unicode_boundary() -> Any:
    import regex  # takes 45 ms to import, and most answers need none of it

    return regex.compile(r"(?w)\b")  # UAX #29 default word boundaries


def _unicode_edges(text: str, start: int = 0) -> list[int]:
    """Positions of the word boundaries in `text` from `start` on; the whole text decides what is one."""
    return [match.start() for match in _unicode_boundary().finditer(text, start)]


def starts_word(text: str, token: str, segmentation: Segmentation) -> bool:
    """Whether `token` after the answer `text` starts a word."""
    if not text or text[-1].isspace() or token[0].isspace():
        return True
    if segmentation == "space":
        return False
    before = text[-_CONTEXT:]
    # Whatever may follow: "." after "3" starts no word, since "14" may come next.
    return all(len(before) in _unicode_edges(before + token + probe, len(before))[:1] for probe in _CONTINUATIONS)


def whole_words(draft: str, ended: bool, segmentation: Segmentation) -> list[str]:
    """The nudging words at the start of `draft`, joined a prefix of it.

    Unless the draft `ended`, its last word may have been cut short and is left out. Whitespace at the end of an ended
    draft counts as a word, so that an ended draft's words spell all of it.
    """
    words = _WORD.findall(draft) if segmentation == "space" else _unicode_words(draft)
    rest = draft[sum(map(len, words)) :]
    if ended:
        return [*words, rest] if rest else words
    return words if rest else words[:-1]


def _unicode_words(draft: str) -> list[str]:
    edges = _unicode_edges(draft)
    pieces = [draft[a:b] for a, b in zip([0, *edges], [*edges, len(draft)], strict=True) if a < b]
    words: list[str] = []
    space = ""
    for piece in pieces:
        if piece.isspace():
            space += piece
        else:
            words.append(space + piece)
            space = ""
    return words


def last_word_start(text: str, since: int, segmentation: Segmentation) -> int:
    """Where the last word of `text[since:]` begins, its leading whitespace included; `since` if nothing precedes it.

    By Unicode, whatever may follow: "can'" is one word, since it may become "can't".
    """
    if segmentation == "space":
        parts = text[since:].rsplit(None, 1)
        return since + len(parts[0]) if len(parts) == 2 else since
    end = len(text.rstrip())
    window = max(since, end - _CONTEXT)
    start = min(_last_edge(text[window:end] + probe, end - window) for probe in _CONTINUATIONS)
    return max(since, len(text[: window + start].rstrip()))


def _last_edge(text: str, before: int) -> int:
    return max((edge for edge in _unicode_edges(text) if edge < before), default=0)


def without_trailing_spaces(text: str, since: int) -> int:
    """Length of `text` without the spaces and tabs at its end, line breaks kept, never less than `since`."""
    return max(since, len(text.rstrip(" \t")))


def find_stop(text: str, stops: Iterable[str], since: int) -> tuple[int, int] | None:
    """Start and end of the stop string that is complete first, of those that begin at `since` or later.

    First by its end, so that the answer does not depend on how the text was cut into tokens.
    """
    found = [(at + len(stop), at) for stop in stops if (at := text.find(stop, since)) >= 0]
    if not found:
        return None
    end, start = min(found)
    return start, end


def held_for_stop(text: str, stops: Iterable[str]) -> int:
    """How many characters at the end of `text` may turn out to be the beginning of a stop string."""
    held = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), held, -1):
            if text.endswith(stop[:length]):
                held = length
                break
    return held


def repeated_tail(text: str) -> int:
    """Characters of extra copies at the end of `text`: 0, or those of all copies but the first of a repeated suffix.

    The suffix has at least 30 characters and stands there three times over; the shortest such counts.
    """
    size = len(text)
    if size < REPEAT_CHARS * REPEAT_TIMES:
        return 0
    probe = text[-REPEAT_CHARS:]
    # A period p shows as the same 30 characters p places earlier; those places are the only candidates.
    at = text.rfind(probe, 0, size - 1)
    while at >= 0:
        period = size - REPEAT_CHARS - at
        if period * REPEAT_TIMES > size:
            return 0
        if period >= REPEAT_CHARS and text.endswith(text[size - period :] * REPEAT_TIMES):
            return period * (REPEAT_TIMES - 1)
        at = text.rfind(probe, 0, at + REPEAT_CHARS - 1)
    return 0


def drop_repeated_suffixes(text: str) -> str:
    """`text` after dropping, again and again, the longest suffix (>= 30 characters) that repeats what precedes it.

    The paper preset's last step.
    """
    while True:
        for length in range(len(text) // 2, REPEAT_CHARS - 1, -1):
            if text[-length:] == text[-2 * length : -length]:
                text = text[:-length]
                break
        else:
            return text
