"""The plane of valence and arousal, drawn: a picker of emotions, and what a judge read.

The picker's value is text, in the notation of `emotions.parse_emotion`. A click or a drag on the plane reads the place there as
`emotions.weights_at` does; eight sliders say a mixture by its weights, below zero too; each name alone is a button, and the
hand on the plane answers to the arrow keys. Its script, `plane.js`, holds no numbers of its own: places and power come
from `emotions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from emoscene.core.taxonomy import AFFECT, EMOTIONS, SHARPNESS
from emoscene.reporting import Figure
from emoscene.reporting.figures import COLOURS
from emoscene.web.session import Verdict

SCRIPT = Path(__file__).with_name("plane.js").read_text(encoding="utf8")
HUES = dict(zip(EMOTIONS, (COLOURS[n] for n in (5, 4, 2, 3, 1, 7, 6, 0)), strict=True))
"""A colour for each emotion, of those that the colour-blind tell apart."""
MIDDLE, REACH = 170, 140


def affect_picker(value: str = "awe", key: str = "plane") -> gr.HTML:
    """The picker; key: a word for this one, as the page may have several."""
    rows = "".join(
        f'<li><button type="button" data-name="{name}" aria-pressed="false"><i style="background:{hue}"></i>{name}'
        "</button>"
        f'<input type="range" min="-1" max="1" step="0.05" value="0" data-name="{name}" aria-label="weight of {name}">'
        f'<output data-name="{name}">0</output></li>'
        for name, hue in HUES.items()
    )
    hand = (
        '<g class="hand" role="slider" tabindex="0" aria-valuemin="-1" aria-valuemax="1" aria-valuenow="0" '
        'aria-label="place on the plane: arrow keys move it"><circle r="22" class="reach"/><circle r="9"/></g>'
    )
    return gr.HTML(
        value=value,
        html_template=f'<div class="picker">{_svg(_field(key) + hand, "live")}'
        '<p><span class="said" aria-live="polite"></span>'
        f'<button type="button" class="none">no emotion</button></p><ul>{rows}</ul></div>',
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
    parts = []
    for name, read in found.items():
        parts.append(f"<h3>{escape(name)}</h3>" if len(found) > 1 else "")
        parts += [f'<div class="verdict">{_picture(one)}{_bars(one)}{_spot(one)}</div>{_note(one)}' for one in read]
    return f'<div class="verdicts">{"".join(parts)}</div>'


def _note(verdict: Verdict) -> str:
    return f'<p class="note">{escape(verdict.caution)}</p>' if verdict.caution else ""


def _picture(verdict: Verdict) -> str:
    top = max(verdict.likely, key=lambda name: verdict.likely[name])
    return Figure(verdict.picture, f"a picture read as {top}, {verdict.likely[top]:.0%}").to_html()


def _bars(verdict: Verdict) -> str:
    lines = "".join(
        f"<dt>{escape(name)}</dt>"
        f"<dd><i style='width:{100 * share:.1f}%;background:{HUES.get(name, COLOURS[6])}'></i></dd>"
        f"<dd>{share:.0%}</dd>"
        for name, share in sorted(verdict.likely.items(), key=lambda pair: -pair[1])
    )
    return f"<dl>{lines}</dl>"


def _spot(verdict: Verdict) -> str:
    valence, arousal = verdict.place
    x, y = _place((valence, arousal))
    words = f"valence {valence:+.2f}, arousal {arousal:+.2f}"
    mark = f'<circle class="mark" cx="{x}" cy="{y}" r="11"/>'
    return f"<figure>{_svg(_axes() + _dots() + mark, 'still', words)}<figcaption>{words}</figcaption></figure>"


def _field(key: str) -> str:
    """Soft colours where the emotions are, axes, spokes to the hand, and the eight dots."""
    stops = '<stop offset="0" stop-color="{0}" stop-opacity=".42"/><stop offset="1" stop-color="{0}" stop-opacity="0"/>'
    shades = "".join(
        f'<radialGradient id="{key}-{name}">{stops.format(hue)}</radialGradient>' for name, hue in HUES.items()
    )
    glow = "".join(
        '<circle cx="{}" cy="{}" r="95" fill="url(#{})"/>'.format(*_place(AFFECT[name]), f"{key}-{name}")
        for name in HUES
    )
    spokes = "".join(f'<line class="spoke" data-name="{name}" stroke="{hue}"/>' for name, hue in HUES.items())
    return f'<defs>{shades}</defs><g clip-path="inset(0 round 14px)">{glow}</g>{_axes()}{spokes}{_dots()}'


def _axes() -> str:
    words = (
        ("pleasant", 330, 185, "end"),
        ("unpleasant", 10, 185, "start"),
        ("excited", 176, 18, "start"),
        ("calm", 176, 332, "start"),
    )
    texts = "".join(f'<text class="axis" x="{x}" y="{y}" text-anchor="{to}">{word}</text>' for word, x, y, to in words)
    return f'<path class="cross" d="M8 170H332M170 8V332"/>{texts}'


def _dots() -> str:
    parts = []
    for name, hue in HUES.items():
        x, y = _place(AFFECT[name])
        below = -13 if AFFECT[name][1] >= 0.7 else 21
        parts.append(
            f'<g class="dot" data-name="{name}"><circle cx="{x}" cy="{y}" r="7" fill="{hue}"/>'
            f'<text x="{x}" y="{round(y + below, 1)}" text-anchor="middle">{name}</text></g>'
        )
    return "".join(parts)


def _place(place: Sequence[float]) -> tuple[float, float]:
    return round(MIDDLE + REACH * place[0], 1), round(MIDDLE - REACH * place[1], 1)


def _svg(inside: str, kind: str, words: str = "the plane of valence and arousal") -> str:
    role = "group" if kind == "live" else "img"
    return f'<svg class="plane {kind}" viewBox="0 0 340 340" role="{role}" aria-label="{escape(words)}">{inside}</svg>'
