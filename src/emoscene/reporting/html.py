"""One page that needs nothing but itself: no network, no script, its pictures inside; it can be mailed.

    whole_page("One scene, eight emotions", "What this is.", [section("How far", "A dial.", grid(...), table(...))])

Every function here takes plain values and returns HTML; whatever text comes in is escaped. The look (light and dark,
wide and narrow, print) is in `page.html`. On a narrow screen a grid turns over: its rows become columns.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from pathlib import Path
from string import Template

from PIL import Image

TEMPLATE = Template(Path(__file__).with_name("page.html").read_text(encoding="utf8"))


@dataclass(frozen=True)
class Figure:
    """A picture, what it shows in words, and perhaps a note to stand under it."""

    image: Image.Image
    words: str
    note: str = ""

    def to_html(self) -> str:
        """The picture with its pixels inside: WebP, as it is a fifth of a PNG."""
        buffer = BytesIO()
        self.image.save(buffer, "WEBP", quality=92, method=6)
        data = b64encode(buffer.getvalue()).decode()
        wide, high = self.image.size
        words = escape(self.words, quote=True)
        return f'<img src="data:image/webp;base64,{data}" width="{wide}" height="{high}" alt="{words}">'


@dataclass(frozen=True)
class Share:
    """A share between 0 and 1 with its interval; `chance` is what guessing would reach."""

    value: float
    low: float
    high: float
    chance: float | None = None

    def to_html(self) -> str:
        """The figure in per cent, and its place on a rail from 0 to 1."""
        x, low, high = (round(100 * number, 1) for number in (self.value, self.low, self.high))
        guess = "" if self.chance is None else f'<path class="chance" d="M{100 * self.chance:g} 0V10"/>'
        marks = [
            '<path class="rail" d="M0 5H100"/>',
            guess,
            f'<path class="span" d="M{low} 5H{high}"/>',
            f'<ellipse class="dot" cx="{x}" cy="5" rx="1.7" ry="3.2"/>',
        ]
        box = 'viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"'
        rail = f'<svg class="range" {box}>{"".join(marks)}</svg>'
        return f"{self.value:.0%}<small>{self.low:.0%} to {self.high:.0%}</small>{rail}"


@dataclass(frozen=True)
class Quantity:
    """A figure of any size with its interval, to three digits."""

    value: float
    low: float
    high: float

    def to_html(self) -> str:
        """The figure and, smaller, how far it may be off."""
        value, low, high = (f"{number:.3g}" for number in (self.value, self.low, self.high))
        return f"{value}<small>{low} to {high}</small>"


Cell = str | Share | Quantity


def whole_page(title: str, lede: str, sections: Iterable[str], foot: str = "") -> str:
    """The whole page."""
    words = {"title": escape(title), "lede": escape(lede), "foot": escape(foot)}
    return TEMPLATE.substitute(words, sections="\n".join(sections))


def section(heading: str, text: str, *blocks: str) -> str:
    """A heading, a paragraph for each part of the text between empty lines, and blocks."""
    parts = [f"<h2>{escape(heading)}</h2>"] if heading else []
    parts += [f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part]
    return "\n".join(["<section>", *parts, *blocks, "</section>"])


def image_wall(plates: Sequence[Figure], caption: str = "") -> str:
    """Large pictures, each with its note under it."""
    hung = "\n".join(f"<div>{plate.to_html()}<span>{escape(plate.note)}</span></div>" for plate in plates)
    return _figure_html(f'<div class="wall">\n{hung}\n</div>', caption)


def image_grid(
    plates: Sequence[Sequence[Figure]], rows: Sequence[str], columns: Sequence[str], caption: str = ""
) -> str:
    """Small pictures with names at the side and on top."""
    cells = ['<span class="corner"></span>', *(f'<span class="top">{escape(name)}</span>' for name in columns)]
    for name, line in zip(rows, plates, strict=True):
        cells.append(f'<span class="side">{escape(name)}</span>')
        for plate in line:
            note = f'<span class="note">{escape(plate.note)}</span>' if plate.note else ""
            cells.append(f"<div>{plate.to_html()}{note}</div>")
    inside = "\n".join(cells)
    return _figure_html(
        f'<div class="scroll"><div class="grid" style="--columns:{len(columns)}">\n{inside}\n</div></div>', caption
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], caption: str = "") -> str:
    """A table whose first column names the rows."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = []
    for first, *rest in rows:
        cells = "".join(f"<td>{escape(cell) if isinstance(cell, str) else cell.to_html()}</td>" for cell in rest)
        lines.append(f'<tr><th scope="row">{escape(str(first))}</th>{cells}</tr>')
    body = "\n".join(lines)
    inside = f"<table><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>"
    return _figure_html(f'<div class="scroll">{inside}</div>', caption)


def definition_list(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they mean."""
    lines = "\n".join(f"<dt>{escape(name)}</dt><dd>{escape(sentence)}</dd>" for name, sentence in pairs)
    return f"<dl>\n{lines}\n</dl>"


def code_block(lines: Iterable[str]) -> str:
    """Commands, to be copied."""
    return f"<pre>{escape(chr(10).join(lines))}</pre>"


def warning_list(sentences: Sequence[str]) -> str:
    """What a reader must know before comparing; nothing where there is nothing."""
    lines = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="warn">{lines}</ul>' if lines else ""


def details(words: str, inside: str) -> str:
    """What opens when its words are pressed."""
    return f"<details><summary>{escape(words)}</summary>{inside}</details>"


def drawing_row(drawings: Iterable[str], caption: str = "") -> str:
    """Drawings side by side, as many as there is room for."""
    return _figure_html(f'<div class="panels">{"".join(drawings)}</div>', caption)


def _figure_html(inside: str, caption: str) -> str:
    note = f"\n<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{inside}{note}</figure>"
