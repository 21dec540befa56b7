"""How an estimate is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nudge_client.batch.estimate import Estimate, Range


def show(found: Estimate, *, as_json: bool) -> None:
    """On standard output."""
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    table = Table("", "low", "likely", "high", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, model in (("base", found.base), ("nudger", found.nudger)):
        for what in ("requests", "prompt_tokens", "cached_tokens", "completion_tokens"):
            table.add_row(f"{name}: {what.replace('_', ' ')}", *_counts(getattr(model, what)))
    table.add_row("tokens of both", *_counts(found.tokens))
    if found.cost:
        table.add_row("dollars", *(f"{value:,.4g}" for value in (found.cost.low, found.cost.likely, found.cost.high)))
    if found.seconds:
        table.add_row("seconds", *_counts(found.seconds))
    rests = f"{found.probed} answers" if found.probed else f"the prompts of {found.counted} rows"
    console.print(f"{found.rows:,} rows are left, {found.answers:,} answers; an estimate from {rests}:")
    console.print(table)
    for sentence in found.assumptions:
        console.print(f"· {sentence}")
    if not found.cost:
        console.print("· Without [prices.base] and [prices.nudger] in nudge.toml it tells no dollars.")


def _counts(found: Range) -> list[str]:
    return [f"{value:,.0f}" for value in (found.low, found.likely, found.high)]
