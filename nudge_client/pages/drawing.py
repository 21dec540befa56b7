"""Small pieces of SVG, every text and attribute escaped; and the scales that place values on a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from markupsafe import Markup, escape

FAR = 6.0  # a value this many times the median one would flatten all others: it is cut short


def tag(name: str, *children: str, **attributes: str | float | None) -> Markup:
    """An element. Attributes: `class_` for class, `_` for `-`, None for absent; numbers get two decimals at most."""
    given = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, Markup("").join(escape(child) for child in children))  # noqa: S704


def _value(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def picture(width: float, height: float, label: str, *children: str) -> Markup:
    """A whole picture that scales with its box; `label` is what a screen reader says."""
    # Spelled apart: HTML takes viewBox in this case only.
    box = f"0 0 {_value(width)} {_value(height)}"
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">{}</svg>').format(
        box, label, Markup("").join(escape(child) for child in children)
    )


def rect(left: float, top: float, right: float, bottom: float, class_: str, *children: str) -> Markup:
    """A rectangle by its edges; never thinner than can be seen."""
    return tag("rect", *children, x=left, y=top, width=max(right - left, 0.75), height=bottom - top, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def text(x: float, y: float, said: str, class_: str = "", *, anchor: str = "start") -> Markup:
    return tag("text", said, x=x, y=y, class_=class_ or None, text_anchor=anchor)


def hover(said: str) -> Markup:
    """What the browser shows over an element, without a script."""
    return tag("title", said)


def hatch(left: float, top: float, right: float, bottom: float) -> Markup:
    """Slanted strokes over a rectangle: lines, as a fill pattern would need a reference."""
    height, step = bottom - top, 5.0
    strokes = []
    start = math.floor(left / step) * step - height
    while start < right:
        begin, end = max(start, left), min(start + height, right)
        if begin < end:
            strokes.append(f"M{begin:.1f} {bottom - (begin - start):.1f}L{end:.1f} {bottom - (end - start):.1f}")
        start += step
    return tag("path", d="".join(strokes), class_="hatch")


def legend(x: float, y: float, entries: Sequence[tuple[str, str]]) -> Markup:
    """One line of (class, name); the class `hatch` draws strokes, one that ends with `-line` a line."""
    parts = []
    for class_, name in entries:
        if class_.endswith("-line"):
            parts.append(line(x, y - 4, x + 16, y - 4, class_))
        else:
            parts.append(rect(x, y - 9, x + 16, y + 1, "lane" if class_ == "hatch" else class_))
        if class_ == "hatch":
            parts.append(hatch(x, y - 9, x + 16, y + 1))
        parts.append(text(x + 21, y, name, "small"))
        x += 37 + 8 * len(name)  # room for the larger type of narrow screens
    return Markup("").join(parts)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values low..high placed on left..right, linearly or by their logarithms. What lies outside is put on the edge."""

    low: float
    high: float
    left: float
    right: float
    log: bool = False

    def place(self, value: float) -> float:
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.left + share * (self.right - self.left)

    def ticks(self) -> list[float]:
        """Three to seven round values."""
        if not self.log:
            step = _round_step((self.high - self.low) / 4)
            count = math.floor((self.high - self.low) / step + 1e-9)
            return [self.low + step * index for index in range(count + 1)]
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, math.ceil((last - first) / 6))
        heads = (1, 2, 5) if self.high / self.low < 300 else (1,)
        # Counted from one, so that the line at 1 always has its number.
        found = [head * 10.0**power for power in range(first, last + 1) if power % every == 0 for head in heads]
        return [value for value in found if self.low * 0.999 <= value <= self.high * 1.001]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(head * power for head in (1, 2, 2.5, 5, 10) if head * power >= least * 0.999)


def from_zero(values: Sequence[float], left: float, right: float) -> Scale:
    """A linear scale from 0 over the values, without those so far out that the others would vanish."""
    positive = [value for value in values if value > 0] or [1.0]
    kept = [value for value in positive if value <= FAR * median(positive)]
    # Of two values the far one lifts the median itself.
    if len(positive) == 2 and max(positive) > FAR * min(positive):
        kept = [min(positive)]
    return Scale(0.0, max(max(kept) * 1.05, 1e-9), left, right)


def around_one(values: Sequence[float], left: float, right: float) -> Scale:
    """A scale for ratios: linear from 0 while all are near, logarithmic once one is four times the base or more."""
    if max(values, default=1.0) < 4:
        return Scale(0.0, max(max(values, default=1.0), 1.0) * 1.08, left, right)
    low = min([value for value in values if value > 0] + [1.0])
    return Scale(max(low * 0.85, 1e-6), max(values) * 1.15, left, right, log=True)
