"""The answer object: one shape in Python, `nudge run --json` and traces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from nudge_client.decoding import Append, Author, FinishReason
from nudge_client.sources import Ledger


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the answer by one author."""

    author: Author
    text: str


@dataclass(frozen=True, slots=True)
class TracedToken:
    """One token, or the used part of one: who wrote it and why.

    top_probability: of the most probable token there, by the model that wrote it. reason: see `decoding.events.Reason`.
    request: which request it came from, such as `base-3`; a word that the nudger completed came from the base model.
    """

    author: Author
    text: str
    top_probability: float
    reason: str
    request: str


@dataclass(frozen=True, slots=True)
class ModelStats:
    """What one model was asked for and gave. Tokens as the server counts them; cached ones are part of the prompt's."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    discarded_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of one answer. answer_tokens, nudged_tokens: as the servers list them. nudge_ratio: their quotient.

    verified_tokens: of the answer's, those that the base model was shown and would have written, and did not have to.
    """

    rounds: int
    nudge_ratio: float
    answer_tokens: int
    nudged_tokens: int
    verified_tokens: int
    base: ModelStats
    nudger: ModelStats
    seconds: float
    first_token_seconds: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer. `segments` joined are `text`, and so are `tokens`.

    plan: how the tokens were fetched (`chunked`, `streaming`, `verified`, `paper`). plan_reason: why it was that one.
    """

    text: str
    finish_reason: FinishReason
    plan: str
    segments: tuple[Segment, ...]
    stats: Stats
    plan_reason: str = ""
    tokens: tuple[TracedToken, ...] = field(repr=False, default=())

    def to_dict(self) -> dict[str, Any]:
        """The documented JSON object; the trace is not part of it."""
        whole = {name: getattr(self, name) for name in TOLD}
        return whole | {"segments": [asdict(segment) for segment in self.segments], "stats": asdict(self.stats)}

    def to_json(self, indent: int | None = None) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def trace_lines(self) -> Iterator[str]:
        """One JSON object a token, in order."""
        return (json.dumps(asdict(token), ensure_ascii=False) for token in self.tokens)


TOLD = tuple(each.name for each in fields(Answer) if each.name != "tokens")  # `asdict` would copy the trace, too


def segments_of(parts: Iterable[Append]) -> tuple[Segment, ...]:
    """Adjacent parts by one author, joined."""
    segments: list[Segment] = []
    for part in parts:
        if segments and segments[-1].author == part.author:
            segments[-1] = Segment(part.author, segments[-1].text + part.text)
        else:
            segments.append(Segment(part.author, part.text))
    return tuple(segments)


def written_by(part: Append) -> Author:
    """The model that generated the part's token; its author, except for a word that the nudger made its own."""
    return "base" if part.reason == "completed" else part.author


def traced(parts: Iterable[Append]) -> tuple[TracedToken, ...]:
    """The trace of an answer's parts."""
    return tuple(
        TracedToken(
            part.author,
            part.text,
            round(part.token.top_probability, 6),
            part.reason,
            f"{written_by(part)}-{part.token.request}",
        )
        for part in parts
    )


def stats_of(
    parts: Iterable[Append], ledgers: Mapping[Author, Ledger], *, rounds: int, seconds: float, first: float | None
) -> Stats:
    """The figures of an answer made of `parts`."""
    kept: dict[Author, Counter[int]] = {"base": Counter(), "nudger": Counter()}
    total = nudged = 0
    for part in parts:
        kept[written_by(part)][part.token.request] += part.adds
        total += part.adds
        nudged += part.adds if part.author == "nudger" else 0
    models = {
        author: ModelStats(
            ledger.requests,
            ledger.prompt_tokens,
            ledger.cached_tokens,
            ledger.completion_tokens,
            ledger.discarded(kept[author]),
        )
        for author, ledger in ledgers.items()
    }
    return Stats(
        rounds=rounds,
        nudge_ratio=round(nudged / total, 4) if total else 0.0,
        answer_tokens=total,
        nudged_tokens=nudged,
        verified_tokens=ledgers["base"].verified(kept["base"]),
        base=models["base"],
        nudger=models["nudger"],
        seconds=round(seconds, 3),
        first_token_seconds=None if first is None else round(first, 3),
    )
