"""`client.map`: bounded, in order or not, with failures as results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest

from nudge_client import Mapped, NudgeClient
from nudge_client.many import Many, Work
from nudge_client.stream import AnswerStream
from nudge_providers import AuthenticationError, RejectedError, UnavailableError, UsageError
from nudge_providers.types import Capabilities, Completion, CompletionRequest
from tests.toys import ToyProvider, writes

TEXT = "so it is"


class Sorting(ToyProvider):
    """Answers by their prompts: even rows take longer, and some are refused."""

    def __init__(self, error: type[Exception] = RejectedError) -> None:
        super().__init__(writes(TEXT), prompt="")
        self.under_way = self.most = 0
        self.error = error
        self.broken = 0

    async def complete(self, request: CompletionRequest) -> Completion:
        row = int(request.prompt.split()[1])
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            for _ in range(1 if row % 2 else 50):
                await asyncio.sleep(0)
            if row % 10 == 7:
                raise self.error("not that one")
            if self.broken:
                self.broken -= 1
                raise UnavailableError("away")
            return await super().complete(CompletionRequest(request.prompt.partition("\n")[2], request.max_tokens))
        finally:
            self.under_way -= 1


def prompt(row: int) -> str:
    return f"row {row}"


def opened(base: Sorting) -> NudgeClient:
    return NudgeClient(base, ToyProvider(writes(TEXT)), form="plain", answer_start="\n", plan="chunked", ending="word")


async def collected(nudge: NudgeClient, rows: Any, **options: Any) -> list[Mapped]:
    return [result async for result in nudge.map(rows, **options)]


async def test_every_row_has_a_result_and_a_failure_is_one() -> None:
    base = Sorting()
    async with opened(base) as nudge:
        results = await collected(nudge, [prompt(row) for row in range(40)], concurrency=8)
    assert sorted(result.index for result in results) == list(range(40))
    assert [result.index for result in results] != list(range(40))
    for result in results:
        assert result.row == prompt(result.index)
        if result.index % 10 == 7:
            assert isinstance(result.error, RejectedError)
            assert result.answer is None
        else:
            assert result.answer
            assert result.answer.text == TEXT
    assert 4 <= base.most <= 8


async def test_in_order() -> None:
    async with opened(Sorting()) as nudge:
        results = await collected(nudge, [prompt(row) for row in range(60)], concurrency=8, ordered=True)
    assert [result.index for result in results] == list(range(60))


async def test_rows_are_taken_as_there_is_room() -> None:
    taken = 0

    async def endless() -> AsyncIterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield prompt(1)

    async with opened(Sorting()) as nudge:
        results = nudge.map(endless(), concurrency=4)
        for _ in range(20):
            await anext(results)
            assert taken <= 20 + 8
        await results.aclose()


async def test_rows_may_be_objects_with_settings_of_their_own() -> None:
    rows: list[Any] = [
        {"prompt": prompt(1)},
        {"messages": [{"role": "user", "content": prompt(2)}]},
        {"prompt": prompt(3), "options": {"max_tokens": 1}},
        {"prompt": ""},
        {"prompt": prompt(4), "options": {"nonsense": 1}},
        5,
        [],
        {"prompt": prompt(5), "options": ["max_tokens"]},
        {"prompt": prompt(5), "options": {"prompt": prompt(6)}},
        {"prompt": prompt(5), "options": {"begun": 1, 2: 3}},
    ]
    async with opened(Sorting()) as nudge:
        results = await collected(nudge, rows, ordered=True, max_tokens=2)
    assert [bool(result.answer) for result in results] == [True] * 3 + [False] * 7
    assert all(isinstance(result.error, UsageError) for result in results[3:])
    assert [result.answer.stats.answer_tokens for result in results if result.answer] == [2, 2, 1]
    assert "nonsense" in str(results[4].error)


async def test_what_concerns_all_rows_is_raised() -> None:
    async with opened(Sorting(AuthenticationError)) as nudge:
        with pytest.raises(AuthenticationError):
            await collected(nudge, [prompt(row) for row in range(40)], concurrency=4)


async def test_an_endpoint_that_comes_back_fails_no_row() -> None:
    base = Sorting()
    base.broken = 2
    async with opened(base) as nudge:
        results = await collected(nudge, [prompt(row) for row in range(5)], concurrency=3)
    assert len(results) == 5
    assert all(result.answer for result in results)


async def test_an_endpoint_that_does_not_come_back_ends_it() -> None:
    base = Sorting()
    base.broken = 10**9
    async with opened(base) as nudge:
        with pytest.raises(UnavailableError):
            await collected(nudge, [prompt(row) for row in range(5)], concurrency=3, patience=0)


async def test_a_drained_engine_finishes_what_was_begun() -> None:
    def works() -> Iterator[Work]:
        for row in range(1000):
            yield Work(row, prompt(row * 10))

    async with opened(Sorting()) as nudge:
        many = Many(nudge, works(), most=5)
        keys = []
        async for outcome in many.outcomes():
            keys.append(outcome.work.key)
            many.drain()
    assert 1 <= len(keys) <= 10
    assert not many.active


class Slots(Sorting):
    async def capabilities(self) -> Capabilities:
        return replace(await super().capabilities(), slots=3)


async def test_no_more_answers_at_once_than_a_server_has_slots_and_nothing_early() -> None:
    base = Slots()
    asked: list[dict[str, Any]] = []

    class Client(NudgeClient):
        def stream(self, prompt: Any, *, begun: Any = None, **options: Any) -> AnswerStream:
            asked.append(options)
            return super().stream(prompt, begun=begun, **options)

    async def answer_all(**settings: Any) -> None:
        asked.clear()
        form = {"form": "plain", "answer_start": "\n", "ending": "word"}
        async with Client(base, ToyProvider(writes(TEXT)), **form, **settings) as nudge:
            await collected(nudge, [prompt(row) for row in range(0, 60, 2)])

    await answer_all()
    assert base.most == 3
    assert all(options == {"overlap": "none"} for options in asked)
    await answer_all(overlap="eager")
    assert asked
    assert all(options == {} for options in asked)


@pytest.mark.parametrize(("rows", "concurrency"), [("Name a fruit.", 4), ({"prompt": "Hi"}, 4), ([prompt(1)], 0)])
async def test_what_would_answer_something_else_or_nothing_is_refused(rows: Any, concurrency: int) -> None:
    async with opened(Sorting()) as nudge:
        with pytest.raises(UsageError):
            await collected(nudge, rows, concurrency=concurrency)


async def test_rows_by_the_papers_method_on_a_server_with_few_slots() -> None:
    async with NudgeClient(Slots(), ToyProvider(writes(TEXT)), form="question") as nudge:
        row = {"prompt": "row 1", "options": {"preset": "paper"}}
        results = await collected(nudge, [row]) + await collected(nudge, ["row 1"], preset="paper")
    assert [result.error for result in results] == [None, None]


async def test_results_do_not_wait_for_rows_that_are_still_to_come() -> None:
    heard = asyncio.Event()
    closed = []

    async def rows() -> AsyncIterator[str]:
        try:
            for row in range(5):
                yield prompt(row)
                await heard.wait()
                heard.clear()
        finally:
            closed.append(asyncio.current_task())

    async with opened(Sorting()) as nudge, asyncio.timeout(10):
        indices = []
        async for result in nudge.map(rows()):
            indices.append(result.index)
            heard.set()
        assert indices == [0, 1, 2, 3, 4]
        results = nudge.map(rows())
        await anext(results)
        await results.aclose()
        assert len(closed) == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_rows_that_cannot_be_read_on() -> None:
    async def rows() -> AsyncIterator[str]:
        yield prompt(1)
        await asyncio.sleep(0)
        raise OSError("gone")

    async with opened(Sorting()) as nudge:
        with pytest.raises(OSError, match="gone"):
            await collected(nudge, rows())
        assert asyncio.all_tasks() == {asyncio.current_task()}


class Silent(ToyProvider):
    """Ends every answer at once, after it was away."""

    away = True

    async def complete(self, request: CompletionRequest) -> Completion:
        if self.away:
            self.away = False
            raise UnavailableError("away")
        return await super().complete(request)


async def test_an_endpoint_that_gives_empty_answers_is_there() -> None:
    base, nudger = Silent(writes("")), Silent(writes(""))
    async with NudgeClient(base, nudger, form="plain", answer_start="\n", plan="chunked", ending="word") as nudge:
        many = Many(nudge, iter([Work(row, "Hi") for row in range(3)]))
        outcomes = [outcome async for outcome in many.outcomes()]
    assert [outcome.answer.text for outcome in outcomes if outcome.answer] == [""] * 3
    assert many.health.error is None
