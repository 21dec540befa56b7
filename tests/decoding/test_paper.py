"""The `paper` preset, sentence by sentence (ALGORITHM: the `paper` preset)."""

from __future__ import annotations

from typing import Any

import pytest

from nudge_client.config import check_settings
from nudge_client.counting import count_cl100k
from nudge_client.decoding import PaperRules, decode_paper
from nudge_client.method import paper_prompts
from nudge_client.planning import PAPER_CHUNK
from nudge_client.prompts import as_messages
from tests.toys import Model, Run, run, script, writes

BASE, NUDGER = "base", "nudger"


def paper(base: Model, nudger: Model, **rules: Any) -> Run:
    return run(base, nudger, decoder=decode_paper(PaperRules(**({"count": count_cl100k} | rules))))


def never(text: str) -> None:
    """A model that ends at once."""


def endless(word: str, p: float = 0.9) -> Model:
    return lambda text: (word, p)


def numbered(p: float = 0.9) -> Model:
    """A model that never says the same twice."""
    return lambda text: (f" {len(text)}", p)


def asked(provider: Any) -> list[str]:
    """The answers that a model was asked to go on from."""
    return [request.prompt[1:] for request in provider.requests]


# γ = 0.3, L = 16, L_n = 16, max 512 tokens by cl100k_base over the whole answer, 150 rounds, temperature 0.


def test_defaults_of_the_rules_and_of_the_preset() -> None:
    rules = PaperRules(count=len)
    assert (rules.threshold, rules.chunk, rules.draft_tokens, rules.max_tokens, rules.max_rounds) == (
        0.3,
        16,
        16,
        512,
        150,
    )
    settings = check_settings({"preset": "paper"})
    assert (settings.threshold, PAPER_CHUNK, settings.draft, settings.max_tokens) == (0.3, 16, 16, 512)
    assert (settings.max_rounds, settings.temperature) == (150, 0)


def test_calls_ask_for_l_and_l_n_tokens() -> None:
    done = paper(numbered(0.9), numbered(), chunk=5, draft_tokens=7, max_tokens=40)
    assert {request.max_tokens for request in done.base.requests} == {5}
    assert {request.max_tokens for request in done.nudger.requests} == {7}


def test_the_limit_counts_the_whole_answer_by_cl100k() -> None:
    done = paper(numbered(), numbered(), max_tokens=60)
    assert done.answer.finish_reason == "length"
    before_the_last_piece = "".join(token.text for token in done.answer.tokens[:-16])
    assert count_cl100k(done.answer.text) >= 60 > count_cl100k(before_the_last_piece)


def test_the_limit_counts_what_the_nudger_wrote() -> None:
    words = [
        "supercalifragilistic",
        "expiali",
        "docious",
        "antidisestablish",
        "mentarian",
        "pneumono",
        "ultra",
        "micro",
        "scopic",
        "silico",
    ]
    done = paper(endless(" no", 0.1), lambda text: (f"{words[len(text) % 10]} x", 0.9), draft_tokens=1, max_tokens=20)
    assert done.answer.finish_reason == "length"
    assert count_cl100k(done.answer.text) >= 20 > count_cl100k(done.answer.text[: -len(done.answer.tokens[-1].text)])


def test_150_rounds() -> None:
    done = paper(endless(" no", 0.1), lambda text: ("abcdefgh"[len(text) % 7], 0.9), draft_tokens=1, max_tokens=10**6)
    assert (done.answer.finish_reason, done.answer.stats.rounds) == ("rounds", 150)


# Words split on the single space character only.


def test_leading_spaces_are_a_prefix_and_newlines_stay_inside_words() -> None:
    nudger = writes("  one\ntwo three four", split="#")
    base = script(("  one\ntwo", " x", 0.1), ("  one\ntwo three", " base", 0.9))
    done = paper(base, lambda text: nudger(text) or (" z", 0.9), draft_tokens=1, max_rounds=1)
    assert asked(done.base)[:2] == ["  one\ntwo", "  one\ntwo three"]
    assert done.segments == [(NUDGER, "one\ntwo three"), (BASE, " base")]  # shown without the spaces, asked with them


def test_a_newline_is_no_leading_space() -> None:
    done = paper(endless(" no", 0.1), lambda text: ("\n one two", 0.9), draft_tokens=1, max_rounds=1)
    assert asked(done.base) == ["\n", "\n one"]


def test_empty_words_from_double_spaces_are_not_looked_at_but_stay() -> None:
    base = script(("one", " x", 0.9), ("one ", " x", 0.1), ("one  two", " x", 0.1), ("one  two three", " base", 0.9))
    done = paper(base, lambda text: ("one  two three four", 0.9), draft_tokens=1, max_rounds=1)
    # "one" is followed by an empty word, so the first look is after that: with the second space in the text.
    assert asked(done.base)[:2] == ["one ", "one  two"]
    assert done.segments == [(NUDGER, "one  two three"), (BASE, " base")]


def test_spaces_kept_in_the_text() -> None:
    done = paper(endless(" no", 0.1), lambda text: ("one  two three four", 0.9), draft_tokens=1, max_rounds=1)
    assert done.answer.text == "one  two three"


# Draft finish `stop` (or `eos`): append the whole draft, finish.


def test_a_draft_that_stops_is_appended_whole() -> None:
    done = paper(endless(" sure"), writes("one two three"))
    assert (done.segments, done.answer.finish_reason, done.base.requests) == ([(NUDGER, "one two three")], "stop", [])


# A one-word draft is always appended whole, without asking the base model.


def test_a_one_word_draft() -> None:
    done = paper(endless(" sure"), lambda text: ("word", 0.9), draft_tokens=1, max_rounds=2)
    assert (done.answer.text, done.base.requests) == ("wordword", [])


# Otherwise, for each next word in turn, one base call; hand back when …


def test_hand_back_when_the_next_word_starts_with_the_first_base_token() -> None:
    base = script(("one", " tw", 0.1), ("one tw", "elve", 0.9))
    done = paper(base, lambda text: ("one two three", 0.9), draft_tokens=1, max_rounds=1)
    assert done.segments == [(NUDGER, "one"), (BASE, " twelve")]


def test_hand_back_when_the_position_is_at_the_threshold() -> None:
    base = script(("one", " x", 0.29), ("one two", " x", 0.3000001))
    done = paper(base, lambda text: ("one two three", 0.9), draft_tokens=1, max_rounds=1)
    assert done.segments == [(NUDGER, "one two"), (BASE, " x")]
    assert asked(done.base) == ["one", "one two"]


def test_hand_back_may_be_inside_a_word() -> None:
    done = paper(script(("Sure", "ly", 0.9)), lambda text: ("Sure thing there", 0.9), draft_tokens=1, max_rounds=1)
    assert done.segments == [(NUDGER, "Sure"), (BASE, "ly")]


def test_no_hand_back_by_the_last_word() -> None:
    done = paper(endless(" no", 0.1), lambda text: ("one two three four", 0.9), draft_tokens=1, max_rounds=1)
    assert done.answer.text == "one two three"
    assert asked(done.base) == ["one", "one two", "one two three"]


# The same nudging text as in the round before, for the third time running: finish without appending it.


def test_repeated_nudge() -> None:
    done = paper(endless(" no", 0.1), lambda text: ("same thing", 0.9), draft_tokens=1)
    assert (done.answer.text, done.answer.finish_reason) == ("same" * 3, "repeated_nudge")
    assert done.answer.stats.rounds == 4


def test_another_nudge_between_starts_the_count_again() -> None:
    done = paper(
        endless(" no", 0.1), lambda text: ("other thing" if text == "samesame" else "same thing", 0.9), draft_tokens=1
    )
    assert done.answer.text == "samesame" + "other" + "same" * 3


# Hand-back with an empty base completion: new round.


def test_a_base_model_that_ends_at_the_look() -> None:
    done = paper(never, writes("one two three four five six seven"), draft_tokens=3)
    assert done.answer.stats.rounds > 1
    assert done.segments == [(NUDGER, "one two three four five six seven")]
    assert asked(done.base)[0] == "one"
    first = paper(never, lambda text: ("one two three", 0.9), draft_tokens=1, max_rounds=1)
    assert (first.answer.text, asked(first.base)) == ("one", ["one"])


# Base writes


def start(*, then: str = " next") -> Model:
    """A nudger that says one word and is handed back from, once, and ends after that."""
    return lambda text: ("go" + then + " on", 0.9) if not text else None


def test_the_first_token_is_accepted_as_it_is() -> None:
    done = paper(script(("go", " next", 0.01), ("go next", " is", 0.01)), start(), draft_tokens=1)
    assert done.segments == [(NUDGER, "go"), (BASE, " next")]
    assert done.answer.tokens[1].reason == "first"


def test_the_rest_of_the_hand_back_chunk_comes_first() -> None:
    done = paper(writes("go next is all there ever was"), start(), draft_tokens=1, chunk=4)
    assert asked(done.base) == ["go", "go next is all there"]
    assert done.answer.text == "go next is all there ever was"


def test_a_chunk_that_occurs_in_what_the_base_wrote_this_round_ends_it() -> None:
    base = script(("go", " aaa", 0.9), ("go aaa", "a", 0.9), ("go aaaa", "a", 0.9))
    done = paper(base, start(), draft_tokens=1, chunk=2)
    assert done.answer.text == "go aaa"  # "a" is in " aaa"


def test_an_empty_chunk_occurs_in_anything() -> None:
    """The odd corner of L = 1: after the accepted first token, the rest of its chunk is empty, and the round ends."""
    done = paper(writes("go next is all"), start(), draft_tokens=1, chunk=1)
    assert done.segments == [(NUDGER, "go"), (BASE, " next")]


def test_cut_before_the_first_token_below_the_threshold_word_boundary_or_not() -> None:
    base = script(("go", " pre", 0.9), ("go pre", "fab", 0.9), ("go prefab", "ri", 0.29), ("go prefabri", "cated", 0.9))
    done = paper(base, start(), draft_tokens=1)
    assert done.answer.text == "go prefab"
    assert asked(done.base) == ["go"]


@pytest.mark.parametrize(("piece", "kept"), [(" 1 2 3 4", True), (" 1 2 3 4 5", False)])
def test_a_piece_of_more_than_five_words_that_occurs_in_the_answer(piece: str, kept: bool) -> None:
    # " 1 2 3 4" has five space-separated words (the first is empty), " 1 2 3 4 5" has six.
    first = f"go{piece}\nand"
    nudger = script(("", f"{first} then on", 0.9))
    base = script(
        ("go", " no", 0.1),
        *((f"go{piece[:n]}", " no", 0.1) for n in range(2, len(piece), 2)),
        (first, " then", 0.9),
        (first + " then", piece, 0.9),
    )
    done = paper(base, nudger, draft_tokens=1)
    assert done.answer.text == first + " then" + (piece if kept else "")


def test_stop_in_the_hand_back_chunk_does_not_end_the_round() -> None:
    done = paper(writes("go next is"), start(), draft_tokens=1)
    assert asked(done.base) == ["go", "go next is"]  # it ended in the first chunk, and is asked again all the same


def test_stop_in_a_later_chunk_ends_the_round() -> None:
    done = paper(writes("go next is all there ever"), start(), draft_tokens=1, chunk=3)
    assert asked(done.base) == ["go", "go next is all"]
    assert done.answer.text == "go next is all there ever"


def test_the_round_ends_at_the_token_limit() -> None:
    done = paper(numbered(), lambda text: ("go next on", 0.9), draft_tokens=1, chunk=4, max_tokens=12)
    assert done.answer.finish_reason == "length"
    assert done.answer.stats.rounds == 1
    before = "".join(token.text for token in done.answer.tokens[:-4])
    assert count_cl100k(before) < 12 <= count_cl100k(done.answer.text)


# At the end: strip, then drop the longest suffix that repeats the text before it, again and again.


def test_the_end() -> None:
    copy = "0123456789abcdefghij0123456789"
    done = paper(never, writes(f" \nx{copy}{copy}{copy} \n", split="#"))
    assert done.answer.text == f"x{copy}"
    assert done.shown == done.answer.text
    short = paper(never, writes("ab" * 14, split="#"))
    assert short.answer.text == "ab" * 14


# Prompts


def prompts(question: str, **settings: Any) -> tuple[str, list[tuple[str, str]]]:
    checked = check_settings({"preset": "paper"} | settings)
    messages, base = paper_prompts(as_messages(question, checked.system), checked)
    return base.text, [(message.role, message.content) for message in messages]


def test_reasoning_prompt() -> None:
    text, chat = prompts("1+1?")
    system = "Answer the question by walking through the reasoning steps."
    assert text == f"{system}\nQuestion: 1+1?\n"
    assert chat == [("system", system), ("user", "Question: 1+1?")]


def test_instruction_prompt_with_an_answer_start() -> None:
    text, chat = prompts("Sing.", form="instruction", answer_start="Answer:")
    assert text == "You are a helpful assistant.\nInstruction: Sing.\nAnswer:"
    assert chat == [("system", "You are a helpful assistant."), ("user", "Instruction: Sing.")]
