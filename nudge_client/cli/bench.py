"""`nudge bench`: methods side by side."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nudge_client.cli.main import debug_option
from nudge_client.cli.options import given_settings, setting_options

if TYPE_CHECKING:
    from nudge_client.settings import Settings


@click.command()
@click.option("--prompts", type=click.Path(path_type=Path), help="One a line, or JSONL with `prompt`.  [default: 20]")
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, show_default=True, help="Runs of everything.")
@click.option("--methods", metavar="LIST", help="Separated by commas; 'all' for every one.")
@click.option("--simulate", metavar="PROFILE", help="Stand-ins instead: home, datacenter, hosted-70b or far.")
@click.option("--uncertainty", type=click.FloatRange(0, 1), help="Of the simulated base model.  [default: 0.3]")
@click.option("--agreement", type=click.FloatRange(0, 1), help="Of the simulated models.  [default: 0.68]")
@click.option("--small-base", metavar="ENDPOINT", help="The nudger before its alignment, for proxy tuning.")
@click.option("--client", "client_cost", is_flag=True, help="Measure this client's own cost instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as an object.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page with pictures, which opens from disk.")
@setting_options
@debug_option
def bench(
    prompts: Path | None,
    repeats: int,
    methods: str | None,
    simulate: str | None,
    uncertainty: float | None,
    agreement: float | None,
    small_base: str | None,
    client_cost: bool,
    as_json: bool,
    html: Path | None,
    config: Path | None,
    **settings: Any,
) -> None:
    """Compare ways to write the same answers: time, tokens and money.

    Methods take turns on every prompt, so that a slow minute hits all of them alike; figures are medians over the
    repeats, with their spread.
    """
    import asyncio

    if client_cost:
        _client_cost(repeats, as_json)
        return
    from nudge_client.bench.methods import DEFAULT, METHODS, checked_methods
    from nudge_client.cli.input import read_prompts
    from nudge_client.config import load_config

    checked = load_config({"max_tokens": 128} | given_settings(settings), file=config).settings
    wanted = METHODS if methods == "all" else tuple(name.strip() for name in methods.split(",")) if methods else DEFAULT
    names = checked_methods(wanted)
    if methods == "all" and not small_base:
        names.remove("proxy tuning")
    questions = read_prompts(prompts)
    toys = {
        name: value for name, value in (("uncertainty", uncertainty), ("agreement", agreement)) if value is not None
    }
    if toys and not simulate:
        raise click.UsageError("--uncertainty and --agreement are of a simulation: --simulate PROFILE")
    if html:
        with html.open("a"):  # a path that cannot be written is known before anything is paid for
            pass
    result = asyncio.run(_run(checked, questions, names, repeats, simulate, toys, small_base, sweep=html is not None))
    if html:
        from nudge_client.bench.page import page

        html.write_text(page(result), "utf-8")
    if as_json:
        click.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from nudge_client.bench.table import show

    show(result, Console(highlight=False))


def _client_cost(repeats: int, as_json: bool) -> None:
    import asyncio

    from nudge_client.bench.overhead import overhead

    result = asyncio.run(overhead(repeats, answers=1000))
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    calls, crowd = result["milliseconds"], result["crowd"]
    for name, spent in calls.items():
        raw = calls["raw stream" if "stream" in name else "raw call"]["median"]
        spread = f"{spent['low']:.3f} to {spent['high']:.3f}"
        click.echo(
            f"{name:24}{spent['median']:7.3f} ms of processor time ({spread})  {spent['median'] / raw:5.2f} × raw"
        )
    click.echo(
        f"{crowd['answers']} answers at once: {crowd['seconds']:.1f} s, {crowd['requests_per_second']:.0f} requests/s, "
        f"{crowd['milliseconds_per_request']:.2f} ms of processor time a request, "
        f"{crowd['milliseconds_per_streamed_token']:.3f} ms a streamed token, {crowd['peak_megabytes']:.0f} MB at most"
    )


async def _run(
    settings: Settings,
    prompts: list[str],
    methods: list[str],
    repeats: int,
    simulate: str | None,
    alike: dict[str, float],
    small_base: str | None,
    *,
    sweep: bool,
) -> dict[str, Any]:
    from nudge_client.bench.runner import Bench, setting
    from nudge_client.bench.simulated import Toys, simulated_pair, told
    from nudge_client.client import NudgeClient
    from nudge_client.config import check_settings
    from nudge_client.endpoints import open_endpoints

    toys = Toys(**alike)
    async with AsyncExitStack() as stack:
        if simulate:
            pair = simulated_pair(simulate, prompts, length=5 * settings.max_tokens, toys=toys)
            options = await stack.enter_async_context(pair)
            settings = check_settings(settings.model_dump(exclude_unset=True) | options)
        client = await stack.enter_async_context(NudgeClient(settings=settings))
        opened = await stack.enter_async_context(open_endpoints([small_base] if small_base else [], settings))
        third = opened[0] if opened else None
        run = Bench(client, prompts, methods, repeats, 20 if simulate else 1, third, _progress)
        await run.run()
        figures = run.figures()
        swept = await run.sweep() if sweep else []
        ratio = next((one["nudge_ratio"]["median"] for one in figures.values() if one["nudge_ratio"]["median"]), None)
        return {
            "setting": setting(settings, len(prompts), repeats, told(simulate, ratio, toys) if simulate else None),
            "methods": figures,
            "discarded": swept,
            "timelines": run.timelines(),
        }


def _progress(step: str) -> None:
    import sys

    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{step}", err=True, nl=False)
