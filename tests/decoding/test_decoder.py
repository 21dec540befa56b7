"""Each rule of the default decoder (ALGORITHM), on models that are plain functions."""

from __future__ import annotations

import re
import time

import pytest

from nudge_client.decoding.text import last_word_start
from tests.toys import run, script, writes

BASE, NUDGER = "base", "nudger"


def never(text: str) -> None:
    """A model that ends at once."""


# 1. Draft


def test_nudger_that_ends_at_once_stops_the_answer() -> None:
    done = run(writes("never asked"), never)
    assert (done.answer.text, done.answer.finish_reason) == ("", "stop")
    assert done.base.requests == []


def test_a_draft_that_ends_is_used_whole_and_stops() -> None:
    done = run(writes("Hello there my friend and more"), writes("Hello to you."))
    assert done.segments == [(NUDGER, "Hello to you.")]
    assert done.answer.finish_reason == "stop"
    assert done.base.requests == []


def test_a_draft_of_exactly_the_limit_is_not_seen_to_end() -> None:
    nudger = writes("one two three")
    assert run(never, nudger, draft_tokens=4).answer.stats.rounds == 1
    cut = run(never, nudger, draft_tokens=3)
    assert cut.answer.stats.rounds == 2  # the base model ends at the look, and the next draft ends the answer
    assert cut.answer.text == "one two three"


def test_ending_word_only_ends_where_the_nudger_ends_at_once() -> None:
    base = writes("Hello to everyone out there", doubts={" out": 0.1})
    whole = run(base, writes("Hello to you."), ending="draft")
    assert whole.segments == [(NUDGER, "Hello to you.")]
    word = run(base, writes("Hello to you."), ending="word")
    assert word.segments == [(NUDGER, "Hello"), (BASE, " to everyone")]
    assert word.answer.finish_reason == "stop"


# 2. Nudge


def test_the_first_word_is_always_appended() -> None:
    base = script(("", "Sure", 0.99), ("Well", " then", 0.99))
    assert run(base, writes(LONG.replace("Yes", "Well")), max_rounds=1).segments == [(NUDGER, "Well"), (BASE, " then")]


def test_leading_whitespace_belongs_to_the_nudging_word() -> None:
    done = run(
        script(("\n\n Well", " done.", 0.9)),
        script(("", "\n\n", 0.9), ("\n\n", " Well", 0.9), ("\n\n Well", " x", 0.9)),
        draft_tokens=3,
    )
    assert done.segments == [(NUDGER, "\n\n Well"), (BASE, " done.")]


def letters(text: str) -> tuple[str, float] | None:
    """One letter at a time, twelve letters a word."""
    return (" " if len(text) % 13 == 12 else "a"), 0.9


def test_a_first_word_cut_by_the_limit_is_asked_on_for() -> None:
    word = "a" * 12
    done = run(script((word, " yes", 0.9)), letters, draft_tokens=4, max_rounds=1)
    assert done.segments == [(NUDGER, word), (BASE, " yes")]
    assert [request.max_tokens for request in done.nudger.requests] == [4, 4, 4, 4]


def test_a_first_word_longer_than_the_extension_is_appended_as_it_is() -> None:
    done = run(never, lambda text: ("a", 0.9), draft_tokens=4, max_rounds=1)
    assert done.answer.text == "a" * 16


# 3. Hand back


def test_hand_back_to_a_confident_base_model() -> None:
    base = writes("Yes it is so", doubts={" so": 0.1})
    done = run(
        base, writes("Yes we may say that it might well be so if you want to be kind to them all here"), max_rounds=1
    )
    assert done.segments == [(NUDGER, "Yes"), (BASE, " it is")]
    assert [token.reason for token in done.answer.tokens] == ["nudge", "confident", "confident"]


def test_hand_back_by_agreement_below_the_threshold() -> None:
    text = "Yes we may say that it might well be so if you want to be kind to them all here"
    base = writes("Yes we differ here", doubts={" we": 0.1, " here": 0.1})
    done = run(base, writes(text), max_rounds=1)
    assert done.segments == [(NUDGER, "Yes"), (BASE, " we differ")]
    assert done.answer.tokens[1].reason == "agreement"


def test_agreement_is_with_the_beginning_of_the_next_word_and_its_space() -> None:
    long = " and so on and so on and so on and so on and so on"
    agrees = run(script(("Yes", " ", 0.1), ("Yes ", "wonderful", 0.9)), writes("Yes wonder" + long), max_rounds=1)
    assert agrees.segments == [(NUDGER, "Yes"), (BASE, " wonderful")]
    differs = run(script(("Yes", " wo", 0.1)), writes("Yes we" + long), max_rounds=1)
    assert differs.segments == [(NUDGER, "Yes we")]


def test_an_unsure_base_model_lets_the_draft_go_on() -> None:
    base = script(("Yes", " no", 0.1), ("Yes we", " all", 0.9))
    done = run(
        base, writes("Yes we can do a lot of things here if only we all try to do them at once today"), max_rounds=1
    )
    assert done.segments == [(NUDGER, "Yes we"), (BASE, " all")]
    assert [token.reason for token in done.answer.tokens] == ["nudge", "carry", "confident"]


def test_never_hand_back_inside_the_nudged_word() -> None:
    base = script(("Sure", "ly", 0.99), ("Surely", " not", 0.9), ("Sure we", " do", 0.9))
    nudger = writes("Sure we can do a lot of things here if only we all try to do them at once today")
    word = run(base, nudger, max_rounds=1)
    assert word.segments == [(NUDGER, "Sure we"), (BASE, " do")]
    token = run(base, nudger, max_rounds=1, boundary="token")
    assert token.segments == [(NUDGER, "Sure"), (BASE, "ly not")]


def test_the_last_word_of_a_cut_draft_is_not_used() -> None:
    done = run(script(("a", " x", 0.1), ("a b", " x", 0.1)), writes("a b c d e f g"), draft_tokens=3, max_rounds=1)
    assert done.answer.text == "a b"


def test_a_base_model_that_ends_at_the_look_leads_to_a_new_draft() -> None:
    done = run(never, writes("a b c d e f g"), draft_tokens=3)
    assert done.answer.text == "a b c d e f g"
    assert done.answer.stats.rounds == 6


# 4. Base writes

LONG = "Yes we can do a lot of things here if only we all try to do them at once today and always"


def test_a_cut_before_an_uncertain_word() -> None:
    base = script(("Yes", " it", 0.9), ("Yes it", " is", 0.29), ("Yes it really", " was", 0.9))
    nudger = script(("", "Yes", 0.9), ("Yes", " x", 0.9), ("Yes it", " really", 0.9), ("Yes it really", " so", 0.9))
    done = run(base, nudger, draft_tokens=2)
    assert done.segments[:3] == [(NUDGER, "Yes"), (BASE, " it"), (NUDGER, " really")]


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [
        ("word", " pre-fab house"),  # a token inside a word never triggers
        ("token", " pre"),  # any uncertain token triggers
        ("rollback", ""),  # and the cut moves back to the start of its word
    ],
)
def test_boundary(boundary: str, expected: str) -> None:
    base = script(("A", " pre", 0.9), ("A pre", "-fab", 0.1), ("A pre-fab", " house", 0.9))
    done = run(
        base,
        writes("A nudger draft that goes on for longer than its limit of just a few tokens"),
        boundary=boundary,
        max_rounds=1,
        draft_tokens=4,
    )
    assert done.answer.text == "A" + expected


def test_rollback_keeps_the_words_before() -> None:
    base = script(("A", " big", 0.9), ("A big", " pre", 0.9), ("A big pre", "-fab", 0.1))
    done = run(base, writes(LONG.replace("Yes", "A")), boundary="rollback", max_rounds=1)
    assert done.segments == [(NUDGER, "A"), (BASE, " big")]


def test_a_cut_moves_back_over_spaces_but_not_over_line_breaks() -> None:
    nudger = writes(LONG)
    spaces = script(("Yes", " so", 0.9), ("Yes so", "  ", 0.9), ("Yes so  ", "4", 0.1))
    assert run(spaces, nudger, max_rounds=1).answer.text == "Yes so"
    lines = script(("Yes", " so", 0.9), ("Yes so", "\n\n", 0.9), ("Yes so\n\n", "4", 0.1))
    assert run(lines, nudger, max_rounds=1).answer.text == "Yes so\n\n"
    both = script(("Yes", " so", 0.9), ("Yes so", "\n \t", 0.9), ("Yes so\n \t", "4", 0.1))
    assert run(both, nudger, max_rounds=1).answer.text == "Yes so\n"


def test_number_written_digit_by_digit_is_not_split() -> None:
    base = script(("Yes", " ", 0.9), ("Yes ", "4", 0.9), ("Yes 4", "8", 0.1), ("Yes 48", ".", 0.1))
    assert run(base, writes(LONG), max_rounds=1).segments == [(NUDGER, "Yes"), (BASE, " 48.")]


def test_a_word_that_the_nudger_makes_longer_becomes_its_own() -> None:
    base = script(("It", " is", 0.9), ("It is", " Paris", 0.9), ("It is Paris", " and", 0.1))
    nudger = script(("", "It", 0.9), ("It", " a", 0.9), ("It is Paris", ".", 0.9))
    done = run(base, nudger, draft_tokens=2)
    assert done.segments == [(NUDGER, "It"), (BASE, " is"), (NUDGER, " Paris.")]
    assert [(t.reason, t.request) for t in done.answer.tokens][2:] == [("completed", "base-1"), ("ending", "nudger-2")]
    assert "".join(piece.text for piece in done.pieces) == done.answer.text  # it was held back, not taken back
    paper = run(base, nudger, draft_tokens=2, boundary="token")
    assert paper.segments == [(NUDGER, "It"), (BASE, " is Paris"), (NUDGER, ".")]


def test_base_stop_is_dropped_and_the_nudger_decides() -> None:
    base = script(
        ("Yes", " so.", 0.9), ("Yes so.", "\n", 0.9), ("Yes so.\n", "Question", 0.9), ("Yes so.\nQuestion", ": x", 0.9)
    )
    done = run(base, script(("", "Yes", 0.9), ("Yes", " x", 0.9)), draft_tokens=2, base_stop=("\nQuestion:",))
    assert done.answer.text == "Yes so."
    assert done.answer.finish_reason == "stop"
    assert done.shown == done.answer.text


def test_base_stop_does_not_apply_to_the_nudger() -> None:
    done = run(never, writes("Question: none"), base_stop=("Question:",))
    assert done.answer.text == "Question: none"


@pytest.mark.parametrize("author", [BASE, NUDGER])
def test_user_stop_string(author: str) -> None:
    text = "One two. STOP three"
    base = writes(text) if author == BASE else never
    nudger = writes("One xx xx xx") if author == BASE else writes(text)
    done = run(base, nudger, stop=("STOP",), draft_tokens=4 if author == BASE else 16, max_rounds=1)
    assert done.answer.text == "One two. "
    assert done.answer.finish_reason == "stop"
    assert done.shown == done.answer.text


def test_stop_string_across_tokens_and_authors() -> None:
    base = script(("One", " t", 0.9), ("One t", "wo", 0.9), ("One two", " three", 0.9))
    done = run(base, writes("One xx xx xx"), stop=("ne tw",), draft_tokens=3)
    assert (done.answer.text, done.shown) == ("O", "O")


@pytest.mark.parametrize("limit", range(1, 12))
def test_max_tokens_is_exact(limit: int) -> None:
    base = writes(LONG, doubts={" lot": 0.1, " only": 0.1})
    done = run(base, writes(LONG + " and more"), max_tokens=limit)
    assert done.answer.stats.answer_tokens == limit
    assert done.answer.finish_reason == "length"


# 5. Guards


def test_the_same_nudge_four_rounds_in_a_row() -> None:
    def nudger(text: str) -> tuple[str, float]:
        return (" ha", 0.9)

    def base(text: str) -> tuple[str, float] | None:
        return (f" {len(text)}", 0.9) if text.endswith("ha") else (" no", 0.1)

    done = run(base, nudger)
    assert done.answer.finish_reason == "repeated_nudge"
    assert done.answer.stats.rounds == 4
    assert done.answer.text.count(" ha") == 4


def test_repetition_is_cut_to_one_copy() -> None:
    sentence = " this is thirty characters now"  # 30
    done = run(writes("Go" + sentence * 9), script(("", "Go", 0.9), ("Go", " x", 0.9)), draft_tokens=2)
    assert done.answer.text == "Go" + sentence
    assert done.answer.finish_reason == "repetition"
    assert done.shown == done.answer.text
    assert sum(piece.retracted for piece in done.pieces) > 0


def test_max_rounds() -> None:
    done = run(never, writes(LONG), draft_tokens=3, max_rounds=2)
    assert (done.answer.finish_reason, done.answer.stats.rounds) == ("rounds", 2)


# Words


def test_unicode_segmentation_cuts_where_there_are_no_spaces() -> None:
    base = script(("我", "们", 0.9), ("我们", "在", 0.1), ("我们在", "这", 0.9))
    nudger = script(("", "我", 0.9), ("我", "不", 0.9), ("我们", "是", 0.9), ("我们是", "人", 0.9))
    space = run(base, nudger, draft_tokens=2, max_rounds=1)
    assert space.segments[0][0] == NUDGER
    cut = run(base, nudger, draft_tokens=2, segmentation="unicode", max_rounds=2)
    assert cut.segments == [(NUDGER, "我"), (BASE, "们"), (NUDGER, "是")]


def test_what_is_known_is_never_asked_again() -> None:
    """The base model's chunk goes on to answer after the nudger has said what it would have said."""
    base = writes("Yes it is so and so", doubts={" so": 0.1})
    done = run(
        base,
        script(("", "Yes", 0.9), ("Yes", " x", 0.9), ("Yes it is", " so", 0.9), ("Yes it is so", " y", 0.9)),
        draft_tokens=2,
        max_rounds=2,
    )
    assert done.answer.text.startswith("Yes it is so and")
    assert len(done.base.requests) == 1


def test_a_list_with_commas_by_the_nudger_is_no_repeated_nudge() -> None:
    """The nudging words are "apples,", "pears,", …: the same comma, but never the same word."""
    whole = "It has apples, pears, plums, figs, dates, kiwis"

    def base(text: str) -> tuple[str, float] | None:
        if not whole.startswith(text) or text == whole:
            return None
        word = re.match(r",? ?\w+", whole[len(text) :])
        assert word
        # It would leave the comma out, but is not sure.
        return (word[0].lstrip(","), 0.1) if word[0].startswith(",") else (word[0], 0.9)

    def nudger(text: str) -> tuple[str, float] | None:
        if not text:
            return "It", 0.9
        return None if text == whole else ("," if whole.startswith(text + ",") else " x", 0.9)

    done = run(base, nudger, draft_tokens=2)
    assert (done.answer.text, done.answer.finish_reason) == (whole, "stop")


@pytest.mark.parametrize("stop", ["Instruction:", "\n\n", "\n\nInstr"])
def test_a_user_stop_goes_before_a_base_stop_that_is_complete_no_sooner(stop: str) -> None:
    base = script(("Hi", " there", 0.9), ("Hi there", "\n\nInstruction:", 0.9))
    nudger = script(("", "Hi", 0.9), ("Hi", " x", 0.9), ("Hi there", " and", 0.9), ("Hi there\n", " and", 0.9))
    done = run(base, nudger, draft_tokens=2, stop=(stop,), base_stop=("\nInstruction:",))
    assert done.answer.finish_reason == "stop"
    assert done.answer.text.strip() == "Hi there"
    assert done.answer.stats.rounds == 1


def test_rollback_keeps_line_breaks() -> None:
    base = script(("Hi", " ok.", 0.9), ("Hi ok.", "\n\n", 0.9), ("Hi ok.\n\n", "wo", 0.9), ("Hi ok.\n\nwo", "rd", 0.1))
    done = run(base, writes(LONG.replace("Yes", "Hi")), boundary="rollback", max_rounds=1)
    assert done.answer.text == "Hi ok.\n\n"


def test_unicode_numbers_are_not_split_while_they_may_go_on() -> None:
    base = script(("3", ".", 0.9), ("3.", "14", 0.9), ("3 or", " so", 0.9))
    nudger = script(("", "3", 0.9), ("3", " or", 0.9), ("3 or", " x", 0.9))
    done = run(base, nudger, draft_tokens=3, segmentation="unicode", max_rounds=1)
    assert done.segments == [(NUDGER, "3 or"), (BASE, " so")]


def test_long_text_without_spaces_takes_no_long_time() -> None:
    """Linear in the text: looking for the last word took a fifth of a second a token once."""
    before = time.perf_counter()
    for _ in range(100):
        assert last_word_start("中" * 8000 + " a", 0, "space") == 8000
    assert time.perf_counter() - before < 5
