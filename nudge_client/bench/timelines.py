"""The picture of where the time of one answer went: two lanes a method, each request a bar on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from nudge_client.bench.charts import axis
from nudge_client.bench.reading import mapping
from nudge_client.pages.drawing import Scale, from_zero, hatch, hover, legend, line, picture, rect, tag, text
from nudge_client.pages.numbers import clean, number, show_number

WIDTH, LEFT, RIGHT = 960.0, 58.0, 946.0
BAR, TRACK, MOST_TRACKS = 11.0, 13.0, 4
AUTHORS = ("base", "nudger")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; times in seconds from the start of the answer. used: None when nobody counted."""

    author: str
    kind: str
    start: float
    first: float
    end: float
    tokens: int
    used: int | None
    speculative: bool


def timeline_chart(result: Mapping[str, Any]) -> tuple[Markup, str] | None:
    """One answer of each method, request by request. None when none was recorded."""
    answers = {}
    for name, given in mapping(result.get("timelines")).items():
        requests = _requests(mapping(given).get("requests"))
        seconds = max([number(mapping(given).get("seconds")) or 0.0] + [request.end for request in requests])
        if seconds > 0:
            answers[str(name)] = (seconds, requests)
    if not answers:
        return None
    longest = [seconds for seconds, _ in answers.values()]
    scale = from_zero(longest, LEFT, RIGHT)
    top, drawn = 34.0, []
    for name, (seconds, requests) in answers.items():
        part, top = _answer(name, seconds, requests, scale, top)
        drawn.append(part)
    ticks = axis(scale, 28, top, [f"{tick:,.6g} s" for tick in scale.ticks()])
    note = "Answers that go on past the edge are cut there." if max(longest) > scale.high else ""
    return picture(WIDTH, top + 20, "where the time of one answer went", _legend(), ticks, *drawn), note


def _legend() -> Markup:
    return legend(
        LEFT,
        14,
        [
            ("base-wait", "base: waiting"),
            ("base", "base: writing"),
            ("nudger-wait", "nudger: waiting"),
            ("nudger", "nudger: writing"),
            ("hatch", "discarded"),
            ("ahead", "speculative"),
        ],
    )


def _requests(given: object) -> list[Request]:
    rows = []
    for item in given if isinstance(given, list | tuple) else ():
        row = mapping(item)
        start, first, end = (number(row.get(name)) for name in ("start", "first", "end"))
        if start is None or end is None or end < start:
            continue
        tokens, used = number(row.get("tokens")), number(row.get("used"))
        rows.append(
            Request(
                author=clean(row.get("author"), 10),
                kind=clean(row.get("kind"), 20),
                start=start,
                first=start if first is None else min(max(first, start), end),
                end=end,
                tokens=int(tokens or 0),
                used=None if used is None else int(used),
                speculative=row.get("speculative") is True,
            )
        )
    return sorted(rows, key=lambda request: request.start)


def _answer(name: str, seconds: float, requests: Sequence[Request], scale: Scale, top: float) -> tuple[Markup, float]:
    cut = seconds > scale.high
    said = f"{show_number(seconds, 'seconds')} s, {len(requests)} request{'' if len(requests) == 1 else 's'}"
    drawn = [
        text(LEFT, top + 12, clean(name, 40), "strong"),
        text(RIGHT, top + 12, f"{said}{' →' if cut else ''}", "small", anchor="end"),
    ]
    begin = top = top + 20
    seen = [request for request in requests if request.start < scale.high]
    for author in [*AUTHORS, *sorted({request.author for request in requests} - set(AUTHORS))]:
        lane, height = _lane(author, [request for request in seen if request.author == author], scale, top)
        drawn.append(lane)
        top += height + 3
    if not cut:
        drawn.append(line(scale.place(seconds), begin - 2, scale.place(seconds), top, "mark"))
    return Markup("").join(drawn), top + 12


def _lane(author: str, requests: Sequence[Request], scale: Scale, top: float) -> tuple[Markup, float]:
    """One author's requests; those that ran at once stand below each other."""
    free: list[float] = []
    bars = []
    for request in requests:
        track = next((index for index, end in enumerate(free) if end <= request.start), len(free))
        if track == MOST_TRACKS:
            track = free.index(min(free))
        if track == len(free):
            free.append(request.end)
        free[track] = max(free[track], request.end)
        bars.append(_bar(request, scale, top + 1 + track * TRACK))
    height = TRACK * max(1, len(free))
    back = rect(LEFT, top, RIGHT, top + height, "lane")
    return back + text(LEFT - 6, top + 10, author, "small", anchor="end") + Markup("").join(bars), height


def _bar(request: Request, scale: Scale, top: float) -> Markup:
    class_ = request.author if request.author in AUTHORS else "pair"
    bottom = top + BAR
    kept_until = request.first + (request.end - request.first) * (1 - _discarded(request))
    start, first, kept, end = map(scale.place, (request.start, request.first, kept_until, request.end))
    drawn = [rect(start, top, first, bottom, f"{class_}-wait")] if first > start else []
    if kept > first or end == start:
        drawn.append(rect(first, top, kept, bottom, class_))
    if end > kept:
        drawn += [rect(kept, top, end, bottom, f"{class_}-wait"), hatch(kept, top, end, bottom)]
    if request.speculative:
        drawn.append(rect(start, top, end, bottom, "ahead"))
    return tag("g", hover(_told(request)), *drawn)


def _discarded(request: Request) -> float:
    if request.used is None or request.tokens <= 0:
        return 0.0
    return min(max(1 - request.used / request.tokens, 0.0), 1.0)


def _told(request: Request) -> str:
    said = f"{request.author}, {request.kind}: {request.start:.3f} to {request.end:.3f} s"
    if request.first > request.start:
        said += f", first token after {request.first - request.start:.3f} s"
    if request.tokens:
        said += f", {request.tokens} tokens" + ("" if request.used is None else f", {request.used} used")
    return said + (", speculative" if request.speculative else "")
