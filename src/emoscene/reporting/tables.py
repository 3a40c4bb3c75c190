"""The report as tables: the headline, the paired differences, and where each score comes from.

A table here is its head and its rows of cells, as the macro `table` of the page takes them. An empty cell is "".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emoscene.core.taxonomy import EMOTIONS
from emoscene.evaluation.intervals import interval_text
from emoscene.reporting.comparisons import Comparison
from emoscene.reporting.html import Cell, Quantity, Share
from emoscene.reporting.scores import ACCURACY, ScoreEntry, accuracy_of, judge_names, unique

Table = tuple[list[str], list[list[Cell]]]
CHANCE = 1 / len(EMOTIONS)
SIGNIFICANT = 0.05  # a corrected p below it orders a pair
PEOPLE = "people"  # the judge of a study
FACES = "portrait"  # the scene that is a face
METRICS = {
    "scene_accuracy": "scene kept",
    "object_accuracy": "object kept",
    "frechet": "Frechet distance",
    "diversity_share": "diversity / real",
    "ssim": "SSIM to the original",
}
"""The metrics of the headline, where any entry has them; all others stand in the CSV."""
CURVED = {"classifier_scale", "guidance.classifier_scale"}
"""The settings that are a guidance scale."""
COSTS = {
    "trainable": "trainable parameters",
    "bytes": "file size, MB",
    "training_images": "training images",
    "training_seconds": "training, s",
    "seconds_per_image": "s per image",
    "peak_memory_mb": "peak memory, MB",
}


def headline_table(entries: Sequence[ScoreEntry]) -> Table:
    """Put quality with its intervals beside what it cost.

    Args:
        entries: the scores.

    Returns:
        A row an entry, and one of real images where a judge read some; a column for what any entry has.
    """
    judges = judge_names(entries)
    metrics = []
    for name in METRICS:
        if any(entry.metric(name) for entry in entries):
            metrics.append(name)

    by_people = any(entry.figure_of_judge("preference", PEOPLE) for entry in entries)
    if by_people:  # who has no accuracy then needs no column
        judges = [
            judge for judge in judges if any(entry.figure_of_judge("emotion_accuracy", judge) for entry in entries)
        ]
    head = ["method"]
    for judge in judges:
        head.append(f"{ACCURACY} ({judge})" if len(judges) > 1 else ACCURACY)
    if by_people:
        head.append(f"preferred ({PEOPLE})")
    head += map(METRICS.__getitem__, metrics)
    head += COSTS.values()

    rows = []
    for entry in entries:
        row = [entry.name, *_judge_cells(entry, "emotion_accuracy", judges)]
        if by_people:
            row.append(figure_cell(entry.figure_of_judge("preference", PEOPLE), 0.5))
        for name in metrics:
            row.append(figure_cell(entry.metric(name), share=name.endswith("accuracy")))
        for name in COSTS:
            row.append(_format_cost(name, entry.cost(name)))
        rows.append(row)
    for entry in entries:
        if entry.figure_of_judge("ceiling"):
            row = ["real images, held out", figure_cell(entry.figure_of_judge("ceiling"), CHANCE)]
            row += _judge_cells(entry, "ceiling", judges[1:])
            rows.append(row + [""] * (by_people + len(metrics) + len(COSTS)))
            break
    return head, rows


def _judge_cells(entry: ScoreEntry, what: str, judges: Sequence[str]) -> list[Cell]:
    """A cell with a share for each judge."""
    return [figure_cell(entry.figure_of_judge(what, judge), CHANCE) for judge in judges]


def guide_table(entries: Sequence[ScoreEntry]) -> Table:
    """Put each guide's own verdict on its images beside the judge's.

    Args:
        entries: the scores.

    Returns:
        A row for each entry whose guide read its images, with the paired gap.
    """
    rows = []
    for entry in entries:
        gap, scale = entry.metric("guide_gap"), entry.setting(CURVED)
        if gap is None:
            continue
        row: list[Cell] = [entry.name]
        if scale is not None:
            row.append(f"{scale:g}")
        row.append(figure_cell(entry.metric("guide_accuracy"), CHANCE))
        row.append(figure_cell(entry.figure_of_judge("emotion_accuracy"), CHANCE))
        row.append(figure_cell(gap, share=False))
        rows.append(row)
    return ["method", "guidance scale", "by the guide itself", "by the judge", "gap"], rows


def portrait_table(entries: Sequence[ScoreEntry]) -> Table:
    """Put faces beside scenes: the emotion accuracy by each judge.

    Args:
        entries: the scores.

    Returns:
        A row for each entry that has portraits.
    """
    judges = judge_names(entries)
    head = ["method"]
    for judge in judges:
        head += [f"portraits, by {judge}", f"scenes, by {judge}"]
    rows = []
    for entry in entries:
        portraits, scenes = [], []
        for row in entry.rows:
            if row["scene"] == FACES:
                portraits.append(row)
            elif row["scene"]:
                scenes.append(row)
        if not portraits:
            continue
        cells: list[Cell] = [entry.name]
        for judge in judges:
            cells += [_accuracy_cell(portraits, judge), _accuracy_cell(scenes, judge)]
        rows.append(cells)
    return head, rows


def _accuracy_cell(rows: Sequence[Mapping[str, Any]], judge: str) -> Cell:
    accuracy = accuracy_of(rows, judge)
    if accuracy is None:
        return ""
    return Share(accuracy.value, accuracy.low, accuracy.high, CHANCE)


def _format_cost(name: str, value: float | None) -> str:
    if value is None:
        return "unknown"
    if name == "bytes":
        return f"{value / 1e6:.2f}"
    if value == int(value) or value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def control_table(entries: Sequence[ScoreEntry]) -> Table:
    """Show what must be at chance, what must not vanish, and whether each judge is as sure as it should be.

    Args:
        entries: the scores.

    Returns:
        A row for each entry and judge, without the columns in which nobody has anything.
    """
    judgements = list_judgements(entries)
    treatments: list[str] = []
    for entry, judge, _ in judgements:
        treatments = unique([*treatments, *_robustness_of(entry, judge)])
    head = ["method", ACCURACY, "labels shuffled"]
    for treatment in treatments:
        head.append(f"after {treatment}")
    head += ["two classes", "valence error", "arousal error", "judge's calibration error"]
    rows = []
    for entry, judge, name in judgements:
        robustness = _robustness_of(entry, judge)
        row: list[Cell] = [name]
        for what in ("emotion_accuracy", "shuffled"):
            row.append(figure_cell(entry.figure_of_judge(what, judge), CHANCE))
        for treatment in treatments:
            row.append(figure_cell(robustness.get(treatment), CHANCE))
        row.append(figure_cell(entry.figure_of_judge("two_class_accuracy", judge), 0.5))
        for what in ("valence_error", "arousal_error", "calibration_error"):
            row.append(figure_cell(entry.figure_of_judge(what, judge), share=False))
        rows.append(row)
    return drop_empty_columns(head, rows)


def drop_empty_columns(head: list[str], rows: list[list[Cell]]) -> Table:
    """Leave out the columns in which nobody has anything.

    Args:
        head: the names of the columns.
        rows: the cells; "" is an empty one.

    Returns:
        The table without them.
    """
    kept_head: list[str] = []
    kept_rows: list[list[Cell]] = [[] for _ in rows]
    for place, name in enumerate(head):
        column = [row[place] for row in rows]
        if any(column):
            kept_head.append(name)
            for row, cell in zip(kept_rows, column, strict=True):
                row.append(cell)
    return kept_head, kept_rows


def _robustness_of(entry: ScoreEntry, judge: str) -> Mapping[str, Any]:
    figures: Mapping[str, Any] = entry.scores.get("robustness", {}).get(judge, {})
    return figures


def list_judgements(entries: Sequence[ScoreEntry]) -> list[tuple[ScoreEntry, str, str]]:
    """List which judge read which entry.

    Args:
        entries: the scores.

    Returns:
        Entry, judge and what their line is called, the first judge's first.
    """
    judges = judge_names(entries)
    judgements = []
    for judge in judges:
        for entry in entries:
            if judge not in entry.scores["judges"] or entry.figure_of_judge("preference", judge):
                continue  # who compared images was not asked which emotion they show
            line = entry.name
            if len(judges) > 1:
                line = f"{entry.name}, by {judge}"
            judgements.append((entry, judge, line))
    return judgements


def difference_table(comparisons: Sequence[Comparison]) -> Table:
    """Show each pair's difference, its interval, and the corrected probability.

    Args:
        comparisons: what `compare_all` made, or some of it.

    Returns:
        A row a comparison; differences are in percentage points.
    """
    rows = []
    for one in comparisons:
        points = one.difference
        probability = "< 0.001"
        if one.p >= 0.001:
            probability = f"{one.p:.2g}"
        row: list[Cell] = [
            f"{one.one} − {one.other}",
            one.what,
            f"{100 * points.value:+.1f}{interval_text(points.low, points.high, '+.1f', 100)}",
            probability,
            order_pair(one),
            str(points.n),
        ]
        rows.append(row)
    return ["pair", "in", "points, 95 % interval", "p, Holm", "order", "images"], rows


def order_pair(comparison: Comparison) -> str:
    """Say which of two entries is higher.

    Args:
        comparison: their difference.

    Returns:
        The name of the higher one, or "tied" where the corrected p is not below `SIGNIFICANT`.
    """
    if not comparison.p < SIGNIFICANT:
        return "tied"
    if comparison.difference.value > 0:
        return f"{comparison.one} is higher"
    return f"{comparison.other} is higher"


def emotion_table(entries: Sequence[ScoreEntry]) -> Table:
    """Show F1 of each emotion.

    Args:
        entries: the scores.

    Returns:
        A row for each entry and judge; empty where the judge has no word for an emotion.
    """
    rows = []
    for entry, judge, line in list_judgements(entries):
        figures = entry.scores["judges"][judge]
        unsaid = figures.get("not_judged", [])
        row: list[Cell] = [line]
        for name in EMOTIONS:
            one = figures.get("per_emotion", {}).get(name)
            if one is None or name in unsaid:
                row.append("")
            else:
                row.append(f"{one['f1']:.2f}")
        rows.append(row)
    return ["F1", *EMOTIONS], rows


def provenance_table(entries: Sequence[ScoreEntry]) -> Table:
    """Show where the scores come from, down to the raw data.

    Args:
        entries: the scores.

    Returns:
        A row an entry: kinds and fingerprints, the youngest first, and the versions that made them.
    """
    rows = []
    for entry in entries:
        versions = []
        for name in ("emoscene", "torch", "diffusers"):
            if name in entry.manifest.get("versions", {}):
                versions.append(f"{name} {entry.manifest['versions'][name]}")
        adapters = [str(mark)[:12] for mark in entry.scores.get("adapters", [])]
        row: list[Cell] = [entry.name, str(entry.folder), " ← ".join(lineage(entry.manifest))]
        row += [", ".join(adapters) or "none", ", ".join(versions)]
        rows.append(row)
    return ["method", "scores", "made of", "adapters", "by"], rows


def lineage(manifest: Mapping[str, Any]) -> list[str]:
    """List a run folder and all that it was made of.

    Args:
        manifest: the manifest of a run folder, with those of its parents inside.

    Returns:
        A line each: kind, name and the start of the fingerprint.
    """
    config = manifest.get("config", {})
    name = config.get("name") or config.get("source") or config.get("method") or ""
    words = str(manifest["kind"]), str(name), str(manifest.get("fingerprint", ""))[:12]
    lines = [" ".join(filter(None, words))]
    for parent in manifest.get("parents", []):
        lines += lineage(parent)
    return lines


def figure_cell(figure: Mapping[str, Any] | None, chance: float | None = None, share: bool = True) -> Cell:
    """Make a cell out of a figure of `scores.json`.

    Args:
        figure: value, low and high; None where there is none.
        chance: what guessing would reach, between 0 and 1.
        share: whether it is a share between 0 and 1; else it is shown as a quantity.

    Returns:
        The cell; "" for None.
    """
    if figure is None:
        return ""
    numbers = figure["value"], figure["low"], figure["high"]
    if share:
        return Share(*numbers, chance)
    return Quantity(*numbers)
