"""Which few of many answers to read: the most nudged, the most repetitive and the longest.

Four have the highest nudge ratio: there the base model was least sure of itself, or the threshold is too high. Three
of the rest repeat themselves most, three of what is left are the longest: that is where answers go wrong. Of equals the
longer comes first, then the earlier. What has none of it (no nudge, no repetition, no text) is not shown for it.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nudge_client.batch.records import Record
from nudge_client.pages.numbers import clean, show_number

MIXTURE = (("nudge_ratio", 4), ("repetition", 3), ("answer_tokens", 3))
SHOWN = sum(number for _, number in MIXTURE)
GRAM = 4
# Scripts that put no spaces between words (Thai to Lao, Burmese, Khmer, kana, Han): there each character is one.
_SPACELESS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_SPACELESS}]|[^\W{_SPACELESS}]+")


def repetition(text: str) -> float:
    """The share of the 4-grams of words in `text` that it has said before; 0 for a text of fewer words.

    1 - distinct 4-grams / 4-grams: seq-rep-4 of Welleck et al., "Neural Text Generation With Unlikelihood Training"
    (2020), on words, without case and punctuation.
    """
    words = _WORD.findall(text.casefold())
    grams = list(zip(*(words[start:] for start in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


class Pick(NamedTuple):
    """An answer and why it is shown: `by` is a figure of the mixture. offset: where its line is, in bytes."""

    by: str
    rank: int
    offset: int


class Candidate(NamedTuple):
    """What is kept of an answer; the largest is shown first."""

    value: float
    tokens: int
    before: int  # the offset, negative: of equals the earlier is larger


class WorthReading:
    """Picks answers as they pass by; memory does not grow with their number."""

    def __init__(self) -> None:
        self._best: dict[str, list[Candidate]] = {name: [] for name, _ in MIXTURE}

    def see(self, record: Record, offset: int) -> None:
        """Consider an answer."""
        if record.answer is None:
            return
        stats = record.answer["stats"]
        values = {
            "nudge_ratio": stats["nudge_ratio"],
            "repetition": repetition(record.answer["text"]),
            "answer_tokens": stats["answer_tokens"],
        }
        for name, best in self._best.items():
            if values[name] > 0:
                heapq.heappush(best, Candidate(values[name], stats["answer_tokens"], -offset))
                if len(best) > SHOWN:  # as many may be shown for another reason
                    heapq.heappop(best)

    def picks(self) -> Iterator[Pick]:
        """Those to show, none twice. rank: from 1, among all answers by that figure."""
        taken: set[int] = set()
        for name, wanted in MIXTURE:
            ranked = enumerate(sorted(self._best[name], reverse=True), 1)
            fresh = [Pick(name, rank, -found.before) for rank, found in ranked if -found.before not in taken]
            taken.update(pick.offset for pick in fresh[:wanted])
            yield from fresh[:wanted]


def told(record: Record, pick: Pick) -> dict[str, Any]:
    """The answer with why it is shown."""
    assert record.answer is not None
    stats = record.answer["stats"]
    return {
        "by": pick.by,
        "rank": pick.rank,
        "row": record.row,
        "sample": record.sample,
        "id": record.id,
        "prompt": _prompt(record),
        "nudge_ratio": stats["nudge_ratio"],
        "repetition": round(repetition(record.answer["text"]), 4),
        "answer_tokens": stats["answer_tokens"],
        "seconds": stats["seconds"],
        "finish_reason": record.answer["finish_reason"],
        "segments": record.answer["segments"],
    }


def reason(item: Mapping[str, Any]) -> str:
    """Why an answer of `told` is shown, in words."""
    called = {"nudge_ratio": "nudge ratio", "repetition": "repetition", "answer_tokens": "length"}
    return f"no. {item['rank']} by {called[item['by']]}"


def title(item: Mapping[str, Any]) -> str:
    """Which answer it is."""
    sample = f", sample {item['sample']}" if item["sample"] else ""
    named = f", id {clean(item['id'], 80)}" if item["id"] not in (None, item["row"]) else ""
    return f"Row {item['row']}{sample}{named}"


def figures(item: Mapping[str, Any]) -> str:
    """Its figures in a line."""
    parts = [
        f"{show_number(item['nudge_ratio'], 'share')} nudged",
        f"{show_number(item['repetition'], 'share')} repeated",
        f"{item['answer_tokens']:,} tokens",
        f"ended: {clean(item['finish_reason'], 40)}",
    ]
    return " · ".join(parts)


def _prompt(record: Record) -> str | None:
    """What was asked, where the record carries it as `prompt` or `messages`."""
    prompt, messages = record.fields.get("prompt"), record.fields.get("messages")
    if isinstance(prompt, str):
        return prompt
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, dict) else None
    return content if isinstance(content, str) else None
