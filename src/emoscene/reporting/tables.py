"""The report as tables: the headline, the paired differences, and where each score comes from; Markdown and CSV.

A table here is its head and its rows of cells, as `blocks.table` takes them; Markdown writes the same cells as text.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

from emoscene.core.taxonomy import EMOTIONS
from emoscene.reporting.html import Cell, Quantity, Share
from emoscene.reporting.scores import Comparison, ScoreEntry, accuracy_of

Table = tuple[list[str], list[list[Cell]]]
CHANCE = 1 / len(EMOTIONS)
FACES = "portrait"  # the scene that is a face
METRICS = {
    "scene_accuracy": "scene kept",
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
    "training_pictures": "training pictures",
    "training_seconds": "training, s",
    "seconds_a_picture": "s a picture",
    "peak_memory_mb": "peak memory, MB",
}


def headline_table(found: Sequence[ScoreEntry]) -> Table:
    """Quality with its intervals, and what it cost beside it; a column appears where any entry has it."""
    judges = list(dict.fromkeys(name for entry in found for name in entry.scores["judges"]))
    metrics = [name for name in METRICS if any(entry.metric(name) for entry in found)]
    right = [f"emotion as asked ({name})" if len(judges) > 1 else "emotion as asked" for name in judges]
    head = ["method", *right, *(METRICS[name] for name in metrics), *COSTS.values()]
    rows: list[list[Cell]] = [
        [
            entry.name,
            *(figure_cell(entry.judged("emotion_accuracy", name), CHANCE) for name in judges),
            *(figure_cell(entry.metric(name), share=name.endswith("accuracy")) for name in metrics),
            *(_cost(entry, name) for name in COSTS),
        ]
        for entry in found
    ]
    for entry in found:
        if ceiling := entry.judged("ceiling"):
            others = [figure_cell(entry.judged("ceiling", name), CHANCE) for name in judges[1:]]
            blank = [""] * (len(metrics) + len(COSTS))
            rows.append(["real pictures, held out", figure_cell(ceiling, CHANCE), *others, *blank])
            break
    return head, rows


def guide_table(found: Sequence[ScoreEntry]) -> Table:
    """How often each guide finds the emotion in its own pictures, how often the judge does, and the paired gap."""
    rows: list[list[Cell]] = [
        [
            entry.name,
            *(f"{scale:g}" for scale in [entry.setting(CURVED)] if scale is not None),
            figure_cell(entry.metric("guide_accuracy"), CHANCE),
            figure_cell(entry.judged("emotion_accuracy"), CHANCE),
            figure_cell(entry.metric("guide_gap"), share=False),
        ]
        for entry in found
        if entry.metric("guide_gap")
    ]
    return ["method", "guidance scale", "by the guide itself", "by the judge", "gap"], rows


def portrait_table(found: Sequence[ScoreEntry]) -> Table:
    """Faces beside scenes: how often each judge sees the emotion asked."""
    judges = list(dict.fromkeys(name for entry in found for name in entry.scores["judges"]))
    rows: list[list[Cell]] = []
    for entry in found:
        placed = [row for row in entry.rows if row["scene"]]
        sides = [[row for row in placed if (row["scene"] == FACES) == faces] for faces in (True, False)]
        if sides[0]:
            values = [accuracy_of(side, judge) for judge in judges for side in sides]
            rows.append(
                [entry.name, *("" if one is None else Share(one.value, one.low, one.high, CHANCE) for one in values)]
            )
    return ["method", *(f"{kind}, by {judge}" for judge in judges for kind in ("portraits", "scenes"))], rows


def _cost(entry: ScoreEntry, name: str) -> str:
    value = entry.cost(name)
    if value is None:
        return "unknown"
    if name == "bytes":
        return f"{value / 1e6:.2f}"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"


def control_table(found: Sequence[ScoreEntry]) -> Table:
    """What must be at chance, what must not vanish, and whether each judge is as sure as it should be."""
    treated = list(
        dict.fromkeys(name for entry, judge, _ in list_judgements(found) for name in _robustness_cell(entry, judge))
    )
    head = ["method", "emotion as asked", "labels shuffled", *(f"after {name}" for name in treated), "two classes"]
    head += ["valence error", "arousal error", "judge's calibration error"]
    rows: list[list[Cell]] = [
        [
            name,
            figure_cell(entry.judged("emotion_accuracy", judge), CHANCE),
            figure_cell(entry.judged("shuffled", judge), CHANCE),
            *(figure_cell(_robustness_cell(entry, judge).get(treatment), CHANCE) for treatment in treated),
            figure_cell(entry.judged("two_class_accuracy", judge), 0.5),
            *(figure_cell(entry.judged(f"{axis}_error", judge), share=False) for axis in ("valence", "arousal")),
            figure_cell(entry.judged("calibration_error", judge), share=False),
        ]
        for entry, judge, name in list_judgements(found)
    ]
    return drop_empty_columns(head, rows)


def drop_empty_columns(head: list[str], rows: list[list[Cell]]) -> Table:
    """A table without the columns in which nobody has anything."""
    keep = [place for place in range(len(head)) if any(row[place] != "" for row in rows)]
    return [head[place] for place in keep], [[row[place] for place in keep] for row in rows]


def _robustness_cell(entry: ScoreEntry, judge: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = entry.scores.get("robustness", {}).get(judge, {})
    return found


def list_judgements(found: Sequence[ScoreEntry]) -> list[tuple[ScoreEntry, str, str]]:
    """Every entry and judge, the first judge's first, and what their line is called."""
    judges = list(dict.fromkeys(judge for entry in found for judge in entry.scores["judges"]))
    pairs = [(entry, judge) for judge in judges for entry in found if judge in entry.scores["judges"]]
    return [(entry, judge, f"{entry.name}, by {judge}" if judges[1:] else entry.name) for entry, judge in pairs]


def difference_table(made: Sequence[Comparison]) -> Table:
    """Each pair's difference, its interval, and the corrected probability."""
    rows: list[list[Cell]] = [
        [
            f"{one.one} − {one.other}",
            one.what,
            f"{100 * one.difference.value:+.1f} ({100 * one.difference.low:+.1f} to {100 * one.difference.high:+.1f})",
            f"{one.p:.2g}" if one.p >= 0.001 else "< 0.001",
            str(one.difference.n),
        ]
        for one in made
    ]
    return ["pair", "in", "points, 95 % interval", "p, Holm", "pictures"], rows


def emotion_table(found: Sequence[ScoreEntry]) -> Table:
    """F1 of each emotion, by every judge."""
    rows: list[list[Cell]] = []
    for entry, judge, line in list_judgements(found):
        told = entry.scores["judges"][judge]
        unsaid = told.get("not_judged", [])
        f1 = {name: f"{one['f1']:.2f}" for name, one in told.get("per_emotion", {}).items() if name not in unsaid}
        rows.append([line, *(f1.get(name, "") for name in EMOTIONS)])
    return ["F1", *EMOTIONS], rows


def provenance_table(found: Sequence[ScoreEntry]) -> Table:
    """Where the scores come from, down to the raw data: kinds and fingerprints, the youngest first."""
    rows: list[list[Cell]] = []
    for entry in found:
        versions = entry.manifest.get("versions", {})
        said = ", ".join(f"{name} {versions[name]}" for name in ("emoscene", "torch", "diffusers") if name in versions)
        adapters = ", ".join(str(mark)[:12] for mark in entry.scores.get("adapters", [])) or "none"
        rows.append([entry.name, str(entry.folder), " ← ".join(lineage(entry.manifest)), adapters, said])
    return ["method", "scores", "made of", "adapters", "by"], rows


def lineage(manifest: Mapping[str, Any]) -> list[str]:
    """A stage and all that it was made of, in words."""
    config = manifest.get("config", {})
    name = config.get("name") or config.get("source") or config.get("method") or ""
    words = str(manifest["kind"]), str(name), str(manifest.get("fingerprint", ""))[:12]
    own = " ".join(word for word in words if word)
    return [own, *(line for parent in manifest.get("parents", []) for line in lineage(parent))]


def figure_cell(found: Mapping[str, Any] | None, chance: float | None = None, share: bool = True) -> Cell:
    """A figure of `scores.json` as a cell; empty where there is none."""
    if found is None:
        return ""
    numbers = found["value"], found["low"], found["high"]
    return Share(*numbers, chance) if share else Quantity(*numbers)


def cell_text(cell: Cell) -> str:
    """A cell in words."""
    if isinstance(cell, Share):
        return f"{cell.value:.1%} ({cell.low:.1%} to {cell.high:.1%})"
    if isinstance(cell, Quantity):
        return f"{cell.value:.3g} ({cell.low:.3g} to {cell.high:.3g})"
    return cell


def markdown(title: str, remarks: Sequence[str], tables: Mapping[str, Table]) -> str:
    """The same report as Markdown."""
    parts = [f"# {title}", *(f"> {remark}" for remark in remarks)]
    for name, (head, rows) in tables.items():
        lines = [head, ["---"] * len(head), *([cell_text(cell).replace("|", "\\|") for cell in row] for row in rows)]
        parts += [f"## {name}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(parts) + "\n"


def table_of_all(found: Sequence[ScoreEntry]) -> str:
    """Every figure of every entry as CSV: a line a figure."""
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["method", "by", "figure", "value", "low", "high", "n"])
    for entry in found:
        for by, name, one in _figures(entry):
            writer.writerow([entry.name, by, name, one["value"], one["low"], one["high"], one["n"]])
        for name in COSTS:
            writer.writerow([entry.name, "cost", name, entry.cost(name), "", "", ""])
    return buffer.getvalue()


def _figures(entry: ScoreEntry) -> Iterable[tuple[str, str, Mapping[str, Any]]]:
    """Who told a figure, its name, and itself."""
    for judge, told in entry.scores["judges"].items():
        yield from ((judge, name, one) for name, one in told.items() if isinstance(one, dict) and "low" in one)
        for name, one in entry.scores.get("robustness", {}).get(judge, {}).items():
            yield judge, f"emotion_accuracy after {name}", one
    yield from ((one["by"], name, one) for name, one in entry.scores["metrics"].items())
