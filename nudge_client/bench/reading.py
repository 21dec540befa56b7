"""Reading a bench result: whatever is missing, null or not a number is None, and is shown as a dash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nudge_client.pages.numbers import DASH, Unit, clean, number, show_number

# In the order of the page's table: what it is called there, and its unit.
FIGURES: dict[str, tuple[str, Unit]] = {
    "seconds_per_answer": ("seconds per answer", "seconds"),
    "seconds_per_token": ("seconds per answer token", "seconds"),
    "ratio_to_base": ("time against the base alone", "times"),
    "first_token_seconds": ("seconds to the first word", "seconds"),
    "answer_tokens": ("answer tokens", "count"),
    "requests": ("requests", "count"),
    "prompt_tokens": ("prompt tokens", "count"),
    "cached_tokens": ("of these, cached", "count"),
    "completion_tokens": ("completion tokens", "count"),
    "billed_per_token": ("tokens billed per answer token", "each"),
    "billed_uncached_per_token": ("of these, not cached", "each"),
    "discarded_tokens": ("discarded tokens", "count"),
    "discarded_ratio": ("discarded share", "share"),
    "discarded_bound": ("its bound", "share"),
    "nudge_ratio": ("nudged share", "share"),
    "verified_ratio": ("verified share", "share"),
    "cost": ("cost of an answer, USD", "dollars"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure over the repeats; low <= median <= high."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """How far the farthest repeat is from the median."""
        return max(self.median - self.low, self.high - self.median)


def mapping(value: object) -> Mapping[str, Any]:
    """The value, or an empty mapping when it is none."""
    return value if isinstance(value, Mapping) else {}


def methods(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The figures of each method, in the result's order."""
    return {name: mapping(figures) for name, figures in mapping(result.get("methods")).items()}


def figure(figures: Mapping[str, Any], name: str) -> Figure | None:
    """One figure of a method. A spread that is missing is taken to be none."""
    given = mapping(figures.get(name))
    median = number(given.get("median"))
    if median is None:
        return None
    low, high = number(given.get("low")), number(given.get("high"))
    return Figure(median, min(median, median if low is None else low), max(median, median if high is None else high))


def median(figures: Mapping[str, Any], name: str) -> float | None:
    """The median alone."""
    found = figure(figures, name)
    return None if found is None else found.median


def show_spread(found: Figure, unit: Unit) -> str:
    """`low–high`, or nothing when every repeat gave the same."""
    if found.low == found.high:
        return ""
    return f"{show_number(found.low, unit, found.median)}{DASH}{show_number(found.high, unit, found.median)}"


def simulation(result: Mapping[str, Any]) -> str | None:
    """What was simulated, in one line; None when the endpoints were real."""
    given = mapping(result.get("setting")).get("simulated")
    if given is None or given is False:
        return None
    facts = mapping(given)
    parts = [f"profile {clean(facts.get('profile', DASH), 40)}"]
    for name, value in mapping(facts.get("latencies")).items():
        unit = " ms" if str(name).endswith("_ms") else ""
        parts.append(f"{clean(name, 40).removesuffix('_ms').replace('_', ' ')} {_plain(value)}{unit}")
    parts.append(f"nudge ratio {_plain(facts.get('nudge_ratio'))}")
    parts.append(f"draft agreement {_plain(facts.get('draft_agreement'))}")
    return ", ".join(parts)


def setting_lines(result: Mapping[str, Any]) -> dict[str, str]:
    """What was run, a name and a text each: every plain value of the setting, then the prices."""
    setting = mapping(result.get("setting"))
    lines = {
        clean(name, 40).replace("_", " "): _plain(value)
        for name, value in setting.items()
        if name not in ("simulated", "prices")
    }
    for author, prices in mapping(setting.get("prices")).items():
        each = ", ".join(f"{clean(kind, 40)} {_plain(price)}" for kind, price in mapping(prices).items())
        lines[f"{clean(author, 40)}, USD per million tokens"] = each or DASH
    return lines


def _plain(value: object) -> str:
    if value is None:
        return DASH
    found = number(value)
    return clean(value) if found is None else f"{found:,.6g}"
