"""`nudge local up | down | status`: keep the embedded pair running, so that commands need not start it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from nudge_client.cli.main import debug_option

if TYPE_CHECKING:
    from nudge_client.local.state import PairState


@click.group()
@debug_option
def local() -> None:
    """Keep the embedded pair running: a base model and a nudging model on two llama.cpp servers of this machine."""


@local.command()
@debug_option
def up() -> None:
    """Start the pair in the background, unless it runs already."""
    from nudge_client.local import control

    state, started = control.up()
    click.echo("started" if started else "already running", err=True)
    _show(state)


@local.command()
@debug_option
def down() -> None:
    """End the pair."""
    from nudge_client.local import control

    click.echo("ended" if control.down() else "not running", err=True)


@local.command()
@click.option("--json", "as_json", is_flag=True, help="Print an object, or null when the pair is not running.")
@debug_option
def status(as_json: bool) -> None:
    """Say whether the pair runs, and where."""
    from nudge_client.local.state import read_state

    state = read_state()
    if as_json:
        facts = state and {"pid": state.pid, "urls": state.urls, "seconds": round(state.age, 1)}
        click.echo(json.dumps(facts))
    elif state:
        _show(state)
    else:
        click.echo("not running; `nudge local up` starts it", err=True)


def _show(state: PairState) -> None:
    for name, url in state.urls.items():
        click.echo(f"local:{name}  {url}")
    click.echo(f"process {state.pid}, up for {state.age:.0f} s; `nudge local down` ends it", err=True)
