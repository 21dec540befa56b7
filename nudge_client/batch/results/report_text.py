"""The report of a job for terminals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nudge_client.batch.results.marked import marked, readable
from nudge_client.batch.results.output_rows import MODEL_STATS
from nudge_client.batch.results.report import SPREAD
from nudge_client.batch.results.worth_reading import figures, reason, title
from nudge_client.pages.numbers import clean, show_number

LONGEST = 800  # characters of an answer; the page has all of it
BLOCKS = "▁▂▃▄▅▆▇█"
BARS = 16


def show(summary: Mapping[str, Any], console: Console) -> None:
    """Print what the job gave: figures, then the answers that are worth reading."""
    console.print(Text.assemble((clean(summary["file"]), "bold"), f": {_counts(summary)}"))
    if not summary["records"]:
        console.print(Text("Nothing is finished yet."))
        return
    for called, name in (("failed", "failures"), ("ended", "finish_reasons"), ("plan", "plans")):
        if summary[name]:
            listed = " · ".join(f"{clean(kind, 60)} {number:,}" for kind, number in summary[name].items())
            console.print(Text(f"{called}: {listed}"))
    if not summary["answered"]:
        return
    console.print()
    console.print(_spreads(summary))
    console.print()
    console.print(_models(summary))
    console.print()
    console.print(Text(_totals(summary)))
    for item in summary["worth_reading"]:
        _show_answer(item, console)


def _counts(summary: Mapping[str, Any]) -> str:
    return f"{summary['records']:,} records, {summary['answered']:,} answered, {summary['failed']:,} failed"


def _totals(summary: Mapping[str, Any]) -> str:
    totals = summary["totals"]
    tokens = totals["answer_tokens"] or 1
    parts = [
        f"{totals['answer_tokens']:,} answer tokens",
        f"{show_number(totals['nudged_tokens'] / tokens, 'share')} nudged",
        f"{totals['verified_tokens']:,} verified",
    ]
    if totals["cost"] is not None:
        parts.append(f"{show_number(totals['cost'], 'dollars')} USD in all")
    return " · ".join(parts)


def _spreads(summary: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("median", "5 %", "95 %", "highest"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("")
    for name, (called, unit) in SPREAD.items():
        spread = summary["distributions"][name]
        if spread:
            cells = [show_number(spread[key], unit) for key in ("median", "p5", "p95", "highest")]
            table.add_row(called, *cells, _sparkline(spread["histogram"]["counts"]))
    return table


def _sparkline(counts: list[int]) -> str:
    """The histogram in few characters, from 0 to the right; nothing is a space."""
    together = -(-len(counts) // BARS)
    bars = [sum(counts[start : start + together]) for start in range(0, len(counts), together)]
    most = max(*bars, 1)
    return "".join(BLOCKS[(bar * len(BLOCKS) - 1) // most] if bar else " " for bar in bars)


def _models(summary: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in MODEL_STATS:
        table.add_column(name.removesuffix("_tokens"), justify="right", overflow="fold")
    for author, called in (("base", "base model"), ("nudger", "nudging model")):
        table.add_row(called, *(f"{summary['totals'][author][name]:,}" for name in MODEL_STATS))
    return table


def _show_answer(item: Mapping[str, Any], console: Console) -> None:
    # Where no colour can tell the authors apart, signs do.
    plain = console.no_color or console.color_system is None
    console.print()
    console.print(Text.assemble((title(item), "bold"), f", {reason(item)}"))
    console.print(Text(figures(item), "dim"))
    if item["prompt"]:
        console.print(Text(_cut(readable(item["prompt"])), "dim italic"))
    text, room = Text(), LONGEST
    for part in marked(item["segments"]):
        shown = part.text[:room]
        if part.nudged and plain:
            text.append(f"‹{shown}›")
        else:
            text.append(shown, "bold green" if part.nudged else "")
        if len(part.text) > room:
            text.append(" …", "dim")
            break
        room -= len(shown)
    console.print(text, soft_wrap=not console.is_terminal)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
