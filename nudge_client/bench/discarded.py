"""The picture of what drafting ahead throws away: the discarded share against L, under the paper's bound."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from nudge_client.bench.reading import mapping
from nudge_client.pages.drawing import Scale, hover, legend, line, picture, tag, text
from nudge_client.pages.numbers import number, show_number

LEFT, RIGHT, TOP, BOTTOM = 48.0, 464.0, 28.0, 218.0
Point = tuple[float, float]


def discarded_chart(result: Mapping[str, Any]) -> tuple[Markup, str] | None:
    """The discarded share against L, and the nudge ratio its bound was drawn for. None when nothing was measured."""
    rows = _rows(result)
    measured = [(chunk, ratio) for chunk, ratio, _ in rows if ratio is not None]
    bounds = [(chunk, bound) for chunk, _, bound in rows if bound is not None]
    if not measured:
        return None
    ratios = [nudge_ratio(chunk, bound) for chunk, bound in bounds]
    across = _across([chunk for chunk, _, _ in rows])
    highest = max(value for _, value in measured + bounds)
    up = Scale(0.0, min(1.0, max(0.1, math.ceil(highest * 10 + 0.5) / 10)), BOTTOM, TOP)
    drawn = [legend(LEFT, 14, [("measured-line", "measured"), *([("bound-line", "bound")] if bounds else [])])]
    drawn.append(_axes(across, up, [chunk for chunk, _, _ in rows]))
    if bounds:
        drawn.append(_path(_curve(bounds, ratios), across, up, "bound-line"))
    drawn.append(_path(measured, across, up, "measured-line"))
    drawn += [_dot(row, across, up) for row in rows]
    return picture(480, BOTTOM + 40, "discarded share against L", *drawn), _note(ratios)


def bound(chunk: float, ratio: float) -> float:
    """The paper's bound on the discarded share: L·r / (1 − r + L·r)."""
    return chunk * ratio / (1 - ratio + chunk * ratio)


def nudge_ratio(chunk: float, limit: float) -> float:
    """The nudge ratio a bound was reckoned with: `bound` the other way round."""
    return limit / (chunk * (1 - limit) + limit)


def _note(ratios: Sequence[float]) -> str:
    if not ratios:
        return ""
    low, high = show_number(min(ratios), "share"), show_number(max(ratios), "share")
    return (
        f"Bound: L·r / (1 − r + L·r), with r = {low if low == high else f'{low} to {high}'}, the measured nudge ratio."
    )


def _rows(result: Mapping[str, Any]) -> list[tuple[float, float | None, float | None]]:
    given = result.get("discarded")
    rows = []
    for item in given if isinstance(given, list | tuple) else ():
        row = mapping(item)
        chunk = number(row.get("chunk"))
        if chunk is not None and chunk >= 1:
            rows.append((chunk, _share(row.get("discarded_ratio")), _share(row.get("bound"))))
    return sorted(rows, key=lambda row: row[0])


def _share(value: object) -> float | None:
    found = number(value)
    return None if found is None else min(max(found, 0.0), 1.0)


def _across(chunks: Sequence[float]) -> Scale:
    """L by its logarithm, as it is doubled from run to run; with a little room at both ends."""
    return Scale(min(chunks) / 1.25, max(chunks) * 1.25, LEFT, RIGHT, log=True)


def _curve(bounds: Sequence[Point], ratios: Sequence[float]) -> list[Point]:
    """The bound between the measured L too. Each run has its own nudge ratio: in between, so has the curve."""
    points = [bounds[0]]
    for (start, _), (end, _), low, high in zip(bounds, bounds[1:], ratios, ratios[1:], strict=False):
        for step in range(1, 13):
            share = step / 12
            chunk = start * (end / start) ** share
            points.append((chunk, bound(chunk, low + (high - low) * share)))
    return points


def _path(points: Sequence[Point], across: Scale, up: Scale, class_: str) -> Markup:
    steps = " ".join(f"{across.place(x):.1f},{up.place(y):.1f}" for x, y in points)
    return tag("polyline", points=steps, class_=class_)


def _dot(row: tuple[float, float | None, float | None], across: Scale, up: Scale) -> Markup:
    chunk, ratio, limit = row
    if ratio is None:
        return Markup("")
    said = f"L = {chunk:g}: {show_number(ratio, 'share')} discarded, bound {show_number(limit, 'share')}"
    return tag("circle", hover(said), cx=across.place(chunk), cy=up.place(ratio), r=4.5, class_="measured")


def _axes(across: Scale, up: Scale, chunks: Sequence[float]) -> Markup:
    drawn = []
    for tick in up.ticks():
        y = up.place(tick)
        drawn += [line(LEFT, y, RIGHT, y, "grid"), text(LEFT - 6, y + 4, f"{tick * 100:.3g} %", "small", anchor="end")]
    last = -math.inf
    for chunk in chunks:
        x = across.place(chunk)
        drawn.append(line(x, BOTTOM, x, BOTTOM + 4, "mark"))
        if x - last >= 26:  # numbers must not touch
            drawn.append(text(x, BOTTOM + 17, f"{chunk:g}", "small", anchor="middle"))
            last = x
    drawn.append(text((LEFT + RIGHT) / 2, BOTTOM + 34, "L, base tokens asked for at once", "small", anchor="middle"))
    return Markup("").join(drawn)
