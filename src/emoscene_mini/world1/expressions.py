"""Expressions: what brows, eyes, cheeks and mouth do, as numbers added to those of a face at rest.

An expression is a row of `MUSCLES`, in head radii, so that any strength in between is the same row times the intensity.
The seven stand in RAF-DB's order. People and animals wear the same `features`; below some 24 pixels of head radius eyes
are dots and the mouth a thick line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscene_mini.world.brush import Brush, blob, bow, limb, oval
from emoscene_mini.world.canvas import Colour, mix

EXPRESSIONS: dict[str, str] = {
    "surprise": "an open-mouthed face with raised brows",
    "fear": "a wide-eyed face",
    "disgust": "a face with a wrinkled nose",
    "happiness": "a smiling face",
    "sadness": "a face with a drooping mouth",
    "anger": "a frowning face",
    "neutral": "a plain face",
}


@dataclass(frozen=True)
class Muscles:
    """How far a face is from rest: brows up, their inner ends up, eyes open, iris, smile, jaw, mouth's width, flush."""

    brow: float = 0.0
    slant: float = 0.0
    eye: float = 0.0
    iris: float = 0.0
    smile: float = 0.0
    jaw: float = 0.0
    wide: float = 0.0
    skew: float = 0.0
    flush: float = 0.0
    tint: tuple[float, float, float] = (0.9, 0.35, 0.3)


MUSCLES: dict[str, Muscles] = {
    "surprise": Muscles(brow=0.2, slant=0.04, eye=0.5, iris=-0.1, jaw=0.46, wide=-0.2),
    "fear": Muscles(
        brow=0.12, slant=0.17, eye=0.5, iris=-0.4, smile=-0.2, jaw=0.22, wide=0.06, flush=0.5, tint=(0.62, 0.72, 0.85)
    ),
    "disgust": Muscles(
        brow=-0.08, slant=-0.12, eye=-0.5, smile=-0.22, jaw=0.2, skew=0.13, flush=0.6, tint=(0.6, 0.68, 0.3)
    ),
    "happiness": Muscles(brow=0.06, eye=-0.2, smile=0.3, jaw=0.3, wide=0.14, flush=0.7, tint=(0.98, 0.45, 0.4)),
    "sadness": Muscles(brow=0.03, slant=0.2, eye=-0.28, smile=-0.26, wide=-0.06, flush=0.25, tint=(0.5, 0.6, 0.8)),
    "anger": Muscles(
        brow=-0.1, slant=-0.24, eye=-0.2, iris=-0.1, smile=-0.22, jaw=0.16, wide=0.06, flush=0.9, tint=(0.9, 0.12, 0.08)
    ),
    "neutral": Muscles(),
}


def features(
    b: Brush,
    x: float,
    y: float,
    r: float,
    expression: str,
    intensity: float,
    skin: Colour,
    iris: Colour,
    brow: Colour,
    look: float = 0.0,
) -> None:
    """Brows, eyes, cheeks and mouth on a head of radius `r` at (x, y); `look` turns them to the side, in radii."""
    m = MUSCLES[expression]
    k = float(np.clip(intensity, 0, 1.2))
    fine = r * b.height > 24
    x = x + look * r
    ink = np.asarray(brow, np.float32) * 0.75
    flush = k * m.flush + (0.15 if fine else 0.0)
    if flush > 0.05:
        cheeks = [oval(x + s * 0.5 * r, y + 0.3 * r, 0.24 * r, 0.18 * r) for s in (-1, 1)]
        b.part(m.tint, *cheeks, volume=0, soft=0.1 * r, opacity=min(0.55 * flush, 0.5), inside=True)
    _eyes(b, x, y, r, m, k, iris, fine, expression)
    gap, rise = 0.37 * r, y - 0.36 * r - k * m.brow * r
    for s in (-1, 1):
        inner = (x + s * (gap - 0.2 * r), rise - k * m.slant * r)
        middle = (x + s * gap, rise - 0.05 * r)
        outer = (x + s * (gap + 0.23 * r), rise + 0.05 * r + 0.5 * k * m.slant * r)
        b.part(ink, limb([inner, middle, outer], 0.12 * r if fine else 0.17 * r, 0.08 * r), volume=0.2)
    if fine:
        nose = mix(skin, (0.55, 0.22, 0.15), 0.32)
        b.part(nose, bow(x, y + 0.2 * r, 0.11 * r, 0.07 * r, 0.07 * r), volume=0)
        if expression == "disgust" and k > 0.4:
            b.part(nose, *(bow(x, y + d * r, 0.13 * r, -0.05 * r, 0.045 * r) for d in (-0.06, 0.05)), volume=0)
    _mouth(b, x, y + 0.5 * r, r, m, k, fine, expression)


def _eyes(
    b: Brush, x: float, y: float, r: float, m: Muscles, k: float, iris: Colour, fine: bool, expression: str
) -> None:
    gap, size = 0.37 * r, 0.2 * r
    tall = max(size * (0.74 + 0.95 * k * m.eye), 0.06 * r)
    dark = np.array([0.1, 0.07, 0.09], np.float32)
    sides = [x - gap, x + gap]
    if expression == "happiness" and k > 0.6:
        b.part(dark, *(bow(c, y + 0.02 * r, size, -0.17 * r, 0.11 * r) for c in sides), volume=0)
        return
    if not fine:
        if m.eye * k > 0.25:
            b.part((0.97, 0.97, 0.95), *(oval(c, y, 0.25 * r, 0.3 * r) for c in sides), volume=0)
        b.part(dark, *(oval(c, y, 0.13 * r, 0.15 * r * (1 + 0.6 * min(m.eye * k, 0))) for c in sides), volume=0)
        return
    b.part(dark, *(oval(c, y - 0.02 * r, size * 1.14, tall * 1.12 + 0.02 * r) for c in sides), volume=0)
    b.part((0.98, 0.97, 0.95), *(oval(c, y + 0.015 * r, size, tall) for c in sides), volume=0.15)
    ball = 0.135 * r * (1 + 0.6 * k * m.iris)
    low = 0.03 * r if expression == "sadness" else 0.0
    b.part(iris, *(oval(c, y + low, ball, min(ball, tall)) for c in sides), volume=0.3)
    b.part(dark, *(oval(c, y + low, 0.6 * ball, min(0.6 * ball, tall)) for c in sides), volume=0)
    b.part((1, 1, 1), *(oval(c - 0.05 * r, y - 0.05 * r + low, 0.04 * r) for c in sides if tall > 0.12 * r), volume=0)
    if expression == "sadness" and k > 0.55:
        b.part((0.62, 0.82, 0.98), oval(sides[0] - 0.02 * r, y + 0.36 * r, 0.075 * r, 0.14 * r), volume=0.5)


def _mouth(b: Brush, x: float, y: float, r: float, m: Muscles, k: float, fine: bool, expression: str) -> None:
    half = (0.3 + k * m.wide) * r
    bend, jaw = k * m.smile * r * 0.75 + 0.03 * r, k * m.jaw * r
    lip = np.array([0.55, 0.2, 0.18], np.float32)
    left, right = -bend + k * m.skew * r, -bend - k * m.skew * r
    if jaw < 0.08 * r:
        bend += 0.0 if fine or m.smile else 0.02 * r
        curve = bow(x, y - bend, half, 2 * bend, (0.1 if fine else 0.14) * r)
        b.part(lip * 0.8, curve, volume=0)
        return
    top, bottom = (0.35 * bend, 1.3 * bend + jaw) if bend > 0 else (1.6 * bend - 0.25 * jaw, jaw + 0.4 * bend)
    shape = [
        (x - half, y + left),
        (x - 0.5 * half, y + 0.6 * top + 0.1 * left),
        (x, y + top),
        (x + 0.5 * half, y + 0.6 * top + 0.1 * right),
        (x + half, y + right),
        (x + 0.6 * half, y + 0.72 * bottom),
        (x, y + bottom),
        (x - 0.6 * half, y + 0.72 * bottom),
    ]
    if m.smile == 0:
        shape = [(x + half * np.cos(a), y + 0.5 * jaw + 0.58 * jaw * np.sin(a)) for a in np.linspace(0, 5.6, 10)]
    b.part((0.32, 0.07, 0.09), blob(shape), volume=0)
    if not fine:
        return
    if expression in ("happiness", "anger", "fear"):
        up = 0.45 if expression == "happiness" else 0.75
        teeth = [(x + 0.84 * (px - x), y + (py - y) * (0.85 if py < y + 0.5 * bottom else up)) for px, py in shape]
        deep = y + (0.42 if expression == "happiness" else 0.8) * bottom
        b.part((0.96, 0.95, 0.92), blob([(px, min(py + 0.025 * r, deep)) for px, py in teeth]), volume=0.2)
    if expression in ("disgust", "happiness", "surprise"):
        drop = 0.14 * r * k if expression == "disgust" else 0.0
        tongue = oval(x, y + 0.76 * bottom + 0.4 * drop, 0.4 * half, 0.2 * bottom + 0.6 * drop)
        b.part((0.87, 0.38, 0.4), tongue, volume=0.3, inside=True)
