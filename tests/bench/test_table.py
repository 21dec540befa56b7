"""The table for terminals: no number cut at any width, no escape codes where none belong."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from nudge_client.bench.table import COLUMNS, show
from tests.bench.example import COSTS, SIMULATED, example


def shown(result: Any, width: int = 80, *, terminal: bool = False) -> str:
    file = io.StringIO()
    show(
        result, Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    )
    return file.getvalue()


def row(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_row_a_method_on_one_line_and_no_number_cut(width: int) -> None:
    text = shown(example(prices=True), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for name in COSTS:
        line = row(text, name)
        given = example(name)["methods"][name]
        assert f"{given['seconds_per_answer']['median']:.3g}" in line
        numbers = line.removeprefix(name)
        assert re.fullmatch(r"(\s+(–|[≤±]?[\d,]+(\.\d+)?%?))+\s*", numbers), numbers


def test_80_columns_hold_the_main_figures_and_name_the_others() -> None:
    text = shown(example(prices=True), 80)
    assert " ".join(row(text, "chunked").split()) == "chunked 4.20 ±0.38 1.61 ±0.14 0.440 ±0.066 24.1 31% ≤35%"
    assert "No room here for: s/token; requests; nudged; cost, USD." in text


def test_wide_terminals_show_everything() -> None:
    text = shown(example(prices=True), 120)
    assert "No room" not in text
    assert row(text, "chunked").split()[-3:] == ["≤35%", "12%", "0.00278"]
    assert "USD" not in shown(example(), 120)


def test_narrow_terminals_fold_rather_than_cut() -> None:
    for width in (40, 20, 12):
        text = shown(example("base only", "chunked"), width)
        assert "…" not in text
        for part in ("4.20", "±0.38"):
            assert part in text


@pytest.mark.parametrize("width", [80, 120])
def test_simulated_is_said_loudly_if_so(width: int) -> None:
    text = " ".join(shown(example(simulated=True), width).split())
    for fact in (
        "SIMULATED profile hosted-70b",
        "round trip 40 ms",
        "prompt token 0.1 ms",
        "nudge ratio 0.12",
        "draft agreement 0.83",
        "SIMULATED: no real endpoint",
    ):
        assert fact in text
    assert "simulat" not in shown(example(), width).lower()


def test_the_heading_names_the_setting() -> None:
    lines = shown(example(), 120).splitlines()
    assert lines[0] == "local:gemma-3-270m nudged by local:smollm2-135m-instruct"
    assert lines[1].startswith("prompts: 20; repeats: 5; max tokens: 128; threshold: 0.3")


def test_escape_codes_only_on_a_terminal() -> None:
    assert "\x1b" not in shown(example(simulated=True))
    assert "\x1b" in shown(example(simulated=True), terminal=True)


def test_missing_figures_are_dashes() -> None:
    result = example("base only", "auto")
    result["methods"]["auto"] = {}
    assert row(shown(result, 120), "auto").split() == ["auto", *["–"] * (len(COLUMNS) - 1)]
    for nothing in ({}, {"setting": None, "methods": None}):
        assert "Nothing was measured." in shown(nothing)


@pytest.mark.parametrize("hostile", ["[bold red]x[/]", "[/nothing]", "\x1b[31mred\x07", ":smile:", "m" * 500])
def test_hostile_names_are_only_text(hostile: str) -> None:
    result = example("chunked", simulated=True, prices=True)
    result["setting"] |= {"base": hostile, "prices": {hostile: {"prompt": hostile}}}
    result["setting"]["simulated"] = SIMULATED | {"profile": hostile}
    result["methods"][hostile] = result["methods"]["chunked"]
    text = shown(result, 120)
    assert "\x1b" not in text
    assert "\x07" not in text
    if hostile.isprintable() and len(hostile) < 24:
        assert row(text, hostile)
        assert text.count(hostile) >= 4


def test_an_outlier_takes_room_not_digits() -> None:
    result = example("base only", "chunked", "paper")
    for given in result["methods"]["paper"].values():
        given.update({key: value and value * 1000 for key, value in given.items()})
    text = shown(result, 80)
    assert "27,144 ±2,443" in text
    assert "10,400 ±936" in text
