from __future__ import annotations

from collections.abc import Sequence

import pytest

from nudge_client.decoding import Ask, AskChunk
from nudge_client.sources import ChunkedSource, Ledger, Memory, Sampling
from nudge_client.sources.memory import Run
from nudge_providers.types import Completion, CompletionRequest, End, Token, Usage
from tests.toys import ToyProvider, writes


def token(text: str) -> Token:
    return Token(text, -0.1, -0.1)


def texts(memory: Memory, *after: str) -> list[str | None]:
    found = [memory.recall(text) for text in after]
    return [item.text if isinstance(item, Token) else "END" if isinstance(item, End) else None for item in found]


def test_a_run_answers_at_each_token_boundary_and_nowhere_else() -> None:
    memory = Memory()
    memory.learn("Hi", (token(" there"), token(" you")), ended=False)
    assert texts(memory, "Hi", "Hi there", "Hi there you", "Hi th", "H", "Ho there") == [
        " there",
        " you",
        None,
        None,
        None,
        None,
    ]


def test_an_end_is_known_after_the_last_token() -> None:
    memory = Memory()
    memory.learn("Hi", (token(" you"),), ended=True)
    memory.learn("", (), ended=True)
    assert texts(memory, "Hi you", "Hi", "") == ["END", " you", "END"]


def test_text_by_another_author_that_agrees_keeps_a_run_alive() -> None:
    memory = Memory()
    memory.learn("", (token("It"), token(" is"), token(" so")), ended=False)
    assert texts(memory, "It is") == [" so"]


async def test_one_request_answers_many_questions() -> None:
    provider = ToyProvider(writes("a b c d e"))
    source = ChunkedSource(provider, ">", chunk=3, sampling=Sampling())
    got, after = [], ""
    while True:
        reply = await source.next_token(Ask("base", after, 99))
        if isinstance(reply, End):
            break
        got.append((reply.text, reply.request))
        after += reply.text
    assert got == [("a", 1), (" b", 1), (" c", 1), (" d", 2), (" e", 2)]
    assert [request.max_tokens for request in provider.requests] == [3, 3]


async def test_no_more_is_asked_for_than_can_be_used() -> None:
    provider = ToyProvider(writes("a b c d e"))
    await ChunkedSource(provider, ">", chunk=16, sampling=Sampling()).next_token(Ask("base", "", 2))
    assert provider.requests[0].max_tokens == 2


class Scripted(ToyProvider):
    """Gives the completions it is handed, in turn."""

    replies: Sequence[Completion] = ()

    async def complete(self, request: CompletionRequest) -> Completion:
        self.requests.append(request)
        return self.replies[len(self.requests) - 1]


def completion(*texts: str, finish: str = "length") -> Completion:
    return Completion("".join(texts), tuple(map(token, texts)), finish, Usage(completion_tokens=len(texts)))  # type: ignore[arg-type]


async def test_a_limit_inside_the_first_character_is_asked_again_with_room() -> None:
    provider = Scripted(writes(""))
    provider.replies = [completion(), completion("🧑", "x")]
    source = ChunkedSource(provider, ">", chunk=1, sampling=Sampling())
    assert (await source.next_token(Ask("base", "", 9))) == token("🧑")._replace(request=2)
    assert [request.max_tokens for request in provider.requests] == [1, 16]


async def test_empty_tokens_are_skipped_and_nothing_but_them_is_an_end() -> None:
    provider = Scripted(writes(""))
    provider.replies = [completion("", "a", "", "b"), completion("", "")]
    source = ChunkedSource(provider, ">", chunk=16, sampling=Sampling())
    assert [await source.next_token(Ask("base", after, 99)) for after in ("", "a", "ab")][2] == End()


async def test_seeds_depend_on_the_text_and_nothing_else() -> None:
    async def seeds(seed: int | None, temperature: float) -> list[int | None]:
        provider = ToyProvider(writes("a b c d"))
        source = ChunkedSource(provider, ">", chunk=1, sampling=Sampling(temperature, 0.9, seed))
        for after in ("", "a", "a b"):
            await source.complete(AskChunk("base", after, 1))
        return [request.seed for request in provider.requests]

    assert await seeds(7, 1.0) == await seeds(7, 1.0)
    assert len(set(await seeds(7, 1.0))) == 3
    assert await seeds(8, 1.0) != await seeds(7, 1.0)
    assert await seeds(7, 0.0) == await seeds(None, 1.0) == [None] * 3


@pytest.mark.parametrize(
    ("kept", "discarded"),
    [({}, 7), ({1: 2}, 5), ({1: 3}, 3), ({1: 3, 2: 1}, 2), ({1: 3, 2: 2}, 0)],
)
def test_discarded_counts_what_the_server_counted(kept: dict[int, int], discarded: int) -> None:
    """Request 1 listed 3 tokens, which were 4 for the server (a merged character); request 2 listed 2, and an end."""
    ledger = Ledger()
    for listed, counted in ((3, 4), (2, 3)):
        ledger.add(Completion("", tuple([token("x")] * listed), "stop", Usage(10, 5, counted)))
    assert ledger.discarded(kept) == discarded
    assert (ledger.requests, ledger.prompt_tokens, ledger.cached_tokens, ledger.completion_tokens) == (2, 20, 10, 7)


def test_a_later_reply_is_waited_for_where_an_earlier_one_would_answer() -> None:
    """The same text in other tokens: what counts must not depend on which stream is faster."""
    memory = Memory()
    memory.learn("are:", (token("\n\n"), token("1")), ended=False)
    later = Run("are:\n", growing=True)
    memory.add(later)
    later.grow(token("\n"))
    assert texts(memory, "are:\n\n", "are:") == [None, "\n\n"]
    later.grow(token("J"))
    assert texts(memory, "are:\n\n") == ["J"]
    later.growing = False
    assert texts(memory, "are:\n\nJ") == [None]
