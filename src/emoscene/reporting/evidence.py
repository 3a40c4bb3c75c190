"""The report's tables of evidence: what shortcuts reach, what images exaggerate, and methods at the same accuracy.

A figure that could not be had is a sentence in its cell: what is missing, and how to get it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoscene.evaluation.intervals import count_clusters
from emoscene.evaluation.matching import ACCURACY as ACCURACY_KEY
from emoscene.evaluation.matching import CurvePoint, match_accuracy
from emoscene.evaluation.metrics.base import Value
from emoscene.reporting.html import Cell, Quantity, Share
from emoscene.reporting.scores import ACCURACY, ScoreEntry, find_curves
from emoscene.reporting.tables import CHANCE, Table, drop_empty_columns, figure_cell, list_judgements

CALL = "not measured: emoscene evaluate --method {} --out SCORES, with the other words of {}"
SHORTCUTS = {
    "none": CALL,
    "prompt": CALL,
    "colour_filter": CALL.replace("--out", "--data PREPARED --out"),
    "best_of": CALL,
}
"""The methods that learn nothing of an emotion, and what is said of one that was not evaluated."""
MATCHED = "prompt"
"""The method whose accuracy all others are brought to."""
FIGURES = {
    "scene_accuracy": "scene kept",
    "object_accuracy": "object kept",
    "diversity_share": "diversity / real",
    "frechet": "Frechet distance",
    "stereotypy": "stereotypy",
}
"""The figures at matched accuracy, by their names in `draws.npz`."""


def shortcut_table(entries: Sequence[ScoreEntry]) -> Table:
    """Show what is reached without learning an emotion, and what six numbers of colour tell of each method's images.

    Args:
        entries: the scores.

    Returns:
        A row for each shortcut, measured or not, and for every other method; none where only folders of images were
        judged.
    """
    made = [entry for entry in entries if entry.scores.get("method")]
    if not made:
        return [], []
    head = ["method", ACCURACY, "labels shuffled", "read from six numbers", "of real images", "stereotypy"]
    rows: list[list[Cell]] = []
    for name, call in SHORTCUTS.items():
        found = [entry for entry in made if entry.scores["method"] == name]
        rows += [_shortcut_row(entry) for entry in found]
        if not found:
            rows.append([name, call.format(name, made[0].name), *[""] * (len(head) - 2)])
    for entry in made:
        if entry.scores["method"] not in SHORTCUTS:
            rows.append(_shortcut_row(entry))
    return drop_empty_columns(head, rows)


def _shortcut_row(entry: ScoreEntry) -> list[Cell]:
    row: list[Cell] = [entry.name]
    for what in ("emotion_accuracy", "shuffled"):
        row.append(figure_cell(entry.figure_of_judge(what), CHANCE))
    for what in ("six_numbers", "six_numbers_real"):
        row.append(figure_cell(entry.shortcut(what), CHANCE))
    row.append(figure_cell(entry.shortcut("stereotypy"), share=False) or entry.need("stereotypy"))
    return row


def ceiling_table(entries: Sequence[ScoreEntry]) -> Table:
    """Show each judge's reading beside what it reads of real images, and beside what people say of these.

    Args:
        entries: the scores.

    Returns:
        A row for each entry and judge. What lies above the ceiling is called exaggeration.
    """
    head = ["method", ACCURACY, "ceiling", "exaggeration", "KL(votes, reading)", "of real images", "calibration error"]
    rows = []
    for entry, judge, name in list_judgements(entries):
        row: list[Cell] = [name]
        row.append(figure_cell(entry.figure_of_judge("emotion_accuracy", judge), CHANCE))
        row.append(figure_cell(entry.figure_of_judge("ceiling", judge), CHANCE) or entry.need("ceiling"))
        row.append(_exaggeration_cell(entry.figure_of_judge("above_ceiling", judge)))
        row.append(figure_cell(entry.figure_of_judge("votes_kl", judge), share=False) or entry.need("votes_kl"))
        for what in ("votes_kl_real", "calibration_error"):
            row.append(figure_cell(entry.figure_of_judge(what, judge), share=False))
        rows.append(row)
    if not any(any(row[2:]) for row in rows):
        return [], []
    return drop_empty_columns(head, rows)


def _exaggeration_cell(above: Mapping[str, Any] | None) -> Cell:
    if above is None:
        return ""
    if above["value"] <= 0:
        return "none"
    return Quantity(above["value"], above["low"], above["high"])


def matched_table(entries: Sequence[ScoreEntry]) -> Table:
    """Compare methods at the emotion accuracy of `prompt`, each between two of its emotion scales.

    Args:
        entries: the scores.

    Returns:
        A row for each method of which there are several emotion scales; none without `prompt`.
    """
    target = next((entry for entry in entries if _is_target(entry)), None)
    if target is None:
        return [], []
    head = ["method", f"emotion scale at {MATCHED}'s accuracy", *FIGURES.values()]
    rows = [_matched_row(f"{MATCHED}, which the others are brought to", _target_values(target))]
    for name, values in match_entries(entries, target).items():
        rows.append(_matched_row(name, values))
    if len(rows) == 1:
        return [], []
    return drop_empty_columns(head, rows)


def _is_target(entry: ScoreEntry) -> bool:
    return entry.scores.get("method") == MATCHED and entry.scores.get("emotion_scale") == 1 and bool(entry.draws)


def _target_values(entry: ScoreEntry) -> dict[str, Mapping[str, Any] | None]:
    values: dict[str, Mapping[str, Any] | None] = {"emotion_scale": {"value": 1.0, "low": None, "high": None}}
    for name in FIGURES:
        values[name] = entry.metric(name) or entry.shortcut(name)
    return values


def match_entries(entries: Sequence[ScoreEntry], target: ScoreEntry) -> dict[str, dict[str, Mapping[str, Any] | None]]:
    """Bring methods to the emotion accuracy of another entry.

    Args:
        entries: the scores; those of the base alone stand for the emotion scale 0.
        target: the entry whose accuracy is matched, by its first judge.

    Returns:
        By method, the emotion scale and its figures there: value, low and high; None where the accuracy is not reached.
    """
    key = f"{ACCURACY_KEY} {target.judge}"
    matched = {}
    for name, values in find_curves(entries, "emotion_scale").items():
        points = [_curve_point(scale, entry) for scale, entry in values]
        _, first = values[0]
        alone = next((entry for entry in entries if _is_base_of(entry, first)), None)
        if alone is not None and values[0][0] > 0:
            points.insert(0, _curve_point(0.0, alone))
        if not all(key in point.draws for point in points) or not _compares(first, target):
            continue
        prompts, seeds = zip(*((row["prompt"], row["seed"]) for row in first.rows), strict=True)
        clusters = count_clusters(np.array(prompts), np.array(seeds))
        found = match_accuracy(points, target.draws[key], clusters, target.judge, tuple(FIGURES))
        matched[name] = {figure: _plain_figure(value) for figure, value in found.items()}
    return matched


def _curve_point(scale: float, entry: ScoreEntry) -> CurvePoint:
    counts = {}
    for name in FIGURES:
        figure = entry.metric(name)
        if figure is not None:
            counts[name] = figure["n"]
    return CurvePoint(scale, entry.draws, counts)


def _is_base_of(entry: ScoreEntry, other: ScoreEntry) -> bool:
    return entry.scores.get("method") == "none" and bool(entry.draws) and _compares(entry, other)


def _compares(one: ScoreEntry, other: ScoreEntry) -> bool:
    """Whether two entries have the same base, prompts and seeds, and the same judge as the first."""
    same = all(one.scores.get(key) == other.scores.get(key) for key in ("base", "prompts", "seeds"))
    return same and one.mark(one.judge) == other.mark(other.judge)


def _plain_figure(value: Value) -> Mapping[str, Any] | None:
    figure = value.to_dict()
    if figure["value"] is None:
        return None
    return figure


def _matched_row(name: str, values: Mapping[str, Mapping[str, Any] | None]) -> list[Cell]:
    scale = values.get("emotion_scale")
    if scale is None:
        return [name, "not between its emotion scales: evaluate smaller or larger ones", *[""] * len(FIGURES)]
    row: list[Cell] = [name, Quantity(scale["value"], scale["low"], scale["high"])]
    for figure in FIGURES:
        found = values.get(figure)
        if found is None:
            row.append("")
        elif figure.endswith("accuracy"):
            row.append(Share(found["value"], found["low"], found["high"]))
        else:
            row.append(Quantity(found["value"], found["low"], found["high"]))
    return row
