"""What a row that was read asks for: in this project's own shape, or in that of the OpenAI Batch format."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from nudge_client.batch.input.rows import BadRow, Row
from nudge_client.batch.input.templates import Template
from nudge_client.config import check_settings
from nudge_client.prompts import Prompt, as_messages
from nudge_providers.errors import UsageError, printable
from nudge_providers.parsing import describe

Fields: TypeAlias = Mapping[str, Any]

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"

# Parameters of a body that are settings here.
OPTIONS = {
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
}
# Parameters that would change the answer in ways that are not to be had here, with the values, as JSON, that change
# nothing. Names and defaults: OpenAI's API reference; the last three are vLLM's, whose run-batch reads the same files.
UNCHANGING: dict[str, tuple[str, ...]] = {
    "n": ("1",),
    "best_of": ("1",),
    "tools": ("[]",),
    "tool_choice": ('"none"', '"auto"'),
    "functions": ("[]",),
    "function_call": ('"none"', '"auto"'),
    "response_format": ('{"type": "text"}',),
    "modalities": ('["text"]',),
    "audio": (),
    "stream": ("false",),
    "logprobs": ("false",),
    "top_logprobs": ("0",),
    "logit_bias": ("{}",),
    "echo": ("false",),
    "suffix": ('""',),
    "presence_penalty": ("0", "0.0"),
    "frequency_penalty": ("0", "0.0"),
    "repetition_penalty": ("1", "1.0"),
    "top_k": ("0", "-1"),
    "min_p": ("0", "0.0"),
}


class Shape(NamedTuple):
    """How rows of a format are read. Both raise UsageError saying what is wrong, without where.

    named: a row's id, of its fields and number. asked: its prompt, checked, and the settings that it asks for.
    """

    named: Callable[[Fields, int], str | int]
    asked: Callable[[Fields], tuple[Prompt, dict[str, Any]]]


def make_row(shape: Shape, number: int, where: str, fields: object) -> Row | BadRow:
    """The row, or what is wrong with it and where. fields: as read; an object, if it is to be a row."""
    if not isinstance(fields, dict):
        return bad_row(number, where, f"it is {describe(fields)}, not an object with the fields of a row")
    named = None
    try:
        named = shape.named(fields, number)
        prompt, options = shape.asked(fields)
    except UsageError as error:
        return bad_row(number, where, str(error), named, fields)
    return Row(number, named, prompt, fields, options)


def bad_row(
    number: int, where: str, problem: str, named: str | int | None = None, fields: Fields | None = None
) -> BadRow:
    """The bad row; its problem fits on a few lines, whatever the row holds."""
    return BadRow(number, named, f"{where}: {printable(problem[:2000], 400)}", fields or {})


def plain(template: Template | None = None) -> Shape:
    """Rows with `prompt` or `messages`, or whose prompt the template makes; `system` and `id` where they have them.

    A null or empty id or system is none. Messages with a system message of their own keep it.
    """
    return Shape(_id_or_number, partial(_plain, template=template))


def _id_or_number(fields: Fields, number: int) -> str | int:
    named = fields.get("id")
    if named is None or named == "":
        return number
    if isinstance(named, bool) or not isinstance(named, str | int):
        raise UsageError(f"`id` is {describe(named)}, not a string or an integer")
    return named


def _plain(fields: Fields, template: Template | None) -> tuple[Prompt, dict[str, Any]]:
    system = fields.get("system")
    if system is not None and not isinstance(system, str):
        raise UsageError(f"`system` is {describe(system)}, not a string")
    prompt = template.fill(fields) if template else _prompt_in(fields)
    messages = as_messages(prompt, system or "")
    if system:
        prompt = [{"role": message.role, "content": message.content} for message in messages]
    return prompt, {}


def _prompt_in(fields: Fields) -> Prompt:
    prompt, messages = fields.get("prompt"), fields.get("messages")
    if prompt is not None and messages is not None:
        raise UsageError("it has both `prompt` and `messages`; leave one out")
    if isinstance(prompt, str):
        return prompt
    if isinstance(messages, list):
        return messages
    if prompt is not None:
        raise UsageError(f"`prompt` is {describe(prompt)}, not a string")
    if messages is not None:
        raise UsageError(f"`messages` is {describe(messages)}, not a list")
    raise UsageError("it has no `prompt` or `messages`")


def _custom_id(fields: Fields, _: int) -> str:
    named = fields.get("custom_id")
    if not isinstance(named, str):
        raise UsageError("`custom_id` is missing" if named is None else "`custom_id` is not a string")
    return named


def _request(fields: Fields) -> tuple[Prompt, dict[str, Any]]:
    method, url, body = (fields.get(name) for name in ("method", "url", "body"))
    if method not in (None, "POST"):
        raise UsageError("`method` is not POST")
    if url not in (CHAT, COMPLETIONS):
        raise UsageError(f"`url` is not {CHAT} or {COMPLETIONS}")
    if not isinstance(body, dict):
        raise UsageError("`body` is missing" if body is None else f"`body` is {describe(body)}, not an object")
    for name, value in body.items():
        if value is not None and name in UNCHANGING and json.dumps(value) not in UNCHANGING[name]:
            raise UsageError(f"`body.{name}` asks for what nudging cannot do; leave it out")
    prompt = _chat(body) if url == CHAT else _completion(body)
    as_messages(prompt)
    return prompt, _options(body)


# Requests of the OpenAI Batch format; parameters that change nothing here are ignored.
OPENAI = Shape(_custom_id, _request)


def _chat(body: Fields) -> list[Any]:
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise UsageError(f"`body.messages` is {describe(messages)}, not a list")
    return messages


def _completion(body: Fields) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        if len(prompt) != 1:
            raise UsageError(f"`body.prompt` is a list of {len(prompt)}; give each prompt a row of its own")
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise UsageError(f"`body.prompt` is {describe(prompt)}, not a string")
    return prompt


def _options(body: Fields) -> dict[str, Any]:
    """Settings, checked."""
    given = {name: body[name] for name in OPTIONS if body.get(name) is not None}
    if not given:
        return {}
    limits = {json.dumps(given[name]) for name in ("max_tokens", "max_completion_tokens") if name in given}
    if len(limits) > 1:
        raise UsageError("`body.max_tokens` and `body.max_completion_tokens` differ; leave one out")
    settings = check_settings(
        {OPTIONS[name]: value for name, value in given.items()},
        {OPTIONS[name]: f"`body.{name}`" for name in given},
    )
    return {OPTIONS[name]: getattr(settings, OPTIONS[name]) for name in given}
