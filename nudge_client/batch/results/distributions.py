"""How a figure is spread over many answers: quantiles, and a histogram that a few far values do not flatten."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import Any

BARS = 30  # at most
FAR = 3.0  # where the highest value is this many times the 95th percentile, the histogram ends at twice that percentile


def distribution(values: array[float], *, whole: bool) -> dict[str, Any] | None:
    """The figures of values from 0 up; None without any. whole: they count something, and so do the edges of bars.

    `histogram`: `counts` of values between `edges` (of which there is one more), from 0; `above` are beyond the last.
    Quantiles lie between two neighbours, as NumPy's do by default.
    """
    if not values:
        return None
    ordered = sorted(values)
    figures = {
        "count": len(ordered),
        "mean": math.fsum(ordered) / len(ordered),
        "lowest": ordered[0],
        "p5": _quantile(ordered, 0.05),
        "median": _quantile(ordered, 0.5),
        "p95": _quantile(ordered, 0.95),
        "highest": ordered[-1],
    }
    shown = {name: round(value, 9) for name, value in figures.items()}
    return shown | {"histogram": _histogram(ordered, _top(figures), whole)}


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _top(figures: dict[str, float]) -> float:
    """Where the histogram ends."""
    usual, highest = figures["p95"], figures["highest"]
    return 2 * usual if 0 < FAR * usual < highest else highest


def _histogram(ordered: Sequence[float], top: float, whole: bool) -> dict[str, Any]:
    step = _step(top / BARS, whole)
    # Of counts, each bar has its first value and not that of the next; of others the last bar has both its edges.
    bars = math.floor(top / step + 1e-9) + 1 if whole else max(1, math.ceil(top / step - 1e-9))
    counts, above = [0] * bars, 0
    for value in ordered:
        bar = math.floor(value / step + 1e-9)
        if bar < bars or value <= top:
            counts[min(bar, bars - 1)] += 1
        else:
            above += 1
    return {"edges": [round(step * edge, 12) for edge in range(bars + 1)], "counts": counts, "above": above}


def _step(least: float, whole: bool) -> float:
    if (whole and least <= 1) or least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(head * power for head in (1, 2, 5, 10) if head * power >= least * 0.999)
