"""The verb `report`: any number of scores on one self-contained page, and as Markdown and CSV.

    report/
        manifest.json  index.html
        report.md           the same tables
        scores.csv          a line a figure

What must be known before comparing comes first: other judges, other prompts, figures that are missing.
The page is `templates/report.html.j2`; what it shows comes from `tables` and `drawings`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from emoscene import __version__
from emoscene.core import run_dir
from emoscene.core.images import open_image
from emoscene.core.taxonomy import EMOTIONS
from emoscene.reporting import evidence
from emoscene.reporting import tables as report_tables
from emoscene.reporting.comparisons import Comparison, compare_all, comparison_remarks
from emoscene.reporting.drawings import (
    draw_confusion,
    draw_costs,
    draw_curves,
    draw_front,
    draw_guidance,
    draw_reliability,
)
from emoscene.reporting.html import Figure, ImageGrid, render_html
from emoscene.reporting.people import list_findings, load_all
from emoscene.reporting.scores import ScoreEntry, find_curves, unique
from emoscene.reporting.text import markdown, table_of_all

TITLE = "Which emotion does an image show?"
HEADINGS = {
    "headline": "Emotion accuracy, and what it cost",
    "shortcuts": "Shortcuts",
    "ceilings": "Beside real images",
    "matched": "At the same emotion accuracy",
    "differences": "Differences",
    "images": "Images",
    "curves": "Along a setting",
    "guide": "Is the guide being fooled?",
    "portraits": "Faces and scenes",
    "confusion": "Asked for, and seen",
    "controls": "Controls",
    "emotions": "Emotion by emotion",
    "provenance": "Where it comes from",
}
SHOWN = 3  # prompts in the grid of images
SIDE = 160  # pixels of an image in the grid, at most
STRIP_EMOTIONS = ("awe", "fear")  # in the strips over the emotion scale


def report(
    scores: str | Path | Sequence[str | Path], *, out: str | Path, on_message: Callable[[str], None] = print
) -> Path:
    """Compare scores on one page.

    Args:
        scores: one folder that `evaluate` or `study analyse` made, or several.
        out: the folder to write into; the same call again finds it done.
        on_message: takes each remark on what does not compare, and where the page lies.

    Returns:
        The folder `out`, with `index.html`, `report.md` and `scores.csv`.

    Raises:
        UsageError: for a folder without finished scores, and where `out` is another call's.
        EmosceneError: for damaged scores.
    """
    folders = drop_repeated(run_dir.as_list(scores), on_message)
    entries = load_all(folders)
    opened = run_dir.RunDir.open(out, "report", {"scores": folders}, parents=folders)
    if opened.is_done:
        return opened.path
    remarks = [*list_findings(folders), *comparison_remarks(entries)]
    for remark in remarks:
        on_message(remark)
    comparisons = compare_all(entries)
    tables = make_tables(entries, comparisons)
    page = render_page(entries, remarks, comparisons, tables)
    by_heading = {HEADINGS[key]: table for key, table in tables.items()}
    texts = {
        "index.html": page,
        "report.md": markdown(TITLE, remarks, by_heading),
        "scores.csv": table_of_all(entries),
    }
    with opened.hold():
        for name, text in texts.items():
            run_dir.write_atomic(opened.path / name, text.encode("utf8", "backslashreplace"))
        opened.finish(scores=len(entries))
    on_message(f"open {opened.path / 'index.html'} in a browser")
    return opened.path


def drop_repeated(folders: Sequence[str], on_message: Callable[[str], None]) -> list[str]:
    """Leave out folders that stand in a list twice, however they are spelt: with itself none has a difference.

    Args:
        folders: the folders.
        on_message: takes a sentence on each that is left out.

    Returns:
        Each once, in order.
    """
    kept: dict[str, str] = {}
    for folder in folders:
        place = _resolve(folder)
        if place in kept:
            on_message(f"{folder} is given twice, and is compared once")
        else:
            kept[place] = folder
    return list(kept.values())


def _resolve(folder: str) -> str:
    """Where a folder lies, its links followed; what no path can be stays as it is, and is refused where it is read."""
    try:
        return os.path.realpath(folder)
    except ValueError:  # a NUL in it
        return folder


def make_tables(entries: Sequence[ScoreEntry], comparisons: Sequence[Comparison]) -> dict[str, report_tables.Table]:
    """Make the tables of the report, without those that would be empty.

    Args:
        entries: the scores.
        comparisons: their differences.

    Returns:
        The tables by a key of `HEADINGS`, in the order of the page.
    """
    tables = {
        "headline": report_tables.headline_table(entries),
        "shortcuts": evidence.shortcut_table(entries),
        "ceilings": evidence.ceiling_table(entries),
        "matched": evidence.matched_table(entries),
        "differences": report_tables.difference_table(comparisons),
        "guide": report_tables.guide_table(entries),
        "portraits": report_tables.portrait_table(entries),
        "controls": report_tables.control_table(entries),
        "emotions": report_tables.emotion_table(entries),
        "provenance": report_tables.provenance_table(entries),
    }
    return {key: (head, rows) for key, (head, rows) in tables.items() if rows}


def render_page(
    entries: Sequence[ScoreEntry],
    remarks: Sequence[str],
    comparisons: Sequence[Comparison],
    tables: Mapping[str, report_tables.Table],
) -> Markup:
    """Render the report as a page.

    Args:
        entries: the scores, at least one.
        remarks: what must be known before comparing.
        comparisons: the differences between entries.
        tables: what `make_tables` made.

    Returns:
        The HTML.
    """
    first = entries[0].name
    own, others = [], []
    for comparison in comparisons:
        if first in (comparison.one, comparison.other):
            own.append(comparison)
        else:
            others.append(comparison)
    return render_html(
        "report.html.j2",
        title=TITLE,
        headings=HEADINGS,
        version=__version__,
        entries=len(entries),
        images=entries[0].scores["images"],
        remarks=remarks,
        tables=tables,
        costs=draw_costs(entries),
        front=draw_front(entries),
        own_differences=report_tables.difference_table(own),
        other_differences=report_tables.difference_table(others),
        grids=gallery(entries),
        strips=scale_strips(entries),
        curves=draw_curves(entries),
        guidance=draw_guidance(entries),
        confusion=draw_confusion(entries),
        reliability=draw_reliability(entries),
    )


def scale_strips(entries: Sequence[ScoreEntry]) -> list[ImageGrid]:
    """Lay out a strip for each method and emotion, of one prompt and seed, over the emotion scale.

    Args:
        entries: the scores.

    Returns:
        A grid for each method with several emotion scales, from the least to the greatest.
    """
    grids = []
    for name, values in find_curves(entries, "emotion_scale").items():
        scales = [f"{scale:g}" for scale, _ in values]
        _, least = values[0]
        strips: list[tuple[str, list[Figure]]] = []
        prompts: list[str] = []
        for emotion in STRIP_EMOTIONS:
            row = next((row for row in least.rows if row["asked"] == emotion), None)
            if row is None:
                continue
            figures = []
            for scale, (_, entry) in zip(scales, values, strict=True):
                words = f"{row['prompt']}, {name}, {emotion}, emotion scale {scale}"
                figures.append(_make_figure(_find_file(entry, row), words))
            strips.append((emotion, figures))
            prompts.append(row["prompt"])
        if strips:
            caption = f"{name}, emotion scale {scales[0]} to {scales[-1]}: {prompts[0]}"
            grids.append(ImageGrid(scales, strips, caption))
    return grids


def _find_file(entry: ScoreEntry, like: Mapping[str, Any]) -> Path | None:
    """An entry's image of the prompt, seed and emotion of a row; None where it has none."""
    wanted = (like["prompt"], like["seed"], like["asked"])
    for row in entry.rows:
        if (row["prompt"], row["seed"], row["asked"]) == wanted:
            file = entry.image_file(row)
            if file is not None:
                return file
    return None


def gallery(entries: Sequence[ScoreEntry]) -> list[ImageGrid]:
    """Lay out a grid a prompt, methods x emotions: the first seed's images.

    Args:
        entries: the scores; the first one's prompts are shown.

    Returns:
        At most `SHOWN` grids, of the images that are still in their folders.
    """
    prompts = unique([row["prompt"] for row in entries[0].rows if row["asked"]])
    grids = []
    for prompt in prompts[:SHOWN]:
        rows = []
        for entry in entries:
            files = _first_files(entry, prompt)
            if files:
                figures = [_make_figure(files.get(name), f"{prompt}, {entry.name}, {name}") for name in EMOTIONS]
                rows.append((entry.name, figures))
        if rows:
            grids.append(ImageGrid(EMOTIONS, rows, prompt))
    return grids


def _first_files(entry: ScoreEntry, prompt: str) -> dict[str, Path]:
    """The first image of each emotion of a prompt that is still there."""
    files: dict[str, Path] = {}
    for row in entry.rows:
        if row["prompt"] != prompt or not row["asked"] or row["asked"] in files:
            continue
        file = entry.image_file(row)
        if file is not None:
            files[row["asked"]] = file
    return files


def _make_figure(file: Path | None, words: str) -> Figure:
    if file is None:
        return Figure(Image.new("RGB", (1, 1), "white"), f"no image: {words}")
    image = open_image(file)
    image.thumbnail((SIDE, SIDE))
    return Figure(image, words)
