"""`client.map`: many prompts from Python, by the engine that batch jobs run on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

from nudge_client.answer import Answer
from nudge_client.many import Answering, Many, Outcome, Work
from nudge_client.prompts import Prompt
from nudge_providers.errors import NudgeError, UsageError

MapRow: TypeAlias = Prompt | Mapping[str, Any]
AHEAD = 4  # times the answers at once that may wait for an earlier one, when they are to come in order
NO_SETTINGS = ("prompt", "begun")  # other parameters of `NudgeClient.stream`


@dataclass(frozen=True, slots=True)
class Mapped:
    """What came of one row. index: its place, from 0. row: as it was given. Either `answer` or `error` is None."""

    index: int
    row: MapRow
    answer: Answer | None
    error: NudgeError | None


async def mapped(
    client: Answering,
    rows: Iterable[MapRow] | AsyncIterable[MapRow],
    *,
    ordered: bool,
    concurrency: int,
    patience: float,
    options: Mapping[str, Any],
) -> AsyncGenerator[Mapped, None]:
    """See `NudgeClient.map`."""
    if isinstance(rows, str | Mapping):
        raise UsageError("rows is one row; give a list of rows")
    if concurrency < 1:
        raise UsageError(f"concurrency is {concurrency}; at least one answer is written at once")
    given: dict[int, MapRow] = {}
    held: dict[int, Mapped] = {}
    following = 0

    async def works() -> AsyncIterator[Work]:
        index = 0
        async for row in _each(rows):
            given[index] = row
            yield Work(index, _prompt(row), _options(row, options))
            index += 1

    many = Many(client, works(), most=concurrency, patience=patience, may_begin=lambda: len(held) < AHEAD * concurrency)
    async with aclosing(many.outcomes()) as outcomes:
        async for outcome in outcomes:
            result = _result(outcome, given)
            if not ordered:
                yield result
                continue
            held[result.index] = result
            while following in held:
                yield held.pop(following)
                following += 1


def _result(outcome: Outcome, given: dict[int, MapRow]) -> Mapped:
    index: int = outcome.work.key
    return Mapped(index, given.pop(index), outcome.answer, outcome.error)


async def _each(rows: Iterable[MapRow] | AsyncIterable[MapRow]) -> AsyncIterator[MapRow]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
        return
    for row in rows:
        yield row


def _prompt(row: MapRow) -> Prompt:
    """The prompt of a row. What is none is found out where it is answered, and is that row's error."""
    if isinstance(row, Mapping):
        found: Prompt = row["messages"] if "messages" in row else row.get("prompt", "")
        return found
    return row


def _options(row: MapRow, options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a row's answer: its own `system` and `options` go before the call's.

    What can be no setting gets a name that is none, and so is that row's error.
    """
    if not isinstance(row, Mapping):
        return dict(options)
    own = row.get("options") or {}
    if not isinstance(own, Mapping):
        own = {"options": own}
    system = {"system": row["system"]} if "system" in row else {}
    return {**options, **system, **{_setting(name): value for name, value in own.items()}}


def _setting(name: object) -> str:
    return name if isinstance(name, str) and name not in NO_SETTINGS else f"options.{name}"
