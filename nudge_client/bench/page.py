"""The bench result as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from nudge_client.bench.charts import billed_chart, first_word_chart, ratio_chart
from nudge_client.bench.discarded import discarded_chart
from nudge_client.bench.reading import FIGURES, figure, mapping, methods, setting_lines, show_spread, simulation
from nudge_client.bench.timelines import timeline_chart
from nudge_client.pages.frame import render
from nudge_client.pages.numbers import DASH, clean, show_number


class Picture(NamedTuple):
    """A drawing and what is said around it. wide: it takes the whole width."""

    title: str
    drawing: Markup
    caption: str
    wide: bool = False


def page(result: Mapping[str, Any]) -> str:
    """The page as HTML text. Figures that are missing are shown as dashes, pictures without any are left out."""
    setting = mapping(result.get("setting"))
    pair = f"{clean(setting.get('base', DASH))} nudged by {clean(setting.get('nudger', DASH))}"
    return render(
        "bench/page.html.jinja",
        title=f"nudge bench: {pair}",
        subtitle=pair,
        simulation=simulation(result),
        setting=setting_lines(result),
        pictures=_pictures(result),
        columns=[clean(name, 40) for name in methods(result)],
        lines=_table(result),
    )


def _pictures(result: Mapping[str, Any]) -> list[Picture]:
    drawn = (
        (
            "Time against the base model's own",
            ratio_chart(result),
            "How many times as long as the base model alone takes; whiskers are the lowest and highest repeat.",
            False,
        ),
        (
            "Seconds to the first word",
            first_word_chart(result),
            "How long a reader waits before anything shows; whiskers are the lowest and highest repeat.",
            False,
        ),
        (
            "Tokens billed per answer token",
            billed_chart(result),
            "What both endpoints count, for each token of the answer.",
            False,
        ),
        (
            "Discarded tokens against L",
            discarded_chart(result),
            "The share of the base model's tokens that were written and not used.",
            False,
        ),
        (
            "Where the time of one answer went",
            timeline_chart(result),
            "One answer of each method. The light part of a bar is the wait for its first token, the hatched part was "
            "discarded, dashed outlines were sent before they were known to be needed.",
            True,
        ),
    )
    return [
        Picture(title, found[0], " ".join(filter(None, (caption, found[1]))), wide)
        for title, found, caption, wide in drawn
        if found is not None
    ]


def _table(result: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    lines = {}
    for name, (called, unit) in FIGURES.items():
        found = [figure(figures, name) for figures in methods(result).values()]
        lines[called] = [
            (DASH, "") if item is None else (show_number(item.median, unit), show_spread(item, unit)) for item in found
        ]
    return lines
