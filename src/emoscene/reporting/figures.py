"""Drawings in SVG, for the page and for paper: points with their intervals, curves, and matrices of counts.

Each method has a shape and a colour; the colours are those of Okabe and Ito (2008), which the colour-blind tell
apart. Places are computed here, in a frame of 320 x 230 units; the elements are in
`templates/*.svg.j2`, and the look of lines is in `templates/page.html.j2`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

from markupsafe import Markup

from emoscene.evaluation.intervals import interval_text
from emoscene.reporting.html import render_html

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
    low: float | None
    high: float | None
    left: float | None = None
    right: float | None = None


@dataclass(frozen=True)
class Mark:
    """The shape of a method at a place on the paper; bars: the path of its intervals; words: what a pointer reads."""

    shape: str
    colour: str
    x: float = 0
    y: float = 0
    bars: str = ""
    words: str = ""


@dataclass(frozen=True)
class Curve:
    """Marks, and the path that joins them; no path for points that are no curve."""

    marks: Sequence[Mark]
    path: str = ""
    colour: str = ""


Tick = tuple[float, float, str]
"""Where a tick lies on the paper, and what stands at it."""


@dataclass(frozen=True)
class Frame:
    """From what to what a drawing goes, and what its axes say; percent: x is a share."""

    across: str
    up: str
    x: tuple[float, float]
    y: tuple[float, float] = (0.0, 1.0)
    percent: bool = False

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Find where a point lies on the paper.

        Args:
            x: a value within `self.x`.
            y: a value within `self.y`.

        Returns:
            The distances from the left and from the top, in units to one digit.
        """
        right = LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDE - LEFT - RIGHT)
        down = HIGH - BELOW - (y - self.y[0]) / (self.y[1] - self.y[0]) * (HIGH - TOP - BELOW)
        return round(right, 1), round(down, 1)

    def ticks_up(self) -> list[Tick]:
        """List the ticks of the vertical axis.

        Returns:
            A tick for each round number, labelled in per cent.
        """
        ticks = []
        for value in axis_ticks(*self.y):
            x, y = self.place(self.x[0], value)
            ticks.append((x, y, f"{value:.0%}"))
        return ticks

    def ticks_across(self) -> list[Tick]:
        """List the ticks of the horizontal axis.

        Returns:
            A tick for each round number, labelled in per cent where `percent` says so.
        """
        form = ",g"
        if self.percent:
            form = ".0%"
        ticks = []
        for value in axis_ticks(*self.x):
            x, y = self.place(value, self.y[0])
            ticks.append((x, y, format(value, form)))
        return ticks


def axis_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Choose round numbers between two.

    Args:
        low: the smaller bound.
        high: the larger bound.
        count: about how many are wanted.

    Returns:
        Multiples of 1, 2, 2.5 or 5 times a power of ten, from low to high.
    """
    rough = (high - low) / count
    unit = 10 ** math.floor(math.log10(rough))
    step = 10 * unit
    for factor in (5, 2.5, 2, 1):
        if factor * unit >= rough * 0.999:
            step = factor * unit
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def legend(names: Sequence[str]) -> Markup:
    """Draw which shape and colour belongs to which name.

    Args:
        names: the names, in the order of their numbers.

    Returns:
        A list in HTML.
    """
    marks = map(make_mark, range(len(names)))
    return render_html("legend.html.j2", entries=zip(names, marks, strict=True))


def series_colour(number: int) -> str:
    """Choose a colour.

    Args:
        number: which method, from 0.

    Returns:
        A colour as #rrggbb; past the eighth, a shape comes again in another colour.
    """
    return COLOURS[(number + number // len(SHAPES)) % len(COLOURS)]


def make_mark(number: int, x: float = 0, y: float = 0, bars: str = "", words: str = "") -> Mark:
    """Make the mark of a method.

    Args:
        number: which method, from 0; it decides shape and colour.
        x: the distance from the left, in units.
        y: the distance from the top, in units.
        bars: the path of its intervals.
        words: what it says when it is pointed at.

    Returns:
        The mark.
    """
    return Mark(SHAPES[number % len(SHAPES)], series_colour(number), x, y, bars, words)


def draw_mark(number: int, x: float = 0, y: float = 0) -> Markup:
    """Draw the mark of a method.

    Args:
        number: which method, from 0.
        x: the distance from the left, in units.
        y: the distance from the top, in units.

    Returns:
        An element of SVG.
    """
    return render_html("mark.svg.j2", mark=make_mark(number, x, y))


def draw_scatter(points: Sequence[Point], names: Sequence[str], across: str, up: str, percent: bool = False) -> Markup:
    """Draw points with their intervals.

    Args:
        points: the points, at least one; each name must be one of `names`.
        names: all methods, whose order decides shapes and colours.
        across: what the horizontal axis says.
        up: what the vertical axis says; it goes from 0 to 100 %.
        percent: whether x is a share; else the axis goes from 0 to a little past the largest.

    Returns:
        An SVG.
    """
    largest = max(points, key=attrgetter("x")).x
    span = (0.0, 1.08 * max(largest, 1e-9))
    if percent:
        span = (0.0, 1.0)
    frame = Frame(across, up, span, percent=percent)
    marks = [place_mark(frame, point, names.index(point.name)) for point in points]
    return _draw_plot(frame, [Curve(marks)])


def draw_lines(
    series: Mapping[str, Sequence[Point]], names: Sequence[str], across: str, up: str, ideal: bool = False
) -> Markup:
    """Draw curves with their intervals.

    Args:
        series: the points of each curve, by its name.
        names: all methods, whose order decides shapes and colours.
        across: what the horizontal axis says.
        up: what the vertical axis says; it goes from 0 to 100 %.
        ideal: whether x is a share too, and the diagonal is drawn on which both axes agree.

    Returns:
        An SVG.
    """
    frame = Frame(across, up, (0.0, 1.0), percent=True)
    if not ideal:
        frame = Frame(across, up, _span_of(series))
    curves = []
    for name, points in series.items():
        number = names.index(name)
        marks = [place_mark(frame, point, number) for point in points]
        places = [f"{mark.x} {mark.y}" for mark in marks]
        curves.append(Curve(marks, "M" + "L".join(places), series_colour(number)))
    diagonal = ""
    if ideal:
        (left, bottom), (right, top) = frame.place(0, 0), frame.place(1, 1)
        diagonal = f"M{left} {bottom}L{right} {top}"
    return _draw_plot(frame, curves, diagonal)


def draw_matrix(counts: Sequence[Sequence[float]], names: Sequence[str], title: str) -> Markup:
    """Draw a matrix of counts, each row in per cent of its sum.

    Args:
        counts: [K, K]; rows were asked, columns were seen.
        names: the K names of rows and columns.
        title: what stands above it.

    Returns:
        An SVG.
    """
    shares = []
    for row in counts:
        total = sum(row) or 1.0
        shares.append([count / total for count in row])
    return render_html("matrix.svg.j2", shares=shares, names=names, title=title)


def place_mark(frame: Frame, point: Point, number: int) -> Mark:
    """Put a point on the paper, its intervals cut at the frame's edges.

    Args:
        frame: the frame.
        point: the point.
        number: which method it is of, from 0.

    Returns:
        The mark.
    """
    x, y = frame.place(point.x, point.y)
    bars = ""
    if point.low is not None and point.high is not None:
        _, top = frame.place(point.x, _clamp(point.high, frame.y))
        _, bottom = frame.place(point.x, _clamp(point.low, frame.y))
        bars = f"M{x} {top}V{bottom}"
    if point.left is not None and point.right is not None:
        left, _ = frame.place(_clamp(point.left, frame.x), point.y)
        right, _ = frame.place(_clamp(point.right, frame.x), point.y)
        bars += f"M{left} {y}H{right}"
    words = f"{point.name}: {point.y:.1%}{interval_text(point.low, point.high, '.1%')}"
    return make_mark(number, x, y, bars, words)


def _clamp(value: float, span: tuple[float, float]) -> float:
    return max(span[0], min(span[1], value))


def _span_of(series: Mapping[str, Sequence[Point]]) -> tuple[float, float]:
    """From the least x to the greatest; 1 wide where they are one."""
    xs = list(map(attrgetter("x"), chain.from_iterable(series.values())))
    low, high = min(xs), max(xs)
    if high == low:
        high = low + 1
    return low, high


def _draw_plot(frame: Frame, curves: Sequence[Curve], ideal: str = "") -> Markup:
    return render_html(
        "plot.svg.j2",
        frame=frame,
        curves=curves,
        ideal=ideal,
        origin=frame.place(frame.x[0], frame.y[0]),
        width=WIDE,
        height=HIGH,
        left=LEFT,
        right=WIDE - RIGHT,
    )
