"""`nudge run`: answer one prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nudge_client.cli.main import debug_option
from nudge_client.cli.options import given_settings, setting_options

if TYPE_CHECKING:
    from nudge_client.prompts import Prompt
    from nudge_client.settings import Settings


@click.command()
@click.argument("prompt", required=False)
@click.option("--messages", type=click.Path(path_type=Path), help="Read a conversation from a JSON file instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer object, when it is finished.")
@click.option("--trace", type=click.Path(path_type=Path), help="Write one JSON line a token: who wrote it, and why.")
@click.option("--quiet", "-q", is_flag=True, help="No summary line.")
@setting_options
@debug_option
def run(
    prompt: str | None,
    messages: Path | None,
    as_json: bool,
    trace: Path | None,
    quiet: bool,
    config: Path | None,
    **settings: Any,
) -> None:
    """Answer PROMPT ('-' reads it from standard input).

    The text appears as it is written; the nudging model's words stand out in colour on a terminal. A last line, on
    standard error, says what it took.
    """
    import asyncio

    from nudge_client.cli.input import read_prompt
    from nudge_client.config import load_config

    if trace and messages and trace.resolve() == messages.resolve():
        raise click.UsageError("--trace would overwrite the file of --messages")
    checked = load_config(given_settings(settings), file=config).settings
    question = read_prompt(prompt, messages)
    asyncio.run(_answer(question, checked, as_json=as_json, trace=trace, quiet=quiet))


async def _answer(question: Prompt, settings: Settings, *, as_json: bool, trace: Path | None, quiet: bool) -> None:
    from nudge_client.cli.output import LiveText, summary
    from nudge_client.client import NudgeClient

    if trace:
        with trace.open("a"):  # a path that cannot be written is known before anything is paid for
            pass
    live = None if as_json else LiveText()
    client = NudgeClient(settings=settings)
    stream = client.stream(question)
    try:
        async with client:
            async for piece in stream:
                if live:
                    live.show(piece)
    finally:
        if live:
            live.close()
        rows = list(stream.partial().trace_lines())
        if trace and rows:
            trace.write_text("".join(f"{line}\n" for line in rows), "utf-8")
    if as_json:
        click.echo(stream.answer.to_json(indent=2))
    if not quiet:
        click.echo(summary(stream.answer), err=True)
