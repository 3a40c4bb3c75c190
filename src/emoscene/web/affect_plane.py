"""The plane of valence and arousal, drawn: a picker of emotions, and the verdicts of judges.

The picker's value is text, in the notation of `taxonomy.parse_emotion`. A click or a drag on the plane chooses the
weights of that place, as `taxonomy.weights_at` computes them; eight sliders set a mixture, below zero too; each name is
a button, and the handle on the plane moves with the arrow keys. Its script, `plane.js`, holds no numbers of its own:
places and power come from `taxonomy`. The elements are in `templates/`: `picker.html.j2`, `verdicts.html.j2`, and
`plane.svg.j2` for what both share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import gradio as gr

from emoscene.core.taxonomy import AFFECT, EMOTIONS, SHARPNESS
from emoscene.reporting import Figure, render_html
from emoscene.reporting.figures import COLOURS
from emoscene.web.session import Verdict

SCRIPT = Path(__file__).with_name("plane.js").read_text(encoding="utf8")
HUES = {name: COLOURS[number] for name, number in zip(EMOTIONS, (5, 4, 2, 3, 1, 7, 6, 0), strict=True)}
"""A colour for each emotion, of those that the colour-blind tell apart."""
MIDDLE, REACH = 170, 140
PACKAGE = "emoscene.web"


@dataclass(frozen=True)
class Dot:
    """An emotion on the plane: its colour, its place and the height of its label, in units of the drawing."""

    name: str
    colour: str
    x: float
    y: float
    label_y: float


@dataclass(frozen=True)
class VerdictDrawing:
    """What the template draws of a verdict.

    Attributes:
        figure: The image.
        bars: Each emotion, its probability and its colour, the likeliest first.
        x: The place on the plane, from the left.
        y: The place on the plane, from the top.
        words: The place in words.
        caution: What limits the verdict; empty if nothing does.
    """

    figure: Figure
    bars: Sequence[tuple[str, float, str]]
    x: float
    y: float
    words: str
    caution: str


def affect_picker(value: str = "awe", key: str = "plane") -> gr.HTML:
    """Build the picker.

    Args:
        value: The emotion at first, as `parse_emotion` reads it.
        key: A word for this picker, unique on the page.

    Returns:
        The component.
    """
    return gr.HTML(
        value=value,
        html_template=str(render_html("picker.html.j2", PACKAGE, dots=_dots(), key=key)),
        js_on_load=SCRIPT,
        apply_default_css=False,
        label="emotion",
        elem_classes="emotion",
        names=list(EMOTIONS),
        places={name: list(place) for name, place in AFFECT.items()},
        power=SHARPNESS,
    )


def verdicts_html(verdicts: dict[str, list[Verdict]]) -> str:
    """Draw verdicts: each image with its bars, and its place on the plane.

    Args:
        verdicts: A verdict for each image, by the name of the judge.

    Returns:
        HTML, in which all text is escaped.
    """
    judges = {}
    for name, mine in verdicts.items():
        judges[name] = [_draw_verdict(verdict) for verdict in mine]
    return str(render_html("verdicts.html.j2", PACKAGE, judges=judges, dots=_dots()))


def _draw_verdict(verdict: Verdict) -> VerdictDrawing:
    ranked = sorted(verdict.likely.items(), key=itemgetter(1), reverse=True)
    top, share = ranked[0]
    bars = [(name, probability, HUES.get(name, COLOURS[6])) for name, probability in ranked]
    valence, arousal = verdict.place
    x, y = _place(verdict.place)
    words = f"valence {valence:+.2f}, arousal {arousal:+.2f}"
    figure = Figure(verdict.image, f"an image read as {top}, {share:.0%}")
    return VerdictDrawing(figure, bars, x, y, words, verdict.caution)


def _dots() -> list[Dot]:
    dots = []
    for name, colour in HUES.items():
        x, y = _place(AFFECT[name])
        below = 21
        if AFFECT[name][1] >= 0.7:
            below = -13
        dots.append(Dot(name, colour, x, y, round(y + below, 1)))
    return dots


def _place(place: Sequence[float]) -> tuple[float, float]:
    return round(MIDDLE + REACH * place[0], 1), round(MIDDLE - REACH * place[1], 1)
