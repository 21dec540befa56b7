"""Numbers and texts as pages and tables show them; what is no number is a dash."""

from __future__ import annotations

import math
from typing import Literal

DASH = "–"
Unit = Literal["seconds", "times", "count", "each", "share", "dollars"]


def number(value: object) -> float | None:
    """The value as a float, or None. What is beyond any measurement would also be beyond any scale."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) <= 1e15 else None


def clean(value: object, longest: int = 200) -> str:
    """A text fit to print: no control characters, no lone surrogates, not endless."""
    text = "".join(mark if mark.isprintable() else "\ufffd" for mark in str(value))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def show_number(value: float | None, unit: Unit, like: float | None = None) -> str:
    """Three significant digits, in the unit. `like`: the value whose decimals are taken, for a spread its median."""
    if value is None:
        return DASH
    if unit == "share":
        return f"{_digits(value * 100, 1 if 0 < abs(value if like is None else like) < 0.1 else 0)} %"
    model = value if like is None else like
    if unit == "count":
        text = _digits(value, 0 if model == round(model) and value == round(value) else 1)
    else:
        text = _digits(value, _decimals(model, unit))
    return text + "×" if unit == "times" else text


def _decimals(value: float, unit: Unit) -> int:
    if value == 0:
        return 2
    most = 3 if unit == "seconds" and abs(value) >= 0.05 else 6
    return min(most, max(0, 2 - math.floor(math.log10(abs(value)))))


def _digits(value: float, decimals: int) -> str:
    return f"{value:.2e}" if abs(value) >= 1e7 else f"{value:,.{decimals}f}"
