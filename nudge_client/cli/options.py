"""Flags that are settings, for every command that answers. Defaults are the settings model's; here they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

# Flag, metavar or choices, help. A flag that is not given is None, and the next layer decides.
SETTINGS: list[tuple[str, Any, str]] = [
    ("--base", "ENDPOINT", "Base model: provider:model@url.  [default: the embedded pair's]"),
    ("--nudger", "ENDPOINT", "Nudging model: provider:model@url.  [default: the embedded pair's]"),
    ("--preset", ("default", "paper"), "'paper' follows the published method chunk for chunk.  [default: default]"),
    ("--threshold", float, "γ: nudge where the base model's top-1 probability is below it.  [default: 0.3]"),
    (
        "--plan",
        ("auto", "chunked", "streaming", "verified"),
        "How tokens are fetched; changes time and cost, not the answer.  [default: auto]",
    ),
    ("--overlap", ("none", "ahead", "eager"), "What is asked for early; changes time and cost.  [default: eager]"),
    ("--chunk", int, "L: base tokens asked for in one call of a chunked plan.  [default: by the latest runs]"),
    ("--draft", int, "L_n: tokens in one draft of the nudging model.  [default: 16]"),
    ("--boundary", ("word", "token", "rollback"), "Where the base model may be cut.  [default: word]"),
    (
        "--ending",
        ("draft", "word"),
        "What ends an answer: a draft that ends, or only an end at once.  [default: draft]",
    ),
    ("--segmentation", ("space", "unicode"), "What a word is; 'unicode' for scripts without spaces.  [default: space]"),
    ("--max-tokens", int, "Limit of the answer, in tokens.  [default: 512]"),
    ("--max-rounds", int, "Limit of nudges in the answer.  [default: 150]"),
    ("--temperature", float, "Of both models; 0 is greedy.  [default: 0]"),
    ("--nudger-temperature", float, "Of the nudging model, if different."),
    ("--top-p", float, "Nucleus when the temperature is above 0.  [default: 1]"),
    ("--seed", int, "Makes sampling repeatable on a deterministic endpoint."),
    ("--system", "TEXT", "System message, for both models."),
    (
        "--form",
        ("auto", "question", "instruction", "plain", "transcript"),
        "How the base model is asked.  [default: auto]",
    ),
    ("--answer-start", "TEXT", "Put at the end of the base model's prompt."),
    ("--bos", "TEXT", "Put in front of the base model's prompt, for a server that adds no BOS of its own."),
    (
        "--chat-template",
        "NAME|FILE",
        "Nudging model's chat template: 'server', a family, or a Jinja file.  [default: server]",
    ),
    ("--timeout", float, "Seconds for one request, with all its retries.  [default: 120]"),
]


def setting_options(command: F) -> F:
    """All settings as flags, and `--config FILE`. The command gets them by name; not given is None."""
    for flag, kind, text in reversed(SETTINGS):
        if isinstance(kind, tuple):
            option = click.option(flag, type=click.Choice(kind), help=text)
        elif isinstance(kind, str):
            option = click.option(flag, metavar=kind, help=text)
        else:
            option = click.option(flag, type=kind, help=text)
        command = option(command)
    for flag, text in (
        ("--base-stop", "String at which the base model has run on; repeatable.  [default: the form's]"),
        ("--stop", "String that ends the answer, left out of it; repeatable."),
    ):
        command = click.option(flag, multiple=True, metavar="TEXT", help=text)(command)
    return click.option("--config", type=click.Path(path_type=Path), help="Read this file instead of nudge.toml.")(
        command
    )


def given_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Of a command's values, the settings that were given."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value not in (None, ())
    }
