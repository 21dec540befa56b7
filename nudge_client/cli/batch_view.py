"""How a job is shown: a live view on a terminal, plain lines elsewhere, and the last word."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Group

LINE_SECONDS = 10.0


class View:
    """Shows snapshots (see `Standing.snapshot`) on standard error. quiet: not at all."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live: Any = None
        self._said = time.monotonic()
        self._state = ""

    def __enter__(self) -> View:
        if sys.stderr.isatty() and not self._quiet:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True, highlight=False), refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, snapshot: Mapping[str, Any]) -> None:
        """The latest snapshot."""
        if self._live:
            self._live.update(picture(snapshot))
            return
        now, state = time.monotonic(), f"{snapshot['state']} {snapshot['why']}"
        if not self._quiet and (now - self._said >= LINE_SECONDS or (self._state and state != self._state)):
            self._said = now
            click.echo(line(snapshot), err=True)
        self._state = state


def picture(snapshot: Mapping[str, Any]) -> Group:
    """The live view."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = snapshot["rows"]
    parts: list[Any] = [Text(line(snapshot))]
    if rows["total"]:
        parts.append(Padding(ProgressBar(total=rows["total"], completed=rows["done"], width=60), 0))
    if snapshot["state"] in ("done", "stopped", "killed"):
        return Group(*parts)
    table = Table("account", "at once", "in flight", "waiting", "429s", "a minute", "why", box=None, pad_edge=False)
    for endpoint, load in snapshot["accounts"].items():
        told = (f"{load['limit']:.0f}", str(load["in_flight"]), str(load["waiting"]), str(load["rate_limited"]))
        rate = "" if load["requests_per_minute"] is None else f"{load['requests_per_minute']:.0f}"
        table.add_row(Text(endpoint), *told, rate, Text(load["why"]))
    parts.append(table)
    return Group(*parts)


def line(snapshot: Mapping[str, Any]) -> str:
    """One line that says where a job stands."""
    rows, cost = snapshot["rows"], snapshot["cost"]
    total = "" if rows["total"] is None else f" of {rows['total']}"
    parts = [
        ""
        if snapshot["state"] == "running"
        else snapshot["state"] + (f" ({snapshot['why']})" if snapshot["why"] else ""),
        f"{rows['done']}{total} rows",
        f"{rows['failed']} failed" if rows["failed"] else "",
        f"{rows['under_way']} under way" if rows["under_way"] else "",
        f"{snapshot['answers_per_second']:.1f} answers/s",
        f"{snapshot['tokens_per_second']:.0f} tokens/s",
        "" if snapshot["nudge_ratio"] is None else f"{snapshot['nudge_ratio']:.0%} nudged",
        f"${cost['likely']:.4g} so far" if snapshot["priced"] else "",
        f"${cost['projected']:.4g} projected"
        if snapshot["priced"] and cost["projected"] is not None and rows["left"]
        else "",
        f"{retries} retries" if (retries := sum(load["retries"] for load in snapshot["accounts"].values())) else "",
        f"{_clock(snapshot['seconds_left'])} left" if snapshot["seconds_left"] else "",
    ]
    return " · ".join(filter(None, parts))


def summary(snapshot: Mapping[str, Any]) -> str:
    """The last line of a job: what there is, and what it took."""
    rows, tokens, cost = snapshot["rows"], snapshot["tokens"], snapshot["cost"]
    spent = [f"{name} {tokens[name]}" for name in ("answered", "discarded", "failed") if tokens[name]]
    parts = [
        f"{rows['answered']} answered",
        f"{rows['failed']} failed" if rows["failed"] else "",
        f"{rows['left']} left" if rows["left"] else "",
        f"{tokens['likely']} tokens" + (f" ({', '.join(spent)})" if spent else ""),
        _money(cost) if snapshot["priced"] else "",
        f"{snapshot['seconds']:.1f} s",
    ]
    return " · ".join(filter(None, parts))


def _money(cost: Mapping[str, float]) -> str:
    spent = [f"{name} ${cost[name]:.4g}" for name in ("answered", "discarded", "failed") if cost[name]]
    most = f", at most ${cost['at_most']:.4g}" if cost["at_most"] > cost["likely"] else ""
    return f"${cost['likely']:.4g}{most}" + (f" ({', '.join(spent)})" if spent else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"
