"""The plane of valence and arousal, drawn: a picker of emotions, and what a judge read.

The picker's value is text, in the notation of `taxonomy.parse_emotion`. A click or a drag on the plane reads the place
there as `taxonomy.weights_at` does; eight sliders say a mixture by its weights, below zero too; each name alone is a
button, and the hand on the plane answers to the arrow keys. Its script, `plane.js`, holds no numbers of its own: places
and power come from `emotions`. The elements are in `templates/`: `picker.html.j2`, `verdicts.html.j2`, and what both
have in common in `plane.svg.j2`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from emoscene.core.taxonomy import AFFECT, EMOTIONS, SHARPNESS
from emoscene.reporting import Figure, render_html
from emoscene.reporting.figures import COLOURS
from emoscene.web.session import Verdict

SCRIPT = Path(__file__).with_name("plane.js").read_text(encoding="utf8")
HUES = dict(zip(EMOTIONS, (COLOURS[n] for n in (5, 4, 2, 3, 1, 7, 6, 0)), strict=True))
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
class Reading:
    """A verdict as it is drawn; bars: each emotion, its probability and its colour, the likeliest first."""

    figure: Figure
    bars: Sequence[tuple[str, float, str]]
    x: float
    y: float
    words: str
    caution: str


def affect_picker(value: str = "awe", key: str = "plane") -> gr.HTML:
    """The picker; key: a word for this one, as the page may have several."""
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


def verdicts_html(found: dict[str, list[Verdict]]) -> str:
    """What judges read, as HTML: each picture with its bars, and its place on the plane."""
    judges = {}
    for name, verdicts in found.items():
        judges[name] = [_reading(verdict) for verdict in verdicts]
    return str(render_html("verdicts.html.j2", PACKAGE, judges=judges, dots=_dots()))


def _reading(verdict: Verdict) -> Reading:
    ranked = sorted(verdict.likely.items(), key=lambda pair: -pair[1])
    top, share = ranked[0]
    bars = [(name, probability, HUES.get(name, COLOURS[6])) for name, probability in ranked]
    valence, arousal = verdict.place
    x, y = _place((valence, arousal))
    words = f"valence {valence:+.2f}, arousal {arousal:+.2f}"
    figure = Figure(verdict.picture, f"a picture read as {top}, {share:.0%}")
    return Reading(figure, bars, x, y, words, verdict.caution)


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
