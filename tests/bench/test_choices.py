"""The baselines' rules by hand: which token is chosen, and how much of a set of chunks holds."""

from __future__ import annotations

import math

import pytest

from nudge_client.bench.choices import Accepted, Choice, Chunk, accept, candidates, ensemble_choice, proxy_choice
from nudge_providers.types import Token

Ps = dict[str, float]


def top(ps: Ps) -> tuple[tuple[str, float], ...]:
    """A list from probabilities, in the order given."""
    return tuple((text, math.log(p) if p else -math.inf) for text, p in ps.items())


def token(ps: Ps) -> Token:
    listed = top(ps)
    return Token(*listed[0], listed[0][1], top=listed)


def chunk(*positions: Ps, ended: bool = False) -> Chunk:
    return Chunk(tuple(map(token, positions)), ended)


@pytest.mark.parametrize(
    ("base", "aligned", "expected"),
    [
        pytest.param({"a": 0.6, "b": 0.3}, {"b": 0.5, "a": 0.1}, "b", id="0.7 for a, 0.8 for b"),
        pytest.param({"a": 0.6, "b": 0.3}, {"b": 0.5, "a": 0.3}, "a", id="0.9 for a, 0.8 for b"),
        pytest.param({"a": 0.5, "b": 0.2}, {"c": 0.6, "a": 0.2}, "a", id="c is missing from the base's list"),
        pytest.param({"a": 0.5, "b": 0.2}, {"c": 0.8, "b": 0.1}, "c", id="c by the aligned model alone"),
        pytest.param({"a": 0.4, "m": 0.35}, {"b": 0.4, "m": 0.35}, "m", id="nobody's own token"),
        pytest.param({"a": 0.5, "b": 0.25}, {"b": 0.5, "a": 0.25}, "a", id="tie: first in the base's list"),
        pytest.param({"b": 0.25, "a": 0.25}, {"a": 0.5, "b": 0.5}, "b", id="tie: the base's order, not the aligned"),
        pytest.param({"a": 0.5}, {"b": 0.5}, "a", id="tie: the base before the aligned model"),
        pytest.param({}, {"b": 0.5, "a": 0.25}, "b", id="the base has ended"),
        pytest.param({"a": 0.1}, {}, "a", id="one list is empty"),
        pytest.param({"a": 0.9}, {"a": 0.9}, "a", id="agreement"),
        pytest.param({"a": 0.0, "b": 0.0}, {"b": 0.1}, "b", id="probability 0"),
    ],
)
def test_ensemble_choice(base: Ps, aligned: Ps, expected: str) -> None:
    assert ensemble_choice(top(base), top(aligned)) == expected


@pytest.mark.parametrize(
    ("base", "aligned", "small", "expected"),
    [
        # a: 0.5 · 0.2 / 0.4 = 0.25; b: 0.3 · 0.6 / 0.1 = 1.8
        pytest.param({"a": 0.5, "b": 0.3}, {"b": 0.6, "a": 0.2}, {"a": 0.4, "b": 0.1}, "b", id="what alignment moved"),
        # a: 0.5 · 0.4 / 0.4 = 0.5; b: 0.3 · 0.4 / 0.4 = 0.3
        pytest.param({"a": 0.5, "b": 0.3}, {"b": 0.4, "a": 0.4}, {"a": 0.4, "b": 0.4}, "a", id="nothing moved"),
        pytest.param({"a": 0.5, "b": 0.3}, {"b": 0.9}, {"b": 0.9, "a": 0.1}, "b", id="only b is in all three"),
        pytest.param({"a": 0.5}, {"b": 0.9}, {"b": 0.9}, "a", id="none shared: the base's token"),
        pytest.param({"a": 0.5, "b": 0.3}, {"b": 0.9}, {"a": 0.9}, "a", id="none in all three"),
        pytest.param({"a": 0.5, "b": 0.3}, {"b": 0.9}, {}, "a", id="the small base has ended"),
        pytest.param({}, {"b": 0.9, "a": 0.1}, {"a": 0.9}, "b", id="the base has ended"),
        pytest.param({"a": 0.9, "b": 1e-3}, {"a": 0.9, "b": 1e-3}, {"a": 0.9, "b": 1e-9}, "b", id="small base near 0"),
        pytest.param({"a": 0.9, "b": 1e-3}, {"a": 0.9, "b": 1e-3}, {"a": 0.9, "b": 0}, "b", id="small base at 0"),
        pytest.param({"b": 0, "a": 0.1}, {"b": 0.5, "a": 0.1}, {"b": 0, "a": 0.9}, "a", id="0 over 0, listed first"),
        pytest.param({"a": 1e-300, "b": 0}, {"a": 1e-300, "b": 0.5}, {"a": 0.9, "b": 0}, "a", id="0 over 0"),
        pytest.param({"a": 0.5, "b": 0.25}, {"b": 0.5, "a": 0.25}, {"a": 0.5, "b": 0.5}, "a", id="tie: base's order"),
    ],
)
def test_proxy_choice(base: Ps, aligned: Ps, small: Ps, expected: str) -> None:
    assert proxy_choice(top(base), top(aligned), top(small)) == expected


def test_candidates() -> None:
    assert candidates(None) == ()
    assert candidates(Token("a", -0.5, -0.5)) == (("a", -0.5),), "no list was sent"
    assert candidates(token({"a": 0.6, "b": 0.3})) == top({"a": 0.6, "b": 0.3})
    assert candidates(token({"a": 0.5, "b": 0.4})._replace(top=top({"b": 0.5, "a": 0.5}))) == top({"a": 0.5, "b": 0.5})
    no_text = {"a": 0.5, "": 0.1, "\ufffd": 0.1, " \ufffd": 0.1, "</s>": 0.1, "<|im_end|>": 0.1, "<eos>": 0.1}
    assert candidates(token(no_text)) == top({"a": 0.5})
    assert candidates(token({"a": 0.5, "<b>": 0.1, "<strong>": 0.1, "<": 0.1})) == top(
        {"a": 0.5, "<b>": 0.1, "<strong>": 0.1, "<": 0.1}
    )
    twice = Token("a", -0.5, -0.5, top=(("a", -0.5), ("b", -1.0), ("b", -3.0)))
    assert candidates(twice) == (("a", -0.5), ("b", -1.0))
    joined = Token("é", -0.25, -0.25, top=(("\ufffd", -0.25), ("x", -2.0)))
    assert candidates(joined) == (("é", -0.25),), "the list is of the last byte"


A, B, C = {"a": 0.9}, {"b": 0.9}, {"c": 0.9}
BOTH, FIRST, SECOND, NEITHER = (True, True), (True, False), (False, True), (False, False)


@pytest.mark.parametrize(
    ("base", "aligned", "expected", "ended"),
    [
        pytest.param(chunk(A, B), chunk(A, B), [("a", BOTH), ("b", BOTH)], False, id="agreement to the chunk's end"),
        pytest.param(chunk(A, B, C), chunk(A), [("a", BOTH)], False, id="to the shorter chunk's end"),
        pytest.param(chunk(A, {"b": 0.4}, C), chunk(A, C, C), [("a", BOTH), ("c", SECOND)], False, id="disagreement"),
        pytest.param(chunk(B, C), chunk({"a": 0.5}, C), [("b", FIRST)], False, id="the base wins, and all is asked"),
        pytest.param(
            chunk({"a": 0.4, "m": 0.35}), chunk({"b": 0.4, "m": 0.35}), [("m", NEITHER)], False, id="nobody's own"
        ),
        pytest.param(
            chunk({" Par": 0.6}, {"is": 0.9}), chunk({" Paris": 0.9}), [(" Paris", SECOND)], False, id="split otherwise"
        ),
        pytest.param(chunk(A, B), chunk(A, ended=True), [("a", BOTH)], True, id="the aligned model ends first"),
        pytest.param(chunk(A), chunk(ended=True), [], True, id="the aligned model ends at once"),
        pytest.param(chunk(A), chunk(A, ended=True), [("a", BOTH)], True, id="it ends where the base's chunk is over"),
        pytest.param(chunk(A, ended=True), chunk(A, ended=True), [("a", BOTH)], True, id="both end"),
        pytest.param(
            chunk(A, ended=True), chunk(A, B, C), [("a", BOTH), ("b", SECOND)], False, id="the base ends first"
        ),
        pytest.param(chunk(ended=True), chunk(B, C), [("b", SECOND)], False, id="the base ends at once"),
        pytest.param(
            chunk(A, ended=True), chunk(A), [("a", BOTH)], False, id="the base ends, the other's is not known"
        ),
    ],
)
def test_accept(base: Chunk, aligned: Chunk, expected: list[tuple[str, tuple[bool, ...]]], ended: bool) -> None:
    choices = tuple(Choice(text, own) for text, own in expected)
    assert accept([base, aligned], ensemble_choice) == Accepted(choices, ended)


def test_accept_three() -> None:
    """Proxy tuning goes on only while all three models' own tokens are the choice."""
    same = chunk(A, B)
    assert accept([same, same, same], proxy_choice).choices == (
        Choice("a", (True, True, True)),
        Choice("b", (True, True, True)),
    )
    small = chunk({"b": 0.6, "a": 0.3}, B)
    assert accept([same, same, small], proxy_choice) == Accepted((Choice("a", (True, True, False)),), False)
    moved = chunk({"a": 0.5, "b": 0.4}, C)
    assert accept([moved, moved, chunk({"a": 0.9, "b": 0.1}, C)], proxy_choice) == Accepted(
        (Choice("b", (False, False, False)),), False
    )
    over = chunk(ended=True)
    assert accept([same, same, over], proxy_choice) == Accepted((Choice("a", (True, True, False)),), False)
    assert accept([same, over, same], proxy_choice) == Accepted((), True)
