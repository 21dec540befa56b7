"""What a job will take, before it runs: from its rows alone, or from answers to a few of them.

From the rows alone it is a matter of assumptions (see `assumptions`), and `Estimate.assumptions` tells each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from statistics import mean, stdev
from typing import Any, TypeVar

from nudge_client.answer import Answer, ModelStats
from nudge_client.batch.assumptions import AUTHORS, LEVELS, Figures, Pair, assumed, expected, sized
from nudge_client.batch.input.rows import Row
from nudge_client.decoding import Author
from nudge_client.settings import Price, Settings

T = TypeVar("T")

MOST_COUNTED = 2000  # rows whose tokens are counted; of more, as many evenly over the job


@dataclass(frozen=True, slots=True)
class Range:
    """What to expect, and what would be little and much."""

    low: float
    likely: float
    high: float


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """Of one model, over the whole job. Cached tokens are part of the prompt's."""

    requests: Range
    prompt_tokens: Range
    cached_tokens: Range
    completion_tokens: Range


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job will take. cost: US dollars, None without prices. seconds: None without a probe and a concurrency.

    answers: rows times samples. counted: rows whose prompts were counted. probed: answers that it rests on, 0 if none.
    tokens: of both models, prompts and completions. assumptions: what it rests on besides, a sentence each.
    """

    rows: int
    answers: int
    counted: int
    probed: int
    base: ModelEstimate
    nudger: ModelEstimate
    tokens: Range
    cost: Range | None
    seconds: Range | None
    assumptions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


Ranged = Callable[[Sequence[float]], Range]


def estimate(
    rows: Iterable[Row],
    settings: Settings,
    *,
    samples: int = 1,
    probe: Sequence[Answer] = (),
    concurrency: int | None = None,
) -> Estimate:
    """What it takes to answer each row `samples` times. Reads `rows` once; nothing is sent.

    probe: answers to a few rows of this job, taken evenly (see `evenly`); the estimate then rests on them.
    concurrency: answers written at once. A row that no prompt can be made of costs nothing, as it will.
    """
    kept, count = evenly(rows, MOST_COUNTED)
    answers = count * samples
    if probe:
        found = [_took(answer) for answer in probe]
        return Estimate(
            count,
            answers,
            0,
            len(probe),
            *_totals(found, _by_probe(answers), settings),
            _by_probe(max(1.0, answers / concurrency))([one.stats.seconds for one in probe]) if concurrency else None,
            _of_probe(len(probe), concurrency),
        )
    counted = sized(kept, settings)
    found = [expected(counted, level) for level in LEVELS]
    scale = answers / max(1, len(kept))
    totals = _totals(found, lambda values: Range(*sorted(value * scale for value in values)), settings)
    told = assumed(settings)
    if len(kept) < count:
        told = (*told, f"The prompts of {len(kept)} of the {count} rows were counted, evenly over the job.")
    return Estimate(count, answers, len(kept), 0, *totals, None, told)


def evenly(items: Iterable[T], most: int) -> tuple[list[T], int]:
    """`most` of the items, or all where there are no more, evenly spaced; and how many there are. Reads them once."""
    kept: list[T] = []
    step, count = 1, 0
    for item in items:
        if count % step == 0 and len(kept) == 4 * most:
            kept, step = kept[::2], step * 2
        if count % step == 0:
            kept.append(item)
        count += 1
    if len(kept) <= most:
        return kept, count
    return [kept[(2 * place + 1) * len(kept) // (2 * most)] for place in range(most)], count


def _totals(
    found: Sequence[Pair], ranged: Ranged, settings: Settings
) -> tuple[ModelEstimate, ModelEstimate, Range, Range | None]:
    """Both models, tokens of both, dollars. ranged: from the figures in `found` to those of the job."""
    models = {
        author: ModelEstimate(
            *(ranged(values) for values in zip(*(astuple(pair[author]) for pair in found), strict=True))
        )
        for author in AUTHORS
    }
    tokens = ranged([sum(figures.prompt + figures.written for figures in pair.values()) for pair in found])
    cost = ranged([_cost(pair, settings.prices) for pair in found]) if settings.prices else None
    return models["base"], models["nudger"], tokens, cost


def _cost(pair: Pair, prices: Mapping[Author, Price]) -> float:
    return sum(
        price.of(round(pair[author].prompt), round(pair[author].cached), round(pair[author].written))
        for author, price in prices.items()
    )


# From a probe


def _took(answer: Answer) -> Pair:
    """What an answer took."""
    stats: Mapping[Author, ModelStats] = {"base": answer.stats.base, "nudger": answer.stats.nudger}
    return {
        author: Figures(model.requests, model.prompt_tokens, model.cached_tokens, model.completion_tokens)
        for author, model in stats.items()
    }


def _by_probe(times: float) -> Ranged:
    """From the figures of single answers to those of `times` as many: two standard errors to either side."""

    def ranged(values: Sequence[float]) -> Range:
        middle = mean(values)
        if len(values) == 1:
            return Range(middle * times / 2, middle * times, middle * times * 2)
        wide = max(2 * stdev(values) / len(values) ** 0.5, 0.1 * middle)
        return Range(max(0.0, middle - wide) * times, middle * times, (middle + wide) * times)

    return ranged


def _of_probe(number: int, concurrency: int | None) -> tuple[str, ...]:
    told: tuple[str, ...] = (
        f"It rests on {number} answers to rows of this job: the others are like them.",
        "Low and high are two standard errors away, and 10 % at least; half and twice, of a single answer.",
    )
    if concurrency:
        told = (*told, f"The servers write {concurrency} answers at once as fast as they wrote those.")
    return told
