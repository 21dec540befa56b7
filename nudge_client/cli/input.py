"""What a person hands to a command: a prompt, standard input, a file of messages."""

from __future__ import annotations

import json
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from nudge_client.prompts import Prompt, as_messages
from nudge_providers.errors import UsageError


def read_prompt(prompt: str | None, messages: Path | None) -> Prompt:
    """The prompt, checked. Raises UsageError when there is none, more than one, or one that cannot be read."""
    if messages is not None:
        if prompt is not None:
            raise UsageError("give a prompt or --messages, not both")
        return as_messages(read_messages(messages))
    if prompt is None:
        raise UsageError('no prompt; try: nudge run "Why is the sky blue?", or - to read it from standard input')
    if prompt != "-":
        return as_messages(prompt)
    if sys.stdin is None:
        raise UsageError("standard input is closed")
    return as_messages(_decoded(sys.stdin.buffer.read(), "standard input").removesuffix("\n"))


def read_messages(path: Path) -> list[Any]:
    """The messages in a JSON file: a list, or an object with a list `messages`. Raises UsageError naming the file."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"messages file {path}: {error.strerror}") from None
    try:
        data = json.loads(_decoded(raw, f"messages file {path}"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"messages file {path}: it is not JSON: {error}") from None
    listed = data.get("messages") if isinstance(data, dict) else data
    if not isinstance(listed, list):
        raise UsageError(
            f'messages file {path}: it holds no list of messages, such as [{{"role": "user", "content": "Hi"}}]'
        )
    try:
        as_messages(listed)
    except UsageError as error:
        raise UsageError(f"messages file {path}: {error}") from None
    return listed


def read_prompts(path: Path | None) -> list[str]:
    """The prompts of a file, one a line or JSONL with `prompt`; 20 everyday ones without a file. Raises UsageError."""
    if path is None:
        return files("nudge_client.bench").joinpath("prompts.txt").read_text("utf-8").splitlines()
    try:
        text = _decoded(path.read_bytes(), f"prompts file {path}")
    except OSError as error:
        raise UsageError(f"prompts file {path}: {error.strerror}") from None
    prompts = [_prompt_in(line, f"prompts file {path}, line {n}") for n, line in enumerate(text.splitlines(), 1)]
    found = [prompt for prompt in prompts if prompt]
    if not found:
        raise UsageError(f"prompts file {path}: it holds no prompts")
    return found


def _prompt_in(line: str, where: str) -> str:
    if not line.lstrip().startswith("{"):
        return line.strip()
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{where}: it starts like JSON, but is none") from None
    if not isinstance(row.get("prompt"), str):
        raise UsageError(f"{where}: it has no `prompt`")
    return str(as_messages(row["prompt"])[0].content)


def _decoded(raw: bytes, where: str) -> str:
    try:
        return raw.decode("utf-8-sig")  # some editors put a byte order mark in front
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: it is not UTF-8 text (byte {error.start})") from None
