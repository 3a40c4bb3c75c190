"""A card for people: what lies in a prepared folder, in numbers, in images, and in a plot of its classes.

README.md  card/pictures.jpg  card/classes.svg
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import datasets
import numpy as np
from datasets import Dataset, load_from_disk
from PIL import Image

from emoscene import __version__
from emoscene.core import run_dir
from emoscene.core.image_origin import encode_mark
from emoscene.core.images import FAINT, INK, PAPER, contact_sheet, open_image
from emoscene.core.plain_text import format_count
from emoscene.core.taxonomy import EMOTIONS
from emoscene.core.templates import render
from emoscene.data.aspect_buckets import crop_square
from emoscene.data.planning import NAMES, format_gaps
from emoscene.data.records import ROLES

SHOWN, SIDE = 6, 128  # images of each emotion, and their side
CAPTIONS = 20  # images that are shown beside their captions
OLDEST = "4.0"  # of `datasets`: the first with the feature List
COLOURS = dict(zip(ROLES, ("#c96f4a", "#d9b44a", "#5b8c85", "#8a817c"), strict=True))


def write_card(folder: Path, licence: str, facts: Mapping[str, Any]) -> None:
    """Write README.md, the class balance and a grid of example images.

    Args:
        folder: The prepared folder.
        licence: A sentence about the licence of the source.
        facts: The entries of the manifest.
    """
    data = load_from_disk(str(folder))
    roles, emotions = np.array(data["role"][:]), np.array(data["emotion"][:])
    numbers = list(range(len(EMOTIONS)))
    if (emotions == -1).any():
        numbers.append(-1)
    counts = {}
    for role in ROLES:
        counts[role] = [int(((roles == role) & (emotions == n)).sum()) for n in numbers]
    (folder / "card").mkdir(exist_ok=True)
    run_dir.write_atomic(folder / "card/classes.svg", plot_classes(counts).encode())
    run_dir.write_atomic(folder / "card/pictures.jpg", image_grid(folder, data, emotions))
    lines = [*_card_lines(licence, facts, counts), *_list_captions(data, emotions, facts), ""]
    run_dir.write_atomic(folder / "README.md", "\n".join(lines).encode())


@dataclass(frozen=True)
class Bar:
    """The images of one emotion in one role, as a bar: where it begins and how wide it is."""

    role: str
    x: float
    width: float


@dataclass(frozen=True)
class Line:
    """An emotion's bars: how far down they are, where they end, and how many images they are."""

    name: str
    y: int
    bars: Sequence[Bar]
    end: float
    total: int


def plot_classes(counts: Mapping[str, list[int]]) -> str:
    """Plot the class balance: a bar for each emotion, divided by role.

    Args:
        counts: For each role, the number of images of each emotion, in the order of `NAMES`.

    Returns:
        The plot as SVG.
    """
    totals = []
    for column in zip(*counts.values(), strict=True):
        totals.append(sum(column))
    step, left, wide, top = 30, 110, 460, 44
    scale = wide / max(*totals, 1)
    lines = []
    for number, total in enumerate(totals):
        x = float(left)
        bars = []
        for role, row in counts.items():
            width = row[number] * scale
            bars.append(Bar(role, x, width))
            x += width
        lines.append(Line(NAMES[number], top + number * step, bars, x, total))
    values = {"lines": lines, "left": left, "height": top + len(totals) * step + 10, "roles": list(counts)}
    looks = {"colours": COLOURS, "ink": INK, "faint": FAINT, "paper": PAPER}
    return render(("emoscene.data",), "classes.svg.j2", **values, **looks) + "\n"


def image_grid(folder: Path, data: Dataset, emotions: np.ndarray) -> bytes:
    """Show a few images of each emotion.

    Args:
        folder: The prepared folder.
        data: Its rows.
        emotions: The emotion of each row [N], -1 for none.

    Returns:
        The grid as a JPEG file.
    """
    lines, labels = [], []
    for number, name in (*enumerate(EMOTIONS), (-1, "none")):
        places = np.flatnonzero(emotions == number)
        if len(places):
            some = places[np.linspace(0, len(places) - 1, min(SHOWN, len(places))).astype(int)]
            lines.append([_thumbnail(folder / data[int(place)]["file"]) for place in some])
            labels.append(name)
    buffer = BytesIO()
    sheet = contact_sheet(lines, rows=labels)
    sheet.save(buffer, "JPEG", quality=88, **encode_mark(sheet))
    return buffer.getvalue()


def _thumbnail(path: Path) -> Image.Image:
    return crop_square(open_image(path), SIDE)


def _card_lines(licence: str, facts: Mapping[str, Any], counts: Mapping[str, list[int]]) -> list[str]:
    totals = []
    for column in zip(*counts.values(), strict=True):
        totals.append(sum(column))
    rows = []
    for n, name in enumerate(NAMES[: len(totals)]):
        rows.append(f"| {name} | {' | '.join(str(counts[role][n]) for role in counts)} | {totals[n]} |")
    shapes = _count_list(facts["shapes"], "{} pixels ({})")
    mirrored = ""
    if facts["flips"]:
        mirrored = ", and `mirrored` that of the mirrored image"
    mixtures = []
    if facts["mixtures"]:
        number = format_count(facts["mixtures"], "is one", "are")
        mixtures = [f"A mixture is counted as its strongest emotion; {number}.", ""]
    return [
        f"# {format_count(facts['pictures'], 'image')} from `{facts['source']}`, prepared for emoscene {__version__}",
        "",
        licence,
        "",
        f"Open it with `datasets.load_from_disk(FOLDER)`, of `datasets` {OLDEST} or newer (it was written with "
        f"{datasets.__version__}),",
        "or with `emoscene.data.dataset.PreparedDataset(FOLDER)`.",
        f"Images have {shapes}; `latent` is raw half precision, to be shaped by",
        f"`shape`{mirrored}.",
        "",
        "![a few images of each emotion](card/pictures.jpg)",
        "",
        "![the class balance](card/classes.svg)",
        "",
        f"| emotion | {' | '.join(counts)} | all |",
        f"|---|{'---|' * (len(counts) + 1)}",
        *rows,
        "",
        *mixtures,
        *_list_findings(facts),
        "",
    ]


def _list_captions(data: Dataset, emotions: np.ndarray, facts: Mapping[str, Any]) -> list[str]:
    """A few images beside their captions, from the whole set, as lines of a Markdown table."""
    places = np.unique(np.linspace(0, len(data) - 1, CAPTIONS).astype(int))
    shown = data.select_columns(["file", "caption"])
    lines = [f"## {format_count(len(places), 'image')} and their captions", ""]
    for sentence in facts.get("cautions", ()):
        if "captioner" in sentence:
            lines += [f"Take care: {sentence}.", ""]
    lines += ["| image | emotion | caption |", "|---|---|---|"]
    for place in places.tolist():
        row = shown[place]
        image = f'<img src="{quote(row["file"])}" width="{SIDE}" alt="">'
        caption = _escape_cell(row["caption"]) or "*none*"
        lines.append(f"| {image} | {NAMES[emotions[place]]} | {caption} |")
    return lines


def _escape_cell(text: str) -> str:
    """A caption, which anybody may have written, as plain text in a cell of a Markdown table."""
    escaped = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"[\\`*_\[\]|~#!]", lambda sign: f"&#{ord(sign[0])};", escaped)


def _list_findings(facts: Mapping[str, Any]) -> list[str]:
    """What was found while preparing, as lines of a Markdown list."""
    alike = facts["duplicates"]
    lines = [
        f"- found {facts['found']}, refused {facts['refused']} (`quarantine.jsonl` names each with its reason)",
        f"- unusual and mended: {_count_list(facts['mended'])}",
        f"- duplicates: {format_count(alike['groups'], 'group')}, "
        f"{format_count(alike['pictures'], 'image')} beyond the first of each, "
        f"{format_count(alike['pairs across official splits'], 'pair')} across official splits, "
        f"{format_count(alike['groups of several emotions'], 'group')} of several emotions (`duplicates.jsonl`)",
        "- what is not found among duplicates as a rule: a crop that is not from the middle",
        f"- captions: {_count_list(facts['captions'])}",
    ]
    if facts["contradictory"]:
        lines.append(
            f"- files that stand under several emotions: {format_count(facts['contradictory'], 'image')}, of "
            "which none is used "
            "(`quarantine.jsonl`)"
        )
    if "gaps" in facts:
        lines.append(f"- {format_gaps(facts['gaps'])}")
    if "unused" in facts:
        lines.append(f"- other files among the images, not used: {_count_list(facts['unused'])}")
    for name, count in facts.get("rules", {}).items():
        lines.append(f"- {name}: {format_count(count, 'image')}")
    if "revision" in facts:
        lines.append(f"- revision {facts['revision']}")
    for sentence in facts.get("cautions", ()):
        lines.append(f"- take care: {sentence}")
    return lines


def _count_list(counts: Mapping[str, int], form: str = "{} {}") -> str:
    return ", ".join(form.format(name, count) for name, count in counts.items()) or "none"
