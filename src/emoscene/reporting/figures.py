"""Drawings in SVG, for the page and for paper: points with their intervals, curves, and matrices of counts.

A method is told by its shape as well as its colour; the colours are those of Okabe and Ito (2008), which the
colour-blind tell apart. Everything is drawn in a frame of 320 x 230 units; the look of lines is in `page.html`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDE, HIGH = 320, 230
LEFT, RIGHT, TOP, BELOW = 46, 12, 26, 40
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#8c564b")
SHAPES = (
    "M-4 0A4 4 0 1 0 4 0A4 4 0 1 0 -4 0Z",
    "M-3.6 -3.6H3.6V3.6H-3.6Z",
    "M0 -4.8L4.6 3.4H-4.6Z",
    "M0 -5.2L5.2 0L0 5.2L-5.2 0Z",
    "M0 4.8L4.6 -3.4H-4.6Z",
    "M-1.4 -4.8H1.4V-1.4H4.8V1.4H1.4V4.8H-1.4V1.4H-4.8V-1.4H-1.4Z",
    "M-4.8 -2.4L0 -4.8L4.8 -2.4V2.4L0 4.8L-4.8 2.4Z",
    "M-5 -3H5L3 3H-3Z",
)


@dataclass(frozen=True)
class Point:
    """A place in a drawing, with the interval of its height and perhaps of its breadth."""

    name: str
    x: float
    y: float
    low: float
    high: float
    left: float | None = None
    right: float | None = None


@dataclass(frozen=True)
class Frame:
    """From what to what a drawing goes, and what its axes say."""

    across: str
    up: str
    x: tuple[float, float]
    y: tuple[float, float] = (0.0, 1.0)
    percent: bool = False

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point lies on the paper."""
        right = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDE - LEFT - RIGHT)
        down = HIGH - BELOW - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HIGH - TOP - BELOW)
        return round(right, 1), round(down, 1)

    def svg(self) -> str:
        """The axes, their ticks and words."""
        parts = [f'<text class="head" x="{LEFT}" y="14">{escape(self.up)}</text>']
        for tick in axis_ticks(*self.y):
            x, y = self.place(self.x[0], tick)
            parts.append(f'<path class="grid" d="M{x} {y}H{WIDE - RIGHT}"/>')
            parts.append(f'<text x="{x - 6}" y="{y + 4}" text-anchor="end">{tick:.0%}</text>')
        for tick in axis_ticks(*self.x):
            x, y = self.place(tick, self.y[0])
            words = f"{tick:.0%}" if self.percent else f"{tick:,g}"
            parts.append(f'<path class="axis" d="M{x} {y}v4"/>')
            parts.append(f'<text x="{x}" y="{y + 17}" text-anchor="middle">{words}</text>')
        x, y = self.place(self.x[0], self.y[0])
        parts.append(f'<path class="axis" d="M{x} {y}H{WIDE - RIGHT}"/>')
        middle = (LEFT + WIDE - RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HIGH - 5}" text-anchor="middle">{escape(self.across)}</text>')
        return "".join(parts)


def axis_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two, about `count` of them."""
    rough = (high - low) / count
    unit = 10 ** math.floor(math.log10(rough))
    step = unit * next(one for one in (1, 2, 2.5, 5, 10) if one * unit >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def legend(names: Sequence[str]) -> str:
    """Which shape and colour belongs to which name."""
    lines = (
        f'<li><svg viewBox="-6 -6 12 12" aria-hidden="true">{draw_mark(number)}</svg>{escape(name)}</li>'
        for number, name in enumerate(names)
    )
    return f'<ul class="key">{"".join(lines)}</ul>'


def draw_mark(number: int, x: float = 0, y: float = 0) -> str:
    """The mark of the method of this number."""
    shape = SHAPES[number % len(SHAPES)]
    return f'<path d="{shape}" fill="{series_colour(number)}" transform="translate({x} {y})"/>'


def series_colour(number: int) -> str:
    """The colour of the method of this number; past the eighth, a shape comes again in another colour."""
    return COLOURS[(number + number // len(SHAPES)) % len(COLOURS)]


def draw_scatter(points: Sequence[Point], names: Sequence[str], across: str, up: str, percent: bool = False) -> str:
    """Points with their intervals; across from 0 to the largest, or to 100 %."""
    largest = max([point.x for point in points] + [1e-9])
    frame = Frame(across, up, (0.0, 1.0 if percent else 1.08 * largest), percent=percent)
    return _drawing(frame, [_point(frame, point, names.index(point.name)) for point in points])


def draw_lines(
    series: Mapping[str, Sequence[Point]], names: Sequence[str], across: str, up: str, ideal: bool = False
) -> str:
    """Curves with their intervals; ideal: the diagonal on which both axes agree, and both go from 0 to 100 %."""
    xs = [point.x for points in series.values() for point in points]
    low, high = (0.0, 1.0) if ideal else (min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1)
    frame, parts = Frame(across, up, (low, high), percent=ideal), []
    if ideal:
        (x, y), (right, top) = frame.place(0, 0), frame.place(1, 1)
        parts.append(f'<path class="ideal" d="M{x} {y}L{right} {top}"/>')
    for name, points in series.items():
        number = names.index(name)
        way = "L".join("{} {}".format(*frame.place(point.x, point.y)) for point in points)
        parts.append(f'<path class="way" d="M{way}" style="color:{series_colour(number)}"/>')
        parts += [_point(frame, point, number) for point in points]
    return _drawing(frame, parts)


def draw_matrix(counts: Sequence[Sequence[float]], names: Sequence[str], title: str) -> str:
    """A matrix of counts, each row in per cent of its sum: rows were asked, columns were seen."""
    size, left, top = 30, 78, 92
    parts = [f'<text class="head" x="{left}" y="12">{escape(title)}</text>']
    for number, name in enumerate(names):
        middle = size * (number + 0.5)
        parts.append(f'<text x="{left - 6}" y="{top + middle + 4}" text-anchor="end">{escape(name)}</text>')
        turned = f'transform="translate({left + middle + 4} {top - 6}) rotate(-55)"'
        parts.append(f"<text {turned}>{escape(name)}</text>")
    for down, row in enumerate(counts):
        total = sum(row)
        for right, count in enumerate(row):
            share = count / total if total else 0.0
            x, y = left + size * right, top + size * down
            box = f'x="{x}" y="{y}" width="{size}" height="{size}"'
            parts.append(f'<rect class="cell" {box} fill-opacity="{share:.2f}"/>')
            if share >= 0.005:
                deep = ' class="count deep"' if share > 0.6 else ' class="count"'
                centre = f'x="{x + size / 2}" y="{y + size / 2 + 4}" text-anchor="middle"'
                parts.append(f"<text{deep} {centre}>{100 * share:.0f}</text>")
    wide, high = left + size * len(names) + 40, top + size * len(names) + 4
    return _svg("".join(parts), wide, high, f"{title}: rows asked, columns seen, per cent")


def _point(frame: Frame, point: Point, number: int) -> str:
    x, y = frame.place(point.x, point.y)
    top, bottom = (frame.place(point.x, max(frame.y[0], min(frame.y[1], edge)))[1] for edge in (point.high, point.low))
    bars = f"M{x} {top}V{bottom}"
    if point.left is not None and point.right is not None:
        edges = (frame.place(min(frame.x[1], max(frame.x[0], edge)), point.y)[0] for edge in (point.left, point.right))
        bars += "M{} {y}H{}".format(*edges, y=y)
    told = f"{point.name}: {point.y:.1%} ({point.low:.1%} to {point.high:.1%})"
    bar = f'<path class="bar" d="{bars}" style="color:{series_colour(number)}"/>'
    return f"<g><title>{escape(told)}</title>{bar}{draw_mark(number, x, y)}</g>"


def _drawing(frame: Frame, parts: Sequence[str]) -> str:
    return _svg(frame.svg() + "".join(parts), WIDE, HIGH, f"{frame.up} against {frame.across}")


def _svg(inside: str, wide: float, high: float, words: str) -> str:
    label = escape(words, quote=True)
    return f'<svg class="plot" viewBox="0 0 {wide} {high}" role="img" aria-label="{label}">{inside}</svg>'
