"""The entry point: subcommands by name, and every ending as one message and one exit status.

0 done · 2 usage or config · 3 endpoint · 130 interrupted · 141 output closed early · 1 a defect here.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

# Name, where it lives, and its line in the help: listing the commands imports none of them.
COMMANDS = {
    "run": ("nudge_client.cli.run:run", "Answer one prompt."),
    "doctor": ("nudge_client.cli.doctor:doctor", "Find out what endpoints can do."),
    "bench": ("nudge_client.cli.bench:bench", "Compare ways to write the same answers."),
    "batch": ("nudge_client.cli.batch:batch", "Answer every row of a file."),
    "local": ("nudge_client.cli.local:local", "Keep the embedded pair of models running."),
    "config": ("nudge_client.cli.config:config", "Show the settings, or write a nudge.toml."),
}
DEBUG = "nudge.debug"


class OutputClosed(Exception):
    """Whoever read the output has enough. An OSError would be made an exit status of its own by click."""


class Lazy(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise OutputClosed from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"nudge-client {version('nudge-client')}")
        ctx.exit()


def _debug(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.find_root().meta[DEBUG] = os.environ["NUDGE_DEBUG"] = "1"


debug_option = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help="Show tracebacks."
)


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version.")
@debug_option
def cli() -> None:
    """Good answers out of a base model that can only be called.

    A small aligned model supplies a word wherever the base model is unsure, and the base model goes on. Without
    endpoints given, a small pair of real models runs on this machine.
    """


def main(args: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    # A stream that the shell closed is None here; what would go there goes nowhere.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # whatever the locale says, answers are UTF-8
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        code: Any = cli.main(args, prog_name="nudge", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        try:
            return _ending(error)
        except OSError:  # there is nowhere to say it
            return 2
    return code if isinstance(code, int) else 0


def _ending(error: BaseException) -> int:
    """Say what went wrong, once, and give the exit status."""
    # click and rich make a SystemExit of a closed output; nothing else here raises one.
    if isinstance(error, OutputClosed | BrokenPipeError | SystemExit):
        _discard_output()
        return 141
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return 2
    if isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("interrupted", err=True)
        return 130
    if os.environ.get("NUDGE_DEBUG"):
        import traceback

        traceback.print_exception(error)
    from nudge_providers.errors import BudgetError, NudgeError, UsageError

    if isinstance(error, NudgeError):
        click.echo(f"nudge: {error}", err=True)
        return 2 if isinstance(error, UsageError) else 4 if isinstance(error, BudgetError) else 3
    if isinstance(error, OSError) and error.strerror:
        click.echo(f"nudge: {error.filename or 'cannot write the output'}: {error.strerror}", err=True)
        _discard_output()
        return 2
    click.echo(f"nudge: this is a defect: {type(error).__name__}: {error}; --debug shows where", err=True)
    return 1


def _discard_output() -> None:
    """What is still buffered must not fail again while Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
