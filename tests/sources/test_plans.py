"""Plans differ in requests, never in the answer: every plan, overlap and timing gives what chunks give."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_providers.standins import toy_pair
from tests.toys import Model, Run, hashed, run, writes

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
