"""The picture of how a figure is spread: bars, with the median and where nine in ten values lie."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from nudge_client.pages.drawing import Scale, hover, line, picture, rect, tag, text
from nudge_client.pages.numbers import Unit, show_number

WIDTH, HEIGHT = 480.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 428.0, 24.0, 178.0
BEYOND = (444.0, 462.0)  # the bar of what is off the scale


def histogram(spread: Mapping[str, Any], title: str, unit: Unit) -> Markup:
    """A `distribution` as a picture."""
    bars = spread["histogram"]
    edges, counts = bars["edges"], bars["counts"]
    across = Scale(0.0, edges[-1], LEFT, RIGHT)
    up = Scale(0.0, max(*counts, bars["above"], 1) * 1.05, BOTTOM, TOP)
    drawn = [_axes(across, up, unit, RIGHT - 20 if bars["above"] else RIGHT)]
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        said = f"{show_number(low, unit)} to {show_number(high, unit)}: {count:,}"
        drawn.append(_bar(across.place(low) + 0.5, across.place(high) - 0.5, count, up, said))
    if bars["above"]:
        said = f"above {show_number(edges[-1], unit)}: {bars['above']:,}"
        drawn.append(_bar(*BEYOND, bars["above"], up, said))
        drawn.append(text(sum(BEYOND) / 2, BOTTOM + 17, "more", "small", anchor="middle"))
    drawn.append(_range(spread, across))
    return picture(WIDTH, HEIGHT, title, *drawn)


def caption(spread: Mapping[str, Any], unit: Unit) -> str:
    """The picture in words."""
    median, low, high, most = (show_number(spread[name], unit) for name in ("median", "p5", "p95", "highest"))
    said = f"Median {median}; nine answers in ten have {low} to {high} (the line on top). Highest: {most}."
    above = spread["histogram"]["above"]
    return f"{said} The last bar is all above the scale ({above:,})." if above else said


def _bar(left: float, right: float, count: int, up: Scale, said: str) -> Markup:
    if not count:
        return Markup("")
    top = min(up.place(count), BOTTOM - 1.5)  # one among thousands is seen, too
    return tag("g", hover(said), rect(left, top, right, BOTTOM, "pair"))


def _axes(across: Scale, up: Scale, unit: Unit, end: float) -> Markup:
    """Lines and numbers; beyond `end` there is no room for numbers."""
    drawn = []
    for tick in up.ticks():
        if tick == round(tick):  # answers are counted
            y = up.place(tick)
            drawn += [line(LEFT, y, RIGHT, y, "grid"), text(LEFT - 6, y + 4, f"{tick:,.0f}", "small", anchor="end")]
    for tick in across.ticks():
        x = across.place(tick)
        said = f"{tick * 100:.3g} %" if unit == "share" else f"{tick:,.6g}"
        drawn.append(line(x, BOTTOM, x, BOTTOM + 4, "mark"))
        if x <= end:
            drawn.append(text(x, BOTTOM + 17, said, "small", anchor="middle"))
    return Markup("").join(drawn)


def _range(spread: Mapping[str, Any], across: Scale) -> Markup:
    """From the 5th to the 95th percentile, with the median as a longer stroke."""
    low, middle, high = (across.place(spread[name]) for name in ("p5", "median", "p95"))
    y = TOP - 10
    return (
        line(low, y, high, y, "whisker")
        + line(low, y - 4, low, y + 4, "whisker")
        + line(high, y - 4, high, y + 4, "whisker")
        + line(middle, y - 7, middle, y + 7, "mark")
    )
