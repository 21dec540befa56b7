from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nudge_client.decoding import text as t


@pytest.mark.parametrize(
    ("text", "token", "space", "unicode"),
    [
        ("", "a", True, True),
        ("a", " b", True, True),
        ("a ", "b", True, True),
        ("a\n", "b", True, True),
        ("a", "b", False, False),
        ("a", "!", False, True),
        ("a", ".", False, False),  # "a.b" is one word
        ("a", ". B", False, True),
        ("3", ".", False, False),
        ("can", "'", False, False),
        ("can", "'t", False, False),
        ("3.", "14", False, False),
        ("我", "们", False, True),
        ("テキ", "スト", False, False),
        ("👩", "\u200d🚀", False, False),
        ("🇩🇪", "🇫🇷", False, True),
    ],
)
def test_starts_word(text: str, token: str, space: bool, unicode: bool) -> None:
    assert t.starts_word(text, token, "space") is space
    assert t.starts_word(text, token, "unicode") is unicode


@pytest.mark.parametrize(
    ("draft", "ended", "words"),
    [
        ("a b", False, ["a"]),
        ("a b", True, ["a", " b"]),
        ("a b ", False, ["a", " b"]),
        ("a b \n", True, ["a", " b", " \n"]),
        ("  ", False, []),
        ("  ", True, ["  "]),
        ("\n\n1. a", False, ["\n\n1."]),
        ("", True, []),
    ],
)
def test_whole_words(draft: str, ended: bool, words: list[str]) -> None:
    assert t.whole_words(draft, ended, "space") == words


def test_whole_words_by_unicode() -> None:
    assert t.whole_words("你好, world", True, "unicode") == ["你", "好", ",", " world"]
    assert t.whole_words("你好", False, "unicode") == ["你"]


@given(st.text(), st.sampled_from(["space", "unicode"]))
def test_words_of_an_ended_draft_spell_it(draft: str, segmentation: t.Segmentation) -> None:
    assert "".join(t.whole_words(draft, True, segmentation)) == draft


@given(st.text(alphabet="ab", max_size=40), st.integers(1, 40), st.integers(0, 5))
def test_repeated_tail_by_brute_force(head: str, size: int, times: int) -> None:
    text = head + (head or "x")[: size % 7 + 1].ljust(size, "y") * times
    best = 0
    for period in range(30, len(text) // 3 + 1):
        if text.endswith(text[len(text) - period :] * 3):
            best = 2 * period
            break
    assert t.repeated_tail(text) == best


@pytest.mark.parametrize(
    ("text", "extra"), [("x" + "0123456789" * 9, 60), ("x" + "0123456789" * 8, 0), ("ab" + "." * 90, 60), ("." * 89, 0)]
)
def test_repeated_tail(text: str, extra: int) -> None:
    assert t.repeated_tail(text) == extra


@given(st.text(alphabet="ab ", max_size=12), st.lists(st.text(alphabet="ab ", min_size=1, max_size=4), max_size=3))
def test_held_for_stop(text: str, stops: list[str]) -> None:
    prefixes = {stop[:n] for stop in stops for n in range(1, len(stop))}
    assert t.held_for_stop(text, stops) == max((len(p) for p in prefixes if text.endswith(p)), default=0)


@pytest.mark.parametrize(
    ("text", "since", "start"),
    [("a bc", 0, 1), ("a bc ", 0, 1), ("bc", 0, 0), ("a bc", 3, 3), ("a\n bc", 0, 1), ("  ", 0, 0)],
)
def test_last_word_start(text: str, since: int, start: int) -> None:
    assert t.last_word_start(text, since, "space") == start


def test_last_word_start_by_unicode() -> None:
    assert t.last_word_start("我们在", 0, "unicode") == 2
    assert t.last_word_start("Sure, ok", 0, "unicode") == 5
    assert t.last_word_start("I can'", 0, "unicode") == 1
    assert t.last_word_start("is 3.", 0, "unicode") == 2
    assert t.last_word_start("テキ", 0, "unicode") == 0


def test_drop_repeated_suffixes() -> None:
    copy = "0123456789" * 3
    assert t.drop_repeated_suffixes("a" + copy * 4) == "a" + copy
    assert t.drop_repeated_suffixes("a" + copy[:29] * 2) == "a" + copy[:29] * 2
    assert t.drop_repeated_suffixes("") == ""
