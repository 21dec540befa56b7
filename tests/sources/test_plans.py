"""Plans differ in requests, never in the answer: every plan, overlap and timing gives what chunks give."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_client import NudgeClient
from nudge_client.decoding import Holdback, Rules, Steps, decode
from nudge_client.planning import Planner, Voice
from nudge_client.settings import Settings
from nudge_client.sources import Pace, Plan, Sampling, Streaming, StreamSource
from nudge_client.stream import AnswerStream, Writing
from nudge_providers import CapabilityError, CompletionRequest, UnavailableError
from nudge_providers.standins import toy_pair
from nudge_providers.types import Capabilities, Token
from tests.toys import Model, Run, ToyProvider, hashed, run, writes

WORDS = [" a", " b", " the", "ly", ".", " 🎉", "\n", " über", " two words", " ", "s"]
PLANS = [(plan, overlap) for plan in ("streaming", "verified") for overlap in ("none", "ahead", "eager")]


def stammer(seed: int) -> Callable[[], int]:
    """Streams that come in fits and starts."""
    dice = random.Random(seed)
    return lambda: dice.choice((0, 0, 0, 1, 2, 7))


def same(one: Run, other: Run) -> None:
    assert one.segments == other.segments
    assert one.answer.finish_reason == other.answer.finish_reason
    assert one.answer.stats.rounds == other.answer.stats.rounds
    assert one.answer.stats.answer_tokens == other.answer.stats.answer_tokens
    assert [(token.text, token.reason) for token in one.answer.tokens] == [
        (token.text, token.reason) for token in other.answer.tokens
    ]
    assert one.shown == one.answer.text


@given(
    st.integers(0, 10_000),
    st.sampled_from(PLANS),
    st.sampled_from(["word", "token", "rollback"]),
    st.floats(0, 0.6),
    st.sampled_from(["draft", "word"]),
    st.integers(1, 20),
)
def test_every_plan_gives_the_same_answer(
    seed: int, plan: tuple[str, str], boundary: str, low: float, ending: str, draft: int
) -> None:
    base, nudger = hashed(seed, WORDS, 0.02, low), hashed(seed + 1, WORDS, 0.01, 0)
    rules = {"boundary": boundary, "ending": ending, "draft_tokens": draft, "max_tokens": 80, "stop": ("b.", "the the")}
    known = run(base, nudger, chunk=seed % 17 + 1, **rules)
    same(run(base, nudger, plan=plan[0], overlap=plan[1], pauses=stammer(seed), **rules), known)


@given(st.integers(0, 10_000), st.sampled_from(PLANS), st.floats(0, 1), st.floats(0, 0.5))
def test_the_same_for_pairs_that_agree(seed: int, plan: tuple[str, str], agreement: float, uncertainty: float) -> None:
    base, nudger = toy_pair(seed=seed, agreement=agreement, uncertainty=uncertainty, length=200)
    known = run(base, nudger)
    found = run(base, nudger, plan=plan[0], overlap=plan[1], pauses=stammer(seed))
    same(found, known)


def patient() -> int:
    return 2  # so that a hang-up is noticed before the next token


def long_answer(agreement: float = 0.9) -> tuple[Model, Model]:
    return toy_pair(seed=3, agreement=agreement, uncertainty=0.1, length=400)


def test_a_stream_is_hung_up_at_the_cut() -> None:
    """Of each look and run, one token at most is thrown away: the one that was unsure."""
    done = run(*long_answer(), plan="streaming", overlap="none", pauses=patient)
    base = done.answer.stats.base
    assert base.discarded_tokens <= base.requests
    chunked = run(*long_answer()).answer.stats
    assert base.discarded_tokens < chunked.base.discarded_tokens / 3


def test_agreeing_text_is_verified_instead_of_written() -> None:
    streamed = run(*long_answer(), plan="streaming", overlap="none", pauses=patient).answer.stats
    verified = run(*long_answer(), plan="verified", overlap="none", pauses=patient).answer.stats
    assert streamed.verified_tokens == 0
    assert verified.verified_tokens > 0.2 * verified.answer_tokens
    assert verified.base.completion_tokens < streamed.base.completion_tokens


def test_a_draft_that_is_agreed_with_throughout_costs_one_score() -> None:
    text = "It is so."
    done = run(writes(text, p=0.9), writes(text + " And more of it", p=0.9), plan="verified", draft_tokens=4)
    assert done.answer.text.startswith(text)
    assert done.answer.stats.verified_tokens >= 2


@pytest.mark.parametrize(("plan", "overlap"), PLANS)
def test_every_request_is_accounted_for(plan: str, overlap: str) -> None:
    done = run(*long_answer(0.6), plan=plan, overlap=overlap)
    stats = done.answer.stats
    assert stats.base.requests == len(done.base.requests)
    assert stats.nudger.requests == len(done.nudger.requests)
    assert stats.base.discarded_tokens <= stats.base.completion_tokens
    used = stats.answer_tokens - stats.nudged_tokens - stats.verified_tokens
    assert stats.base.completion_tokens - stats.base.discarded_tokens >= used


def test_no_overlap_asks_for_nothing_early() -> None:
    """Each request continues what has been decided: with a draft that ends, the base model is asked nothing."""
    done = run(writes("x"), writes("A b c d"), plan="streaming", overlap="none")
    assert (done.answer.text, done.answer.stats.base.requests) == ("A b c d", 0)


@pytest.mark.parametrize(("plan", "overlap"), PLANS)
async def test_a_failure_is_told_once_and_by_whoever_waits(plan: str, overlap: str) -> None:
    """A scout that runs into it first makes nobody wait twice."""

    class Down(ToyProvider):
        async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token, None]:
            self.requests.append(request)
            await asyncio.sleep(0)
            raise UnavailableError("down")
            yield

        async def render_chat(self, messages: object) -> str:
            return ">"

    base, nudger = long_answer()
    down = Down(nudger)
    async with NudgeClient(base=ToyProvider(base), nudger=down, plan=plan, overlap=overlap) as client:
        with pytest.raises(UnavailableError, match="down"):
            await client.generate("Hi")
    assert len(down.requests) == 1


async def test_an_endpoint_that_does_not_stream_is_asked_in_chunks() -> None:
    class Mute(ToyProvider):
        async def stream(self, request: CompletionRequest) -> AsyncGenerator[Token, None]:
            raise CapabilityError("no streams here")
            yield

    base, nudger = long_answer()
    known = await asyncio.to_thread(run, base, nudger)
    sources = [
        StreamSource(Mute(model), ">", author=author, sampling=Sampling(), pace=Pace())  # type: ignore[arg-type]
        for author, model in (("base", base), ("nudger", nudger))
    ]
    decoder = decode(Rules())
    plan = Streaming(*sources, overlap="none")
    stream = AnswerStream(lambda: written(decoder, plan))
    async for _ in stream:
        pass
    assert stream.answer.segments == known.answer.segments
    assert {entry.kind for ledger in plan.ledgers.values() for entry in ledger.entries} == {"complete"}


async def written(decoder: Steps[None], plan: Plan) -> Writing:
    return Writing(decoder, Holdback(), plan)


def test_auto_tries_both_and_takes_the_faster() -> None:
    planner = Planner()
    voice = Voice(ToyProvider(writes("x")), ">", Sampling())
    scoring = Capabilities(streaming=True, prompt_logprobs=True)

    def chosen(facts: Capabilities = scoring) -> tuple[str, str]:
        plan = planner.plan(Settings(), facts, voice, voice, None)
        return plan.name, plan.why

    assert chosen(Capabilities(streaming=False))[0] == "chunked"
    assert chosen(Capabilities(streaming=True)) == ("streaming", "the base model's endpoint scores no prompts")
    names = []
    for _ in range(4):
        names.append(chosen()[0])
        planner.finished(names[-1], 1.0 if names[-1] == "streaming" else 0.5, 10)
    assert set(names) == {"streaming", "verified"}
    assert chosen() == ("verified", "50 ms a token on this pair, streaming 100 ms")
    assert "streaming" in {chosen()[0] for _ in range(25)}, "the slower one gets another chance"


def test_the_bound_of_a_stream_follows_the_runs() -> None:
    pace = Pace()
    assert pace.bound(500) == 64
    for _ in range(6):
        pace.saw_run(40)
    assert (pace.bound(500), pace.bound(30), pace.chunk()) == (80, 30, 51)
    for _ in range(6):
        pace.saw_run(3)
    assert (pace.bound(500), pace.chunk()) == (32, 5)
