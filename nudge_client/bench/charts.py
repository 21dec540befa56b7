"""The pictures that compare methods: bars with their spread, stacked tokens, and the discarded share against L."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nudge_client.bench.reading import FIGURES, Figure, figure, median, methods, show_spread
from nudge_client.pages.drawing import Scale, around_one, from_zero, hover, legend, line, picture, rect, tag, text
from nudge_client.pages.numbers import DASH, clean, show_number

WIDTH = 480.0
LEFT, RIGHT = 108.0, 408.0  # between them the bars; names stand before, numbers after
ROW = 28.0
BAR = 14.0
PARTS = (("prompt", "prompt"), ("cached", "prompt, cached"), ("completion", "completion"))


@dataclass(frozen=True, slots=True)
class Row:
    """One method's bar. parts: (class, height) of its stack; without any it is one bar of `class_`."""

    name: str
    found: Figure | None
    class_: str
    parts: tuple[tuple[str, float], ...] = ()


def tone(name: str) -> str:
    """The base and the nudger keep their colours in every picture."""
    return {"base only": "base", "nudger only": "nudger"}.get(name, "pair")


def short(name: object) -> str:
    """A name that fits before the bars."""
    return clean(name, 15)


def ratio_chart(result: Mapping[str, Any]) -> tuple[Markup, str] | None:
    """Time against the base model's, and how its scale is to be read. None when no method has the figure."""
    rows = _rows(result, "ratio_to_base")
    values = [edge for row in rows if row.found for edge in (row.found.low, row.found.high)]
    if not values:
        return None
    scale = around_one(values, LEFT, RIGHT)
    note = "Logarithmic scale: bars grow from 1, the base's own speed." if scale.log else ""
    return _bars(rows, scale, "ratio_to_base", mark=1.0), note


def first_word_chart(result: Mapping[str, Any]) -> tuple[Markup, str] | None:
    """Seconds to the first word."""
    return _plain_chart(_rows(result, "first_token_seconds"), "first_token_seconds")


def billed_chart(result: Mapping[str, Any]) -> tuple[Markup, str] | None:
    """Billed tokens per answer token, stacked by kind where the kinds are known and add up."""
    rows = []
    for name, figures in methods(result).items():
        parts = _parts(figures)
        total = sum(height for _, height in parts)
        found = figure(figures, "billed_per_token") or (Figure(total, total, total) if parts else None)
        # A bill that leaves out some kind (cached tokens for free, say) must not be drawn as if it held it.
        adds_up = found is not None and abs(total - found.median) <= 0.25 * max(found.median, 1e-9)
        rows.append(Row(name, found, tone(name), parts if adds_up else ()))
    return _plain_chart(rows, "billed_per_token", PARTS if any(row.parts for row in rows) else ())


def _parts(figures: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    prompt, completion = median(figures, "prompt_tokens"), median(figures, "completion_tokens")
    answer, cached = median(figures, "answer_tokens"), median(figures, "cached_tokens") or 0.0
    if prompt is None or completion is None or not answer or min(prompt, completion, answer, cached) < 0:
        return ()
    cached = min(cached, prompt)
    return (("prompt", (prompt - cached) / answer), ("cached", cached / answer), ("completion", completion / answer))


def _rows(result: Mapping[str, Any], name: str) -> list[Row]:
    return [Row(method, figure(figures, name), tone(method)) for method, figures in methods(result).items()]


def _plain_chart(rows: Sequence[Row], name: str, entries: Sequence[tuple[str, str]] = ()) -> tuple[Markup, str] | None:
    values = [row.found.median for row in rows if row.found]
    if not values:
        return None
    scale = from_zero(values, LEFT, RIGHT)
    note = "Bars with a gap are cut short; their numbers hold." if max(values) > scale.high else ""
    return _bars(rows, scale, name, entries=entries), note


def _bars(
    rows: Sequence[Row],
    scale: Scale,
    name: str,
    *,
    mark: float | None = None,
    entries: Sequence[tuple[str, str]] = (),
) -> Markup:
    top = 26.0 if entries else 6.0
    bottom = top + ROW * len(rows)
    drawn = [legend(LEFT, 14, entries)] if entries else []
    drawn.append(axis(scale, top, bottom, [f"{tick:,.6g}" for tick in scale.ticks()]))
    drawn += [_bar(row, scale, name, top + ROW * index) for index, row in enumerate(rows)]
    if mark is not None:
        drawn.append(line(scale.place(mark), top - 4, scale.place(mark), bottom, "mark"))
    return picture(WIDTH, bottom + 20, FIGURES[name][0], *drawn)


def axis(scale: Scale, top: float, bottom: float, labels: Sequence[str]) -> Markup:
    """Faint lines with their numbers below."""
    return Markup("").join(
        line(scale.place(tick), top, scale.place(tick), bottom, "grid")
        + text(scale.place(tick), bottom + 14, label, "small", anchor="middle")
        for tick, label in zip(scale.ticks(), labels, strict=True)
    )


def _bar(row: Row, scale: Scale, name: str, top: float) -> Markup:
    unit = FIGURES[name][1]
    middle = top + ROW / 2
    base = middle + 4.5
    label = text(LEFT - 8, base, short(row.name), anchor="end")
    if row.found is None:
        return tag("g", hover(f"{clean(row.name)}: not measured"), label, text(WIDTH - 2, base, DASH, anchor="end"))
    start = scale.place(1.0 if scale.log else 0.0)
    bars, edge = [], start
    for class_, height in row.parts or ((row.class_, row.found.median),):
        reached = scale.place(height) if not row.parts else min(edge + scale.place(height) - start, scale.right)
        if reached != edge:
            bars.append(rect(min(edge, reached), middle - BAR / 2, max(edge, reached), middle + BAR / 2, class_))
        edge = reached
    spread = show_spread(row.found, unit)
    told = [f"{clean(row.name)}: {show_number(row.found.median, unit)}" + (f" ({spread})" if spread else "")]
    told += [f"{class_} {show_number(height, unit)}" for class_, height in row.parts]
    cut = row.found.median > scale.high
    return tag(
        "g",
        hover("; ".join(told)),
        label,
        *bars,
        _gap(scale.right - 16, middle) if cut else _whisker(row.found, scale, middle),
        text(WIDTH - 2, base, show_number(row.found.median, unit), "number", anchor="end"),
    )


def _gap(x: float, middle: float) -> Markup:
    top, bottom = middle - BAR / 2 - 2, middle + BAR / 2 + 2
    return tag("path", d=f"M{x} {bottom}L{x + 5} {top}h4L{x + 4} {bottom}z", class_="gap")


def _whisker(found: Figure, scale: Scale, middle: float) -> Markup:
    """The spread, with the median as a longer stroke: a ratio of one has no bar to be seen by."""
    low, high, here = scale.place(found.low), scale.place(found.high), scale.place(found.median)
    return (
        line(low, middle, high, middle, "whisker")
        + line(low, middle - 4, low, middle + 4, "whisker")
        + line(high, middle - 4, high, middle + 4, "whisker")
        + line(here, middle - BAR / 2, here, middle + BAR / 2, "whisker")
    )
