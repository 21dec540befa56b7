"""`nudge batch`: a file of prompts in, a file of answers out; and its commands on what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from nudge_client.cli.batch_results import export, report, status
from nudge_client.cli.main import debug_option
from nudge_client.cli.options import given_settings, setting_options

RUN = "run"


class Batch(click.Group):
    """A group that runs a job when what follows is none of its commands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else [RUN, *args])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return ("IN" if name == RUN else name), command, rest


@click.group(cls=Batch)
def batch() -> None:
    """Answer every row of a file."""


@batch.command(
    name=RUN, hidden=True, options_metavar="-o OUT [OPTIONS]", epilog="Then: nudge batch status|export|report OUT"
)
@click.argument("source", metavar="")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="Where the answers go, JSONL.")
@click.option("--format", "input_format", help="Of the input: jsonl, openai, csv or parquet.  [default: by its name]")
@click.option("--template", metavar="TEXT", help="Makes a prompt of a row's fields, such as 'Question: {question}'.")
@click.option("--samples", type=click.IntRange(1, 1000), default=1, show_default=True, help="Answers to each row.")
@click.option(
    "--concurrency", type=click.IntRange(1, 4096), default=256, show_default=True, help="Most answers at once."
)
@click.option(
    "--patience", type=click.FloatRange(0), default=600, show_default=True, help="Seconds an endpoint may be down."
)
@click.option("--max-failures", type=click.IntRange(0), help="Stop when more rows than this have failed.")
@click.option("--max-cost", type=click.FloatRange(0), help="Dollars that the whole job may cost, at most.")
@click.option("--max-tokens-total", type=click.IntRange(0), help="Tokens that the whole job may take, of both models.")
@click.option("--estimate", is_flag=True, help="Say what the job would take, and do not run it.")
@click.option(
    "--probe", type=click.IntRange(1, 1000), help="With --estimate: answer this many rows first, and go by them."
)
@click.option("--json", "as_json", is_flag=True, help="With --estimate: print an object.")
@click.option("--retry-failed", is_flag=True, help="Try again the rows that failed.")
@click.option("--restart", is_flag=True, help="Begin anew; what is there is put aside.")
@click.option("--allow-changed", is_flag=True, help="Go on though the input or the settings are not what they were.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="'ray': on several workers or machines, by Ray Data; OUT is a folder of parts then.",
)
@click.option("--workers", type=click.IntRange(1), help="Of Ray.  [default: as many as it has processors]")
@click.option("--ray-address", metavar="ADDRESS", help="Of a Ray cluster, or 'auto'.  [default: one on this machine]")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@setting_options
@debug_option
def run(source: str, config: Path | None, **options: Any) -> None:
    """Answer every row of IN, a file or - for standard input: JSONL with `prompt` or `messages`, the OpenAI Batch
    format, CSV or Parquet.

    Answers are on the disk as they finish. Whatever ends the command, the same command goes on where it stopped.
    """
    from nudge_client.cli.batch_run import Wishes, run_job
    from nudge_client.config import load_config

    names = Wishes.__dataclass_fields__.keys() - {"source"}
    wishes = Wishes(source=source, **{name: options.pop(name) for name in names})
    checked = load_config(given_settings(options), file=config).settings
    work = run_job
    if wishes.engine == "ray":
        from nudge_client.cli.batch_ray import run_on_ray as work
    click.get_current_context().exit(work(wishes, checked))


for command in (status, export, report):
    batch.add_command(command)
