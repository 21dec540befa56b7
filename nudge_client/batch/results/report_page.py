"""The report of a job as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nudge_client.batch.results.histograms import caption, histogram
from nudge_client.batch.results.marked import marked, readable
from nudge_client.batch.results.output_rows import MODEL_STATS
from nudge_client.batch.results.report import SPREAD
from nudge_client.batch.results.worth_reading import figures, reason, title
from nudge_client.pages.frame import render
from nudge_client.pages.numbers import DASH, clean, show_number


def page(summary: Mapping[str, Any]) -> str:
    """The page as HTML text, from what `summarize` gives."""
    return render(
        "batch/results/report.html.jinja",
        style="batch/results/report.css",
        title=f"nudge batch: {clean(summary['file'])}",
        file=clean(summary["file"]),
        facts=_facts(summary),
        pictures=[
            (called[0].upper() + called[1:], histogram(spread, called, unit), caption(spread, unit))
            for name, (called, unit) in SPREAD.items()
            if (spread := summary["distributions"][name])
        ],
        endings=_endings(summary),
        kinds=[name.removesuffix("_tokens") for name in MODEL_STATS],
        models=_models(summary),
        answers=[_answer(item) for item in summary["worth_reading"]],
    )


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    totals = summary["totals"]
    tokens = totals["answer_tokens"]
    shares = {name: totals[f"{name}_tokens"] / tokens if tokens else None for name in ("nudged", "verified")}
    facts = {
        "answered": f"{summary['answered']:,}",
        "failed": f"{summary['failed']:,}",
        "answer tokens": f"{tokens:,}",
        "of these, nudged": show_number(shares["nudged"], "share"),
        "of these, verified": show_number(shares["verified"], "share"),
        "plan": ", ".join(f"{clean(name, 40)} {number:,}" for name, number in summary["plans"].items()) or DASH,
    }
    if totals["cost"] is not None:
        facts["cost of all, USD"] = show_number(totals["cost"], "dollars")
    return facts


def _endings(summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    ends = [(clean(name, 60), number) for name, number in summary["finish_reasons"].items()]
    ends += [(f"failed: {clean(name, 60)}", number) for name, number in summary["failures"].items()]
    return [(name, f"{number:,}", show_number(number / summary["records"], "share")) for name, number in ends]


def _models(summary: Mapping[str, Any]) -> dict[str, list[str]]:
    return {
        called: [f"{summary['totals'][author][name]:,}" for name in MODEL_STATS]
        for author, called in (("base", "base model"), ("nudger", "nudging model"))
    }


def _answer(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": title(item),
        "reason": reason(item),
        "figures": figures(item),
        "prompt": readable(item["prompt"] or ""),
        "parts": marked(item["segments"]),
    }
