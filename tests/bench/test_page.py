"""The page: well-formed, closed to the network, safe with any name, and there whatever is missing."""

from __future__ import annotations

import base64
import hashlib
import html
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from nudge_client.bench.charts import ratio_chart
from nudge_client.bench.discarded import bound, discarded_chart, nudge_ratio
from nudge_client.bench.page import page
from nudge_client.bench.reading import FIGURES, Figure, figure, show_spread
from nudge_client.bench.timelines import timeline_chart
from nudge_client.pages.drawing import Scale, around_one, from_zero, hatch
from nudge_client.pages.numbers import number, show_number
from tests.bench.example import example

VOID = {"meta", "link", "br", "img", "input", "hr"}
DRAWN = {"svg", "g", "rect", "line", "text", "title", "path", "polyline", "circle"}
WRITTEN = {
    "html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "strong", "small", "dl", "div", "dt", "dd", "figure",
    "figcaption", "section", "table", "thead", "tbody", "tr", "th", "td",
}  # fmt: skip
PICTURES = [
    "Time against the base model's own",
    "Seconds to the first word",
    "Tokens billed per answer token",
    "Discarded tokens against L",
    "Where the time of one answer went",
]


class Reader(HTMLParser):
    """Checks that every element is closed where it must be, and keeps what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.captions: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"an attribute twice in <{tag}>"
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "figcaption":
            self.captions.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "figcaption" in self.open:
            self.captions[-1] += data
        if self.open[-2:] == ["figure", "h2"]:
            self.titles.append(data)


def read(result: Any) -> tuple[str, Reader]:
    """The page, with everything that holds for every page checked."""
    text = page(result)
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    assert {tag for tag, _ in reader.seen} <= DRAWN | WRITTEN
    for forbidden in ("http://", "https://", "src=", "href=", "@import", "url(", "<script", "javascript:"):
        assert forbidden not in text.lower(), forbidden
    drawn = " ".join(str(value) for tag, given in reader.seen if tag in DRAWN for value in given.values())
    assert not re.search(r"\b(nan|inf)\b", drawn)
    for tag, given in reader.seen:
        assert not any(name.startswith("on") or name == "style" for name in given)
        if tag == "rect":
            assert float(given["width"] or "x") > 0
            assert float(given["height"] or "x") > 0
    text.encode()
    return text, reader


def test_everything_is_shown() -> None:
    text, reader = read(example(prices=True))
    assert reader.titles == PICTURES
    for name, _ in FIGURES.values():
        assert f">{html.escape(name, quote=True)}<" in text
    for said in ("16.8×", "local:gemma-3-270m", "1.47", "USD per million tokens", "72 %", "68 %–78 %"):
        assert said in text, said


def test_the_policy_forbids_all_but_the_style_of_the_page() -> None:
    text, reader = read(example())
    policy = next(
        given["content"] for tag, given in reader.seen if given.get("http-equiv") == "Content-Security-Policy"
    )
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "prefers-color-scheme: dark" in style
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert "\r" not in style


def test_every_class_that_is_drawn_has_a_colour() -> None:
    text, reader = read(example(simulated=True))
    style = text[text.index("<style>") : text.index("</style>")]
    used = {name for tag, given in reader.seen if tag in DRAWN for name in (given.get("class") or "").split()}
    assert {"base", "nudger", "pair", "cached", "hatch", "ahead", "gap", "bound-line"} <= used
    assert [name for name in used if f".{name}" not in style] == []
    assert set(re.findall(r"var\((--[a-z-]+)\)", style)) <= set(re.findall(r"(--[a-z-]+):", style))


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        '"><b onclick="x">',
        "'&amp;</style>",
        "a\x00\x1b[31m\ud800\u202e",
        "{{ 7*7 }}",
        "n" * 5000,
    ],
)
def test_hostile_names_are_only_text(hostile: str) -> None:
    result = example("base only", "chunked", simulated=True, prices=True)
    result["setting"] |= {"base": hostile, "nudger": hostile, hostile: hostile, "prices": {hostile: {hostile: hostile}}}
    result["setting"]["simulated"] = {"profile": hostile, "latencies": {hostile: hostile}, "nudge_ratio": hostile}
    result["methods"][hostile] = result["methods"]["chunked"]
    result["timelines"][hostile] = {
        "seconds": 1,
        "requests": [{"author": hostile, "kind": hostile, "start": 0, "first": hostile, "end": 1, "tokens": hostile}],
    }
    text, reader = read(result)
    shown = "".join(reader.text)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", shown)
    if len(hostile) < 100 and hostile.isprintable():
        assert shown.count(hostile) >= 5
    assert len(text) < 200_000


@pytest.mark.parametrize("simulated", [True, False])
def test_the_label_is_there_if_and_only_if_simulated(simulated: bool) -> None:
    text, reader = read(example(simulated=simulated))
    assert len(reader.captions) == 5
    if not simulated:
        assert "simulat" not in text.lower()
        return
    for place in [*reader.captions, text[: text.index("<dl>")]]:
        for fact in (
            "Simulated",
            "hosted-70b",
            "round trip 40 ms",
            "base token 20 ms",
            "prompt token 0.1 ms",
            "nudge ratio 0.12",
            "draft agreement 0.83",
        ):
            assert fact in place


@pytest.mark.parametrize("name", ["base only", "chunked"])
def test_one_method_alone(name: str) -> None:
    _, reader = read(example(name))
    assert reader.titles == PICTURES


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"setting": {}, "methods": {}, "discarded": [], "timelines": {}},
        {"setting": None, "methods": None, "discarded": None, "timelines": None},
    ],
)
def test_nothing_measured(result: Any) -> None:
    text, reader = read(result)
    assert "Nothing was measured." in text
    assert reader.titles == []
    assert "<table" not in text


@pytest.mark.parametrize(
    "empty",
    [
        {},
        None,
        {"median": None, "low": None, "high": None},
        {"median": math.nan},
        {"median": math.inf},
        {"median": "3"},
        {"median": True},
        {"median": 10**400},
    ],
)
def test_missing_figures_are_dashes(empty: Any) -> None:
    result = example("base only", "chunked", "auto")
    result["methods"]["auto"] = dict.fromkeys(FIGURES, empty)
    result["methods"]["chunked"] = {}
    text, _ = read(result)
    assert text.count("<td>–</td>") >= 2 * len(FIGURES)
    assert "auto: not measured" in text
    for name in list(result["methods"]):
        result["methods"][name] = {}
    _, reader = read(result)
    assert reader.titles == PICTURES[3:]


@pytest.mark.parametrize("factor", [1000, 1e9, 1e-9, 0, -1])
def test_an_outlier_leaves_the_others_legible(factor: float) -> None:
    result = example("base only", "chunked", "streaming", "auto")
    for given in result["methods"]["streaming"].values():
        given.update({key: value and value * factor for key, value in given.items()})
    result["timelines"]["streaming"]["seconds"] *= abs(factor)
    read(result)
    if factor == 1000:
        text = page(result)
        assert "1,240×" in text
        assert "cut short" in text
        assert "past the edge" in text
        chart = timeline_chart(result)
        assert chart
        widths = [float(width) for width in re.findall(r'width="([\d.]+)"[^>]*class="base"', chart[0])]
        assert max(widths) > 300


def test_a_bill_whose_parts_do_not_add_up_is_one_bar() -> None:
    result = example("chunked")
    assert 'class="cached"' in page(result)
    result["methods"]["chunked"]["billed_per_token"] = {"median": 2.0, "low": 2.0, "high": 2.0}
    assert 'class="cached"' not in page(result)


def test_the_scale_of_ratios_turns_logarithmic_for_far_baselines() -> None:
    near, far = ratio_chart(example("base only", "chunked", "auto")), ratio_chart(example("base only", "paper"))
    assert near
    assert far
    assert "Logarithmic" not in near[1]
    assert "Logarithmic" in far[1]


def test_scales() -> None:
    linear = from_zero([1, 2, 3], 0, 100)
    assert linear.place(0) == 0
    assert linear.place(3) == pytest.approx(100 / 1.05)
    assert linear.place(-5) == 0
    assert linear.place(1e12) == 100
    assert from_zero([1, 2000], 0, 100).high == pytest.approx(1.05)
    assert from_zero([], 0, 100).high > 0
    assert from_zero([0, 0], 0, 100).high > 0
    log = around_one([1, 10, 100], 0, 100)
    assert log.place(10) - log.place(1) == pytest.approx(log.place(100) - log.place(10))
    for scale in (linear, log, around_one([1e-9, 1e15], 0, 100), Scale(0, 1e-9, 0, 100), Scale(0, 1e15, 0, 100)):
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 10
        assert all(scale.low * 0.99 <= tick <= scale.high * 1.01 for tick in ticks)
    assert 1 in around_one([1e-5, 1e7], 0, 100).ticks()


def test_the_bound_is_drawn_through_every_point_given() -> None:
    for chunk in (1, 4, 64):
        for ratio in (0.01, 0.12, 0.9):
            assert nudge_ratio(chunk, bound(chunk, ratio)) == pytest.approx(ratio)
    chart = discarded_chart(example("chunked"))
    assert chart
    points = re.findall(r'points="([^"]+)" class="bound-line"', chart[0])[0].split()
    assert len(points) == 5 * 12 + 1
    assert "r = 12 %" in chart[1]


@pytest.mark.parametrize(
    "rows",
    [
        [{"chunk": 4, "discarded_ratio": 0.3, "bound": 0.35}],
        [{"chunk": 4, "discarded_ratio": 0.3}],
        [{"chunk": 1, "discarded_ratio": 0, "bound": 0}, {"chunk": 2, "discarded_ratio": 1, "bound": 1}],
        [
            {"chunk": 16, "discarded_ratio": None, "bound": 0.5},
            {"chunk": 4, "discarded_ratio": 0.3, "bound": None},
            {"chunk": 0},
            None,
        ],
        [{"chunk": chunk, "discarded_ratio": 0.3, "bound": 0.35} for chunk in range(1, 60)],
    ],
)
def test_odd_rows_of_the_discarded_share(rows: Any) -> None:
    _, reader = read(example("chunked") | {"discarded": rows})
    assert PICTURES[3] in reader.titles


def test_a_timeline_tells_each_request() -> None:
    requests = [
        {
            "author": "base",
            "kind": "stream",
            "start": 0.01,
            "first": 0.06,
            "end": 0.4,
            "tokens": 16,
            "used": 7,
            "speculative": False,
        },
        {
            "author": "base",
            "kind": "complete",
            "start": 0.1,
            "first": None,
            "end": 0.3,
            "tokens": 16,
            "used": 0,
            "speculative": True,
        },
        {
            "author": "nudger",
            "kind": "score",
            "start": 0.4,
            "first": 0.5,
            "end": 0.5,
            "tokens": 3,
            "used": None,
            "speculative": False,
        },
        {"author": "nudger", "kind": "complete", "start": 0.6, "end": None},
    ]
    chart = timeline_chart({"timelines": {"auto": {"seconds": 0.55, "requests": requests}}})
    assert chart
    titles = re.findall("<title>([^<]*)</title>", chart[0])
    assert titles == [
        "base, stream: 0.010 to 0.400 s, first token after 0.050 s, 16 tokens, 7 used",
        "base, complete: 0.100 to 0.300 s, 16 tokens, 0 used, speculative",
        "nudger, score: 0.400 to 0.500 s, first token after 0.100 s, 3 tokens",
    ]
    assert chart[0].count('class="hatch"') == 3  # the legend's, and the two with a discarded share
    assert chart[0].count('class="ahead"') == 2
    tops = re.findall(r'<rect x="[\d.]+" y="([\d.]+)"[^>]*class="base(?:-wait)?"', chart[0])[2:]
    assert len(set(tops)) == 2, "requests that ran at once stand below each other"


def test_hatching_stays_inside() -> None:
    for left, right in ((0.0, 100.0), (3.3, 4.1), (7.0, 7.0)):
        points = re.findall(r"[ML]([-\d.]+) ([-\d.]+)", hatch(left, 10, right, 21))
        assert all(left - 0.06 <= float(x) <= right + 0.06 and 9.9 <= float(y) <= 21.1 for x, y in points)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "each", "–"), (0, "count", "0"), (58.4, "count", "58.4"), (7100, "count", "7,100"), (0.0, "seconds", "0.00"),
        (0.0204, "seconds", "0.0204"), (0.07, "seconds", "0.070"), (1234.5, "seconds", "1,234"), (1.0, "times", "1.00×"),
        (0.31, "share", "31 %"), (0.042, "share", "4.2 %"), (0, "share", "0 %"), (2e9, "each", "2.00e+09"), (-1.5, "each", "-1.50"),
    ],
)  # fmt: skip
def test_numbers(value: float | None, unit: Any, shown: str) -> None:
    assert show_number(value, unit) == shown


def test_figures() -> None:
    assert figure({"cost": {"median": 2, "low": 3, "high": 1}}, "cost") == Figure(2, 2, 2)
    assert figure({"cost": {"median": 2}}, "cost") == Figure(2, 2, 2)
    assert show_spread(Figure(2, 2, 2), "each") == ""
    assert show_spread(Figure(2, 1, 4), "each") == "1.00–4.00"
    assert Figure(2, 1, 4).spread == 2
    assert number("1") is None
