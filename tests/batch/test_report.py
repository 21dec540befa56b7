"""Reports: the figures, the answers picked, and both ways to show them, safe with any text."""

from __future__ import annotations

import io
import json
import re
import statistics
import tracemalloc
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from nudge_client.batch.results.distributions import BARS, distribution
from nudge_client.batch.results.marked import Part, marked
from nudge_client.batch.results.report import summarize
from nudge_client.batch.results.report_page import page
from nudge_client.batch.results.report_text import LONGEST, show
from nudge_client.batch.results.worth_reading import repetition
from nudge_client.cli.batch_results import export, report
from nudge_client.decoding import Author
from nudge_providers.errors import UsageError
from tests.batch.made import TIP, answered, failed, openai, own, unread, written
from tests.bench.test_page import DRAWN, WRITTEN, Reader

HOSTILE = "</div><script>alert(1)</script>\x1b[31m\u202e{{ 7*7 }}"


def read(summary: dict[str, Any]) -> tuple[str, str, list[str]]:
    """The page, its words, and what is marked, with everything that holds for every page checked."""
    text = page(summary)
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert {tag for tag, _ in reader.seen} <= DRAWN | WRITTEN | {"article", "h3", "span", "mark"}
    assert not any(
        name.startswith("on") or name in ("style", "src", "href") for _, given in reader.seen for name in given
    )
    assert not re.search(r'"(nan|inf)"|url\(|@import', text)
    return text, "".join(reader.text), re.findall("<mark>([^<]*)</mark>", text)[1:]  # the first explains marks


def shown(summary: dict[str, Any], **console: Any) -> str:
    file = io.StringIO()
    show(summary, Console(file=file, width=80, highlight=False, **console))
    return file.getvalue()


def test_counts_and_totals(tmp_path: Path) -> None:
    rows = [
        own(1, cost=0.25), own(2, cost=0.5, sample=0), own(2, answered(("base", "No")), sample=1), failed(3), failed(4),
        unread(5), openai(6, answered(*TIP, finish="length"), cost=0.125), openai(7),
    ]  # fmt: skip
    summary = summarize(written(tmp_path / "out.jsonl", rows, tail='{"row": 9'))
    assert json.loads(json.dumps(summary)) == summary
    assert {name: summary[name] for name in ("file", "records", "answered", "failed", "failures", "finish_reasons", "plans")} == {
        "file": "out.jsonl", "records": 8, "answered": 4, "failed": 4,
        "failures": {"rate limited": 2, "bad row": 1, "timeout": 1},
        "finish_reasons": {"stop": 3, "length": 1}, "plans": {"streaming": 4},
    }  # fmt: skip
    tip, no = answered(*TIP).stats, answered(("base", "No")).stats
    assert summary["totals"] == {
        "answer_tokens": 3 * tip.answer_tokens + 1, "nudged_tokens": 3 * tip.nudged_tokens, "verified_tokens": 3 * tip.verified_tokens,
        "base": {name: 3 * getattr(tip.base, name) + getattr(no.base, name) for name in summary["totals"]["base"]},
        "nudger": {name: 3 * getattr(tip.nudger, name) + getattr(no.nudger, name) for name in summary["totals"]["nudger"]},
        "cost": 0.875,
    }  # fmt: skip
    spread = summary["distributions"]
    assert (spread["nudge_ratio"]["lowest"], spread["nudge_ratio"]["median"]) == (0.0, tip.nudge_ratio)
    assert spread["requests"]["highest"] == tip.base.requests + tip.nudger.requests
    assert (spread["cost"]["count"], spread["cost"]["median"]) == (3, 0.25)
    assert spread["seconds"]["count"] == 4


def test_what_a_failure_cost_is_counted(tmp_path: Path) -> None:
    summary = summarize(written(tmp_path / "out.jsonl", [own(1, cost=0.25), failed(2) | {"cost": 0.5}]))
    assert summary["totals"]["cost"] == 0.75
    assert summary["distributions"]["cost"]["count"] == 1


def test_without_prices_there_is_no_cost(tmp_path: Path) -> None:
    summary = summarize(written(tmp_path / "out.jsonl", [own(1)]))
    assert summary["totals"]["cost"] is summary["distributions"]["cost"] is None
    for text in (shown(summary), read(summary)[1]):
        assert "USD" not in text


def test_quantiles_are_the_usual_ones() -> None:
    values = [float(place**2 % 101) for place in range(200)]
    found = distribution(array("d", values), whole=True)
    assert found
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    assert [found["p5"], found["median"], found["p95"]] == pytest.approx([cuts[0], cuts[9], cuts[18]])
    assert found["mean"] == pytest.approx(statistics.fmean(values))
    assert distribution(array("d"), whole=True) is None


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        [0],
        [0, 0],
        [1],
        [5, 5, 5],
        [0.1, 0.3, 0.7, 1.0],
        [1e-9, 3e-7],
        [*range(100), 5000],
        [0] * 99 + [7],
        [1e14, 1],
        list(range(31)),
    ],
)
def test_a_histogram_holds_every_value(values: list[float], whole: bool) -> None:
    values = [float(round(value)) if whole else value for value in values]
    found = distribution(array("d", values), whole=whole)
    assert found
    edges, counts, above = (found["histogram"][name] for name in ("edges", "counts", "above"))
    assert len(edges) == len(counts) + 1 <= BARS + 3
    assert edges == sorted(set(edges))
    assert sum(counts) + above == len(values)
    if whole:
        assert all(edge == round(edge) for edge in edges)
        assert counts == [sum(low <= value < high for value in values) for low, high in pairwise(edges)]
    if max(values) == 5000:
        assert above == 1
        assert edges[-1] < 220


def test_repetition() -> None:
    assert repetition("one two three") == repetition("one two three four five") == repetition("") == 0
    assert repetition("a b c d a b c d") == pytest.approx(1 / 5)
    assert repetition("Go on, and on. GO ON AND ON") == pytest.approx(1 / 5)
    assert repetition("no " * 103) == pytest.approx(0.99)
    assert repetition("我喜欢猫我喜欢猫我喜欢猫") == pytest.approx(1 - 4 / 9)


def distinct(count: int, number: int) -> str:
    return "".join(f" w{number}x{place}" for place in range(count))


def test_ten_answers_are_picked_for_what_is_odd_about_them(tmp_path: Path) -> None:
    rows = []
    for number in range(1, 41):
        if number <= 6:  # 1 is nudged most; 6 is long besides, and shown once
            rows.append(own(number, answered(("base", distinct(10 * number, 0)), ("nudger", distinct(90 - number, 1)))))
        elif number <= 12:
            rows.append(own(number, answered(("base", "again and again he said " * number))))
        else:
            rows.append(own(number, answered(("base", distinct(number * 10, number)))))
    rows.reverse()
    rows.insert(7, failed(99))
    picks = summarize(written(tmp_path / "out.jsonl", rows))["worth_reading"]
    assert [(pick["by"], pick["rank"], pick["row"]) for pick in picks] == [
        ("nudge_ratio", 1, 1), ("nudge_ratio", 2, 2), ("nudge_ratio", 3, 3), ("nudge_ratio", 4, 4),
        ("repetition", 1, 12), ("repetition", 2, 11), ("repetition", 3, 10),
        ("answer_tokens", 1, 40), ("answer_tokens", 2, 39), ("answer_tokens", 3, 38),
    ]  # fmt: skip
    assert picks[0]["segments"] == list(rows[-1]["segments"])
    assert picks[0]["prompt"] == "Question 1?"


def test_no_answer_is_shown_twice(tmp_path: Path) -> None:
    pieces: list[tuple[Author, str]] = [("base", "on and on and on and on"), ("nudger", " and on")]
    rows = [own(number, answered(*pieces * number)) for number in range(1, 13)]
    picks = summarize(written(tmp_path / "out.jsonl", rows))["worth_reading"]
    assert len({pick["row"] for pick in picks}) == len(picks) == 10
    assert [pick["rank"] for pick in picks] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_what_has_nothing_odd_is_not_shown_for_it(tmp_path: Path) -> None:
    rows = [
        own(1, answered(("base", ""))),
        own(2, answered(("base", "Yes")), messages=[{"role": "user", "content": "Is it?"}], prompt=None),
    ]
    picks = summarize(written(tmp_path / "out.jsonl", rows))["worth_reading"]
    assert [(pick["by"], pick["row"], pick["prompt"]) for pick in picks] == [("answer_tokens", 2, "Is it?")]


def test_the_marks_hold_words_and_no_space() -> None:
    segments = [
        {"author": author, "text": text} for author, text in (("nudger", "\n Eat "), ("base", "a"), ("nudger", " \n"))
    ]
    assert marked(segments) == [
        Part("\n ", False),
        Part("Eat", True),
        Part(" ", False),
        Part("a", False),
        Part(" \n", False),
    ]
    assert (
        "".join(part.text for part in marked([{"author": "nudger", "text": "ü\u00a0👩‍👩‍👧\tx\r\x00"}]))
        == "ü\u00a0👩‍👩‍👧\tx��"
    )


def test_the_terminal_marks_in_colour_and_with_signs_elsewhere(tmp_path: Path) -> None:
    summary = summarize(written(tmp_path / "out.jsonl", [own(1, id="q1")]))
    plain = shown(summary, color_system=None)
    assert "Eat ‹a› balanced diet: ‹whole grains, fruit› and water." in plain
    assert "Row 1, id q1, no. 1 by nudge ratio" in plain
    assert "\x1b" not in plain
    colour = shown(summary, force_terminal=True, color_system="standard")
    assert "\x1b[1;32mwhole grains, fruit\x1b[0m" in colour
    assert "‹" not in colour
    assert "‹a›" in shown(summary, force_terminal=True, color_system="standard", no_color=True)


def test_a_long_answer_is_cut_in_the_terminal_alone(tmp_path: Path) -> None:
    summary = summarize(
        written(tmp_path / "out.jsonl", [own(1, answered(("base", "long " * 400), ("nudger", "tail")))])
    )
    assert 400 < shown(summary).count("long") * 5 <= LONGEST
    assert shown(summary).endswith("…\n")
    assert read(summary)[1].count("long ") == 400
    assert read(summary)[2] == ["tail"]


@pytest.mark.parametrize("hostile", [HOSTILE, "\ud800 日本語", "x" * 3000, "شكرا\u2067"])
def test_hostile_texts_are_only_text(tmp_path: Path, hostile: str) -> None:
    record = own(1, answered(("base", hostile), ("nudger", f" {hostile}")), id=hostile, prompt=hostile)
    wrong = failed(2, hostile, hostile)
    out = tmp_path / f"{hostile[:3].replace('/', '').encode('ascii', 'ignore').decode()}.jsonl"
    out.write_text(json.dumps(record) + "\n" + json.dumps(wrong) + "\n", "ascii")
    summary = summarize(out)
    text, words, marks = read(summary)
    text.encode()
    assert "<script" not in text
    for told in (words, shown(summary), *marks):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u2067\ud800]", told)
    assert len(marks) == 1
    if hostile == HOSTILE:
        assert words.count("<script>alert(1)</script>") >= 4
        assert "{{ 7*7 }}" in words


def test_the_page_shows_everything(tmp_path: Path) -> None:
    rows = [own(number, answered(*TIP, seconds=number / 7), cost=0.001 * number) for number in range(1, 60)]
    rows += [own(60, answered(*TIP, seconds=900), cost=1), failed(61)]
    text, words, marks = read(summarize(written(tmp_path / "out.jsonl", rows)))
    for title in (
        "Nudged share",
        "Answer tokens",
        "Seconds per answer",
        "Requests per answer",
        "Cost of an answer, USD",
        "failed: rate limited",
    ):
        assert title in words
    assert "above the scale (1)" in words
    assert marks[:2] == ["a", "whole grains, fruit"]
    assert text.count("<article>") == 4 + 0 + 3  # nothing is repeated
    style = text[text.index("<style>") : text.index("</style>")]
    assert "prefers-color-scheme: dark" in style
    assert "mark {" in style


def test_an_output_with_nothing_in_it(tmp_path: Path) -> None:
    summary = summarize(written(tmp_path / "out.jsonl", []))
    assert summary["worth_reading"] == []
    assert "Nothing is finished yet" in shown(summary)
    assert "Nothing is finished yet" in read(summary)[1]


def test_failures_alone(tmp_path: Path) -> None:
    summary = summarize(written(tmp_path / "out.jsonl", [failed(1), failed(2)]))
    assert "2 failed" in shown(summary)
    assert "100 %" in read(summary)[1]


def test_a_line_that_is_no_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"out\.jsonl, line 2: "):
        summarize(written(tmp_path / "out.jsonl", [own(1), {"x": 1}]))


def test_memory_holds_no_texts(tmp_path: Path) -> None:
    pieces: list[tuple[Author, str]] = [("base", " one more word"), ("nudger", " of the answer")]
    line = json.dumps(own(1, answered(*pieces * 10), cost=0.1)) + "\n"
    peaks = []
    for rows in (1000, 20_000):
        (tmp_path / "out.jsonl").write_text(line * rows)
        tracemalloc.start()
        summarize(tmp_path / "out.jsonl")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / 19_000 < 90  # 40 of the figures, room to grow, and one of them while it is sorted


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = written(tmp_path / "out.jsonl", [own(2), failed(1)])
    before = out.read_bytes()
    run = CliRunner()
    done = run.invoke(report, ["out.jsonl", "--html", "page.html"])
    assert (done.exit_code, Path("page.html").read_text("utf-8")) == (0, page(summarize(out)))
    assert "2 records, 1 answered, 1 failed" in done.stdout
    assert json.loads(run.invoke(report, ["out.jsonl", "--json"]).stdout) == summarize(out)
    assert isinstance(run.invoke(report, ["out.jsonl", "--html", "out.jsonl"]).exception, UsageError)
    done = run.invoke(export, ["out.jsonl", "to.csv"])
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "to.csv: 2 records, 1 of them failed\n"
    assert isinstance(run.invoke(export, ["out.jsonl", "to.csv"]).exception, UsageError)
    assert run.invoke(export, ["out.jsonl", "to.csv", "--force", "--format", "jsonl"]).exit_code == 0
    assert len(Path("to.csv").read_text().splitlines()) == 2
    assert out.read_bytes() == before
