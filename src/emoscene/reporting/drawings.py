"""The drawings of the report: accuracy against costs and along settings, confusion, and how sure judges are.

Each function takes the entries of a report and returns a row of drawings; it is empty where the entries lack the
figures. `figures.py` makes the SVG.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import methodcaller
from typing import Any

from markupsafe import Markup

from emoscene.core.taxonomy import EMOTIONS
from emoscene.reporting.figures import Point, draw_lines, draw_matrix, draw_scatter, legend
from emoscene.reporting.scores import ACCURACY, ScoreEntry, find_curves, setting_label, unique
from emoscene.reporting.tables import CURVED

AXES = ("emotion_scale", "classifier_scale", "guidance.classifier_scale", "guidance_scale")
"""The settings along which curves are drawn."""
COSTS = {
    "bytes": ("file size, MB", 1e-6),
    "training_images": ("training images, thousands", 1e-3),
    "training_seconds": ("training, minutes", 1 / 60),
    "seconds_per_image": ("seconds per image", 1.0),
}
"""The costs that are drawn: what the axis says, and the unit in which it counts."""
BETTER = "Up and to the left is better; in the last drawing, up and to the right."
GAP = "Where the guide's own verdict rises above the judges', guidance fools the guide instead of adding the emotion."
FRONT = (
    "A line joins a method's emotion scales. To the right more content is kept, or the colours say more of the emotion."
)
SIDES = "Rows are the emotion asked for, columns what the judge saw, in per cent."


FRONTS: dict[str, Callable[[ScoreEntry], Mapping[str, Any] | None]] = {
    "scene kept": methodcaller("metric", "scene_accuracy"),
    "stereotypy": methodcaller("shortcut", "stereotypy"),
}
"""What emotion is drawn against: the words of the axis, and how an entry's figure is found."""


@dataclass(frozen=True)
class DrawingRow:
    """Drawings side by side, their common legend and a caption."""

    drawings: Sequence[Markup]
    legend: str = ""
    caption: str = ""


def draw_costs(entries: Sequence[ScoreEntry]) -> DrawingRow:
    """Draw accuracy against what it cost, and against the scene.

    Args:
        entries: the scores.

    Returns:
        A drawing for each cost that any entry knows, and one for the scene.
    """
    names = [entry.name for entry in entries]
    drawings = []
    for cost, (words, unit) in COSTS.items():
        points = []
        for entry in entries:
            value, accuracy = entry.cost(cost), entry.figure_of_judge("emotion_accuracy")
            if value is not None and accuracy is not None:
                points.append(make_point(entry.name, unit * value, accuracy))
        if points:
            drawings.append(draw_scatter(points, names, words, ACCURACY))
    points = []
    for entry in entries:
        scene, accuracy = entry.metric("scene_accuracy"), entry.figure_of_judge("emotion_accuracy")
        if scene is not None and accuracy is not None:
            points.append(make_point(entry.name, scene["value"], accuracy, scene["low"], scene["high"]))
    if points:
        drawings.append(draw_scatter(points, names, "scene kept", ACCURACY, percent=True))
    return DrawingRow(drawings, legend(names), BETTER)


def draw_front(entries: Sequence[ScoreEntry]) -> DrawingRow:
    """Draw emotion against content and against stereotypy for all methods, and join the emotion scales of each.

    Args:
        entries: the scores.

    Returns:
        A drawing for the content kept and one for the stereotypy, each where any entry knows it; none where only one
        entry does.
    """
    lines = join_scales(entries)
    drawings = []
    for words, find in FRONTS.items():
        series: dict[str, list[Point]] = {}
        for name, line in lines.items():
            for entry in line:
                across, up = find(entry), entry.figure_of_judge("emotion_accuracy")
                if across is not None and up is not None:
                    point = make_point(entry.name, across["value"], up, across["low"], across["high"])
                    series.setdefault(name, []).append(point)
        if sum(map(len, series.values())) > 1:
            drawings.append(draw_lines(series, list(lines), words, ACCURACY))
    if not drawings:
        return DrawingRow([])
    return DrawingRow(drawings, legend(list(lines)), FRONT)


def join_scales(entries: Sequence[ScoreEntry]) -> dict[str, list[ScoreEntry]]:
    """Group entries that differ in the emotion scale alone.

    Args:
        entries: the scores.

    Returns:
        By method, its entries from the least scale up; an entry without others is alone under its own name.
    """
    lines: dict[str, list[ScoreEntry]] = {}
    for name, values in find_curves(entries, "emotion_scale").items():
        lines[name] = [entry for _, entry in values]
    joined = [entry.folder for entry in chain.from_iterable(lines.values())]
    for entry in entries:
        if entry.folder not in joined:
            lines.setdefault(entry.name, []).append(entry)
    return lines


def make_point(
    name: str, x: float, figure: Mapping[str, Any], left: float | None = None, right: float | None = None
) -> Point:
    """Make a point out of a figure of `scores.json`.

    Args:
        name: which curve or method it is of.
        x: its place across.
        figure: value, low and high: its height and the interval of that.
        left: where its interval across begins, if it has one.
        right: where that ends.

    Returns:
        The point.
    """
    return Point(name, x, figure["value"], figure["low"], figure["high"], left, right)


def draw_curves(entries: Sequence[ScoreEntry]) -> DrawingRow:
    """Draw accuracy and scene along each setting of which there are several values.

    Args:
        entries: the scores.

    Returns:
        Two drawings for each setting; none where no two scores differ in a setting alone.
    """
    drawings: list[Markup] = []
    names: list[str] = []
    for axis in AXES:
        found = find_curves(entries, axis)
        names = unique([*names, *found])
        accuracy: dict[str, list[Point]] = {}
        scene: dict[str, list[Point]] = {}
        for name, values in found.items():
            for x, entry in values:
                _add_point(accuracy.setdefault(name, []), entry.name, x, entry.figure_of_judge("emotion_accuracy"))
                _add_point(scene.setdefault(name, []), entry.name, x, entry.metric("scene_accuracy"))
        for up, series in ((ACCURACY, accuracy), ("scene kept", scene)):
            curves = {name: points for name, points in series.items() if len(points) > 1}
            if curves:
                drawings.append(draw_lines(curves, names, setting_label(axis), up))
    return DrawingRow(drawings, legend(names))


def _add_point(points: list[Point], name: str, x: float, figure: Mapping[str, Any] | None) -> None:
    """Add a figure of `scores.json` to a curve; nothing where there is none."""
    if figure is not None:
        points.append(make_point(name, x, figure))


def draw_confusion(entries: Sequence[ScoreEntry]) -> DrawingRow:
    """Draw what each judge saw for each emotion asked for.

    Args:
        entries: the scores.

    Returns:
        A matrix an entry and judge.
    """
    drawings = []
    for entry in entries:
        for judge, figures in entry.scores["judges"].items():
            if "confusion" in figures:
                drawings.append(draw_matrix(figures["confusion"], EMOTIONS, f"{entry.name}, by {judge}"))
    return DrawingRow(drawings, caption=SIDES)


def draw_reliability(entries: Sequence[ScoreEntry]) -> DrawingRow:
    """Draw how sure each judge is of real images, against how often it is right.

    Args:
        entries: the scores; the first that has a judge's curve gives it.

    Returns:
        One drawing with a curve a judge; none where no judge has one.
    """
    series: dict[str, list[Point]] = {}
    for entry in entries:
        for judge, figures in entry.scores["judges"].items():
            if "reliability" in figures and judge not in series:
                series[judge] = [Point(judge, x, y, y, y) for x, y, _ in figures["reliability"]]
    if not series:
        return DrawingRow([])
    names = list(series)
    drawing = draw_lines(series, names, "how sure the judge is", "how often it is right", ideal=True)
    return DrawingRow([drawing], legend(names))


def draw_guidance(entries: Sequence[ScoreEntry]) -> DrawingRow:
    """Draw the guide's own verdict beside the judges' over the guidance scale.

    Args:
        entries: the scores.

    Returns:
        One drawing with a curve for each method and each judge of it; none without scores at several scales.
    """
    series: dict[str, list[Point]] = {}
    for axis in sorted(CURVED):
        for name, values in find_curves(entries, axis).items():
            for x, entry in values:
                verdicts = {"the guide itself": entry.metric("guide_accuracy")}
                for judge in entry.scores["judges"]:
                    verdicts[judge] = entry.figure_of_judge("emotion_accuracy", judge)
                for by, figure in verdicts.items():
                    line = f"{name}, by {by}"
                    _add_point(series.setdefault(line, []), line, x, figure)
    series = {line: points for line, points in series.items() if points}
    if not series:
        return DrawingRow([])
    names = list(series)
    return DrawingRow([draw_lines(series, names, "guidance scale", ACCURACY)], legend(names), GAP)
