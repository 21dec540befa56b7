"""`nudge doctor`: find out what endpoints can do, before they are trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nudge_client.cli.main import debug_option
from nudge_client.cli.options import given_settings, setting_options

if TYPE_CHECKING:
    from nudge_client.doctor import Report
    from nudge_client.settings import Settings

COLOURS = {"fine": "green", "degraded": "yellow", "unusable": "red", "unknown": "dim"}


@click.command()
@click.argument("endpoints", nargs=-1, metavar="[ENDPOINT]...")
@click.option("--json", "as_json", is_flag=True, help="Print a list with one object an endpoint.")
@setting_options
@debug_option
def doctor(endpoints: tuple[str, ...], as_json: bool, config: Path | None, **settings: Any) -> None:
    """Examine ENDPOINTs (the configured pair, without any) with a few small requests each.

    Exit status 0 when all of them can be used, 3 otherwise.
    """
    import asyncio

    from nudge_client.config import load_config

    checked = load_config(given_settings(settings), file=config).settings
    reports = asyncio.run(_examine(list(endpoints) or [checked.base, checked.nudger], checked))
    if as_json:
        click.echo(json.dumps([report.to_dict() for report in reports], indent=2, ensure_ascii=False))
    else:
        for report in reports:
            _show(report)
    click.get_current_context().exit(0 if all(report.usable for report in reports) else 3)


async def _examine(endpoints: list[str], settings: Settings) -> list[Report]:
    from nudge_client.doctor import examine
    from nudge_client.endpoints import open_endpoints

    async with open_endpoints(endpoints, settings) as providers:
        return [await examine(provider) for provider in providers]


def _show(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "verdict", "value", "evidence, and what to do", box=None, pad_edge=False)
    for name, item in report.findings.items():
        said = Text(item.evidence)
        if item.advice:
            said.append(f"\n→ {item.advice}", style="bold")
        value = "" if item.value is None else str(item.value)
        table.add_row(name, Text(item.verdict, COLOURS[item.verdict]), Text(value), said)
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(Text(report.endpoint, "bold"))
    console.print(table)
    verdict = f"usable; recommended plan: {report.plan}" if report.usable else "cannot be used"
    console.print(Text(f"{verdict}\n", "bold"))
