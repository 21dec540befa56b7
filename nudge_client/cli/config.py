"""`nudge config show | init`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from nudge_client.cli.main import debug_option
from nudge_client.cli.options import given_settings, setting_options


@click.group()
@debug_option
def config() -> None:
    """The settings: flags, then NUDGE_… variables, then nudge.toml, then defaults."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help='Print an object: {NAME: {"value", "origin"}}.')
@setting_options
@debug_option
def show(as_json: bool, config: Path | None, **settings: Any) -> None:
    """Print every setting, and where its value came from."""
    from nudge_client.config import load_config

    loaded = load_config(given_settings(settings), file=config)
    values = loaded.settings.model_dump(mode="json")
    if as_json:
        facts = {name: {"value": value, "origin": loaded.origins[name]} for name, value in values.items()}
        click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for name, value in values.items():
        table.add_row(name, json.dumps(value, ensure_ascii=False), loaded.origins[name])
    Console(highlight=False, markup=False).print(table)


@config.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("nudge.toml"))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@debug_option
def init(path: Path, force: bool) -> None:
    """Write a commented nudge.toml to PATH."""
    from nudge_client.config import commented_toml
    from nudge_providers.errors import UsageError

    if path.exists() and not force:
        raise UsageError(f"{path} is there already; --force replaces it")
    path.write_text(commented_toml(), "utf-8")
    click.echo(f"wrote {path}", err=True)
