"""The verb `report`: any number of scores on one page that needs nothing but itself, and as Markdown and CSV.

    report/
        manifest.json  index.html
        report.md           the same tables
        scores.csv          a line a figure

What is said first is what must be known before comparing: other judges, other prompts, figures that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from emoscene import __version__
from emoscene.core import run_dir
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.reporting import tables as report_tables
from emoscene.reporting.figures import Point, draw_lines, draw_matrix, draw_scatter, legend
from emoscene.reporting.html import Figure, details, drawing_row, image_grid, section, table, warning_list, whole_page
from emoscene.reporting.scores import Comparison, ScoreEntry, compare_all, comparison_remarks, find_curves, load_entries

TITLE = "Which emotion does a picture show?"
SHOWN = 3  # prompts in the grid of pictures
SIDE = 160  # pixels of a picture in the grid, at most
FIRST, GUIDES, PORTRAITS = (
    "How often it is as asked, and what it cost",
    "Is the guide being fooled?",
    "Faces and scenes",
)
SHEETS = {GUIDES: report_tables.guide_table, PORTRAITS: report_tables.portrait_table}
"""Tables that only some entries have anything for."""
STRIPPED = ("awe", "fear")  # emotions in the strips of strength
GAP = "Where the guide's own verdict runs ahead of the judges', more guidance pleases the guide and nobody else."
AXES = {
    "emotion_scale": "emotion scale",
    "classifier_scale": "classifier scale",
    "guidance.classifier_scale": "classifier scale",
    "guidance_scale": "CFG scale",
}
UP = "emotion as asked"
HOW = (
    "Each figure stands with its 95 % interval, which resamples prompts and seeds together. Differences are paired: "
    "the same prompts, emotions and seeds. Their p is that of a test which flips the signs of whole prompts, corrected "
    "by Holm for all comparisons on this page."
)


def report(
    scores: str | Path | Sequence[str | Path], *, out: str | Path, on_message: Callable[[str], None] = print
) -> Path:
    """Compare the scores in these folders on one page; returns the folder `out` with `index.html`.

    Raises Usage for a folder without finished scores, Failure for a damaged one.
    """
    folders = run_dir.as_list(scores)
    found = load_entries(folders)
    opened = run_dir.RunDir.open(out, "report", {"scores": folders}, parents=folders)
    if opened.is_done:
        return opened.path
    notes, made = comparison_remarks(found), compare_all(found)
    for note in notes:
        on_message(note)
    told = {name: sheet(found) for name, sheet in SHEETS.items()}
    tables = {
        FIRST: report_tables.headline_table(found),
        **({"Differences": report_tables.difference_table(made)} if made else {}),
        **{name: one for name, one in told.items() if one[1]},
        "Controls": report_tables.control_table(found),
        "Emotion by emotion": report_tables.emotion_table(found),
        "Where it comes from": report_tables.provenance_table(found),
    }
    run_dir.write_atomic(opened.path / "index.html", render_page(found, notes, made, tables).encode())
    run_dir.write_atomic(opened.path / "report.md", report_tables.markdown(TITLE, notes, tables).encode())
    run_dir.write_atomic(opened.path / "scores.csv", report_tables.table_of_all(found).encode())
    opened.finish(scores=len(found))
    on_message(f"open {opened.path / 'index.html'} in a browser")
    return opened.path


def render_page(
    found: Sequence[ScoreEntry],
    notes: Sequence[str],
    made: Sequence[Comparison],
    tables: Mapping[str, report_tables.Table],
) -> str:
    """The page, as HTML."""
    pictures = found[0].scores["pictures"]
    lede = f"{len(found)} sets of scores side by side, {pictures:,} pictures in the first. {HOW}"
    blocks = {
        FIRST: [warning_list(notes), table(*tables[FIRST]), cost_section(found)],
        "Differences": paired_section(found[0], made),
        "Pictures": gallery(found),
        "Dials": [*strength_strips(found), *curve_section(found)],
        GUIDES: guidance_section(found),
        PORTRAITS: [table(*tables[PORTRAITS])] if PORTRAITS in tables else [],
        "What was asked, and what was seen": confusion_section(found),
        "Controls": [table(*tables["Controls"]), *reliability_section(found)],
        "Emotion by emotion": [table(*tables["Emotion by emotion"])],
        "Where it comes from": [table(*tables["Where it comes from"])],
    }
    sections = [section(name, "", *inside) for name, inside in blocks.items() if inside]
    return whole_page(
        TITLE, lede, sections, f"emoscene {__version__}; the same tables are in report.md and scores.csv."
    )


def paired_section(first: ScoreEntry, made: Sequence[Comparison]) -> list[str]:
    """The differences that concern the first entry, and all others folded away."""
    own = [one for one in made if first.name in (one.one, one.other)]
    rest = [one for one in made if one not in own]
    shown = [table(*report_tables.difference_table(own))] if own else []
    return [
        *shown,
        *([details(f"the other {len(rest)} pairs", table(*report_tables.difference_table(rest)))] if rest else []),
    ]


def cost_section(found: Sequence[ScoreEntry]) -> str:
    """Accuracy against what it cost, and against the scene."""
    names = [entry.name for entry in found]
    across = {
        "bytes": ("file size, MB", 1e-6),
        "training_pictures": ("training pictures, thousands", 1e-3),
        "training_seconds": ("training, minutes", 1 / 60),
        "seconds_a_picture": ("seconds a picture", 1.0),
    }
    drawings = []
    for name, (words, unit) in across.items():
        points = [make_point(entry, unit * cost) for entry in found if (cost := entry.cost(name)) is not None]
        drawings += _draw_points(points, names, words)
    kept = [
        make_point(entry, scene["value"], scene["low"], scene["high"])
        for entry in found
        if (scene := entry.metric("scene_accuracy"))
    ]
    drawings += _draw_points(kept, names, "scene kept", percent=True)
    return legend(names) + drawing_row(
        drawings, "Up and to the left is better; in the last drawing, up and to the right."
    )


def _draw_points(points: Sequence[Point | None], names: Sequence[str], across: str, percent: bool = False) -> list[str]:
    known = [one for one in points if one is not None]
    return [draw_scatter(known, names, across, UP, percent)] if known else []


def make_point(entry: ScoreEntry, x: float, left: float | None = None, right: float | None = None) -> Point | None:
    """An entry's accuracy, at a place across; None where it was not judged."""
    right_ = entry.judged("emotion_accuracy")
    if right_ is None:
        return None
    return Point(entry.name, x, right_["value"], right_["low"], right_["high"], left, right)


def curve_section(found: Sequence[ScoreEntry]) -> list[str]:
    """Accuracy and scene along each dial of which there are several scores."""
    drawings, names = [], []
    for axis, across in AXES.items():
        series = find_curves(found, axis)
        names += [name for name in series if name not in names]
        for up, read in (
            (UP, lambda entry: entry.judged("emotion_accuracy")),
            ("scene kept", lambda entry: entry.metric("scene_accuracy")),
        ):
            told = {
                name: [
                    Point(entry.name, x, one["value"], one["low"], one["high"])
                    for x, entry in turns
                    if (one := read(entry))
                ]
                for name, turns in series.items()
            }
            told = {name: points for name, points in told.items() if len(points) > 1}
            drawings += [draw_lines(told, names, across, up)] if told else []
    return [legend(names), drawing_row(drawings)] if drawings else []


def confusion_section(found: Sequence[ScoreEntry]) -> list[str]:
    """A matrix an entry and judge."""
    drawings = [
        draw_matrix(told["confusion"], EMOTIONS, f"{entry.name}, by {judge}")
        for entry in found
        for judge, told in entry.scores["judges"].items()
        if "confusion" in told
    ]
    return (
        [drawing_row(drawings, "Rows are what was asked, columns what the judge saw, in per cent.")] if drawings else []
    )


def reliability_section(found: Sequence[ScoreEntry]) -> list[str]:
    """How sure each judge is of real pictures, against how often it is right."""
    series: dict[str, list[Point]] = {}
    for entry in found:
        for judge, told in entry.scores["judges"].items():
            if "reliability" in told:
                series.setdefault(judge, [Point(judge, x, y, y, y) for x, y, _ in told["reliability"]])
    if not series:
        return []
    names = list(series)
    return [
        legend(names),
        drawing_row([draw_lines(series, names, "how sure the judge is", "how often it is right", ideal=True)]),
    ]


def guidance_section(found: Sequence[ScoreEntry]) -> list[str]:
    """The guide's own verdict beside the judges', as a table and over the guidance scale."""
    head, rows = report_tables.guide_table(found)
    if not rows:
        return []
    series: dict[str, list[Point]] = {}
    for axis in sorted(report_tables.CURVED):
        for name, turns in find_curves(found, axis).items():
            for x, entry in turns:
                verdicts = {"the guide itself": entry.metric("guide_accuracy")}
                verdicts |= {judge: entry.judged("emotion_accuracy", judge) for judge in entry.scores["judges"]}
                for who, one in verdicts.items():
                    if one:
                        line = f"{name}, by {who}"
                        series.setdefault(line, []).append(Point(line, x, one["value"], one["low"], one["high"]))
    names = list(series)
    drawn = [legend(names), drawing_row([draw_lines(series, names, "guidance scale", UP)], GAP)] if series else []
    return [table(head, rows), *drawn]


def strength_strips(found: Sequence[ScoreEntry]) -> list[str]:
    """A strip a method and emotion: one prompt and seed, from the least strength to the greatest."""
    hung: list[str] = []
    for name, turns in find_curves(found, "emotion_scale").items():
        dial, (_, least) = [f"{strength:g}" for strength, _ in turns], turns[0]
        shown = [next((row for row in least.rows if row["asked"] == emotion), None) for emotion in STRIPPED]
        rows = [row for row in shown if row is not None]
        plates = []
        for row in rows:
            words = f"{row['prompt']}, {name}, {row['asked']}, emotion scale"
            files = [(strength, _find_file(entry, row)) for strength, (_, entry) in zip(dial, turns, strict=True)]
            plates.append([_make_figure(file, f"{words} {strength}") for strength, file in files])
        if plates:
            caption = f"{name}, emotion scale {dial[0]} to {dial[-1]}: {rows[0]['prompt']}"
            hung.append(image_grid(plates, [row["asked"] for row in rows], dial, caption))
    return hung


def _find_file(entry: ScoreEntry, like: Mapping[str, Any]) -> Path | None:
    """An entry's picture of the prompt, seed and emotion of a row; None where it has none."""
    same = [row for row in entry.rows if all(row[part] == like[part] for part in ("prompt", "seed", "asked"))]
    return next((file for row in same if (file := entry.picture(row))), None)


def gallery(found: Sequence[ScoreEntry]) -> list[str]:
    """A grid a prompt, methods x emotions: the first seed's pictures, where they are still in their folders."""
    grids = []
    for prompt in list(dict.fromkeys(row["prompt"] for row in found[0].rows if row["asked"]))[:SHOWN]:
        plates: dict[str, list[Figure]] = {}
        for entry in found:
            files: dict[str, Path] = {}
            for row in entry.rows:
                if row["prompt"] == prompt and row["asked"] and (file := entry.picture(row)):
                    files.setdefault(row["asked"], file)
            if files:
                words = f"{prompt}, {entry.name}"
                plates[entry.name] = [_make_figure(files.get(name), f"{words}, {name}") for name in EMOTIONS]
        grids += [image_grid(list(plates.values()), list(plates), EMOTIONS, prompt)] if plates else []
    return grids


def _make_figure(file: Path | None, words: str) -> Figure:
    if file is None:
        return Figure(Image.new("RGB", (1, 1), "white"), f"no picture: {words}")
    picture = open_image(file)
    picture.thumbnail((SIDE, SIDE))
    return Figure(picture, words)
