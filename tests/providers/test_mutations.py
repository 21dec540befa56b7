"""Mutated replies: only a classified error or a right answer, never another exception, never text no model wrote."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import pytest

from nudge_providers import CapabilityError, MalformedReply
from nudge_providers.transport import Reply
from nudge_providers.types import Capabilities, Completion, StreamEnd, Token
from tests.providers.faults import ASK
from tests.providers.test_dialects import ADAPTERS, NUDGER, adapter, standin_for

ROUNDS = 10_000
STRANGE: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1.5,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud83d",
    [],
    {},
    [None],
    {"a": 1},
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def mutate(value: Any, dice: random.Random) -> Any:
    """One to three changes: a field dropped, a type changed, a list shortened, lengthened or turned about."""
    value = copy.deepcopy(value)
    for _ in range(dice.randint(1, 3)):
        choice = dice.choice(places(value) or [()])
        if not choice:
            return copy.deepcopy(dice.choice(STRANGE))
        *way, last = choice
        place = value
        for step in way:
            place = place[step]
        kind = dice.randrange(4)
        if kind == 0:
            del place[last]
        elif kind == 1 and isinstance(place[last], list) and place[last]:
            place[last] = dice.choice([place[last][:-1], place[last][1:], place[last] * 2, place[last][::-1]])
        elif kind == 2 and isinstance(place[last], str):
            place[last] = dice.choice([place[last][:-1], place[last] + "?", place[last][::-1]])
        else:
            place[last] = copy.deepcopy(dice.choice(STRANGE))  # not the list's own: it could come to hold itself
    return value


def flip(raw: bytes, dice: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(dice.randint(1, 4)):
        changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


async def facts() -> Capabilities:
    return Capabilities()


@pytest.mark.parametrize("dialect", ADAPTERS)
async def test_mutated_replies(dialect: str) -> None:
    standin = standin_for(dialect, NUDGER)
    provider: Any = adapter(dialect, "http://127.0.0.1:9", 5)
    body = {"prompt": ASK.prompt, "max_tokens": ASK.max_tokens}
    right = standin.reply(body)
    text = right["choices"][0]["text"]
    raw = json.dumps(right, ensure_ascii=False).encode()
    known = {token.text for token in standin.generate(body).tokens}
    dice = random.Random(dialect)

    provider.capabilities = facts
    seen = {"right": 0, "refused": 0, "without logprobs": 0}
    for number in range(ROUNDS):
        if number % 4:
            data: Any = mutate(right, dice)
        else:
            try:
                data = json.loads(flip(raw, dice))
            except ValueError:
                continue

        async def post(path: str, payload: Any, data: Any = data) -> Reply:
            return Reply(data, "")

        provider._http.post = post
        try:
            done: Completion = await provider.complete(ASK)
        except (MalformedReply, CapabilityError) as error:
            seen["refused" if isinstance(error, MalformedReply) else "without logprobs"] += 1
            continue
        assert done.text == "".join(token.text for token in done.tokens)
        sent = data["choices"][0]["text"]
        assert sent.startswith(done.text), "no text but what the reply says"
        if sent == text:
            assert done.text == text, "nothing of it is lost"
            assert {token.text for token in done.tokens} <= known
        assert all(token.logprob <= token.top_logprob <= 0 for token in done.tokens)
        assert min(done.usage.prompt_tokens, done.usage.cached_tokens, done.usage.completion_tokens) >= 0
        seen["right"] += 1
    assert seen["refused"] > 1000
    assert seen["right"] > 1000
    await provider.aclose()


@pytest.mark.parametrize("dialect", ADAPTERS)
async def test_mutated_streams(dialect: str) -> None:
    """One event of a stream is changed."""
    standin = standin_for(dialect, NUDGER)
    provider: Any = adapter(dialect, "http://127.0.0.1:9", 5)
    provider.capabilities = facts
    body = {"prompt": ASK.prompt, "max_tokens": ASK.max_tokens, "stream_options": {"include_usage": True}}
    right = standin.events(body)
    dice = random.Random(dialect)
    seen = {"right": 0, "refused": 0}
    for _ in range(ROUNDS // 5):
        changed = copy.deepcopy(right)
        at = dice.randrange(len(changed))
        changed[at] = mutate(changed[at], dice)

        async def events(path: str, payload: Any, place: Any, changed: Any = changed) -> Any:
            for event in changed:
                yield event

        provider._http.events = events
        got = ""
        try:
            async for item in provider.stream(ASK):
                if isinstance(item, StreamEnd):
                    break
                if isinstance(item, Token):
                    assert item.logprob <= item.top_logprob <= 0
                    got += item.text
        except (MalformedReply, CapabilityError):
            seen["refused"] += 1
        else:
            seen["right"] += 1
        sent = "".join(texts(changed))
        assert sent.startswith(got), "no text but what the events say"
    assert seen["refused"] > ROUNDS // 50
    assert seen["right"] > ROUNDS // 50
    await provider.aclose()


def texts(events: list[Any]) -> Any:
    """The texts of a stream, as far as its events have any."""
    for event in events:
        try:
            text = event["choices"][0]["text"]
            special = event.get("token", {}).get("special") is True  # Together's: no part of the answer
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
        if isinstance(text, str) and not special:
            yield text
