"""Arbitrary pairs of toy models: the decoder always ends, and what it writes holds together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toys import Model, Run, hashed, run, writes

TOKENS = st.one_of(
    st.sampled_from(
        [
            "a",
            " b",
            " the",
            "ly",
            "\n",
            " ",
            "  ",
            "\t",
            "",
            ".",
            ", ",
            "two words",
            " x y",
            "é",
            "你",
            "好 ",
            "'",
            "t",
            "User",
            ":",
            " Question",
            "the end",
            "🧑‍🚀",
            " 🎉",
            "1",
            "\n\n",
            "STOP",
        ]
    ),
    st.text(min_size=0, max_size=4).filter(lambda text: text.isprintable() or text.isspace()),
)


def noise(draw: st.DrawFn) -> Model:
    kind = draw(st.sampled_from(["noise", "noise", "noise", "endless", "ends", "writer"]))
    if kind == "ends":
        return lambda text: None
    if kind == "endless":
        token = draw(TOKENS)
        return lambda text: (token, 0.9 if len(text) % 3 else 0.1)
    if kind == "writer":
        return writes(draw(st.text(alphabet="ab c\n", max_size=60)) + "end")
    vocabulary = draw(st.lists(TOKENS, min_size=1, max_size=12))
    return hashed(
        draw(st.integers(0, 999)),
        vocabulary,
        draw(st.sampled_from([0.0, 0.03, 0.2])),
        draw(st.sampled_from([0.0, 0.3, 0.9])),
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Model, Model, dict[str, Any]]:
    rules = {
        "boundary": draw(st.sampled_from(["word", "word", "token", "rollback"])),
        "ending": draw(st.sampled_from(["draft", "word"])),
        "segmentation": draw(st.sampled_from(["space", "space", "unicode"])),
        "draft_tokens": draw(st.integers(1, 17)),
        "max_tokens": draw(st.integers(1, 40)),
        "max_rounds": draw(st.integers(1, 12)),
        "stop": draw(st.sampled_from([(), ("STOP",), ("a b", "\n\n"), ("the end\n", " b\t")])),
        "base_stop": draw(st.sampled_from([(), ("\n",), (" the", "ly a"), ("User:",), ("\nUser", "\n Question")])),
    }
    return noise(draw), noise(draw), rules


def what(done: Run) -> Any:
    """All of a run that must not depend on how tokens were fetched."""
    tokens = [replace(token, request="") for token in done.answer.tokens]
    stats = done.answer.stats
    return (
        tokens,
        done.segments,
        done.answer.finish_reason,
        stats.rounds,
        stats.answer_tokens,
        stats.nudged_tokens,
        done.pieces,
    )


@settings(max_examples=400, deadline=None)
@given(pairs(), st.integers(1, 64), st.integers(1, 64))
def test_any_pair(pair: tuple[Model, Model, dict[str, Any]], chunk: int, draft_chunk: int) -> None:
    base, nudger, rules = pair
    done = run(base, nudger, **rules)
    answer = done.answer
    assert "".join(segment.text for segment in answer.segments) == answer.text
    assert "".join(token.text for token in answer.tokens) == answer.text
    assert done.shown == answer.text
    assert all(piece.reason == "repetition" for piece in done.pieces if piece.retracted)
    assert answer.stats.answer_tokens <= rules["max_tokens"]
    assert answer.stats.rounds <= rules["max_rounds"]
    assert not any(stop in answer.text for stop in rules["stop"])
    if rules["boundary"] == "word" and rules["segmentation"] == "space":
        for one, two in zip(answer.segments, answer.segments[1:], strict=False):
            assert one.text[-1].isspace() or two.text[0].isspace(), "a word has one author"
    other = run(base, nudger, chunk=chunk, draft_chunk=draft_chunk, **rules)
    assert what(other) == what(done)


@pytest.mark.parametrize("boundary", ["word", "token", "rollback"])
def test_each_chunk_size_gives_the_same_answer(boundary: str) -> None:
    words = [" a", " b", " c", "d", ".", " 🎉", "\n", " ", "好"]
    base, nudger = hashed(1, words, 0.01, 0.2), hashed(2, words, 0.0, 0.2)
    rules = {"boundary": boundary, "max_tokens": 200}
    first = run(base, nudger, chunk=1, draft_chunk=1, **rules)
    assert len(first.answer.segments) > 10
    for chunk in range(2, 65):
        assert what(run(base, nudger, chunk=chunk, draft_chunk=chunk, **rules)) == what(first)
