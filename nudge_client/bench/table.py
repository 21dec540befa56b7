"""The bench result as a table for terminals: as many columns as there is room for, and no number cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nudge_client.bench.reading import figure, mapping, methods, setting_lines, simulation
from nudge_client.pages.numbers import DASH, Unit, clean, show_number


class Column(NamedTuple):
    """heading: two lines at most. spread: whether a ± follows the median. bound: the figure shown as its bound."""

    name: str
    heading: str
    unit: Unit
    spread: bool = False
    bound: str | None = None


COLUMNS = (
    Column("seconds_per_answer", "\ns/answer", "seconds", spread=True),
    Column("seconds_per_token", "\ns/token", "seconds", spread=True),
    Column("ratio_to_base", "\n× base", "each", spread=True),
    Column("first_token_seconds", "first\nword, s", "seconds", spread=True),
    Column("requests", "re-\nquests", "count"),
    Column("billed_per_token", "billed/\ntoken", "each"),
    Column("discarded_ratio", "dis-\ncarded", "share", bound="discarded_bound"),
    Column("nudge_ratio", "\nnudged", "share"),
    Column("cost", "cost,\nUSD", "dollars"),
)
# When room is short they go in this order.
LEAST_NEEDED = (
    "seconds_per_token",
    "cost",
    "nudge_ratio",
    "requests",
    "billed_per_token",
    "first_token_seconds",
    "discarded_ratio",
    "ratio_to_base",
)


def show(result: Mapping[str, Any], console: Console) -> None:
    """Print what was run, a row for each method, and the names of the columns that had no room."""
    setting, simulated = mapping(result.get("setting")), simulation(result)
    pair = f"{clean(setting.get('base', DASH))} nudged by {clean(setting.get('nudger', DASH))}"
    console.print(Text(pair, "bold"))
    lines = {name: value for name, value in setting_lines(result).items() if name not in ("base", "nudger")}
    if lines:
        console.print(Text("; ".join(f"{name}: {value}" for name, value in lines.items()), "dim"))
    if simulated:
        console.print(Text.assemble((" SIMULATED ", "bold reverse yellow"), (f" {simulated}", "yellow")))
    if not methods(result):
        console.print(Text("Nothing was measured."))
        return
    _show_methods(result, console)
    if simulated:
        console.print(Text("SIMULATED: no real endpoint was measured.", "bold yellow"))


def _show_methods(result: Mapping[str, Any], console: Console) -> None:
    wanted = [column for column in COLUMNS if column.name != "cost" or mapping(result.get("setting")).get("prices")]
    columns = _fitting(result, wanted, console)
    console.print()
    console.print(_table(result, columns))
    console.print()
    console.print(Text("Medians, ± the farthest repeat; ≤ the bound. billed/token: for a token of the answer.", "dim"))
    left_out = [column.heading for column in wanted if column not in columns]
    if left_out:
        names = "; ".join(
            heading.replace("-\n", "").replace("/\n", "/").replace("\n", " ").strip() for heading in left_out
        )
        console.print(Text(f"No room here for: {names}.", "dim"))


def _fitting(result: Mapping[str, Any], columns: Sequence[Column], console: Console) -> list[Column]:
    """The columns that fit side by side; the time of an answer always stays."""
    kept = list(columns)
    endless = console.options.update(width=10_000)
    for name in LEAST_NEEDED:
        if Measurement.get(console, endless, _table(result, kept)).maximum <= console.width:
            break
        kept = [column for column in kept if column.name != name]
    return kept


def _table(result: Mapping[str, Any], columns: Sequence[Column]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(Text("\nmethod"), overflow="fold")
    for column in columns:
        # Folded where even the least does not fit: a number on two lines still is one, a cut one is not.
        table.add_column(Text(column.heading), justify="right", overflow="fold")
    for name, figures in methods(result).items():
        table.add_row(Text(clean(name, 24)), *(_cell(figures, column) for column in columns))
    return table


def _cell(figures: Mapping[str, Any], column: Column) -> Text:
    found = figure(figures, column.name)
    if found is None:
        return Text(DASH, "dim")
    text = Text(_number(found.median, column))
    if column.spread:
        text.append(f" ±{show_number(found.spread, column.unit, found.median)}", "dim")
    bound = figure(figures, column.bound) if column.bound else None
    if bound:
        text.append(f" ≤{_number(bound.median, column)}", "dim")
    return text


def _number(value: float, column: Column) -> str:
    return show_number(value, column.unit).replace(" %", "%")
